"""Which slots are with whom, what came back, and what must go out again. Pure bookkeeping: no clock, no network.

    leases = Leases(size=200, hungry=128)
    leases.join(0)
    leases.add(slot)                       # slots lie ready, in order
    grant = leases.grant()                 # Grant(worker=0, slots=(...)), or None: nothing is to go out now
    leases.back(0, slot)                   # True once for every slot; what else comes is dropped
    lost = leases.lost(0)                  # the worker is gone: what had not come back goes out again

Whose fault a worker's death was is not known, so every slot that was with it is a suspect. Suspects of one death go out at once with
others; those of two in small groups, and those of more alone, to workers that have nothing else. A slot that was there at five deaths, the
last two times alone, is named.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

LEASE = 200
"""Items in a lease, at least, where the plan's look-ahead has room for that."""
FEW = 20
MOST_DEATHS = 5
_GROUP = {2: FEW, 3: 1, 4: 1}


class Grant(Struct, frozen=True):
    """Slots that are to go to a worker, lowest first."""

    worker: int
    slots: tuple[int, ...]


class Lost(Struct, frozen=True):
    """What a worker had when it died. `culprit` is a slot that was there at `MOST_DEATHS` deaths, alone at the last two."""

    slots: tuple[int, ...]
    culprit: int | None


def lease_size(window: int, workers: int, places: int) -> int:
    """Items in a lease: `LEASE`, more where a worker asks very many at once, fewer where the look-ahead has no room for two leases each."""
    return max(1, min(wanted_size(places), window // (2 * workers)))


def wanted_size(places: int) -> int:
    """Items in a lease where the look-ahead does not limit it: four rounds of a worker's places, `LEASE` at least."""
    return max(LEASE, 4 * places)


class Leases:
    """A worker may have two leases: one that it works on and one that waits, so that it never runs dry. `hungry` is how few items a worker
    has when it is given less than a whole lease.
    """

    def __init__(self, size: int, hungry: int) -> None:
        self._size = size
        self._hungry = min(size, max(1, hungry))
        self._ready: deque[int] = deque()
        self._held: dict[int, set[int]] = {}
        self._alone: set[int] = set()
        self._deaths: dict[int, int] = {}
        self._again: set[int] = set()

    @property
    def room(self) -> int:
        """How many slots may be added: one lease lies ready at most."""
        return self._size - len(self._ready)

    @property
    def out(self) -> int:
        """How many slots were added and are not back."""
        return len(self._ready) + len(self._again) + sum(map(len, self._held.values()))

    def with_worker(self, worker: int) -> int:
        """How many slots a worker has."""
        return len(self._held.get(worker, ()))

    def add(self, slot: int) -> None:
        """A slot that lies ready to go out; slots are added in order."""
        self._ready.append(slot)

    def join(self, worker: int) -> None:
        """A worker is there, with nothing."""
        self._held[worker] = set()

    def grant(self) -> Grant | None:
        """The next slots to go out; ask until there is nothing."""
        free = [w for w in self._held if w not in self._alone]
        if not free:
            return None
        least = min(free, key=self.with_worker)
        if self._again:
            first = min(self._again)
            deaths = self._deaths[first]
            alike = sorted(slot for slot in self._again if self._deaths[slot] == deaths)
            if deaths not in _GROUP:
                return self._give(least, alike[: self._size])
            if not self._held[least]:
                self._alone.add(least)
                return self._give(least, alike[: _GROUP[deaths]])
            free.remove(least)  # it gets nothing more until it has nothing, and then the suspects
        return self._fresh(free)

    def _fresh(self, free: list[int]) -> Grant | None:
        having = {w: len(self._held[w]) for w in free if len(self._held[w]) <= self._size}
        if not having or not self._ready:
            return None
        least = min(having, key=having.__getitem__)
        if len(self._ready) >= self._size:
            return self._give(least, [self._ready.popleft() for _ in range(self._size)])
        hungry = sum(has < self._hungry for has in having.values())
        if having[least] >= self._hungry:
            return None
        share = -(-len(self._ready) // hungry)
        return self._give(least, [self._ready.popleft() for _ in range(share)])

    def _give(self, worker: int, slots: list[int]) -> Grant:
        self._again.difference_update(slots)
        self._held[worker].update(slots)
        return Grant(worker, tuple(slots))

    def back(self, worker: int, slot: int) -> bool:
        """An answer has come. Whether it counts: only if the worker has that slot now, so each slot's first answer and no other."""
        held = self._held.get(worker)
        if held is None or slot not in held:
            return False
        held.discard(slot)
        self._deaths.pop(slot, None)
        if not held:
            self._alone.discard(worker)
        return True

    def lost(self, worker: int) -> Lost:
        """The worker is gone: what it has goes out again."""
        slots = sorted(self._held.pop(worker, ()))
        self._alone.discard(worker)
        for slot in slots:
            self._deaths[slot] = self._deaths.get(slot, 0) + 1
        self._again.update(slots)
        culprits = [slot for slot in slots if self._deaths[slot] >= MOST_DEATHS]
        return Lost(tuple(slots), culprits[0] if culprits else None)

    def recalled(self, worker: int, slots: tuple[int, ...]) -> None:
        """The worker has given slots back unasked, because the run ends: they are out no more."""
        self._held.get(worker, set()).difference_update(slots)

    def withdraw(self) -> None:
        """The run ends: nothing that lies here goes out any more."""
        self._ready.clear()
        self._again.clear()
