"""Change detection, drift within a run and forecast bands: closed forms, exact enumeration, and seeded simulation."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from bench.statistics.trend import PROBES, alarms, trend_table

from assay.stats import parity_log_e
from assay.stats.trend import ChangeDetector, alternatives, drift_within_run, forecast_band


def slow_mean(detector: ChangeDetector, counts: list[tuple[int, int]]) -> float:
    """Sum over starting points of the likelihood ratio from there to now, for each alternative; the Shiryaev-Roberts statistic's
    definition.
    """
    b, total = detector.base_rate, 0.0
    for q in detector.alternatives:
        for start in range(len(counts)):
            total += math.prod((q / b) ** s * ((1 - q) / (1 - b)) ** (n - s) for s, n in counts[start:])
    return total / len(detector.alternatives)


@pytest.mark.parametrize(("base", "direction"), [(0.01, "worse"), (0.2, "worse"), (0.2, "better"), (0.97, "worse")])
def test_the_recursion_is_the_sum_over_all_starting_points(base: float, direction: str) -> None:
    rng = np.random.default_rng(1)
    counts = [(int(rng.binomial(n, base)), int(n)) for n in rng.integers(1, 60, 12)]
    detector = ChangeDetector(base, direction, 1e12)  # type: ignore[arg-type]
    assert detector.log_m == -math.inf
    for t, (s, n) in enumerate(counts, 1):
        assert not detector.add(s, n)
        assert detector.log_m == pytest.approx(math.log(slow_mean(detector, counts[:t])), abs=1e-9)
    assert detector.checkpoints == 12


@pytest.mark.parametrize(("direction", "inside"), [("worse", 0.12), ("better", 0.3)])
def test_the_mean_grows_by_one_a_checkpoint_at_the_base_rate_and_by_less_within_the_bound(direction: str, inside: float) -> None:
    """Exact, over every outcome of three checkpoints of four trials: E[M_t] = t at the base rate, below t on its good side."""
    for rate, exact in ((0.2, True), (inside, False), (0.2 + (0.2 - inside), False)):
        mean = 0.0
        for outcome in itertools.product(range(5), repeat=3):
            detector = ChangeDetector(0.2, direction, 1e9, points=5)  # type: ignore[arg-type]
            for s in outcome:
                detector.add(s, 4)
            mean += math.exp(detector.log_m) * math.prod(math.comb(4, s) * rate**s * (1 - rate) ** (4 - s) for s in outcome)
        if exact:
            assert mean == pytest.approx(3, abs=1e-9)
        else:
            assert mean < 3 if rate == inside else mean > 3


def test_the_run_length_is_kept_and_the_delay_is_short() -> None:
    """1% to 4% in checkpoints of 100 probes at A = 200: run length at least A, delay within the registered 4.6."""
    rows = {str(r["change"]) + f" at {r['base_rate']}": r for r in trend_table(200, 7)}
    for row in rows.values():
        assert float(row["run_length_mean"]) >= 200 - 3 * float(row["run_length_se"]), row
        assert 1 <= float(row["late_delay_mean"]) <= float(row["delay_mean"]) + 3 * float(row["delay_se"]), row
    assert float(rows["0.01 to 0.04 at 0.01"]["delay_mean"]) < 4.6
    assert float(rows["0.01 to 0.04 at 0.015"]["delay_mean"]) == pytest.approx(4.9, abs=0.6)


def test_a_broken_bound_shows_in_the_simulation() -> None:
    """The check of the run length can fail: rates above the registered bound alarm far sooner; so does a test of each checkpoint at 5%."""
    rng = np.random.default_rng(3)
    assert alarms(ChangeDetector(0.01, "worse", 200), 0.02, 0.02, 0, 300, rng).mean() < 30
    s = rng.binomial(PROBES, 0.01, (2000, 400))
    naive = (s >= 4).argmax(axis=1) + 1  # P(S >= 4) = 1.8% at 1%: significant at 5%, checkpoint by checkpoint
    assert naive.mean() < 100


def test_the_simulation_and_the_class_alarm_together() -> None:
    for seed in range(5):
        detector = ChangeDetector(0.01, "worse", 50)
        expected = alarms(detector, 0.01, 0.03, 5, 1, np.random.default_rng(seed))[0]
        rng = np.random.default_rng(seed)
        while not detector.add(int(rng.binomial(PROBES, 0.01 if detector.checkpoints < 5 else 0.03, 1)[0]), PROBES):
            pass
        assert detector.alarm_at == expected == detector.checkpoints


def test_an_improvement_is_found_and_a_rise_is_not_taken_for_one() -> None:
    rng = np.random.default_rng(5)
    assert alarms(ChangeDetector(0.10, "better", 200), 0.03, 0.03, 0, 300, rng).mean() < 6
    detector = ChangeDetector(0.10, "better", 200)
    assert not any(detector.add(30, 100) for _ in range(500))


def test_an_alarm_stays_and_the_state_survives_json() -> None:
    detector = ChangeDetector(0.01, "worse", 20)
    fresh = ChangeDetector(0.01, "worse", 20)
    fresh.restore(json.loads(json.dumps(detector.state())))
    assert fresh.log_m == -math.inf
    other = ChangeDetector(0.01, "worse", 20)
    for s in (1, 0, 9, 0, 0, 0, 0, 0, 0):
        again = ChangeDetector(0.01, "worse", 20)
        again.restore(json.loads(json.dumps(other.state())))
        other = again
        assert detector.add(s, 100) == other.add(s, 100)
        assert detector.log_m == other.log_m
    assert detector.alarm_at == other.alarm_at == 3
    assert detector.log_m < math.log(20)
    with pytest.raises(ValueError, match="another"):
        ChangeDetector(0.01, "worse", 21).restore(detector.state())
    broken = detector.state()
    broken[3] = broken[3][:-1]
    with pytest.raises(ValueError, match="broken"):
        other.restore(broken)


def test_the_grid_lies_on_the_right_side_and_can_be_given() -> None:
    for base in (0.001, 0.3, 0.98):
        assert np.all((alternatives(base, "worse") > base) & (alternatives(base, "worse") < 1))
        assert np.all((alternatives(base, "better") < base) & (alternatives(base, "better") > 0))
    detector = ChangeDetector(0.01, "worse", 200, points=[0.04])
    detector.add(3, 50)
    assert detector.log_m == pytest.approx(3 * math.log(4) + 47 * math.log(0.96 / 0.99), abs=1e-9)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ChangeDetector(0.0, "worse", 200), "base rate"),
        (lambda: ChangeDetector(0.1, "up", 200), "direction"),  # type: ignore[arg-type]
        (lambda: ChangeDetector(0.1, "worse", 0.5), "run length"),
        (lambda: ChangeDetector(0.1, "worse", 200, points=0), "alternative"),
        (lambda: ChangeDetector(0.1, "worse", 200, points=[0.2, 0.05]), "alternative"),
        (lambda: ChangeDetector(0.1, "worse", 200).add(5, 4), "violations"),
        (lambda: drift_within_run([[0, 1]], 0.05), "two or more"),
        (lambda: drift_within_run([[0, 1], [0, 2]], 0.05), "0, 1 or NaN"),
        (lambda: drift_within_run([[0, 1], [0]], 0.05), "one length"),
        (lambda: drift_within_run([[0], [0]], 0.05, margin=0.1, paired=False), "margin"),
        (lambda: drift_within_run([[0], [0]], 0.0), "level"),
        (lambda: forecast_band([(3, 2)], [10], 0.1), "violations"),
        (lambda: forecast_band([(1, 2)], [10], 1.0), "level"),
    ],
)
def test_impossible_arguments_are_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


NAN = math.nan


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_a_complete_pair_of_windows_is_the_paired_test_both_ways(margin: float) -> None:
    first, later = [0, 0, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0, 1]
    drift = drift_within_run([first, later], 0.05, margin=margin)
    expected = np.logaddexp(parity_log_e(3, 3, 1, margin, "halt"), parity_log_e(1, 3, 3, margin, "halt")) - math.log(2)
    assert drift.log_e == pytest.approx(float(expected), abs=1e-9)
    assert drift.windows == (drift.log_e,)
    unasked = drift_within_run([[*first, NAN], [*later, NAN]], 0.05, margin=margin)
    assert unasked == drift


def test_an_anchor_with_one_answer_counts_as_the_least_of_both() -> None:
    first, later = [0, 0, 1, 0], [1, 1, NAN, NAN]
    drift = drift_within_run([first, later], 0.05)
    rise = min(parity_log_e(2 + up, 2 - up - down, down, 0.0, "halt") for up, down in ((0, 1), (0, 0), (1, 1), (1, 0)))
    fall = min(parity_log_e(up, 2 - up - down, 2 + down, 0.0, "halt") for up, down in ((0, 1), (0, 0), (1, 1), (1, 0)))
    assert drift.log_e == pytest.approx(float(np.logaddexp(rise, fall)) - math.log(2), abs=1e-9)


def exact_best_stop(rate: float, n: int, paired: bool) -> float:
    """The greatest E[e] over every stopping rule that sees the answers in run order, all of the first window before the second."""

    def value(answers: tuple[int, ...]) -> float:
        filled = [*answers, *[NAN] * (2 * n - len(answers))]
        now = math.exp(drift_within_run([filled[:n], filled[n:]], 0.05, paired=paired).log_e)
        if len(answers) == 2 * n:
            return now
        return max(now, (1 - rate) * value((*answers, 0)) + rate * value((*answers, 1)))

    return value(())


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_no_stopping_rule_gains_without_drift(rate: float, paired: bool) -> None:
    """Exact, by backward induction over every order of answers: an e-process has E[e] <= 1 at the best stopping time."""
    assert exact_best_stop(rate, 4, paired) <= 1 + 1e-12


def test_leaving_unpaired_answers_out_would_let_a_stopping_rule_gain() -> None:
    """Why an anchor with one answer costs: with pairs alone, stopping before a pair that will lose has E[e] > 1 (so the test above can
    fail).
    """
    rate, n, gain = 0.3, 4, 0.0
    for first in itertools.product((0, 1), repeat=n):
        quiet = first.index(1) if 1 in first else n  # stop before the first pair that can only fall
        for later in itertools.product((0, 1), repeat=quiet):
            p = math.prod(rate if y else 1 - rate for y in (*first, *later))
            gain += p * math.exp(parity_log_e(sum(later), quiet - sum(later), 0, 0.0, "halt"))
    assert gain > 1.05


@pytest.mark.parametrize("paired", [True, False])
def test_drift_is_found_and_its_absence_kept(paired: bool) -> None:
    rng = np.random.default_rng(8)

    def ever(rates: tuple[float, ...], n: int) -> bool:
        """Looked at after each tenth of the later windows."""
        full = [(rng.random(n) < p).astype(float) for p in rates]
        looks = []
        for k in range(n // 10, n + 1, n // 10):
            seen = [full[0], *(np.where(np.arange(n) < k, w, NAN) for w in full[1:])]
            looks.append(drift_within_run(seen, 0.05, paired=paired).drifted)
        return any(looks)

    quiet = np.mean([ever((0.3, 0.3), 100) for _ in range(300)])
    assert quiet <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean([ever((0.05, 0.3), 100) for _ in range(60)]) > 0.75
    assert np.mean([ever((0.3, 0.05), 100) for _ in range(60)]) > 0.75
    assert np.mean([ever((0.02, 0.02, 0.4), 100) for _ in range(30)]) > 0.75


def test_windows_of_different_length_use_all_answers() -> None:
    """1,000 early and 100 late: the surplus of the early ones still counts."""
    rng = np.random.default_rng(9)
    early, late = (rng.random((60, n)) < p for n, p in ((1000, 0.01), (100, 0.12)))
    whole = np.mean([drift_within_run([a, b], 0.05, paired=False).drifted for a, b in zip(early, late, strict=True)])
    part = np.mean([drift_within_run([a[:100], b], 0.05, paired=False).drifted for a, b in zip(early, late, strict=True)])
    assert whole > 0.7
    assert whole > part


def histories(kind: str, trials: int, length: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "steady":
        p = np.full(length, 0.03)
    elif kind == "overdispersed":
        p = rng.beta(2, 48, length)
    else:
        p = 1 / (1 + np.exp(3 - np.cumsum(rng.normal(0, 0.2, length))))
    return rng.binomial(trials, p)


@pytest.mark.parametrize(("kind", "trials", "known"), [
    ("steady", 100, 5), ("steady", 1000, 20), ("overdispersed", 100, 20), ("overdispersed", 1000, 12), ("walk", 100, 20),
    ("walk", 1000, 12),
])  # fmt: skip
def test_the_forecast_band_covers(kind: str, trials: int, known: int) -> None:
    """80 histories, four checkpoints ahead, level 10%; the four hits of a history are dependent, hence the wide tolerance."""
    rng = np.random.default_rng(10)
    hits = []
    for _ in range(80):
        s = histories(kind, trials, known + 4, rng)
        low, high = forecast_band([(int(v), trials) for v in s[:known]], [trials] * 4, 0.1)
        hits.append(np.mean((s[known:] / trials >= low) & (s[known:] / trials <= high)))
    assert np.mean(hits) >= 0.9 - 3 * np.std(hits) / math.sqrt(80)


def test_a_band_without_overdispersion_does_not_cover() -> None:
    """The check of coverage can fail: a binomial band around the pooled rate covers overdispersed checkpoints far below its 90%."""
    rng = np.random.default_rng(11)
    inside = []
    for _ in range(300):
        s = histories("overdispersed", 1000, 21, rng)
        rate = s[:20].mean() / 1000
        inside.append(abs(s[20] / 1000 - rate) <= 1.645 * math.sqrt(rate * (1 - rate) / 1000))
    assert np.mean(inside) < 0.5


def test_the_band_is_that_of_a_binomial_where_the_rate_is_known() -> None:
    """Two hundred equal checkpoints of 10,000 leave the binomial spread: within a fifth of it, and no wider for more trials."""
    low, high = forecast_band([(500, 10_000), (530, 10_000), (480, 10_000), (495, 10_000)] * 50, [100, 1000], 0.1)
    for k, n in enumerate((100, 1000)):
        half = 1.645 * math.sqrt(0.05 * 0.95 / n)
        assert low[k] == pytest.approx(0.05 - half, abs=0.2 * half + 1 / n)
        assert high[k] == pytest.approx(0.05 + half, abs=0.2 * half + 1 / n)


def test_the_band_widens_with_the_horizon_and_with_doubt() -> None:
    low, high = forecast_band([(30, 1000), (32, 1000), (28, 1000), (40, 1000)], [1000] * 8, 0.1)
    assert np.all(np.diff(high - low) >= 0)
    assert (high - low)[-1] > (high - low)[0]
    few = forecast_band([(3, 100)], [100], 0.1)
    many = forecast_band([(3, 100)] * 20, [100], 0.1)
    assert few[0][0] <= many[0][0] < many[1][0] < few[1][0]
    nothing = forecast_band([], [50], 0.1)
    assert nothing[0][0] == 0
    assert nothing[1][0] > 0.9
    assert forecast_band([(0, 100)] * 3, [100], 0.1)[1][0] <= 0.03
