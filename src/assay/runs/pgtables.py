"""The tables of a PostgreSQL store, made on first use, and what is wanted of the server that has them.

prepare(connection, address)          # who writes
check_format(connection, address)     # who reads
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.errors import RunFileError
from assay.runs.address import StoreAddress

if TYPE_CHECKING:
    import psycopg

STORE_FORMAT = "assay-store/1"
SCHEMA_LOCK = 0x61737361792D7231
TABLES = """
CREATE SCHEMA IF NOT EXISTS assay;
CREATE TABLE IF NOT EXISTS assay.store (one integer PRIMARY KEY CHECK (one = 1), format text NOT NULL);
INSERT INTO assay.store VALUES (1, 'assay-store/1') ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS assay.run (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE CHECK (id ~ '^[0-9a-f]{64}$'), opened timestamptz NOT NULL DEFAULT now(), lock bigint NOT NULL,
  epoch bigint NOT NULL, token text NOT NULL, writer text NOT NULL);
CREATE TABLE IF NOT EXISTS assay.meta (run bigint NOT NULL, name text NOT NULL, crc bigint NOT NULL, value bytea NOT NULL,
  PRIMARY KEY (run, name));
CREATE TABLE IF NOT EXISTS assay.trial (run bigint NOT NULL, slot bigint NOT NULL CHECK (slot >= 0), crc bigint NOT NULL,
  leaf bytea NOT NULL, PRIMARY KEY (run, slot));
CREATE TABLE IF NOT EXISTS assay.incident (run bigint NOT NULL, id bigint NOT NULL, crc bigint NOT NULL, value bytea NOT NULL,
  PRIMARY KEY (run, id));
CREATE TABLE IF NOT EXISTS assay.taken (run bigint NOT NULL, id bigint NOT NULL, crc bigint NOT NULL, value bytea NOT NULL,
  PRIMARY KEY (run, id));
CREATE TABLE IF NOT EXISTS assay.checkpoint (run bigint PRIMARY KEY, crc bigint NOT NULL, value bytea NOT NULL)
"""
_DURABLE = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery(),
  (SELECT count(*) FROM pg_class WHERE relnamespace = 'assay'::regnamespace AND relkind = 'r' AND relpersistence <> 'p')
"""


def prepare(db: psycopg.Connection[Any], address: StoreAddress) -> None:
    """Make the tables if they are not there; see that commits are durable. Raises `RunFileError`, psycopg's errors."""
    fsync, synchronous, standby, _ = _one(db, _DURABLE.replace("'assay'::regnamespace", "to_regnamespace('assay')"))
    if fsync != "on":
        raise RunFileError(
            "the server runs with fsync off: what it acknowledges does not survive a crash", where=address.text, fix="Set fsync = on there."
        )
    if synchronous not in ("on", "remote_apply"):
        raise RunFileError(f"the server does not let synchronous_commit be on (it is {synchronous})", where=address.text)
    if standby:
        raise RunFileError(
            "this server is a standby, which cannot be written", where=address.text, fix="Name the primary, or both, by comma."
        )
    if _one(db, "SELECT to_regclass('assay.checkpoint') IS NULL")[0]:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
            for statement in TABLES.split(";\n"):
                db.execute(statement.encode())
    check_format(db, address)
    if _one(db, _DURABLE)[3]:
        raise RunFileError("a table of the store is unlogged, so a crash of the server would empty it", where=address.text)


def check_format(db: psycopg.Connection[Any], address: StoreAddress) -> None:
    """Raises `RunFileError` where this is no store, or one of another version."""
    if _one(db, "SELECT to_regclass('assay.store') IS NULL")[0]:
        raise RunFileError(
            "there are no runs in this database", where=address.text, fix="The first run makes its tables: assay run --store ADDRESS"
        )
    found = db.execute("SELECT left(format, 40) FROM assay.store").fetchone()
    if found is None or found[0] != STORE_FORMAT:
        what = ascii(found[0]) if found else "no format"
        raise RunFileError(f"the store says {what}, not {STORE_FORMAT}", where=address.text, fix="Use the version of Assay that made it.")


def _one(db: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = db.execute(sql.encode()).fetchone()
    assert found is not None  # noqa: S101 (none of these statements is without a row)
    return found
