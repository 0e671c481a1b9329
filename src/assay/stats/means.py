"""Is a mean of outcomes in [0, 1] at most tau, or above it? One-sided tests that hold at every sample size.

For several samples of one item, weights and partial scores: one outcome Y in [0, 1] per item. Against the null mean m a stake lambda
on each outcome gives the wealth

    approve (null: mean >= m): prod 1 + lambda (m - Y),  0 <= lambda < 1 / (1 - m)
    halt    (null: mean <= m): prod 1 + lambda (Y - m),  0 <= lambda < 1 / m

It is a non-negative supermartingale under its null, and so is the mean over a fixed grid of stakes (Waudby-Smith and Ramdas 2024,
sections 4 and 5). By Ville's inequality the chance that it ever reaches 1/alpha is at most alpha. The stakes are those of the points q of
`rates.mixture_points`: |tau - q| / (tau (1 - tau)). For Y in {0, 1} the factors are q / tau and (1 - q) / (1 - tau), so e is that of
`rates.log_e`.

    test = MeanTest(tau=0.05, side="approve", level=0.05)
    test.add_many(cluster_means(["a", "a", "b"], [0, 1, 0]))      # outcomes 0.5 and 0
    test.log_e, test.rejects
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.rates import Side, mixture_points

_CAP = 0.999  # the largest part of the wealth that a bet on a bank may risk
_SLACK = 1e-9  # sums of a bank closer to its threshold than this, per item, count as equal to it

Floats = NDArray[np.float64]


class MeanTest:
    """Outcomes in [0, 1], each with conditional mean >= tau (approve) or <= tau (halt) under the null, given the earlier ones.

    For samples grouped by item give one outcome per item (`cluster_means`): the samples of one item are not independent.
    """

    def __init__(self, tau: float, side: Side, level: float) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        self.tau = tau
        self.side: Side = side
        self.level = level
        self._need = float(np.log(1 / level))
        self._stakes: Floats = np.abs(tau - mixture_points(tau, side)) / (tau * (1 - tau))
        self._log_wealth: Floats = np.zeros(len(self._stakes))
        self._log_e = 0.0

    @property
    def log_e(self) -> float:
        """log e now; 0 before the first outcome."""
        return self._log_e

    @property
    def rejects(self) -> bool:
        """Whether e >= 1/level now."""
        return self._log_e >= self._need

    def add(self, y: float) -> None:
        """One outcome. ValueError if it is not in [0, 1]."""
        self.add_many([y])

    def add_many(self, outcomes: ArrayLike) -> Floats:
        """Outcomes in their order, shape (n,); returns log e after each of them, shape (n,).

        ValueError, and no change, if one is not in [0, 1].
        """
        y = _outcomes(outcomes)
        return self._keep(self._bet(y, np.full(y.shape, self.tau)))

    def _bet(self, y: Floats, null: Floats) -> Floats:
        """Wealth after each outcome against the null mean before it, both of shape (n,); returns log e, shape (n,).

        The cap binds only where the null mean has moved away from tau: at tau itself every stake risks less.
        """
        gap, room = (null - y, 1 - null) if self.side == "approve" else (y - null, null)
        cap = np.divide(_CAP, room, out=np.full(room.shape, np.inf), where=room > 0)
        steps = np.log1p(np.minimum(self._stakes, cap[:, None]) * gap[:, None])
        paths = np.cumsum(np.concatenate((self._log_wealth[None], steps)), axis=0)
        self._log_wealth = paths[-1]
        top = paths[1:].max(axis=1, keepdims=True)
        return np.asarray(top[:, 0] + np.log(np.exp(paths[1:] - top).mean(axis=1)))

    def _keep(self, log_e: Floats) -> Floats:
        if log_e.size:
            self._log_e = float(log_e[-1])
        return log_e


class LevelTest:
    """`MeanTest` for means of `samples` binary outcomes each: log e depends only on how many items had 0, 1, ..., `samples` violations.

    So a decision can be recomputed from whole numbers, and nothing is lost at a stop.
    """

    def __init__(self, tau: float, side: Side, level: float, samples: int) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        if samples < 1:
            raise ValueError(f"an item has at least one sample, not {samples}")
        self.samples = samples
        self._need = float(np.log(1 / level))
        self._steps = _level_steps(tau, side, samples)

    def log_e(self, items: Sequence[int]) -> float:
        """log e for `items[v]` items with v violations, v = 0..samples."""
        return _log_mean_exp(np.asarray(items, dtype=np.float64) @ self._steps)

    def rejects(self, items: Sequence[int]) -> bool:
        """Whether e >= 1/level now."""
        return self.log_e(items) >= self._need


def _level_steps(tau: float, side: Side, samples: int) -> Floats:
    """log(1 + lambda (...)) for means 0, 1/samples, ..., 1, shape (samples + 1, points)."""
    stakes = np.abs(tau - mixture_points(tau, side)) / (tau * (1 - tau))
    gap = tau - np.arange(samples + 1) / samples
    return np.asarray(np.log1p(stakes * (gap if side == "approve" else -gap)[:, None]))


def _log_mean_exp(each: Floats) -> float:
    top = float(each.max())
    return top + float(np.log(np.exp(each - top).mean()))


def level_sequence(items: Sequence[int], level: float) -> tuple[float, float]:
    """(low, high) for the mean, `items[v]` items having v violations: where `LevelTest` changes its mind, each side at `level`.

    With tau the approving factors 1 + (1 - c)(tau - Y) / (1 - tau) never fall, so `high` is exact: it is at most tau exactly when the test
    at tau rejects. `low` is the end of the interval of rejected tau that begins at 0.
    """
    counts, samples, need = np.asarray(items, dtype=np.float64), len(items) - 1, float(np.log(1 / level))
    if counts.sum() == 0:
        return 0.0, 1.0

    def rejects(tau: float, side: Side) -> bool:
        return _log_mean_exp(counts @ _level_steps(tau, side, samples)) >= need

    return _turn(lambda t: not rejects(t, "halt")) if counts[1:].any() else 0.0, _turn(lambda t: rejects(t, "approve"))


def bank_sequence(size: int, lenient: ArrayLike, cautious: ArrayLike, low_level: float, high_level: float) -> tuple[float, float]:
    """(low, high) for the mean of a bank: `low` from the lenient outcomes at its level, `high` from the cautious ones at its own.

    Both are where `BankTest` changes its mind after these draws; the outcomes drawn bound the bank's mean on both sides besides.
    """
    y, z = _outcomes(lenient), _outcomes(cautious)

    def rejects(tau: float, side: Side, outcomes: Floats, level: float) -> bool:
        test = BankTest(size, tau, side, level)
        test.add_many(outcomes)
        return test.rejects

    floor, ceiling = float(y.sum()) / size, 1 - (len(z) - float(z.sum())) / size
    low = _turn(lambda t: not rejects(t, "halt", y, low_level)) if y.any() else 0.0
    high = _turn(lambda t: rejects(t, "approve", z, high_level))
    return max(low, floor), min(high, ceiling)


_TURNS = 40
_EDGE = 1e-9


def _turn(yes: Callable[[float], bool]) -> float:
    """The place in (0, 1) where `yes` turns true, by bisection: 1 if it never does."""
    low, high = _EDGE, 1 - _EDGE
    if yes(low):
        return 0.0
    if not yes(high):
        return 1.0
    for _ in range(_TURNS):
        middle = (low + high) / 2
        low, high = (low, middle) if yes(middle) else (middle, high)
    return high


class BankTest(MeanTest):
    """The mean over a finite bank of `size` items, drawn in random order without replacement, one outcome in [0, 1] each.

    Under the null 'the bank's mean is tau', draw t has mean m = (size tau - S) / (size - t + 1), S being the sum so far: the null moves
    with what was seen (Waudby-Smith and Ramdas 2020, 'Confidence sequences for sampling without replacement'; 2024, section 5). Stakes are
    capped at 0.999 / (1 - m) when approving and at 0.999 / m when halting, so wealth stays positive.

    Some sums decide with certainty, whatever is left: S > size tau (log e = -inf approving, +inf halting), and S so small that ones
    throughout would not reach size tau (the other way round). So a whole bank decides, unless its mean equals tau: then neither side is
    certain and e stays what the bets made it, because tau itself belongs to both nulls. Sums within 1e-9 size of size tau count as equal.

    It speaks of this bank, not of the prompts that the bank stands for. The order must be random and the outcomes fixed by the item: the
    file's own order has no error guarantee.
    """

    def __init__(self, size: int, tau: float, side: Side, level: float) -> None:
        if size < 1:
            raise ValueError(f"a bank has at least one item, not {size}")
        super().__init__(tau, side, level)
        self.size = size
        self.drawn = 0
        self._sum = 0.0

    def add_many(self, outcomes: ArrayLike) -> Floats:
        """Outcomes of the next draws, shape (n,); returns log e after each of them, shape (n,).

        ValueError, and no change, if one is not in [0, 1] or the bank has not so many items left.
        """
        y = _outcomes(outcomes)
        if self.drawn + len(y) > self.size:
            raise ValueError(f"a bank of {self.size} items has no draw {self.drawn + len(y)}")
        sums = np.cumsum(np.concatenate(([self._sum], y)))
        left = self.size - self.drawn - np.arange(len(y) + 1)
        missing = self.size * self.tau - sums  # what the rest of the bank must hold for the null to be exactly true
        log_e = self._bet(y, np.clip(missing[:-1] / left[:-1], 0.0, 1.0))
        slack = _SLACK * self.size
        sign = 1.0 if self.side == "approve" else -1.0
        log_e[missing[1:] > left[1:] + slack] = sign * np.inf
        log_e[missing[1:] < -slack] = -sign * np.inf
        self._sum, self.drawn = float(sums[-1]), self.drawn + len(y)
        return self._keep(log_e)


def cluster_means(items: Sequence[Hashable], outcomes: ArrayLike) -> Floats:
    """One mean per item, in order of first appearance, shape (number of items,); `outcomes` in [0, 1] has the length of `items`.

    How many samples an item gets must not depend on its outcomes: stopping an item at its first violation biases its mean.
    """
    y = _outcomes(outcomes)
    if len(items) != len(y):
        raise ValueError(f"{len(items)} items for {len(y)} outcomes")
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(item, len(places)) for item in items], dtype=np.intp)
    return np.asarray(np.bincount(index, weights=y) / np.bincount(index), dtype=np.float64)


def _outcomes(outcomes: ArrayLike) -> Floats:
    y = np.asarray(outcomes, dtype=np.float64)
    if y.ndim != 1:
        raise ValueError(f"outcomes are a list of numbers, not an array of {y.ndim} dimensions")
    if not np.all((y >= 0) & (y <= 1)):
        raise ValueError("every outcome must lie in [0, 1]")
    return y
