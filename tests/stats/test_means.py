"""Means of bounded outcomes: equality with the binary test, fairness of the bets, clusters, and finite banks."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product

import numpy as np
import pytest

from assay.stats import RateTest, log_e
from assay.stats.means import BankTest, MeanTest, cluster_means
from assay.stats.rates import Side, mixture_points

SIDES: tuple[Side, ...] = ("approve", "halt")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tau", [0.005, 0.05, 0.3, 0.7, 0.85])
def test_binary_outcomes_give_the_rate_test(side: Side, tau: float) -> None:
    y = (np.random.default_rng(1).random(600) < tau).astype(float)
    ours = MeanTest(tau, side, 0.05).add_many(y)
    assert np.allclose(ours, log_e(np.cumsum(y), np.arange(1, 601), tau, side), rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", SIDES)
def test_log_e_is_the_definition(side: Side) -> None:
    """Term by term, for scores between 0 and 1; one at a time and all at once."""
    tau, y = 0.1, np.random.default_rng(2).random(40) * 0.3
    wealth = [1.0] * 24
    one, many = MeanTest(tau, side, 0.05), MeanTest(tau, side, 0.05)
    path = []
    for value in y:
        for k, q in enumerate(mixture_points(tau, side)):
            stake = (tau - q) / (tau * (1 - tau)) if side == "approve" else (q - tau) / (tau * (1 - tau))
            wealth[k] *= 1 + stake * ((tau - value) if side == "approve" else (value - tau))
        one.add(value)
        path.append(one.log_e)
        assert one.log_e == pytest.approx(math.log(sum(wealth) / 24), abs=1e-9)
        assert one.rejects == (sum(wealth) / 24 >= 20)
    assert np.array_equal(many.add_many(y), path)
    assert (many.log_e, many.rejects) == (one.log_e, one.rejects)


@pytest.mark.parametrize("side", SIDES)
def test_e_has_mean_one_at_the_threshold_and_less_within_the_null(side: Side) -> None:
    """Exact over all sequences of five outcomes in {0, 0.4, 1}, with means tau and 20% beyond it."""
    tau = 0.2
    for mean in (tau, tau * 1.2 if side == "approve" else tau * 0.8):
        p = {0.4: 0.2, 1.0: mean - 0.08}
        p[0.0] = 1 - sum(p.values())
        total = 0.0
        for y in product(p, repeat=5):
            test = MeanTest(tau, side, 0.05)
            test.add_many(y)
            total += math.prod(p[v] for v in y) * math.exp(test.log_e)
        if mean == tau:
            assert total == pytest.approx(1, abs=1e-9)
        else:
            assert total < 0.99


def clustered(rng: np.random.Generator, mean: float, intraclass: float, items: int, each: int) -> np.ndarray:
    """Violations of `each` samples of `items` items; item rates are Beta with the given mean and intraclass correlation."""
    scale = (1 - intraclass) / intraclass
    rates = rng.beta(mean * scale, (1 - mean) * scale, items)
    return rng.random((items, each)) < rates[:, None]


def test_samples_of_one_item_are_not_independent() -> None:
    """tau 5%, 10 samples an item, intraclass 0.3: approving at 5% errs above 30% if samples are counted as trials; item means hold."""
    rng, tau, runs, items = np.random.default_rng(3), 0.05, 800, 200
    test = RateTest(tau, "approve", 0.05)
    limits = np.array([test.limit(n) for n in range(1, 10 * items + 1)])
    names = [i for i in range(items) for _ in range(10)]
    naive = wrong = wrong_halt = 0
    for _ in range(runs):
        samples = clustered(rng, tau, 0.3, items, 10)
        naive += bool((np.cumsum(samples.ravel()) <= limits).any())
        means = cluster_means(names, samples.ravel())
        wrong += bool((MeanTest(tau, "approve", 0.05).add_many(means) >= math.log(20)).any())
        wrong_halt += bool((MeanTest(tau, "halt", 0.05).add_many(means) >= math.log(20)).any())
    assert naive / runs > 0.30
    assert 0 < wrong / runs <= 0.05
    assert wrong_halt / runs <= 0.05


def test_item_means_decide() -> None:
    """Both sides have power: mean scores of 1% are approved and of 15% halted at tau 5%, within 400 items."""
    rng = np.random.default_rng(4)
    good = [MeanTest(0.05, "approve", 0.05).add_many(clustered(rng, 0.01, 0.3, 400, 5).mean(axis=1))[-1] for _ in range(60)]
    bad = [MeanTest(0.05, "halt", 0.05).add_many(clustered(rng, 0.15, 0.3, 400, 5).mean(axis=1))[-1] for _ in range(60)]
    assert np.mean(np.array(good) >= math.log(20)) > 0.9
    assert np.mean(np.array(bad) >= math.log(20)) > 0.9


def test_cluster_means_keep_the_order_of_first_appearance() -> None:
    assert cluster_means(["b", "a", "b", "c", "a", "b"], [1, 0, 0, 0.25, 1, 1]) == pytest.approx([2 / 3, 0.5, 0.25])
    assert cluster_means([], []).shape == (0,)
    with pytest.raises(ValueError, match="2 items for 1"):
        cluster_means(["a", "b"], [1])


@pytest.mark.parametrize("y", [-0.01, 1.01, float("nan")])
def test_outcomes_beyond_the_range_are_refused_and_change_nothing(y: float) -> None:
    for test in (MeanTest(0.1, "halt", 0.05), BankTest(10, 0.1, "halt", 0.05)):
        test.add(1)
        before = test.log_e
        with pytest.raises(ValueError, match="0, 1"):
            test.add_many([0.5, y])
        assert test.log_e == before
    with pytest.raises(ValueError, match="level"):
        MeanTest(0.1, "halt", 1.0)
    with pytest.raises(ValueError, match="tau"):
        MeanTest(1.0, "halt", 0.05)


@pytest.mark.parametrize("side", SIDES)
def test_a_bank_is_a_fair_game_at_its_threshold(side: Side) -> None:
    """Exact: over all orders of a bank whose mean is tau, e has mean 1 after every draw. Binary bank, then partial scores."""
    orders = [[1.0 if i in bad else 0.0 for i in range(10)] for bad in combinations(range(10), 2)]
    paths = np.exp([BankTest(10, 0.2, side, 0.05).add_many(order) for order in orders])
    assert np.allclose(paths.mean(axis=0), 1, rtol=0, atol=1e-9)
    scores = [0.0, 0.0, 0.1, 0.2, 0.6, 0.9]
    paths = np.exp([BankTest(6, 0.3, side, 0.05).add_many(order) for order in permutations(scores)])
    assert np.allclose(paths.mean(axis=0), 1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", SIDES)
def test_a_bank_starts_as_the_infinite_test(side: Side) -> None:
    """The first draw is the same bet; a bank of ten million items stays it."""
    y = (np.random.default_rng(5).random(300) < 0.05).astype(float)
    assert BankTest(10, 0.1, side, 0.05).add_many([0.0])[0] == pytest.approx(float(log_e(0, 1, 0.1, side)), abs=1e-9)
    assert np.allclose(BankTest(10**7, 0.05, side, 0.05).add_many(y), MeanTest(0.05, side, 0.05).add_many(y), rtol=0, atol=0.02)


@pytest.mark.parametrize("tau", [0.05, 0.07, 0.29])
def test_a_whole_bank_decides_with_certainty(tau: float) -> None:
    """Every count of violations in 100, in random order; a mean of exactly tau (rounded or not) makes neither side certain."""
    rng, threshold = np.random.default_rng(6), round(100 * tau)
    for bad in range(101):
        y = rng.permutation(np.arange(100) < bad).astype(float)
        approve, halt = BankTest(100, tau, "approve", 1e-9), BankTest(100, tau, "halt", 1e-9)
        approve.add_many(y[:60])
        approve.add_many(y[60:])
        halt.add_many(y)
        assert approve.rejects == (bad < threshold), bad
        assert halt.rejects == (bad > threshold), bad
        if bad == threshold:
            assert math.isfinite(approve.log_e)
            assert math.isfinite(halt.log_e)
        else:
            assert approve.log_e == -halt.log_e == (math.inf if bad < threshold else -math.inf)


def test_certainty_comes_as_soon_as_it_is_there() -> None:
    approve, halt = BankTest(10, 0.25, "approve", 0.05), BankTest(10, 0.25, "halt", 0.05)
    assert approve.add_many([1, 1]).max() < math.inf
    assert math.isfinite(approve.log_e)
    approve.add(0.6)  # 2.6 of at most 2.5
    assert approve.log_e == -math.inf
    assert not approve.rejects
    halt.add_many([1, 1, 0.6, 0])
    assert halt.log_e == math.inf
    assert halt.rejects
    high = BankTest(10, 0.85, "approve", 0.05)
    high.add_many([0, 0])  # eight left of the 8.5 that are needed
    assert high.log_e == math.inf
    with pytest.raises(ValueError, match="no draw 11"):
        high.add_many([0] * 9)
    with pytest.raises(ValueError, match="at least one item"):
        BankTest(0, 0.5, "halt", 0.05)


def crossed(bank: np.ndarray, side: Side, tau: float = 0.05) -> bool:
    return bool((BankTest(len(bank), tau, side, 0.05).add_many(bank) >= math.log(20)).any())


@pytest.mark.parametrize("side", SIDES)
def test_error_of_a_bank_at_its_threshold(side: Side) -> None:
    """100 items, 5 violations, tau 5%, 4,000 random orders, a look after each draw; the same for partial scores."""
    rng = np.random.default_rng(7)
    binary = (np.arange(100) < 5).astype(float)
    scores = np.where(np.arange(100) < 20, 0.25, 0.0)
    for bank in (binary, scores):
        assert np.mean([crossed(rng.permutation(bank), side) for _ in range(2000)]) <= 0.05


def test_the_order_of_the_file_breaks_a_bank() -> None:
    """10 violations in 100 at tau 5%, filed last: approved wrongly every time; in random order within the level."""
    bank = (np.arange(100) >= 90).astype(float)
    rng = np.random.default_rng(8)
    assert crossed(bank, "approve")
    assert np.mean([crossed(rng.permutation(bank), "approve") for _ in range(1000)]) <= 0.05
    nearly = [crossed(np.concatenate([rng.permutation(bank[:90]), rng.permutation(bank[90:])]), "approve") for _ in range(50)]
    assert np.mean(nearly) > 0.95


def test_a_bank_needs_about_half_the_calls() -> None:
    """1 violation in 100 at tau 5%: calls to approve, against the test that takes the prompts to be endless."""
    rng = np.random.default_rng(9)
    bank = (np.arange(100) < 1).astype(float)
    test = RateTest(0.05, "approve", 0.05)
    limits = np.array([test.limit(n) for n in range(1, 2001)])
    finite = [np.argmax(BankTest(100, 0.05, "approve", 0.05).add_many(rng.permutation(bank)) >= math.log(20)) + 1 for _ in range(400)]
    endless = [np.argmax(np.cumsum(rng.random(2000) < 0.01) <= limits) + 1 for _ in range(400)]
    assert 0.35 < np.mean(finite) / np.mean(endless) < 0.65
