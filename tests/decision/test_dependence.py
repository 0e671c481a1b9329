"""Why halting shares its level among claims instead of averaging e-values: items are paired, so cells depend on each other."""

from __future__ import annotations

import math

import numpy as np

from assay.stats import RateTest, log_e

TAU = 0.3


def test_the_mean_of_e_values_is_no_e_value_when_items_are_paired() -> None:
    """Two cells with identical outcomes, A one item ahead. Stop when A's next outcome is safe: B's value is then read knowing that its own
    next outcome will be safe. Exact over all paths of 12 items: the mean's expectation exceeds 1, which no e-process allows.
    """
    n = 12
    expectation = 0.0
    for bits in range(2**n):
        path = [(bits >> i) & 1 for i in range(n)]
        stop = next((i for i in range(1, n) if path[i] == 0), n - 1)  # A has seen 0..stop, B 0..stop-1
        ahead = float(np.exp(log_e(sum(path[: stop + 1]), stop + 1, TAU, "halt")))
        behind = float(np.exp(log_e(sum(path[:stop]), stop, TAU, "halt")))
        weight = math.prod(TAU if x else 1 - TAU for x in path)
        expectation += weight * (ahead + behind) / 2
    assert expectation > 1.05


def test_the_shared_level_holds_when_items_are_paired() -> None:
    """Eight perfectly paired cells, or eight independent ones, each at level 0.05 / 8: some cell halts in at most 5% of runs."""
    test = RateTest(TAU, "halt", 0.05 / 8)
    limits = np.array([test.limit(k) for k in range(1, 401)])
    rng = np.random.default_rng(9)
    paired = (np.cumsum(rng.random((4000, 400)) < TAU, axis=1) >= limits).any(axis=1).mean()
    independent = np.mean([(np.cumsum(rng.random((8, 400)) < TAU, axis=1) >= limits).any() for _ in range(2000)])
    assert paired <= 0.05
    assert independent <= 0.05
