"""Samples of a large log straight from its archive: what Assay takes of each, and nothing else is built.

    for key, sample in read_direct(path, keys): ...      # a `Sample`, or None: read this one with Inspect

Inspect's own reader builds every event of every sample, some 2 ms each. The names and values here are those of its log of version 2, and a
`Sample` has as much of an `EvalSample` as `child.py` looks at. What does not fit to the letter is left to Inspect: an older form, an
attachment, a value of another type. So a log comes in the same whichever way it is read.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

if sys.version_info < (3, 14):
    with suppress(ImportError):
        import zipfile_zstd  # type: ignore[import-untyped]  # noqa: F401 (teaches zipfile the packing that Inspect uses, and comes with it)

Key = tuple[int | str, int]
"""A sample's id as the log has it, and the epoch."""

SUMMARIES = "summaries.json"
HEADER = "header.json"
UTC_ENDS = ("+00:00", "Z")
ZSTANDARD = 93
ENCRYPTED = 1
LOCAL_HEADER = 30
SMALL = 4 * 1024 * 1024
_ATTACHED = b"attachment://"
T = TypeVar("T")


class Content(Struct):
    """A part of a message."""

    type: str
    text: str = ""
    name: str = ""
    arguments: Any = ""


class Call(Struct):
    """A native call."""

    function: str
    arguments: dict[str, Any]


class Message(Struct):
    """A message."""

    role: str
    content: str | list[Content]
    tool_calls: list[Call] | None = None
    source: str | None = None

    @property
    def text(self) -> str:
        """Its text, as Inspect joins it."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.type == "text")


class Choice(Struct):
    """One of the model's answers."""

    message: Message
    stop_reason: str = "unknown"


class Usage(Struct):
    """Tokens."""

    input_tokens: int = 0
    output_tokens: int = 0


class Output(Struct):
    """What the model said last."""

    choices: list[Choice] = []
    completion: str = ""
    usage: Usage | None = None
    error: str | None = None

    @property
    def stop_reason(self) -> str:
        """The first answer's."""
        found = self.choices[0].stop_reason
        return "max_tokens" if found == "length" else found


class Score(Struct):
    """A score."""

    value: str | int | float | bool | list[Any] | dict[str, Any]
    explanation: str | None = None
    reason: str | None = None
    history: list[Any] = []


class Event(Struct):
    """An event: when, and whether a model's answer came from the cache."""

    event: str
    timestamp: str
    cache: str | None = None


class Failed(Struct):
    """Why a sample broke."""

    message: str


class Limit(Struct):
    """The limit that stopped a sample."""

    type: str


class Sample(Struct):
    """A sample, as far as it is looked at. `score` and `transcript` are of older logs."""

    id: int | str
    epoch: int
    input: str | list[Message]
    target: Any
    messages: list[Message] = []
    output: Output = msgspec.field(default_factory=Output)
    scores: dict[str, Score] | None = None
    metadata: dict[str, Any] = {}
    events: list[Event] = []
    error: Failed | None = None
    invalidation: dict[str, Any] | None = None
    limit: Limit | None = None
    started_at: str | None = None
    completed_at: str | None = None
    uuid: str | None = None
    score: Any | UnsetType = UNSET
    transcript: Any | UnsetType = UNSET


class _Summary(Struct):
    id: int | str
    epoch: int


def keys_of(archive: zipfile.ZipFile, most: int) -> list[Key] | None:
    """Which samples a finished log has, in its order; None where that has to be found otherwise."""
    if not {HEADER, SUMMARIES} <= set(archive.namelist()) or archive.getinfo(SUMMARIES).file_size > most:
        return None
    data = archive.read(SUMMARIES)
    try:
        found = _lenient(data, list[_Summary])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return list({(str(s.id), s.epoch): (s.id, s.epoch) for s in found}.values())


def read_direct(path: Path, keys: Iterable[Key]) -> Iterator[tuple[Key, Sample | None]]:
    """Every sample by its key; None for one that Inspect must read. Raises `zipfile.BadZipFile` and its like for a broken archive."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        infos = archive.NameToInfo
        unpack = _unpacker()
        for name, epoch in keys:
            info = infos.get(f"samples/{name}_epoch_{epoch}.json")
            yield (name, epoch), None if info is None else _read(unpack(file, info) or archive.read(info))


def _unpacker() -> Callable[[BinaryIO, zipfile.ZipInfo], bytes]:
    """Unpacks a small file that is one frame of Zstandard, at a quarter of what `zipfile` takes for it; nothing of any other.

    As there, what it gives has the size and the check sum that the archive says.
    """
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        return lambda file, info: b""
    one = ZstdDecompressor()

    def unpack(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
        if info.compress_type != ZSTANDARD or info.file_size > SMALL or info.flag_bits & ENCRYPTED:
            return b""
        file.seek(info.header_offset)
        start = file.read(LOCAL_HEADER)
        if start[:4] != b"PK\x03\x04" or len(start) < LOCAL_HEADER:
            return b""
        file.seek(int.from_bytes(start[26:28], "little") + int.from_bytes(start[28:30], "little"), 1)
        try:
            data = one.decompress(file.read(info.compress_size), max_output_size=info.file_size)
        except ZstdError:
            return b""
        return data if len(data) == info.file_size and zlib.crc32(data) == info.CRC else b""

    return unpack


def _read(data: bytes) -> Sample | None:
    try:
        found = _lenient(data, Sample)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if found.score is not UNSET or found.transcript is not UNSET or not all(_plainly(e.timestamp) for e in found.events):
        return None
    if _ATTACHED in data and any(text.startswith("attachment://") for text in _texts(found)):
        return None
    output = found.output
    if not output.completion and output.choices:
        output.completion = output.choices[0].message.text
    return found


def _plainly(time: str) -> bool:
    """Whether a time is written so that earlier ones sort first, to the second."""
    return time.endswith(UTC_ENDS) and time[10:11] == "T" and time[19:20] in (".", "+", "Z")


def _texts(sample: Sample) -> Iterator[str]:
    """Every text that is looked at, and in whose place an attachment may stand."""
    said = [*sample.messages, *(choice.message for choice in sample.output.choices)]
    said += sample.input if isinstance(sample.input, list) else []
    yield sample.output.completion
    yield sample.input if isinstance(sample.input, str) else ""
    for message in said:
        yield message.content if isinstance(message.content, str) else ""
        for part in message.content if isinstance(message.content, list) else ():
            yield from (part.text, part.arguments if isinstance(part.arguments, str) else "")
        for call in message.tool_calls or ():
            yield from (value for value in call.arguments.values() if isinstance(value, str))
    yield from (value for value in sample.metadata.values() if isinstance(value, str))
    for score in (sample.scores or {}).values():
        yield from (score.explanation or "", score.value if isinstance(score.value, str) else "")


def _lenient(data: bytes, kind: type[T]) -> T:
    """Strict first; then as Python's own parser reads it, which lets NaN and lone surrogates pass, as Inspect does."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(data), kind)
