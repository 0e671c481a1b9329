"""The store: the same tests on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from assay.access.admin import signedhttp
from assay.access.credentials import dpop, tokens
from assay.access.grants.grant import open_all, sign_sub_grant, thumbprint
from assay.access.grants.orders import (
    Revoked,
    open_halts,
    sign_halt,
    sign_lift,
    sign_revocation,
    signer_of_halt,
    signer_of_revocation,
)
from assay.access.model import Halt, Person, Scope
from assay.access.store.base import CLOCKS_MS, PROOF_MS, Amounts, ConflictError, LeaseKey, Store, StoreError, open_store
from assay.access.store.sqlite import SqliteStore
from assay.errors import AssayError
from tests.access.grantmaking import (
    ADMINS,
    HOLDER,
    NOW,
    STRANGER,
    TERMS,
    approved,
    grant,
    sub_grant,
)
from tests.postgres import need_postgres, postgres_server, short_folder

Opened = Callable[[], Store]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    need_postgres()
    with short_folder() as folder, postgres_server(folder / "s") as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the test's own store, any number of times."""
    stores: list[Store] = []
    if request.param == "sqlite":
        place = "gate.db"
    else:
        import psycopg

        address = request.getfixturevalue("server")
        name = f"t{time.time_ns()}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        place = address.replace("/postgres?", f"/{name}?")

    def make() -> Store:
        stores.append(open_store(place, tmp_path))
        return stores[-1]

    yield make
    for store in stores:
        store.close()
        if isinstance(store, SqliteStore):
            shutil.rmtree(store.memory.parent, ignore_errors=True)


def tamper(store: Store, sql: str, *values: object) -> None:
    with store.transaction(write=True) as rows:
        rows.run(sql, *values)


def test_every_change_gives_a_new_epoch_that_another_connection_sees(opened: Opened) -> None:
    store, other = opened(), opened()
    halt = Halt("stop-1", Scope(), "test", "ada", NOW)
    changes: list[Callable[[], object]] = [
        lambda: store.put_grant(approved()),
        lambda: store.revoke("power", "ada", "leak", NOW),
        lambda: store.put_halt(halt),
        lambda: store.lift("stop-1", "ada", NOW, sign_lift(halt, "ada", NOW, ADMINS["ada"])),
        lambda: store.put_release("sha256:" + "a" * 64, b"{}"),
        lambda: store.put_roles(b"{}"),
        store.touch,
    ]
    for change in changes:
        before = other.epoch()
        change()
        assert other.epoch() > before
    snapshot = other.snapshot()
    assert snapshot.epoch == other.epoch()
    assert (snapshot.releases, snapshot.roles) == ({"sha256:" + "a" * 64: b"{}"}, b"{}")
    assert snapshot.revoked["power"] == Revoked("power", "ada", "leak", NOW)


def test_two_approvals_open_a_grant_and_one_does_not(opened: Opened) -> None:
    store = opened()
    store.put_grant(approved(None, "ada"))
    grants, refused = open_all(store.snapshot(), TERMS, NOW)
    assert not grants
    assert "approved by 1" in refused["power"]
    store.put_grant(approved(None, "ada"))  # the same again is no second approval
    assert not open_all(store.snapshot(), TERMS, NOW)[0]
    store.put_grant(approved(None, "bea"))
    assert open_all(store.snapshot(), TERMS, NOW) == ({"power": grant()}, {})


def test_approvals_at_once_are_all_kept(opened: Opened) -> None:
    store = opened()
    threads = [threading.Thread(target=store.put_grant, args=(approved(None, name),)) for name in ADMINS]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(store.snapshot().grants["power"].signers(TERMS.public())) == 3


def test_a_changed_grant_is_a_new_version_and_the_old_one_holds_until_it_is_approved(opened: Opened) -> None:
    store = opened()
    store.put_grant(approved())
    with pytest.raises(AssayError, match="another grant"):
        store.put_grant(approved(grant(purpose="other")))
    second = grant(version=2, purpose="other")
    store.put_grant(approved(second, "cyd"))
    assert open_all(store.snapshot(), TERMS, NOW)[0] == {"power": grant()}
    store.put_grant(approved(second, "ada"))
    assert open_all(store.snapshot(), TERMS, NOW)[0] == {"power": second}
    with pytest.raises(StoreError, match="version 2 already"):
        store.put_grant(approved())


def test_a_revoked_grant_is_gone_for_ever_and_its_sub_grants_with_it(opened: Opened) -> None:
    store = opened()
    store.put_grant(approved())
    store.put_grant(sign_sub_grant(sub_grant(), grant(), HOLDER))
    assert set(open_all(store.snapshot(), TERMS, NOW)[0]) == {"power", "power-sub"}
    revoked = Revoked("power", "ada", "leak", NOW)
    store.revoke("power", "ada", "leak", NOW, sign_revocation(revoked, ADMINS["ada"]))
    snapshot = store.snapshot()
    grants, refused = open_all(snapshot, TERMS, NOW)
    assert (grants, refused) == ({}, {"power": "revoked", "power-sub": "its parent 'power' is gone"})
    assert signer_of_revocation(snapshot.orders["power"], snapshot.revoked["power"], TERMS.public()) == "ada"
    with pytest.raises(StoreError, match="for ever"):
        store.put_grant(approved(grant(version=2)))


def test_a_holder_cannot_take_another_grants_id_for_a_sub_grant(opened: Opened) -> None:
    store = opened()
    store.put_grant(approved())
    water = grant(id="water", persons=(Person("Lee", thumbprint(STRANGER.public)),))
    store.put_grant(approved(water))
    with pytest.raises(StoreError, match="another grant"):
        store.put_grant(sign_sub_grant(sub_grant(id="water", version=2), grant(), HOLDER))
    assert open_all(store.snapshot(), TERMS, NOW)[0] == {"power": grant(), "water": water}


@pytest.mark.parametrize("how", ["terms", "payload", "signature", "junk", "other-id", "other-version", "text"])
def test_a_row_that_was_tampered_with_gives_no_access(opened: Opened, how: str) -> None:
    store = opened()
    store.put_grant(approved())
    data = store.snapshot().grants["power"].encoded()
    value = msgspec.json.decode(data)
    if how == "terms":  # wider terms, properly encoded, under the signatures of the narrower ones
        wide = approved(grant(networks=("0.0.0.0/0",))).to_json()
        value["envelope"]["payload"] = wide["envelope"]["payload"]
    elif how == "payload":
        value["envelope"]["payload"] = value["envelope"]["payload"][:-8] + "AAAAAAAA"
    elif how == "signature":
        value["envelope"]["signatures"][0]["sig"] = value["envelope"]["signatures"][1]["sig"]
    changed: object = {"junk": b"\x00\xff", "text": b"[" * 5000}.get(how, msgspec.json.encode(value))
    if how == "other-id":
        tamper(store, "UPDATE grants SET id = 'water'")
    elif how == "other-version":
        tamper(store, "UPDATE grants SET version = 7")
    else:
        tamper(store, "UPDATE grants SET data = ?", changed)
    grants, refused = open_all(store.snapshot(), TERMS, NOW)
    assert not grants
    assert len(refused) == 1


def test_signatures_of_strangers_and_of_one_administrator_under_two_names_count_for_nothing(opened: Opened) -> None:
    store = opened()
    store.put_grant(approved(None, "ada").approved(HOLDER))
    value = msgspec.json.decode(store.snapshot().grants["power"].encoded())
    value["envelope"]["signatures"][1]["keyid"] = ADMINS["bea"].public.keyid
    tamper(store, "UPDATE grants SET data = ?", msgspec.json.encode(value))
    assert not open_all(store.snapshot(), TERMS, NOW)[0]


def test_a_lift_counts_with_an_administrators_signature_over_that_halt_only(opened: Opened) -> None:
    store = opened()
    admins = TERMS.public()
    halt, other = Halt("stop-1", Scope(jurisdiction="SG"), "directive", "ada", NOW), Halt("stop-2", Scope(), "x", "ada", NOW)
    store.put_halt(halt, sign_halt(halt, ADMINS["ada"]))
    store.put_halt(msgspec.structs.replace(other, lifted=NOW))  # a halt is never put lifted
    snapshot = store.snapshot()
    assert [h.lifted for h in open_halts(snapshot, admins)] == [0, 0]
    assert signer_of_halt(snapshot.orders["stop-1"], halt, admins) == "ada"
    assert "stop-2" not in snapshot.orders
    forged = [
        b"{}", b"lifted", sign_lift(halt, "ada", NOW, HOLDER), sign_lift(other, "ada", NOW, ADMINS["ada"]), sign_halt(halt, ADMINS["ada"]),
        sign_lift(msgspec.structs.replace(halt, reason="another"), "ada", NOW, ADMINS["ada"]),
    ]  # fmt: skip
    for data in forged:
        tamper(store, "UPDATE halts SET lift = ? WHERE id = 'stop-1'", data)
        assert open_halts(store.snapshot(), admins)[0].lifted == 0
    store.lift("stop-1", "bea", NOW + 5, sign_lift(halt, "bea", NOW + 5, ADMINS["bea"]))
    assert [h.lifted for h in open_halts(store.snapshot(), admins)] == [NOW + 5, 0]
    tamper(store, "UPDATE halts SET data = ? WHERE id = 'stop-1'", b"{}")
    with pytest.raises(StoreError, match="damaged"):
        store.snapshot()
    with pytest.raises(StoreError, match="no halt"):
        store.lift("stop-9", "ada", NOW, b"x")
    with pytest.raises(StoreError, match="already"):
        store.put_halt(other)


def test_a_nonce_is_spent_once_among_all_connections(opened: Opened) -> None:
    now = time.time_ns() // 1_000_000
    store, other = opened(), opened()
    later = now + PROOF_MS
    assert store.spend([(b"a", later), (b"b", later), (b"a", later), (b"old", now)], now) == [True, True, False, False]
    assert other.spend([(b"b", later), (b"c", later)], now) == [False, True]
    assert store.spend([], now) == []
    assert other.spend([(b"d", later + 10_000)], later + 1) == [True]
    assert store.spend([(b"c", later)], later + 1) == [False]


def test_a_clock_that_is_ahead_or_goes_back_makes_no_used_proof_good_again(opened: Opened) -> None:
    now = time.time_ns() // 1_000_000
    store, ahead = opened(), opened()
    assert store.spend([(b"a", now + 500)], now) == [True]
    assert ahead.spend([(b"b", now + PROOF_MS)], now + 5_500) == [True]  # another worker, whose first call clears away
    assert store.spend([(b"a", now + 500)], now + 100) == [False]
    assert ahead.spend([(b"a", now + 500)], now + 400) == [False]
    ahead.spend([], now + CLOCKS_MS + 6_000)  # in the end it is forgotten
    assert opened().spend([(b"a", now + 500)], now) == [True]


def test_no_kind_of_proof_holds_longer_than_the_store_counts_on() -> None:
    """From when it may first be taken: as far ahead as its time may be, and then its whole window."""
    assert (signedhttp.AHEAD_S + signedhttp.WINDOW_S) * 1000 <= PROOF_MS
    assert dpop.AHEAD_MS + dpop.WINDOW_MS <= PROOF_MS
    assert 2 * tokens.WINDOW_MS <= PROOF_MS  # dated ahead by a whole window at most


def test_nonces_race_in_threads_and_each_is_taken_once(opened: Opened) -> None:
    now = time.time_ns() // 1_000_000
    store = opened()
    nonces = [(b"n%d" % i, now + PROOF_MS) for i in range(200)]
    found: list[list[bool]] = []
    threads = [threading.Thread(target=lambda step=s: found.append(store.spend(nonces[::step], now)[::step])) for s in (1, -1, 1, -1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    assert [sum(column) for column in zip(*found, strict=True)] == [1] * 200


def test_of_a_new_memory_of_nonces_nothing_counts_that_was_issued_before_it(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    now = time.time_ns() // 1_000_000
    assert store.spend([(b"a", now + PROOF_MS)], now) == [True]
    store.close()
    if isinstance(store, SqliteStore):
        for file in store.memory.parent.glob(store.memory.name + "*"):
            file.unlink()
    else:  # what a crash of the server does to unlogged tables
        tamper(store, "TRUNCATE made, nonces")
    store = opened()
    issued = now - 1000
    assert store.spend([(b"b", issued + PROOF_MS), (b"a", now + PROOF_MS)], now) == [False, False]
    fresh = time.time_ns() // 1_000_000 + 5
    assert store.spend([(b"c", fresh + PROOF_MS)], fresh) == [True]


def test_records_are_written_by_who_has_read_the_newest(opened: Opened) -> None:
    store, other = opened(), opened()
    assert store.put_record("finding", "f1", {"a": 1}, 0) == 1
    assert store.put_record("finding", "f1", {"a": 2}, 1) == 2
    for expected in (0, 1, 3):
        with pytest.raises(ConflictError):
            other.put_record("finding", "f1", {"a": 9}, expected)
    assert other.records("finding") == {"f1": (2, {"a": 2})}
    assert other.records("alert") == {}


KEY = LeaseKey("power", "", "total", 0, Amounts(100, 1000, 1000))


def test_a_lease_gives_what_is_wanted_then_parts_then_what_is_needed_then_nothing(opened: Opened) -> None:
    store = opened()
    one, wanted = Amounts(1, 10, 10), Amounts(50, 500, 500)
    assert store.lease([KEY], [one], [wanted], NOW) == [Amounts(6, 62, 62)]
    given = Amounts(6, 62, 62)
    for _ in range(200):
        got = store.lease([KEY], [one], [wanted], NOW)[0]
        if got is None:
            break
        assert all(g >= o for g, o in zip(got, one, strict=True))
        given = Amounts(*(a + b for a, b in zip(given, got, strict=True)))
    assert store.used([KEY]) == [given]
    assert all(g <= c for g, c in zip(given, KEY.limit, strict=True))
    assert any(c - g < o for g, c, o in zip(given, KEY.limit, one, strict=True))
    store.give_back([(KEY, Amounts(5, 50, 50))])
    assert store.lease([KEY, KEY._replace(grant="water")], [one, one], [one, one], NOW) == [one, one]


def test_leases_of_many_threads_never_sum_to_more_than_the_quota(opened: Opened) -> None:
    store = opened()
    keys = [KEY._replace(grant=g, limit=Amounts(300, 3000, 3000)) for g in ("b", "a", "c")]
    got: list[Amounts] = []

    def work(order: list[LeaseKey]) -> None:
        while True:
            leased = store.lease(order, [Amounts(1, 1, 1)] * 3, [Amounts(7, 9, 8)] * 3, NOW)
            got.extend(a for a in leased if a is not None)
            if None in leased:
                return

    threads = [threading.Thread(target=work, args=(keys[i:] + keys[:i],)) for i in (0, 1, 2, 0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    used = store.used(keys)
    assert [sum(a[i] for a in got) for i in range(3)] == [sum(u[i] for u in used) for i in range(3)]
    assert all(u.requests <= 300 and u.tokens <= 3000 and u.money <= 3000 for u in used)
    assert any(u.requests > 290 or u.tokens > 2900 or u.money > 2900 for u in used)


def test_the_last_of_a_quota_is_given_to_so_many_as_there_are(opened: Opened) -> None:
    store = opened()
    one = Amounts(1, 1, 1)
    keys = [KEY._replace(grant=f"g{i}", limit=Amounts(3, 99, 99)) for i in range(60)]
    got: list[tuple[str, Amounts | None]] = []
    together = threading.Barrier(6)

    def work() -> None:
        for key in keys:
            together.wait(20)
            got.append((key.grant, store.lease([key], [one], [one], NOW)[0]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for key in keys:
        assert [a for g, a in got if g == key.grant and a is not None] == [one] * 3


def test_ended_windows_are_forgotten(opened: Opened) -> None:
    store = opened()
    minute = KEY._replace(window="minute", starts=NOW + 60_000)
    one = Amounts(1, 1, 1)
    store.lease([minute, KEY], [one, one], [one, one], NOW)
    opened().lease([KEY], [one], [one], NOW + 4 * 86_400_000)
    assert store.used([minute, KEY]) == [Amounts(), Amounts(2, 2, 2)]


@pytest.mark.parametrize(("window", "size"), [("hour", 3_600_000), ("day", 86_400_000)])
def test_a_machine_whose_clock_is_days_ahead_gives_no_quota_anew(opened: Opened, window: str, size: int) -> None:
    key = KEY._replace(window=window, starts=NOW - NOW % size)
    one, all_ = Amounts(1, 1, 1), key.limit
    assert opened().lease([key], [all_], [all_], NOW) == [all_]
    opened().lease([key._replace(grant="other")], [one], [one], NOW + 20 * 86_400_000)
    assert opened().lease([key], [one], [one], NOW) == [None]
    opened().lease([key._replace(grant="other")], [one], [one], NOW + 40 * 86_400_000)
    assert opened().used([key]) == [Amounts()]


def _write_until_killed(place: tuple[str, Path], ready: int) -> None:
    store = open_store(*place)
    os.write(ready, b"r")
    i = 0
    while True:
        i += 1
        store.put_record("alert", f"{os.getpid()}-{i}", {"i": i}, 0)
        os.write(ready, b"w")


def test_what_was_written_survives_the_kill_of_its_writer_and_the_store_still_opens(tmp_path: Path) -> None:
    for _ in range(10):
        read, write = os.pipe()
        child = multiprocessing.get_context("fork").Process(target=_write_until_killed, args=(("gate.db", tmp_path), write))
        child.start()
        said = b""
        while said.count(b"w") < 5:
            said += os.read(read, 100)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        os.close(write)
        while part := os.read(read, 4096):
            said += part
        os.close(read)
        store = open_store("gate.db", tmp_path)
        kept = [r for r in store.records("alert") if r.startswith(f"{child.pid}-")]
        assert len(kept) >= said.count(b"w")
        store.close()


def test_a_store_that_cannot_be_reached_raises_and_does_not_wait_long(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    began = time.monotonic()
    with pytest.raises(StoreError):
        open_store(f"postgresql://gate@/x?host={tmp_path}", tmp_path)
    with pytest.raises(StoreError):
        open_store("mysql://x", tmp_path)
    with pytest.raises(StoreError):
        open_store("nowhere/gate.db", tmp_path)
    assert time.monotonic() - began < 10


def test_files_of_others_are_not_written_to(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 40)
    for name in ("other.db", "text"):
        with pytest.raises(StoreError):
            open_store(name, tmp_path)


def test_files_are_their_owners_alone_and_a_replaced_file_is_not_read_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "gate.db")
    store.spend([], NOW)
    for file in [*tmp_path.glob("gate.db*"), *store.memory.parent.glob("*")]:
        assert file.stat().st_mode & 0o077 == 0, file
    (tmp_path / "gate.db").rename(tmp_path / "moved.db")
    with pytest.raises(StoreError):
        store.epoch()
    SqliteStore(tmp_path / "gate.db").close()
    with pytest.raises(StoreError, match="replaced"):
        store.epoch()


def test_a_folder_of_nonces_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    memory = tmp_path / "shm"
    memory.mkdir()
    store = SqliteStore(tmp_path / "gate.db", memory)
    store.spend([], NOW)
    store.close()
    store.memory.parent.chmod(0o777)
    with pytest.raises(StoreError, match="not ours alone"):
        SqliteStore(tmp_path / "gate.db", memory)
