"""Intervals that are valid however a stream was stopped, many at once.

    found = paired(tally, [(tamil, english)])
    low, high = gaps([found])[0]

Item i of a hazard is one situation in all languages and under all attacks, so the pairs of an item, and its samples, are one observation:
their mean difference. Items of several hazards are separate. What an item lacks in one of the streams leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.plan import Stream
from assay.report.tally import Tally
from assay.stats import difference_sequence, level_difference_sequence

LEVEL = 0.05
_SINGLE = 3  # the levels of one pair an item, which are bounded many at once


class Pairs(Struct, frozen=True):
    """Pairs of `items`: violated in the first stream only (`worse`), in the second only (`better`), or with something `unscorable`.

    `cautious` and `lenient` count items by the sum of their differences, from the largest, m pairs an item, down to -m, with what could not
    be scored held against the first stream and for it, as `ParityClaim` has them.
    """

    n: int
    worse: int
    better: int
    unscorable: int
    items: int
    cautious: tuple[int, ...]
    lenient: tuple[int, ...]

    @property
    def difference(self) -> float:
        """The first stream's rate minus the second's; 0 without pairs."""
        return (self.worse - self.better) / self.n if self.n else 0.0


def paired(tally: Tally, streams: Sequence[tuple[Stream, Stream]]) -> Pairs:
    """The pairs of several pairs of streams, as many of each hazard: the items that all of a hazard's streams have."""
    samples = tally.opening.plan.samples
    hazards: dict[str, list[tuple[bytearray, bytearray]]] = {}
    for first, second in streams:
        hazards.setdefault(first.hazard, []).append((tally.streams[first].outcomes, tally.streams[second].outcomes))
    sizes = {len(sides) for sides in hazards.values()}
    if len(sizes) > 1:
        raise ValueError("every hazard has as many pairs of streams")
    size = samples * max(sizes, default=0)
    cautious, lenient = [0] * (2 * size + 1), [0] * (2 * size + 1)
    seen: list[tuple[int, int]] = []
    for sides in hazards.values():
        for item in range(min(len(codes) for pair in sides for codes in pair) // samples):
            place = slice(item * samples, (item + 1) * samples)
            pairs = [both for own, other in sides for both in zip(own[place], other[place], strict=True)]
            cautious[size - sum((own != SAFE) - (other == VIOLATION) for own, other in pairs)] += 1
            lenient[size - sum((own == VIOLATION) - (other != SAFE) for own, other in pairs)] += 1
            seen += pairs
    return Pairs(
        n=len(seen),
        worse=sum(own == VIOLATION != other for own, other in seen),
        better=sum(other == VIOLATION != own for own, other in seen),
        unscorable=sum(UNSCORABLE in both for both in seen),
        items=sum(cautious),
        cautious=tuple(cautious),
        lenient=tuple(lenient),
    )


def gaps(pairs: Sequence[Pairs], level: float = LEVEL) -> list[tuple[float, float]]:
    """A confidence sequence of each mean difference, `level` shared by its two ends; (-1, 1) without pairs. All have as many levels."""
    if not pairs:
        return []
    if len(pairs[0].lenient) > _SINGLE:
        return [level_difference_sequence(p.lenient, p.cautious, level / 2, level / 2) if p.n else (-1.0, 1.0) for p in pairs]
    lenient, cautious = (np.array([getattr(p, side) for p in pairs]).T for side in ("lenient", "cautious"))
    low = difference_sequence(lenient[0], lenient[1], lenient[2], level / 2)[0]
    high = difference_sequence(cautious[0], cautious[1], cautious[2], level / 2)[1]
    return [(float(a), float(b)) if p.n else (-1.0, 1.0) for p, a, b in zip(pairs, low, high, strict=True)]
