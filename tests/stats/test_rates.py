"""The sequential rate test against closed forms, an independent oracle, and its stated error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats import RateTest, crossing_probability, log_e
from assay.stats.rates import mixture_points


def slow_log_e(s: int, n: int, tau: float, side: str) -> float:
    """The definition, term by term."""
    points = mixture_points(tau, "approve" if side == "approve" else "halt")
    return math.log(sum((q / tau) ** s * ((1 - q) / (1 - tau)) ** (n - s) for q in points) / len(points))


@pytest.mark.parametrize("side", ["approve", "halt"])
@pytest.mark.parametrize(("s", "n", "tau"), [(0, 0, 0.05), (0, 59, 0.05), (3, 20, 0.1), (20, 20, 0.2), (7, 150, 0.05)])
def test_log_e_is_the_definition(side: str, s: int, n: int, tau: float) -> None:
    assert log_e(s, n, tau, side) == pytest.approx(slow_log_e(s, n, tau, side), abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["approve", "halt"])
@pytest.mark.parametrize("tau", [0.01, 0.05, 0.2, 0.5, 0.85])
def test_e_has_mean_one_at_the_threshold(side: str, tau: float) -> None:
    """E[e] = 1 at p = tau for every n: the martingale property that Ville's inequality needs."""
    for n in (1, 7, 40):
        s = np.arange(n + 1)
        weights = np.array([math.comb(n, k) * tau**k * (1 - tau) ** (n - k) for k in s])
        assert float((weights * np.exp(log_e(s, np.full(n + 1, n), tau, side))).sum()) == pytest.approx(1, abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("tau", [0.02, 0.05, 0.1, 0.3])
def test_error_at_the_threshold_is_below_its_level_exactly(tau: float) -> None:
    """Exact by dynamic programming: over 2,000 looks neither side errs more often than registered."""
    for side in ("approve", "halt"):
        for level in (0.05, 0.01, 0.05 / 72):
            error = crossing_probability(tau, RateTest(tau, side, level), 2000)[-1]  # type: ignore[arg-type]
            assert 0 < error <= level, (side, level)


def test_the_registered_figures_are_reproduced() -> None:
    """tau 5%, level 0.05, n <= 2149: approving errs 0.046 and halting 0.022; at 1.002 tau, n <= 4000: 4.63%."""
    assert crossing_probability(0.05, RateTest(0.05, "approve", 0.05), 2149)[-1] == pytest.approx(0.046, abs=5e-4)
    assert crossing_probability(0.05, RateTest(0.05, "halt", 0.05), 2149)[-1] == pytest.approx(0.022, abs=5e-4)
    assert crossing_probability(0.05 * 1.002, RateTest(0.05, "approve", 0.05), 4000)[-1] == pytest.approx(0.0463, abs=1e-4)


def test_peeking_at_a_wilson_interval_errs_far_more() -> None:
    """What the boundary replaces: stopping when a 95% Wilson interval leaves tau errs several times as often (so this test can fail)."""
    tau, z, n_max = 0.05, 1.959964, 1000
    rng = np.random.default_rng(5)
    s = np.cumsum(rng.random((2000, n_max)) < tau, axis=1)
    n = np.arange(1, n_max + 1)
    centre = (s + z * z / 2) / (n + z * z)
    half = z * np.sqrt(s * (n - s) / n + z * z / 4) / (n + z * z)
    peeking = float(((centre + half < tau)[:, 20:]).any(axis=1).mean())
    ours = float(crossing_probability(tau, RateTest(tau, "approve", 0.025), n_max)[-1])
    assert ours <= 0.025 < 0.1 < peeking


def test_dynamic_programming_agrees_with_simulation() -> None:
    test = RateTest(0.1, "halt", 0.05)
    limits = np.array([test.limit(n) for n in range(201)])
    rng = np.random.default_rng(7)
    s = np.cumsum(rng.random((20_000, 200)) < 0.2, axis=1)
    simulated = float((s >= limits[1:]).any(axis=1).mean())
    assert simulated == pytest.approx(float(crossing_probability(0.2, test, 200)[-1]), abs=0.012)


@settings(max_examples=60, deadline=None)
@given(
    tau=st.floats(0.005, 0.9), n=st.integers(0, 600), level=st.sampled_from([0.05, 0.01, 1e-4]), side=st.sampled_from(["approve", "halt"])
)
def test_the_boundary_is_where_log_e_crosses(tau: float, n: int, level: float, side: str) -> None:
    test = RateTest(tau, side, level)  # type: ignore[arg-type]
    limit, need = test.limit(n), math.log(1 / level)
    values = log_e(np.arange(n + 1), np.full(n + 1, n), tau, side)  # type: ignore[arg-type]
    crossed = {int(k) for k in np.flatnonzero(values >= need)}
    assert crossed == (set(range(limit + 1)) if side == "approve" else set(range(limit, n + 1)))


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_thresholds_are_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        RateTest(tau, "approve", 0.05)
