"""What contents say: opened for an auditor, and read as text, whatever form they came in.

contents = contents_of(Path("audit"), row.segment, identities)
[readable(contents[digest][1]) for segment, digest in row.contents if segment == row.segment]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.access.audit.content import Contents
from assay.access.audit.records import AnyRecord, Decided, Denied, Ended
from assay.access.audit.segment import content_path, header_of

if TYPE_CHECKING:
    from pyrage.x25519 import Identity


def contents_of(folder: Path, segment: str, identities: Sequence[Identity]) -> Contents:
    """A segment's contents, for an auditor. Raises `AuditError`."""
    path = folder / f"{segment}.jsonl"
    return Contents.open(content_path(path), header_of(path), identities)


def digests_of(record: AnyRecord) -> list[str]:
    """The content that a record names, if any: what was asked or, of an end, what was answered."""
    named = record.request_digest if isinstance(record, Decided | Denied) else record.answer_digest if isinstance(record, Ended) else ""
    return [named] if named else []


def says(contents: Contents, digest: str, text: str) -> bool:
    """Whether the text stands in it, in whatever case. Raises `AuditTamperedError` for one that was changed."""
    return digest in contents and text.casefold() in readable(contents[digest][1]).casefold()


def readable(data: bytes) -> str:
    """The text of a content: the strings of JSON, and those of a stream's parts put together."""
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return "\n".join(_strings(msgspec.json.decode(data)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return data.decode("utf-8", errors="replace")
    parts: list[str] = []
    for line in data.split(b"\n"):
        if line.startswith(b"data:") and b"[DONE]" not in line:
            try:
                parts += _deltas(msgspec.json.decode(line[5:]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                parts.append(line.decode("utf-8", errors="replace"))
    return "".join(parts) if parts else data.decode("utf-8", errors="replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


_SAID = frozenset({"content", "delta", "text", "arguments", "refusal", "reasoning_content"})


def _deltas(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name in _SAID and isinstance(one, str):
                yield one
            else:
                yield from _deltas(one)
    elif isinstance(value, list):
        for one in value:
            yield from _deltas(one)
