"""Confidence sequences: they say what the tests decide, they cover, and the inversion is sound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.stats import ParityTest, RateTest, crossing_probability, log_e, parity_log_e
from assay.stats.exact import clopper_pearson
from assay.stats.rates import Side
from assay.stats.sequences import SWITCH, difference_sequence, margin_log_e, mixture_log_e, rate_sequence

TAUS = [0.002, 0.01, 0.05, 0.0501, 0.1, 0.25, 0.5, 0.7, 0.78]


@pytest.mark.parametrize("level", [0.05, 0.025, 0.05 / 72])
def test_the_bounds_are_where_the_decisions_change(level: float) -> None:
    """high <= tau if and only if approved, low >= tau if and only if halted: all S at seven sample sizes and nine thresholds."""
    n = np.repeat([0, 1, 5, 20, 60, 137, 400], [1, 2, 6, 21, 61, 138, 401])
    s = np.concatenate([np.arange(k + 1) for k in (0, 1, 5, 20, 60, 137, 400)])
    low, high = rate_sequence(s, n, level)
    assert np.all((low >= 0) & (low < high) & (high <= 1))
    for tau in TAUS:
        approve, halt = RateTest(tau, "approve", level), RateTest(tau, "halt", level)
        assert [approve.rejects(int(a), int(b)) for a, b in zip(s, n, strict=True)] == (high <= tau).tolist()
        assert [halt.rejects(int(a), int(b)) for a, b in zip(s, n, strict=True)] == (low >= tau).tolist()


def test_agreement_holds_a_hair_beside_each_bound() -> None:
    """One part in 10^12 to either side of a bound the tests differ."""
    s, n = np.array([0, 0, 3, 1, 9, 20, 30, 5]), np.array([60, 5000, 200, 20, 90, 40, 60, 5])
    low, high = rate_sequence(s, n, 0.025)
    need = math.log(40)
    for k in range(len(s)):
        for bound, side, out in ((high[k], "approve", 1e-12), (low[k], "halt", -1e-12)):
            if 0 < bound < 1:
                at = [float(log_e(s[k], n[k], float(bound * (1 + d)), side)) for d in (-out, 0.0, out)]  # type: ignore[arg-type]
                assert at[0] < need <= at[2]
                assert at[1] == pytest.approx(need, abs=1e-9)
    assert low[0] == low[1] == 0
    assert high[7] == 1


@pytest.mark.parametrize("side", ["approve", "halt"])
def test_log_e_over_thresholds_is_log_e(side: Side) -> None:
    tau = np.array([1e-6, 0.01, 0.3, 0.78, float(np.nextafter(SWITCH, 0)), SWITCH, 0.8, 0.97])
    s, n = np.array([0.0, 7, 30, 3, 100, 100, 0, 50]), np.array([50.0, 90, 30, 3, 103, 103, 9, 51])
    ours = mixture_log_e(s, n, tau, side)
    assert np.allclose(ours, [float(log_e(a, b, float(t), side)) for a, b, t in zip(s, n, tau, strict=True)], rtol=0, atol=1e-9)


def test_closed_forms() -> None:
    """No trial excludes nothing. No violation in n: high solves mean((1 - c high)^n) = 40 (1 - high)^n."""
    assert [float(v) for v in rate_sequence(0, 0, 0.025)] == [0, 1]
    low, high = rate_sequence(0, 100, 0.025)
    assert low == 0
    assert np.mean((1 - np.geomspace(1 / 40, 0.85, 24) * high) ** 100) == pytest.approx(40 * (1 - high) ** 100, rel=1e-9)
    low, high = rate_sequence(np.zeros((3, 1), dtype=int), np.array([10, 20]), 0.05)
    assert low.shape == high.shape == (3, 2)
    assert np.all(np.diff(high, axis=1) < 0)


def test_inversion_is_sound_below_and_beyond_the_change_of_the_grid() -> None:
    """On either side of 1.15 tau = 0.9 alike: approving never gets harder as tau grows, halting never easier for tau below S / n, and
    halting at a tau of S / n or more has e below 1."""
    grids = [np.linspace(0.001, SWITCH - 1e-9, 900), np.linspace(SWITCH, 0.999, 300)]
    for s, n in [(0, 40), (1, 500), (5, 60), (37, 40), (40, 40), (390, 400), (2000, 2100), (2100, 2100), (30, 400)]:
        for tau in grids:
            at = np.full(tau.shape, float(s)), np.full(tau.shape, float(n))
            approve, halt = mixture_log_e(*at, tau, "approve"), mixture_log_e(*at, tau, "halt")
            assert np.all(np.diff(approve) >= -1e-9)
            below = tau < s / n
            assert np.all(np.diff(halt[below]) <= 1e-9)
            assert np.all(halt[~below] < 0)


def test_where_the_halting_grid_changes_form_the_lower_bound_stays_valid() -> None:
    """e jumps up at SWITCH for some counts near p = 1: `low` is then the end of the first interval. It never says more than the test."""
    assert 1.15 * SWITCH >= 0.9 > 1.15 * np.nextafter(SWITCH, 0)
    n = np.arange(1, 161)
    s = np.concatenate([n, np.maximum(0, n - 1), np.maximum(0, n - 3), np.maximum(0, n - 8)])
    n = np.concatenate([n] * 4)
    low = rate_sequence(s, n, 0.05)[0]
    disagree = 0
    for tau in [0.7, 0.77, float(np.nextafter(SWITCH, 0)), SWITCH, 0.79, 0.85, 0.92]:
        halted = log_e(s, n, tau, "halt") >= np.log(20)
        assert np.all(halted[low >= tau])
        if tau < SWITCH:
            assert np.array_equal(halted, low >= tau)
        disagree += int((halted & (low < tau)).sum())
    assert 0 < disagree < 30  # were there none, the caveat in the docstring would be idle
    assert np.any(low > SWITCH)


def test_the_bounds_end_some_seven_percent_from_the_rate() -> None:
    """0.93 and 1.08 times the rate after 10^9 trials: the grid has no points nearer than 0.85 and 1.15 tau."""
    n = np.array([1e3, 1e5, 1e7, 1e9])
    for p in (0.01, 0.05, 0.3):
        low, high = rate_sequence(p * n, n, 0.025)
        assert np.all(np.diff(high) <= 0)
        assert np.all(np.diff(low) >= 0)
        assert low[-1] / p == pytest.approx(0.9315, abs=0.001)
        assert high[-1] / p == pytest.approx(1.083, abs=0.001)


def ever_missed(p: float, level: float, runs: int, n_max: int, seed: int) -> tuple[float, float, float]:
    """How often high fell below p, low rose above p, and the 95% Clopper-Pearson interval missed p, at any n from 10."""
    x = np.cumsum(np.random.default_rng(seed).random((runs, n_max)) < p, axis=1)
    top = int(x.max())
    table = np.meshgrid(np.arange(top + 1), np.arange(1, n_max + 1), indexing="ij")
    low, high = rate_sequence(np.minimum(*table), table[1], level)
    exact = np.array([[clopper_pearson(min(s, n), n) if n % 10 == 0 else (0, 1) for n in range(1, n_max + 1)] for s in range(top + 1)])
    at = x, np.broadcast_to(np.arange(n_max), x.shape)
    peeked = (exact[..., 0][at] > p) | (exact[..., 1][at] < p)
    return float((high[at] < p).any(axis=1).mean()), float((low[at] > p).any(axis=1).mean()), float(peeked.any(axis=1).mean())


def test_coverage_at_all_sample_sizes_at_once() -> None:
    """p = 10%, 2,000 paths, 200 looks: each side misses at most at its level, as the exact computation says; peeking at an interval for a
    fixed sample size misses far more often."""
    above, below, peeked = ever_missed(0.1, 0.05, 2000, 200, 21)
    assert above <= 0.05
    assert below <= 0.05
    assert above == pytest.approx(crossing_probability(0.1, RateTest(0.1, "approve", 0.05), 200)[-1], abs=0.015)
    assert below == pytest.approx(crossing_probability(0.1, RateTest(0.1, "halt", 0.05), 200)[-1], abs=0.015)
    assert peeked > 0.1


COUNTS = [(w, e, b) for w in (0, 1, 4, 15, 60) for e in (0, 3, 40, 300) for b in (0, 1, 4, 15, 60)]


@pytest.mark.parametrize("level", [0.05, 0.025])
def test_differences_agree_with_the_parity_tests(level: float) -> None:
    """Margins of 0 and more by the tests themselves, negative ones by the tests with worse and better exchanged."""
    low, high = difference_sequence(*np.array(COUNTS).T, level)
    assert np.all((low >= -1) & (low < high) & (high <= 1))
    for margin in (0.0, 0.01, 0.05, 0.1, 0.3, 0.8):
        approve, halt = ParityTest(margin, "approve", level), ParityTest(margin, "halt", level)
        assert [approve.rejects(*c) for c in COUNTS] == (high <= margin).tolist()
        assert [halt.rejects(*c) for c in COUNTS] == (low >= margin).tolist()
        assert [halt.rejects(*c[::-1]) for c in COUNTS] == (high <= -margin).tolist()
        assert [approve.rejects(*c[::-1]) for c in COUNTS] == (low >= -margin).tolist()


def test_exchanging_the_languages_turns_the_margin_round() -> None:
    """The bet at -m is the other side's bet at m with worse and better exchanged; and it never falls as the margin grows."""
    w, e, b = (np.array(v, dtype=float) for v in zip(*COUNTS, strict=True))
    for m in (0.0, 0.07, 0.5, 0.95):
        plain, swapped = margin_log_e(w, e, b, np.full(w.shape, m)), margin_log_e(w, e, b, np.full(w.shape, -m))
        assert np.allclose(plain, [parity_log_e(*c, m, "approve") for c in COUNTS], rtol=0, atol=1e-9)
        assert np.allclose(swapped, [parity_log_e(*c[::-1], m, "halt") for c in COUNTS], rtol=0, atol=1e-9)
    steps = np.array([margin_log_e(w, e, b, np.full(w.shape, m)) for m in np.linspace(-1, 0.999, 400)])
    assert np.all(np.diff(steps, axis=0) >= -1e-9)
    low, high = difference_sequence(w, e, b, 0.05)
    mirrored = difference_sequence(b, e, w, 0.05)
    assert np.array_equal(low, -mirrored[1])
    assert np.array_equal(high, -mirrored[0])


def test_coverage_of_differences() -> None:
    """True gap of 5 points (12% against 7%), 1,000 paths, 20 looks up to 400 pairs: each side within its level, and the
    width is of use."""
    u = np.random.default_rng(22).random((1000, 400))
    worse, better = (np.cumsum(a, axis=1)[:, 19::20] for a in (u < 0.12, u > 0.93))
    low, high = difference_sequence(worse, np.arange(20, 401, 20) - worse - better, better, 0.05)
    assert (high < 0.05).any(axis=1).mean() <= 0.05
    assert (low > 0.05).any(axis=1).mean() <= 0.05
    assert np.median(high[:, -1] - low[:, -1]) < 0.25
    assert (low[:, -1] > 0).mean() > 0.1


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and the number"):
        rate_sequence([3], [2], 0.05)
    with pytest.raises(ValueError, match="level"):
        rate_sequence(0, 2, 0.0)
    with pytest.raises(ValueError, match="negative"):
        difference_sequence(0, -1, 2, 0.05)
