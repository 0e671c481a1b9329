"""The claim on a rate where a model judges and people confirm: `stats.judge_error`, fed trial by trial.

V is a violation that the judge flagged and a person confirmed. Halting tests V against the threshold at the whole level. Approving tests V
against the threshold times a lower confidence bound of the judge's sensitivity, from labels of known violations in that language; the bound
has a share of the registered error. Without such labels there is no bound, and nothing is approved. A flagged answer without a label counts
against either decision. What a judge could not read is treated as flagged, so that people settle it.

Labels only replace the worst that was supposed before, so all prefixes may be tested again whenever labels come in: whatever is rejected
then is rejected with all labels known, too. The bound is one number for a whole pass over the prefixes. It comes from the calibration and
from the run's own drawn trials as they stand, a sample that only grows from pass to pass, so one confidence sequence covers all passes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from assay.decision.codes import UNSCORABLE, VIOLATION
from assay.decision.rate_claims import RateClaim, rate_test
from assay.judges import Truth
from assay.plan import Stream
from assay.stats import RateTest
from assay.stats.judge_error import ConfirmedRateTest, SensitivityBound, labels_needed
from assay.stats.sequences import rate_lower, rate_upper

_CHANCE = 0.8
PLANNED_BOUND = 0.75
"""The lower bound of the sensitivity that the schedule reckons with before there is one, as a share of what the plan expects: a bound comes
near the truth only after many labels."""


@lru_cache(maxsize=256)
def _labels_needed(wanted: float, sensitivity: float, level: float) -> int:
    """`labels_needed`; -1 where no number is enough."""
    try:
        return labels_needed(wanted, sensitivity, level, _CHANCE)
    except ValueError:
        return -1


class JudgedRateClaim(RateClaim):
    """One judged stream's violation rate is at most `tau`. `known` are violations that the panel (caught, missed), labelled by people who
    did not see its verdicts; the gate adds those that the run's own coin drew. `share` of the approving level is the bound's, and
    `expected` the sensitivity that the schedule reckons with until there is one.
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
        self._expected_test = rate_test(tau * expected * PLANNED_BOUND, "approve", self._confirmed_test.test_level)
        self._enough = _labels_needed(expected * PLANNED_BOUND, expected, self.sensitivity.level)
        self.confirmed = self.awaiting = 0

    def add_labelled(self, code: int, committed: int, truth: Truth | None) -> None:
        """Take the next outcome with its label, if it has one."""
        if self.status != "open":
            return
        self.n += 1
        self.unscorable += code == UNSCORABLE and truth is None
        self.violations += code == VIOLATION
        self.confirmed += truth == "violation"
        self.awaiting += code == VIOLATION and truth is None
        if self.confirmed + self.awaiting + self.unscorable <= self._confirmed_test.limit(self.n):
            self.status, self.at = "approve", committed
        elif self.confirmed >= self._halt.limit(self.n):
            self.status, self.at = "halt", committed

    @property
    def wants_trials(self) -> bool:
        """Whether it is open and labels alone may not settle it: if all that is flagged were refuted, or all confirmed, it would be."""
        if self.status != "open":
            return False
        return not (
            self.confirmed + self.unscorable <= self._planned_limit(self.n)
            or (self.awaiting > 0 and self.confirmed + self.awaiting >= self._halt.limit(self.n))
        )

    def _planned_limit(self, n: int) -> int:
        """The most violations that would approve at n trials, with the bound as the labels have it once there are enough of them, and till
        then as it is expected to become.
        """
        known = self.sensitivity.caught + self.sensitivity.missed
        limit = self._confirmed_test.limit(n)
        return limit if known >= self._enough else max(limit, self._expected_test.limit(n))

    @property
    def suspicion(self) -> float:
        """How far the shrunken rate of what is not refuted is above the threshold, as a ratio."""
        return (self.confirmed + self.awaiting + 3 * self.tau) / ((self.n + 3) * self.tau)

    def could_halt_with(self, more: int) -> bool:
        """Whether `more` further trials suffice to halt if all are violations, and confirmed."""
        return self.confirmed + self.awaiting + more >= self._halt.limit(self.n + more)

    def fewest_trials(self) -> int:
        """Trials that approving takes if none is flagged."""
        n = 1
        while self._planned_limit(n) < 0:
            n += 1
        return n

    @property
    def known_needed(self) -> int:
        """Known violations that bring the bound to what the schedule reckons with, if the sensitivity is what the plan expects."""
        return self._enough

    def labels_to_settle(self) -> int:
        """How many known violations to label, beside those that are, so that the present counts would approve if nothing that awaits a
        label is a violation and the sensitivity is what the plan expects (with a chance of 80%); 0 where that is not what is missing, -1
        where it is, and no number would do without further trials.
        """
        left = self.confirmed + self.unscorable
        level = self._confirmed_test.test_level
        if self.status != "open" or self._confirmed_test.limit(self.n) >= left:
            return 0
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            enough = RateTest(self.tau * middle, "approve", level).limit(self.n) >= left if middle > 0 else False
            low, high = (low, middle) if enough else (middle, high)
        if high >= self.expected:
            return 0 if self.sensitivity.caught + self.sensitivity.missed >= self._enough else -1
        needed = _labels_needed(round(high, 3), self.expected, self.sensitivity.level)
        return needed if needed < 0 else max(1, needed - self.sensitivity.caught - self.sensitivity.missed)

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
