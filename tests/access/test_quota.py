"""Quotas: in memory, by leased blocks; never over-spent, whatever is killed when."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from assay.access.grants.quota import IDLE_MS, Amounts, Quotas
from assay.access.model import DeniedError, Grant, Quota
from assay.access.store.base import LeaseKey, Store, StoreError, open_store
from tests.access.grantmaking import NOW, grant, sub_grant
from tests.access.test_store import Opened, opened, server  # noqa: F401 (fixtures)
from tests.support import sampled

ONE = Amounts(1, 10, 10)
FAST = 10**6


def total(requests: int, tokens: int = 10**9, money: int = 10**9) -> tuple[Quota, ...]:
    return (Quota("total", requests, tokens, money),)


def used(store: Store, value: Grant, window: str = "total", starts: int = 0) -> Amounts:
    return store.used([LeaseKey(value.id, "", window, starts, Amounts())])[0]


def spend_all(quotas: Quotas, value: Grant, amounts: Amounts = ONE, now: int = NOW, person: str = "Tan") -> tuple[int, DeniedError]:
    count = 0
    while True:
        try:
            quotas.reserve(value, person, amounts, now)
        except DeniedError as e:
            return count, e
        count += 1


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        (Quota("total", 37, 10**6, 10**6), 37), (Quota("day", 10**6, 95, 10**6), 9), (Quota("hour", 10**6, 10**6, 1000), 100),
        (Quota("minute", 0, 1, 1), 0),
    ],
    ids=["requests", "tokens", "money", "nothing"],
)  # fmt: skip
def test_exactly_what_a_quota_has_is_granted(opened: Opened, quota: Quota, count: int) -> None:  # noqa: F811
    store = opened()
    quotas = Quotas(store)
    granted, error = spend_all(quotas, grant(quotas=(quota,), per_person_a_minute=FAST))
    assert (granted, error.rule, error.status) == (count, "quota", 429)
    assert "power" in error.what
    quotas.close()


def test_every_window_counts_and_a_new_one_begins_afresh(opened: Opened) -> None:  # noqa: F811
    minute = 60_000
    value = grant(quotas=(Quota("minute", 3, 10**6, 10**6), Quota("day", 5, 10**6, 10**6)), per_person_a_minute=FAST)
    quotas = Quotas(opened())
    begin = NOW - NOW % 86_400_000
    assert spend_all(quotas, value, now=begin)[0] == 3
    count, error = spend_all(quotas, value, now=begin + minute)
    assert count == 2
    assert "today" in error.what
    assert spend_all(quotas, value, now=begin + minute - 1)[0] == 0  # a clock that goes back opens nothing
    assert spend_all(quotas, value, now=begin + 86_400_000)[0] == 3
    quotas.close()


def test_what_was_not_used_is_free_again_and_what_was_used_beyond_is_counted(opened: Opened) -> None:  # noqa: F811
    store, value = opened(), grant(quotas=total(10, 100), per_person_a_minute=FAST)
    quotas = Quotas(store)
    first = quotas.reserve(value, "Tan", Amounts(1, 100, 5), NOW)
    with pytest.raises(DeniedError):
        quotas.reserve(value, "Tan", Amounts(1, 1, 1), NOW)
    quotas.settle(first, Amounts(1, 30, 5))
    quotas.settle(first, Amounts(0, 0, 0))  # once
    later = NOW + 1000
    second = quotas.reserve(value, "Tan", Amounts(1, 70, 5), later)
    quotas.settle(second, Amounts(1, 90, 5))  # 20 more than there were
    with pytest.raises(DeniedError):
        quotas.reserve(value, "Tan", Amounts(1, 1, 1), later + 1000)
    quotas.tick(later + 1000)
    assert used(store, value).tokens == 120
    quotas.close()
    assert used(store, value) == Amounts(2, 120, 10)


def test_a_graceful_stop_and_idleness_give_back(opened: Opened) -> None:  # noqa: F811
    store, value = opened(), grant(quotas=total(1000), per_person_a_minute=FAST)
    one, two = Quotas(store), Quotas(store)
    for quotas in (one, two):
        quotas.settle(quotas.reserve(value, "Tan", ONE, NOW), ONE)
    assert used(store, value).requests > 2
    one.tick(NOW + 10)
    assert used(store, value).requests > 2
    one.tick(NOW + IDLE_MS + 1)
    two.close()
    assert used(store, value) == Amounts(2, 20, 20)
    with pytest.raises(DeniedError, match="closing"):
        two.reserve(value, "Tan", ONE, NOW)
    assert one.reserve(value, "Tan", ONE, NOW + IDLE_MS + 2) is not None
    one.close()


def test_a_person_has_a_rate_among_all_workers_and_others_have_theirs(opened: Opened) -> None:  # noqa: F811
    store, value = opened(), grant(quotas=total(10**6), per_person_a_minute=5)
    one, two = Quotas(store), Quotas(store)
    count, error = spend_all(one, value)
    assert (count, error.rule) == (5, "rate")
    assert spend_all(two, value)[0] == 0
    assert spend_all(two, value, person="Lee")[0] == 5
    assert spend_all(two, value, now=NOW + 60_000)[0] == 5


def test_a_sub_grants_use_counts_against_its_parent(opened: Opened) -> None:  # noqa: F811
    store = opened()
    parent = grant(quotas=total(10), per_person_a_minute=FAST)
    child = sub_grant(quotas=total(8), per_person_a_minute=FAST)
    quotas = Quotas(store)
    with pytest.raises(DeniedError, match="gone"):
        quotas.reserve(child, "Lim", ONE, NOW)
    quotas.follow({"power": parent, "power-sub": child})
    assert spend_all(quotas, child)[0] == 8
    assert spend_all(quotas, parent)[0] == 2
    assert spend_all(quotas, child, now=NOW + 1000)[0] == 0
    quotas.follow({"power-sub": child})  # the parent was revoked: nothing that is held of it is spent
    with pytest.raises(DeniedError, match="gone"):
        quotas.reserve(child, "Lim", ONE, NOW)
    quotas.close()


def test_a_smaller_version_counts_what_the_larger_has_used(opened: Opened) -> None:  # noqa: F811
    quotas = Quotas(opened())
    value = grant(quotas=total(10), per_person_a_minute=FAST)
    assert spend_all(quotas, value)[0] == 10
    quotas.follow({})
    assert spend_all(quotas, msgspec.structs.replace(value, version=2, quotas=total(12)), now=NOW + 1000)[0] == 2


class _Counted:
    """The store, with its leases counted."""

    def __init__(self, store: Store) -> None:
        self.leases = 0
        self._store = store

    def __getattr__(self, name: str) -> object:
        if name == "lease":
            self.leases += 1
        return getattr(self._store, name)


def test_the_hot_path_is_memory_and_the_store_is_asked_seldom(opened: Opened) -> None:  # noqa: F811
    counted = _Counted(opened())
    quotas = Quotas(counted)  # type: ignore[arg-type]
    value = grant(quotas=total(10**7), per_person_a_minute=FAST)
    for i in range(5000):
        quotas.settle(quotas.reserve(value, "Tan", ONE, NOW + i), Amounts(1, 3, 3))
    quotas.close()
    assert counted.leases <= 40


def test_nothing_is_granted_by_a_store_that_fails(tmp_path: Path) -> None:
    store = open_store("gate.db", tmp_path)
    quotas = Quotas(store)
    value = grant(quotas=total(10**6), per_person_a_minute=FAST)
    quotas.reserve(value, "Tan", ONE, NOW)
    with store.transaction(write=True) as rows:
        rows.run("DROP TABLE quotas")
    count, error = spend_all(quotas, value)
    assert count < 100
    assert (error.rule, error.status) == ("quota", 503)
    with pytest.raises(StoreError):
        used(store, value)
    quotas.close()
    store.close()


def test_many_tasks_at_once_get_what_there_is(opened: Opened) -> None:  # noqa: F811
    store, value = opened(), grant(quotas=total(150), per_person_a_minute=FAST)
    quotas = Quotas(store)

    async def ask() -> bool:
        try:
            await quotas.reserve_soon(value, "Tan", ONE, NOW)
        except DeniedError:
            return False
        return True

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(ask() for _ in range(300)))

    granted = sum(asyncio.run(all_of_them()))
    assert 140 <= granted <= 150
    assert granted + spend_all(quotas, value, now=NOW + 1000)[0] == 150
    quotas.close()


def test_a_request_for_less_than_nothing_is_refused(tmp_path: Path) -> None:
    store = open_store("gate.db", tmp_path)
    with pytest.raises(DeniedError):
        Quotas(store).reserve(grant(), "Tan", Amounts(1, -5, 1), NOW)
    store.close()


def _worker(place: tuple[str, Path], report: int, seed: int) -> None:
    """Reserves and settles until it is killed or the quota is spent; says what was granted before it acts, and what was not used after."""
    chance = random.Random(seed)
    store = open_store(*place)
    quotas = Quotas(store)
    value = grant(quotas=total(4000, 60_000, 10**9), per_person_a_minute=FAST)
    denied = 0
    while denied < 3:
        amounts = Amounts(1, chance.randrange(1, 40), 1)
        now = NOW + int(time.monotonic() * 1000) % 40_000
        try:
            reservation = quotas.reserve(value, "Tan", amounts, now)
        except DeniedError:
            denied += 1
            time.sleep(0.05)
            continue
        spent = Amounts(1, chance.randrange(amounts.tokens + 1), 1)
        os.write(report, struct.pack("<II", 1, spent.tokens))  # an upstream has used it
        quotas.settle(reservation, spent)
        if chance.random() < 0.02:
            quotas.tick(now + (IDLE_MS + 1) * chance.randrange(2))
        time.sleep(0.0003)
    quotas.close()
    os._exit(0)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    if request.param == "sqlite":
        yield "gate.db", tmp_path
        return
    import psycopg

    address = request.getfixturevalue("server")
    name = f"k{time.time_ns()}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield address.replace("/postgres?", f"/{name}?"), tmp_path


def test_workers_that_are_killed_at_any_time_never_over_spend(place: tuple[str, Path]) -> None:
    """Four workers, 50 kills (150 by `make test-full`) at random moments. After each, what was used is at most what the store says, and
    that at most the quota.
    """
    store = open_store(*place)
    value = grant()
    read, write = os.pipe()
    os.set_blocking(read, False)
    chance = random.Random(9)
    context = multiprocessing.get_context("fork")
    workers: list[multiprocessing.process.BaseProcess] = []
    requests = tokens = kills = seen_states = 0
    most, ends = sampled(150, 50), time.monotonic() + 100
    seed = 0
    while kills < most and time.monotonic() < ends:
        while len(workers) < 4:
            seed += 1
            workers.append(context.Process(target=_worker, args=(place, write, seed), daemon=True))
            workers[-1].start()
        time.sleep(chance.random() * 0.06)
        victim = workers.pop(chance.randrange(len(workers)))
        kills += victim.is_alive()
        victim.kill()
        victim.join()
        seen = b""
        while True:
            try:
                seen += os.read(read, 65536 - 65536 % 8)
            except BlockingIOError:
                break
        for one, spent in struct.iter_unpack("<II", seen):
            requests, tokens = requests + one, tokens + spent
        counted = used(store, value)
        assert requests <= counted.requests <= 4000
        assert tokens <= counted.tokens <= 60_000
        seen_states += 1
    for worker in workers:
        worker.kill()
        worker.join()
    assert seen_states >= most
    assert requests > 2 * most // 3
    store.close()


def test_workers_that_stop_gracefully_spend_the_whole_quota_between_them(place: tuple[str, Path]) -> None:
    store = open_store(*place)
    read, write = os.pipe()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_few, args=(place, write, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.close(write)
    granted = 0
    while part := os.read(read, 65536):
        granted += len(part)
    os.close(read)
    last = Quotas(store)
    value = grant(quotas=total(500), per_person_a_minute=FAST)
    granted += spend_all(last, value, now=NOW + 1000)[0]
    assert granted == 500
    last.close()
    store.close()


def _few(place: tuple[str, Path], report: int, seed: int) -> None:
    store = open_store(*place)
    quotas = Quotas(store)
    value = grant(quotas=total(500), per_person_a_minute=FAST)
    chance = random.Random(seed)
    for i in range(200):
        try:
            quotas.reserve(value, "Tan", ONE, NOW + i * 10)
        except DeniedError:
            time.sleep(0.001)
            continue
        os.write(report, b"g")
        if chance.random() < 0.1:
            quotas.tick(NOW + i * 10 + IDLE_MS + 1)
    quotas.close()
    os._exit(0)
