"""Exact fixed-sample methods: intervals for display and the sample size that a fixed plan would need.

clopper_pearson(0, 59)                      # (0.0, 0.0606) at 95%, two-sided
fixed_sample_plan(tau=0.05, level=0.05)     # trials for one cell at 90% power if the true rate is tau / 2
"""

from __future__ import annotations

from functools import lru_cache

from scipy.special import bdtr, betaincinv


def clopper_pearson(violations: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval (Clopper and Pearson 1934). (0, 1) for no trials.

    Its coverage is for a sample size fixed beforehand: after optional stopping it describes, it does not decide.
    """
    if not 0 <= violations <= trials:
        raise ValueError(f"{violations} violations in {trials} trials is not possible")
    tail = (1 - confidence) / 2
    low = 0.0 if violations == 0 else float(betaincinv(violations, trials - violations + 1, tail))
    high = 1.0 if violations == trials else float(betaincinv(violations + 1, trials - violations, 1 - tail))
    return low, high


@lru_cache(maxsize=256)
def fixed_sample_plan(tau: float, level: float, power: float = 0.9, assumed: float | None = None) -> tuple[int, int]:
    """Trials n and acceptance number c of the smallest exact binomial test of p >= tau at `level` with `power` at `assumed`.

    `assumed` is tau / 2 unless given. Approve when at most c of n trials are violations: P(S <= c | tau) <= level and
    P(S <= c | assumed) >= power.
    """
    p = tau / 2 if assumed is None else assumed
    if not 0 < p < tau < 1:
        raise ValueError(f"needs 0 < assumed < tau < 1, not {p} and {tau}")
    for c in range(100_000):
        n = _smallest_n(c, tau, level)
        if bdtr(c, n, p) >= power:
            return n, c
    raise ValueError(f"no fixed plan below 100,000 violations separates {p} from {tau}")


def _smallest_n(c: int, tau: float, level: float) -> int:
    """The fewest trials at which at most c violations reject p >= tau, by bisection: P(S <= c | tau) falls in n."""
    low, high = c, c + 1
    while bdtr(c, high, tau) > level:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(c, middle, tau) > level else (low, middle)
    return high
