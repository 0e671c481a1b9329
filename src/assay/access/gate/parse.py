"""What a request asks for, read strictly: an allow-list of parameters, nothing that reaches elsewhere, and what it may cost at most.

    parsed = parse("chat.completions", body)
    parsed.model, parsed.tools, parsed.most_tokens
    upstream_body = parsed.rewritten("m7-internal")

The upstream gets the JSON that was checked, written again, and never the bytes that came: what two parsers read differently does not pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

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
INSIDE: dict[str, frozenset[str]] = {"input_audio": frozenset({"data", "format"}), "file": frozenset({"file_data", "filename"})}
"""What a part may hold in an object of its own."""
SAID = frozenset({"content", "output"})
"""Where it stands what somebody said: a text, or a flat list of parts."""
DATA = frozenset({"image_url", "url", "file_data", "data"})
"""Where an image, sound or file stands in a part: data, which no check of texts reads."""
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
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
    _check_items(route, value.get("messages" if route == "chat.completions" else "input"))
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
        any("reasoning" in i for i in include) or _summarised(value.get("reasoning")),
        bool(options and options.get("include_usage")),
        len(body),
        0 if route == "embeddings" else _answer_tokens(value, longest_answer),
        0 if route == "embeddings" else longest_answer,
        value,
    )


def texts(parsed: Parsed) -> Iterator[str]:
    """Every text in a request, for content checks: messages, instructions, inputs, tools, and what stands in schemas and elsewhere. Left
    out is what stands in Base64 where a part of a message has its image, sound or file.
    """
    for name, value in parsed.value.items():
        if name != "model":
            yield from _strings(value)


def _strings(value: Any, *, parts: bool = True) -> Iterator[str]:
    """`parts`: what is said may hold images, sound and files; not so in a schema."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, parts=parts)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if parts and name in SAID and isinstance(inner, list):
                for part in inner:
                    yield from _part_strings(part)
            else:
                yield from _strings(inner, parts=parts and name not in SCHEMAS)


def _part_strings(part: Any) -> Iterator[str]:
    if not isinstance(part, dict):
        yield from _strings(part)
        return
    for name, inner in part.items():
        yield name
        if isinstance(inner, str) and name in DATA:
            yield _beside_data(inner)
        elif isinstance(inner, dict):
            yield from _part_strings(inner)
        else:
            yield from _strings(inner)


def _beside_data(text: str) -> str:
    """Of data in Base64, what stands before it; of an address that holds its text as it is, all of it."""
    head, comma, data = text.partition(",") if text.startswith("data:") else ("", "", text)
    in_base64 = _is_base64(data) and (not comma or head.endswith(";base64"))
    return head if in_base64 else unquote(text)


def _is_base64(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, BASE64)


def _summarised(asked: Any) -> bool:
    """Whether a summary of the hidden reasoning is asked for."""
    return isinstance(asked, dict) and any(asked.get(name) is not None for name in ("summary", "generate_summary"))


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


def _check_items(route: Route, given: Any) -> None:
    """Messages are objects; items of an input say what they are: one that is only an id is what somebody's earlier request stored."""
    if route == "embeddings" or given is None or (route == "responses" and isinstance(given, str)):
        return
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise _bad("an input is a text, or a list of items; messages are a list of messages")
    for item in given:
        if route == "responses" and (item.get("type") == "item_reference" or not (item.get("type") or item.get("role"))):
            raise _bad("an item that was stored cannot be referred to")


def _check_said(given: Any) -> None:
    """A text, or a flat list of texts and parts, each of a kind that is known, with its contents in itself."""
    if given is None or isinstance(given, str):
        return
    if not isinstance(given, list):
        raise _bad("what is said is a text, or a list of parts")
    for part in given:
        if not isinstance(part, str):
            kind = part.get("type") if isinstance(part, dict) else None
            _check_part(part, PARTS.get(kind) if isinstance(kind, str) else None)


def _check_part(part: Any, known: frozenset[str] | None) -> None:
    if known is None or not isinstance(part, dict):
        raise _bad("a part of a message's content is of a kind that is not offered here")
    for name, inner in part.items():
        if inner is None or (name == "type" and isinstance(inner, str)):
            continue
        if name not in known:
            raise _bad("a part of a message's content holds something that is not offered here")
        if name in INSIDE:
            _check_part(inner, INSIDE[name])
        elif name in ("data", "file_data"):
            if not isinstance(inner, str) or not (_is_base64(inner) or (name == "file_data" and inner.startswith("data:"))):
                raise _bad(f"{name}: contents are sent in Base64; nothing is fetched")
        elif name not in (*ADDRESSES, "annotations", "logprobs") and not isinstance(inner, str):
            raise _bad(f"'{name}' of a part is a text")


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
            if name in SAID:
                _check_said(inner)
            if name in ADDRESSES:
                url = inner.get("url") if isinstance(inner, dict) and _are_texts(inner, ADDRESS) else inner
                if inner is not None and (not isinstance(url, str) or not url.startswith("data:")):
                    raise _bad(f"{name}: contents are sent as data: addresses; nothing is fetched")
            elif name in SCHEMAS:
                _check_schema(inner, depth + 1)
            elif name in OUTSIDE and inner is not None:
                raise _bad(f"'{name}' reaches what is stored or served elsewhere")
            elif type(inner) is dict or type(inner) is list:
                _check_parts(inner, depth + 1)


def _are_texts(value: dict[str, Any], known: frozenset[str]) -> bool:
    return value.keys() <= known and all(inner is None or isinstance(inner, str) for inner in value.values())


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
