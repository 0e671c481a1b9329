"""The claim on a rate where a model judges and people confirm: `stats.judge_error`, fed trial by trial.

V is a violation that the judge flagged and a person confirmed. Halting tests V against the threshold at the whole level. Approving tests V
against the threshold times a lower confidence bound of the judge's sensitivity, from labels of known violations in that language; the bound
has a share of the registered error. Without such labels there is no bound, and nothing is approved. A flagged answer without a label counts
against either decision. What a judge could not read is treated as flagged, so that people settle it.
"""

from __future__ import annotations

from typing import Any

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.decision.rate_claims import RateClaim
from assay.judges import Truth
from assay.plan import Stream
from assay.stats import RateTest
from assay.stats.judge_error import ConfirmedRateTest, SensitivityBound, labels_needed
from assay.stats.sequences import rate_lower, rate_upper

_CHANCE = 0.8


class JudgedRateClaim(RateClaim):
    """One judged stream's violation rate is at most `tau`. `known` are violations that the panel (caught, missed), labelled by people who
    did not see its verdicts; `share` of the approving level is the bound's, and `expected` the sensitivity that the schedule reckons with
    until there is one.
    """

    def __init__(
        self, requirement: str, stream: Stream, tau: float, approve_level: float, halt_level: float, *,
        known: tuple[int, int], share: float, expected: float,
    ) -> None:  # fmt: skip
        super().__init__(requirement, stream, tau, approve_level, halt_level)
        self.share, self.expected = share, expected
        self.sensitivity = SensitivityBound(approve_level * share)
        self.sensitivity.add(*known)
        self._confirmed_test = ConfirmedRateTest(tau, "approve", approve_level, share, self.sensitivity)
        self._expected_test = RateTest(tau * expected, "approve", self._confirmed_test.test_level)
        self.confirmed = self.awaiting = 0

    def add_labelled(self, code: int, committed: int, truth: Truth | None, *, drawn: bool) -> None:
        """Take the next outcome with its label; `drawn` says that the run's coin drew it whatever the judge said, so that a violation among
        those counts for the sensitivity.
        """
        if self.status != "open":
            return
        self.n += 1
        flagged = code != SAFE
        self.unscorable += code == UNSCORABLE and truth is None
        self.violations += code == VIOLATION
        self.confirmed += truth == "violation"
        self.awaiting += code == VIOLATION and truth is None
        if truth == "violation" and drawn:
            self.sensitivity.add(int(flagged), int(not flagged))
        if self.confirmed + self.awaiting + self.unscorable <= self._confirmed_test.limit(self.n):
            self.status, self.at = "approve", committed
        elif self.confirmed >= self._halt.limit(self.n):
            self.status, self.at = "halt", committed

    @property
    def wants_trials(self) -> bool:
        """Whether it is open and labels alone may not settle it: if all that is flagged were refuted, or all confirmed, it would be."""
        if self.status != "open":
            return False
        test = self._expected_test if self.sensitivity.lower <= 0 else self._confirmed_test
        return not (
            self.confirmed + self.unscorable <= test.limit(self.n)
            or (self.awaiting > 0 and self.confirmed + self.awaiting >= self._halt.limit(self.n))
        )

    @property
    def suspicion(self) -> float:
        """How far the shrunken rate of what is not refuted is above the threshold, as a ratio."""
        return (self.confirmed + self.awaiting + 3 * self.tau) / ((self.n + 3) * self.tau)

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice to halt if all are violations, and confirmed."""
        return self.confirmed + self.awaiting + more >= self._halt.limit(self.n + more)

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is flagged."""
        test = self._expected_test if self.sensitivity.lower <= 0 else self._confirmed_test
        n = 1
        while test.limit(n) < 0:
            n += 1
        return n

    def labels_to_settle(self) -> int:
        """How many known violations to label, beside those that are, so that the present counts would approve, if the sensitivity is what
        the plan expects (with a chance of 80%); 0 where that is not what is missing, -1 where no number would do.
        """
        left = self.confirmed + self.awaiting + self.unscorable
        level = self._confirmed_test.test_level
        if self.status != "open" or RateTest(self.tau, "approve", level).limit(self.n) < left:
            return 0
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            enough = RateTest(self.tau * middle, "approve", level).limit(self.n) >= left if middle > 0 else False
            low, high = (low, middle) if enough else (middle, high)
        if high >= self.expected:
            return -1
        known = self.sensitivity.caught + self.sensitivity.missed
        try:
            return max(1, labels_needed(high, self.expected, self.sensitivity.level, _CHANCE) - known)
        except ValueError:
            return -1

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests: confirmed violations from below, what the sensitivity makes of them from above."""
        low = float(rate_lower(self.confirmed, self.n, self.halt_level))
        above = float(rate_upper(self.confirmed + self.awaiting + self.unscorable, self.n, self._confirmed_test.test_level))
        lower = self.sensitivity.lower
        return low, min(1.0, above / lower) if lower > 0 else 1.0

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on: `violations` are the flagged answers."""
        return {
            **super().counts(),
            "confirmed": self.confirmed,
            "awaiting": self.awaiting,
            "caught": self.sensitivity.caught,
            "missed": self.sensitivity.missed,
        }

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [super().state(), self.confirmed, self.awaiting, self.sensitivity.caught, self.sensitivity.missed]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`, on a new claim."""
        super().restore(state[0])
        self.confirmed, self.awaiting, caught, missed = state[1:]
        self.sensitivity.add(caught - self.sensitivity.caught, missed - self.sensitivity.missed)
