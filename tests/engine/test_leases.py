"""No slot is lost, none counts twice, and the one that kills is the one that is named."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.engine.executors.leases import FEW, LEASE, MOST_DEATHS, Leases, lease_size

WORKERS = range(3)


class Model:
    """Workers and slots, and what the bookkeeping must be true to."""

    def __init__(self, slots: int, size: int, hungry: int) -> None:
        self.leases = Leases(size, hungry)
        self.size = size
        self.coming = iter(range(slots))
        self.held: dict[int, set[int]] = {}
        self.answered: list[int] = []
        self.deaths = 0
        for worker in WORKERS:
            self.join(worker)

    def join(self, worker: int) -> None:
        if worker not in self.held:
            self.held[worker] = set()
            self.leases.join(worker)

    def deal(self) -> None:
        while self.leases.room > 0 and (slot := next(self.coming, None)) is not None:
            self.leases.add(slot)
        while (grant := self.leases.grant()) is not None:
            assert grant.slots
            assert list(grant.slots) == sorted(set(grant.slots))
            assert all(not held & set(grant.slots) for held in self.held.values()), "a slot is with two workers"
            assert not set(grant.slots) & set(self.answered), "an answered slot goes out again"
            self.held[grant.worker] |= set(grant.slots)
            assert self.leases.with_worker(grant.worker) == len(self.held[grant.worker])

    def back(self, worker: int, slot: int) -> None:
        counts = self.leases.back(worker, slot)
        assert counts == (slot in self.held.get(worker, set()))
        if counts:
            self.held[worker].discard(slot)
            self.answered.append(slot)

    def die(self, worker: int) -> int | None:
        if worker not in self.held:
            return None
        self.deaths += 1
        lost = self.leases.lost(worker)
        assert set(lost.slots) == self.held.pop(worker)
        return lost.culprit


@settings(deadline=None, max_examples=150)
@given(
    slots=st.integers(0, 120), size=st.integers(1, 40), hungry=st.integers(1, 80),
    acts=st.lists(st.tuples(st.sampled_from(["back", "back", "back", "stray", "die", "join"]), st.integers(0, 10**6)), max_size=150),
)  # fmt: skip
def test_every_slot_comes_back_once_whatever_dies(slots: int, size: int, hungry: int, acts: list[tuple[str, int]]) -> None:
    model = Model(slots, size, hungry)
    model.deal()
    for what, number in acts:
        worker = number % len(WORKERS)
        held = sorted(model.held.get(worker, set()))
        if what == "back" and held:
            model.back(worker, held[number % len(held)])
        elif what == "stray":
            model.back(worker, number % (slots + 1))  # a late result of a worker that was believed dead, or a second one
        elif what == "die" and model.die(worker) is not None:
            return  # a slot that was there at five deaths: the run stops
        elif what == "join":
            model.join(worker)
        model.deal()
    for worker in WORKERS:
        model.join(worker)
    for _ in range(10 * slots + 20):
        model.deal()
        for worker, held in model.held.items():
            for slot in sorted(held):
                model.back(worker, slot)
    assert sorted(model.answered) == list(range(slots))
    assert model.leases.out == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_slot_that_kills_is_named_and_no_other(seed: int) -> None:
    """A worker dies whenever it has asked the poison; others answer. Five deaths, and the name is right."""
    rng = random.Random(seed)
    poison = rng.randrange(600)
    model = Model(600, size=LEASE, hungry=64)
    for _ in range(10_000):
        for worker in WORKERS:
            model.join(worker)
        model.deal()
        worker = rng.choice([w for w, held in model.held.items() if held])
        if poison in model.held[worker] and rng.random() < 0.2:
            culprit = model.die(worker)
            if culprit is not None:
                assert culprit == poison
                assert model.deaths == MOST_DEATHS
                return
            continue
        for slot in rng.sample(sorted(model.held[worker]), k=min(8, len(model.held[worker]))):
            if slot != poison:
                model.back(worker, slot)
    pytest.fail("never named")


def test_suspects_are_asked_in_ever_smaller_company() -> None:
    leases = Leases(size=100, hungry=10)
    for slot in range(100):
        leases.add(slot)
    companies = []
    for worker in range(MOST_DEATHS):
        leases.join(worker)
        grant = leases.grant()
        assert grant is not None
        assert grant.slots[0] == 0
        companies.append(len(grant.slots))
        lost = leases.lost(worker)
    assert companies == [100, 100, FEW, 1, 1]
    assert lost.culprit == 0


def test_what_was_lost_goes_out_before_anything_new_and_to_whoever_has_least() -> None:
    leases = Leases(size=10, hungry=5)
    for worker in (0, 1, 2):
        leases.join(worker)
        for slot in range(10 * worker, 10 * worker + 10):
            leases.add(slot)
        grant = leases.grant()
        assert grant is not None
        assert grant.worker == worker
    for slot in range(30, 40):
        leases.add(slot)
    leases.back(2, 25)
    lost = leases.lost(0)
    grant = leases.grant()
    assert grant is not None
    assert (grant.worker, grant.slots) == (2, lost.slots)
    assert lost.slots == tuple(range(10))


def test_no_part_of_a_lease_goes_to_a_worker_that_has_enough_to_do() -> None:
    leases = Leases(size=10, hungry=3)
    leases.join(0)
    for slot in range(10):
        leases.add(slot)
    assert leases.grant() is not None
    for slot in range(10, 15):
        leases.add(slot)
    assert leases.grant() is None, "five would go out where ten may soon"
    for slot in range(8):
        leases.back(0, slot)
    grant = leases.grant()
    assert grant is not None
    assert grant.slots == (10, 11, 12, 13, 14)


def test_a_lease_is_as_large_as_the_look_ahead_allows() -> None:
    assert lease_size(window=65_536, workers=4, places=16) == LEASE
    assert lease_size(window=65_536, workers=4, places=256) == 1024
    assert lease_size(window=800, workers=4, places=16) == 100
    assert lease_size(window=2, workers=8, places=16) == 1


def test_what_is_withdrawn_or_recalled_is_out_no_more() -> None:
    leases = Leases(size=4, hungry=4)
    leases.join(0)
    for slot in range(4):
        leases.add(slot)
    assert leases.grant() is not None
    leases.add(4)
    leases.withdraw()
    leases.recalled(0, (2, 3))
    assert leases.out == 2
    assert not leases.back(0, 3)
    assert leases.back(0, 0)
    assert leases.back(0, 1)
    assert leases.out == 0
