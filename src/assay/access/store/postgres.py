"""The store in PostgreSQL (extra `postgres`): for gates on several machines. psycopg 3.

    store = PostgresStore("postgresql://gate@db.example/gate?sslmode=verify-full")

What is wanted of the server: fsync and full_page_writes on, as it comes; synchronous_commit is set here. Nonces are in an unlogged table,
which a crash of the server empties together with the time at which they began, so what was issued before is not accepted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from assay.access.store.base import CLOCKS_MS, PROOF_MS, Rows, Store, StoreError

if TYPE_CHECKING:
    import psycopg

READING = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITING = "ISOLATION LEVEL READ COMMITTED READ WRITE"
SCHEMA_LOCK = 0x6173736179
STATEMENT_MS = 5_000
CLEAN_EVERY_MS = 5_000
TABLES = """
CREATE TABLE IF NOT EXISTS epochs (one integer PRIMARY KEY CHECK (one = 1), epoch bigint NOT NULL);
INSERT INTO epochs VALUES (1, 1) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS grants (id text NOT NULL, version bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (id, version));
CREATE TABLE IF NOT EXISTS revoked (id text PRIMARY KEY, data bytea NOT NULL, signed bytea NOT NULL);
CREATE TABLE IF NOT EXISTS halts (id text PRIMARY KEY, data bytea NOT NULL, signed bytea NOT NULL, lift bytea NOT NULL);
CREATE TABLE IF NOT EXISTS releases (target text PRIMARY KEY, data bytea NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE IF NOT EXISTS quotas (name text PRIMARY KEY, starts bigint NOT NULL, requests bigint NOT NULL DEFAULT 0,
  tokens bigint NOT NULL DEFAULT 0, money bigint NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS quotas_starts ON quotas (starts);
CREATE TABLE IF NOT EXISTS records (kind text NOT NULL, id text NOT NULL, version bigint NOT NULL, data bytea NOT NULL,
  PRIMARY KEY (kind, id));
CREATE UNLOGGED TABLE IF NOT EXISTS nonces (nonce bytea PRIMARY KEY, expiry bigint NOT NULL);
CREATE INDEX IF NOT EXISTS nonces_expiry ON nonces (expiry);
CREATE UNLOGGED TABLE IF NOT EXISTS made (one integer PRIMARY KEY CHECK (one = 1), at bigint NOT NULL)
"""


class _PostgresRows(Rows):
    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql.replace("?", "%s").encode(), values)
        return self._cursor.fetchall() if self._cursor.description else []

    def count(self, sql: str, *values: object) -> int:
        self._cursor.execute(sql.replace("?", "%s").encode(), values)
        return self._cursor.rowcount


class PostgresStore(Store):
    """A store in the database at this address, whose tables are made if they are not there. Raises `StoreError`."""

    for_update = " FOR UPDATE"

    def __init__(self, address: str) -> None:
        self._address = address
        self._local = threading.local()
        self._open: list[tuple[int, psycopg.Connection[Any]]] = []
        self._lock = threading.Lock()
        self._cleaned = 0
        with self.transaction(write=True) as rows:
            rows.run("SELECT pg_advisory_xact_lock(?)", SCHEMA_LOCK)
            for statement in TABLES.split(";\n"):
                rows.run(statement)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Rows]:
        """See `Store`."""
        with self._transaction(WRITING if write else READING) as rows:
            yield rows

    def spend(self, nonces: Sequence[tuple[bytes, int]], now: int) -> list[bool]:
        """See `Store`."""
        with self._transaction(WRITING) as rows:
            rows.run("SET LOCAL synchronous_commit = off")
            found = rows.run("SELECT at FROM made")
            if not found:
                rows.run("SET LOCAL synchronous_commit = on")
                rows.run("SELECT pg_advisory_xact_lock(?)", SCHEMA_LOCK)
                found = rows.run("SELECT at FROM made")
            if not found:
                found = [(self._begin(rows),)]
                rows.run("INSERT INTO made VALUES (1, ?)", found[0][0])
            made = found[0][0]
            if not 0 <= now - self._cleaned < CLEAN_EVERY_MS:
                rows.run("DELETE FROM nonces WHERE expiry < ?", now - CLOCKS_MS)
                self._cleaned = now
            fit = {nonce: expiry for nonce, expiry in nonces if expiry > now and expiry - PROOF_MS >= made}
            order = sorted(fit)  # in one order, so that no two batches wait for each other
            sql = "INSERT INTO nonces SELECT * FROM unnest(?::bytea[], ?::bigint[]) ON CONFLICT DO NOTHING RETURNING nonce"
            new = {bytes(row[0]) for row in rows.run(sql, order, [fit[nonce] for nonce in order])}
        out = []
        for nonce, expiry in nonces:
            out.append(nonce in new and fit[nonce] == expiry)
            new.discard(nonce)
        return out

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            for process, connection in self._open:
                if process == os.getpid():
                    connection.close()
            self._open.clear()
            self._local = threading.local()

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[Rows]:
        import psycopg

        try:
            connection = self._connection()
            try:
                with connection.cursor() as cursor:
                    cursor.execute(f"BEGIN {kind}".encode())
                    yield _PostgresRows(cursor)
                    cursor.execute(b"COMMIT")
            except BaseException:
                self._abandon(connection)
                raise
        except (psycopg.Error, OverflowError) as e:
            raise StoreError(f"the store does not work: {str(e).splitlines()[0] if str(e) else type(e).__name__}") from None

    def _connection(self) -> psycopg.Connection[Any]:
        """This thread's; a fork opens its own."""
        import psycopg

        known = getattr(self._local, "connection", None)
        if known is not None and known[0] == os.getpid() and not known[1].closed:
            connection: psycopg.Connection[Any] = known[1]
            return connection
        options = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS} -c idle_in_transaction_session_timeout=10000"
        connection = psycopg.connect(
            self._address, autocommit=True, connect_timeout=3, application_name="assay-gate", tcp_user_timeout=STATEMENT_MS, options=options
        )
        connection.execute("SET synchronous_commit = on")
        self._local.connection = (os.getpid(), connection)
        with self._lock:
            self._open = [(p, c) for p, c in self._open if not c.closed]
            self._open.append((os.getpid(), connection))
        return connection

    def _abandon(self, connection: psycopg.Connection[Any]) -> None:
        """Roll back; a connection that cannot is closed, and the next call opens another."""
        with suppress(Exception):
            connection.execute(b"ROLLBACK")
            return
        with suppress(Exception):
            connection.close()
