"""A run's trials as what `decision.compare` reads.

observed = observed_of(source)
observed.counts(stream)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from assay.attacks import ATTACKS
from assay.decision import Observed
from assay.decision.codes import CODES
from assay.evidence import committed
from assay.judges import Outcome
from assay.plan import Stream
from assay.report.sources import Source
from assay.runs import Opening
from assay.scenarios import ItemBuilder


class Sampled(Protocol):
    """What is read of a trial."""

    @property
    def stream(self) -> Stream: ...  # noqa: D102
    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def item(self) -> str: ...  # noqa: D102
    @property
    def outcome(self) -> Outcome: ...  # noqa: D102


def observed_of(source: Source) -> Observed:
    """A signed run, named by its letter."""
    return observed_trials(source.letter, source.tally.opening, (trial for trial, _ in committed(source.run)))


def observed_trials(name: str, opening: Opening, trials: Iterable[Sampled]) -> Observed:
    """Each item's first sample, as the check or the judges read it; scenarios where the items are those of a bank."""
    plan = opening.plan
    codes: dict[Stream, list[int]] = {}
    items: dict[Stream, list[str]] = {}
    scenarios: dict[str, str] = {}
    builder = ItemBuilder.for_plan(plan, opening.catalog, opening.seed, ATTACKS)
    for trial in trials:
        stream = trial.stream
        if stream.arm != "anchor" and trial.index % plan.samples:
            continue
        codes.setdefault(stream, []).append(CODES[trial.outcome])
        items.setdefault(stream, []).append(trial.item)
        if plan.bank_size(stream.hazard):
            scenarios[trial.item] = builder.scenario(stream, trial.index)
    sizes = {s: plan.bank_size(s.hazard) for s in codes if plan.bank_size(s.hazard)}
    return Observed(name, codes, items, sizes, scenarios)
