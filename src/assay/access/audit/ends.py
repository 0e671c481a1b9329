"""Checkpoints over all segments of the audit log: `ends/`, a log as `assay log` has it, so that the other party can witness it.

    ends = Ends.open(folder / "ends", key)
    ends.add(End(at=now, segment=..., records=..., length=..., last=..., root=..., content=..., contents=..., final=False))
    assay log witness audit/ends --state witness.json --key other.pem --log-key audit/ends/log.vkey

Each entry says how far one segment has come: lines, the hash of the last, the root of the RFC 6962 tree over them, and the length and hash
of its contents. The entries are the leaves of a tree of their own, whose root is signed with every entry. Several processes add to it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.access.audit.records import FIRST, MAX_HEADER, AuditError, AuditTamperedError, Hex, SegmentName, hash_of, quick_line
from assay.access.model import Count, Ms
from assay.evidence.log import CHECKPOINTS_NAME, ENTRIES_NAME, HEAD_NAME, Log, checked, checkpoint_path, lock_file, read_log, write_durably
from assay.ledger import MerkleTree, PrivateKey, canonical
from assay.ledger.notes import SIGNATURE, Checkpoint, Note, NoteKey, sign_note

KEPT_NOTES = 500
"""Checkpoints without a cosignature are kept so long as this many later ones are not there."""
MAX_BATCH = 1 << 20
"""No more bytes than these, and a line, are ever written at once, so no torn tail is longer."""


class End(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a segment has come. `final`: nobody writes to it any more. `length` is in bytes, with the lines' ends; `contents` is the
    SHA-256 of the first `content` bytes of its contents.
    """

    kind: Literal["end"] = "end"
    at: Ms
    segment: SegmentName
    records: Annotated[int, Meta(ge=1, lt=2**53)]
    length: Count
    last: Hex
    root: Hex
    content: Count
    contents: Hex
    final: bool

    def to_line(self) -> bytes:
        """The canonical entry."""
        return canonical(msgspec.to_builtins(self))


_entries = msgspec.json.Decoder(End)


def read_end(line: bytes) -> End:
    """An entry. Raises `AuditTamperedError`."""
    try:
        end = _entries.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise AuditTamperedError(f"not an entry of the ends: {str(e)[:200]}") from None
    if end.to_line() != line:
        raise AuditTamperedError("the entry is not canonical JSON")
    return end


def origin_of(key: PrivateKey) -> str:
    """The name under which a key's audit log is witnessed."""
    return f"assay-audit/{key.public.keyid[:16]}"


class Ends:
    """The ends' folder, to add to. Keeps the tree in memory and reads only what other processes have added since."""

    def __init__(self, folder: Path, key: PrivateKey, log_key: NoteKey) -> None:
        self.folder = folder
        self._key = key
        self._name = log_key.name
        self._tree = MerkleTree()
        self._offset = 0
        self.latest: dict[str, End] = {}

    @classmethod
    def open(cls, folder: Path, key: PrivateKey) -> Ends:
        """The folder, made if it is not there, checked if it is. Raises `AuditError`, `LogError`, `LogTamperedError`."""
        origin = origin_of(key)
        if not (folder / HEAD_NAME).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with lock_file(folder / ".making"):
                if not (folder / HEAD_NAME).exists():
                    Log.create(folder, origin, key)
        log = Log.open(folder)
        if log.key != NoteKey(origin, key.public, SIGNATURE):
            raise AuditError("the audit log was begun with another key", where=str(folder), fix="Give that key, or begin a new folder.")
        ends = cls(folder, key, log.key)
        with lock_file(folder / ".lock"):
            checked(read_log(folder), str(folder))
            ends._read()
        return ends

    @property
    def head(self) -> tuple[int, bytes]:
        """Size and root of what was read or added last."""
        return self._tree.size, self._tree.root()

    def add(self, *ends: End) -> int:
        """Add entries and sign; on disk when it returns the size. Raises `AuditError`, `LogError`."""
        with lock_file(self.folder / ".lock"):
            self._read()
            for end in ends:
                self._append(end)
            size, root = self.head
            path = checkpoint_path(self.folder, size)
            if size and not path.exists():
                text = Checkpoint(self._name, size, root).to_text()
                write_durably(path, Note(text).signed(sign_note(text, self._name, self._key)).to_bytes())
            if size % 64 < len(ends):
                self._prune()
        return size

    def refresh(self) -> None:
        """Read what others have added."""
        with lock_file(self.folder / ".lock"):
            self._read()

    def _read(self) -> None:
        """Take in entries that are new; a torn last one, whose writer is gone since we have the lock, is cut off."""
        path = self.folder / ENTRIES_NAME
        try:
            with path.open("rb+") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:
                    raise AuditTamperedError("the ends have shrunk", where=str(path))
                file.seek(self._offset)
                data = file.read()
                whole = data.rfind(b"\n") + 1
                if whole < len(data):
                    file.truncate(self._offset + whole)
                    os.fsync(file.fileno())
        except OSError as e:
            raise AuditError(f"cannot read the ends: {e.strerror}", where=str(path)) from None
        for line in data[:whole].split(b"\n")[:-1]:
            end = read_end(line)
            self._take(line, end)

    def _take(self, line: bytes, end: End) -> None:
        self._tree.append(line)
        self._offset += len(line) + 1
        self.latest[end.segment] = end

    def _append(self, end: End) -> None:
        line, path = end.to_line(), self.folder / ENTRIES_NAME
        try:
            with path.open("ab", buffering=0) as file:
                for part in (line, b"\n"):  # the newline last: a line that has one is whole, even if power fails
                    if file.write(part) != len(part):
                        raise AuditError("the disk is full", where=str(path))
                    os.fsync(file.fileno())
        except OSError as e:
            raise AuditError(f"cannot write the ends: {e.strerror}", where=str(path)) from None
        self._take(line, end)

    def _prune(self) -> None:
        """Old checkpoints that nobody cosigned say nothing that later ones do not."""
        for path in sorted((self.folder / CHECKPOINTS_NAME).glob("*.note"))[:-KEPT_NOTES]:
            if len(Note.parse(path.read_bytes()).signatures) == 1:
                path.unlink()


class Scanned(Struct, frozen=True):
    """A segment read as far as it holds: lines, their length in bytes, the last one's hash, the tree's root; and the bytes beyond."""

    records: int
    length: int
    last: str
    root: bytes
    rest: int


def scan(path: Path) -> Scanned:
    """Follow the chain of a segment as far as it holds. Raises `OSError`.

    A line that the next one names by its hash is what its writer wrote; only the last one must be looked into.
    """
    tree, last, good, n, pending = MerkleTree(), FIRST, 0, 0, b""
    with path.open("rb") as file:
        for data in lines_of(file):
            after = hash_of(pending) if pending else FIRST
            if not data.endswith(b"\n") or not data.startswith(b'{"after":"%s","n":%d,"record":{' % (after.encode(), n + bool(pending))):
                break
            if pending:
                tree.append(pending)
                last, good, n = after, good + len(pending) + 1, n + 1
            pending = data[:-1]
        if pending and _is_line(pending):
            tree.append(pending)
            last, good, n = hash_of(pending), good + len(pending) + 1, n + 1
        rest = os.fstat(file.fileno()).st_size - good
    return Scanned(n, good, last, tree.root(), rest)


def _is_line(data: bytes) -> bool:
    try:
        quick_line(data)
    except AuditTamperedError:
        return False
    return True


def lines_of(file: Any) -> Iterator[bytes]:
    """Lines with their newlines, none longer than a header may be (a longer one comes in pieces, and does not hold)."""
    while True:
        data = file.readline(MAX_HEADER)
        if not data:
            return
        yield data


def contents_hash(path: Path, size: int) -> str | None:
    """The SHA-256 of the first `size` bytes; None if there are not so many. Raises `OSError`."""
    hasher = hashlib.sha256()
    left = size
    if not size and not path.exists():
        return hasher.hexdigest()
    try:
        with path.open("rb") as file:
            while left:
                part = file.read(min(left, 1 << 20))
                if not part:
                    return None
                hasher.update(part)
                left -= len(part)
    except FileNotFoundError:
        return None
    return hasher.hexdigest()
