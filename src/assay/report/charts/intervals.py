"""Intervals that are valid however a stream was stopped, many at once.

low, high = gaps([(5, 90, 2, 1)])          # (worse, same, better, not scorable)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.plan import Stream
from assay.report.tally import Tally
from assay.stats.sequences import difference_sequence

LEVEL = 0.05


class Pairs(Struct, frozen=True):
    """Pairs of one item: violated in the first stream only (`worse`), in the second only (`better`), or with something `unscorable`.

    `cautious` and `lenient` count differences of 1, 0 and -1 with what could not be scored held against the first stream and for it, as
    `ParityClaim` has them.
    """

    n: int
    worse: int
    better: int
    unscorable: int
    cautious: tuple[int, int, int]
    lenient: tuple[int, int, int]

    @property
    def difference(self) -> float:
        """The first stream's rate minus the second's; 0 without pairs."""
        return (self.worse - self.better) / self.n if self.n else 0.0


def paired(tally: Tally, streams: Sequence[tuple[Stream, Stream]]) -> Pairs:
    """The pairs of several pairs of streams, taken together."""
    n = worse = better = unscorable = 0
    cautious, lenient = [0, 0, 0], [0, 0, 0]
    for first, second in streams:
        for own, other in zip(tally.streams[first].outcomes, tally.streams[second].outcomes, strict=False):
            n += 1
            unscorable += UNSCORABLE in (own, other)
            worse += own == VIOLATION != other
            better += other == VIOLATION != own
            cautious[1 - ((own != SAFE) - (other == VIOLATION))] += 1
            lenient[1 - ((own == VIOLATION) - (other != SAFE))] += 1
    return Pairs(n, worse, better, unscorable, tuple(cautious), tuple(lenient))  # type: ignore[arg-type]


def gaps(pairs: Sequence[Pairs], level: float = LEVEL) -> list[tuple[float, float]]:
    """A confidence sequence of each paired difference, `level` shared by its two ends; (-1, 1) without pairs."""
    if not pairs:
        return []
    lenient, cautious = (np.array([getattr(p, side) for p in pairs]).T for side in ("lenient", "cautious"))
    low = difference_sequence(lenient[0], lenient[1], lenient[2], level / 2)[0]
    high = difference_sequence(cautious[0], cautious[1], cautious[2], level / 2)[1]
    return [(float(a), float(b)) if p.n else (-1.0, 1.0) for p, a, b in zip(pairs, low, high, strict=True)]
