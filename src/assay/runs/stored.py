"""What a PostgreSQL store holds: its runs, newest first.

for run in stored_runs(parse_store("postgresql://assay@db.example/assay")):
    run.address.text, run.plan, run.trials, run.written
"""

from __future__ import annotations

import zlib

import msgspec
from msgspec import Struct

from assay.errors import RunFileError
from assay.plan import Plan
from assay.runs.address import RunAddress, StoreAddress
from assay.runs.fence import LIVE
from assay.runs.pgsession import Session
from assay.runs.postgres import MOST_VALUE

MOST_RUNS = 2_000
_LIST = f"""
SELECT run.id, floor(extract(epoch FROM run.opened) * 1000)::bigint, run.epoch, left(run.writer, 200), {LIVE.replace("%s", "run.lock")},
  (SELECT count(*) FROM assay.trial WHERE trial.run = run.number), plan.crc,
  CASE WHEN octet_length(plan.value) <= {MOST_VALUE} THEN plan.value END, target.crc,
  CASE WHEN octet_length(target.value) <= {MOST_VALUE} THEN target.value END
FROM assay.run LEFT JOIN assay.meta AS plan ON plan.run = run.number AND plan.name = 'plan'
  LEFT JOIN assay.meta AS target ON target.run = run.number AND target.name = 'target'
ORDER BY run.opened DESC, run.number DESC LIMIT {MOST_RUNS}"""  # noqa: S608 (our own text)


class StoredRun(Struct, frozen=True):
    """One run of a store. `opened` is Unix time in milliseconds, `writer` who opened it for writing last, `written` whether somebody has it
    open now. `plan` and `target` are empty where the row is damaged.
    """

    address: RunAddress
    opened: int
    epoch: int
    writer: str
    written: bool
    trials: int
    plan: str
    target: str


def stored_runs(store: StoreAddress) -> list[StoredRun]:
    """The newest 2,000 runs. Raises `RunFileError`."""
    session = Session(store, write=False, typed=True)
    try:
        rows = session.persist(lambda db, doubtful: db.cursor(binary=True).execute(_LIST.encode()).fetchall())
    finally:
        session.drop()
    return [
        StoredRun(RunAddress(session.address, str(r[0])), r[1], r[2], str(r[3]), bool(r[4]), r[5], _plan(r[6], r[7]), _target(r[8], r[9]))
        for r in rows
    ]  # fmt: skip


def prepare_store(store: StoreAddress) -> None:
    """Make a store's tables if they are not there, and see that it is durable. Raises `RunFileError`."""
    session = Session(store, write=True, typed=True)
    try:
        session.persist(lambda db, doubtful: db.execute("SELECT 1"))
    finally:
        session.drop()


def _plan(crc: int | None, value: bytes | None) -> str:
    try:
        return msgspec.json.decode(_whole(crc, value), type=Plan).name
    except (msgspec.MsgspecError, UnicodeDecodeError, RunFileError, RecursionError):
        return ""


def _target(crc: int | None, value: bytes | None) -> str:
    try:
        found = msgspec.json.decode(_whole(crc, value), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError, RunFileError, RecursionError):
        return ""
    return f"{found.get('kind', '')}:{found.get('model', '')}".lstrip(":")


def _whole(crc: int | None, value: bytes | None) -> bytes:
    if value is None or zlib.crc32(value) != crc:
        raise RunFileError("damaged")
    return value
