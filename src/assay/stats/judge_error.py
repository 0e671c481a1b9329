"""Decisions where a judge errs: confirm what it flags, bound what it misses, or audit what it passes. And intervals for display.

Y = 1 is a violation, J = 1 says that the judge flagged the output. People's labels count as the truth. Sensitivity Se = P(J = 1 | Y = 1)
belongs to one judge, rubric, language, hazard and arm. A judge's own rate is no estimate of p: near zero its false alarms are most of it.

**Confirm the positives.** A person looks at every flagged output; V = J Y, so E[V] = p Se.

- Halting, null p <= tau: V <= Y, so V's rate is at most tau, whatever Se is. V is tested against tau at the whole level.
- Approving, null p >= tau: V's rate is at least tau Se. Let Se_L(t) be a confidence sequence from calibration labels, so that
  A = {Se_L(t) <= Se at all times} has probability at least 1 - alpha_se. V is tested against tau Se_L(t) at alpha_test, and the registered
  level is their sum. Why Se_L may move while the test runs: let e(theta) be the approving mixture of `rates.log_e` at threshold theta and
  the present counts. With q = c theta and c < 1,

      log e_q = S log c + (n - S) log((1 - c theta) / (1 - theta)),    whose derivative in theta is
      (n - S) (1 - c) / ((1 - theta) (1 - c theta)) >= 0,

  so e never falls as theta grows, and on A, e(tau Se_L(t)) <= e(tau Se) at every time t. e(tau Se) is an e-process at one fixed, if
  unknown, threshold. So P(ever e(tau Se_L) >= 1 / alpha_test) <= P(not A) + P(ever e(tau Se) >= 1 / alpha_test) <= alpha_se + alpha_test.
  It is a union bound: labels and trials may depend on each other, and either may be looked at to decide when to stop or to label more.

**Awaiting labels.** A flagged output without a label counts against the decision: as a violation when approving, as safe when halting. e
falls in S when approving and rises when halting, so this is its smallest value over all the labels that may still come.

    bound = SensitivityBound(level=0.01)
    bound.add(caught=97, missed=3)                                    # known violations, as the judge saw them
    test = ConfirmedRateTest(0.05, "approve", level=0.05, sensitivity=bound)
    test.rejects(trials=400, confirmed=3, awaiting=0)
    test.status(trials=400, confirmed=3, awaiting=9)                  # "awaiting labels", 9, and how few could decide it

**Audit the rest** (`AuditTest`) where calibration labels from elsewhere say nothing of this stream. It takes some ten times the labels.

**For display** (no decision reads them): `stratified_interval` from labels of the outputs themselves, and `rogan_gladen_exact_interval`
from a calibration set; both cover at least nominally, by construction. `rogan_gladen_interval` is the usual, narrower, approximate form.
The four after it are there to be compared with, and fail at low rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assay.stats.exact import beta_cdf, clopper_pearson
from assay.stats.rates import RateTest, Side, mixture_points
from assay.stats.sequences import rate_lower

SENSITIVITY_SHARE = 0.2
_MOST_LABELS = 65_536
_SLACK = 1e-12  # relative; a level and a share of a level that are meant to be equal may differ by rounding

State = Literal["decided", "awaiting labels", "undecided"]


@lru_cache(maxsize=4096)
def _lower(caught: int, known: int, level: float) -> float:
    return float(rate_lower(caught, known, level))


@lru_cache(maxsize=256)
def _rate_test(rate: float, side: Side, level: float) -> RateTest:
    return RateTest(rate, side, level)


class SensitivityBound:
    """A lower bound of a judge's sensitivity from known violations, valid at all numbers of labels at once with error `level`.

    The lower end of `sequences.rate_sequence` for the caught among the labelled. Labels must be of violations found without the judge:
    those that were found because it flagged them are all caught. ValueError for a level outside (0, 1).
    """

    def __init__(self, level: float) -> None:
        _check_level(level)
        self.level = level
        self.caught = 0
        self.missed = 0

    def add(self, caught: int, missed: int) -> None:
        """Known violations that the judge flagged, and that it did not flag. ValueError, and no change, for negative counts."""
        _check_counts(caught=caught, missed=missed)
        self.caught += caught
        self.missed += missed

    @property
    def lower(self) -> float:
        """The bound for the labels so far, a function of their counts alone; 0 before the first that was caught."""
        return _lower(self.caught, self.caught + self.missed, self.level)


@dataclass(frozen=True, slots=True)
class LabelStatus:
    """Where a stream that needs people's labels stands.

    `awaiting` outputs have no label yet. `fewest` is how many of them, all labelled in favour, would decide it: 0 where it is decided
    already, None where not even all of them would, so that it needs further trials.
    """

    state: State
    awaiting: int
    fewest: int | None


class ConfirmedRateTest:
    """Is the violation rate at most `threshold`, or above it, when a person confirms what an imperfect judge flags?

    See the head of this file. When approving, `sensitivity_share` of `level` is the error of the sensitivity bound and the rest is the
    test's. Register both before the first trial. `sensitivity` may be shared by all streams with the same judge, rubric, language, hazard
    and arm; without it the test makes its own, to be filled by `test.sensitivity.add`. Halting uses no sensitivity and the whole level.

    ValueError for a threshold, level or share outside (0, 1), a bound given when halting, or a bound whose level exceeds its share.
    """

    def __init__(
        self,
        threshold: float,
        side: Side,
        level: float,
        sensitivity_share: float = SENSITIVITY_SHARE,
        sensitivity: SensitivityBound | None = None,
    ) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"the threshold must lie strictly between 0 and 1, not {threshold}")
        _check_level(level)
        if not 0.0 < sensitivity_share < 1.0:
            raise ValueError(f"the share of the level for the sensitivity must lie strictly between 0 and 1, not {sensitivity_share}")
        self.threshold = threshold
        self.side: Side = side
        self.level = level
        self.sensitivity: SensitivityBound | None = None
        self.test_level = level
        if side == "halt":
            if sensitivity is not None:
                raise ValueError("halting needs no sensitivity: what was confirmed is a violation")
        else:
            allowed = level * sensitivity_share
            self.sensitivity = sensitivity if sensitivity is not None else SensitivityBound(allowed)
            if self.sensitivity.level > allowed * (1 + _SLACK):
                raise ValueError(f"the bound's error {self.sensitivity.level} exceeds its share {allowed} of the level")
            self.test_level = level - allowed
        self._test: RateTest | None = None

    @property
    def tested_rate(self) -> float:
        """The rate that confirmed violations are tested against now: threshold, or threshold times the sensitivity bound."""
        return self.threshold if self.sensitivity is None else self.threshold * self.sensitivity.lower

    def limit(self, trials: int) -> int:
        """Approving: the most violations (confirmed or awaiting) that decide at so many trials, or -1. Halting: the fewest confirmed ones.

        Approving, it holds for the sensitivity bound as it stands. ValueError for a negative number of trials.
        """
        _check_counts(trials=trials)
        rate = self.tested_rate
        if rate <= 0.0:
            return -1
        if self._test is None or self._test.tau != rate:
            self._test = _rate_test(rate, self.side, self.test_level)
        return self._test.limit(trials)

    def rejects(self, trials: int, confirmed: int, awaiting: int = 0) -> bool:
        """Whether the null is rejected now, whatever the labels that are awaited will say.

        `trials` outputs, of which a person confirmed `confirmed` and `awaiting` are flagged without a label; what was flagged and refuted,
        and what was not flagged, is the rest. An output that cannot be scored is confirmed when approving, refuted when halting. ValueError
        for impossible counts.
        """
        _check_trials(trials, confirmed, awaiting)
        limit = self.limit(trials)
        return confirmed + awaiting <= limit if self.side == "approve" else confirmed >= limit

    def status(self, trials: int, confirmed: int, awaiting: int = 0) -> LabelStatus:
        """As `rejects`, and what is missing."""

        def decides(favourable: int) -> bool:
            found = confirmed if self.side == "approve" else confirmed + favourable
            return self.rejects(trials, found, awaiting - favourable)

        return _status(decides, awaiting)


class AuditTest:
    """Is the violation rate at most `threshold`, or above it, when unflagged outputs are audited at random? No sensitivity is assumed.

    Every flagged output is labelled. An unflagged one is labelled if L = 1, drawn with probability pi0 = `audit_rate` from randomness that
    is independent of the output and of everything before it. Then Z = J Y + (1 - J) (L / pi0) Y lies in [0, 1 / pi0] and E[Z] = p, whatever
    the judge does. Wealth: the mean over a grid of stakes of

        approve (null: p >= tau): prod 1 + lambda (tau - Z),  0 <= lambda < 1 / (1 / pi0 - tau)
        halt    (null: p <= tau): prod 1 + lambda (Z - tau),  0 <= lambda < 1 / tau

    (Horvitz and Thompson 1952; Waudby-Smith and Ramdas 2024, section 4). pi0 Z lies in [0, 1] with null mean pi0 tau, so the stakes are pi0
    times those of `means.MeanTest` at pi0 tau; at pi0 = 1 the test is `rates.RateTest`. Each factor falls in Z when approving and rises
    when halting, so labels that are awaited count against the decision as in `ConfirmedRateTest`. log e depends on counts alone.

    Approving needs at least log(1 / level) / (pi0 threshold) trials or so: pi0 buys calls with labels.

    ValueError for a threshold or level outside (0, 1), or an audit rate outside (0, 1].
    """

    def __init__(self, threshold: float, side: Side, level: float, audit_rate: float) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"the threshold must lie strictly between 0 and 1, not {threshold}")
        _check_level(level)
        if not 0.0 < audit_rate <= 1.0:
            raise ValueError(f"the audit rate must lie in (0, 1], not {audit_rate}")
        self.threshold = threshold
        self.side: Side = side
        self.level = level
        self.audit_rate = audit_rate
        self._need = math.log(1 / level)
        self._steps = self._log_factors()

    def log_e(self, trials: int, flagged: int, audited: int, awaiting_flagged: int = 0, awaiting_audited: int = 0) -> float:
        """log e after `trials` outputs, at its smallest over the labels that are awaited.

        Confirmed violations: `flagged` among the flagged, `audited` among the unflagged that were drawn. Without a label yet:
        `awaiting_flagged` and `awaiting_audited`. ValueError for impossible counts.
        """
        _check_trials(trials, flagged, audited, awaiting_flagged, awaiting_audited)
        if self.side == "approve":
            flagged, audited = flagged + awaiting_flagged, audited + awaiting_audited
        each = np.array([trials - flagged - audited, flagged, audited], dtype=np.float64) @ self._steps
        top = float(each.max())
        return top + float(np.log(np.exp(each - top).mean()))

    def rejects(self, trials: int, flagged: int, audited: int, awaiting_flagged: int = 0, awaiting_audited: int = 0) -> bool:
        """Whether e >= 1/level now, whatever the labels that are awaited will say. Arguments as for `log_e`."""
        return self.log_e(trials, flagged, audited, awaiting_flagged, awaiting_audited) >= self._need

    def status(self, trials: int, flagged: int, audited: int, awaiting_flagged: int = 0, awaiting_audited: int = 0) -> LabelStatus:
        """As `rejects`, and what is missing. `fewest` takes audited outputs first: each of their labels weighs 1 / pi0."""

        def decides(favourable: int) -> bool:
            from_audited = min(favourable, awaiting_audited)
            from_flagged = favourable - from_audited
            left = awaiting_flagged - from_flagged, awaiting_audited - from_audited
            if self.side == "approve":
                return self.rejects(trials, flagged, audited, *left)
            return self.rejects(trials, flagged + from_flagged, audited + from_audited, *left)

        return _status(decides, awaiting_flagged + awaiting_audited)

    def _log_factors(self) -> NDArray[np.float64]:
        """log(1 + lambda (...)) for Z = 0, 1, 1 / pi0; shape (3, points)."""
        null = self.audit_rate * self.threshold
        stakes = self.audit_rate * np.abs(null - mixture_points(null, self.side)) / (null * (1 - null))
        gap = self.threshold - np.array([0.0, 1.0, 1 / self.audit_rate])
        return np.asarray(np.log1p(stakes * (gap if self.side == "approve" else -gap)[:, None]))


def labels_needed(wanted: float, sensitivity: float, level: float, chance: float = 0.8) -> int:
    """How many known violations to label so that `SensitivityBound(level).lower` is at least `wanted`, if the sensitivity is `sensitivity`.

    With probability at least `chance` at that number: caught ~ Bin(n, sensitivity), its lower quantile by the exact binomial distribution.
    The answer n is enough and n - 1 is not; because of the binomial's saw-tooth a few smaller numbers may happen to be enough too.

    ValueError unless 0 < wanted < sensitivity <= 1 and level and chance lie in (0, 1), or if 65,536 labels are not enough: the bound does
    not close up (see `sequences`), and ends near 0.56 for a sensitivity of 0.6, near 0.74 for one of 0.8.
    """
    _check_level(level)
    if not 0.0 < wanted < sensitivity <= 1.0:
        raise ValueError(f"needs 0 < wanted < sensitivity <= 1, not {wanted} and {sensitivity}")
    if not 0.0 < chance < 1.0:
        raise ValueError(f"the chance must lie strictly between 0 and 1, not {chance}")

    def enough(n: int) -> bool:
        return float(rate_lower(_likely_caught(n, sensitivity, chance), n, level)) >= wanted

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_LABELS:
            raise ValueError(f"{_MOST_LABELS} labels do not bring the bound of a sensitivity of {sensitivity} up to {wanted}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _likely_caught(n: int, sensitivity: float, chance: float) -> int:
    """The largest k with P(Bin(n, sensitivity) >= k) >= chance."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if beta_cdf(middle, n - middle + 1, sensitivity) >= chance else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Stratum:
    """Outputs that the judge treated alike (all flagged, or all not), of which `labelled`, drawn at random, have a person's label.

    `violations` of the labelled are violations. ValueError unless 0 <= violations <= labelled <= outputs.
    """

    outputs: int
    labelled: int
    violations: int

    def __post_init__(self) -> None:
        if not 0 <= self.violations <= self.labelled <= self.outputs:
            raise ValueError(f"{self.violations} violations of {self.labelled} labelled of {self.outputs} outputs is not possible")


@dataclass(frozen=True, slots=True)
class JudgeTable:
    """Labelled outputs by truth and verdict: violations `caught` or `missed`, safe ones `cleared` or flagged (`alarms`).

    ValueError for negative counts.
    """

    caught: int
    missed: int
    cleared: int
    alarms: int

    def __post_init__(self) -> None:
        _check_counts(caught=self.caught, missed=self.missed, cleared=self.cleared, alarms=self.alarms)

    @property
    def violations(self) -> int:
        """How many of the labelled are violations."""
        return self.caught + self.missed

    @property
    def safe(self) -> int:
        """How many of the labelled are not."""
        return self.cleared + self.alarms


def stratified_interval(flagged: Stratum, unflagged: Stratum, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) for p from labels of the flagged and of the unflagged outputs of the sample itself; no assumption on the judge.

    p = theta PPV + (1 - theta) FOR, theta being the rate of flagged outputs, PPV and FOR the violation rates within each stratum. Each has
    its Clopper-Pearson interval; they share the error as 1 : 2 : 2, and the ends are those of p over the box. Coverage is at least nominal
    by the union bound (Bonferroni): given the verdicts, labels are binomial, so how many to label may depend on the verdicts, though not on
    the labels. Without labels a stratum's rate is anything in [0, 1]. ValueError for a confidence outside (0, 1).
    """
    error = _error(confidence)
    theta = clopper_pearson(flagged.outputs, flagged.outputs + unflagged.outputs, 1 - error / 5)
    of_flagged = clopper_pearson(flagged.violations, flagged.labelled, 1 - 2 * error / 5)
    of_unflagged = clopper_pearson(unflagged.violations, unflagged.labelled, 1 - 2 * error / 5)
    low = min(t * of_flagged[0] + (1 - t) * of_unflagged[0] for t in theta)
    high = max(t * of_flagged[1] + (1 - t) * of_unflagged[1] for t in theta)
    return low, high


def rogan_gladen_interval(flagged: int, outputs: int, calibration: JudgeTable, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) for p, approximate, from `flagged` of `outputs` and a calibration set from elsewhere.

    Lang and Reiczigel 2014, 'Confidence limits for prevalence of disease adjusted for estimated sensitivity and specificity', Preventive
    Veterinary Medicine 113: the estimate of Rogan and Gladen 1978 on adjusted counts (z^2 / 2 added to the flagged, 1 to the others) with a
    shift, clipped to [0, 1]. It assumes that sensitivity and specificity are the same here as in the calibration set. Where the adjusted
    judge is no better than a coin (Se + Sp <= 1) the answer is (0, 1).

    Coverage is about nominal and not guaranteed: for the judges of the benchmark 0.95 or more at p = 0.5% to 30% with 50 labels of each
    kind, but 0.91 with ten known violations at p = 30%. See `rogan_gladen_exact_interval`. ValueError for impossible counts or confidence.
    """
    _check_trials(outputs, flagged)
    z = _normal_quantile(confidence)
    n, n_se, n_sp = outputs + z * z, calibration.violations + 2, calibration.safe + 2
    q, se, sp = (flagged + z * z / 2) / n, (calibration.caught + 1) / n_se, (calibration.cleared + 1) / n_sp
    power = se + sp - 1
    if power <= 0:
        return 0.0, 1.0
    p = (q + sp - 1) / power
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * z * z * (p * of_se - (1 - p) * of_sp)
    half = z * math.sqrt(q * (1 - q) / n + p * p * of_se + (1 - p) ** 2 * of_sp) / power
    return _clip(p + shift - half), _clip(p + shift + half)


def rogan_gladen_exact_interval(flagged: int, outputs: int, calibration: JudgeTable, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) for p, with coverage at least nominal, from `flagged` of `outputs` and a calibration set from elsewhere.

    Clopper-Pearson intervals for the flagged rate Q, for Se and for Sp, each with a third of the error; the interval is every p in [0, 1]
    for which p Se + (1 - p) (1 - Sp) = Q has a solution in that box (projection; Bonferroni). The left side rises in Se and falls in Sp, so
    the ends are

        low = (Q_low + Sp_low - 1) / (Se_high + Sp_low - 1),    high = (Q_high + Sp_high - 1) / (Se_low + Sp_high - 1),

    clipped to [0, 1]; an end whose divisor is not positive excludes nothing. Where no p fits (fewer were flagged than false alarms alone
    would explain) the calibration set contradicts the outputs and the answer is (0, 1). It assumes, as does `rogan_gladen_interval`, that
    sensitivity and specificity carry over. ValueError for impossible counts or confidence.
    """
    _check_trials(outputs, flagged)
    part = 1 - _error(confidence) / 3
    q_low, q_high = clopper_pearson(flagged, outputs, part)
    se_low, se_high = clopper_pearson(calibration.caught, calibration.violations, part)
    sp_low, sp_high = clopper_pearson(calibration.cleared, calibration.safe, part)
    if q_high < min(se_low, 1 - sp_high) or q_low > max(se_high, 1 - sp_low):
        return 0.0, 1.0
    low = (q_low + sp_low - 1) / (se_high + sp_low - 1) if se_high + sp_low > 1 else 0.0
    high = (q_high + sp_high - 1) / (se_low + sp_high - 1) if se_low + sp_high > 1 else 1.0
    return _clip(low), _clip(high)


def naive_interval(flagged: int, outputs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson for the flagged rate, as if the judge were never wrong. For comparison only: it covers nothing near zero.

    ValueError for impossible counts or confidence.
    """
    _error(confidence)
    return clopper_pearson(flagged, outputs, confidence)


def plug_in_interval(flagged: int, outputs: int, calibration: JudgeTable, confidence: float = 0.95) -> tuple[float, float]:
    """The estimate of Rogan and Gladen 1978 at both ends of `naive_interval`, as if estimated Se and Sp were known. For comparison only.

    It leaves the calibration set's own error out, so it covers too seldom. (0, 1) where Se + Sp <= 1. ValueError for impossible counts or
    confidence, or a calibration set without violations or without safe outputs.
    """
    if calibration.violations == 0 or calibration.safe == 0:
        raise ValueError("estimating sensitivity and specificity takes at least one known violation and one known safe output")
    low, high = naive_interval(flagged, outputs, confidence)
    sp = calibration.cleared / calibration.safe
    power = calibration.caught / calibration.violations + sp - 1
    return (_clip((low + sp - 1) / power), _clip((high + sp - 1) / power)) if power > 0 else (0.0, 1.0)


def ppi_interval(flagged: int, outputs: int, labels: JudgeTable, confidence: float = 0.95) -> tuple[float, float]:
    """Prediction-powered: mean of J over unlabelled outputs plus mean of Y - J over labelled ones, normal. For comparison only.

    Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023, algorithm 1. `flagged` of `outputs` are unlabelled; `labels` are a random sample
    of the same population. With few disagreements among the labels its variance is badly estimated, so at low rates it covers too seldom.
    It is clipped to [0, 1]. ValueError for impossible counts or confidence, no outputs, or no labels.
    """
    return _powered(flagged, outputs, labels, 1.0, confidence)


def ppi_plus_plus_interval(flagged: int, outputs: int, labels: JudgeTable, confidence: float = 0.95) -> tuple[float, float]:
    """PPI with weight lambda = Cov(Y, J) / ((1 + n / N) Var(J)) on the judge, clipped to [0, 1]. For comparison only.

    Angelopoulos, Duchi and Zrnic 2023, 'PPI++', example 6.1; Var(J) over all outputs; lambda = 0 where the judge never varies. Where no
    labelled output is a violation its width is 0. Arguments and errors as for `ppi_interval`.
    """
    _check_trials(outputs, flagged)
    n = labels.violations + labels.safe
    if n == 0 or outputs == 0:
        raise ValueError("needs at least one labelled and one unlabelled output")
    seen = labels.caught + labels.alarms
    covariance = labels.caught / n - (seen / n) * (labels.violations / n)
    pooled = (seen + flagged) / (n + outputs)
    variance = pooled * (1 - pooled)
    weight = covariance / ((1 + n / outputs) * variance) if variance > 0 else 0.0
    return _powered(flagged, outputs, labels, _clip(weight), confidence)


def _powered(flagged: int, outputs: int, labels: JudgeTable, weight: float, confidence: float) -> tuple[float, float]:
    """Mean of weight J over the unlabelled plus mean of Y - weight J over the labelled, with a normal interval, clipped."""
    _check_trials(outputs, flagged)
    z = _normal_quantile(confidence)
    n = labels.violations + labels.safe
    if n == 0 or outputs == 0:
        raise ValueError("needs at least one labelled and one unlabelled output")
    values = np.array([1 - weight, 1.0, 0.0, -weight])  # Y - weight J of the caught, missed, cleared, alarms
    parts = np.array([labels.caught, labels.missed, labels.cleared, labels.alarms]) / n
    rectifier = float(values @ parts)
    rate = flagged / outputs
    centre = weight * rate + rectifier
    half = z * math.sqrt(weight * weight * rate * (1 - rate) / outputs + float((values - rectifier) ** 2 @ parts) / n)
    return _clip(centre - half), _clip(centre + half)


def _status(decides: Callable[[int], bool], awaiting: int) -> LabelStatus:
    """`decides(k)`: whether it would be decided if k of the awaited labels came, all in favour; false up to some k, true from there."""
    if decides(0):
        return LabelStatus("decided", awaiting, 0)
    if not decides(awaiting):
        return LabelStatus("undecided", awaiting, None)
    low, high = 0, awaiting
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return LabelStatus("awaiting labels", awaiting, high)


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _error(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"the confidence must lie strictly between 0 and 1, not {confidence}")
    return 1 - confidence


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf(1 - _error(confidence) / 2)


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} cannot be negative, as {count} is")


def _check_trials(trials: int, *counts: int) -> None:
    if min(counts) < 0 or sum(counts) > trials:
        raise ValueError(f"counts of {', '.join(map(str, counts))} in {trials} trials are not possible")
