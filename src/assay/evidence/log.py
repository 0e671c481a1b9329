"""The log as a folder: runs are registered in it before their first trial and must end in it, so that a dropped run shows.

    log = Log.create(Path("log"), "example.org/assay", key)
    log.add(Path("runs/first"))        # the registration, and the decision once there is one
    log.checkpoint(key)                # signs size and root; the other party cosigns (`evidence.witness`)

`log.json` names the log and its key; `entries.jsonl` is append-only, a canonical JSON value a line, each on disk before it is acknowledged;
`checkpoints/` keeps every signed checkpoint. The leaves of the tree are the lines without their newline. A log that has shrunk, or in which
anything under a checkpoint has changed, is not written to any more. `evidence.logbook` says what the entries mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.evidence.logbook import LogError, LogTamperedError, read_book
from assay.evidence.logsource import entries_of, read_source
from assay.ledger import MerkleTree, PrivateKey, canonical, leaf_hash
from assay.ledger.notes import SIGNATURE, Checkpoint, Note, NoteKey, distinct, key_name, sign_note, verify_note
from assay.ledger.proofs import root_of
from assay.runs import lock_within, whole_file

FORMAT = "assay-log/1"
HEAD_NAME = "log.json"
KEY_NAME = "log.vkey"
ENTRIES_NAME = "entries.jsonl"
CHECKPOINTS_NAME = "checkpoints"
MAX_LOG_BYTES = 1 << 30
MAX_CHECKPOINTS = 100_000
LOCK_S = 30


class Signed(Struct, frozen=True):
    """A checkpoint of the log with its signatures."""

    head: Checkpoint
    note: Note


class View(Struct, frozen=True):
    """The log's files as read once. `torn` is the length of a last line that was never acknowledged."""

    key: NoteKey
    lines: tuple[bytes, ...]
    torn: int
    checkpoints: tuple[Signed, ...]

    @property
    def hashes(self) -> list[bytes]:
        """The leaf hashes, in order."""
        return [leaf_hash(line) for line in self.lines]

    def at(self, size: int) -> Signed | None:
        """The checkpoint of this size."""
        return next((c for c in self.checkpoints if c.head.size == size), None)


class Added(Struct, frozen=True):
    """What `Log.add` did: the run, the entries that were appended (their indexes), the size now, and how long a torn line it removed."""

    run: str
    appended: tuple[int, ...]
    size: int
    closed: bool
    torn: int


class Log:
    """A log's folder, to write to. Made by `create` or `open`; every act takes the folder's lock, so several processes may use it."""

    def __init__(self, folder: Path, key: NoteKey) -> None:
        self.folder = folder
        self.key = key

    @classmethod
    def create(cls, folder: Path, origin: str, key: PrivateKey) -> Self:
        """An empty log named `origin`, whose checkpoints `key` signs. Raises `LogError` if there is one already."""
        public = NoteKey(key_name(origin), key.public, SIGNATURE)
        try:
            (folder / CHECKPOINTS_NAME).mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                if (folder / HEAD_NAME).exists():
                    raise LogError("there is a log here already", where=str(folder))
                with (folder / ENTRIES_NAME).open("ab") as entries:
                    if entries.tell():
                        raise LogError("there are entries here already", where=str(folder / ENTRIES_NAME))
                write_durably(folder / KEY_NAME, public.text.encode() + b"\n")
                write_durably(folder / HEAD_NAME, canonical({"assay-log": FORMAT, "key": public.text}) + b"\n")
        except OSError as e:
            raise LogError(f"cannot make the log: {e.strerror}", where=str(folder)) from None
        return cls(folder, public)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """An existing log. Raises `LogError`."""
        return cls(folder, _read_key(folder))

    def add(self, path: Path) -> Added:
        """Register the run (a folder, run file or bundle) and, once it has ended, its decision; what is there already stays as it is.

        Raises `LogTamperedError` for a log that was shrunk or rewritten and for a decision that does not go on from the one logged before,
        `LogError` for what cannot be logged.
        """
        source = read_source(path)
        with _locked(self.folder):
            view, torn = self._repaired()
            size = len(view.lines)
            entries = entries_of(source, read_book(enumerate(view.lines)), str(path))
            for entry in entries:
                self._append(entry)
        return Added(source.digest, tuple(range(size, size + len(entries))), size + len(entries), source.decision is not None, torn)

    def checkpoint(self, key: PrivateKey) -> Signed:
        """Sign the log as it is, and keep the checkpoint; the one that is there, with its cosignatures, if nothing was added since.

        Raises `LogTamperedError` rather than sign what contradicts an earlier checkpoint.
        """
        if key.public != self.key.public:
            raise LogError("this is not the log's key", where=str(self.folder), fix="Sign with the key that the log was made with (--key).")
        with _locked(self.folder):
            view, _ = self._repaired()
            head = Checkpoint(self.key.name, len(view.lines), root_of(view.hashes))
            signed = view.at(head.size) or Signed(head, Note(head.to_text()).signed(sign_note(head.to_text(), self.key.name, key)))
            self._keep(signed)
        return signed

    def add_signatures(self, note: Note) -> Signed:
        """Keep the cosignatures of a note whose text is that of a checkpoint of this log. Raises `LogError` if it is not."""
        with _locked(self.folder):
            view = checked(read_log(self.folder), str(self.folder))
            kept = view.at(Checkpoint.parse(note.text).size)
            if kept is None or kept.note.text != note.text:
                raise LogError("this is no checkpoint of this log", where=str(self.folder))
            signed = Signed(kept.head, kept.note.signed(*(s for s in note.signatures if (s.name, s.id) != (self.key.name, self.key.id))))
            self._keep(signed)
        return signed

    def awaited(self, run: str, witnesses: Sequence[NoteKey]) -> list[str]:
        """The names of those who have not cosigned a checkpoint that holds the registration of `run` (its digest). Raises `LogError`, also
        where the log's own key is to witness.
        """
        if any(w.public == self.key.public for w in witnesses):
            raise LogError("the log's own key is no witness", where=str(self.folder), fix="Name the other party's key: --witness-key")
        view = checked(read_log(self.folder), str(self.folder))
        logged = read_book(enumerate(view.lines)).runs.get(run)
        if logged is None:
            raise LogError(f"run {run} is not registered here", where=str(self.folder))
        missing = {w.public.raw: w.name for w in witnesses}
        for c in view.checkpoints:
            if c.head.size > logged.index:
                for held in distinct(verify_note(c.note, witnesses)):
                    missing.pop(held.key.public.raw, None)
        return sorted(missing.values())

    def _keep(self, signed: Signed) -> None:
        write_durably(checkpoint_path(self.folder, signed.head.size), signed.note.to_bytes())

    def _repaired(self) -> tuple[View, int]:
        """The log as it is, without a torn last line; how long that was."""
        view = checked(read_log(self.folder), str(self.folder))
        if view.torn:
            path = self.folder / ENTRIES_NAME
            with path.open("rb+") as entries:
                entries.truncate(sum(len(line) + 1 for line in view.lines))
                os.fsync(entries.fileno())
        return view, view.torn

    def _append(self, entry: bytes) -> None:
        """Returns when the entry is on disk. The newline follows only then: a line that has one was written whole, even if power fails."""
        path = self.folder / ENTRIES_NAME
        try:
            with path.open("ab", buffering=0) as entries:
                for part in (entry, b"\n"):
                    if entries.write(part) != len(part):
                        raise LogError("the disk is full; every acknowledged entry is safe", where=str(path))
                    os.fsync(entries.fileno())
        except OSError as e:
            raise LogError(f"cannot write: {e.strerror}; every acknowledged entry is safe", where=str(path)) from None


def read_log(folder: Path) -> View:
    """All of a log, unchecked but for its form. Raises `LogError`."""
    key = _read_key(folder)
    found = sorted((folder / CHECKPOINTS_NAME).glob("*.note"))
    if len(found) > MAX_CHECKPOINTS:
        raise LogError(f"{len(found):,} checkpoints", where=str(folder))
    checkpoints = []
    for name in found:
        try:
            note = Note.parse(_bounded(name, 1 << 21))
            head = Checkpoint.parse(note.text)
        except AssayError as e:
            raise LogTamperedError(f"a damaged checkpoint: {e.what}", where=str(name)) from None
        if name != checkpoint_path(folder, head.size):
            raise LogTamperedError(f"a checkpoint of size {head.size} under the name of another", where=str(name))
        checkpoints.append(Signed(head, note))
    data = _bounded(folder / ENTRIES_NAME, MAX_LOG_BYTES)  # read after the checkpoints: a log that grows meanwhile has not shrunk
    *lines, rest = data.split(b"\n")
    return View(key, tuple(lines), len(rest), tuple(checkpoints))


def checked(view: View, where: str) -> View:
    """The same, if the log's key signed every checkpoint and each holds over the entries. Raises `LogTamperedError` saying what differs."""
    tree, good = MerkleTree(), 0
    for c in view.checkpoints:
        size = c.head.size
        if c.head.origin != view.key.name or not verify_note(c.note, [view.key]):
            raise LogTamperedError(f"the checkpoint of size {size} is not signed by the log's key", where=where)
        if size > len(view.lines):
            raise LogTamperedError(f"the log has shrunk: {len(view.lines)} entries, where a signed checkpoint has {size}", where=where)
        for line in view.lines[tree.size : size]:
            tree.append(line)
        if tree.root() != c.head.root:
            raise LogTamperedError(
                f"the log was rewritten: entries {good} to {size - 1} are not those under the signed checkpoint of size {size}", where=where
            )
        good = size
    return view


def checkpoint_path(folder: Path, size: int) -> Path:
    """Where the checkpoint of this size is kept; names sort by size."""
    return folder / CHECKPOINTS_NAME / f"{size:012d}.note"


def write_durably(path: Path, data: bytes) -> None:
    """Put a small file at `path`, whole or not at all, on disk when this returns. Raises `LogError`."""
    try:
        with whole_file(path) as out:
            out.write(data)
    except OSError as e:
        raise LogError(f"cannot write: {e.strerror}", where=str(path)) from None


def _read_key(folder: Path) -> NoteKey:
    path = folder / HEAD_NAME
    if not path.is_file():
        raise LogError("there is no log here", where=str(folder), fix="Make one: assay log init FOLDER --origin NAME")
    raw = _bounded(path, 4096)
    try:
        value = msgspec.json.decode(raw)
        if not isinstance(value, dict) or set(value) != {"assay-log", "key"} or value["assay-log"] != FORMAT:
            raise LogError(f"not a log of format {FORMAT}", where=str(path))
        return NoteKey.parse(str(value["key"]), kind=SIGNATURE)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise LogError("not JSON", where=str(path)) from None


def _bounded(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise LogError(f"a file of {size:,} bytes; at most {limit:,} are read", where=str(path))
        return path.read_bytes()
    except OSError as e:
        raise LogError(f"cannot read: {e.strerror}", where=str(path)) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one writer at a time. Raises `LogError` after `LOCK_S` seconds."""
    with lock_file(folder / ".lock"):
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """An exclusive lock on a file, waited for up to `LOCK_S` seconds. Raises `LogError`."""
    try:
        lock = path.open("ab")
    except OSError as e:
        raise LogError(f"cannot write here: {e.strerror}", where=str(path.parent)) from None
    with lock:
        if not lock_within(lock, LOCK_S):
            raise LogError("another process holds it", where=str(path), fix="Wait for it, or stop it.")
        yield
