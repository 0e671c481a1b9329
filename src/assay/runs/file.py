"""The run file: SQLite in WAL mode, one row a trial, every acknowledged row on disk.

    with RunFile.create(path, opening) as run:
        run.append([trial])          # returns when the rows are durable
    with RunFile.open(path) as run:
        for trial in run.trials(): ...

Rows carry a CRC-32, so damage inside a row is found and named. A lock beside the file keeps a second writer out.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from assay.errors import RunFileError
from assay.judges import Label, Taken
from assay.ledger import canonical, digest
from assay.ledger.canonical import canonical_plain
from assay.plan import Calibration
from assay.runs.reading import FORMAT, Opening, opening_values, to_take
from assay.runs.registered import check_registered
from assay.runs.trial import Trial, read_leaf

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE trial (slot INTEGER PRIMARY KEY, crc INTEGER NOT NULL, leaf BLOB NOT NULL);
CREATE TABLE incident (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE taken (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL);
"""
_CHUNK = 1000


class RunFile:
    """One run. Made by `create`, `open` or `read`; use as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes] | None) -> None:
        self.path = path
        self._db = connection
        self._lock = lock
        self._opening: Opening | None = None

    @classmethod
    def create(cls, path: Path, opening: Opening) -> Self:
        """A new run file with its opening, durable when this returns. Raises `RunFileError`."""
        lock = take_lock(path)
        partial = path.with_name(f".{path.name}.partial")
        try:
            if path.exists():  # asked under the lock: another process may have made one and ended
                raise RunFileError("there is a run file already", where=str(path), fix="Go on with --resume, or choose another --out.")
            partial.unlink(missing_ok=True)
            with explained(path):
                cls._build(partial, opening)
            partial.replace(path)
            sync_folder(path.parent)
            db = _opened(path)
            with explained(path):
                db.execute("PRAGMA journal_mode=WAL")
            return cls(path, db, lock)
        except BaseException:
            lock.close()
            raise
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def _build(cls, partial: Path, opening: Opening) -> None:
        """The whole opening under another name, so that a run file is there whole or not at all, even if this is killed."""
        db = _connect(partial)
        try:
            run = cls(partial, db, None)
            db.execute("PRAGMA journal_mode=MEMORY")
            db.executescript(_SCHEMA)
            with db:
                db.execute("BEGIN IMMEDIATE")
                run._put("format", FORMAT)
                for name, value in opening_values(opening).items():
                    run._put(name, value)
        finally:
            db.close()

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run file, to go on writing. Raises `RunFileError` where another process has it."""
        _exists(path)
        lock = take_lock(path)
        try:
            return cls(path, _opened(path), lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def read(cls, path: Path) -> Self:
        """An existing run file, to read while it may still be written."""
        _exists(path)
        return cls(path, _opened(path), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._db.close()
        if self._lock:
            self._lock.close()

    def append(self, trials: Iterable[Trial], checkpoint: dict[str, Any] | None = None) -> None:
        """Write trials in one transaction; on disk when this returns. Raises `RunFileError`, and then none is written.

        `checkpoint` is the engine's state over a committed prefix, to start a resumed run from; the newest replaces the one before.
        """
        rows = []
        for trial in trials:
            leaf = trial.to_leaf()
            rows.append((trial.slot, zlib.crc32(leaf), leaf))
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO trial (slot, crc, leaf) VALUES (?, ?, ?)", rows)
            if checkpoint is not None:
                value = canonical_plain(checkpoint)
                self._db.execute("INSERT OR REPLACE INTO checkpoint (id, crc, value) VALUES (0, ?, ?)", (zlib.crc32(value), value))

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint; None if there is none or it is damaged, since everything can be had from the trials again."""
        with explained(self.path):
            row = self._db.execute("SELECT crc, value FROM checkpoint WHERE id = 0").fetchone()
        if row is None or not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
            return None
        value = msgspec.json.decode(row[1])
        return value if isinstance(value, dict) else None

    def note_incident(self, incident: dict[str, str | int]) -> None:
        """Keep what happened beside the trials: an outage, an interruption, a resumption."""
        value = canonical(incident)
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO incident (crc, value) VALUES (?, ?)", (zlib.crc32(value), value))

    def incidents(self) -> list[dict[str, str | int]]:
        """Everything noted, oldest first."""
        with explained(self.path):
            rows = self._db.execute("SELECT crc, value FROM incident ORDER BY id").fetchall()
        return [msgspec.json.decode(self._whole(crc, value, "an incident")) for crc, value in rows]

    def take(self, labels: Sequence[Label], calibration: Calibration | None = None) -> Taken | None:
        """Take in the labels that are newer than those taken before, and a calibration, from behind the last trial on; None if there is
        nothing new. Raises `RunFileError` for a calibration with fewer labels than one before it, or on this very run.
        """
        new = to_take(self, str(self.path), labels, calibration)
        if new is None:
            return None
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            slots = int(self._db.execute("SELECT coalesce(max(slot), -1) + 1 FROM trial").fetchone()[0])
            taken = new.at(slots)
            value = canonical_plain(taken)
            self._db.execute("INSERT INTO taken (crc, value) VALUES (?, ?)", (zlib.crc32(value), value))
        return taken

    def taken(self) -> list[Taken]:
        """All labels that were taken in, each time by itself, oldest first."""
        with explained(self.path):
            rows = self._db.execute("SELECT crc, value FROM taken ORDER BY id").fetchall()
        return [msgspec.json.decode(self._whole(crc, value, "labels"), type=Taken) for crc, value in rows]

    def trials(self, start: int = 0) -> Iterator[Trial]:
        """Trials from slot `start` on, by slot. Slots may have gaps where the run was cut. Raises `RunFileError` on a damaged row."""
        return (read_leaf(leaf) for _, leaf in self.leaves(start))

    def leaves(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Slot and leaf bytes, by slot, from slot `start` on. Rows may be appended meanwhile."""
        while True:
            with explained(self.path):
                rows = self._db.execute(
                    "SELECT slot, crc, leaf FROM trial WHERE slot >= ? ORDER BY slot LIMIT ?", (start, _CHUNK)
                ).fetchall()
            for slot, crc, leaf in rows:
                yield slot, self._whole(crc, leaf, f"trial {slot}")
            if len(rows) < _CHUNK:
                return
            start = rows[-1][0] + 1

    def trial(self, slot: int) -> Trial:
        """One trial. Raises `RunFileError` if it is not there or damaged."""
        with explained(self.path):
            row = self._db.execute("SELECT crc, leaf FROM trial WHERE slot = ?", (slot,)).fetchone()
        if row is None:
            raise RunFileError(f"the run file has no trial {slot}", where=str(self.path))
        return read_leaf(self._whole(row[0], row[1], f"trial {slot}"))

    def count(self, start: int = 0) -> int:
        """How many trials are acknowledged, from slot `start` on."""
        with explained(self.path):
            return int(self._db.execute("SELECT count(*) FROM trial WHERE slot >= ?", (start,)).fetchone()[0])

    def unbroken(self) -> int:
        """How many trials there are before the first gap."""
        with explained(self.path):
            count, last = self._db.execute("SELECT count(*), max(slot) FROM trial").fetchone()
            if not count or last == count - 1:
                return int(count)
            slots = self._db.execute("SELECT slot FROM trial ORDER BY slot")
            return next(expected for expected, (slot,) in enumerate(slots) if slot != expected)

    @property
    def digest(self) -> str:
        """The digest of the signed registration: the identity of this run."""
        return digest(self.opening().opened)

    def opening(self) -> Opening:
        """What was fixed before the first trial. It never changes, so it is read, and held against its signature, once."""
        if self._opening is None:
            try:
                opening = msgspec.convert({f: self._get(f) for f in Opening.__struct_fields__}, Opening)
            except msgspec.ValidationError as e:
                raise RunFileError(f"the run file's opening is damaged: {e}", where=str(self.path)) from None
            check_registered(opening, str(self.path))
            self._opening = opening
        return self._opening

    def watch(self, told: Callable[[str, float], object]) -> None:
        """Nothing: a file always answers."""

    def hasten(self) -> None:
        """Nothing: a file always answers."""

    def _put(self, name: str, value: Any) -> None:
        data = canonical(value)
        self._db.execute("INSERT OR REPLACE INTO meta (name, crc, value) VALUES (?, ?, ?)", (name, zlib.crc32(data), data))

    def _get(self, name: str) -> Any:
        with explained(self.path):
            row = self._db.execute("SELECT crc, value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise RunFileError(f"the run file lacks its '{name}'", where=str(self.path))
        return msgspec.json.decode(self._whole(row[0], row[1], f"'{name}'"))

    def _whole(self, crc: int, value: bytes, what: str) -> bytes:
        if not isinstance(value, bytes) or zlib.crc32(value) != crc:
            raise RunFileError(f"the run file is damaged: {what} does not match its checksum", where=str(self.path))
        return value


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute("PRAGMA synchronous=FULL")
    return db


def _opened(path: Path) -> sqlite3.Connection:
    with explained(path):
        db = _connect(path)
        try:
            row = db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
            if row is None or msgspec.json.decode(row[0]) != FORMAT:
                raise RunFileError(f"not a run file of format {FORMAT}", where=str(path))
        except BaseException:
            db.close()
            raise
    return db


def _exists(path: Path) -> None:
    if not path.is_file():
        raise RunFileError("there is no run file", where=str(path))


def take_lock(path: Path, what: str = "run") -> IO[bytes]:
    """The lock beside a run (or `what` it is), held until it is closed: one writer on this machine at a time. Raises `RunFileError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as e:
        raise RunFileError(f"cannot write here: {e.strerror}", where=str(path.parent)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RunFileError(f"another process is writing this {what}", where=str(path), fix="Wait for it, or stop it.") from None
    return lock


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.IntegrityError as e:
        raise RunFileError(f"this trial is in the run file already: {e}", where=str(path)) from None
    except sqlite3.DatabaseError as e:
        text = str(e)
        if "full" in text:
            raise RunFileError(
                "the disk is full; everything acknowledged is safe",
                where=str(path),
                fix="Make room, then go on with --resume.",
            ) from None
        what = "the run file is damaged" if "malformed" in text or "not a database" in text else "the run file cannot be used"
        raise RunFileError(f"{what}: {text}", where=str(path)) from None


def lock_within(file: IO[bytes], seconds: float) -> bool:
    """Take an exclusive lock on an open file, held until it is closed, waiting up to so many seconds; whether it was had."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        else:
            return True


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that appears at `path` whole or not at all, and is on disk when this ends. Raises `OSError`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
