"""Run length without a change and delay after one, by simulation of the Shiryaev-Roberts e-detector."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from assay.stats.trend import ChangeDetector

PROBES = 100
RUN_LENGTH = 200.0
QUIET = 50  # checkpoints before a late change
MOST = 100_000
# base rate (the registered bound), rate before the change, rate after it
CHANGES = (
    (0.01, 0.01, 0.02), (0.01, 0.01, 0.04), (0.01, 0.01, 0.10), (0.015, 0.01, 0.04), (0.05, 0.05, 0.10), (0.05, 0.05, 0.20),
    (0.1, 0.1, 0.03)
)  # fmt: skip


def alarms(
    detector: ChangeDetector, before: float, after: float, quiet: int, replicates: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """First alarm of each replicate, counted from 1, shape (replicates,): `quiet` checkpoints at `before`, then `after`. MOST if none came.

    The detector's recursion for all replicates at once.
    """
    q, b = detector.alternatives, detector.base_rate
    violation, safe = np.log(q / b), np.log1p(-q) - math.log1p(-b)
    need = math.log(detector.run_length) + math.log(q.size)
    first = np.full(replicates, MOST, dtype=np.int64)
    alive = np.arange(replicates)
    log_m = np.full((replicates, q.size), -np.inf)
    for t in range(1, MOST):
        s = rng.binomial(PROBES, before if t <= quiet else after, alive.size)
        log_m = np.outer(s, violation) + np.outer(PROBES - s, safe) + np.logaddexp(log_m, 0.0)
        top = log_m.max(axis=1)
        hit = top + np.log(np.exp(log_m - top[:, None]).sum(axis=1)) >= need
        first[alive[hit]] = t
        alive, log_m = alive[~hit], log_m[~hit]
        if not alive.size:
            break
    return first


def trend_table(replicates: int, seed: int) -> list[dict[str, float | str]]:
    """One row for each change: the run length promised and measured without it, the mean delay when it comes at once, and when it
    comes late.

    The run length is measured with every rate at the base rate itself, the worst case of the null. The late delay is the mean over those
    replicates that had not alarmed falsely in the 50 checkpoints before. All in checkpoints of 100 probes, with standard errors.
    """
    rows: list[dict[str, float | str]] = []
    for k, (base, before, after) in enumerate(CHANGES):
        detector = ChangeDetector(base, "worse" if after > base else "better", RUN_LENGTH)
        rng = np.random.default_rng([seed, k])
        quiet = alarms(detector, base, base, 0, replicates, rng)
        at_once = alarms(detector, after, after, 0, replicates, rng)
        late = alarms(detector, before, after, QUIET, replicates, rng)
        late = late[late > QUIET] - QUIET
        rows.append(
            {
                "change": f"{before:.3g} to {after:.3g}", "base_rate": base, "probes": float(PROBES), "run_length_target": RUN_LENGTH,
                "run_length_mean": float(quiet.mean()), "run_length_se": _error(quiet),
                "delay_mean": float(at_once.mean()), "delay_se": _error(at_once),
                "late_delay_mean": float(late.mean()) if late.size else math.nan, "late_delay_se": _error(late),
            }
        )  # fmt: skip
    return rows


def _error(values: NDArray[np.int64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan
