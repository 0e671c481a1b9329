"""What a worker says, line by line: everything in it is another program's word, typed and bounded before it is used."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from assay.errors import TargetError

MAX_LINE = 16 * 1024 * 1024
Short = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class Score(Struct, frozen=True, forbid_unknown_fields=True):
    """A score as text; `odd` says why it is none, in the scorer's words."""

    value: Short
    explanation: Short = ""
    odd: Short = ""


class SampleLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="sample"):
    """A sample that there is. `bank` sets samples of one sort apart; `unfit` says why it cannot be played."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    bank: Annotated[str, Meta(max_length=60, pattern=r"^[a-z0-9-]*$")]
    prompt: Annotated[str, Meta(max_length=100_000)]
    digest: Digest
    unfit: Short


class ReadyLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="ready"):
    """All samples were named: versions of packages, digests of files, names of scores, what a person should know, and for each bank in a
    sentence what is a violation.
    """

    packages: Annotated[dict[Short, Short], Meta(max_length=100)]
    code: Annotated[dict[Short, Digest], Meta(max_length=100)]
    scorers: Annotated[tuple[Short, ...], Meta(max_length=100)]
    notes: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    banks: Annotated[dict[Short, Short], Meta(max_length=100)] = {}


class AskLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="ask"):
    """The tool asks its model: `key` is the sample that is played, messages and tools are as chat completion interfaces have them."""

    key: Count
    call: Count
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=10_000)]
    tools: Annotated[list[dict[str, Any]], Meta(max_length=1000)]


class _Function(Struct, frozen=True):
    name: str = ""
    arguments: str | dict[str, Any] = ""


class _Call(Struct, frozen=True):
    function: _Function = _Function()


class _Message(Struct, frozen=True):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None


class _Tool(Struct, frozen=True):
    function: dict[str, Any]


class _Asked(Struct, frozen=True):
    """What of a call is relied on; anything else in it goes to the target as it is."""

    messages: list[_Message]
    tools: list[_Tool]


def odd_call(line: AskLine) -> str:
    """What keeps a call from being one in the form of chat completion interfaces; empty where it is one."""
    try:
        msgspec.convert({"messages": line.messages, "tools": line.tools}, _Asked)
    except (msgspec.ValidationError, RecursionError) as e:
        return f"a call of the tool that is none: {plain(str(e), 200)}"
    return ""


class PlayedLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="played"):
    """A sample is over: why it has no score that counts, or its scores by name."""

    key: Count
    failure: Short
    scores: Annotated[dict[Short, Score], Meta(max_length=3000)]


class FailedLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="failed"):
    """Nothing can be played, and why."""

    why: Short


Line = SampleLine | ReadyLine | AskLine | PlayedLine | FailedLine
_decode = msgspec.json.Decoder(Line).decode
encode = msgspec.json.Encoder().encode


def read_line(data: bytes) -> Line:
    """A line. Raises `TargetError` for one that is none."""
    try:
        line: Line = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise TargetError(f"the worker says what is no message: {plain(str(e), 200)}") from None
    return line


def plain(text: str, most: int) -> str:
    """Another program's words in one line, with nothing in them that steers a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:most].strip()
