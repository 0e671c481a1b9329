"""The label file: people's labels on a run, beside the run file. SQLite in WAL mode; every acknowledged label is on disk.

    with LabelFile.open(run_folder / "labels.db", run_digest) as labels:
        labels.add(slot=41, item=..., transcript=..., labeller="Aisyah", verdict="violation", refusal="none", confidence="high")
        labels.all()

Append-only: nothing is changed or deleted, and several processes may write at once.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.errors import RunFileError
from assay.judges.labels import Label
from assay.ledger.canonical import canonical_plain
from assay.runs.file import explained
from assay.runs.reading import RunStore

FORMAT = "assay-labels/1"
LABELS_NAME = "labels.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS label (number INTEGER PRIMARY KEY AUTOINCREMENT, crc INTEGER NOT NULL, value BLOB NOT NULL);
"""


class LabelFile:
    """The labels of one run. Made by `open`; use as a context manager. Not shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path, run: str) -> Self:
        """The file at `path`, made if it is not there; `run` is the digest of the run's registration (`run_digest`). Raises `RunFileError`
        for a file of another run or format.
        """
        with explained(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                db = sqlite3.connect(path, isolation_level=None, timeout=10)
            except OSError as e:
                raise RunFileError(f"cannot write here: {e.strerror}", where=str(path)) from None
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                db.executescript(_SCHEMA)
                db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('format', ?), ('run', ?)", (FORMAT, run))
                found = dict(db.execute("SELECT name, value FROM meta"))
                if found.get("format") != FORMAT:
                    raise RunFileError(f"not a label file of format {FORMAT}", where=str(path))
                if found.get("run") != run:
                    raise RunFileError("these labels belong to another run", where=str(path))
            except BaseException:
                db.close()
                raise
        return cls(path, db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, **values: Any) -> Label:
        """Append one act; on disk when this returns. The fields are `Label`'s but `number`, and `at` is now unless given. Raises
        `RunFileError`, also for a value that is not valid.
        """
        return self.add_all([values])[0]

    def add_all(self, acts: Iterable[Mapping[str, Any]]) -> list[Label]:
        """Append acts, all or none; see `add`."""
        out = []
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            first = int(self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM label").fetchone()[0])
            for number, values in enumerate(acts, first):
                given = {"at": time.time_ns() // 1_000_000, **values, "number": number}
                try:
                    label = msgspec.convert(given, Label)
                except msgspec.ValidationError as e:
                    raise RunFileError(f"not a label: {e}", where=str(self.path)) from None
                value = canonical_plain(label)
                self._db.execute("INSERT INTO label (number, crc, value) VALUES (?, ?, ?)", (number, zlib.crc32(value), value))
                out.append(label)
        return out

    def all(self, after: int = 0) -> list[Label]:
        """All acts in order, from number `after` + 1 on. Raises `RunFileError` for a damaged one."""
        with explained(self.path):
            rows = self._db.execute("SELECT number, crc, value FROM label WHERE number > ? ORDER BY number", (after,)).fetchall()
        out = []
        for number, crc, value in rows:
            if not isinstance(value, bytes) or zlib.crc32(value) != crc:
                raise RunFileError(f"the label file is damaged: label {number} does not match its checksum", where=str(self.path))
            out.append(msgspec.json.decode(value, type=Label))
        return out


def labels_path(run: Path) -> Path:
    """Where a run file's labels are: beside it."""
    return run.with_name(LABELS_NAME)


def read_labels(run: RunStore) -> list[Label]:
    """All labels of a run that are beside it here; none where there is no label file."""
    path = labels_path(run.path)
    if not path.is_file():
        return []
    with LabelFile.open(path, run.digest) as labels:
        return labels.all()
