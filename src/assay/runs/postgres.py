"""A run in a PostgreSQL store (extra `postgres`): the same leaves as in a run file, for runs that several machines reach.

    with PostgresRun.create(store, folder / "run.ref", opening, lock) as run:
        run.append([trial])          # returns when the server has committed, and has it on disk
    with PostgresRun.read(address, folder / "run.ref") as run:
        for trial in run.trials(): ...

One writer: opening for writing takes the run's next epoch, and every write proves, in its own transaction, that it still has it
(`fence.py`). A connection that breaks is made again for as long as the plan's patience (`limits.outage_s`); what was under way is then
looked up, so nothing is written twice and nothing acknowledged is lost. Rows carry a CRC-32, as in a run file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec

from assay.errors import RunFileError
from assay.judges import Label, Taken
from assay.ledger import canonical, digest
from assay.ledger.canonical import canonical_plain
from assay.plan import Calibration
from assay.runs.address import RunAddress, StoreAddress
from assay.runs.fence import HELD, LIVE, Fence, lock_key
from assay.runs.pgsession import Session
from assay.runs.reading import FORMAT, Opening, opening_values, to_take
from assay.runs.registered import check_registered
from assay.runs.trial import Trial, read_leaf

if TYPE_CHECKING:
    import psycopg

CHUNK, CHUNK_BYTES = 1_000, 1 << 26
MOST_VALUE = 1 << 28
KEPT = {"trial": "trials", "taken": "takings of labels", "incident": "incidents"}
"""Tables whose rows, once acknowledged, must be there when the store comes back."""
_COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM assay.{table} WHERE run = %(run)s)" for table in KEPT)  # noqa: S608 (our own text)
_APPEND = f"""{HELD}, put AS (
  INSERT INTO assay.trial (run, slot, crc, leaf) SELECT %(run)s, t.slot, t.crc, t.leaf
  FROM unnest(%(slots)b::bigint[], %(crcs)b::bigint[], %(leaves)b::bytea[]) AS t (slot, crc, leaf) WHERE EXISTS (SELECT FROM held)),
kept AS (
  INSERT INTO assay.checkpoint (run, crc, value) SELECT %(run)s, %(crc)s::bigint, %(checkpoint)b::bytea
  WHERE %(crc)s::bigint IS NOT NULL AND EXISTS (SELECT FROM held)
  ON CONFLICT (run) DO UPDATE SET crc = excluded.crc, value = excluded.value)
SELECT count(*) FROM held"""  # noqa: S608 (our own text)
_ADD = f"""{HELD}, put AS (
  INSERT INTO assay.{{table}} (run, id, crc, value) SELECT %(run)s, %(id)s, %(crc)s, %(value)b::bytea WHERE EXISTS (SELECT FROM held))
SELECT count(*) FROM held"""  # noqa: S608 (our own text)
_PAGE = f"""
SELECT slot, crc, CASE WHEN octet_length(leaf) <= {MOST_VALUE} THEN leaf END FROM (
  SELECT slot, crc, leaf, row_number() OVER by_slot AS place, sum(octet_length(leaf)) OVER by_slot AS total FROM (
    SELECT slot, crc, leaf FROM assay.trial WHERE run = %s AND slot >= %s ORDER BY slot LIMIT {CHUNK}) AS few
  WINDOW by_slot AS (ORDER BY slot)) AS sized
WHERE place = 1 OR total <= {CHUNK_BYTES} ORDER BY slot"""  # noqa: S608 (our own text)


class PostgresRun:
    """One run in a store. Made by `create`, `open` or `read`; use as a context manager. May be shared between threads."""

    def __init__(self, session: Session, address: RunAddress, path: Path) -> None:
        self.path = path
        self.address = address
        self._session = session
        self._lock: IO[bytes] | None = None
        self._fence: Fence | None = None
        self._number = 0
        self._acknowledged = dict.fromkeys(KEPT, 0)
        self._opening: Opening | None = None

    @classmethod
    def create(cls, store: StoreAddress, path: Path, opening: Opening, lock: IO[bytes] | None = None) -> Self:
        """A new run with its opening, durable when this returns. `path` is where its reference will be. Raises `RunFileError`."""
        session = Session(store, write=True, typed=True)
        run = cls(session, RunAddress(session.address, digest(opening.opened).removeprefix("sha256:")), path)
        run._begin(lambda db: run._make(db, opening))
        run._lock = lock
        return run

    @classmethod
    def open(cls, address: RunAddress, path: Path, lock: IO[bytes] | None = None) -> Self:
        """An existing run, to go on writing. Raises `RunFileError` where another process has it."""
        run = cls(Session(address.store, write=True, typed=False), address, path)
        run._begin(run._take_over)
        run._lock = lock
        return run

    @classmethod
    def read(cls, address: RunAddress, path: Path, *, typed: bool = False) -> Self:
        """An existing run, to read while it may still be written; `typed` if a person named the address. Raises `RunFileError`."""
        run = cls(Session(address.store, write=False, typed=typed), address, path)
        run._begin(run._find)
        return run

    def _begin(self, first: Callable[[psycopg.Connection[Any]], None]) -> None:
        import psycopg

        try:
            first(self._session.connection())
            if self._get("format") != FORMAT:
                raise RunFileError(f"not a run of format {FORMAT}", where=self._where)
            if self.digest != f"sha256:{self.address.run}":
                raise RunFileError("the store has another run under this address", where=self._where)
            if self._fence is not None:
                self._session.patience_s = self.opening().plan.limits.outage_s
                self._session.regain = self._regain
                self._session.go_on = f"Go on when it is back: assay run --resume --out {self.path.parent}"
        except psycopg.errors.UniqueViolation:
            self._session.drop()
            raise RunFileError("the store has a run of this registration already", where=self._where) from None
        except psycopg.Error as e:
            self._session.drop()
            raise self._session.error(e) from None
        except BaseException:
            self._session.drop()
            raise

    def _make(self, db: psycopg.Connection[Any], opening: Opening) -> None:
        store = self.address.store
        if not store.user and "service" not in dict(store.options):  # whose name it is may be another on another machine
            self.address = RunAddress(replace(store, user=db.info.user), self.address.run)
        self._fence = Fence(self.address.run, self._where)
        with db.transaction():
            self._number = self._fence.begin(db)
            for name, value in {"format": FORMAT, **opening_values(opening)}.items():
                data = canonical(value)
                row = (self._number, name, zlib.crc32(data), data)
                db.execute("INSERT INTO assay.meta (run, name, crc, value) VALUES (%s, %s, %s, %b)", row)

    def _find(self, db: psycopg.Connection[Any]) -> None:
        like = (self.address.run, self.address.run + "g")  # digits of a digest sort before it
        found = db.execute("SELECT number, id FROM assay.run WHERE id >= %s AND id < %s ORDER BY id LIMIT 2", like).fetchall()
        if len(found) != 1:
            what = f"two runs or more begin with {self.address.run}" if found else f"the store has no run {self.address.run}"
            raise RunFileError(what, where=self.address.store.text, fix="List them: assay store list")
        self._number = int(found[0][0])
        self.address = RunAddress(self.address.store, str(found[0][1]))

    def _take_over(self, db: psycopg.Connection[Any]) -> None:
        self._find(db)
        self._fence = Fence(self.address.run, self._where)
        self._fence.take_over(db, self._number)
        self._acknowledged = self._counts(db)

    def _regain(self, db: psycopg.Connection[Any]) -> None:
        """Go on over a new connection, if nobody took over and nothing that was acknowledged is missing."""
        if self._fence is not None:
            self._fence.regain(db)
        found = self._counts(db)
        missing = [f"{more} {what}" for table, what in KEPT.items() if (more := self._acknowledged[table] - found[table]) > 0]
        if missing:
            what = f"the store came back without {' and '.join(missing)} that it had acknowledged"
            raise RunFileError(
                f"{what}: a standby took over that was not synchronous",
                where=self._where,
                fix="Go on with --resume, which makes trials anew and takes labels in again; docs/store.md has how to keep a standby "
                "synchronous.",
            )

    def _counts(self, db: psycopg.Connection[Any]) -> dict[str, int]:
        """How many rows the run has in each table that only grows."""
        row = db.execute(_COUNTS.encode(), {"run": self._number}).fetchone()
        return dict(zip(KEPT, row or (), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and let go of the locks."""
        self._session.drop()
        if self._lock:
            self._lock.close()

    def watch(self, told: Callable[[str, float], object]) -> None:
        """See `RunStore`."""
        self._session.told = told

    def hasten(self) -> None:
        """See `RunStore`."""
        self._session.hurry.set()

    def append(self, trials: Iterable[Trial], checkpoint: dict[str, Any] | None = None) -> None:
        """Write trials in one transaction; committed and on the server's disk when this returns. Raises `RunFileError`, and then none is
        written, unless it says that the store was away: then all may have been, and `--resume` finds them.
        """
        found = list(trials)
        rows = {trial.slot: trial.to_leaf() for trial in found}
        if len(rows) != len(found):
            raise RunFileError("the same trial twice", where=self._where)
        value = None if checkpoint is None else canonical_plain(checkpoint)
        given = {
            "slots": list(rows), "crcs": [zlib.crc32(leaf) for leaf in rows.values()], "leaves": list(rows.values()),
            "crc": None if value is None else zlib.crc32(value), "checkpoint": value,
        }  # fmt: skip

        def put(db: psycopg.Connection[Any]) -> None:
            self._mine().put(db, _APPEND, given)

        def kept(db: psycopg.Connection[Any]) -> bool:
            found = db.cursor(binary=True).execute(
                "SELECT slot, leaf FROM assay.trial WHERE run = %s AND slot = ANY(%s)", (self._number, list(rows))
            )  # fmt: skip
            return self._same(rows, dict(found.fetchall()), "this trial is in the run already")

        self._write(put, kept)
        self._acknowledged["trial"] += len(rows)

    def checkpoint(self) -> dict[str, Any] | None:
        """See `RunStore`."""
        row = self._rows("SELECT crc, value FROM assay.checkpoint WHERE run = %s AND octet_length(value) <= %s", self._number, MOST_VALUE)
        if not row or zlib.crc32(row[0][1]) != row[0][0]:
            return None
        value = self._decoded(row[0][1], Any, "the checkpoint")
        return value if isinstance(value, dict) else None

    def note_incident(self, incident: dict[str, str | int]) -> None:
        """See `RunStore`."""
        self._add("incident", canonical(incident))

    def incidents(self) -> list[dict[str, str | int]]:
        """Everything noted, oldest first."""
        return [self._decoded(value, dict[str, str | int], "an incident") for value in self._values("incident")]

    def take(self, labels: Sequence[Label], calibration: Calibration | None = None) -> Taken | None:
        """See `RunStore`. Raises `RunFileError` for a calibration with fewer labels than one before it, or on this very run."""
        new = to_take(self, self._where, labels, calibration)
        if new is None:
            return None
        taken = new.at(int(self._rows("SELECT coalesce(max(slot), -1) + 1 FROM assay.trial WHERE run = %s", self._number)[0][0]))
        self._add("taken", canonical_plain(taken))
        return taken

    def taken(self) -> list[Taken]:
        """All labels that were taken in, each time by itself, oldest first."""
        return [self._decoded(value, Taken, "labels") for value in self._values("taken")]

    def trials(self, start: int = 0) -> Iterator[Trial]:
        """Trials from slot `start` on, by slot. Slots may have gaps where the run was cut. Raises `RunFileError` on a damaged row."""
        return (read_leaf(leaf) for _, leaf in self.leaves(start))

    def leaves(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Slot and leaf bytes, by slot, from slot `start` on, in pages. Rows may be appended meanwhile."""
        while rows := self._rows(_PAGE, self._number, start):
            for slot, crc, leaf in rows:
                yield slot, self._whole(crc, leaf, f"trial {slot}")
            start = rows[-1][0] + 1

    def trial(self, slot: int) -> Trial:
        """One trial. Raises `RunFileError` if it is not there or damaged."""
        rows = self._rows(
            f"SELECT crc, CASE WHEN octet_length(leaf) <= {MOST_VALUE} THEN leaf END FROM assay.trial WHERE run = %s AND slot = %s",  # noqa: S608
            self._number, slot,
        )  # fmt: skip
        if not rows:
            raise RunFileError(f"the run has no trial {slot}", where=self._where)
        return read_leaf(self._whole(rows[0][0], rows[0][1], f"trial {slot}"))

    def count(self, start: int = 0) -> int:
        """How many trials are acknowledged, from slot `start` on."""
        return int(self._rows("SELECT count(*) FROM assay.trial WHERE run = %s AND slot >= %s", self._number, start)[0][0])

    def unbroken(self) -> int:
        """How many trials there are before the first gap."""
        count, last = self._rows("SELECT count(*), max(slot) FROM assay.trial WHERE run = %s", self._number)[0]
        if not count or last == count - 1:
            return int(count)
        sql = """SELECT min(place) FROM (SELECT slot, row_number() OVER (ORDER BY slot) - 1 AS place FROM assay.trial WHERE run = %s) AS t
          WHERE slot <> place"""
        return int(self._rows(sql, self._number)[0][0])

    def written_elsewhere(self) -> bool:
        """Whether some process, on whatever machine, has the run open for writing."""
        return bool(self._rows(f"SELECT {LIVE}", lock_key(self.address.run))[0][0])

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
                raise RunFileError(f"the run's opening is damaged: {e}", where=self._where) from None
            check_registered(opening, self._where)
            self._opening = opening
        return self._opening

    @property
    def _where(self) -> str:
        return self.address.text

    def _mine(self) -> Fence:
        if self._fence is None:
            raise RunFileError("this run is open for reading only", where=self._where)
        return self._fence

    def _add(self, table: str, value: bytes) -> None:
        """Append a value to a table of the run; its number is chosen here, so that a doubtful commit is looked up by it."""
        number = int(self._rows(f"SELECT coalesce(max(id), 0) + 1 FROM assay.{table} WHERE run = %s", self._number)[0][0])  # noqa: S608
        given = {"id": number, "crc": zlib.crc32(value), "value": value}

        def put(db: psycopg.Connection[Any]) -> None:
            self._mine().put(db, _ADD.format(table=table), given)

        def kept(db: psycopg.Connection[Any]) -> bool:
            found = db.cursor(binary=True).execute(
                f"SELECT id, value FROM assay.{table} WHERE run = %s AND id = %s".encode(), (self._number, number)  # noqa: S608
            )  # fmt: skip
            return self._same({number: value}, dict(found.fetchall()), "somebody else has written here")

        self._write(put, kept)
        self._acknowledged[table] += 1

    def _same(self, wanted: dict[int, bytes], found: dict[int, bytes], what: str) -> bool:
        """Whether all of it is there; False if nothing is. Raises `RunFileError` for anything else."""
        if found and found != wanted:
            raise RunFileError(what, where=self._where)
        return bool(found)

    def _write(self, put: Callable[[psycopg.Connection[Any]], None], kept: Callable[[psycopg.Connection[Any]], bool]) -> None:
        """Do `put` once, whatever happens to the connection: where it is unknown whether it was done, `kept` says so."""
        import psycopg

        def work(db: psycopg.Connection[Any], doubtful: bool) -> None:
            if doubtful and kept(db):
                return
            try:
                put(db)
            except psycopg.errors.UniqueViolation:
                if not (doubtful and kept(db)):
                    raise RunFileError("this trial is in the run already", where=self._where) from None

        self._session.persist(work)

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._session.persist(lambda db, doubtful: db.cursor(binary=True).execute(sql.encode(), values).fetchall())

    def _values(self, table: str) -> list[bytes]:
        rows = self._rows(
            f"SELECT crc, CASE WHEN octet_length(value) <= {MOST_VALUE} THEN value END FROM assay.{table} WHERE run = %s ORDER BY id",  # noqa: S608
            self._number,
        )
        return [self._whole(crc, value, f"a row of '{table}'") for crc, value in rows]

    def _get(self, name: str) -> Any:
        rows = self._rows(
            f"SELECT crc, CASE WHEN octet_length(value) <= {MOST_VALUE} THEN value END FROM assay.meta WHERE run = %s AND name = %s",  # noqa: S608
            self._number, name,
        )  # fmt: skip
        if not rows:
            raise RunFileError(f"the run lacks its '{name}'", where=self._where)
        return self._decoded(self._whole(rows[0][0], rows[0][1], f"'{name}'"), Any, f"'{name}'")

    def _whole(self, crc: int, value: bytes | None, what: str) -> bytes:
        if value is None:
            raise RunFileError(f"the run is damaged: {what} is larger than {MOST_VALUE:,} bytes", where=self._where)
        if zlib.crc32(value) != crc:
            raise RunFileError(f"the run is damaged: {what} does not match its checksum", where=self._where)
        return value

    def _decoded(self, value: bytes, form: Any, what: str) -> Any:
        try:
            return msgspec.json.decode(value, type=form)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise RunFileError(f"the run is damaged: {what} cannot be read: {str(e)[:200]}", where=self._where) from None
