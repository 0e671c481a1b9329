"""What must hold, claim by claim: each requirement is one claim per cell, per pair of streams or per average, each with its two tests.

Error rates. Approving needs every claim, so each is tested at the full registered level (an intersection-union test). Halting needs any
claim, so the registered level is shared: equally among requirements, then equally among a requirement's claims (Bonferroni). Each
claim's crossing is a statement about the whole path of its own stream, so it holds whatever the dependence between streams (items are
paired across languages and arms, and averages take the same trials as cells do) and whatever the order in which streams are served.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.judged_claims import JudgedRateClaim
from assay.decision.pair_claims import BankParityClaim, ParityClaim, SampledParityClaim
from assay.decision.rate_claims import AverageClaim, BankRateClaim, RateClaim, SampledRateClaim
from assay.plan import (
    NO_ATTACK,
    SOURCE,
    AttackEffect,
    AverageRate,
    Calibrated,
    Judges,
    LanguageParity,
    LocalisationEffect,
    OverRefusal,
    Plan,
    Requirement,
    Stream,
    ViolationRate,
    in_force,
    revived,
)
from assay.scenarios import Prf
from assay.stats import union_levels

Claim = RateClaim | ParityClaim | AverageClaim


def claims(plan: Plan, seed: bytes, calibrated: Sequence[Calibrated] = ()) -> list[Claim]:
    """Every claim of the plan, requirement by requirement. The run's seed draws the cells of averages; `calibrated` is what was learnt of
    the judges since the plan, and stands in the place of its rows.
    """
    groups = [_average_groups(r, plan) if isinstance(r, AverageRate) else _targets(r, plan) for r in plan.requirements]
    levels = union_levels(plan.errors.halt, [len(g) for g in groups]).tolist()
    out: list[Claim] = []
    for requirement, halt_level in zip(plan.requirements, levels, strict=True):
        match requirement:
            case AverageRate():
                prf = Prf(seed)
                for group, cells in _average_groups(requirement, plan):
                    pool = _rate(plan, requirement.id, cells[0], requirement.max_rate, halt_level, calibrated)
                    weights = tuple(requirement.weights.of(s) for s in cells)
                    out.append(AverageClaim(group, cells, weights, pool, prf, plan.samples))
            case LanguageParity() | AttackEffect() | LocalisationEffect():
                out += [_pair(plan, requirement.id, s, r, requirement.margin, halt_level) for s, r in _targets(requirement, plan)]
            case ViolationRate() | OverRefusal():
                out += [
                    _rate(plan, requirement.id, s, requirement.max_rate, halt_level, calibrated) for s, _ in _targets(requirement, plan)
                ]
    return out


def _rate(plan: Plan, requirement: str, stream: Stream, tau: float, halt_level: float, calibrated: Sequence[Calibrated]) -> RateClaim:
    approve_level = plan.errors.approve
    if plan.judges and stream.hazard in plan.judges.hazards and not plan.bank_size(stream.hazard):
        if plan.labels.method == "audit":
            return AuditedRateClaim(requirement, stream, tau, approve_level, halt_level, plan.labels.audit)
        return JudgedRateClaim(
            requirement, stream, tau, approve_level, halt_level,
            known=known_violations(plan.judges, stream, calibrated), share=plan.labels.share, expected=plan.labels.expected,
        )  # fmt: skip
    if size := plan.bank_size(stream.hazard):
        played = any(judge.target.kind == SOURCE for judge in (plan.judges.panel if plan.judges else ()))
        return BankRateClaim(requirement, stream, tau, approve_level, halt_level, size, waits=played)
    if plan.samples > 1:
        return SampledRateClaim(requirement, stream, tau, approve_level, halt_level, plan.samples)
    return RateClaim(requirement, stream, tau, approve_level, halt_level)


def _pair(plan: Plan, requirement: str, stream: Stream, reference: Stream, margin: float, halt_level: float) -> ParityClaim:
    approve_level = plan.errors.approve
    if size := plan.bank_size(stream.hazard):
        return BankParityClaim(requirement, stream, reference, margin, approve_level, halt_level, size)
    if plan.samples > 1:
        return SampledParityClaim(requirement, stream, reference, margin, approve_level, halt_level, plan.samples)
    return ParityClaim(requirement, stream, reference, margin, approve_level, halt_level)


def known_violations(judges: Judges, stream: Stream, later: Sequence[Calibrated] = ()) -> tuple[int, int]:
    """(caught, missed) of the plan's calibration for a stream: rows of this very panel, hazard, language and arm; others are expired.

    A calibration that is void stays so, also where it comes in again. Before the run opens the panel's digest is not known yet (`digests`
    is empty), and a forecast takes the rows at their word.
    """
    panel = judges.digests.get(f"{stream.hazard}/{stream.language}", "")

    def fits(row: Calibrated) -> bool:
        mine = (row.hazard, row.language, row.arm) == (stream.hazard, stream.language, stream.arm)
        return mine and (row.panel == panel or not judges.digests)

    again = revived(judges, later)
    rows = [row for row in later if fits(row) and row not in again] or [row for row in in_force(judges) if fits(row)]
    return sum(row.caught for row in rows), sum(row.missed for row in rows)


def _average_groups(requirement: AverageRate, plan: Plan) -> list[tuple[str, tuple[Stream, ...]]]:
    """(name, cells) of every average; cells of weight 0 are left out."""
    m = plan.matrix
    cells = [
        _cell(h, t, a)
        for a in (requirement.attacks or (NO_ATTACK, *m.attacks))
        for h in (requirement.hazards or m.hazards)
        for t in (requirement.languages or m.languages)
    ]
    groups: dict[str, list[Stream]] = {}
    for cell in cells:
        name = "" if requirement.each == "all" else str(getattr(cell, requirement.each))
        if requirement.weights.of(cell) > 0:
            groups.setdefault(name, []).append(cell)
    return [(name, tuple(group)) for name, group in groups.items()]


def _targets(requirement: Requirement, plan: Plan) -> list[tuple[Stream, Stream]]:
    """(stream, reference stream) per claim; for rates the two are the same."""
    m = plan.matrix
    hazards = requirement.hazards or m.hazards
    languages = requirement.languages or m.languages
    match requirement:
        case AttackEffect():
            chosen = [_cell(h, t, a) for a in (requirement.attacks or m.attacks) for h in hazards for t in languages]
            return [(s, Stream(s.hazard, s.language, s.attack, "placebo")) for s in chosen]
        case OverRefusal():
            chosen = [Stream(h, t, NO_ATTACK, "benign") for h in hazards for t in languages]
            return [(s, s) for s in chosen]
        case LocalisationEffect():
            rendered = [t for t in languages if t in m.renderings]
            return [(Stream(h, t, NO_ATTACK, "adapted"), Stream(h, t, NO_ATTACK, "literal")) for h in hazards for t in rendered]
        case ViolationRate() | AverageRate():
            chosen = [_cell(h, t, a) for a in (requirement.attacks or (NO_ATTACK, *m.attacks)) for h in hazards for t in languages]
            return [(s, s) for s in chosen]
        case LanguageParity():
            return [
                (_cell(h, t, a), _cell(h, requirement.reference, a))
                for a in (requirement.attacks or (NO_ATTACK, *m.attacks))
                for h in hazards
                for t in languages
                if t != requirement.reference
            ]


def _cell(hazard: str, language: str, attack: str) -> Stream:
    return Stream(hazard, language, attack, "plain" if attack == NO_ATTACK else "attack")
