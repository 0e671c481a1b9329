"""Is a violation rate at most tau, or above it? One-sided tests that hold at every sample size.

For binary outcomes with S violations in n trials and a point q,

    log e_q(S, n) = S log(q / tau) + (n - S) log((1 - q) / (1 - tau))

is the log of a non-negative martingale with mean 1 at p = tau. For q < tau it is an e-process against p >= tau (evidence to
approve), for q > tau against p <= tau (evidence to halt), and so is any fixed mixture over q (Robbins 1970; Howard, Ramdas,
McAuliffe and Sekhon 2021). By Ville's inequality the chance that it ever reaches 1/alpha under its null is at most alpha, so one
may look after every trial and stop at will.

    test = RateTest(tau=0.05, side="approve", level=0.05)
    test.limit(100)      # approve at n = 100 if at most this many violations were seen (-1: none suffices)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Side = Literal["approve", "halt"]

POINTS = 24
_FIRST_LIMITS = 256


def mixture_points(tau: float, side: Side, points: int = POINTS) -> NDArray[np.float64]:
    """The points q of the uniform mixture, shape (points,).

    Approving: tau times a geometric grid from 1/40 to 0.85. Halting: equally spaced in logit from 1.15 tau to 0.9, or, where
    1.15 tau is beyond 0.9, between tau and 1.
    """
    if not 0.0 < tau < 1.0:
        raise ValueError(f"tau must lie strictly between 0 and 1, not {tau}")
    if side == "approve":
        return tau * np.geomspace(1 / 40, 0.85, points)
    low, high = 1.15 * tau, 0.9
    if low >= high:
        low, high = tau + (1 - tau) * 0.15, tau + (1 - tau) * 0.9
    logits = np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), points)
    return np.asarray(1 / (1 + np.exp(-logits)))


def log_e(violations: ArrayLike, trials: ArrayLike, tau: float, side: Side, points: int = POINTS) -> NDArray[np.float64]:
    """log e of the mixture for S violations in n trials; broadcasts over both arrays and returns their common shape."""
    s = np.asarray(violations, dtype=np.float64)[..., None]
    n = np.asarray(trials, dtype=np.float64)[..., None]
    q = mixture_points(tau, side, points)
    each = s * np.log(q / tau) + (n - s) * (np.log1p(-q) - np.log1p(-tau))
    top = each.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(each - top).mean(axis=-1)))


class RateTest:
    """The test as an integer boundary: log e depends on (S, n) only and is monotone in S, so one comparison decides a trial."""

    def __init__(self, tau: float, side: Side, level: float) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        self.tau = tau
        self.side: Side = side
        self.level = level
        self._need = float(np.log(1 / level))
        self._limits: list[int] = self._solve(0, _FIRST_LIMITS)

    def limit(self, n: int) -> int:
        """Approving: the most violations at which n trials reject p >= tau, or -1. Halting: the fewest, or n + 1."""
        while n >= len(self._limits):
            self._limits += self._solve(len(self._limits), 2 * len(self._limits))
        return self._limits[n]

    def rejects(self, violations: int, n: int) -> bool:
        """Whether e >= 1/level now."""
        limit = self.limit(n)
        return violations <= limit if self.side == "approve" else violations >= limit

    def _solve(self, start: int, stop: int) -> list[int]:
        """Boundaries for n in [start, stop), by bisection in S for all n at once."""
        n = np.arange(start, stop)
        low, high = np.full(n.shape, -1), n + 1  # approving: low rejects, high does not; halting: the other way round
        while np.any(high - low > 1):
            middle = (low + high) // 2
            enough = log_e(middle, n, self.tau, self.side) >= self._need
            if self.side == "approve":
                low, high = np.where(enough, middle, low), np.where(enough, high, middle)
            else:
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return [int(v) for v in (low if self.side == "approve" else high)]


def crossing_probability(p: float, test: RateTest, n_max: int) -> NDArray[np.float64]:
    """P(the test has rejected by trial n) for independent trials with violation rate p, n = 0..n_max; shape (n_max + 1,).

    Exact, by dynamic programming over (n, S) with absorption at the boundary.
    """
    alive = np.zeros(n_max + 2)
    alive[0] = 1.0
    crossed = np.zeros(n_max + 1)
    total = 0.0
    for n in range(1, n_max + 1):
        alive[1 : n + 1] = alive[1 : n + 1] * (1 - p) + alive[:n] * p
        alive[0] *= 1 - p
        limit = test.limit(n)
        stop = slice(0, limit + 1) if test.side == "approve" else slice(min(limit, n + 1), n + 1)
        total += float(alive[stop].sum())
        alive[stop] = 0.0
        crossed[n] = total
    return crossed
