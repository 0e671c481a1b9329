"""A run as what a comparison of checkpoints reads: per stream the outcome of every item, by the item's number.

answers = read_outcomes(Path("watched/0003-step-300"))
answers.codes[stream][17]          # a code of `decision.codes`
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.decision.codes import CODES, UNSCORABLE
from assay.evidence import committed
from assay.plan import Stream
from assay.runs import read_run
from assay.scenarios import ItemBuilder


class Outcomes(Struct, frozen=True):
    """One run's outcomes (each item's first sample, anchors left out), by stream and item number; `items` has the digests likewise.

    Of the streams that are `whole`, every item of the bank was asked, and the plan said so beforehand.
    """

    codes: dict[Stream, dict[int, int]]
    items: dict[Stream, dict[int, str]]
    whole: frozenset[Stream] = frozenset()

    @property
    def trials(self) -> int:
        """How many there are."""
        return sum(map(len, self.codes.values()))

    @property
    def unscorable(self) -> int:
        """How many could not be scored."""
        return sum(code == UNSCORABLE for each in self.codes.values() for code in each.values())


def read_outcomes(folder: Path) -> Outcomes:
    """The committed trials of a run's folder or file. Raises `AssayError`."""
    codes: dict[Stream, dict[int, int]] = {}
    items: dict[Stream, dict[int, str]] = {}
    with read_run(folder) as run:
        opening = run.opening()
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        for trial, _ in committed(run):
            stream = trial.stream
            if stream.arm == "anchor" or trial.index % opening.plan.samples:
                continue
            number = builder.number(stream, trial.index)
            codes.setdefault(stream, {})[number] = CODES[trial.outcome]
            items.setdefault(stream, {})[number] = trial.item
        plan = opening.plan
    whole = [s for s, each in codes.items() if len(each) == plan.bank_size(s.hazard) <= plan.exploration.floor(s.arm)]
    return Outcomes(codes, items, frozenset(whole))
