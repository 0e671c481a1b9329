"""What charts read of a run's trials, in order, beside the counts that the tally has: one quick pass, of few fields.

reading = read(source)
reading.trials[0].stream, reading.trials[0].tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from assay.judges import Outcome
from assay.plan import Arm, Stream
from assay.report.sources import Source


class Seen(Struct, frozen=True):
    """Some fields of `runs.Trial`, with the same meaning."""

    hazard: str
    language: str
    attack: str
    arm: Arm
    index: int
    item: str
    tokens: tuple[int, int]
    attempts: tuple[tuple[str, int], ...]
    outcome: Outcome
    how: str
    slot: int = -1

    @property
    def stream(self) -> Stream:
        """The stream that this trial belongs to."""
        return Stream(self.hazard, self.language, self.attack, self.arm)


@dataclass(frozen=True, slots=True)
class Reading:
    """A source and its committed trials."""

    source: Source
    trials: tuple[Seen, ...]


_decode = msgspec.json.Decoder(Seen).decode


def read(source: Source) -> Reading:
    """The committed trials. Their bytes were checked against the signatures, and read in full once, when the source was made."""
    leaves = (leaf for _, leaf in source.run.leaves())
    return Reading(source, tuple(_decode(leaf) for leaf, _ in zip(leaves, range(source.tally.trials), strict=False)))


def read_all(sources: Sequence[Source]) -> tuple[Reading, ...]:
    """`read` of each."""
    return tuple(read(source) for source in sources)
