"""What a request asks for, read strictly: an allow-list of parameters, nothing that reaches elsewhere, and what it may cost at most.

    parsed = parse("chat.completions", body)
    parsed.model, parsed.tools, parsed.most_tokens
    upstream_body = parsed.rewritten("m7-internal")

The upstream gets the JSON that was checked, written again, and never the bytes that came: what two parsers read differently does not pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from assay.access.model import DeniedError, Route

MAX_TOOLS = 200
MAX_DEPTH = 40
MAX_NAME = 128
MAX_CHOICES = 16

_SHARED = {"model", "user", "metadata", "temperature", "top_p", "stream", "tools", "tool_choice", "parallel_tool_calls", "service_tier"}
_SAMPLING = {"frequency_penalty", "presence_penalty", "seed", "stop", "logit_bias", "n"}
PARAMETERS: dict[Route, frozenset[str]] = {
    "chat.completions": frozenset(
        _SHARED
        | _SAMPLING
        | {"messages", "max_tokens", "max_completion_tokens", "response_format", "stream_options", "logprobs", "top_logprobs"}
        | {"reasoning_effort", "verbosity", "store"}
    ),
    "responses": frozenset(
        _SHARED
        | {"input", "instructions", "max_output_tokens", "max_tool_calls", "reasoning", "text", "truncation", "include", "store"}
        | {"top_logprobs", "safety_identifier", "prompt_cache_key", "stream_options"}
    ),
    "embeddings": frozenset({"model", "input", "encoding_format", "dimensions", "user"}),
    "models": frozenset(),
}
"""What may be asked. Stateful and background features of an upstream are left out: one grant's state must never be another's."""
ADDRESSES = frozenset({"image_url", "file_url", "audio_url", "video_url"})
ADDRESS = frozenset({"url", "detail", "format"})
SCHEMAS = frozenset({"parameters", "schema", "json_schema"})
OUTSIDE = frozenset({"file_id", "server_url", "connector_id", "vector_store_ids", "container", "audio"})
"""Names under which an upstream would fetch from elsewhere, or read what was stored there."""
PARTS: dict[str, frozenset[str]] = {
    "text": frozenset({"text"}), "refusal": frozenset({"refusal"}), "image_url": frozenset({"image_url"}),
    "input_audio": frozenset({"input_audio"}), "file": frozenset({"file"}), "input_text": frozenset({"text"}),
    "output_text": frozenset({"text", "annotations", "logprobs"}), "input_image": frozenset({"image_url", "detail"}),
    "input_file": frozenset({"file_data", "filename"}), "summary_text": frozenset({"text"}), "reasoning_text": frozenset({"text"}),
}  # fmt: skip
"""Parts of a message's content, and what each may hold beside its type."""
FUNCTION = frozenset({"name", "description", "parameters", "strict"})
TIERS = (None, "auto", "default", "flex")
"""What costs no more than the gate's prices say."""


BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class Parsed(Struct, frozen=True):
    """A request. `text_bytes` are the bytes of its JSON, of which no token has less than one; `most_tokens` bounds prompt and answer.
    `bounds` is what an answer takes at most where the request does not say: it is sent upstream then.
    """

    route: Route
    model: str
    tools: tuple[str, ...]
    stream: bool
    logprobs: bool
    reasoning: bool
    wants_usage: bool
    text_bytes: int
    answer_tokens: int
    bounds: int
    value: dict[str, Any]

    @property
    def most_tokens(self) -> int:
        """What it can use at most."""
        return self.text_bytes + self.answer_tokens

    def rewritten(self, model: str) -> bytes:
        """The body for the upstream: its own name of the model, usage asked for, nothing stored."""
        value = {**self.value, "model": model}
        if self.route != "embeddings":
            value["store"] = False
            if self.bounds and not any(value.get(name) is not None for name in BOUNDS):
                value["max_output_tokens" if self.route == "responses" else "max_tokens"] = self.bounds
        if self.stream and self.route == "chat.completions":
            value["stream_options"] = {"include_usage": True}
        return _encode(value)


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def parse(route: Route, body: bytes, longest_answer: int) -> Parsed:
    """Read a request's body. `longest_answer` is what an answer takes where the request does not say. Raises `DeniedError` (400)."""
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _bad("the body is not a JSON object") from None
    unknown = value.keys() - PARAMETERS[route]
    if unknown:
        raise _bad(f"the parameter '{min(unknown)[:60]}' is not offered here")
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("the model is not named")
    stream = _flag(value, "stream")
    if value.get("service_tier") not in TIERS:
        raise _bad("this service tier is not offered here")
    if route == "chat.completions" and not isinstance(value.get("messages"), list):
        raise _bad("messages is a list")
    _check_items(value.get("input"))
    _check_parts(value)
    tools = tuple(_tool_names(route, value.get("tools")))
    if not {*_chosen(route, value.get("tool_choice"))} <= {*tools}:
        raise _bad("tool_choice names a tool that the request does not declare")
    options = value.get("stream_options")
    if options is not None and not (isinstance(options, dict) and options.keys() <= {"include_usage", "include_obfuscation"}):
        raise _bad("stream_options is not understood")
    top = value.get("top_logprobs")
    include = value.get("include") or []
    if not isinstance(include, list) or not all(isinstance(i, str) for i in include):
        raise _bad("include is a list of names")
    return Parsed(
        route,
        model,
        tools,
        stream,
        _flag(value, "logprobs") or bool(top) or any("logprobs" in i for i in include),
        any("reasoning" in i for i in include),
        bool(options and options.get("include_usage")),
        len(body),
        0 if route == "embeddings" else _answer_tokens(value, longest_answer),
        0 if route == "embeddings" else longest_answer,
        value,
    )


def texts(parsed: Parsed) -> Iterator[str]:
    """Every text in a request, for content checks: messages, instructions, inputs, tools, and what stands in schemas and elsewhere."""
    for name, value in parsed.value.items():
        if name != "model":
            yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)


def _answer_tokens(value: Mapping[str, Any], longest: int) -> int:
    found = [value[n] for n in ("max_tokens", "max_completion_tokens", "max_output_tokens") if value.get(n) is not None]
    if any(type(n) is not int or n < 1 for n in found):
        raise _bad("a bound on the answer's tokens is a number from 1 on")
    n = value.get("n", 1)
    if type(n) is not int or not 1 <= n <= MAX_CHOICES:
        raise _bad(f"n is between 1 and {MAX_CHOICES}")
    if any(k > longest for k in found):
        raise _bad(f"an answer has at most {longest} tokens here")
    return int(n * max(found, default=longest))


def _tool_names(route: Route, tools: Any) -> Iterator[str]:
    """The functions that a request declares, by the name that the upstream will read; of a tool that it runs itself, the type."""
    if tools is None:
        return
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise _bad(f"tools is a list of at most {MAX_TOOLS}")
    for tool in tools:
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise _bad("a tool has a type")
        yield _tool_name(route, tool)


def _tool_name(route: Route, tool: Mapping[str, Any]) -> str:
    if tool["type"] != "function":
        return f"type:{tool['type'][:60]}"
    function = tool.get("function") if route == "chat.completions" else {k: v for k, v in tool.items() if k != "type"}
    if (
        not isinstance(function, dict)
        or function.keys() - FUNCTION
        or (route == "chat.completions" and tool.keys() != {"type", "function"})
    ):
        raise _bad(f"a function is described by {', '.join(sorted(FUNCTION))}, as this route has them")
    name = function.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise _bad(f"a function has a name of at most {MAX_NAME} characters")
    return name


def _chosen(route: Route, choice: Any) -> Iterator[str]:
    """The tools that `tool_choice` names: each must be among those that the request declares."""
    if choice in (None, "none", "auto", "required"):
        return
    if not isinstance(choice, dict) or not isinstance(choice.get("type"), str):
        raise _bad("tool_choice is not understood")
    if choice["type"] != "allowed_tools":
        yield _tool_name(route, choice)
        return
    named = choice.get("allowed_tools", choice)
    allowed = named.get("tools") if isinstance(named, dict) else None
    if not isinstance(allowed, list) or (named is not choice and "tools" in choice):
        raise _bad("tool_choice is not understood")
    for tool in allowed:
        yield from _chosen(route, tool)


def _check_items(given: Any) -> None:
    """Items of an input say what they are: one that is only an id is what somebody's earlier request has stored."""
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and (item.get("type") == "item_reference" or not (item.get("type") or item.get("role"))):
            raise _bad("an item that was stored cannot be referred to")


def _check_content(parts: list[Any]) -> None:
    for part in parts:
        if isinstance(part, dict):
            kind = part.get("type")
            known = PARTS.get(kind) if isinstance(kind, str) else None
            if known is None or any(v is not None and k != "type" and k not in known for k, v in part.items()):
                raise _bad("a part of a message's content is of a kind, or holds something, that is not offered here")


def _check_parts(value: Any, depth: int = 0) -> None:
    """Nothing that the upstream would fetch, or read from what others stored. Schemas may name what they like, but fetch nothing."""
    if depth > MAX_DEPTH:
        raise _bad("nested too deeply")
    if isinstance(value, list):
        for inner in value:
            if type(inner) is dict or type(inner) is list:
                _check_parts(inner, depth + 1)
    elif isinstance(value, dict):
        for given, inner in value.items():
            name = given if given.islower() and given.isascii() else given.casefold()  # some servers read names in any case
            if name in ("content", "output") and type(inner) is list:
                _check_content(inner)
            if name in ADDRESSES:
                url = inner.get("url") if isinstance(inner, dict) and inner.keys() <= ADDRESS else inner
                if inner is not None and (not isinstance(url, str) or not url.startswith("data:")):
                    raise _bad(f"{name}: contents are sent as data: addresses; nothing is fetched")
            elif name in SCHEMAS:
                _check_schema(inner, depth + 1)
            elif name in OUTSIDE and inner is not None:
                raise _bad(f"'{name}' reaches what is stored or served elsewhere")
            elif type(inner) is dict or type(inner) is list:
                _check_parts(inner, depth + 1)


def _check_schema(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _bad("nested too deeply")
    if isinstance(value, list):
        for inner in value:
            _check_schema(inner, depth + 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in ("$ref", "$dynamicRef") and not (isinstance(inner, str) and inner.startswith("#")):
                raise _bad("a schema refers to itself only")
            _check_schema(inner, depth + 1)


def _flag(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise _bad(f"{name} is true or false")
    return bool(found)


def _bad(what: str) -> DeniedError:
    return DeniedError("request", 400, what)
