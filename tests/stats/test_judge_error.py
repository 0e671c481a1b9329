"""Deciding in spite of a judge's errors: exact errors, labels that lag, audits, and intervals against independent formulas."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from bench.statistics.judge_error import JUDGES, RATES, RECOMMENDED, coverage_table, label_cost
from scipy import stats

from assay.stats import MeanTest, RateTest, clopper_pearson, crossing_probability, log_e
from assay.stats.judge_error import (
    AuditTest,
    ConfirmedRateTest,
    JudgeTable,
    LabelStatus,
    SensitivityBound,
    Stratum,
    labels_needed,
    naive_interval,
    plug_in_interval,
    ppi_interval,
    ppi_plus_plus_interval,
    rogan_gladen_exact_interval,
    rogan_gladen_interval,
    stratified_interval,
)
from assay.stats.rates import Side
from assay.stats.sequences import SWITCH, mixture_log_e, rate_lower

SIDES: tuple[Side, ...] = ("approve", "halt")
TAU, LEVEL = 0.05, 0.05


def bound_of(caught: int, missed: int, level: float = 0.2 * LEVEL) -> SensitivityBound:
    bound = SensitivityBound(level)
    bound.add(caught, missed)
    return bound


def at_most(errors: int, runs: int, level: float) -> bool:
    """Whether so many errors are consistent with an error probability of at most `level` (one-sided, at 1 in 10,000)."""
    return bool(stats.binom.sf(errors - 1, runs, level) > 1e-4)


# The sensitivity bound


def test_the_bound_depends_on_the_counts_alone_and_excludes_what_the_test_rejects() -> None:
    parts = SensitivityBound(0.01)
    assert parts.lower == 0
    for caught, missed in ((3, 0), (0, 2), (40, 1)):
        parts.add(caught, missed)
    whole = bound_of(43, 3, 0.01)
    assert parts.lower == whole.lower
    assert RateTest(whole.lower - 1e-9, "halt", 0.01).rejects(43, 46)
    assert not RateTest(whole.lower + 1e-9, "halt", 0.01).rejects(43, 46)


def test_the_bound_rises_with_the_caught_and_falls_with_the_missed() -> None:
    assert bound_of(0, 30).lower == 0
    for n in (20, 100, 400):
        rising = [bound_of(caught, n - caught).lower for caught in range(0, n + 1, n // 20)]
        assert all(a <= b for a, b in pairwise(rising))
        assert 0 < rising[10] < rising[-1] < 1
    assert all(bound_of(50, missed).lower > bound_of(50, missed + 5).lower for missed in range(0, 50, 5))


@pytest.mark.parametrize("sensitivity", [0.6, 0.8, 0.97])
def test_the_bound_seldom_exceeds_the_sensitivity_at_any_number_of_labels(sensitivity: float) -> None:
    """Looked at after every label; an interval for a fixed number of labels errs beyond its level under the same looks."""
    rng, runs, labels, level = np.random.default_rng(1), 1500, 200, 0.05
    caught = np.cumsum(rng.random((runs, labels)) < sensitivity, axis=1)
    n = np.broadcast_to(np.arange(1, labels + 1), caught.shape)
    wrong = (mixture_log_e(caught.astype(float), n.astype(float), np.full(caught.shape, sensitivity), "halt") >= math.log(1 / level)).any(1)
    assert at_most(int(wrong.sum()), runs, level)
    above = np.where(caught > 0, stats.beta.ppf(level, caught, n - caught + 1), 0.0) > sensitivity
    assert not at_most(int(above.any(1).sum()), runs, level)
    some, counts = caught[:40], n[:40]
    exceeds, rejected = rate_lower(some, counts, level) > sensitivity, log_e(some, counts, sensitivity, "halt") >= math.log(1 / level)
    assert not np.any(exceeds & ~rejected)
    if sensitivity < SWITCH:
        assert np.array_equal(exceeds, rejected)


# Confirmed positives


def test_approving_e_never_falls_as_the_threshold_grows() -> None:
    """So e at tau Se_L <= tau Se is at most e at tau Se. By numbers, and by its derivative."""
    thresholds = np.linspace(0.001, 0.95, 300)
    for n in (1, 7, 60, 500, 3000):
        for s in sorted({0, 1, n // 50, n // 10, n // 2, n}):
            e = mixture_log_e(np.full(300, float(s)), np.full(300, float(n)), thresholds, "approve")
            assert np.all(np.diff(e) >= -1e-9 * max(1, n))
            assert s == n or e[-1] > e[0]
    s, n, theta, step = 4, 90, 0.06, 1e-6
    for c in np.geomspace(1 / 40, 0.85, 24):

        def one(t: float, c: float = float(c)) -> float:
            return s * math.log(c) + (n - s) * math.log((1 - c * t) / (1 - t))

        slope = (one(theta + step) - one(theta - step)) / (2 * step)
        assert slope == pytest.approx((n - s) * (1 - c) / ((1 - theta) * (1 - c * theta)), rel=1e-6)


def test_halting_e_does_not_have_that_property() -> None:
    """Which is why the argument is made for approving alone: halting at tau Se_L would err."""
    e = mixture_log_e(np.full(2, 30.0), np.full(2, 300.0), np.array([0.03, 0.06]), "halt")
    assert e[0] > e[1]


def test_it_is_the_rate_test_at_tau_times_the_bound() -> None:
    bound = bound_of(95, 5)
    test = ConfirmedRateTest(TAU, "approve", LEVEL, sensitivity=bound)
    assert test.test_level + bound.level == pytest.approx(LEVEL, abs=1e-15)
    assert test.tested_rate == TAU * bound.lower
    plain = RateTest(TAU * bound.lower, "approve", 0.8 * LEVEL)
    assert [test.limit(n) for n in range(900)] == [plain.limit(n) for n in range(900)]
    halting = ConfirmedRateTest(TAU, "halt", LEVEL)
    assert (halting.sensitivity, halting.tested_rate, halting.test_level) == (None, TAU, LEVEL)
    assert [halting.limit(n) for n in range(900)] == [RateTest(TAU, "halt", LEVEL).limit(n) for n in range(900)]


def test_new_calibration_labels_move_the_boundary() -> None:
    test = ConfirmedRateTest(TAU, "approve", LEVEL)
    assert test.sensitivity is not None
    assert test.limit(5000) == -1  # nothing is known of the sensitivity yet
    assert not test.rejects(5000, 0)
    limits = []
    for caught, missed in ((10, 0), (40, 1), (100, 2), (0, 90)):
        test.sensitivity.add(caught, missed)
        limits.append(test.limit(1000))
    assert limits[0] < limits[1] < limits[2]
    assert limits[3] < limits[2]


@pytest.mark.parametrize("sensitivity", [0.6, 0.8, 0.97])
def test_false_approval_at_the_threshold_exactly(sensitivity: float) -> None:
    """Over every calibration result of 20 labels and every stopping time up to 1,200 trials, by dynamic programming.

    Without the sensitivity, or with its estimate for its bound, the same calculation errs beyond the level.
    """
    labels, trials = 20, 1200
    total = estimated = 0.0
    for caught in range(labels + 1):
        weight = float(stats.binom.pmf(caught, labels, sensitivity))
        if weight < 1e-7:
            total += weight
            continue
        test = ConfirmedRateTest(TAU, "approve", LEVEL, sensitivity=bound_of(caught, labels - caught))
        assert test.tested_rate > 0
        total += weight * float(crossing_probability(TAU * sensitivity, RateTest(test.tested_rate, "approve", test.test_level), trials)[-1])
        plug_in = RateTest(TAU * caught / labels, "approve", LEVEL)
        estimated += weight * float(crossing_probability(TAU * sensitivity, plug_in, trials)[-1])
    assert 0 < total <= LEVEL
    assert estimated > total
    naive = float(crossing_probability(TAU * sensitivity, RateTest(TAU, "approve", LEVEL), trials)[-1])
    assert naive > LEVEL
    if sensitivity < 0.9:
        assert estimated > LEVEL


def test_false_halt_at_the_threshold_exactly() -> None:
    """For any sensitivity; counting every flagged output as a violation halts a good model of p = tau as a rule."""
    test = RateTest(TAU, "halt", LEVEL)
    errors = [float(crossing_probability(TAU * se, test, 3000)[-1]) for se in (0.5, 0.8, 0.97, 1.0)]
    assert errors == sorted(errors)
    assert 0 < errors[-1] <= LEVEL
    for se, sp in JUDGES.values():
        assert float(crossing_probability(TAU * se + (1 - TAU) * (1 - sp), test, 3000)[-1]) > 2 * LEVEL


def test_false_approval_while_calibration_labels_keep_coming() -> None:
    """20 known violations at the start and 20 more every 100 trials, a look after every trial; the bound moves up and down."""
    rng, runs, trials, se, every = np.random.default_rng(2), 1500, 1000, 0.8, 100
    v = np.cumsum(rng.random((runs, trials)) < TAU * se, axis=1).astype(float)
    caught = np.cumsum(rng.binomial(20, se, (runs, trials // every)), axis=1)
    labels = np.broadcast_to(20 * np.arange(1, trials // every + 1), caught.shape)
    lower = np.repeat(rate_lower(caught, labels, 0.2 * LEVEL), every, axis=1)
    assert np.any(np.diff(lower, axis=1) < 0)
    n = np.broadcast_to(np.arange(1.0, trials + 1), v.shape)
    crossed = np.zeros(runs, bool)
    naive = np.zeros(runs, bool)
    for part in np.array_split(np.arange(trials), 5):
        thresholds = TAU * np.maximum(lower[:, part], 1e-6)
        crossed |= (mixture_log_e(v[:, part], n[:, part], thresholds, "approve") >= math.log(1 / (0.8 * LEVEL))).any(1)
        naive |= (log_e(v[:, part], n[:, part], TAU, "approve") >= math.log(1 / LEVEL)).any(1)
    assert at_most(int(crossed.sum()), runs, LEVEL)
    assert not at_most(int(naive.sum()), runs, LEVEL)
    k, t = 17, 999  # the vectorised statistic above is the class's own
    test = ConfirmedRateTest(TAU, "approve", LEVEL, sensitivity=bound_of(int(caught[k, -1]), int(labels[k, -1] - caught[k, -1])))
    for s in range(120):
        e = mixture_log_e(np.array([float(s)]), np.array([t + 1.0]), np.array([TAU * lower[k, t]]), "approve")[0]
        assert test.rejects(t + 1, s) == (e >= math.log(1 / (0.8 * LEVEL)))


# Labels that lag


def decided_by_every_labelling(test: ConfirmedRateTest, trials: int, confirmed: int, awaiting: int) -> bool:
    return all(test.rejects(trials, confirmed + more) for more in range(awaiting + 1))


@pytest.mark.parametrize("side", SIDES)
def test_it_decides_only_what_every_labelling_would_decide(side: Side) -> None:
    test = ConfirmedRateTest(0.2, side, LEVEL, sensitivity=bound_of(200, 4) if side == "approve" else None)
    seen = set()
    for trials, confirmed, awaiting in product((30, 60, 90), range(0, 22, 3), range(9)):
        rejects = test.rejects(trials, confirmed, awaiting)
        assert rejects == decided_by_every_labelling(test, trials, confirmed, awaiting)
        status = test.status(trials, confirmed, awaiting)
        fewest = [k for k in range(awaiting + 1) if test.rejects(trials, confirmed + (k if side == "halt" else 0), awaiting - k)]
        assert status == LabelStatus(
            "decided" if rejects else "awaiting labels" if fewest else "undecided", awaiting, fewest[0] if fewest else None
        )
        seen.add(status.state)
    assert seen == {"decided", "awaiting labels", "undecided"}


def test_flagged_outputs_without_labels_never_approve() -> None:
    test = ConfirmedRateTest(TAU, "approve", LEVEL, sensitivity=bound_of(300, 5))
    limit = test.limit(400)
    assert limit > 2
    assert test.rejects(400, 0, limit)
    assert not test.rejects(400, 0, limit + 1)
    assert test.status(400, 2, limit + 5) == LabelStatus("awaiting labels", limit + 5, 7)
    assert test.status(400, limit + 1, 3) == LabelStatus("undecided", 3, None)
    assert not any(test.rejects(n, 0, n) for n in range(0, 5000, 50))
    halting = ConfirmedRateTest(TAU, "halt", LEVEL)
    assert not any(halting.rejects(n, 0, n) for n in range(0, 5000, 50))
    assert halting.status(100, 0, 100) == LabelStatus("awaiting labels", 100, halting.limit(100))


@pytest.mark.parametrize("side", SIDES)
def test_an_audit_decides_only_what_every_labelling_would_decide(side: Side) -> None:
    test = AuditTest(0.2, side, LEVEL, 0.5)
    seen = set()
    for trials, flagged, audited, wait_f, wait_a in product((40, 90), (0, 6, 12), (0, 3, 6), (0, 2, 5), (0, 1, 4)):
        rejects = test.rejects(trials, flagged, audited, wait_f, wait_a)
        ways = [test.rejects(trials, flagged + f, audited + a) for f in range(wait_f + 1) for a in range(wait_a + 1)]
        assert rejects == all(ways)
        status = test.status(trials, flagged, audited, wait_f, wait_a)
        assert status.state == ("decided" if rejects else "awaiting labels" if any(ways) else "undecided")
        sign = 1 if side == "halt" else 0
        in_favour = [
            f + a
            for f, a in product(range(wait_f + 1), range(wait_a + 1))
            if test.rejects(trials, flagged + sign * f, audited + sign * a, wait_f - f, wait_a - a)
        ]
        assert status.fewest == min(in_favour, default=None)
        seen.add(status.state)
    assert seen == {"decided", "awaiting labels", "undecided"}


# Audits


@pytest.mark.parametrize("side", SIDES)
def test_an_audit_of_everything_is_the_rate_test(side: Side) -> None:
    test = AuditTest(TAU, side, LEVEL, 1.0)
    for n, flagged, audited in ((0, 0, 0), (50, 2, 1), (300, 4, 20), (900, 0, 0)):
        assert test.log_e(n, flagged, audited) == pytest.approx(float(log_e(flagged + audited, n, TAU, side)), abs=1e-9)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_an_audit_is_the_mean_test_of_weighted_outcomes(side: Side, rate: float) -> None:
    z = np.random.default_rng(3).choice([0.0, 1.0, 1 / rate], 400, p=[0.95, 0.04, 0.01])
    mean = MeanTest(rate * TAU, side, LEVEL)
    mean.add_many(z * rate)
    test = AuditTest(TAU, side, LEVEL, rate)
    assert test.log_e(400, int((z == 1).sum()), int((z > 1).sum())) == pytest.approx(mean.log_e, abs=1e-9)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("se", "sp"), [(1.0, 1.0), (0.8, 0.97), (0.3, 0.9), (0.0, 1.0)])
def test_audit_e_has_mean_one_at_the_threshold_whatever_the_judge(side: Side, se: float, sp: float) -> None:
    """Exact, over all counts of ten outputs; and less within the null. A wrong audit rate breaks it."""
    n, rate = 10, 0.2

    def mean_e(p: float, drawn: float) -> float:
        found, slipped = p * se, p * (1 - se) * drawn
        total = 0.0
        for f in range(n + 1):
            for a in range(n + 1 - f):
                ways = stats.multinomial.pmf([f, a, n - f - a], n, [found, slipped, 1 - found - slipped])
                total += float(ways) * math.exp(test.log_e(n, f, a))
        return total

    test = AuditTest(TAU, side, LEVEL, rate)
    assert mean_e(TAU, rate) == pytest.approx(1, abs=1e-9)
    assert mean_e(TAU * (1.3 if side == "approve" else 0.7), rate) < 0.99
    if se < 1:
        assert mean_e(TAU, rate * (0.5 if side == "approve" else 2)) > 1.005


@pytest.mark.parametrize("side", SIDES)
def test_false_decisions_of_an_audit_at_the_threshold(side: Side) -> None:
    """A judge of unknown, low sensitivity, a look after every trial; taking what was flagged as the truth errs in the same runs."""
    tau, level, rate, se, sp = 0.2, 0.1, 0.25, 0.5, 0.8
    rng, runs, trials = np.random.default_rng(4), 1000, 500
    y = rng.random((runs, trials)) < tau
    j = rng.random((runs, trials)) < np.where(y, se, 1 - sp)
    drawn = rng.random((runs, trials)) < rate
    z = np.where(j, y, np.where(drawn, y / rate, 0.0))
    need = math.log(1 / level)
    wrong = sum(bool((MeanTest(rate * tau, side, level).add_many(row * rate) >= need).any()) for row in z)
    assert wrong > 0
    assert at_most(wrong, runs, level)
    seen = j & y if side == "approve" else j
    naive = (log_e(np.cumsum(seen, axis=1), np.arange(1, trials + 1), tau, side) >= need).any(1)
    assert not at_most(int(naive.sum()), runs, level)


def test_an_audit_stakes_within_its_bound() -> None:
    """Wealth stays positive at the worst outcome, and the largest stake is below 1 / (1 / pi0 - tau)."""
    for tau, rate in product((0.01, 0.05, 0.5), (0.02, 0.1, 1.0)):
        test = AuditTest(tau, "approve", LEVEL, rate)
        assert math.isfinite(test.log_e(5, 0, 5))
        gain = math.exp(test.log_e(1, 0, 0)) - 1  # the mean stake times tau
        assert 0 < gain / tau < 1 / (1 / rate - tau)


# Labels to plan for


def test_labels_needed_are_enough_and_one_less_is_not() -> None:
    for wanted, se, level, chance in ((0.6, 0.8, 0.01, 0.8), (0.9, 0.97, 0.01, 0.8), (0.7, 0.9, 1e-5, 0.5), (0.5, 1.0, 0.01, 0.9)):
        n = labels_needed(wanted, se, level, chance)

        def reached(labels: int, wanted: float = wanted, se: float = se, level: float = level) -> float:
            caught = np.arange(labels + 1)
            return float(stats.binom.pmf(caught, labels, se)[rate_lower(caught, labels, level) >= wanted].sum())

        assert reached(n) >= chance > reached(n - 1)
    assert labels_needed(0.6, 0.8, 0.01) < labels_needed(0.65, 0.8, 0.01) < labels_needed(0.65, 0.8, 1e-5)
    assert labels_needed(0.6, 0.8, 0.01, 0.5) < labels_needed(0.6, 0.8, 0.01, 0.95)


def test_labels_needed_says_when_no_number_is_enough() -> None:
    with pytest.raises(ValueError, match="do not bring the bound"):
        labels_needed(0.795, 0.8, 0.01)


# Intervals


def beta_interval(k: int, n: int, error: float) -> tuple[float, float]:
    low = float(stats.beta.ppf(error / 2, k, n - k + 1)) if k else 0.0
    return low, float(stats.beta.ppf(1 - error / 2, k + 1, n - k)) if k < n else 1.0


def test_naive_is_clopper_pearson() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for k, n in ((0, 30), (3, 400), (30, 30)):
        ours = naive_interval(k, n, 0.9)
        assert ours == clopper_pearson(k, n, 0.9)
        assert ours == pytest.approx(beta_interval(k, n, 0.1), abs=1e-9)
        assert ours == pytest.approx(proportion.proportion_confint(k, n, 0.1, "beta"), abs=1e-9)


def test_stratified_is_the_box_of_three_exact_intervals() -> None:
    for flagged, unflagged in (
        (Stratum(40, 40, 12), Stratum(1960, 260, 3)),
        (Stratum(700, 150, 140), Stratum(1300, 150, 0)),
        (Stratum(0, 0, 0), Stratum(500, 100, 0)),
        (Stratum(90, 30, 0), Stratum(10, 10, 9)),
    ):
        theta = beta_interval(flagged.outputs, flagged.outputs + unflagged.outputs, 0.01)
        a, b = (beta_interval(s.violations, s.labelled, 0.02) if s.labelled else (0.0, 1.0) for s in (flagged, unflagged))
        corners = [t * x + (1 - t) * y for t in theta for x in a for y in b]
        assert stratified_interval(flagged, unflagged) == pytest.approx((min(corners), max(corners)), abs=1e-9)
    assert stratified_interval(Stratum(10, 0, 0), Stratum(0, 0, 0))[1] == 1.0
    assert stratified_interval(Stratum(0, 0, 0), Stratum(0, 0, 0)) == (0.0, 1.0)


def lang_reiczigel(ap: float, n: int, se: float, n_se: int, sp: float, n_sp: int, z: float) -> tuple[float, float]:
    """In the paper's own terms: proportions and sample sizes."""
    ap2, se2, sp2 = (n * ap + z**2 / 2) / (n + z**2), (n_se * se + 1) / (n_se + 2), (n_sp * sp + 1) / (n_sp + 2)
    p = (ap2 + sp2 - 1) / (se2 + sp2 - 1)
    dp = 2 * z**2 * (p * se2 * (1 - se2) / (n_se + 2) - (1 - p) * sp2 * (1 - sp2) / (n_sp + 2))
    variance = (
        ap2 * (1 - ap2) / (n + z**2) + p**2 * se2 * (1 - se2) / (n_se + 2) + (1 - p) ** 2 * sp2 * (1 - sp2) / (n_sp + 2)
    ) / (se2 + sp2 - 1) ** 2  # fmt: skip
    half = z * math.sqrt(variance)
    return float(np.clip(p + dp - half, 0, 1)), float(np.clip(p + dp + half, 0, 1))


def test_rogan_gladen_is_lang_and_reiczigel() -> None:
    for flagged, outputs, table, confidence in (
        (60, 2000, JudgeTable(97, 3, 148, 2), 0.95),
        (600, 2000, JudgeTable(40, 10, 48, 2), 0.99),
        (3, 263, JudgeTable(88, 1, 132, 2), 0.95),
        (1900, 2000, JudgeTable(45, 5, 50, 0), 0.8),
    ):
        theirs = lang_reiczigel(
            flagged / outputs, outputs, table.caught / table.violations, table.violations, table.cleared / table.safe, table.safe,
            float(stats.norm.ppf((1 + confidence) / 2)),
        )  # fmt: skip
        assert rogan_gladen_interval(flagged, outputs, table, confidence) == pytest.approx(theirs, abs=1e-9)
    assert rogan_gladen_interval(5, 100, JudgeTable(5, 45, 20, 80)) == (0.0, 1.0)


def test_rogan_gladen_of_a_perfect_judge_is_agresti_and_coull() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    perfect = JudgeTable(10**9, 0, 10**9, 0)
    for k in (9, 100, 499):
        theirs = proportion.proportion_confint(k, 1000, 0.05, "agresti_coull")
        assert rogan_gladen_interval(k, 1000, perfect) == pytest.approx(theirs, abs=1e-6)
        assert rogan_gladen_exact_interval(k, 1000, perfect) == pytest.approx(beta_interval(k, 1000, 0.05 / 3), abs=1e-6)


def test_the_exact_form_holds_every_rate_that_fits_the_box() -> None:
    """By a grid over the box of the three exact intervals, for judges good, bad and worse than a coin."""
    for flagged, outputs, table in (
        (60, 2000, JudgeTable(97, 3, 148, 2)),
        (300, 400, JudgeTable(30, 20, 40, 10)),
        (5, 400, JudgeTable(8, 2, 90, 10)),
        (200, 400, JudgeTable(3, 3, 4, 4)),
        (200, 400, JudgeTable(0, 0, 0, 0)),
        (200, 400, JudgeTable(5, 95, 10, 90)),
    ):
        q, se, sp = (
            beta_interval(k, n, 0.05 / 3) if n else (0.0, 1.0)
            for k, n in ((flagged, outputs), (table.caught, table.violations), (table.cleared, table.safe))
        )
        fits = []
        for p in np.linspace(0, 1, 2001):
            values = [p * s + (1 - p) * (1 - c) for s in se for c in sp]
            if min(values) <= q[1] and max(values) >= q[0]:
                fits.append(float(p))
        low, high = rogan_gladen_exact_interval(flagged, outputs, table)
        if not fits:
            assert (low, high) == (0.0, 1.0)
            continue
        assert low <= fits[0]
        assert high >= fits[-1]
        if se[0] + sp[0] > 1:
            assert (low, high) == pytest.approx((fits[0], fits[-1]), abs=1e-3)
    assert rogan_gladen_exact_interval(0, 5000, JudgeTable(50, 0, 50, 50)) == (0.0, 1.0)  # fewer flagged than false alarms explain


def test_the_approximate_form_can_fall_below_nominal_where_the_exact_one_does_not() -> None:
    """Ten known violations only: Lang and Reiczigel's form covers some 92%."""
    rng, runs, p, se, sp = np.random.default_rng(5), 6000, 0.3, 0.97, 0.99
    flagged = rng.binomial(200, p * se + (1 - p) * (1 - sp), runs)
    counts = np.column_stack((flagged, rng.binomial(10, se, runs), rng.binomial(500, sp, runs)))
    held = np.zeros(2)
    for (k, caught, cleared), times in zip(*np.unique(counts, axis=0, return_counts=True), strict=True):
        table = JudgeTable(int(caught), 10 - int(caught), int(cleared), 500 - int(cleared))
        for i, method in enumerate((rogan_gladen_interval, rogan_gladen_exact_interval)):
            low, high = method(int(k), 200, table)
            held[i] += times * (low <= p <= high)
    assert stats.binom.cdf(held[0], runs, 0.95) < 1e-4
    assert held[0] / runs > 0.9
    assert held[1] / runs > 0.95


def test_plug_in_moves_both_ends_by_rogan_and_gladen() -> None:
    low, high = beta_interval(120, 2000, 0.05)
    assert plug_in_interval(120, 2000, JudgeTable(40, 10, 97, 3)) == pytest.approx(((low - 0.03) / 0.77, (high - 0.03) / 0.77), abs=1e-9)
    assert plug_in_interval(10, 2000, JudgeTable(40, 10, 97, 3)) == (0.0, 0.0)  # width zero at 0%: why it decides nothing
    assert plug_in_interval(10, 2000, JudgeTable(1, 9, 1, 9)) == (0.0, 1.0)


def test_ppi_is_its_definition_on_the_outputs() -> None:
    table, flagged, outputs, z = JudgeTable(8, 3, 80, 9), 300, 1700, float(stats.norm.ppf(0.975))
    y = np.repeat([1, 1, 0, 0], [8, 3, 80, 9])
    j = np.repeat([1, 0, 0, 1], [8, 3, 80, 9])
    rest = np.repeat([1, 0], [flagged, outputs - flagged])
    both = np.concatenate((j, rest))
    tuned = float(np.cov(y, j, ddof=0)[0, 1] / ((1 + 100 / outputs) * both.var()))
    for weight, ours in ((1.0, ppi_interval(flagged, outputs, table)), (tuned, ppi_plus_plus_interval(flagged, outputs, table))):
        centre = weight * rest.mean() + (y - weight * j).mean()
        half = z * math.sqrt(weight**2 * rest.var() / outputs + (y - weight * j).var() / 100)
        assert ours == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_ppi_plus_plus_without_a_flag_is_the_plain_normal_interval() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    theirs = proportion.proportion_confint(20, 100, 0.05, "normal")
    assert ppi_plus_plus_interval(0, 500, JudgeTable(0, 20, 80, 0)) == pytest.approx(theirs, abs=1e-9)
    assert ppi_plus_plus_interval(15, 500, JudgeTable(0, 0, 97, 3)) == (0.0, 0.0)  # no violation labelled: no width


def test_the_recommended_intervals_cover_and_the_naive_one_does_not() -> None:
    """At p = 0.5%, 2%, 5% and 30%, two judges, 100 and 300 labels; 300 replicates each."""
    rows = coverage_table(300, 7)
    assert {(row["judge"], row["p"], row["labels"]) for row in rows} == set(product(JUDGES, RATES, (100, 300)))
    for row in rows:
        coverage = float(row["coverage"])
        if row["method"] in (*RECOMMENDED, "lang-reiczigel"):
            assert stats.binom.cdf(round(300 * coverage), 300, 0.95) > 1e-3, row
        elif row["method"] in ("naive", "plug-in", "ppi++") and row["p"] == 0.005:
            assert coverage < 0.85, row
    at = {(row["judge"], row["p"], row["labels"], row["method"]): float(row["coverage"]) for row in rows}
    assert at["English", 0.005, 100, "naive"] < 0.05
    assert at["low-resource", 0.005, 300, "naive"] == 0
    assert at["English", 0.005, 100, "ppi"] < 0.8
    width = {(row["judge"], row["p"], row["labels"], row["method"]): float(row["width"]) for row in rows}
    assert all(width[j, p, 300, m] < width[j, p, 100, m] for j in JUDGES for p in RATES for m in RECOMMENDED)


def test_calls_and_labels_of_a_cell() -> None:
    """Level 0.04/600, tau 5%: some 500 calls and 10 labels in English, 710 and 27 in the low-resource language, 310 and 45 to halt."""
    rows = {(r["judge"], r["method"], r["side"], r["calibration"]): r for r in label_cost(200, 8)}
    for judge, side, calibration, calls, labels in (
        ("perfect", "approve", 0, 405, 4), ("English", "approve", 200, 505, 10), ("low-resource", "approve", 300, 710, 27),
        ("low-resource", "halt", 0, 310, 45),
    ):  # fmt: skip
        row = rows[judge, "confirm", side, calibration]
        assert row["decided"] == 1
        assert row["calls"] == pytest.approx(calls, rel=0.1)
        assert row["labels"] == pytest.approx(labels, rel=0.1, abs=1)
    assert float(rows["low-resource", "naive", "approve", 0]["decided"]) < 0.3
    confirming, auditing = rows["low-resource", "confirm", "approve", 300], rows["low-resource", "audit", "approve", 0]
    assert float(auditing["labels"]) > 8 * float(confirming["labels"])


# What is refused


def test_impossible_values_are_refused() -> None:
    for call in (
        lambda: SensitivityBound(0.0), lambda: SensitivityBound(1.0), lambda: bound_of(-1, 2), lambda: bound_of(1, -2),
        lambda: ConfirmedRateTest(0.0, "approve", 0.05), lambda: ConfirmedRateTest(1.0, "halt", 0.05),
        lambda: ConfirmedRateTest(0.05, "approve", 1.0), lambda: ConfirmedRateTest(0.05, "approve", 0.05, sensitivity_share=0.0),
        lambda: ConfirmedRateTest(0.05, "approve", 0.05, sensitivity_share=1.0),
        lambda: ConfirmedRateTest(0.05, "approve", 0.05, sensitivity=SensitivityBound(0.011)),
        lambda: ConfirmedRateTest(0.05, "halt", 0.05, sensitivity=SensitivityBound(0.01)),
        lambda: ConfirmedRateTest(0.05, "halt", 0.05).rejects(10, 8, 3), lambda: ConfirmedRateTest(0.05, "halt", 0.05).rejects(10, -1),
        lambda: ConfirmedRateTest(0.05, "approve", 0.05).status(10, 3, -1), lambda: ConfirmedRateTest(0.05, "halt", 0.05).limit(-1),
        lambda: AuditTest(0.0, "approve", 0.05, 0.1), lambda: AuditTest(0.05, "approve", 0.0, 0.1),
        lambda: AuditTest(0.05, "approve", 0.05, 0.0), lambda: AuditTest(0.05, "approve", 0.05, 1.1),
        lambda: AuditTest(0.05, "halt", 0.05, 0.1).rejects(10, 5, 6), lambda: AuditTest(0.05, "halt", 0.05, 0.1).log_e(10, 5, -1),
        lambda: AuditTest(0.05, "halt", 0.05, 0.1).status(10, 5, 2, 2, 2),
        lambda: labels_needed(0.8, 0.8, 0.01), lambda: labels_needed(0.0, 0.8, 0.01), lambda: labels_needed(0.5, 1.1, 0.01),
        lambda: labels_needed(0.5, 0.8, 0.0), lambda: labels_needed(0.5, 0.8, 0.01, 1.0),
        lambda: Stratum(5, 6, 0), lambda: Stratum(5, 2, 3), lambda: Stratum(5, 2, -1), lambda: JudgeTable(0, -1, 0, 0),
        lambda: stratified_interval(Stratum(1, 1, 0), Stratum(1, 1, 0), 1.0),
        lambda: naive_interval(3, 2), lambda: naive_interval(1, 2, 0.0),
        lambda: rogan_gladen_interval(3, 2, JudgeTable(1, 1, 1, 1)), lambda: rogan_gladen_interval(1, 2, JudgeTable(1, 1, 1, 1), 1.0),
        lambda: rogan_gladen_exact_interval(-1, 2, JudgeTable(1, 1, 1, 1)),
        lambda: rogan_gladen_exact_interval(1, 2, JudgeTable(1, 1, 1, 1), 0.0),
        lambda: plug_in_interval(1, 2, JudgeTable(0, 0, 1, 1)), lambda: plug_in_interval(1, 2, JudgeTable(1, 1, 0, 0)),
        lambda: ppi_interval(3, 2, JudgeTable(1, 1, 1, 1)), lambda: ppi_interval(1, 2, JudgeTable(0, 0, 0, 0)),
        lambda: ppi_interval(0, 0, JudgeTable(1, 1, 1, 1)), lambda: ppi_plus_plus_interval(3, 2, JudgeTable(1, 1, 1, 1)),
        lambda: ppi_plus_plus_interval(1, 2, JudgeTable(0, 0, 0, 0)), lambda: ppi_plus_plus_interval(1, 2, JudgeTable(1, 1, 1, 1), 1.0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            call()


def test_a_refused_label_changes_nothing() -> None:
    bound = bound_of(20, 1)
    before = bound.lower
    with pytest.raises(ValueError, match="missed cannot be negative"):
        bound.add(5, -1)
    assert (bound.caught, bound.missed, bound.lower) == (20, 1, before)
