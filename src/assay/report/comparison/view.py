"""Signed runs -> everything that a comparison shows, as frozen values; no markup, no clock, no words.

    view = comparison_view(read_sources([Path("runs/v1"), Path("runs/v2")]), margin=0.05, error=0.05, floor=0.01)
    view.verdict, view.rises[0].changes[0].low, view.requirements[0].turn

The last run is compared with the one before it, or with the first. Only what was signed is read, so two parties see the same page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from assay.decision import ClaimResult, Comparison, History, Observed, RequirementResult, Verdict, over_time
from assay.decision.codes import VIOLATION
from assay.errors import EvidenceError
from assay.plan import ErrorRates, Requirement, Stream, streams
from assay.report.comparison.changes import Change, Group, changes, grouped
from assay.report.comparison.identity import IdentityRow, PlanDifference, identity_rows, name, plan_differences
from assay.report.comparison.parties import Agreement, agreements
from assay.report.comparison.together import Together, together
from assay.report.matrix import LanguageName, language_name
from assay.report.observed import observed_of
from assay.report.sources import Source

Turn = Literal["lost", "won", "same", "other", "apart"]


class RunSide(Struct, frozen=True):
    """One run beside the others."""

    letter: str
    name: str
    model: str
    plan: str
    verdict: Verdict
    trials: int
    closed_at: int
    bundle: str


class RequirementRow(Struct, frozen=True):
    """One requirement in every run: None where a plan has none of this name and kind.

    `turn` speaks of the two runs compared: `lost` was shown to hold and is now shown not to, `won` the other way round, `other` is any
    other difference, `apart` where the plans ask different things. `worst` is the cell that halted most clearly in the run where it does
    not hold; `halted` counts those cells. `errors` are the registered ones of the holding and of the halting verdict.
    """

    id: str
    kind: str
    results: tuple[RequirementResult | None, ...]
    turn: Turn
    halted: int
    claims: int
    worst: Stream | None
    older: tuple[int, int]
    newer: tuple[int, int]
    errors: tuple[float, float]


class CellRow(Struct, frozen=True):
    """One stream in every run: (violations, trials), None where a run has none; and the change, where both runs compared have it."""

    stream: Stream
    sides: tuple[tuple[int, int] | None, ...]
    change: Change | None


class ComparisonView(Struct, frozen=True):
    """The whole comparison. `pair` are the places of the two runs compared, older first; `history` names runs by their letters."""

    runs: tuple[RunSide, ...]
    pair: tuple[int, int]
    margin: float
    error: float
    floor: float
    comparison: Comparison
    changes: tuple[Change, ...]
    rises: tuple[Group, ...]
    falls: tuple[Group, ...]
    together: tuple[Together, ...]
    requirements: tuple[RequirementRow, ...]
    cells: tuple[CellRow, ...]
    identity: tuple[IdentityRow, ...]
    differences: tuple[PlanDifference, ...]
    agreements: tuple[Agreement, ...]
    history: History | None
    languages: dict[str, LanguageName]
    hazards: dict[str, str]
    judged: bool
    banked: bool

    @property
    def verdict(self) -> Verdict:
        """`halt` if any cell is shown to be worse by more than the margin, `approve` if every cell is shown not to be, else `delay`."""
        return self.comparison.verdict

    @property
    def older(self) -> RunSide:
        """The run that is compared against."""
        return self.runs[self.pair[0]]

    @property
    def newer(self) -> RunSide:
        """The run that is asked about."""
        return self.runs[self.pair[1]]

    @property
    def evidence(self) -> tuple[str, str]:
        """The bundles that the comparison of the two rests on."""
        return self.older.bundle, self.newer.bundle


def comparison_view(sources: Sequence[Source], margin: float, error: float, floor: float, *, first: bool = False) -> ComparisonView:
    """All that is shown of 2 to 26 runs, oldest first. `margin` is how much worse is too much, `error` the chance of a wrong word in each
    direction, `floor` the rate below which a cell has nothing more to show. With `first` the last run is held against the first one.
    Raises `EvidenceError` for fewer than two runs, ValueError for rates out of range.
    """
    if not (0 <= margin < 1 and 0 < error <= 0.5 and 0 < floor < 1):
        raise ValueError("margin, error or floor is out of range")
    if len(sources) < 2:
        raise EvidenceError("there is nothing to compare it with", fix="Give two runs or more, oldest first.")
    observed = {s.letter: observed_of(s) for s in sources}
    older, newer = (0 if first else len(sources) - 2), len(sources) - 1
    found = changes(observed[sources[older].letter], observed[sources[newer].letter], margin, ErrorRates(error, error))
    everything = tuple(observed[s.letter] for s in sources)
    return ComparisonView(
        runs=tuple(_side(s) for s in sources),
        pair=(older, newer),
        margin=margin,
        error=error,
        floor=floor,
        comparison=found.comparison,
        changes=found.changes,
        rises=grouped(found.changes, "rose"),
        falls=grouped(found.changes, "fell"),
        together=together(
            (sources[older].tally.opening.plan, sources[newer].tally.opening.plan),
            (everything[older], everything[newer]),
            error,
            sources[older].bundle + sources[newer].bundle,
        ),
        requirements=_requirements(sources, (sources[older], sources[newer]), (everything[older], everything[newer])),
        cells=_cells(sources, {c.stream: c for c in found.changes}, {s.letter: o.codes for s, o in zip(sources, everything, strict=True)}),
        identity=identity_rows(sources),
        differences=plan_differences(sources),
        agreements=agreements(sources, observed, margin, error),
        history=over_time(everything, floor=floor) if len(sources) > 2 else None,
        languages={tag: _safe(language_name(s.tally.opening.catalog, tag)) for s in sources for tag in s.tally.opening.catalog.languages},
        hazards={id_: name(hazard.title) for s in sources for id_, hazard in s.tally.opening.catalog.hazards.items()},
        judged=any(s.tally.opening.plan.judges is not None for s in sources),
        banked=any(run.sizes for run in everything),
    )


def _safe(language: LanguageName) -> LanguageName:
    return LanguageName(name(language.native), name(language.english), language.tag)


def _side(source: Source) -> RunSide:
    signed = source.signed
    return RunSide(
        letter=source.letter,
        name=name(source.name),
        model=name(source.model),
        plan=source.tally.opening.plan.name,
        verdict=signed.decision.verdict,
        trials=signed.decision.trials,
        closed_at=signed.closed_at,
        bundle=source.bundle,
    )


def _cells(
    sources: Sequence[Source], found: dict[Stream, Change], codes: dict[str, dict[Stream, list[int]]]
) -> tuple[CellRow, ...]:  # fmt: skip
    asked = dict.fromkeys(s for source in reversed(sources) for s in streams(source.tally.opening.plan) if s.arm != "anchor")
    rows = []
    for stream in asked:
        sides: list[tuple[int, int] | None] = []
        for source in sources:
            own = codes[source.letter].get(stream)
            sides.append((own.count(VIOLATION), len(own)) if own else None)
        if any(sides):
            rows.append(CellRow(stream, tuple(sides), found.get(stream)))
    return tuple(rows)


def _requirements(
    sources: Sequence[Source], pair: tuple[Source, Source], observed: tuple[Observed, Observed]
) -> tuple[RequirementRow, ...]:  # fmt: skip
    results = [{(r.id, r.kind): r for r in s.signed.decision.requirements} for s in sources]
    asked = dict.fromkeys(key for each in reversed(results) for key in each)
    return tuple(_requirement(key, tuple(each.get(key) for each in results), sources, pair, observed) for key in asked)


def _requirement(
    key: tuple[str, str], results: tuple[RequirementResult | None, ...], sources: Sequence[Source], pair: tuple[Source, Source],
    observed: tuple[Observed, Observed],
) -> RequirementRow:  # fmt: skip
    older, newer = pair
    before, now = (next(r for s, r in zip(sources, results, strict=True) if s is side) for side in (older, newer))
    turn: Turn = "apart"
    if before and now and _asked(older, key[0]) == _asked(newer, key[0]):
        turns: dict[tuple[str, str], Turn] = {("approve", "halt"): "lost", ("halt", "approve"): "won"}
        turn = turns.get((before.status, now.status), "same" if before.status == now.status else "other")
    failing = now if now and now.status == "halt" else before if before and before.status == "halt" else None
    halted = [c for c in failing.claims if c.status == "halt"] if failing else []
    cells = {s.key: s for s in newer.tally.streams}
    single = [c for c in halted if len(c.streams) == 1 and c.streams[0] in cells and c.counts.get("n")]
    worst = max(single, key=lambda c: _events(c) / c.counts["n"], default=None)
    stream = cells[worst.streams[0]] if worst else None
    counts = [side.counts(stream) if stream else (0, 0) for side in observed]
    plans = older.tally.opening.plan.errors, newer.tally.opening.plan.errors
    if turn == "won":
        plans = plans[1], plans[0]
    return RequirementRow(
        id=key[0], kind=key[1], results=results, turn=turn, halted=len(halted), claims=len(failing.claims) if failing else 0, worst=stream,
        older=counts[0], newer=counts[1], errors=(plans[0].approve, plans[1].halt),
    )  # fmt: skip


def _events(claim: ClaimResult) -> int:
    """What a claim counts: of what judges read, the violations that people confirmed."""
    counts = claim.counts
    return counts.get("confirmed", counts.get("violations", 0)) + counts.get("confirmed_audited", 0)


def _asked(source: Source, id_: str) -> tuple[Requirement | None, object]:
    """What is asked, and of which cells."""
    plan = source.tally.opening.plan
    return next((r for r in plan.requirements if r.id == id_), None), (plan.matrix, plan.drift)
