"""A run in a real PostgreSQL server: lost connections, killed servers and drivers, two drivers at once, roles, hostile content."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from assay.errors import RunFileError
from assay.evidence import open_run
from assay.judges import Label
from assay.ledger import canonical
from assay.runs import Opening, postgres, read_run, reopen_run
from assay.runs.address import RunAddress, StoreAddress, parse_store
from assay.runs.fence import Fence, FencedError
from assay.runs.postgres import PostgresRun
from assay.runs.reading import opening_values
from assay.runs.stored import prepare_store, stored_runs
from tests.postgres import Server
from tests.runs.test_run_file import trial
from tests.support import KEY, NONCE, judged, make_plan

ROOT = Path(__file__).parents[2]


def make_opening(outage_s: float = 20.0, nonce: bytes = NONCE) -> Opening:
    plan, catalog = make_plan(limits={"concurrency": 4, "outage_s": outage_s})
    return open_run(judged(plan), catalog, {"kind": "scripted", "model": "0.3"}, nonce, KEY)


@pytest.fixture(scope="module")
def opening() -> Opening:
    return make_opening()


@pytest.fixture
def run(store: str, tmp_path: Path, opening: Opening) -> PostgresRun:
    made = PostgresRun.create(parse_store(store), tmp_path / "run.ref", opening)
    made.append([trial(0), trial(1)], {"committed": 2})
    return made


def sql(store: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(store, autocommit=True) as db:
        cursor = db.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def cut(store: str) -> None:
    """End every session of Assay's on the server, as a network or an administrator would."""
    sql(store, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'assay-run'")


def slots(run: PostgresRun) -> list[int]:
    return [slot for slot, _ in run.leaves()]


def test_a_cut_connection_is_made_again_and_nothing_is_written_twice(run: PostgresRun, store: str) -> None:
    told: list[str] = []
    run.watch(lambda reason, seconds: told.append(reason))
    with run:
        for n in range(2, 6):
            cut(store)
            run.append([trial(n)], {"committed": n + 1})
            cut(store)
            run.note_incident({"what": "x", "at": n})
        assert slots(run) == [0, 1, 2, 3, 4, 5]
        assert [i["at"] for i in run.incidents()] == [2, 3, 4, 5]
        assert run.checkpoint() == {"committed": 6}
        assert run.written_elsewhere(), "the lock was not taken again"
    assert all(reason.startswith("the store: ") for reason in told)


@pytest.mark.parametrize("done", [True, False])
def test_a_commit_in_doubt_is_looked_up(run: PostgresRun, monkeypatch: pytest.MonkeyPatch, *, done: bool) -> None:
    """The connection is lost just after the server committed, or just before it heard of it."""
    whole = Fence.put
    lost: list[int] = []

    def put(self: Fence, db: Any, statement: str, given: dict[str, Any]) -> None:
        if lost:
            return whole(self, db, statement, given)
        lost.append(1)
        if done:
            whole(self, db, statement, given)
        db.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with run:
        for write, rows in (
            (lambda: run.append([trial(2), trial(3)]), lambda: slots(run)[2:] == [2, 3]),
            (lambda: run.note_incident({"what": "x", "at": 1}), lambda: len(run.incidents()) == 1),
        ):
            lost.clear()
            monkeypatch.setattr(Fence, "put", put)
            write()
            assert rows()
            assert lost


def test_a_doubtful_trial_that_another_wrote_otherwise_is_no_success(run: PostgresRun, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = trial(2, answer="another").to_leaf()

    def put(self: Fence, db: Any, statement: str, given: dict[str, Any]) -> None:
        monkeypatch.undo()
        sql(store, "INSERT INTO assay.trial SELECT number, 2, %s, %b FROM assay.run", zlib.crc32(leaf), leaf)
        db.close()
        raise psycopg.OperationalError("lost")

    with run:
        monkeypatch.setattr(Fence, "put", put)
        with pytest.raises(RunFileError, match="in the run already"):
            run.append([trial(2)])


def test_the_server_dies_again_and_again_and_what_was_acknowledged_is_there(server: Server, store: str, tmp_path: Path) -> None:
    run = PostgresRun.create(parse_store(store), tmp_path / "run.ref", make_opening(60.0))
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        at = 0
        while not stop.is_set():
            run.append([trial(at + i) for i in range(3)], {"committed": at})
            acknowledged.append(at)
            at += 3

    with run:
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(2):
            seen = len(acknowledged)
            while len(acknowledged) < seen + 20:
                assert writer.is_alive()
                stop.wait(0.005)
            server.stop("immediate")
            server.start()
            with read_stored(run) as reader:
                kept = set(slots(reader))
            assert kept >= {at + i for at in acknowledged[:seen] for i in range(3)}
        seen = len(acknowledged)
        while len(acknowledged) < seen + 3:
            assert writer.is_alive()
            stop.wait(0.005)
        stop.set()
        writer.join()
        assert slots(run) == list(range(acknowledged[-1] + 3))


def read_stored(run: PostgresRun) -> PostgresRun:
    return PostgresRun.read(run.address, run.path)


def test_a_store_that_stays_away_stops_the_run_which_goes_on_later(server: Server, store: str, tmp_path: Path) -> None:
    told: list[float] = []
    with PostgresRun.create(parse_store(store), tmp_path / "run.ref", make_opening(0.5)) as run:
        run.watch(lambda reason, seconds: told.append(seconds))
        run.append([trial(0)])
        server.stop("immediate")
        try:
            with pytest.raises(RunFileError, match=r"has not answered for .* everything acknowledged is safe") as away:
                run.append([trial(1)])
            assert f"--resume --out {tmp_path}" in away.value.fix
            assert told
            with pytest.raises(RunFileError, match="cannot be reached"):
                PostgresRun.open(run.address, run.path)
        finally:
            server.start()
    with PostgresRun.open(run.address, run.path) as again:
        assert slots(again) == [0]
        again.append([trial(1)])


def test_who_wants_to_stop_waits_no_longer_than_a_few_seconds(
    server: Server, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.runs.pgsession.HASTY_S", 0.3)
    with PostgresRun.create(parse_store(store), tmp_path / "run.ref", make_opening(3600.0)) as run:
        server.stop("immediate")
        try:
            threading.Timer(0.3, run.hasten).start()
            with pytest.raises(RunFileError, match="has not answered"):
                run.append([trial(0)])
        finally:
            server.start()


def test_a_driver_that_was_cut_off_while_another_took_over_writes_nothing(run: PostgresRun, store: str) -> None:
    with pytest.raises(RunFileError, match="another process is writing this run"):
        PostgresRun.open(run.address, run.path)
    cut(store)
    with run, PostgresRun.open(run.address, run.path) as taker:
        taker.append([trial(2)])
        for write in (
            lambda: run.append([trial(3)], {"committed": 9}),
            lambda: run.note_incident({"what": "x", "at": 1}),
            lambda: run.append([], {"committed": 9}),
        ):
            with pytest.raises(FencedError, match="another process goes on with this run"):
                write()
        taker.append([trial(3)])
        assert slots(taker) == [0, 1, 2, 3]
        assert (taker.incidents(), taker.checkpoint()) == ([], {"committed": 2})


def test_the_same_epoch_given_twice_is_told_apart(run: PostgresRun, store: str) -> None:
    """A standby that missed the last taking over gives its epoch again: the first taker must not go on beside the second."""
    cut(store)
    with run, PostgresRun.open(run.address, run.path) as first:
        sql(store, "UPDATE assay.run SET epoch = 1")  # the promoted standby does not know of `first`
        cut(store)
        with PostgresRun.open(run.address, run.path) as second:
            assert sql(store, "SELECT epoch FROM assay.run") == [(2,)]
            second.append([trial(2)])
            with pytest.raises(FencedError):
                first.append([trial(3)])


def test_taking_over_waits_for_the_write_that_is_under_way(run: PostgresRun, store: str) -> None:
    """A write whose driver is gone but whose transaction still runs is in before the epoch changes, or not at all."""
    fence = run._fence
    assert fence is not None
    under_way = psycopg.connect(store)
    fence.put(under_way, "WITH held AS (SELECT 1 FROM assay.run WHERE number = %(run)s AND epoch = %(epoch)s FOR SHARE), "
              "put AS (INSERT INTO assay.trial SELECT %(run)s, 2, 0, ''::bytea FROM held) SELECT count(*) FROM held", {})  # fmt: skip
    run.close()
    taken: list[int] = []
    taking = threading.Thread(target=lambda: taken.append(count_after_opening(run)))
    taking.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'assay-run' AND wait_event_type = 'Lock'"
    while not sql(store, waiting)[0][0]:
        assert taking.is_alive()
    assert not taken
    under_way.commit()
    under_way.close()
    taking.join()
    assert taken == [3]


def count_after_opening(run: PostgresRun) -> int:
    with PostgresRun.open(run.address, run.path) as again:
        return again.count()


def test_a_standby_that_lacks_acknowledged_trials_stops_the_run(run: PostgresRun, store: str) -> None:
    with run:
        sql(store, "DELETE FROM assay.trial WHERE slot = 1")
        cut(store)
        with pytest.raises(RunFileError, match="came back without 1 trials that it had acknowledged"):
            run.append([trial(2)])
    with reopened(run) as again:
        again.append([trial(1)])
        assert slots(again) == [0, 1]


@pytest.mark.parametrize(("table", "what"), [("incident", "1 incidents"), ("taken", "1 takings of labels")])
def test_a_standby_that_lacks_acknowledged_labels_or_incidents_stops_the_run(
    run: PostgresRun, store: str, table: str, what: str
) -> None:  # fmt: skip
    last = f"DELETE FROM assay.{table} WHERE id = (SELECT max(id) FROM assay.{table})"  # noqa: S608 (our own text)

    def write(run: PostgresRun, at: int) -> None:
        if table == "incident":
            run.note_incident({"what": "x", "at": at})
        else:
            run.take([Label(n + 1, n, "sha256:" + "0" * 64, "sha256:" + "1" * 64, "Aisyah", 1, verdict="violation") for n in range(at + 1)])

    with run:
        write(run, 0)
        write(run, 1)
    with reopened(run) as again:
        sql(store, last)
        cut(store)
        with pytest.raises(RunFileError, match=f"came back without {what} that it had acknowledged"):
            again.append([trial(2)])
    with reopened(run) as again:
        write(again, 1)
        sql(store, last)
        cut(store)
        with pytest.raises(RunFileError, match=f"came back without {what} that it had acknowledged"):
            again.append([trial(2)])


def reopened(run: PostgresRun) -> PostgresRun:
    return PostgresRun.open(run.address, run.path)


def test_commits_are_durable_or_nothing_is_written(server: Server, store: str, run: PostgresRun, tmp_path: Path) -> None:
    run.close()
    sql(store, "ALTER ROLE gate SET synchronous_commit = off")
    try:
        with reopened(run) as again:
            assert again._rows("SHOW synchronous_commit") == [("on",)]
            again.append([trial(2)])
    finally:
        sql(store, "ALTER ROLE gate RESET synchronous_commit")
    sql(store, "ALTER TABLE assay.trial SET UNLOGGED")
    with pytest.raises(RunFileError, match="unlogged"):
        reopened(run)
    sql(store, "ALTER TABLE assay.trial SET LOGGED")
    sql(store, "UPDATE assay.store SET format = 'assay-store/9'")
    with pytest.raises(RunFileError, match="'assay-store/9', not assay-store/1"):
        read_stored(run)
    server.stop("fast")
    server.start("-c fsync=off")
    try:
        with pytest.raises(RunFileError, match="fsync off"):
            prepare_store(parse_store(store))
    finally:
        server.stop("fast")
        server.start()


def test_two_first_users_at_once_make_one_schema(store: str) -> None:
    failed: list[Exception] = []

    def prepare() -> None:
        try:
            prepare_store(parse_store(store))
        except RunFileError as e:
            failed.append(e)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert stored_runs(parse_store(store)) == []


def test_the_documented_rights_suffice_for_writer_and_reader_and_give_no_more(server: Server, store: str, tmp_path: Path) -> None:
    grants = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "store.md").read_text(), re.DOTALL)[0]
    prepare_store(parse_store(store))
    for role in ("assay_writer", "assay_reader"):
        sql(store, f"DROP ROLE IF EXISTS {role}")
        sql(store, f"CREATE ROLE {role} LOGIN")
    for statement in grants.split(";\n"):
        sql(store, statement)
    writer, reader = (parse_store(store.replace("gate@", f"assay_{name}@")) for name in ("writer", "reader"))
    try:
        with PostgresRun.create(writer, tmp_path / "run.ref", make_opening()) as run:
            run.append([trial(0)], {"committed": 1})
            run.append([trial(1)], {"committed": 2})
            run.note_incident({"what": "x", "at": 1})
            cut(store)
            run.append([trial(2)])
            seen = RunAddress(reader, run.address.run)
            with PostgresRun.read(seen, tmp_path / "run.ref") as reading:
                assert slots(reading) == [0, 1, 2]
                assert reading.written_elsewhere()
            assert stored_runs(reader)[0].trials == 3
            with pytest.raises(RunFileError, match="does not let this role"):
                PostgresRun.create(reader, tmp_path / "run.ref", make_opening(nonce=bytes(32)))
            for statement in (
                "UPDATE assay.trial SET crc = 0",
                "DELETE FROM assay.trial",
                "DELETE FROM assay.run",
                "UPDATE assay.meta SET crc = 0",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    sql(store.replace("gate@", "assay_writer@"), statement)
    finally:
        for role in ("assay_writer", "assay_reader"):
            sql(store, f"DROP OWNED BY {role}")
            sql(store, f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("table", "where", "value", "read", "what"),
    [
        ("trial", "slot = 1", b"{}", lambda r: list(r.trials()), "not a trial"),
        ("trial", "slot = 1", b"\xff\xfe", lambda r: r.trial(1), "not a trial"),
        ("trial", "slot = 1", b"[" * 100_000, lambda r: r.trial(1), "not a trial"),
        ("incident", "true", b"[1]", lambda r: r.incidents(), "an incident cannot be read"),
        ("incident", "true", b'{"what":{"a":1}}', lambda r: r.incidents(), "an incident cannot be read"),
        ("meta", "name = 'plan'", b"7", lambda r: None, "opening is damaged"),
        ("meta", "name = 'plan'", b"\xff", lambda r: None, "'plan' cannot be read"),
        ("meta", "name = 'opened'", b"{}", lambda r: None, "registration does not hold"),
        ("meta", "name = 'format'", b'"assay-run/9"', lambda r: None, "not a run of format assay-run/4"),
    ],
)  # fmt: skip
def test_hostile_content_with_right_checksums_is_named(
    run: PostgresRun, store: str, table: str, where: str, value: bytes, read: Callable[[PostgresRun], object], what: str
) -> None:
    run.note_incident({"what": "x", "at": 1})
    run.close()
    column = "leaf" if table == "trial" else "value"
    sql(store, f"UPDATE assay.{table} SET {column} = %b, crc = %s WHERE {where}", value, zlib.crc32(value))  # noqa: S608
    with pytest.raises(RunFileError, match=what), read_stored(run) as reading:
        read(reading)
    assert stored_runs(parse_store(store))[0].trials == 2


def test_another_registered_run_in_a_runs_place_is_not_taken_for_it(run: PostgresRun, store: str) -> None:
    run.close()
    for name, kept in opening_values(make_opening(nonce=bytes(32))).items():
        value = canonical(kept)
        sql(store, f"UPDATE assay.meta SET value = %b, crc = %s WHERE name = '{name}'", value, zlib.crc32(value))  # noqa: S608
    with pytest.raises(RunFileError, match="another run under this address"):
        read_stored(run)


def test_a_value_beyond_all_bounds_is_not_read(run: PostgresRun, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run.close()
    monkeypatch.setattr("assay.runs.postgres._PAGE", postgres._PAGE.replace(str(1 << 28), "600"))
    sql(store, "UPDATE assay.trial SET leaf = repeat('x', 601)::bytea WHERE slot = 1")
    with read_stored(run) as reading, pytest.raises(RunFileError, match="trial 1 is larger than"):
        list(reading.leaves())


def test_a_page_of_large_trials_is_read_in_parts(run: PostgresRun, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.runs.postgres._PAGE", postgres._PAGE.replace(str(postgres.CHUNK_BYTES), "50000"))
    with run:
        run.append([trial(n, answer="x" * 20_000) for n in range(2, 12)])
        first = run._rows(postgres._PAGE, run._number, 0)
        assert len(first) == 4  # two short ones and two long ones
        assert sum(len(leaf) for _, _, leaf in first) <= 50_000
        assert slots(run) == list(range(12))


def test_a_run_is_found_by_the_first_digits_of_its_digest(run: PostgresRun, store: str) -> None:
    with run:
        whole, place = run.address.run, parse_store(store)
        assert run.digest == f"sha256:{whole}"
        with PostgresRun.read(RunAddress(place, whole[:8]), run.path) as reading:
            assert reading.address.run == whole
        for wrong in ("0" * 8, whole[:8] + "0" * 20, whole[:-1] + ("0" if whole[-1] != "0" else "1")):
            with pytest.raises(RunFileError, match="has no run"):
                PostgresRun.read(RunAddress(place, wrong), run.path)
        sql(
            store,
            "INSERT INTO assay.run (id, lock, epoch, token, writer) VALUES (%s, 1, 1, '', '')",
            whole[:-1] + "x".replace("x", "f" if whole[-1] != "f" else "e"),
        )
        with pytest.raises(RunFileError, match="two runs or more"):
            PostgresRun.read(RunAddress(place, whole[:8]), run.path)


def test_what_a_store_says_about_its_runs(run: PostgresRun, store: str) -> None:
    with run:
        (only,) = stored_runs(parse_store(store))
        assert (only.plan, only.target, only.trials, only.written, only.epoch) == ("small", "scripted:0.3", 2, True, 1)
        assert only.address == run.address
        assert "process" in only.writer
    assert not stored_runs(parse_store(store))[0].written
    sql(store, "UPDATE assay.meta SET value = %b WHERE name = 'plan'", canonical({"name": "forged"}))
    assert stored_runs(parse_store(store))[0].plan == ""


def test_an_empty_database_has_no_runs_and_reading_makes_no_tables(store: str, tmp_path: Path) -> None:
    for act in (
        lambda: stored_runs(parse_store(store)),
        lambda: PostgresRun.read(RunAddress(parse_store(store), "0" * 64), tmp_path / "r"),
    ):
        with pytest.raises(RunFileError, match="no runs in this database"):
            act()
    assert sql(store, "SELECT to_regnamespace('assay')") == [(None,)]


def test_a_password_is_in_no_message(server: Server) -> None:
    from tests.runs.conftest import PASSWORD

    wrong = StoreAddress("gate", ("127.0.0.1",), (str(server.port),), "postgres", password="wr0ng " + PASSWORD)
    with pytest.raises(RunFileError, match="password authentication failed") as failed:
        stored_runs(wrong)
    assert "wr0ng" not in str(failed.value) + repr(wrong) + repr(failed.value) + wrong.text


def test_a_reference_opens_the_run_where_its_folder_is_copied(run: PostgresRun, store: str, tmp_path: Path) -> None:
    from assay.runs.opening import write_reference

    run.close()
    write_reference(tmp_path / "copy" / "run.ref", run.address)
    with read_run(tmp_path / "copy") as reading:
        assert reading.count() == 2
    with reopen_run(tmp_path / "copy") as again:
        again.append([trial(2)])
        with pytest.raises(RunFileError, match="another process is writing"):
            reopen_run(tmp_path / "copy")
    assert msgspec.json.decode((tmp_path / "copy" / "run.ref").read_bytes())["run"] == run.address.run
