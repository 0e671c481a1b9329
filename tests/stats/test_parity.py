"""The paired test: its error at the margin, its speed, and its independence of everything but counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.stats import ParityTest, parity_log_e
from assay.stats.parity import _log_factors


def paths(p_worse: float, p_better: float, n: int, runs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u = rng.random((runs, n))
    return np.where(u < p_worse, 1, np.where(u < p_worse + p_better, -1, 0))


def stopping(d: np.ndarray, margin: float, side: str, level: float) -> np.ndarray:
    """The first trial at which each path rejects; n + 1 if none."""
    worse, better = np.cumsum(d == 1, axis=1), np.cumsum(d == -1, axis=1)
    equal = np.arange(1, d.shape[1] + 1) - worse - better
    factors = _log_factors(margin, side, 12)  # type: ignore[arg-type]
    log_m = worse[..., None] * factors[0] + equal[..., None] * factors[1] + better[..., None] * factors[2]
    log_e = np.logaddexp.reduce(log_m, axis=-1) - math.log(12)
    hit = log_e >= math.log(1 / level)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, d.shape[1] + 1)


@pytest.mark.parametrize("side", ["approve", "halt"])
@pytest.mark.parametrize(("p_worse", "p_better"), [(0.12, 0.02), (0.30, 0.20), (0.1, 0.0)])
def test_error_at_the_margin_is_below_its_level(side: str, p_worse: float, p_better: float) -> None:
    """2,000 paths of 1,500 pairs with a true gap equal to the margin of 10 points."""
    n_at = stopping(paths(p_worse, p_better, 1500, 2000, 11), 0.10, side, 0.05)
    assert (n_at <= 1500).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_wide_gap_shows_soon_and_equal_rates_are_certified() -> None:
    assert np.median(stopping(paths(0.35, 0.05, 800, 400, 3), 0.05, "halt", 0.05)) < 80
    assert np.median(stopping(paths(0.01, 0.01, 800, 400, 4), 0.05, "approve", 0.05)) < 160


def test_the_class_agrees_with_the_definition() -> None:
    test = ParityTest(0.1, "approve", 0.05)
    for worse, equal, better in [(0, 10, 0), (0, 60, 0), (3, 100, 9), (40, 0, 0)]:
        assert test.rejects(worse, equal, better) == (parity_log_e(worse, equal, better, 0.1, "approve") >= math.log(20))


def test_the_bet_is_fair_at_the_margin() -> None:
    """E[factor] = 1 when E[D] equals the margin, for every lambda."""
    p_worse, p_better, margin = 0.25, 0.05, 0.2
    for side in ("approve", "halt"):
        f = np.exp(_log_factors(margin, side, 12))  # type: ignore[arg-type]
        assert np.allclose(p_worse * f[0] + (1 - p_worse - p_better) * f[1] + p_better * f[2], 1)
