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
from assay.ledger import digest
from assay.plan import Plan, Stream
from assay.runs import read_run
from assay.scenarios import ItemBuilder

UNCLEAR = 0.2
"""A share of answers that could not be scored, beyond which nothing is said to be unchanged, and no run is taken as a reference."""


class Outcomes(Struct, frozen=True):
    """One run's outcomes (each item's first sample, anchors left out), by stream and item number; `items` has the digests likewise.

    Of the streams that are `whole`, every item of the bank was asked, and the plan said so beforehand. `banks` identifies, for a hazard
    that has one, the bank that its items are of; `run` is the run's digest.
    """

    codes: dict[Stream, dict[int, int]]
    items: dict[Stream, dict[int, str]]
    whole: frozenset[Stream] = frozenset()
    banks: dict[str, str] = {}
    run: str = ""

    @property
    def trials(self) -> int:
        """How many there are."""
        return sum(map(len, self.codes.values()))

    @property
    def unscorable(self) -> int:
        """How many could not be scored."""
        return sum(code == UNSCORABLE for each in self.codes.values() for code in each.values())

    @property
    def lacks(self) -> tuple[str, ...]:
        """Where more than a fifth could not be scored, in words: of all answers, and of each stream."""
        if not self.trials:
            return ("nothing was asked",)
        counts = {f" of {s.key}": (sum(code == UNSCORABLE for code in each.values()), len(each)) for s, each in self.codes.items()}
        shares = {"": (self.unscorable, self.trials)} | counts
        return tuple(f"{bad} of {n} answers{what} could not be scored" for what, (bad, n) in shares.items() if bad > UNCLEAR * n)


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
        plan, run_digest = opening.plan, run.digest
    whole = [s for s, each in codes.items() if len(each) == plan.bank_size(s.hazard) <= plan.exploration.floor(s.arm)]
    banks = {h: bank for h in {s.hazard for s in codes} if (bank := _bank(plan, h))}
    return Outcomes(codes, items, frozenset(whole), banks, run_digest)


def _bank(plan: Plan, hazard: str) -> str:
    """What identifies the finite items of a hazard; empty where they are fresh."""
    size = plan.bank_size(hazard)
    return digest([hazard, size, plan.bank.seed if plan.bank else "", plan.catalog]) if size else ""
