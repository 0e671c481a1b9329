"""Do two sets of answers come from the same model? A kernel two-sample test with permutations within probes.

The statistic is the squared maximum mean discrepancy of Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), 'A kernel two-sample
test', JMLR 13, section 2.2 (the biased estimate), summed over probes. For one probe with answers x_1..x_m of the first model and y_1..y_n
of the second

    MMD^2 = sum_ij k(x_i, x_j) / m^2 + sum_ij k(y_i, y_j) / n^2 - 2 sum_ij k(x_i, y_j) / (m n) = w' K w

with w = 1/m on the first model's answers and -1/n on the second's. The kernel is the mean of two, both positive semidefinite and 1 on the
diagonal: the Hamming kernel that Gao, Liang and Guestrin (2024), 'Model equality testing: which model is this API serving?', use for this
(here the share of places at which two answers have the same character, the shorter one padded by a mark that equals only itself), and the
spectrum kernel of Leslie, Eskin and Noble (2002) over pairs of characters (the cosine between their counts). The first is 1 for equal
answers only, the second sees the same words elsewhere.

Under the null, answers to one probe are exchangeable between the models, so the statistic over permutations within probes has the null
distribution whatever the models say. With b of B random permutations at least as large as observed, p = (1 + b) / (1 + B) is valid at every
level and sample size (Phipson and Smyth 2010). It needs answers that are independent: a seed of its own for every answer, and no cache.

    same = compare_answers([["a cat", "a dog"]], [["a cat", "a cow"]], seed=1)
    same.p_value
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PERMUTATIONS = 9999
LENGTH = 120
"""Characters of an answer that are compared."""
_TIE = 1e-9
_PAD = -1


@dataclass(frozen=True, slots=True)
class Equality:
    """The outcome. `p_value` is exact under the null; `statistic` the summed MMD^2, 0 where the answers are the same as often in both.

    `each` has the MMD^2 of every probe, `mismatched` the probes at which either model says one thing only and the two differ, `constant`
    those at which both always say the same one thing. `smallest` is the smallest p-value that so many answers could have given.
    """

    p_value: float
    statistic: float
    each: tuple[float, ...]
    mismatched: tuple[int, ...]
    constant: int
    smallest: float


def answer_kernel(texts: Sequence[str], length: int = LENGTH) -> Floats:
    """How alike the first `length` characters of every two texts are, in [0, 1], shape (n, n); 1 only where they are equal.

    Places are counted up to the longest of the texts. A text of fewer than two characters has itself as its only pair.
    """
    if length < 1:
        raise ValueError(f"at least one character is compared, not {length}")
    cut = [t[:length] for t in texts]
    return (_hamming(cut) + _pairs(cut)) / 2


def _hamming(texts: Sequence[str]) -> Floats:
    longest = max((len(t) for t in texts), default=0)
    if longest == 0:
        return np.ones((len(texts), len(texts)))
    places = np.full((len(texts), longest), _PAD, dtype=np.int64)
    for row, text in zip(places, texts, strict=True):
        row[: len(text)] = [ord(c) for c in text]
    return np.asarray((places[:, None, :] == places[None, :, :]).mean(axis=2))


def _pairs(texts: Sequence[str]) -> Floats:
    numbers: dict[str, int] = {}
    found = [[numbers.setdefault(t[i : i + 2], len(numbers)) for i in range(max(1, len(t) - 1))] for t in texts]
    counts = np.zeros((len(texts), len(numbers)))
    for row, pairs in zip(counts, found, strict=True):
        np.add.at(row, pairs, 1.0)
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    return np.asarray(counts @ counts.T)


def smallest_p(counts: Sequence[tuple[int, int]], permutations: int = PERMUTATIONS) -> float:
    """The smallest p-value that samples of these sizes (first, second), a pair for each probe, can give.

    There are prod C(m + n, m) ways to deal the answers out; where m = n in all probes exchanging the models gives the same statistic, so
    two ways tie. No fewer than one of them is as large as observed, and no p-value is below 1 / (1 + B).
    """
    ways = sum(math.lgamma(m + n + 1) - math.lgamma(m + 1) - math.lgamma(n + 1) for m, n in counts)
    ties = 2 if all(m == n for m, n in counts) else 1
    return max(1 / (1 + permutations), min(1.0, ties * math.exp(-ways)))


def compare_answers(
    first: Sequence[Sequence[str]], second: Sequence[Sequence[str]], *, seed: int, permutations: int = PERMUTATIONS, length: int = LENGTH
) -> Equality:
    """Test that the answers of two models to the same probes have the same distribution. `first[i]` and `second[i]` answer probe i.

    A pure function of its arguments: `seed` draws the permutations. Raises ValueError unless both have the same number of probes, one or
    more, each with at least one answer from either side, and there is at least one permutation.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"both need answers to the same probes, not to {len(first)} and {len(second)}")
    if not all(first) or not all(second):
        raise ValueError("a probe has no answers")
    if permutations < 1:
        raise ValueError(f"at least one permutation, not {permutations}")
    generator = np.random.default_rng(seed)
    each: list[float] = []
    permuted = np.zeros(permutations)
    mismatched, constant = [], 0
    for i, (x, y) in enumerate(zip(first, second, strict=True)):
        if len(set(x)) == 1 and len(set(y)) == 1:
            if x[0] == y[0]:
                constant += 1
                each.append(0.0)
                continue
            mismatched.append(i)
        kernel = answer_kernel([*x, *y], length)
        weights = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))])
        each.append(float(weights @ kernel @ weights))
        dealt = weights[np.argsort(generator.random((permutations, len(weights))), axis=1)]
        permuted += ((dealt @ kernel) * dealt).sum(axis=1)
    statistic = float(sum(each))
    larger = int((permuted >= statistic - _TIE * max(1.0, statistic)).sum())  # equal deals differ by rounding: a tie counts as larger
    sizes = [(len(x), len(y)) for x, y in zip(first, second, strict=True)]
    p = (1 + larger) / (1 + permutations)
    return Equality(p, statistic, tuple(each), tuple(mismatched), constant, smallest_p(sizes, permutations))
