"""What the page keeps beside the labels: drafts of labels not given yet, and receipts, so that an act that is sent twice counts once.

    with DeskFile.open(run_folder / "label-desk.db") as desk:
        at = desk.receipt("Aisyah", "3f0c...", now_ms)         # the same for the same client id, for ever
        desk.put_draft("Aisyah", 41, {"verdict": "violation", "note": "half a sente"}, now_ms)

Losing this file loses drafts and no label.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.errors import RunFileError
from assay.runs.file import explained

DESK_NAME = "label-desk.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipt (labeller TEXT NOT NULL, client TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (labeller, client))
  WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS receipt_at ON receipt (labeller, at);
CREATE TABLE IF NOT EXISTS draft (labeller TEXT NOT NULL, slot INTEGER NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (labeller, slot)) WITHOUT ROWID;
"""


class DeskFile:
    """Drafts and receipts of one run. Made by `open`; use as a context manager. Not shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file at `path`, made if it is not there. Raises `RunFileError`."""
        with explained(path):
            try:
                path.touch(mode=0o600)
                db = sqlite3.connect(path, isolation_level=None, timeout=10)
            except (OSError, sqlite3.OperationalError) as e:
                raise RunFileError(f"cannot write here: {e}", where=str(path)) from None
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                db.executescript(_SCHEMA)
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

    def receipt(self, labeller: str, client: str, now: int) -> int:
        """The time in milliseconds under which an act is filed, on disk when this returns: the same for the same client id, and another for
        every other act of that labeller.
        """
        with explained(self.path), self.alone():
            found = self._db.execute("SELECT at FROM receipt WHERE labeller = ? AND client = ?", (labeller, client)).fetchone()
            if found:
                return int(found[0])
            last = self._db.execute("SELECT max(at) FROM receipt WHERE labeller = ?", (labeller,)).fetchone()[0] or 0
            at = max(now, int(last) + 1)
            self._db.execute("INSERT INTO receipt (labeller, client, at) VALUES (?, ?, ?)", (labeller, client, at))
            return at

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process files anything meanwhile."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield

    def put_draft(self, labeller: str, slot: int, value: dict[str, Any], at: int) -> None:
        """Keep a draft, unless a later one is there."""
        with explained(self.path):
            self._db.execute(
                "INSERT INTO draft (labeller, slot, at, value) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (labeller, slot) DO UPDATE SET at = ?3, value = ?4 WHERE at <= ?3",
                (labeller, slot, at, msgspec.json.encode(value)),
            )

    def drop_draft(self, labeller: str, slot: int) -> None:
        """Forget a draft."""
        with explained(self.path):
            self._db.execute("DELETE FROM draft WHERE labeller = ? AND slot = ?", (labeller, slot))

    def drafts(self, labeller: str) -> dict[int, tuple[int, dict[str, Any]]]:
        """Somebody's drafts by slot, each with its time, the latest first."""
        with explained(self.path):
            rows = self._db.execute("SELECT slot, at, value FROM draft WHERE labeller = ? ORDER BY at DESC", (labeller,)).fetchall()
        return {slot: (at, msgspec.json.decode(value)) for slot, at, value in rows}
