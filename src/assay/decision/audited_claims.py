"""The claim on a rate where people see all that the judge flags, and a random share of what it passes: `stats.judge_error.AuditTest`.

No sensitivity is assumed, so no calibration is needed and nothing is carried over from other answers. It takes some ten times the labels:
each violation found among the passed answers stands for as many as the share hides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.decision.rate_claims import RateClaim
from assay.judges import Truth
from assay.plan import Stream
from assay.stats.judge_error import AuditTest
from assay.stats.rates import Side


@lru_cache(maxsize=256)
def _test(tau: float, side: Side, level: float, share: float) -> AuditTest:
    return AuditTest(tau, side, level, share)


class AuditedRateClaim(RateClaim):
    """One judged stream's violation rate is at most `tau`; `share` of what the judge passes is drawn for people, by the run's seed.

    What a judge could not read counts as flagged: people see it.
    """

    def __init__(self, requirement: str, stream: Stream, tau: float, approve_level: float, halt_level: float, share: float) -> None:
        super().__init__(requirement, stream, tau, approve_level, halt_level)
        self.share = share
        self._approving = _test(tau, "approve", approve_level, share)
        self._halting = _test(tau, "halt", halt_level, share)
        self.flagged = self.audited = 0  # confirmed violations among the flagged, and among the passed that were drawn
        self.awaiting = self.awaiting_audited = 0

    def add_labelled(self, code: int, committed: int, truth: Truth | None, *, drawn: bool) -> None:
        """Take the next outcome with its label; `drawn` says whether the run's coin drew it."""
        if self.status != "open":
            return
        self.n += 1
        self.violations += code == VIOLATION
        self.unscorable += code == UNSCORABLE and truth is None
        if code != SAFE:
            self.flagged += truth == "violation"
            self.awaiting += truth is None and code == VIOLATION
        elif drawn:
            self.audited += truth == "violation"
            self.awaiting_audited += truth is None
        waiting = self.awaiting + self.unscorable
        if self._approving.rejects(self.n, self.flagged, self.audited, waiting, self.awaiting_audited):
            self.status, self.at = "approve", committed
        elif self._halting.rejects(self.n, self.flagged, self.audited, waiting, self.awaiting_audited):
            self.status, self.at = "halt", committed

    @property
    def wants_trials(self) -> bool:
        """Whether it is open and labels alone cannot settle it."""
        if self.status != "open":
            return False
        if self._approving.rejects(self.n, self.flagged, self.audited, self.unscorable):
            return False
        confirmed = self.flagged + self.awaiting, self.audited + self.awaiting_audited
        return not (self.awaiting + self.awaiting_audited and self._halting.rejects(self.n, *confirmed, self.unscorable))

    @property
    def suspicion(self) -> float:
        """How far the shrunken rate of what is not refuted is above the threshold, as a ratio."""
        return (self.flagged + self.awaiting + 3 * self.tau) / ((self.n + 3) * self.tau)

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice to halt if all are flagged and confirmed."""
        return self._halting.rejects(self.n + more, self.flagged + self.awaiting + more, self.audited, self.unscorable)

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is a violation."""
        low, high = 0, 1
        while not self._approving.rejects(high, 0, 0):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._approving.rejects(middle, 0, 0) else (middle, high)
        return high

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests: where each would change its mind, found by bisection."""
        waiting = self.awaiting + self.unscorable

        def rejected(tau: float, side: Side, level: float) -> bool:
            test = AuditTest(tau, side, level, self.share)
            return test.rejects(self.n, self.flagged, self.audited, waiting, self.awaiting_audited)

        def edge(side: Side, level: float) -> float:
            low, high = 1e-6, 1 - 1e-6
            for _ in range(30):
                middle = (low + high) / 2
                if rejected(middle, side, level) == (side == "approve"):
                    high = middle
                else:
                    low = middle
            return high if side == "approve" else low

        upper = edge("approve", self.approve_level) if rejected(1 - 1e-6, "approve", self.approve_level) else 1.0
        lower = edge("halt", self.halt_level) if rejected(1e-6, "halt", self.halt_level) else 0.0
        return min(lower, upper), upper

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on: `violations` are the flagged answers."""
        return {
            **super().counts(),
            "confirmed": self.flagged,
            "confirmed_audited": self.audited,
            "awaiting": self.awaiting + self.awaiting_audited,
        }

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [super().state(), self.flagged, self.audited, self.awaiting, self.awaiting_audited]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`, on a new claim."""
        super().restore(state[0])
        self.flagged, self.audited, self.awaiting, self.awaiting_audited = state[1:]
