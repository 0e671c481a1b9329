"""A run's trials as what `decision.compare` reads.

observed = observed_of(source)
observed.counts(stream)

Of what judges read, the truth is what people settled. A flag that nobody has settled is no violation and not safe either: it could not be
scored, and so counts against whatever is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from assay.attacks import ATTACKS
from assay.decision import Observed
from assay.decision.codes import CODES, SAFE, UNSCORABLE, VIOLATION
from assay.evidence import committed
from assay.judges import Outcome, Truth, told
from assay.plan import Stream
from assay.report.sources import Source
from assay.runs import Opening, ReadRun
from assay.scenarios import ItemBuilder


class Sampled(Protocol):
    """What is read of a trial."""

    @property
    def slot(self) -> int: ...  # noqa: D102
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
    return observed_trials(source.letter, source.tally.opening, (trial for trial, _ in committed(source.run)), source.tally.truth)


def settled(run: ReadRun, people: int) -> Mapping[int, Truth]:
    """What people settled, by slot, as far as the run has taken it in."""
    known = told(run.taken(), people)
    return known[-1][1].truth if known else {}


def observed_trials(name: str, opening: Opening, trials: Iterable[Sampled], truth: Mapping[int, Truth]) -> Observed:
    """Each item's first sample, as the check or people read it; scenarios where the items are those of a bank."""
    plan = opening.plan
    judged = frozenset(plan.judges.hazards) if plan.judges else frozenset[str]()
    codes: dict[Stream, list[int]] = {}
    items: dict[Stream, list[str]] = {}
    scenarios: dict[str, str] = {}
    builder = ItemBuilder.for_plan(plan, opening.catalog, opening.seed, ATTACKS)
    for trial in trials:
        stream = trial.stream
        if stream.arm != "anchor" and trial.index % plan.samples:
            continue
        codes.setdefault(stream, []).append(
            _code(trial.outcome, truth.get(trial.slot)) if stream.hazard in judged else CODES[trial.outcome]
        )
        items.setdefault(stream, []).append(trial.item)
        if plan.bank_size(stream.hazard):
            scenarios[trial.item] = builder.scenario(stream, trial.index)
    sizes = {s: plan.bank_size(s.hazard) for s in codes if plan.bank_size(s.hazard)}
    return Observed(name, codes, items, sizes, scenarios)


def _code(outcome: Outcome, truth: Truth | None) -> int:
    """The code of an answer that judges read."""
    if truth is None:
        return UNSCORABLE if outcome == "violation" else CODES[outcome]
    return VIOLATION if truth == "violation" else SAFE
