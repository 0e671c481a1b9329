"""One connection to a PostgreSQL store, made again when it breaks, and its errors in our words. psycopg 3.

session = Session(parse_store("postgresql://assay@db.example/assay"), write=True, typed=True)
session.persist(lambda db, doubtful: db.execute("SELECT ...").fetchall())       # once more over a new connection, if this one breaks

Who writes gets a session whose commits are on disk when they return, or none at all. `typed` says that a person or a program named the
address itself, and not a file that may come from others.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from assay.errors import RunFileError
from assay.runs.address import StoreAddress, known_store, password_for
from assay.runs.pgtables import check_format, prepare
from assay.runs.reading import AWAY

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
FIRST_PAUSE_S, LONGEST_PAUSE_S, HASTY_S = 0.1, 1.0, 5.0
CONNECT_S = 5
STATEMENT_MS = 60_000
LOCK_MS = 15_000
SILENT_MS = 20_000
"""How long a peer may be silent before either side gives the connection up: so the lock of a machine that is gone is free soon."""
_SETTINGS = f"""
SELECT set_config('search_path', 'pg_catalog', false), set_config('statement_timeout', '{STATEMENT_MS}', false),
  set_config('lock_timeout', '{LOCK_MS}', false), set_config('idle_in_transaction_session_timeout', '10000', false),
  set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '3', false),
  set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '{SILENT_MS}', false),
  set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""


class StoreAwayError(RunFileError):
    """The store does not answer, or does not let us in."""


class Session:
    """At most one connection, shared by threads. `regain` sees every connection but the first, before it is used."""

    def __init__(self, address: StoreAddress, *, write: bool, typed: bool) -> None:
        self.address = _resolved(address)
        self.regain: Callable[[psycopg.Connection[Any]], None] = lambda db: None
        self.told: Callable[[str, float], object] = lambda reason, seconds: None
        self.patience_s = 0.0
        self.go_on = "Go on when it is back: assay run --resume --out FOLDER"
        self.hurry = threading.Event()
        self._made = 0
        self._write = write
        self._typed = typed
        self._mutex = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None

    def connection(self) -> psycopg.Connection[Any]:
        """The connection, in autocommit. Raises psycopg's errors, and `RunFileError` where the store is not fit for it."""
        db = self._connection
        if db is None or db.closed:
            db = self._connect()
            if self._made:
                try:
                    self.regain(db)
                except BaseException:
                    db.close()
                    raise
            self._connection = db
            self._made += 1
        return db

    def drop(self) -> None:
        """Close the connection; the next call makes another."""
        with self._mutex:
            db, self._connection = self._connection, None
            if db is not None:
                with suppress(Exception):
                    db.close()

    def persist(self, work: Callable[[psycopg.Connection[Any], bool], T]) -> T:
        """Work over the connection, and over another while the store is away: for `patience_s`, or once more if that is 0. `work` is told
        whether it is doubtful that it was done before. Raises `RunFileError`.
        """
        import psycopg

        began, pause, doubtful = 0.0, FIRST_PAUSE_S, False
        while True:
            try:
                with self._mutex:
                    return work(self.connection(), doubtful)
            except psycopg.Error as e:
                if not _is_passing(e):
                    raise self.error(e) from None
                error = e
            self.drop()
            now = time.monotonic()
            began = began or now
            if doubtful and now - began >= self._patience():
                raise self._away(error, now - began) from None
            doubtful = True
            if self.patience_s:
                self.told(f"{AWAY}{self.reason(error)}", now - began)
                if self.hurry.wait(pause):
                    time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _patience(self) -> float:
        """Seconds; where somebody wants to stop, a few at most."""
        return min(self.patience_s, HASTY_S) if self.hurry.is_set() else self.patience_s

    def _away(self, error: psycopg.Error, seconds: float) -> RunFileError:
        if not self.patience_s:
            return self.error(error)
        what = f"the store has not answered for {seconds:.0f} s ({self.reason(error)}); everything acknowledged is safe"
        return StoreAwayError(what, where=self.address.text, fix=self.go_on)

    def error(self, error: psycopg.Error) -> RunFileError:
        """A psycopg error in our words."""
        import psycopg

        where, said = self.address.text, self.reason(error)
        if error.sqlstate == "53100":
            return RunFileError(
                f"the store's disk is full; everything acknowledged is safe ({said})",
                where=where,
                fix="Make room, then go on with --resume.",
            )
        if error.sqlstate in ("42501", "28000", "28P01"):
            return RunFileError(f"the store does not let this role do it: {said}", where=where, fix="Its rights are in docs/store.md.")
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return StoreAwayError(f"the store cannot be reached: {said}", where=where, fix=self._hint(said))
        return RunFileError(f"the store does not work: {said}", where=where)

    def reason(self, error: psycopg.Error) -> str:
        """The first line of what went wrong, without a password."""
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()[:400]
        secrets = (self._password(), os.environ.get("PGPASSWORD"))
        for secret in secrets:
            said = said.replace(secret, "***") if secret else said
        return said

    def _password(self) -> str | None:
        return password_for(self.address, typed=self._typed)

    def _hint(self, said: str) -> str:
        if "password" not in said:
            return ""
        if os.environ.get("PGPASSWORD") and self._password() == "":
            return "For an address in a file, PGPASSWORD counts only if PGHOST names the same host; or use PGPASSFILE or ASSAY_STORE_URL."
        return "Give the password by PGPASSFILE, PGPASSWORD or ASSAY_STORE_URL."

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        own = None if self._typed else known_store(self.address)
        reached = self.address if own is None else replace(self.address, options=own.options)
        db: psycopg.Connection[Any] = psycopg.connect(**_parameters(reached, self._password(), write=self._write))
        try:
            db.execute(_SETTINGS.encode())
            if self._write:
                prepare(db, self.address)
            else:
                check_format(db, self.address)
        except BaseException:
            db.close()
            raise
        return db


def _is_passing(error: psycopg.Error) -> bool:
    """Whether it may be gone over another connection: the server is away, starts, fails over, or had no time."""
    import psycopg

    if error.sqlstate in ("53100", "58030") or (error.sqlstate or "").startswith("28"):
        return False
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or error.sqlstate == "25006"


def _parameters(address: StoreAddress, password: str | None, *, write: bool) -> dict[str, Any]:
    """How libpq is called. TLS with a checked name is the default to other machines; a server that asks for a bare password gets none."""
    options: dict[str, Any] = dict(address.options)
    if not address.is_near and "service" not in options and not os.environ.get("PGSSLMODE"):
        options.setdefault("sslmode", "verify-full")
    if "service" not in options:
        named = {"user": address.user, "host": ",".join(address.hosts), "port": ",".join(address.ports), "dbname": address.database}
        options |= {name: value for name, value in named.items() if value}
    if write:
        options.setdefault("target_session_attrs", "read-write")
    if not os.environ.get("PGREQUIREAUTH"):
        options["require_auth"] = "!password,!md5"
    if password is not None:
        options["password"] = password
    return options | {
        "autocommit": True, "connect_timeout": CONNECT_S, "application_name": "assay-run", "client_encoding": "UTF8",
        "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": SILENT_MS,
    }  # fmt: skip


def _resolved(address: StoreAddress, surroundings: Mapping[str, str] = os.environ) -> StoreAddress:
    """With what libpq would take from the surroundings, so that a reference means the same elsewhere."""
    if "service" in dict(address.options):
        return address
    hosts = address.hosts or tuple(h for h in surroundings.get("PGHOST", "").split(",") if h)
    ports = address.ports or (() if address.hosts else tuple(p for p in surroundings.get("PGPORT", "").split(",") if p.isdigit()))
    options = tuple((name, _absolute(value) if name == "sslrootcert" else value) for name, value in address.options)
    return replace(address, user=address.user or surroundings.get("PGUSER", ""), hosts=hosts, ports=ports, options=options)


def _absolute(path: str) -> str:
    return path if path == "system" else str(Path(path).absolute())
