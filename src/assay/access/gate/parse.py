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
SCHEMAS = frozenset({"parameters", "schema", "json_schema"})
OUTSIDE = frozenset({"file_id", "server_url", "connector_id", "vector_store_ids", "container"})
"""Names under which an upstream would fetch from elsewhere, or read what was stored there."""


class Parsed(Struct, frozen=True):
    """A request. `text_bytes` are the bytes of its JSON, of which no token has less than one; `most_tokens` bounds prompt and answer."""

    route: Route
    model: str
    tools: tuple[str, ...]
    stream: bool
    logprobs: bool
    reasoning: bool
    wants_usage: bool
    text_bytes: int
    answer_tokens: int
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
    _check_parts(value)
    tools = tuple(_tool_names(value.get("tools")))
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
        value,
    )


def texts(parsed: Parsed) -> Iterator[str]:
    """Every text in a request that a content check should see: messages, instructions, inputs, names and descriptions of tools."""
    for name in ("messages", "input", "instructions", "tools", "metadata", "user"):
        yield from _strings(parsed.value.get(name))


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
    return int(n * min([*found, longest]))


def _tool_names(tools: Any) -> Iterator[str]:
    """The functions that a request declares; of a tool that the upstream itself runs, its type."""
    if tools is None:
        return
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise _bad(f"tools is a list of at most {MAX_TOOLS}")
    for tool in tools:
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise _bad("a tool has a type")
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, dict) else None
        if tool["type"] == "function":
            if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
                raise _bad(f"a function has a name of at most {MAX_NAME} characters")
            yield name
        else:
            yield f"type:{tool['type'][:60]}"


def _check_parts(value: Any, depth: int = 0) -> None:
    """Nothing that the upstream would fetch, or read from what others stored. Schemas may name what they like, but fetch nothing."""
    if depth > MAX_DEPTH:
        raise _bad("nested too deeply")
    if isinstance(value, list):
        for inner in value:
            if type(inner) is dict or type(inner) is list:
                _check_parts(inner, depth + 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in ADDRESSES:
                url = inner.get("url") if isinstance(inner, dict) else inner
                if not isinstance(url, str) or not url.startswith("data:"):
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
