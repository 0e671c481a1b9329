"""What an assistant asked, and what became of it: a line before anything is done, and one after. Appended only, and chained.

record = Record(folder / "record.jsonl")
n = record.asked("start_run", {"plan": "quick"})      # on disk when this returns; raises, and nothing is done, where it cannot be
record.ended(n, "refused", "the day's runs are spent")
read_record(folder / "record.jsonl")                  # the lines, and what does not hold

Each line holds the SHA-256 of the line before it, so that a line that was changed, taken out or put in is seen; what is cut off at the end
is seen only by whoever remembers how far it went. Several servers may append at the same time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.errors import AssayError

Outcome = Literal["done", "refused", "failed"]
MOST_LINE = 16_384
MOST_TEXT = 300
START = "0" * 64


class RecordError(AssayError):
    """The record cannot be written, so nothing is done; or it cannot be read."""


class Entry(Struct, frozen=True, omit_defaults=True):
    """One line. `n` is its number; `of` that of the question which an answer belongs to. `at` is Unix milliseconds."""

    n: int
    at: int
    prev: str
    tool: str = ""
    arguments: dict[str, Any] = {}
    of: int = -1
    outcome: str = ""
    why: str = ""


class Record:
    """The record in the file at `path`, made readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def asked(self, tool: str, arguments: dict[str, Any]) -> int:
        """A question, on disk; its number. Raises `RecordError`."""
        return self._append(tool=tool[:64].encode("utf-8", "replace").decode(), arguments=_bounded(arguments))

    def ended(self, question: int, outcome: Outcome, why: str = "") -> None:
        """What became of it. Raises `RecordError`."""
        self._append(of=question, outcome=outcome, why=why[:MOST_TEXT])

    def _append(self, **fields: Any) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                last, torn = _last(file.fileno())
                n, prev = (_number(last) + 1, hashlib.sha256(last).hexdigest()) if last else (0, START)
                line = msgspec.json.encode(Entry(n, time.time_ns() // 1_000_000, prev, **fields)) + b"\n"
                data = b"\n" + line if torn else line
                while data:
                    data = data[os.write(file.fileno(), data) :]
                os.fsync(file.fileno())
        except OSError as e:
            raise RecordError(f"the record cannot be written, so nothing is done: {e.strerror}", where=str(self.path)) from None
        return n


def read_record(path: Path) -> tuple[list[Entry], list[str]]:
    """Every line that can be read, and what does not hold. Raises `RecordError`."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as e:
        raise RecordError(f"the record cannot be read: {e.strerror}", where=str(path)) from None
    entries, wrong, before = [], [], b""
    if lines[-1]:
        wrong.append(f"line {len(lines)} is torn")
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            wrong.append(f"line {number} is no entry")
        else:
            entries.append(entry)
            if entry.prev != (hashlib.sha256(before).hexdigest() if before else START):
                wrong.append(f"line {number} does not follow the line before it")
        before = line
    return entries, wrong


def _last(descriptor: int) -> tuple[bytes, bool]:
    """The last line that holds anything, and whether it lacks its end."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 2 * MOST_LINE, max(0, size - 2 * MOST_LINE))
    torn = bool(tail) and not tail.endswith(b"\n")
    return tail.rstrip(b"\n").rpartition(b"\n")[2], torn


def _number(line: bytes) -> int:
    try:
        return msgspec.json.decode(line, type=Entry).n
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 10**9  # what was torn has no number that can be trusted; the next ones are seen to be others


def _bounded(arguments: dict[str, Any]) -> dict[str, Any]:
    """What was asked, cut to what a line holds."""
    try:
        data = msgspec.json.encode(arguments)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError):
        return {"cut": "cannot be written"}
    return arguments if len(data) <= MOST_LINE // 2 else {"cut": data[:MOST_TEXT].decode("utf-8", "replace")}
