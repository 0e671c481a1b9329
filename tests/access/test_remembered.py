"""What vanishes from a store that was tampered with, or restored from before, opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.access.grants.orders import sign_halt, sign_lift
from assay.access.grants.remembered import Remembered
from assay.access.model import Halt, Scope
from assay.access.store.base import Store, StoreError, open_store
from tests.access.grantmaking import ADMINS, NOW, TERMS, approved, grant

HALT = Halt("stop-1", Scope(jurisdiction="SG"), "directive", "ada", NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store("gate.db", tmp_path)
    yield store
    store.close()


def tamper(store: Store, sql: str, *values: object) -> None:
    with store.transaction(write=True) as rows:
        rows.run(sql, *values)


@pytest.mark.parametrize("again", [False, True], ids=["same-process", "started-again"])
def test_a_halt_that_is_deleted_or_narrowed_stays_until_it_is_lifted(store: Store, tmp_path: Path, again: bool) -> None:
    remembered = Remembered(tmp_path / "gate.seen")

    def halts() -> list[tuple[Scope, bool]]:
        gate = Remembered(tmp_path / "gate.seen") if again else remembered
        return [(h.scope, bool(h.lifted)) for h in gate.open(store.snapshot(), TERMS, NOW).halts]

    store.put_halt(HALT, sign_halt(HALT, ADMINS["ada"]))
    assert halts() == [(HALT.scope, False)]
    narrowed = Halt("stop-1", Scope(jurisdiction="MY"), "directive", "ada", NOW)
    tamper(store, "DELETE FROM halts")
    assert halts() == [(HALT.scope, False)]
    store.put_halt(narrowed)
    assert halts() == [(HALT.scope, False)]
    store.lift("stop-1", "ada", NOW, sign_lift(narrowed, "ada", NOW, ADMINS["ada"]))
    assert halts() == [(HALT.scope, False)]
    store.lift("stop-1", "ada", NOW, sign_lift(HALT, "ada", NOW, ADMINS["ada"]))
    assert halts() == [(HALT.scope, True)]


def test_a_revocation_that_is_deleted_stays(store: Store, tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "gate.seen")
    store.put_grant(approved())
    assert set(remembered.open(store.snapshot(), TERMS, NOW).grants) == {"power"}
    store.revoke("power", "ada", "leak", NOW)
    assert not remembered.open(store.snapshot(), TERMS, NOW).grants
    tamper(store, "DELETE FROM revoked")
    for gate in (remembered, Remembered(tmp_path / "gate.seen")):
        assert gate.open(store.snapshot(), TERMS, NOW).refused == {"power": "revoked"}


def test_an_older_version_does_not_come_back(store: Store, tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "gate.seen")
    store.put_grant(approved())
    narrow = grant(version=2, networks=("10.1.0.0/16",))
    store.put_grant(approved(narrow, "ada"))
    assert remembered.open(store.snapshot(), TERMS, NOW).grants == {"power": grant()}  # the newer one is pending
    store.put_grant(approved(narrow, "bea"))
    assert remembered.open(store.snapshot(), TERMS, NOW).grants == {"power": narrow}
    tamper(store, "DELETE FROM grants WHERE version = 2")
    for gate in (remembered, Remembered(tmp_path / "gate.seen")):
        opened = gate.open(store.snapshot(), TERMS, NOW)
        assert opened.grants == {}
        assert "rolled back" in opened.refused["power"]


def test_workers_share_what_they_have_seen(store: Store, tmp_path: Path) -> None:
    one, two = Remembered(tmp_path / "gate.seen"), Remembered(tmp_path / "gate.seen")
    store.put_grant(approved())
    for gate in (one, two):
        gate.open(store.snapshot(), TERMS, NOW)
    store.put_halt(HALT)
    one.open(store.snapshot(), TERMS, NOW)
    tamper(store, "DELETE FROM halts")
    assert len(two.open(store.snapshot(), TERMS, NOW).halts) == 1


def test_nothing_is_written_while_nothing_changes(store: Store, tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "gate.seen")
    store.put_grant(approved())
    remembered.open(store.snapshot(), TERMS, NOW)
    before = (tmp_path / "gate.seen").stat().st_ino
    for _ in range(3):
        remembered.open(store.snapshot(), TERMS, NOW)
    assert (tmp_path / "gate.seen").stat().st_ino == before


@pytest.mark.parametrize("data", [b"", b"{", b'{"assay":"gate-seen/2"}', b'{"assay":"gate-seen/1","halts":{"a":{}}}'], ids=str)
def test_a_damaged_memory_closes(store: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "gate.seen").write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Remembered(tmp_path / "gate.seen").open(store.snapshot(), TERMS, NOW)
