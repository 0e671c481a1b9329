"""The store in SQLite: a file beside the gate's, for all processes of one machine.

    store = SqliteStore(Path("gate.db"))

WAL, so that readers never wait; synchronous=FULL, so that what was said to be written survives a power cut. Nonces are in a file of their
own in the machine's memory, which a power cut empties; what was issued before that file was made is not accepted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.access.store.base import CLOCKS_MS, PROOF_MS, Rows, Store, StoreError

BUSY_S = 5.0
APPLICATION = 0x61737361
LAYOUT = 1
MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of our own, of mode 700, is made in it)
CLEAN_EVERY_MS = 5_000
TABLES = """
CREATE TABLE IF NOT EXISTS epochs (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
INSERT OR IGNORE INTO epochs VALUES (1, 1);
CREATE TABLE IF NOT EXISTS grants (id TEXT NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, version));
CREATE TABLE IF NOT EXISTS revoked (id TEXT PRIMARY KEY, data BLOB NOT NULL, signed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS halts (id TEXT PRIMARY KEY, data BLOB NOT NULL, signed BLOB NOT NULL, lift BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS releases (target TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS quotas (name TEXT PRIMARY KEY, starts INTEGER NOT NULL, requests INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL DEFAULT 0, money INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS quotas_starts ON quotas (starts);
CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (kind, id));
"""
NONCES = """
CREATE TABLE IF NOT EXISTS nonces (nonce BLOB PRIMARY KEY, expiry INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nonces_expiry ON nonces (expiry);
CREATE TABLE IF NOT EXISTS made (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);
"""


class _SqliteRows(Rows):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def count(self, sql: str, *values: object) -> int:
        return self._connection.execute(sql, values).rowcount


class SqliteStore(Store):
    """A store in the file at `path`, made readable by its owner only if it is not there. Raises `StoreError`."""

    quick = True

    def __init__(self, path: Path, memory: Path | None = None) -> None:
        self._path = Path(os.path.realpath(path))
        self._local = threading.local()
        self._open: list[tuple[int, sqlite3.Connection]] = []
        self._lock = threading.Lock()
        self._cleaned = 0
        self._files: dict[Path, tuple[int, int]] = {}
        with _errors(self._path):
            self.memory, self._in_memory = self._nonces_path(memory)
            _own_file(self._path)
            with self.transaction(write=True) as rows:
                self._prepare(rows)

    def _prepare(self, rows: Rows) -> None:
        layout = rows.run("PRAGMA user_version")[0][0]
        application = rows.run("PRAGMA application_id")[0][0]
        if (layout or application) and (layout, application) != (LAYOUT, APPLICATION):
            raise StoreError("this file is of another program or version", where=str(self._path))
        for statement in TABLES.split(";\n"):
            rows.run(statement)
        rows.run(f"PRAGMA user_version = {LAYOUT}")
        rows.run(f"PRAGMA application_id = {APPLICATION}")

    def _nonces_path(self, memory: Path | None) -> tuple[Path, bool]:
        """Where nonces are kept: in a folder of ours in the machine's memory, or beside the store, and then synchronously."""
        base = memory or MEMORY
        name = hashlib.sha256(os.fsencode(self._path)).hexdigest()[:24]
        if not base.is_dir() or not os.access(base, os.W_OK):
            return self._path.with_name(self._path.name + ".nonces"), False
        folder = base / f"assay-{os.getuid()}-{name}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            _own_file(folder / "store")
            (folder / "store").write_bytes(os.fsencode(self._path))
            _forget_gone(base)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise StoreError("the folder of nonces is not ours alone", where=str(folder), fix="Remove it.")
        return folder / "nonces.db", True

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Rows]:
        """See `Store`."""
        with _errors(self._path):
            connection = self._connection("main", self._path, "FULL")
            with _transaction(connection, write=write):
                yield _SqliteRows(connection)

    def epoch(self) -> int:
        """See `Store`; 10 microseconds."""
        with _errors(self._path):
            connection = self._connection("main", self._path, "FULL")
            self._same(self._path)
            found = connection.execute("SELECT epoch FROM epochs WHERE one = 1").fetchone()
            if not found:
                raise StoreError("the store has lost its epoch", where=str(self._path))
            return int(found[0])

    def spend(self, nonces: Sequence[tuple[bytes, int]], now: int) -> list[bool]:
        """See `Store`."""
        with _errors(self.memory):
            connection = self._connection("nonces", self.memory, "OFF" if self._in_memory else "FULL")
            self._same(self.memory)
            with _transaction(connection, write=True):
                made = connection.execute("SELECT at FROM made").fetchone()
                if made is None:
                    raise StoreError("the memory of nonces has lost its beginning", where=str(self.memory))
                if not 0 <= now - self._cleaned < CLEAN_EVERY_MS:
                    connection.execute("DELETE FROM nonces WHERE expiry < ?", (now - CLOCKS_MS,))
                    self._cleaned = now
                return [
                    expiry > now
                    and expiry - PROOF_MS >= made[0]
                    and connection.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, expiry)).rowcount == 1
                    for nonce, expiry in nonces
                ]

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            for process, connection in self._open:
                if process == os.getpid():
                    connection.close()
            self._open.clear()
            self._local = threading.local()

    def _same(self, path: Path) -> None:
        """A file that was removed or replaced under us is not read on: others would write to another."""
        found = path.stat()
        if self._files.setdefault(path, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
            raise StoreError("the file was replaced while it was open", where=str(path), fix="Start the gate again.")

    def _connection(self, name: str, path: Path, synchronous: str) -> sqlite3.Connection:
        """This thread's; a fork opens its own."""
        known = getattr(self._local, name, None)
        if known is not None and known[0] == os.getpid():
            connection: sqlite3.Connection = known[1]
            return connection
        _own_file(path)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        _wal(connection)
        connection.execute("PRAGMA trusted_schema = OFF")
        if name == "nonces":
            with _transaction(connection, write=True):
                for statement in NONCES.split(";\n"):
                    connection.execute(statement)
                if connection.execute("SELECT 1 FROM made").fetchone() is None:
                    with self.transaction(write=True) as rows:
                        began = self._begin(rows)
                    connection.execute("INSERT INTO made VALUES (1, ?)", (began,))
        self._same(path)
        setattr(self._local, name, (os.getpid(), connection))
        with self._lock:
            self._open.append((os.getpid(), connection))
        return connection


def _forget_gone(base: Path) -> None:
    """Remove our folders of nonces whose stores are no more."""
    for folder in base.glob(f"assay-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            place = Path(os.fsdecode((folder / "store").read_bytes()))
            if place.is_absolute() and not place.parent.exists():
                shutil.rmtree(folder, ignore_errors=True)


def _wal(connection: sqlite3.Connection) -> None:
    """WAL mode is kept in the file; the first to set it may find others at work, for which SQLite does not wait."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
            raise StoreError("the file system does not let SQLite share memory (WAL)", fix="Put the store on a local disk.")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError) as e:
        raise StoreError(f"the store does not work: {e.strerror if isinstance(e, OSError) else e}", where=str(path)) from None


def _own_file(path: Path) -> None:
    """An empty file that its owner only may read, unless there is one. (SQLite gives its other files the same rights.)"""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
