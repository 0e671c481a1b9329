"""The two-sample test of answers: its level and its power by simulation, its statistic by an independent computation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom, permutation_test

from assay.stats.equality import answer_kernel, compare_answers, smallest_p
from tests.support import sampled

WORDS = ["sea", "wide", "blue", "salt", "waves", "deep", "the", "a", "is", "and", "cold", "ship"]


def model(generator: np.random.Generator, probes: int, sentences: int, weight: float = 1.0) -> list[tuple[list[str], np.ndarray]]:
    """A model: for every probe so many sentences it may say, with probabilities that differ a lot."""
    made = []
    for _ in range(probes):
        said = [" ".join(generator.choice(WORDS, size=generator.integers(2, 6))) for _ in range(sentences)]
        made.append((said, generator.dirichlet(np.full(sentences, weight))))
    return made


def asked(generator: np.random.Generator, of: Sequence[tuple[list[str], np.ndarray]], samples: int) -> list[list[str]]:
    """What it says when every probe is asked so often."""
    return [[said[i] for i in generator.choice(len(said), size=samples, p=p)] for said, p in of]


def rejections(level: float, replicates: int, permutations: int, sizes: tuple[int, int], share: float, weight: float = 1.0) -> int:
    """How often two samples are told apart when a `share` of the second's answers come from another model (0: from the same)."""
    generator = np.random.default_rng(20_261)
    count = 0
    for replicate in range(replicates):
        one, two = model(generator, 6, 5, weight), model(generator, 6, 5, weight)
        first = asked(generator, one, sizes[0])
        second = asked(generator, one, sizes[1])
        other = asked(generator, two, sizes[1])
        swapped = generator.random((6, sizes[1])) < share
        mixed = [[o if s else t for o, t, s in zip(*row, strict=True)] for row in zip(other, second, swapped, strict=True)]
        count += compare_answers(first, mixed, seed=replicate, permutations=permutations).p_value <= level
    return count


@pytest.mark.parametrize(
    ("level", "sizes", "weight"),
    [(0.05, (6, 6), 1.0), (0.05, (4, 9), 1.0), (0.05, (6, 6), 0.1), (0.2, (3, 3), 1.0), (0.01, (8, 8), 1.0)],
    ids=["usual", "uneven", "nearly-constant", "small", "strict"],
)
def test_the_same_model_is_called_different_as_often_as_stated_and_no_more(level: float, sizes: tuple[int, int], weight: float) -> None:
    """False alarms in 500 comparisons (1,500 in `make test-full`) lie where a rate of `level` puts them; a test that never alarms fails as
    well, but for samples so alike that many deals tie, where it may alarm less.
    """
    replicates, permutations = sampled(1500, 500), 199
    count = rejections(level, replicates, permutations, sizes, share=0.0, weight=weight)
    assert count <= binom.ppf(0.9999, replicates, level)
    if weight == 1.0:
        assert count >= binom.ppf(0.0001, replicates, level)


def test_p_values_are_uniform_under_the_null() -> None:
    """At every level at once, not only at the usual ones (Kolmogorov and Smirnov, at 0.1%)."""
    generator = np.random.default_rng(4)
    found = []
    for replicate in range(400):
        one = model(generator, 6, 8)
        found.append(compare_answers(asked(generator, one, 6), asked(generator, one, 6), seed=replicate, permutations=199).p_value)
    ordered = np.sort(found)
    above = float(np.max(np.arange(1, 401) / 400 - ordered))
    assert above <= math.sqrt(math.log(2 / 0.001) / 2 / 400) + 1 / 200


@pytest.mark.parametrize(("share", "least"), [(1.0, 0.99), (0.5, 0.6)], ids=["swapped", "half-swapped"])
def test_a_swapped_model_is_found(share: float, least: float) -> None:
    replicates = 150
    count = rejections(0.01, replicates, 499, (8, 8), share)
    assert count >= binom.ppf(0.001, replicates, least)


def test_more_answers_show_smaller_changes() -> None:
    found = [rejections(0.05, 100, 199, (n, n), share=0.3) for n in (3, 8, 20)]
    assert found[0] < found[1] < found[2]


def test_the_statistic_is_the_mean_discrepancy_summed_over_probes() -> None:
    first, second = [["a b", "a c", "d"], ["x"]], [["a b", "e"], ["x", "y"]]
    wanted = 0.0
    for x, y in zip(first, second, strict=True):
        k = answer_kernel([*x, *y])
        m, n = len(x), len(y)
        wanted += k[:m, :m].mean() + k[m:, m:].mean() - 2 * k[:m, m:].mean()
        assert n
    found = compare_answers(first, second, seed=0, permutations=9)
    assert found.statistic == pytest.approx(wanted)
    assert sum(found.each) == pytest.approx(wanted)


def test_the_p_value_is_that_of_all_deals() -> None:
    """One probe, few answers: every deal can be listed, by hand and by scipy."""
    x, y = ["the sea", "a sea", "the deep"], ["salt", "a ship", "the sea"]
    kernel = answer_kernel([*x, *y])

    def statistic(first: Sequence[int]) -> float:
        second = [i for i in range(6) if i not in first]
        return float(kernel[np.ix_(first, first)].mean() + kernel[np.ix_(second, second)].mean() - 2 * kernel[np.ix_(first, second)].mean())

    observed = statistic([0, 1, 2])
    exact = np.mean([statistic(list(deal)) >= observed - 1e-12 for deal in itertools.combinations(range(6), 3)])
    found = compare_answers([x], [y], seed=1, permutations=40_000)
    assert found.p_value == pytest.approx(exact, abs=0.012)
    theirs = permutation_test(
        (np.arange(3), np.arange(3, 6)), lambda a, b: statistic([int(i) for i in a]), alternative="greater", n_resamples=np.inf
    )
    assert theirs.pvalue == pytest.approx(exact)


def test_the_kernel_is_positive_semidefinite_and_one_on_the_diagonal() -> None:
    texts = ["", "a", "ab", "ba", "the sea", "the sea ", "கடல்", "大海", "\x00HTTP 400", "the sea", "e\u0301", "\u00e9"]
    kernel = answer_kernel(texts)
    assert np.allclose(np.diag(kernel), 1)
    assert np.allclose(kernel, kernel.T)
    assert np.linalg.eigvalsh(kernel).min() > -1e-9
    assert kernel[4, 9] == pytest.approx(1)
    assert all(kernel[i, j] < 1 - 1e-9 for i, j in itertools.combinations(range(len(texts)), 2) if texts[i] != texts[j])


def test_only_what_is_compared_counts() -> None:
    kernel = answer_kernel(["abc" + "x" * 50, "abc" + "y" * 50], length=3)
    assert kernel[0, 1] == pytest.approx(1)
    with pytest.raises(ValueError, match="at least one character"):
        answer_kernel(["a"], length=0)


def test_constant_answers() -> None:
    same = compare_answers([["a"] * 4] * 3, [["a"] * 4] * 3, seed=0, permutations=99)
    assert (same.p_value, same.constant, same.mismatched, same.statistic) == (1.0, 3, (), 0.0)
    other = compare_answers([["a"] * 4] * 3, [["a"] * 4, ["b"] * 4, ["a"] * 4], seed=0, permutations=9999)
    assert (other.constant, other.mismatched) == (2, (1,))
    assert other.p_value == pytest.approx(2 / 70, abs=0.006)


def test_permutations_that_tie_by_rounding_count_as_ties() -> None:
    """Exchanging the two models gives the same statistic, so half of two deals is the least p-value there can be: 1."""
    for seed in range(20):
        assert compare_answers([["one"]], [["two"]], seed=seed, permutations=99).p_value == 1.0
    thirds = compare_answers([["ab", "ac", "ad"]], [["xb", "xc", "xd"]], seed=0, permutations=9999)
    assert thirds.p_value == pytest.approx(2 / 20, abs=0.01)


@pytest.mark.parametrize(
    ("counts", "permutations", "wanted"),
    [
        ([(1, 1)], 9999, 1.0), ([(2, 2)], 9999, 2 / 6), ([(2, 3)], 9999, 1 / 10), ([(2, 2), (2, 2)], 9999, 2 / 36),
        ([(8, 8)] * 16, 99, 0.01), ([(1, 1)] * 3, 9999, 2 / 8),
    ],
    ids=["one-each", "two-each", "uneven", "two-probes", "bounded", "three-probes"],
)  # fmt: skip
def test_the_smallest_p_value(counts: list[tuple[int, int]], permutations: int, wanted: float) -> None:
    assert smallest_p(counts, permutations) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("first", "second", "permutations"),
    [([], [], 9), ([["a"]], [["a"], ["b"]], 9), ([["a"], []], [["a"], ["b"]], 9), ([["a"]], [["b"]], 0)],
    ids=["nothing", "other-probes", "no-answers", "no-permutations"],
)
def test_what_cannot_be_tested_raises(first: list[list[str]], second: list[list[str]], permutations: int) -> None:
    with pytest.raises(ValueError, match=r"probe|permutation"):
        compare_answers(first, second, seed=0, permutations=permutations)
