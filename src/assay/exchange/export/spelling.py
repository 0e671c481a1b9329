"""How exports spell things: times, identifiers, JSON that no reader breaks in the middle of a line.

iso(1_796_000_000_123)                    # "2026-11-29T17:33:20.123Z"
json_line({"a": 1})                       # b'{"a":1}\\n'
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec


def iso(at_ms: int) -> str:
    """A Unix time in milliseconds as RFC 3339 in UTC: `2026-11-29T17:30:00.123Z`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uuid_of(*parts: str) -> str:
    """A version 5 UUID (RFC 9562, section 5.5) that is a function of its parts, so that the same run gives the same file."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))


_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:assay:export")


def line(text: str) -> str:
    """The text as forms want it that have one line for it: not empty, no control characters, no white space at its ends."""
    return _UNSEEN.sub(" ", text).strip() or "-"


def json_line(value: object) -> bytes:
    """One line of JSON. What some readers take for a line's end (U+0085, U+2028, U+2029) is escaped, as JSON escapes the others."""
    line = _encode(value)
    for char in "\x85\u2028\u2029":
        line = line.replace(char.encode(), f"\\u{ord(char):04x}".encode())
    return line + b"\n"


def json_with(out: BinaryIO, head: dict[str, Any], name: str, values: Iterable[object], end: bytes = b"") -> None:
    """A JSON object of what `head` holds (at least one field) and, last, an array `name` whose values need not all be there at once."""
    out.write(json_line(head)[:-2] + b',"' + name.encode() + b'":[')
    separator = b"\n"
    for value in values:
        out.write(separator + json_line(value)[:-1])
        separator = b",\n"
    out.write(b"\n]}" + end)


_UNSEEN = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029\ufffe\uffff]+")
_encode = msgspec.json.Encoder(order="deterministic").encode
