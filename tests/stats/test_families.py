"""Families of claims against independent oracles, and their error rates by simulation."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from assay.stats import RateTest, log_e
from assay.stats.families import e_bh, holm, union_levels, weighted_mean_log_e


def random_families(seed: int, m: int, families: int) -> np.ndarray:
    """Some claims with plenty of evidence, some with little; rounded, so that ties occur."""
    rng = np.random.default_rng(seed)
    return np.round(np.where(rng.random((families, m)) < 0.5, rng.normal(4, 2, (families, m)), rng.normal(0, 1, (families, m))), 1)


def closed_testing(values: np.ndarray, level: float) -> list[bool]:
    """Holm's calls by the closure principle: a claim is called if Bonferroni rejects every set of claims that holds it."""
    m, p = len(values), np.minimum(1, np.exp(-values))
    sets = [c for k in range(1, m + 1) for c in combinations(range(m), k)]
    rejected = {c: min(p[list(c)]) <= level / len(c) for c in sets}
    return [all(rejected[c] for c in sets if i in c) for i in range(m)]


def test_holm_is_closed_testing() -> None:
    for values in random_families(1, 6, 80):
        assert holm(values, 0.05).tolist() == closed_testing(values, 0.05)


def test_e_bh_is_benjamini_hochberg_on_one_over_e() -> None:
    values = random_families(2, 30, 300)
    # p is capped at 1, as the oracle asks: a claim with e < 1 is never called
    oracle = false_discovery_control(np.minimum(1, np.exp(-values)), axis=1) <= 0.1
    assert np.array_equal(e_bh(values, 0.1), oracle)
    assert 0.1 < oracle.mean() < 0.9


def test_order_is_kept_and_families_are_rows() -> None:
    values = random_families(3, 12, 50)
    shuffle = np.random.default_rng(4).permutation(12)
    for rule in (holm, e_bh):
        called = rule(values, 0.05)
        assert np.array_equal(called, [rule(row, 0.05) for row in values])
        assert np.array_equal(called[:, shuffle], rule(values[:, shuffle], 0.05))
        assert rule(np.stack([values, values]), 0.05).shape == (2, 50, 12)
    assert np.all(holm(values, 0.05) <= e_bh(values, 0.05))
    assert e_bh(values, 0.05).sum() > holm(values, 0.05).sum()


def test_thresholds_by_hand() -> None:
    """Five claims at 5%: Holm needs e of 100, 80, 60, 40, 20 in turn, e-BH 100, 50, 33.3, 25, 20 for the last one called."""
    e = np.log([21.0, 101, 59, 81, 35])
    assert holm(e, 0.05).tolist() == [False, True, False, True, False]
    assert e_bh(e, 0.05).tolist() == [True] * 5
    assert e_bh(np.log([19.0, 101, 59, 81, 24]), 0.05).tolist() == [False, True, True, True, False]
    assert holm([-math.inf, math.inf], 0.05).tolist() == [False, True]
    assert holm([math.log(20.001)], 0.05).tolist() == [True]
    assert e_bh([math.log(19.999)], 0.05).tolist() == [False]


def running(p: np.ndarray, n: int, runs: int, tau: float, seed: int) -> np.ndarray:
    """log e of approving after each of n trials of claims with rates p; shape (runs, claims, n)."""
    s = np.cumsum(np.random.default_rng(seed).random((runs, len(p), n)) < p[None, :, None], axis=2)
    table = log_e(np.arange(n + 1)[:, None], np.arange(1, n + 1)[None], tau, "approve")
    return np.asarray(table[s, np.arange(n)])


def test_errors_over_a_family_of_streams() -> None:
    """24 claims, 16 at the threshold and 8 far below it, 300 looks, 1,000 runs: wrong calls within the level, and the rest found."""
    rates, level = np.array([0.1] * 16 + [0.01] * 8), 0.1
    paths = running(rates, 300, 1000, 0.1, 5)
    sup, now = paths.max(axis=2), paths[:, :, -1]
    by_holm, by_e_bh = holm(sup, level), e_bh(now, level)
    family_wise = by_holm[:, :16].any(axis=1).mean()
    false_part = (by_e_bh[:, :16].sum(axis=1) / np.maximum(1, by_e_bh.sum(axis=1))).mean()
    each_at_level = (sup[:, :16] >= math.log(1 / level)).any(axis=1).mean()
    assert family_wise <= level < 0.5 < each_at_level
    assert false_part <= level
    assert by_holm[:, 16:].mean() > 0.8
    assert by_e_bh[:, 16:].mean() > 0.8


def dependent_streams(m: int, level: float, runs: int, seed: int) -> np.ndarray:
    """Null e-processes whose joint course defeats e-BH on suprema; e after each of m stages, shape (runs, m claims, m stages).

    Each is a martingale on its own: at stage k = m, ..., 1 it stands at m / (k level) with probability k level / m, else at 0. Jointly,
    K claims chosen at random rise together and fall after stage K, where P(K = k) = level / k.
    """
    rng = np.random.default_rng(seed)
    ends = rng.choice(m + 1, size=runs, p=[1 - sum(level / k for k in range(1, m + 1)), *(level / k for k in range(1, m + 1))])
    chosen = np.argsort(np.argsort(rng.random((runs, m)), axis=1), axis=1) < ends[:, None]
    stages = np.arange(m, 0, -1)
    return np.where(chosen[:, :, None] & (ends[:, None, None] <= stages), m / (stages * level), 0.0)


def test_e_bh_holds_on_e_as_it_stands_and_fails_on_suprema() -> None:
    """All ten nulls hold. At each stage the false-discovery rate is within 10%; on running suprema it is
    level (1 + 1/2 + ... + 1/10) = 29%."""
    m, level, runs = 10, 0.1, 20_000
    e = dependent_streams(m, level, runs, 6)
    assert np.allclose(e.mean(axis=(0, 1)), 1, atol=0.2)  # each is an e-value at each stage
    with np.errstate(divide="ignore"):
        now, sup = np.log(e), np.log(e.max(axis=2))
    for stage in range(m):
        assert e_bh(now[:, :, stage], level).any(axis=1).mean() <= level
    assert e_bh(sup, level).any(axis=1).mean() == pytest.approx(level * sum(1 / k for k in range(1, m + 1)), abs=0.015)
    assert holm(sup, level).any(axis=1).mean() <= level


def test_weighted_mean() -> None:
    e = np.array([[1.0, 2, 3], [40, 0.5, 7]])
    assert np.allclose(weighted_mean_log_e(np.log(e)), np.log(e.mean(axis=1)), rtol=0, atol=1e-9)
    assert np.allclose(weighted_mean_log_e(np.log(e), [1, 1, 6]), np.log(e @ [1 / 8, 1 / 8, 6 / 8]), rtol=0, atol=1e-9)
    assert weighted_mean_log_e([1000.0, 1000.0 - math.log(2)]) == pytest.approx(1000 + math.log(0.75), abs=1e-9)
    assert weighted_mean_log_e([math.inf, 0.0], [0, 1]) == 0
    assert weighted_mean_log_e([-math.inf, 0.0]) == pytest.approx(math.log(0.5), abs=1e-9)
    assert weighted_mean_log_e([-math.inf, -math.inf]) == -math.inf


def test_a_mean_of_e_processes_holds_and_a_mean_of_suprema_does_not() -> None:
    """400 streams that double or vanish, 20 steps, 1,000 runs, level 25%: the mean as it stands reaches 4 in a quarter of runs at most."""
    level, runs, streams, steps = 0.25, 1000, 400, 20
    survived = np.minimum(np.random.default_rng(7).geometric(0.5, (runs, streams)) - 1, steps)
    t = np.arange(1, steps + 1)
    with np.errstate(divide="ignore"):
        now = np.array([weighted_mean_log_e(np.where(survived >= k, k * math.log(2), -math.inf)) for k in t]).T
    sup = weighted_mean_log_e(survived * math.log(2))
    assert (now >= math.log(1 / level)).any(axis=1).mean() <= level
    assert (sup >= math.log(1 / level)).mean() > 0.5


def test_union_levels_share_the_level() -> None:
    levels = union_levels(0.05, [10, 1, 0, 72])
    assert levels == pytest.approx([0.05 / 4 / 10, 0.05 / 4, 0.05 / 4, 0.05 / 4 / 72], abs=1e-18)
    assert levels @ [10, 1, 0, 72] == pytest.approx(0.05 * 3 / 4, abs=1e-12)


def test_shared_levels_hold_under_full_dependence() -> None:
    """Two requirements of 1 and 3 claims at the threshold: 2,000 runs with the claims independent, and with all of them on one stream."""
    levels = np.repeat(union_levels(0.2, [1, 3]), [1, 3])
    x = np.random.default_rng(8).random((2000, 4, 200)) < 0.1
    tests = [RateTest(0.1, "halt", float(level)) for level in levels]
    limits = np.array([[test.limit(n) for n in range(1, 201)] for test in tests])
    for streams in (x, x[:, :1].repeat(4, axis=1)):
        assert 0 < (np.cumsum(streams, axis=2) >= limits).any(axis=(1, 2)).mean() <= 0.2


def test_impossible_input_is_refused() -> None:
    for rule in (holm, e_bh):
        with pytest.raises(ValueError, match="not a number"):
            rule([0.0, float("nan")], 0.05)
        with pytest.raises(ValueError, match="level"):
            rule([0.0], 1.0)
        with pytest.raises(ValueError, match="at least one"):
            rule([], 0.05)
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="weights"):
            weighted_mean_log_e([0.0, 1.0], weights)
    for groups in ([], [-1]):
        with pytest.raises(ValueError, match="groups"):
            union_levels(0.05, groups)


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(11)
    for size in (1, 2, 7, 60):
        p = rng.random(size) ** 3
        for level in (0.01, 0.05, 0.3):
            assert holm(-np.log(p), level).tolist() == multipletests(p, alpha=level, method="holm")[0].tolist()
