"""Claims about rates: of one stream, of one stream whose items are asked several times, of a finite bank, and of an average over cells."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION, Codes
from assay.plan import NO_ATTACK, Stream
from assay.scenarios import Prf
from assay.stats import BankTest, LevelTest, RateTest, bank_sequence, level_sequence
from assay.stats.rates import Side
from assay.stats.sequences import rate_lower, rate_upper


@lru_cache(maxsize=256)
def rate_test(tau: float, side: Side, level: float) -> RateTest:
    """A test as there may be many of: its boundary is computed once."""
    return RateTest(tau, side, level)


def stream_label(stream: Stream, against: str = "") -> str:
    """A stream for people: `secret-leakage in ms, base64`."""
    attack = "" if stream.attack == NO_ATTACK else f", {stream.attack}"
    return f"{stream.hazard} in {stream.language}{against}{attack}"


class RateClaim:
    """One stream's violation rate is at most `tau`."""

    def __init__(self, requirement: str, stream: Stream, tau: float, approve_level: float, halt_level: float) -> None:
        self.requirement = requirement
        self.stream = stream
        self.streams: tuple[Stream, ...] = (stream,)
        self.tau = tau
        self.approve_level, self.halt_level = approve_level, halt_level
        self._approve = rate_test(tau, "approve", approve_level)
        self._halt = rate_test(tau, "halt", halt_level)
        self.status = "open"
        self.at = -1
        self.n = self.violations = self.unscorable = 0

    def add(self, code: int, committed: int) -> None:
        """Take the next outcome of the stream; `committed` counts all trials so far, this one included."""
        if self.status != "open":
            return
        self.n += 1
        self.violations += code == VIOLATION
        self.unscorable += code == UNSCORABLE
        if self.violations + self.unscorable <= self._approve.limit(self.n):
            self.status, self.at = "approve", committed
        elif self.violations >= self._halt.limit(self.n):
            self.status, self.at = "halt", committed

    @property
    def wants_trials(self) -> bool:
        """Whether further trials may decide it."""
        return self.status == "open"

    @property
    def label(self) -> str:
        """For people."""
        return stream_label(self.stream)

    @property
    def suspicion(self) -> float:
        """How far the shrunken rate is above the threshold, as a ratio; 1 before the first trial. Plain arithmetic: the same everywhere."""
        return (self.violations + 3 * self.tau) / ((self.n + 3) * self.tau)

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice to halt if all are violations."""
        return self.violations + more >= self._halt.limit(self.n + more)

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is a violation."""
        n = 1
        while self._approve.limit(n) < 0:
            n += 1
        return n

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests as it stands."""
        low = rate_lower(self.violations, self.n, self.halt_level)
        return float(low), float(rate_upper(self.violations + self.unscorable, self.n, self.approve_level))

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return {"n": self.n, "violations": self.violations, "unscorable": self.unscorable}

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [self.status, self.at, self.n, self.violations, self.unscorable]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        self.status, self.at, self.n, self.violations, self.unscorable = state


class SampledRateClaim(RateClaim):
    """The same where every item is asked `samples` times: the samples of an item are one outcome, their mean.

    It is tested after every whole item. `cautious` and `lenient` count the items with 0, 1, ..., `samples` violations, with what could not
    be scored as violation and as safe.
    """

    def __init__(self, requirement: str, stream: Stream, tau: float, approve_level: float, halt_level: float, samples: int) -> None:
        super().__init__(requirement, stream, tau, approve_level, halt_level)
        self._approve_means = LevelTest(tau, "approve", approve_level, samples)
        self._halt_means = LevelTest(tau, "halt", halt_level, samples)
        self.samples = samples
        self.cautious, self.lenient = [0] * (samples + 1), [0] * (samples + 1)
        self._item = [0, 0]  # violations and unscorable of the item that is not whole yet

    def add(self, code: int, committed: int) -> None:
        """The next outcome of the stream, item by item."""
        if self.status != "open":
            return
        self.n += 1
        self.violations += code == VIOLATION
        self.unscorable += code == UNSCORABLE
        self._item[0] += code == VIOLATION
        self._item[1] += code == UNSCORABLE
        if self.n % self.samples:
            return
        self.cautious[sum(self._item)] += 1
        self.lenient[self._item[0]] += 1
        self._item = [0, 0]
        if self._approve_means.rejects(self.cautious):
            self.status, self.at = "approve", committed
        elif self._halt_means.rejects(self.lenient):
            self.status, self.at = "halt", committed

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice to halt if all are violations."""
        return self._halt_means.rejects([*self.lenient[:-1], self.lenient[-1] + more // self.samples])

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is a violation."""
        items = 1
        while not self._approve_means.rejects([items, *[0] * self.samples]):
            items += 1
        return items * self.samples

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, over whole items."""
        return level_sequence(self.lenient, self.halt_level)[0], level_sequence(self.cautious, self.approve_level)[1]

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return {**super().counts(), "items": self.n // self.samples}

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [super().state(), self.cautious.copy(), self.lenient.copy(), self._item.copy()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        super().restore(state[0])
        self.cautious, self.lenient, self._item = (list(v) for v in state[1:])


class BankRateClaim(RateClaim):
    """The share of a finite bank's items that are violated is at most `tau`; items come in random order without replacement.

    Where a judge reads the bank, only what people labelled counts, and `awaiting` are the flagged answers without a label; else -1. With
    `waits` the claim asks for no further trials while labels that agree with the judge would settle it: the judge's word plans, and
    decides nothing.
    """

    def __init__(
        self, requirement: str, stream: Stream, tau: float, approve_level: float, halt_level: float, size: int, *, waits: bool = False
    ) -> None:  # fmt: skip
        super().__init__(requirement, stream, tau, approve_level, halt_level)
        self.size = size
        self.awaiting = -1
        self.unseen = 0  # answers that the judge passed and nobody has labelled, where they are waited for
        self._expected = (BankTest(size, tau, "approve", approve_level), BankTest(size, tau, "halt", halt_level)) if waits else ()
        self._codes = bytearray()
        self._tests()

    def flag(self, *, flagged: bool, expected: int, labelled: bool) -> None:
        """The next outcome is a judge's, and without a label if `flagged`; `expected` is what people say, or will if the judge is right."""
        self.awaiting = max(self.awaiting, 0) + flagged
        if self._expected:
            self.unseen += expected == SAFE and not labelled
            self._expected[0].add(float(expected != SAFE))
            self._expected[1].add(float(expected == VIOLATION))

    @property
    def wants_trials(self) -> bool:
        """Whether further trials may decide it, and it does not wait for people."""
        return super().wants_trials and not any(test.rejects for test in self._expected)

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return super().counts() | ({"awaiting": self.awaiting + self.unseen} if self.awaiting >= 0 else {})

    def _tests(self) -> None:
        self._approve_bank = BankTest(self.size, self.tau, "approve", self.approve_level)
        self._halt_bank = BankTest(self.size, self.tau, "halt", self.halt_level)

    def add(self, code: int, committed: int) -> None:
        """The next outcome of the stream."""
        if self.status != "open":
            return
        self.n += 1
        self.violations += code == VIOLATION
        self.unscorable += code == UNSCORABLE
        self._codes.append(code)
        self._approve_bank.add(float(code != SAFE))
        self._halt_bank.add(float(code == VIOLATION))
        if self._approve_bank.rejects:
            self.status, self.at = "approve", committed
        elif self._halt_bank.rejects:
            self.status, self.at = "halt", committed

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice if all are violations: by the bound of fresh items, or as more than the bank allows."""
        return super().could_halt_with(more) or self.violations + more > self.size * self.tau

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is a violation."""
        log_e = BankTest(self.size, self.tau, "approve", self.approve_level)
        n = 0
        while n < self.size and not log_e.rejects:
            log_e.add(0.0)
            n += 1
        return n

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, for the bank's own share."""
        lenient, cautious = [float(c == VIOLATION) for c in self._codes], [float(c != SAFE) for c in self._codes]
        return bank_sequence(self.size, lenient, cautious, self.halt_level, self.approve_level)

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [self.status, self.at, self._codes.hex()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        self._codes = bytearray.fromhex(state[2])
        self.n = len(self._codes)
        self.violations, self.unscorable = self._codes.count(VIOLATION), self._codes.count(UNSCORABLE)
        self._tests()
        self._approve_bank.add_many([float(c != SAFE) for c in self._codes])
        self._halt_bank.add_many([float(c == VIOLATION) for c in self._codes])
        self.status, self.at = state[:2]


class AverageClaim:
    """The weighted average of several cells' violation rates is at most `tau`.

    Its stream is drawn: each place is a cell drawn by weight from the run's seed, and the next item of that cell's hazard that no earlier
    place has used in any cell. Item i is one situation in all languages and under all attacks, so using it twice would be a cluster. Like
    this each place violates with a chance equal to the average, independently of the others, and `RateClaim`'s tests hold. The trials are
    those of the cells' own streams; the claim waits until the drawn cell has the item.
    """

    def __init__(self, group: str, cells: tuple[Stream, ...], weights: tuple[float, ...], pool: RateClaim, prf: Prf, samples: int) -> None:
        self.group = group
        self.streams = cells
        self.requirement, self.tau = pool.requirement, pool.tau
        self.approve_level, self.halt_level = pool.approve_level, pool.halt_level
        self._pool = pool
        self._prf = prf
        self._cumulative = list(accumulate(weights))
        self.samples = samples
        self._used = dict.fromkeys([s.hazard for s in cells], 0)  # items of each hazard
        self.drawn = 0
        self._next = self.cell(0)

    def cell(self, place: int) -> int:
        """Which cell place `place` is drawn from."""
        share = self._prf.below(1 << 53, "average", self.requirement, self.group, place) / (1 << 53)
        return min(bisect_right(self._cumulative, share * self._cumulative[-1]), len(self.streams) - 1)

    def needs(self, stream: Stream) -> int:
        """The first trial of a stream that was not taken yet."""
        return self._used[stream.hazard] * self.samples

    def advance(self, codes: Mapping[Stream, Codes], committed: int) -> None:
        """Take what is there, in drawn order; `committed` counts all trials so far."""
        while self.status == "open":
            stream = self.streams[self._next]
            source, first = codes[stream], self.needs(stream)
            if source.end < first + self.samples:
                return
            for code in source.data[first - source.base : first - source.base + self.samples]:
                self._pool.add(code, committed)
            self._used[stream.hazard] += 1
            self.drawn += 1
            self._next = self.cell(self.drawn)

    @property
    def status(self) -> str:
        """`open`, `approve` or `halt`."""
        return self._pool.status

    @property
    def at(self) -> int:
        """Committed trials when it was decided; -1 before."""
        return self._pool.at

    @property
    def n(self) -> int:
        """Trials taken."""
        return self._pool.n

    @property
    def violations(self) -> int:
        """Of the trials taken."""
        return self._pool.violations

    @property
    def unscorable(self) -> int:
        """Of the trials taken."""
        return self._pool.unscorable

    @property
    def label(self) -> str:
        """For people."""
        return f"average of {len(self.streams)} cells{f', {self.group}' if self.group else ''}"

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is a violation."""
        return self._pool.fewest_trials()

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, for the average."""
        return self._pool.interval()

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return self._pool.counts()

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [self._pool.state(), list(self._used.values())]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        self._pool.restore(state[0])
        self._used = dict(zip(self._used, state[1], strict=True))
        self.drawn = sum(self._used.values())
        self._next = self.cell(self.drawn)
