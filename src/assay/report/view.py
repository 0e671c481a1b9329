"""Run file -> everything the report shows, as frozen values; no markup, no clock.

view = make_view(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
view.front.word                  # "HALT"
view.matrix[0].rows[0].cells[0].violations
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from assay.decision import REGISTRATION, RequirementResult, Verdict, percent
from assay.evidence import Summary
from assay.evidence.statements import subject
from assay.ledger import Envelope
from assay.plan.title import title_of
from assay.report.caveats import limitations, unknowns
from assay.report.effects import EffectRow, effect_rows
from assay.report.explore import covered
from assay.report.heldout import bank_sentences
from assay.report.intervals import ClaimTable, FixedDesign, claim_tables, fixed_design
from assay.report.judges import JudgesView, make_judges
from assay.report.matrix import MatrixTable, heat_legend, matrix_tables
from assay.report.power import PowerCurve, power_curves
from assay.report.responses import HeardRow, IncidentRow, ReasonRow, ResponseRow, heard_rows, incident_rows, reason_rows, response_rows
from assay.report.tally import Tally, collect
from assay.report.transcripts import Transcript, transcripts
from assay.report.words import (
    ENDED,
    MEANING,
    REGISTRATION_WORDS,
    STATUS_WORD,
    SYMBOL,
    UNSIGNED,
    day_text,
    drift_words,
    halt_words,
    requirement_words,
    sentence,
    shortened,
    time_text,
)
from assay.report.worlds import WorldsView, make_worlds
from assay.runs import ReadRun
from assay.version import __version__

MAX_TITLE = 80


class RequirementView(Struct, frozen=True):
    """A requirement on the first page. `reason` is the signed decision's; `plain` says the same with names instead of tags."""

    id: str
    asks: str
    status: str
    symbol: str
    status_word: str
    reason: str
    plain: tuple[str, ...]


class Front(Struct, frozen=True):
    """The first page. `verdict` fails closed: an approval that no signed bundle supports is shown as `delay`."""

    verdict: Verdict
    word: str
    symbol: str
    meaning: str
    title: str
    target: str
    target_kind: str
    target_digest: str
    digest_note: str
    plan: str
    plan_digest: str
    about: str
    date: str
    requirements: tuple[RequirementView, ...]
    approve_error: str
    halt_error: str
    decided_at: int
    trials: int
    budget: int
    ended: str
    unknown: tuple[str, ...]


class Evidence(Struct, frozen=True):
    """What an outsider needs. `state`: `agrees`, `differs` or `none` says how the bundle stands to the run file."""

    bundle_name: str
    state: str
    keyid: str
    root: str
    items_digest: str
    plan_digest: str
    catalog_digest: str
    policy: str
    opened_at: str
    last_at: str
    opened_version: str
    version: str
    target: tuple[tuple[str, str], ...]
    models: tuple[tuple[str, int], ...]
    attempts: int


class View(Struct, frozen=True):
    """The whole report."""

    front: Front
    matrix: tuple[MatrixTable, ...]
    legend: tuple[str, ...]
    effects: tuple[EffectRow, ...]
    effect_base: str
    flagged: bool
    claims: tuple[ClaimTable, ...]
    power: tuple[PowerCurve, ...]
    fixed: FixedDesign
    responses: tuple[ResponseRow, ...]
    heard: tuple[HeardRow, ...]
    reasons: tuple[ReasonRow, ...]
    unscorable: int
    incidents: tuple[IncidentRow, ...]
    transcripts: tuple[Transcript, ...]
    worlds: WorldsView | None
    judges: JudgesView | None
    violations: int
    limitations: tuple[str, ...]
    evidence: Evidence


def make_view(run: ReadRun, *, summary: Summary | None, ended: str, bundle_name: str, tally: Tally | None = None) -> View:
    """Everything that is shown. The decision is recomputed from the run file; `summary` only says whether the bundle agrees.

    `tally` is the run's, if its trials were counted already.
    """
    tally = tally or collect(run)
    state = state_of(tally, summary)
    return View(
        front=make_front(tally, ended, signed=state == "agrees"),
        matrix=matrix_tables(tally),
        legend=heat_legend(),
        effects=effect_rows(tally),
        effect_base="placebo" if tally.opening.plan.matrix.placebo else "plain",
        flagged=bool(covered(tally)),
        claims=claim_tables(tally),
        power=power_curves(tally),
        fixed=fixed_design(tally),
        responses=response_rows(tally),
        heard=heard_rows(tally),
        reasons=reason_rows(tally),
        unscorable=tally.unscorable,
        incidents=incident_rows(run.incidents()),
        transcripts=transcripts(run, tally),
        worlds=make_worlds(run, tally),
        judges=make_judges(run, tally),
        violations=sum(c.violations for s, c in tally.streams.items() if not tally.in_world(s)),
        limitations=(*limitations(tally), *bank_sentences(tally.opening, run.incidents())),
        evidence=make_evidence(tally, state, bundle_name),
    )


def make_front(tally: Tally, ended: str, *, signed: bool) -> Front:
    """The first page; `signed` says whether a signed bundle agrees with the trials."""
    opening, decision = tally.opening, tally.gate.decision()
    plan, target = opening.plan, opening.target
    kind, digest = next(iter(subject(target)[0]["digest"].items()))
    note = "digest of the weights" if kind == "sha256" else "digest of the identity record; this target shows no digest of its weights"
    verdict: Verdict = "delay" if decision.verdict == "approve" and not signed else decision.verdict
    asked = [requirement_words(r, opening.catalog) for r in plan.requirements] + ([drift_words(plan.drift)] if plan.drift else [])
    asked += [REGISTRATION_WORDS for r in decision.requirements if r.kind == REGISTRATION]
    pairs = zip(asked, decision.requirements, strict=True)
    return Front(
        verdict=verdict,
        word=verdict.upper(),
        symbol=SYMBOL[verdict],
        meaning=MEANING[verdict] if verdict == decision.verdict else UNSIGNED,
        title=shortened(title_of(target), MAX_TITLE),
        target=title_of(target),
        target_kind=target.get("kind", ""),
        target_digest=f"sha256:{digest}",
        digest_note=note,
        plan=plan.name,
        plan_digest=plan.digest,
        about=plan.about.strip(),
        date=_dates(tally),
        requirements=tuple(_requirement(asks, result, tally) for asks, result in pairs),
        approve_error=percent(plan.errors.approve),
        halt_error=percent(plan.errors.halt),
        decided_at=decision.decided_at,
        trials=decision.trials,
        budget=plan.budget.calls,
        ended=ENDED.get(ended, sentence(f"the run ended: {ended}")),
        unknown=unknowns(tally),
    )


def _requirement(asks: str, result: RequirementResult, tally: Tally) -> RequirementView:
    halted = [c for c in tally.gate.claims if c.requirement == result.id and c.status == "halt"]
    return RequirementView(
        id=result.id,
        asks=asks,
        status=result.status,
        symbol=SYMBOL[result.status],
        status_word=STATUS_WORD[result.status],
        reason=sentence(result.reason),
        plain=tuple(halt_words(c, tally.opening.catalog) for c in halted),
    )


def _dates(tally: Tally) -> str:
    if not tally.trials:
        return day_text(_opened(tally)[0])
    first, last = day_text(tally.first_at), day_text(tally.last_at)
    return first if first == last else f"{first} to {last}"


def _opened(tally: Tally) -> tuple[int, str]:
    """When the run was registered, as Unix milliseconds, and by which version."""
    predicate = msgspec.json.decode(Envelope.from_json(tally.opening.opened).payload)["predicate"]
    return int(predicate["at"]), str(predicate["assayVersion"])


def make_evidence(tally: Tally, state: str, bundle_name: str) -> Evidence:
    """What an outsider needs; `state` is what `state_of` says."""
    opening = tally.opening
    at, version = _opened(tally)
    return Evidence(
        bundle_name=bundle_name,
        state=state,
        keyid=opening.public_key["keyid"],
        root=tally.recount.root,
        items_digest=tally.recount.items,
        plan_digest=opening.plan.digest,
        catalog_digest=opening.plan.catalog or opening.catalog.digest,
        policy=f"{policy.id} {policy.version}, {policy.digest}" if (policy := opening.policy) else "",
        opened_at=time_text(at),
        last_at=time_text(tally.last_at) if tally.last_at else "",
        opened_version=version,
        version=__version__,
        target=tuple(sorted(opening.target.items())),
        models=tuple(sorted(tally.models.items())),
        attempts=tally.attempts,
    )


def state_of(tally: Tally, summary: Summary | None) -> str:
    """How a bundle stands to the trials: `agrees`, `differs` or `none`."""
    if summary is None:
        return "none"
    same = summary.root == tally.recount.root and summary.items == tally.recount.items and summary.decision == tally.gate.decision()
    return "agrees" if same else "differs"
