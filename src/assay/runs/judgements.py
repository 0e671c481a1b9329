"""Judgements of another panel on a stored run, beside it: JSON Lines, a heading and one line a trial.

    with JudgementFile.open(path, heading) as file:
        file.done                          # slots that are there already: an interrupted reading goes on
        file.add(Again(slot, said))
    heading, again = read_judgements(path)

No target is called and the run does not change; its decision rests on the judges that its plan names.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct

from assay.errors import RunFileError
from assay.judges import Said
from assay.plan import Judges
from assay.runs.file import take_lock, whole_file

MAX_BYTES = 4 * 1024**3


class Heading(Struct, frozen=True, forbid_unknown_fields=True):
    """Which run was read (the digest of its registration), and by which panel, digests included."""

    assay: Literal["judgements/1"]
    run: str
    judges: Judges


class Again(Struct, frozen=True, forbid_unknown_fields=True):
    """What the panel said of one trial."""

    slot: Annotated[int, Meta(ge=0)]
    said: tuple[Said, ...]


class JudgementFile:
    """Appends lines; every line is on disk when `add` returns. One writer at a time: there is a lock beside the file."""

    def __init__(self, path: Path, file: IO[bytes], lock: IO[bytes], done: frozenset[int]) -> None:
        self.path = path
        self._file, self._lock = file, lock
        self.done = done

    @classmethod
    def open(cls, path: Path, heading: Heading) -> Self:
        """A new file, or one with the same heading that is gone on with; a line that was cut off at its end is dropped. Raises
        `RunFileError`.
        """
        lock = take_lock(path, "file")
        try:
            file, done = _opened(path, heading)
        except OSError as e:
            lock.close()
            raise RunFileError(f"cannot write here: {e.strerror}", where=str(path)) from None
        except BaseException:
            lock.close()
            raise
        return cls(path, file, lock, done)

    def add(self, again: Again) -> None:
        """Append one line."""
        self._file.write(msgspec.json.encode(again) + b"\n")
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._lock.close()


def _opened(path: Path, heading: Heading) -> tuple[IO[bytes], frozenset[int]]:
    """The file to append to, and the slots that it has. The caller holds the lock."""
    line = msgspec.json.encode(heading) + b"\n"
    if not path.exists() or line.startswith(_start(path, len(line))):  # an empty or cut heading is what power loss leaves
        with whole_file(path) as out:
            out.write(line)
    found, again = read_judgements(path)
    if found != heading:
        raise RunFileError("this file is of another run or another panel", where=str(path), fix="Choose another --out.")
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return path.open("ab", buffering=0), frozenset(a.slot for a in again)


def _start(path: Path, length: int) -> bytes:
    """The file's first bytes, one more than `length` where there are more."""
    with path.open("rb") as file:
        return file.read(length + 1)


def read_judgements(path: Path) -> tuple[Heading, list[Again]]:
    """A whole file; a last line without its end is left out. Raises `RunFileError`, naming the line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError("larger than 4 GiB", where=str(path))
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as e:
        raise RunFileError(f"cannot read this: {e.strerror}", where=str(path)) from None
    number, again = 1, []
    try:
        heading = msgspec.json.decode(lines[0] if lines else b"", type=Heading)
        for number, line in enumerate(lines[1:], 2):  # noqa: B007 (the error names the line)
            again.append(msgspec.json.decode(line, type=Again))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RunFileError(f"not judgements: {e}", where=f"{path}:{number}") from None
    if len({a.slot for a in again}) < len(again):
        raise RunFileError("the same trial twice", where=str(path))
    return heading, again
