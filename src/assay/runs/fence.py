"""Who may write a run in a store: whoever took its newest epoch, and nobody else, whatever a server or a network does meanwhile.

fence = Fence(address.run, where=address.text)
fence.take_over(db, number)                     # from now on a writer before us writes nothing
fence.put(db, "WITH held AS (...) INSERT ...", values)

Every write locks the run's row in share mode and compares epoch and token in the same transaction; taking over updates that row, so it
waits for a write that is under way, and none comes after it. The token tells two takers of the same epoch apart, as a standby that missed
the last epoch may give it again. The advisory lock only spares a second writer the surprise: it goes with its session.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from assay.errors import RunFileError

if TYPE_CHECKING:
    import psycopg

HELD = "WITH held AS MATERIALIZED (SELECT 1 FROM assay.run WHERE number = %(run)s AND epoch = %(epoch)s AND token = %(token)s FOR SHARE)"
"""What every write begins with; it ends with `SELECT count(*) FROM held`."""
_PROOF = HELD + " SELECT count(*) FROM held"  # noqa: S608 (our own text)
LIVE = """EXISTS (SELECT FROM pg_locks AS held WHERE held.locktype = 'advisory' AND held.objsubid = 1 AND held.granted
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (held.classid::bigint << 32) | held.objid::bigint = %s)"""
"""Whether some session has the advisory lock of this number."""
REGAIN_TRIES, REGAIN_PAUSE_S = 10, 0.05


class FencedError(RunFileError):
    """Another process has taken the run over, so this one may not write it any more."""


class Fence:
    """One writer's claim on one run; `run` is the run's whole digest in hexadecimal."""

    def __init__(self, run: str, where: str) -> None:
        self._run = run
        self._where = where
        self._number = 0
        self._epoch = 0
        self._token = secrets.token_hex(16)
        self._backend: tuple[Any, ...] | None = None

    @property
    def key(self) -> int:
        """The run's advisory lock: a number of 64 bits."""
        return lock_key(self._run)

    def begin(self, db: psycopg.Connection[Any]) -> int:
        """Put a new run into the store, in the transaction that is open; its number there."""
        self._hold(db)
        row = db.execute(
            "INSERT INTO assay.run (id, lock, epoch, token, writer) VALUES (%s, %s, 1, %s, %s) RETURNING number",
            (self._run, self.key, self._token, _writer()),
        ).fetchone()
        assert row is not None  # noqa: S101 (RETURNING gives a row, or the statement fails)
        self._number, self._epoch = int(row[0]), 1
        return self._number

    def take_over(self, db: psycopg.Connection[Any], number: int) -> None:
        """Take the next epoch. Raises `RunFileError` where another session has the lock."""
        self._hold(db)
        row = db.execute(
            "UPDATE assay.run SET epoch = epoch + 1, token = %s, writer = %s WHERE number = %s RETURNING epoch",
            (self._token, _writer(), number),
        ).fetchone()
        assert row is not None  # noqa: S101 (the run was found)
        self._number, self._epoch = number, int(row[0])

    def put(self, db: psycopg.Connection[Any], sql: str, given: dict[str, Any]) -> None:
        """Write, if the run is still ours. Raises `FencedError`, and then nothing is written."""
        row = db.execute(sql.encode(), {"run": self._number, "epoch": self._epoch, "token": self._token} | given).fetchone()
        if row is None or row[0] != 1:
            raise FencedError(
                "another process goes on with this run, so this one has stopped; what it had acknowledged is kept",
                where=self._where,
                fix="Who writes: assay store list",
            )

    def regain(self, db: psycopg.Connection[Any]) -> None:
        """Go on over a new connection. Raises `FencedError` where another process took over meanwhile."""
        import psycopg

        if self._backend is not None:  # the session that broke may linger on the server, with a statement under way
            with suppress(psycopg.errors.InsufficientPrivilege):
                db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s", self._backend)
        self.put(db, _PROOF, {})
        with suppress(RunFileError):
            self._hold(db, REGAIN_TRIES)

    def _hold(self, db: psycopg.Connection[Any], tries: int = 1) -> None:
        """Take the advisory lock. Raises `RunFileError` where another session has it."""
        me = db.execute("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
        for attempt in range(tries):
            time.sleep(REGAIN_PAUSE_S if attempt else 0)
            had = db.execute("SELECT pg_try_advisory_lock(%s)", (self.key,)).fetchone()
            if had and had[0]:
                self._backend = me
                return
        who = db.execute("SELECT left(writer, 200) FROM assay.run WHERE id = %s", (self._run,)).fetchone()
        raise RunFileError(
            f"another process is writing this run ({ascii(who[0])[1:-1] if who else 'it has just begun'})",
            where=self._where,
            fix="Wait for it, or stop it. The lock of a machine that is gone is free half a minute later.",
        )


def lock_key(run: str) -> int:
    """The advisory lock of a run: a number of 64 bits."""
    return int.from_bytes(hashlib.sha256(b"assay run " + run.encode()).digest()[:8], "big", signed=True)


def _writer() -> str:
    return f"{socket.gethostname()[:100]}, process {os.getpid()}"
