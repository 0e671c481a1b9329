"""Sessions and cuts go through the store: bounded, of living workers only, and no cut is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.access.gate.sessions import CUT_MS, MOST, STALE_MS, Session, ask_cut, cuts, publish, under_way
from assay.access.store.base import ConflictError, Store, StoreError, open_store

NOW = 1_800_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("gate.db", tmp_path)
    yield found
    found.close()


def session(name: str, since: int = NOW) -> Session:
    return Session(name, "m7", "power", "Grid Ltd", "Tan", "responses", since)


def test_what_a_worker_says_replaces_what_it_said_and_a_silent_one_is_gone(store: Store) -> None:
    version = publish(store, "0", [session("a"), session("b", NOW - 5)], NOW)
    assert [s.id for s in under_way(store, NOW)["0"].live] == ["b", "a"], "longest first"
    version = publish(store, "0", [session("c")], NOW + 1000, version)
    assert publish(store, "0", [], NOW + 2000) == version + 1, "a worker that starts again knows no version"
    publish(store, "1", [session("d")], NOW)
    assert set(under_way(store, NOW + STALE_MS)) == {"0", "1"}
    assert set(under_way(store, NOW + STALE_MS + 1)) == {"0"}
    with pytest.raises(ConflictError):
        publish(store, "0", [], NOW, version)


def test_no_more_is_told_than_can_be_read(store: Store) -> None:
    publish(store, "0", [session(f"s{i}", NOW + i) for i in range(MOST + 10)], NOW)
    assert len(under_way(store, NOW)["0"].live) == MOST
    store.put_record("sessions", "odd", {"at": "noon"}, 0)
    assert set(under_way(store, NOW)) == {"0"}


def test_cuts_from_many_at_once_are_all_kept_and_each_raises_the_epoch(store: Store, tmp_path: Path) -> None:
    before = store.epoch()
    failures: list[BaseException] = []

    def cut(i: int) -> None:
        try:
            ask_cut(store, f"s{i}", by="ines", reason="asked", now=NOW + i)
        except BaseException as e:  # noqa: BLE001 (told to the test)
            failures.append(e)

    threads = [threading.Thread(target=cut, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(cuts(store, NOW)) == {f"s{i}" for i in range(6)}
    assert store.epoch() == before + 6
    assert cuts(store, NOW + CUT_MS + 6) == {}


def test_cuts_that_cannot_be_read_are_no_empty_list(store: Store) -> None:
    assert cuts(store, NOW) == {}
    store.put_record("cuts", "all", {"cuts": {"a": {"by": 7}}}, 0)
    with pytest.raises(StoreError, match="damaged"):
        cuts(store, NOW)
