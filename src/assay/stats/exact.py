"""Exact fixed-sample methods: intervals for display and the sample size that a fixed plan would need.

clopper_pearson(0, 59)                      # (0.0, 0.0606) at 95%, two-sided
fixed_sample_plan(tau=0.05, level=0.05)     # trials for one cell at 90% power if the true rate is tau / 2
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by the continued fraction DLMF 8.17.22 (modified Lentz).

    Here rather than from scipy because importing that takes longer than a thousand trials.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    c, d = 1.0, 1 / max(_TINY, abs(1 - (a + b) * x / (a + 1)))
    value = d
    for m in range(1, 100_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d or _TINY)
            c = 1 + step / c or _TINY
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def beta_quantile(a: float, b: float, q: float) -> float:
    """x with I_x(a, b) = q, by Newton's method kept inside a shrinking bracket."""
    low, high, x = 0.0, 1.0, a / (a + b)
    log_b = _log_beta(a, b)
    for _ in range(200):
        error = beta_cdf(a, b, x) - q
        low, high = (low, x) if error > 0 else (x, high)
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_b)
        step = x - error / density if density > 0 else -1.0
        if not low < step < high:
            step = (low + high) / 2
        if abs(step - x) <= 1e-15 * x or high - low <= 1e-16:
            return step
        x = step
    return x


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(S <= k) for S ~ Bin(n, p)."""
    return 1.0 if k >= n else beta_cdf(n - k, k + 1, 1 - p)


@lru_cache(maxsize=8192)
def clopper_pearson(violations: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval (Clopper and Pearson 1934). (0, 1) for no trials.

    Its coverage is for a sample size fixed beforehand: after optional stopping it describes, it does not decide.
    """
    if not 0 <= violations <= trials:
        raise ValueError(f"{violations} violations in {trials} trials is not possible")
    tail = (1 - confidence) / 2
    low = 0.0 if violations == 0 else beta_quantile(violations, trials - violations + 1, tail)
    high = 1.0 if violations == trials else beta_quantile(violations + 1, trials - violations, 1 - tail)
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
    n = 0
    for c in range(100_000):
        n = _smallest_n(c, tau, level, n)
        if binomial_cdf(c, n, p) >= power:
            return n, c
    raise ValueError(f"no fixed plan below 100,000 violations separates {p} from {tau}")


def _smallest_n(c: int, tau: float, level: float, beyond: int) -> int:
    """The fewest trials, more than `beyond`, at which at most c violations reject p >= tau, by bisection: P(S <= c | tau) falls in n."""
    low, step = max(c, beyond), 1
    high = low + step
    while binomial_cdf(c, high, tau) > level:
        low, step = high, 2 * step
        high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(c, middle, tau) > level else (low, middle)
    return high


def sign_tail(up: int, down: int) -> float:
    """P(X >= up) for X ~ Binomial(up + down, 1/2): the exact one-sided p-value of 'no more pairs went up than down' (McNemar 1947).

    Valid where the number of pairs was fixed beforehand: given that a pair moved, it went up with a chance of at most 1/2.
    """
    if up < 0 or down < 0:
        raise ValueError("pairs are counted from 0")
    n = up + down
    total, term = 0, math.comb(n, up)
    for k in range(up, n + 1):
        total += term
        term = term * (n - k) // (k + 1)
    return total / (1 << n)
