"""Many claims at once: which of them to call, from the log e of each.

`log_e` has shape (..., m): m claims along the last axis, in any order, which is kept. -inf and inf are allowed, NaN is not.

    holm(log_sup_e, level=0.05)         # family-wise: the chance of any wrong call is at most 5%
    e_bh(log_e, level=0.05)             # false-discovery rate: the expected part of wrong calls among the calls is at most 5%
    union_levels(0.05, [3, 10])         # the level of each claim under two requirements of 3 and of 10 claims
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def holm(log_e: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Which claims to call with family-wise error at most `level`, under any dependence; booleans, shape (..., m).

    Holm (1979) on p = min(1, 1 / e): the claims by falling e; the i-th, from 0, is called while e >= (m - i) / level. `log_e` may be the
    running supremum of an e-process: by Ville's inequality 1 / sup e is still a p-value, and calls then never have to be taken back.
    """
    values = _family(log_e, level)
    need = np.log((values.shape[-1] - np.arange(values.shape[-1])) / level)
    order = np.argsort(-values, axis=-1, kind="stable")
    called = np.logical_and.accumulate(np.take_along_axis(values, order, axis=-1) >= need, axis=-1)
    return _in_place(called, order)


def e_bh(log_e: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Which claims to call with false-discovery rate at most `level`, under any dependence; booleans, shape (..., m).

    e-BH (Wang and Ramdas 2022): the k claims of largest e, for the largest k whose k-th e is at least m / (k level). `log_e` must be
    e-values as they stand NOW. On running suprema control is lost (arXiv 2501.19360): the supremum of an e-process has expectation
    above 1 and is no e-value. Where the time is chosen by looking at several claims, each must be an e-process for the joint history
    of all. Calls may have to be taken back later. For maps that explore; decisions use `holm` or shared levels.
    """
    values = _family(log_e, level)
    m = values.shape[-1]
    need = np.log(m / (np.arange(1, m + 1) * level))
    order = np.argsort(-values, axis=-1, kind="stable")
    enough = np.take_along_axis(values, order, axis=-1) >= need
    called = np.logical_or.accumulate(enough[..., ::-1], axis=-1)[..., ::-1]  # all before the last one that is large enough
    return _in_place(called, order)


def weighted_mean_log_e(log_e: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """log of the weighted mean of e over the last axis, shape (...); equal weights unless given, shape (m,), scaled to sum to 1.

    A mean of e-values is an e-value for 'every null holds' under any dependence, for weights fixed beforehand (Vovk and Wang 2021). Of e
    as it stands now, at a fixed time, or at any time if each is an e-process for the joint history. A mean of running suprema is none.
    ValueError for negative weights or weights that sum to 0.
    """
    values = _numbers(log_e)
    w = np.ones(values.shape[-1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != values.shape[-1:] or not np.all((w >= 0) & np.isfinite(w)) or not w.sum() > 0:
        raise ValueError("weights are as many as claims, not negative, and not all 0")
    used = w > 0
    return np.asarray(np.logaddexp.reduce(values[..., used] + np.log(w[used] / w.sum()), axis=-1), dtype=np.float64)


def union_levels(level: float, groups: Sequence[int]) -> Floats:
    """The level of each claim of each group, shape (number of groups,): `level` shared equally among groups, then among a group's claims.

    `groups` holds the number of claims per requirement. The levels of all claims sum to at most `level`, so the chance that any claim
    errs is at most `level` under any dependence and any allocation of trials (Bonferroni). The gate's halting levels are these. A group
    without claims leaves its share unused.
    """
    _check(level)
    counts = np.asarray(groups, dtype=np.int64)
    if counts.ndim != 1 or not counts.size or np.any(counts < 0):
        raise ValueError("groups are numbers of claims, at least one group and none negative")
    return np.asarray(level / len(counts) / np.maximum(1, counts), dtype=np.float64)


def _family(log_e: ArrayLike, level: float) -> Floats:
    _check(level)
    return _numbers(log_e)


def _numbers(log_e: ArrayLike) -> Floats:
    values = np.asarray(log_e, dtype=np.float64)
    if not values.ndim or not values.shape[-1]:
        raise ValueError("a family has at least one claim")
    if np.any(np.isnan(values)):
        raise ValueError("log e is not a number")
    return values


def _check(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")


def _in_place(called: NDArray[np.bool_], order: NDArray[np.intp]) -> NDArray[np.bool_]:
    out = np.empty_like(called)
    np.put_along_axis(out, order, called, axis=-1)
    return out
