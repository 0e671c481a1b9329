"""Item parameters, headroom, saturation and rotation: direct summation, numerical derivatives, other libraries, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from assay.stats import RateTest
from assay.stats.saturation import (
    ItemFit,
    Rotation,
    chi_square_tail,
    fit_2pl,
    headroom,
    information,
    is_saturated,
    marginal_log_likelihood,
    quadrature,
    rotation,
)

Floats = NDArray[np.float64]


def simulate(models: int, items: int, seed: int, missing: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Responses, difficulty, discrimination and ability."""
    rng = np.random.default_rng(seed)
    a, b, theta = rng.lognormal(0.2, 0.35, items), rng.normal(0, 1, items), rng.normal(0, 1, models)
    y = (rng.random((models, items)) < 1 / (1 + np.exp(-a * (theta[:, None] - b)))).astype(float)
    y[rng.random(y.shape) < missing] = np.nan
    return y, b, a, theta


def slow_log_likelihood(y: Floats, b: Floats, a: Floats) -> float:
    """Direct summation of the integral over ability, on 4,001 points."""
    total, step = 0.0, 16 / 4000
    for row in y:
        inside = 0.0
        for k in range(4001):
            theta = -8 + k * step
            product = math.exp(-theta * theta / 2) / math.sqrt(2 * math.pi) * step
            for answer, difficulty, slope in zip(row, b, a, strict=True):
                if not math.isnan(answer):
                    p = 1 / (1 + math.exp(-slope * (theta - difficulty)))
                    product *= p if answer == 1 else 1 - p
            inside += product
        total += math.log(inside)
    return total


def test_the_likelihood_is_the_direct_sum() -> None:
    y, b, a, _ = simulate(6, 5, 1, missing=0.2)
    assert marginal_log_likelihood(y, b, a, nodes=121) == pytest.approx(slow_log_likelihood(y, b, a), abs=1e-9)
    assert marginal_log_likelihood(y, b, a) == pytest.approx(slow_log_likelihood(y, b, a), abs=1e-6)


def test_the_likelihood_of_all_answers_sums_to_one() -> None:
    b, a = np.array([-1.0, 0.3, 2.0]), np.array([0.7, 1.5, -0.4])
    total = sum(math.exp(marginal_log_likelihood([answers], b, a)) for answers in itertools.product((0, 1), repeat=3))
    assert total == pytest.approx(1, abs=1e-9)


def test_even_nodes_take_over_where_gauss_hermite_is_too_coarse() -> None:
    y, b, a, _ = simulate(5, 150, 2)
    exact = slow_log_likelihood(y, b, a)
    assert marginal_log_likelihood(y, b, a) == pytest.approx(exact, abs=1e-7)  # the normal beyond 6 is left out
    assert abs(marginal_log_likelihood(y, b, a, nodes=41) - exact) > 1e-3
    for items in (5, 150):
        x, weight = quadrature(items)
        assert [float(weight @ x**k) for k in range(5)] == pytest.approx([1, 0, 1, 0, 3], abs=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_parameters_are_recovered(missing: float) -> None:
    y, b, a, theta = simulate(600, 30, 3, missing)
    fit = fit_2pl(y)
    assert fit.converged
    assert np.corrcoef(fit.difficulty, b)[0, 1] > 0.97
    assert np.corrcoef(fit.ability, theta)[0, 1] > 0.9
    for error, se in ((fit.difficulty - b, fit.se_difficulty), (fit.discrimination - a, fit.se_discrimination)):
        assert 0.5 < np.mean((error / se) ** 2) < 1.8  # 30 squares of standard normals have a mean of 1 and a standard deviation of 0.26
        assert np.mean(np.abs(error) < 3 * se) > 0.9
    reliability = 1 - np.mean(fit.se_discrimination**2) / np.var(fit.discrimination)
    assert np.corrcoef(fit.discrimination, a)[0, 1] > reliability - 0.1
    assert np.mean(np.abs(fit.ability - theta) < 2 * fit.se_ability) == pytest.approx(0.95, abs=0.04)


def test_shuffled_answers_recover_nothing() -> None:
    """The check above can fail: with each item's answers shuffled over models, discrimination is gone."""
    y, _, a, _ = simulate(600, 30, 3)
    rng = np.random.default_rng(4)
    fit = fit_2pl(np.stack([rng.permutation(column) for column in y.T], axis=1))
    assert abs(np.corrcoef(fit.discrimination, a)[0, 1]) < 0.5
    assert np.abs(fit.discrimination).mean() < 0.4


def test_the_fit_is_a_maximum_with_the_curvature_that_the_errors_say() -> None:
    """Numerical first and second derivatives of the marginal likelihood at the plain maximum: gradient 0, and Louis' information."""
    y, *_ = simulate(300, 4, 5)
    fit = fit_2pl(y, slope_prior=None, intercept_prior=None, tolerance=1e-12, iterations=20_000)
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(marginal_log_likelihood(y, fit.difficulty, fit.discrimination), abs=1e-9)
    at, h = np.concatenate((fit.discrimination, -fit.discrimination * fit.difficulty)), 1e-3

    def value(v: Floats) -> float:
        return marginal_log_likelihood(y, -v[4:] / v[:4], v[:4])

    unit = np.eye(8) * h
    gradient = np.array([value(at + u) - value(at - u) for u in unit]) / (2 * h)
    assert np.abs(gradient).max() < 1e-2
    hessian = np.array([[value(at + u + w) - value(at + u - w) - value(at - u + w) + value(at - u - w) for w in unit] for u in unit])
    covariance = np.linalg.inv(-hessian / (4 * h * h))
    assert fit.se_discrimination == pytest.approx(np.sqrt(np.diag(covariance))[:4], rel=1e-3)
    slope = np.stack((at[4:] / at[:4] ** 2, -1 / at[:4]))  # d b / d (a, d)
    for j in range(4):
        block = covariance[np.ix_([j, j + 4], [j, j + 4])]
        assert fit.se_difficulty[j] == pytest.approx(math.sqrt(slope[:, j] @ block @ slope[:, j]), rel=1e-3)


def test_plain_likelihood_gains_on_the_truth_and_the_prior_costs_it() -> None:
    y, b, a, _ = simulate(300, 8, 6)
    plain, weak = fit_2pl(y, slope_prior=None, intercept_prior=None), fit_2pl(y)
    assert plain.log_likelihood > weak.log_likelihood > marginal_log_likelihood(y, b, a)


def test_few_models_and_items_that_all_pass_have_finite_estimates_and_wide_errors() -> None:
    y, *_ = simulate(8, 12, 7)
    y[:, 0], y[:, 1], y[3, :] = 1, 0, np.nan
    fit = fit_2pl(y)
    assert fit.converged
    assert np.all(np.isfinite(fit.difficulty) & np.isfinite(fit.se_difficulty) & np.isfinite(fit.se_discrimination))
    assert fit.difficulty[0] < fit.difficulty[2:].min()
    assert fit.difficulty[1] > fit.difficulty[2:].max()
    assert fit.se_difficulty[:2].min() > 0.9
    assert (fit.ability[3], fit.se_ability[3]) == pytest.approx((0, 1), abs=1e-6)  # never asked: the prior
    with pytest.raises(ValueError, match="both priors"):
        fit_2pl(y, slope_prior=None)


def test_many_items_are_fitted_item_by_item() -> None:
    y, b, *_ = simulate(60, 220, 8)
    fit = fit_2pl(y, tolerance=1e-2)
    part = fit_2pl(y[:, :200], tolerance=1e-2)
    assert 0.5 < np.mean(((fit.difficulty - b) / fit.se_difficulty) ** 2) < 2
    assert fit.se_discrimination[:200] == pytest.approx(part.se_discrimination, rel=0.25)


def test_an_item_that_speaks_against_the_others_has_a_negative_slope() -> None:
    y, *_ = simulate(400, 15, 9)
    y[:, 4] = 1 - y[:, 4]
    fit = fit_2pl(y)
    assert fit.discrimination[4] + 2 * fit.se_discrimination[4] < 0 < np.delete(fit.discrimination, 4).min()


@pytest.mark.parametrize("bad", [[0, 1], [[0, 2]], [[]], [[0.5]]])
def test_impossible_responses_are_refused(bad: list[object]) -> None:
    with pytest.raises(ValueError, match="response"):
        fit_2pl(bad)  # type: ignore[arg-type]


def made_fit(b: list[float], a: list[float], ability: list[float], se: float = 0.1) -> ItemFit:
    n, error = len(b), np.full(len(b), se)
    return ItemFit(np.array(b), np.array(a), np.array(ability), error, np.full(n, 0.05), np.full(len(ability), 0.3), 0.0, 1, True)


def test_information_is_the_expected_squared_score() -> None:
    """And a^2 / 4 at the difficulty itself."""
    fit = made_fit([-1.0, 0.5], [0.8, 2.0], [0.0])
    for theta in (-2.0, 0.1, 3.0):
        for j in range(2):
            a, b, h = fit.discrimination[j], fit.difficulty[j], 1e-5

            def log_p(t: float, a: float = a, b: float = b, sign: int = 1) -> float:
                return -math.log1p(math.exp(-sign * a * (t - b)))

            scores = [(log_p(theta + h, sign=s) - log_p(theta - h, sign=s)) / (2 * h) for s in (1, -1)]
            expected = sum(math.exp(log_p(theta, sign=s)) * g * g for s, g in zip((1, -1), scores, strict=True))
            assert information(fit, theta)[j] == pytest.approx(expected, rel=1e-6)
    assert np.diag(information(fit, [-1.0, 0.5])) == pytest.approx([0.16, 1.0], abs=1e-9)


def test_information_and_ability_agree_with_catsim() -> None:
    irt = pytest.importorskip("catsim.irt")
    fit = made_fit([-1.0, 0.5, 2.2], [0.8, 2.0, 1.3], [0.0])
    for theta in (-2.0, 0.1, 3.0):
        expected = [irt.inf(theta, a, b) for a, b in zip(fit.discrimination, fit.difficulty, strict=True)]
        assert information(fit, theta) == pytest.approx(expected, abs=1e-9)
    answers = [[1, 0, 1]]
    items = np.array([[0.8, -1.0, 0, 1], [2.0, 0.5, 0, 1], [1.3, 2.2, 0, 1]])
    x, weight = quadrature(3)
    direct = sum(w * math.exp(irt.log_likelihood(float(t), [True, False, True], items)) for t, w in zip(x, weight, strict=True))
    assert marginal_log_likelihood(answers, fit.difficulty, fit.discrimination) == pytest.approx(math.log(direct), abs=1e-9)


@pytest.mark.parametrize(("s", "n"), [(0, 0), (0, 59), (0, 400), (3, 100), (3, 800), (50, 1000)])
def test_headroom_is_spent_exactly_when_the_rate_test_rejects(s: int, n: int) -> None:
    for floor in (0.01, 0.02, 0.0706):
        room = headroom(s, n, floor, 0.05)
        assert room.spent == RateTest(floor, "approve", 0.05).rejects(s, n)
        assert room.spent == (room.room == 0)
        assert room.room == pytest.approx(max(0.0, room.upper - floor), abs=1e-12)
    with pytest.raises(ValueError, match="floor"):
        headroom(s, n, 0.0, 0.05)


def test_the_chi_square_tail_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for df in (1, 2, 3, 4, 7, 12, 41):
        for x in (0.0, 0.01, 0.5, 1.0, 5.0, 20.0, 90.0):
            assert chi_square_tail(x, df) == pytest.approx(float(stats.chi2.sf(x, df)), abs=1e-12, rel=1e-9)


def test_a_cell_below_the_floor_for_some_models_in_a_row_is_saturated() -> None:
    result = is_saturated([(40, 200), (0, 400), (1, 500), (0, 400)], floor=0.02)
    assert result
    assert "upper bound" in result.reason
    assert len(result.uppers) == 3
    assert max(result.uppers) <= 0.02
    assert not is_saturated([(0, 400), (0, 400), (40, 200)], floor=0.02)  # the newest model is above it
    assert not is_saturated([(0, 400), (0, 400)], floor=0.02)
    assert is_saturated([(0, 400), (0, 400)], floor=0.02, models=2)
    assert "of 3 successive" in is_saturated([(0, 400), (0, 400)], floor=0.02).reason


def test_models_that_differ_keep_a_cell_and_equal_ones_with_enough_answers_do_not() -> None:
    different = is_saturated([(50, 1000), (100, 1000), (150, 1000), (200, 1000)], 0.02, models=4)
    assert not different
    assert different.p_value is not None
    assert different.p_value < 1e-6
    assert "differ beyond" in different.reason
    equal = is_saturated([(98, 1000), (101, 1000), (105, 1000), (100, 1000)], 0.02, models=4)
    assert equal
    assert "do not differ" in equal.reason


def test_too_few_answers_do_not_count_as_equality() -> None:
    """Not seeing a difference is not seeing equality: 60 answers each could not have shown it, and 10 are too few to test."""
    scarce = is_saturated([(6, 60), (7, 60), (5, 60)], 0.02)
    assert not scarce
    assert scarce.p_value is not None
    assert scarce.p_value > 0.5
    assert "seen with a chance of only" in scarce.reason
    tiny = is_saturated([(0, 10), (1, 10), (0, 10)], 0.02)
    assert not tiny
    assert tiny.p_value is None
    assert "too few answers" in tiny.reason
    assert not is_saturated([(0, 0)] * 3, 0.02)


def test_the_test_for_differences_has_its_level_and_its_power() -> None:
    """Equal rates are called different with the level's chance; a spread of half the rate is called saturated with at most 1 - power."""
    rng = np.random.default_rng(12)
    equal = [is_saturated([(int(s), 800) for s in rng.binomial(800, 0.1, 5)], 0.02, models=5) for _ in range(400)]
    assert np.mean([not r for r in equal]) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 400))
    spread = [
        is_saturated([(int(s), 800) for s in rng.binomial(800, np.clip(rng.normal(0.1, 0.05, 5), 0.001, 1))], 0.02, models=5)
        for _ in range(400)
    ]
    assert np.mean([bool(r) for r in spread]) <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 400)


def test_impossible_questions_about_saturation_are_refused() -> None:
    with pytest.raises(ValueError, match="two successive"):
        is_saturated([(0, 10)], 0.02, models=1)
    with pytest.raises(ValueError, match="spread"):
        is_saturated([(0, 10)] * 3, 0.02, spread=0)


ABILITY = [-0.5, 0.2, 1.0]


def rotate(b: list[float], a: list[float], se: float = 0.1, exposures: list[int] | None = None, **more: object) -> Rotation:
    return rotation(made_fit(b, a, ABILITY, se), exposures or [0] * len(b), 100, **more)  # type: ignore[arg-type]


def test_spent_items_are_retired_with_their_reason_and_hard_ones_are_kept() -> None:
    result = rotate([-6.0, 0.0, 6.0, 0.0, 0.5], [1.5, 1.5, 1.5, 0.1, -1.0], exposures=[0, 5, 0, 0, 0])
    assert set(result.retire) == {0, 3}
    assert "too easy" in result.retire[0]
    assert "does not discriminate" in result.retire[3]
    assert set(result.warnings) == {2, 4}
    assert "too hard" in result.warnings[2]
    assert "label" in result.warnings[4]


def test_a_full_exposure_counter_retires_whatever_the_item_still_tells() -> None:
    result = rotate([0.0, 0.0], [1.5, 1.5], exposures=[100, 99])
    assert set(result.retire) == {0}
    assert "100" in result.retire[0]


def test_doubt_about_its_difficulty_keeps_an_item() -> None:
    assert set(rotate([-4.0], [1.5], se=0.1).retire) == {0}
    assert not rotate([-4.0], [1.5], se=3.0).retire
    assert set(rotate([-4.0], [1.5], se=3.0, caution=0.0).retire) == {0}


def test_the_range_of_current_models_decides() -> None:
    assert set(rotate([-4.0, 3.0], [1.5, 1.5]).retire) == {0}
    assert not rotate([-4.0, 3.0], [1.5, 1.5], current=[-4.2, 1.0]).retire
    assert set(rotate([-4.0, -1.0], [1.5, 1.5], current=[2.5, 3.0]).retire) == {0, 1}


def test_parameters_whose_items_are_mostly_too_easy_are_to_be_hardened() -> None:
    parameters = {"attack": ["none", "none", "none", "roleplay"], "language": ["en", "sw", "sw", "sw"]}
    result = rotate([-6.0, -5.0, 0.0, 0.1], [1.5] * 4, parameters=parameters)
    assert set(result.harden) == {"attack=none", "language=en"}
    assert result.harden["attack=none"].startswith("2 of 3 items are too easy: median difficulty -5.00")
    assert set(rotate([-6.0, -5.0, 0.0, 0.1], [1.5] * 4, parameters=parameters, share=0.9).harden) == {"language=en"}


def test_a_rotation_from_a_fit() -> None:
    """Items that every model passes are found too easy once there are enough models to know; informative ones stay."""
    y, *_ = simulate(400, 20, 13)
    y[:, :2] = 1
    y[:, 2] = np.random.default_rng(14).random(400) < 0.5
    result = rotation(fit_2pl(y), np.zeros(20), 10, current=[0.0, 1.0, 2.0], caution=0.5)
    assert "too easy" in result.retire[0]
    assert "too easy" in result.retire[1]
    assert "does not discriminate" in result.retire[2]
    assert len(result.retire) < 8


def test_rotation_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="exposures"):
        rotate([0.0], [1.0], exposures=[1, 2])
    with pytest.raises(ValueError, match="parameter"):
        rotate([0.0], [1.0], parameters={"attack": ["a", "b"]})
