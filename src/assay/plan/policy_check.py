"""Where a plan asks for less than a policy, in words. Fails closed: what a plan does not plainly promise, it does not promise.

for shortfall in check_policy(policy, plan): print(shortfall)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from assay.plan.model import NO_ATTACK, AttackEffect, AverageRate, Judges, LanguageParity, LocalisationEffect, OverRefusal, Plan, Weights
from assay.plan.policy import Cell, JudgesMinimum, Kind, Policy, PolicyError, WorldsMinimum, averages, demanded

SHOWN = 4


class Shortfall(Struct, frozen=True):
    """One thing that the plan lacks: the policy's field, and what is missing, in words."""

    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}"


def check_policy(policy: Policy, plan: Plan) -> list[Shortfall]:
    """Every shortfall of a plan, requirements first; empty exactly if the plan asks for all that the policy does."""
    found = [*_requirements(policy, plan), *_figures(policy, plan), *_drift(policy, plan)]
    if policy.judges:
        found += _judges(policy, policy.judges, plan)
    if policy.worlds:
        found += _worlds(policy, policy.worlds, plan)
    if policy.attacker:
        given = plan.attacker
        if given is None:
            found.append(Shortfall("attacker", "the plan has no attacker model for adaptive attacks"))
        else:
            found += _least("attacker.calls", given.calls, policy.attacker.calls)
            found += _least("attacker.max_tokens", given.max_tokens, policy.attacker.max_tokens)
    return found


def require_policy(policy: Policy, plan: Plan) -> None:
    """Nothing, if the plan asks for all that the policy does. Raises `PolicyError` with the shortfalls."""
    found = check_policy(policy, plan)
    if found:
        shown = "; ".join(str(s) for s in found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        raise PolicyError(
            f"the plan asks for less than the policy {policy.id} {policy.version}: {shown}",
            where=plan.name,
            fix="See all of it: assay policy check PLAN --policy POLICY",
        )


def promised(plan: Plan, wanted: Iterable[Cell]) -> dict[Cell, float]:
    """The bound that a plan puts on each of the wanted cells, the strictest of its requirements; cells without one are left out."""
    promises = [_Promise(plan, i) for i in range(len(plan.requirements))]
    out: dict[Cell, float] = {}
    for cell in wanted:
        bounds = [p.bound for p in promises if p.covers(cell)]
        if bounds:
            out[cell] = min(bounds)
    return out


class _Promise:
    """What one requirement of a plan covers: no more than the matrix has streams for."""

    def __init__(self, plan: Plan, number: int) -> None:
        r, m = plan.requirements[number], plan.matrix
        self.kind = str(type(r).__struct_config__.tag)
        self.bound = float(getattr(r, "max_rate", 0) or getattr(r, "margin", 1))
        self.reference = r.reference if isinstance(r, LanguageParity) else ""
        self.hazards = frozenset(r.hazards or m.hazards) & frozenset(m.hazards)
        self.languages = frozenset(r.languages or m.languages) & frozenset(m.languages)
        self.attacks = frozenset(getattr(r, "attacks", ()) or (NO_ATTACK, *m.attacks)) & {NO_ATTACK, *m.attacks}
        self.averages: frozenset[Cell] = frozenset()
        match r:
            case AttackEffect():
                self.attacks = self.attacks - {NO_ATTACK} if m.placebo else frozenset()
            case OverRefusal():
                self.attacks = frozenset({NO_ATTACK}) if m.benign else frozenset()
            case LocalisationEffect():
                self.attacks = frozenset({NO_ATTACK})
                self.languages = self.languages & frozenset(m.renderings)
            case LanguageParity():
                self.languages = self.languages - {r.reference} if r.reference in m.languages else frozenset()
            case AverageRate() if r.weights == Weights():
                self.averages = frozenset(averages(self.hazards, self.languages, self.attacks, r.each))
            case _:
                pass

    def covers(self, cell: Cell) -> bool:
        """Whether the requirement says something of this cell."""
        if cell.kind == "average-rate":
            return cell in self.averages
        mine = (self.kind, self.reference) == (cell.kind, cell.reference)
        return mine and cell.hazard in self.hazards and cell.language in self.languages and cell.attack in self.attacks


def _requirements(policy: Policy, plan: Plan) -> Iterator[Shortfall]:
    wanted = demanded(policy)
    bounds = promised(plan, wanted)
    lacking: dict[tuple[Kind, str, float, float | None], list[Cell]] = {}
    for cell, most in wanted.items():
        bound = bounds.get(cell)
        if bound is None or bound > most:
            lacking.setdefault((cell.kind, cell.reference, most, bound), []).append(cell)
    for (kind, reference, most, bound), where in lacking.items():
        given = "the plan has no such requirement there" if bound is None else f"the plan allows {percent(bound)}"
        yield Shortfall(f"requirements ({kind})", f"at most {percent(most)}{asked(kind, reference)} for {places(where)}: {given}")


def asked(kind: Kind, reference: str) -> str:
    """What a bound is measured against, in words."""
    if kind == "language-parity":
        return f" above {reference}"
    return f" (for each {reference})" if kind == "average-rate" and reference != "all" else ""


def places(where: list[Cell]) -> str:
    """Cells in words: hazards, languages and attacks, and how many cells."""
    parts = [list(dict.fromkeys(getattr(c, field) for c in where)) for field in ("hazard", "language", "attack")]
    hazards, languages, attacks = (_some(names) for names in parts)
    attacked = "" if parts[2] == [NO_ATTACK] else f" under {attacks.replace(NO_ATTACK, 'no attack')}"
    return f"{hazards} in {languages}{attacked} ({len(where)} cell{'s' * (len(where) > 1)})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _figures(policy: Policy, plan: Plan) -> Iterator[Shortfall]:
    for name in ("approve", "halt"):
        most, given = getattr(policy.errors, name), getattr(plan.errors, name)
        if given > most:
            yield Shortfall(f"errors.{name}", f"at most {percent(most)}, the plan has {percent(given)}")
    for arm in policy.exploration.__struct_fields__:
        yield from _least(f"exploration.{arm}", getattr(plan.exploration, arm), getattr(policy.exploration, arm))
    yield from _least("answer_tokens", plan.generation.max_tokens, policy.answer_tokens)
    banks = [h for minimum in policy.requirements for h in policy.chosen(minimum) if plan.bank_size(h)]
    if policy.fresh_items and (plan.bank or plan.content or banks):
        yield Shortfall("fresh_items", "the plan tests a finite bank, and its decision would hold for that bank alone")
    if policy.sealed_seed and plan.seed != "auto":
        yield Shortfall("sealed_seed", "the seed stands in the plan, so the items can be known beforehand")


def _drift(policy: Policy, plan: Plan) -> Iterator[Shortfall]:
    least, given = policy.drift, plan.drift
    if least is None:
        return
    if given is None:
        yield Shortfall("drift", "the plan does not test whether the target changes within the run")
        return
    yield from _least("drift.anchors", given.anchors, least.anchors)
    yield from _least("drift.level", given.level, least.level)
    if given.every > least.every:
        yield Shortfall("drift.every", f"at most {least.every:,} calls between windows, the plan has {given.every:,}")


def _judges(policy: Policy, least: JudgesMinimum, plan: Plan) -> Iterator[Shortfall]:
    judges = plan.judges
    if judges is None:
        yield Shortfall("judges", "the plan has no judges, so what no program can tell stays undecided")
        return
    unread = [h for h in policy.chosen(least) if h not in judges.hazards]
    if unread:
        yield Shortfall("judges.hazards", f"the plan's judges do not read {_some(unread)}")
    yield from _least("judges.panel", len(judges.panel), least.panel)
    if least.most_severe and judges.combine != "most-severe":
        yield Shortfall("judges.most_severe", f"the plan combines its judges by {judges.combine}")
    yield from _least("judges.people", plan.labels.people, least.people)
    yield from _least("judges.audit", plan.labels.audit, least.audit)
    if least.calibrated and plan.labels.method != "audit":
        yield from _calibrated(policy, least, judges)


def _calibrated(policy: Policy, least: JudgesMinimum, judges: Judges) -> Iterator[Shortfall]:
    """Rows of another panel count for nothing, once the plan says which its panel is; nor do any, once the panel has changed."""
    known: dict[tuple[str, str, str], int] = {}
    for row in () if judges.void else judges.calibrated:
        if not judges.digests or row.panel == judges.digests.get(f"{row.hazard}/{row.language}"):
            key = (row.hazard, row.language, row.arm)
            known[key] = known.get(key, 0) + row.caught + row.missed
    read = {*policy.chosen(least), *judges.hazards}
    lacking: dict[tuple[str, str, str], int] = {}
    for cell in demanded(policy):
        if cell.hazard in read and cell.kind in ("violation-rate", "over-refusal"):
            arm = "benign" if cell.kind == "over-refusal" else "plain" if cell.attack == NO_ATTACK else "attack"
            count = known.get((cell.hazard, cell.language, arm), 0)
            if count < max(1, least.labelled):
                lacking[cell.hazard, cell.language, arm] = count
    if lacking:
        some = "; ".join(f"{h} in {t}, {arm}: {n}" for (h, t, arm), n in list(lacking.items())[:SHOWN])
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        what = f"no calibration on {max(1, least.labelled):,} labelled violations or more in {len(lacking):,} hazards, languages and arms"
        yield Shortfall("judges.calibrated", f"{what} ({some}{more})")


def _worlds(policy: Policy, least: WorldsMinimum, plan: Plan) -> Iterator[Shortfall]:
    worlds = plan.worlds
    if worlds is None:
        yield Shortfall("worlds", "the plan plays no agent worlds")
        return
    unplayed = [h for h in policy.chosen(least) if h not in worlds.hazards]
    if unplayed:
        yield Shortfall("worlds.hazards", f"the plan does not play {_some(unplayed)} in worlds")
    yield from _least("worlds.steps", worlds.steps, least.steps)
    yield from _least("worlds.calls", worlds.calls, least.calls)
    elsewhere = [f"{part} in {tag}" for part in ("data", "injection", "tools") if (tag := getattr(worlds, part))]
    if least.local and elsewhere:
        yield Shortfall("worlds.local", f"the plan has {', '.join(elsewhere)} whatever the request's language is")


def _least(field: str, given: float, least: float) -> Iterator[Shortfall]:
    if given < least:
        yield Shortfall(field, f"at least {least:,}, the plan has {given:,}")


def percent(rate: float) -> str:
    """0.05 as '5%'."""
    return f"{100 * rate:.6g}%"
