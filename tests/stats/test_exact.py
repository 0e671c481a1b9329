"""Exact intervals and plans against scipy's own, as an independent oracle."""

from __future__ import annotations

import pytest
from scipy.special import betainc, betaincinv
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from assay.stats import clopper_pearson, fixed_sample_plan
from assay.stats.exact import beta_cdf, beta_quantile


@pytest.mark.parametrize("a", [1, 2, 17, 400, 30_000])
@pytest.mark.parametrize("b", [1, 3, 60, 5_000])
@pytest.mark.parametrize("x", [1e-9, 0.001, 0.05, 0.5, 0.97])
def test_the_beta_distribution_equals_scipy(a: int, b: int, x: float) -> None:
    assert beta_cdf(a, b, x) == pytest.approx(betainc(a, b, x), rel=1e-9, abs=1e-14)
    assert beta_quantile(a, b, x) == pytest.approx(betaincinv(a, b, x), rel=1e-9)


@pytest.mark.parametrize(
    ("s", "n"), [(0, 1), (0, 59), (1, 4), (4, 4), (17, 506), (250, 500), (3, 100_000), (49_000, 100_000), (99_999, 100_000)]
)
def test_clopper_pearson_equals_scipy(s: int, n: int) -> None:
    expected = binomtest(s, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(s, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_trials_say_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("tau", "level"), [(0.05, 0.05), (0.1, 0.05 / 24), (0.2, 0.01)])
def test_the_fixed_plan_has_the_level_and_power_it_claims_and_is_the_smallest(tau: float, level: float) -> None:
    n, c = fixed_sample_plan(tau, level)
    assert binom.cdf(c, n, tau) <= level
    assert binom.cdf(c, n, tau / 2) >= 0.9
    assert all(binom.cdf(k, n - 1, tau) > level or binom.cdf(k, n - 1, tau / 2) < 0.9 for k in range(c + 1))


@pytest.mark.parametrize(("s", "n"), [(0, 40), (3, 200), (17, 60), (40, 40)])
def test_clopper_pearson_equals_statsmodels(s: int, n: int) -> None:
    assert clopper_pearson(s, n, 0.95) == pytest.approx(proportion_confint(s, n, 0.05, method="beta"), abs=1e-9)
