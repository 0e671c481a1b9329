"""Which trial next: a pure function of the plan, the seed's shuffle and the outcomes committed so far.

Slot k of the run is assigned on the outcomes of slots 0 .. k - window and of no others, even if more are known. So the schedule does
not depend on which answers came first, a resumed run goes on exactly as an undisturbed one would have, and an auditor recomputes every
assignment from the bundle.

Until the verdict is final: the open claim whose shrunken violation rate is highest against its threshold, if it is `FOCUS` times the
threshold or more (suspicious first), else the open claim with the fewest trials; averages, then pairs, when no such claim is open. Enough
of the budget is kept back for the exploration floor, which is filled afterwards, evenly. A stream is never asked beyond the end of a bank.

With a drift test the anchors are asked first, again whenever the plan's number of calls has gone by, and last.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from assay.decision.codes import CODES
from assay.decision.gate import Gate
from assay.decision.pair_claims import ParityClaim
from assay.decision.rate_claims import AverageClaim, RateClaim
from assay.decision.recorded import Registration
from assay.errors import AssayError
from assay.judges import Outcome, Told
from assay.plan import Plan, Stream, anchors, streams
from assay.scenarios import Prf

FOCUS = 1.5
STALE = 16


class Slot(Struct, frozen=True):
    """One scheduled trial."""

    number: int
    stream: Stream
    index: int


class Scheduler:
    """`next_slot` gives slots in order; `commit` takes outcomes in slot order.

    `labels` are what people said, each time as a whole, and the slot before which it was taken in: from there on the schedule knows it.
    `registration` is the gate's.
    """

    def __init__(self, plan: Plan, seed: bytes, labels: Sequence[tuple[int, Told]] = (), registration: Registration | None = None) -> None:
        prf = Prf(seed)
        self._plan = plan
        self._window = plan.limits.window
        self._judged = frozenset(plan.judges.hazards) if plan.judges else frozenset[str]()
        self.gate = Gate(plan, seed, registration=registration)  # sees outcomes `window` slots late
        self._buffer: deque[tuple[Stream, int, Outcome]] = deque()
        self._under_way: deque[Slot] = deque()  # assigned, not committed
        self._again: deque[Slot] = deque()  # of those, what a restored scheduler gives out again
        self._seen = 0
        self._committed = 0
        self._streams = streams(plan)
        self._assigned: dict[Stream, int] = dict.fromkeys(self._streams, 0)
        self._most = {s: (plan.bank_size(s.hazard) if s.arm != "anchor" else 0) or plan.budget.calls for s in self._streams}
        self._floor = {s: min(self._most[s], plan.exploration.floor(s.arm)) for s in self._streams}
        self._anchors = [s for s, count in anchors(plan).items() for _ in range(count)]
        self._windows = self._anchor = 0  # windows begun; anchors asked of the last one
        self._closing = not self._anchors
        self._deficit = sum(self._floor.values())
        order = sorted(self._streams, key=lambda s: prf.integer("order", s.key))
        self._rank = {s: i for i, s in enumerate(order)}
        self._slot = 0
        self._labels = deque(labels if self._judged else ())  # where programs judge, labels change nothing
        self._told = False  # labels were taken in since the last slot
        self._link()

    def _link(self) -> None:
        """Know the gate's claims, by their streams."""
        self._claim: dict[Stream, list[RateClaim]] = {}
        for claim in self.gate.claims:
            if isinstance(claim, RateClaim):
                self._claim.setdefault(claim.stream, []).append(claim)
        self._pairs = [c for c in self.gate.claims if isinstance(c, ParityClaim)]
        self._averages = [_Planned(c) for c in self.gate.claims if isinstance(c, AverageClaim)]
        self._suspects = {s for s in self._claim if self._suspicion(s) >= FOCUS}
        self._queue()

    def take(self, told: Told) -> None:
        """People's labels, when all slots assigned so far are committed: the gate sees everything, and the schedule goes on from there."""
        if self._committed < self._slot:
            raise AssayError("labels are taken in when no trial is under way")
        while self._buffer:
            self._see()
        self.gate.take(told)
        self._told = True
        self._link()

    @property
    def waiting(self) -> bool:
        """Whether the next slot cannot be assigned before another commit."""
        if self._again:
            return False
        under_way = self._slot - self._committed
        return under_way >= self._window or (under_way > 0 and bool(self._labels) and self._labels[0][0] <= self._slot)

    @property
    def phase(self) -> str:
        """`gate` while the decision is open, then `map`."""
        return "map" if self.gate.final or self._left() <= self._deficit else "gate"

    def _left(self) -> int:
        """Calls that remain besides those kept back for anchors."""
        left = self._plan.budget.calls - self._slot
        if self._closing or self._plan.drift is None:
            return left
        return left - len(self._anchors) * (1 + left // self._plan.drift.every)

    def commit(self, stream: Stream, index: int, outcome: Outcome) -> None:
        """The outcome of the lowest slot not committed yet."""
        self._buffer.append((stream, index, outcome))
        self._under_way.popleft()
        self._committed += 1

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON, for a checkpoint."""
        place = {s: i for i, s in enumerate(self._streams)}
        return {
            "anchors": [self._windows, self._anchor, self._closing],
            "assigned": list(self._assigned.values()),
            "buffer": [[place[stream], index, outcome] for stream, index, outcome in self._buffer],
            "committed": self._committed,
            "gate": self.gate.state(),
            "seen": self._seen,
            "slot": self._slot,
            "under_way": [[place[s.stream], s.index] for s in self._under_way],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`, on a new scheduler of the same plan and seed."""
        self.gate.restore(state["gate"])
        self._committed, self._seen, self._slot = state["committed"], state["seen"], state["slot"]
        self._windows, self._anchor, self._closing = state["anchors"]
        self._assigned = dict(zip(self._streams, state["assigned"], strict=True))
        self._buffer = deque((self._streams[place], index, outcome) for place, index, outcome in state["buffer"])
        self._under_way = deque(
            Slot(number, self._streams[place], index) for number, (place, index) in enumerate(state["under_way"], self._committed)
        )
        self._again = self._under_way.copy()
        self._deficit = sum(max(0, floor - self._assigned[s]) for s, floor in self._floor.items())
        self._suspects = {s for s in self._claim if self._suspicion(s) >= FOCUS}
        self._queue()

    def _queue(self) -> None:
        """The heaps of streams by how few trials they have."""
        self._fewest = [(self._assigned[s], self._rank[s], s) for s in self._claim]
        self._fewest_pairs = [(self._fewest_of(c), self._rank[c.stream], i) for i, c in enumerate(self._pairs)]
        heapq.heapify(self._fewest)
        heapq.heapify(self._fewest_pairs)
        self._queue_emptiest()

    def _queue_emptiest(self) -> None:
        self._emptiest = [(n / self._floor[s], self._rank[s], s) for s, n in self._assigned.items() if n < self._floor[s]]
        heapq.heapify(self._emptiest)

    def next_slot(self) -> Slot | None:
        """The next slot, or None when the run is complete. Ask only while not `waiting`."""
        if self._again:
            return self._again.popleft()
        while self._labels and self._labels[0][0] <= self._slot:
            self.take(self._labels.popleft()[1])
        while self._seen < self._slot - self._window + 1 and self._buffer:
            seen = self._see()
            if self._suspicion(seen) >= FOCUS:
                self._suspects.add(seen)
            else:
                self._suspects.discard(seen)
            if seen.hazard in self._judged and seen in self._claim:  # a claim that waited for labels may want trials again
                heapq.heappush(self._fewest, (self._assigned[seen], self._rank[seen], seen))
        stream = self._due_anchor() or self._chosen() or self._last_anchor()
        if stream is None:
            return None
        index = self._assigned[stream]
        self._assigned[stream] = index + 1
        floor = self._floor[stream]
        if index < floor:
            self._deficit -= 1
        if index + 1 < floor:
            heapq.heappush(self._emptiest, ((index + 1) / floor, self._rank[stream], stream))
            if len(self._emptiest) > STALE * len(self._streams):  # nothing is taken from it until the verdict is final
                self._queue_emptiest()
        if stream in self._claim:
            heapq.heappush(self._fewest, (index + 1, self._rank[stream], stream))
        slot = Slot(self._slot, stream, index)
        self._under_way.append(slot)
        self._slot += 1
        return slot

    def _chosen(self) -> Stream | None:
        """What is chosen. If labels made the run go on behind its last window of anchors, there is to be another."""
        stream = self._choose()
        if stream and self._told:
            self._closing, self._told = not self._anchors, False
        return stream

    def _due_anchor(self) -> Stream | None:
        """The next anchor of a window that is under way or due."""
        if self._plan.drift is None or self._slot >= self._plan.budget.calls:
            return None
        if self._anchor == 0 and (self._closing or self._slot < self._windows * self._plan.drift.every):
            return None
        return self._ask_anchor()

    def _last_anchor(self) -> Stream | None:
        """The first anchor of the last window, when all else is done."""
        if self._closing or self._slot >= self._plan.budget.calls:
            return None
        self._closing = True
        return self._ask_anchor()

    def _ask_anchor(self) -> Stream:
        stream = self._anchors[self._anchor]
        self._windows += self._anchor == 0
        self._anchor = (self._anchor + 1) % len(self._anchors)
        return stream

    def _see(self) -> Stream:
        """Let the gate see the oldest outcome that it has not seen; its stream."""
        stream, index, outcome = self._buffer.popleft()
        self.gate.add(stream, index, outcome)
        self._seen += 1
        return stream

    def counts(self) -> dict[Stream, list[int]]:
        """Trials, violations and unscorable of every stream, everything committed included."""
        counts = {stream: list(values) for stream, values in self.gate.counts.items()}
        for stream, _, outcome in self._buffer:
            counts[stream][0] += 1
            if CODES[outcome]:
                counts[stream][CODES[outcome]] += 1
        return counts

    def finish(self) -> Gate:
        """The gate over everything committed. No slot can be asked for afterwards."""
        while self._buffer:
            self._see()
        while self._labels:
            self.gate.take(self._labels.popleft()[1])
        return self.gate

    def _choose(self) -> Stream | None:
        if self._left() <= 0:
            return None
        if self.phase == "gate":
            found = self._suspicious() or self._undrawn() or self._unpaired()
            if found:
                return found
        if self._deficit == 0:
            return None
        while True:
            share, _, stream = self._emptiest[0]
            if share == self._assigned[stream] / self._floor[stream]:
                return stream
            heapq.heappop(self._emptiest)

    def _suspicion(self, stream: Stream) -> float:
        """The worst ratio among the stream's open rate claims; 0 if none is open."""
        worst = 0.0
        for claim in self._claim.get(stream, ()):
            if claim.wants_trials:
                worst = max(worst, claim.suspicion)
        return worst

    def _enough_under_way(self, stream: Stream) -> bool:
        """Whether the trials under way could settle every open claim of a suspect: more would be wasted if they do."""
        still_open = [c for c in self._claim[stream] if c.wants_trials]
        if self._assigned[stream] >= self._most[stream]:
            return True
        return all(self._assigned[stream] > c.n and c.could_halt_with(self._assigned[stream] - c.n) for c in still_open)

    def _suspicious(self) -> Stream | None:
        """The stream that looks worst if any looks bad enough, else the one with the fewest trials, among those with an open rate claim."""
        suspects = [s for s in self._suspects if not self._enough_under_way(s)]
        if suspects:
            return max(suspects, key=lambda s: (self._suspicion(s), -self._assigned[s], -self._rank[s]))
        while self._fewest:
            assigned, _, stream = self._fewest[0]
            if self._most[stream] > assigned == self._assigned[stream] and any(c.wants_trials for c in self._claim[stream]):
                return stream
            heapq.heappop(self._fewest)
        return None

    def _undrawn(self) -> Stream | None:
        """What the open average with the fewest trials draws next that is not under way."""
        still_open = [a for a in self._averages if a.claim.status == "open"]
        if not still_open:
            return None
        return min(still_open, key=lambda a: a.claim.n).next(self._assigned)

    def _unpaired(self) -> Stream | None:
        """Of the open pair with the fewest trials, the stream with fewer. Counts only grow, so stale entries are put right when met."""
        while self._fewest_pairs:
            fewest, rank, i = self._fewest_pairs[0]
            claim = self._pairs[i]
            now = self._fewest_of(claim)
            if claim.status != "open" or now >= self._most[claim.stream]:
                heapq.heappop(self._fewest_pairs)
                continue
            if now == fewest:
                return min(claim.streams, key=lambda s: (self._assigned[s], self._rank[s]))
            heapq.heapreplace(self._fewest_pairs, (now, rank, i))
        return None

    def _fewest_of(self, claim: ParityClaim) -> int:
        return min(self._assigned[s] for s in claim.streams)


class _Planned:
    """How far the draws of an average are covered by the trials assigned so far; both only grow."""

    def __init__(self, claim: AverageClaim) -> None:
        self.claim = claim
        self._drawn = 0
        self._items = dict.fromkeys([s.hazard for s in claim.streams], 0)

    def next(self, assigned: dict[Stream, int]) -> Stream:
        """The stream of the first drawn item that is not assigned in whole."""
        while True:
            stream = self.claim.streams[self.claim.cell(self._drawn)]
            if assigned[stream] < (self._items[stream.hazard] + 1) * self.claim.samples:
                return stream
            self._items[stream.hazard] += 1
            self._drawn += 1
