"""Is a language worse than the reference by more than a margin? Paired by item, valid at every sample size.

Per item D = Y_language - Y_reference in {-1, 0, 1}; the null for 'non-inferior' is E[D] >= margin, for 'inferior' E[D] <= margin.
For each lambda of a fixed grid the wealth of a bet against the null,

    non-inferior: prod 1 + lambda (margin - D),  0 < lambda < 1 / (1 - margin)
    inferior:     prod 1 + lambda (D - margin),  0 < lambda < 1 / (1 + margin)

is a supermartingale, and so is the mean over the grid (Waudby-Smith and Ramdas 2024, section 4). It depends on the counts of D = -1, 0, 1
alone.

    test = ParityTest(margin=0.1, side="approve", level=0.05)
    test.rejects(worse=1, equal=140, better=3)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assay.stats.rates import Side

LAMBDAS = 12
_TURNS = 48


@lru_cache(maxsize=64)
def _log_factors(margin: float, side: Side, lambdas: int, samples: int = 1) -> NDArray[np.float64]:
    """log(1 + lambda (...)) for D = 1, ..., -1 in steps of 1 / samples; shape (2 samples + 1, lambdas)."""
    bound = 1 / (1 - margin) if side == "approve" else 1 / (1 + margin)
    grid = bound * np.geomspace(0.02, 0.95, lambdas)
    sign = -1.0 if side == "approve" else 1.0
    d = np.arange(samples, -samples - 1, -1)[:, None] / samples
    return np.asarray(np.log1p(grid * sign * (d - margin)))


def parity_log_e(worse: int, equal: int, better: int, margin: float, side: Side, lambdas: int = LAMBDAS) -> float:
    """log e after `worse` pairs with D = 1, `equal` with D = 0 and `better` with D = -1."""
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"margin must lie in [0, 1), not {margin}")
    each = np.array([worse, equal, better], dtype=np.float64) @ _log_factors(margin, side, lambdas)
    top = float(each.max())
    return top + float(np.log(np.exp(each - top).mean()))


class LevelParityTest:
    """The same where each item was asked `samples` times in both languages: D is the difference of the two means, one per item."""

    def __init__(self, margin: float, side: Side, level: float, samples: int) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        self._need = float(np.log(1 / level))
        self._factors = _log_factors(margin, side, LAMBDAS, samples)

    def rejects(self, items: Sequence[int]) -> bool:
        """Whether e >= 1/level; `items[i]` counts the items with D = 1 - i / samples, i = 0..2 samples."""
        each = np.asarray(items, dtype=np.float64) @ self._factors
        top = float(each.max())
        return top + float(np.log(np.exp(each - top).mean())) >= self._need


def level_difference_sequence(lenient: Sequence[int], cautious: Sequence[int], low_level: float, high_level: float) -> tuple[float, float]:
    """(low, high) for the mean of D: where `LevelParityTest` changes its mind, `low` from the lenient counts, `high` from the others.

    As for `sequences.difference_sequence`, margins below 0 follow by exchanging the two languages, and low(D) = -high(-D).
    """
    return -_level_high(list(lenient)[::-1], low_level), _level_high(list(cautious), high_level)


def _level_high(items: list[int], level: float) -> float:
    """The smallest margin in [-1, 1] at which the approving test rejects."""
    counts, samples, need = np.array(items, dtype=np.float64), len(items) // 2, float(np.log(1 / level))
    d = np.arange(samples, -samples - 1, -1)[:, None] / samples
    low, high = -1.0, 1.0
    for _ in range(_TURNS):
        m = (low + high) / 2
        each = counts @ np.log1p(np.geomspace(0.02, 0.95, LAMBDAS) / (1 - m) * (m - d))
        top = float(each.max())
        low, high = (low, m) if top + float(np.log(np.exp(each - top).mean())) >= need else (m, high)
    return high


class ParityTest:
    """`side="approve"` gathers evidence for non-inferiority, `side="halt"` for inferiority, beyond `margin`."""

    def __init__(self, margin: float, side: Side, level: float) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        self.margin = margin
        self.side: Side = side
        self.level = level
        self._need = float(np.log(1 / level))
        self._factors = [(float(w), float(e), float(b)) for w, e, b in _log_factors(margin, side, LAMBDAS).T]
        self._gain = max(max(f) for f in self._factors)

    def rejects(self, worse: int, equal: int, better: int) -> bool:
        """Whether e >= 1/level now."""
        return parity_log_e(worse, equal, better, self.margin, self.side) >= self._need

    def pairs_before(self, worse: int, equal: int, better: int) -> int:
        """How many further pairs cannot make it reject, whatever they are; -1 if it rejects now.

        The mean over the grid is at most its largest part, and a pair adds at most `gain` to the log of any part. So most looks are spared.
        """
        best = max([worse * w + equal * e + better * b for w, e, b in self._factors])
        if best >= self._need and self.rejects(worse, equal, better):
            return -1
        return max(0, int((self._need - best) / self._gain - 1e-9) - 1)
