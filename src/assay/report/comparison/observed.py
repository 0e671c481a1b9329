"""A run's trials as what `decision.compare` reads.

observed = observed_of(source)
observed.counts(stream)
"""

from __future__ import annotations

from collections.abc import Iterable

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.decision import Observed
from assay.decision.codes import CODES
from assay.evidence import committed
from assay.plan import Plan, Stream
from assay.report.sources import Source
from assay.runs import Trial
from assay.scenarios import ItemBuilder


def observed_of(source: Source) -> Observed:
    """A signed run, named by its letter."""
    opening = source.tally.opening
    return observed_trials(source.letter, opening.plan, opening.catalog, opening.seed, (trial for trial, _ in committed(source.run)))


def observed_trials(name: str, plan: Plan, catalog: Catalog, seed: bytes, trials: Iterable[Trial]) -> Observed:
    """Each item's first sample, as the check or the judges read it; scenarios where the items are those of a bank."""
    codes: dict[Stream, list[int]] = {}
    items: dict[Stream, list[str]] = {}
    scenarios: dict[str, str] = {}
    builder = ItemBuilder.for_plan(plan, catalog, seed, ATTACKS)
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
