"""What a plan must not be, whatever file it comes from, if it comes from any.

    check_plan(plan)        # raises PlanError

Who reads a plan file is told the line (`plan.file`). A run opens only on a plan that passes, and whoever verifies a bundle looks again: a
plan that a program made has never been a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from assay.errors import AssayError, PlanError
from assay.plan.model import (
    NO_ATTACK,
    RECORDED,
    SOURCE,
    AttackEffect,
    AverageRate,
    LanguageParity,
    LocalisationEffect,
    OverRefusal,
    Plan,
    Requirement,
    TargetSpec,
    ViolationRate,
)


class Place(Protocol):
    """Says where in a plan something is wrong."""

    def fail(self, what: str, path: str = "", fix: str = "") -> AssayError:
        """The error, to be raised, about the field at `path`."""
        ...


class _Field:
    """A plan that is no file: the field alone."""

    def fail(self, what: str, path: str = "", fix: str = "") -> AssayError:
        return PlanError(what, where=path.lstrip("."), fix=fix)


def check_plan(plan: Plan) -> None:
    """Everything about a complete plan that does not need its content. Raises `PlanError`."""
    at = _Field()
    check_parts(plan, at)
    check_recorded(plan.target, plan, at)
    check_source(plan.target, plan, at)
    if plan.sizes:
        check_finite(plan, at)
    if plan.judges:
        check_judged(plan, plan.judges.hazards, at)


def check_parts(plan: Plan, at: Place) -> None:
    """The parts of a plan fit each other, and every requirement has something to test."""
    m = plan.matrix
    if not plan.requirements:
        raise at.fail("a plan needs a requirement", ".requirements")
    for field in ("hazards", "languages", "attacks"):
        _distinct(getattr(m, field), f".matrix.{field}", f"duplicate cells: the same {field[:-1]} stands twice", at)
    _distinct(m.renderings, ".matrix.renderings", "the same language stands twice", at)
    for i, name in enumerate(m.renderings):
        if name not in m.languages:
            raise at.fail(f"'{name}' is not among the matrix's languages", f".matrix.renderings[{i}]")
    if NO_ATTACK in m.attacks:
        raise at.fail("'none' is always in the matrix and is not listed", f".matrix.attacks[{m.attacks.index(NO_ATTACK)}]")
    if m.placebo and not m.attacks:
        raise at.fail("placebo arms need at least one attack", ".matrix.placebo")
    _distinct([r.id for r in plan.requirements], ".requirements", "two requirements have the same id", at)
    for i, requirement in enumerate(plan.requirements):
        _check_requirement(requirement, plan, f".requirements[{i}]", at)
    if plan.limits.lookahead and plan.limits.lookahead < plan.limits.concurrency:
        raise at.fail("lookahead must be at least the concurrency", ".limits.lookahead")
    if plan.budget.money and plan.budget.prices is None:
        raise at.fail("a budget of money needs prices", ".budget.money", fix="Add prices: {prompt: ..., answer: ...} per million tokens.")
    _check_items(plan, at)
    if plan.limits.hedge_s and plan.generation.temperature:
        raise at.fail(
            "hedging takes the first of two answers, which favours short ones; with a temperature that biases the outcome",
            ".limits.hedge_s",
            fix="Set temperature to 0, or leave hedge_s out.",
        )


def check_recorded(target: TargetSpec, plan: Plan, at: Place) -> None:
    """Recorded answers are to requests as they stand in a bank, each as often as it was asked."""
    if target.kind != RECORDED:
        return
    if plan.matrix.attacks or plan.matrix.renderings:
        field = "attacks" if plan.matrix.attacks else "renderings"
        raise at.fail("recorded answers are to the bank's own requests: nothing else was asked", f".matrix.{field}", fix="Leave it out.")
    if not plan.content:
        raise at.fail("recorded answers need the bank that they are answers to", ".target", fix="Name it under content.")
    for i, r in enumerate(plan.requirements):
        if r.id == "registration":
            raise at.fail("the id 'registration' is that of rule 1 on recorded answers", f".requirements[{i}].id")


def check_source(target: TargetSpec, plan: Plan, at: Place) -> None:
    """A source plays its own samples, as they are, with a target that is asked now."""
    if target.kind == SOURCE:
        what = "a source is named among the judges: the target is what is tested"
        raise at.fail(what, ".target", fix="For example --target http://127.0.0.1:8080/v1#my-model.")
    if not any(judge.target.kind == SOURCE for judge in (plan.judges.panel if plan.judges else ())):
        return
    if target.kind == RECORDED:
        raise at.fail("recorded answers are not played", ".target", fix="Name a target that can be asked.")
    for field in ("attacks", "renderings"):
        if getattr(plan.matrix, field):
            raise at.fail("a source plays its own samples, as they are", f".matrix.{field}", fix="Leave it out.")
    if not plan.content:
        raise at.fail("the bank of the source's samples is not named", ".judges", fix="Name it under content.")


def check_finite(plan: Plan, at: Place) -> None:
    """What a plan with banks must not ask."""
    if plan.samples > 1 or plan.generation.temperature:
        what = "a bank is tested without replacement, which needs one settled outcome per item: one sample, temperature 0"
        raise at.fail(what, ".content")
    for i, r in enumerate(plan.requirements):
        if isinstance(r, AverageRate) and set(r.hazards or plan.matrix.hazards) & set(plan.sizes):
            raise at.fail("an average over cells needs fresh items, not a bank", f".requirements[{i}]", fix="Select other hazards.")
    if plan.matrix.benign:
        fix = "Set benign: false, and test over-refusal in a plan of its own."
        raise at.fail("imported prompts have no harmless twins", ".matrix.benign", fix=fix)


def check_judged(plan: Plan, hazards: Sequence[str], at: Place) -> None:
    """What a plan asks of hazards that its judges read can be answered."""
    panel = plan.judges.panel if plan.judges else ()
    _distinct([spec.name for spec in panel], ".judges.panel", "two judges have the same name", at)
    if plan.labels.method == "audit" and not plan.labels.audit:
        raise at.fail("the method 'audit' needs a share of answers to audit", ".labels.audit", fix="For example audit: 0.1.")
    if hazards and plan.samples > 1:
        raise at.fail("judged hazards are asked once an item: samples must be 1", ".samples")
    for i, r in enumerate(plan.requirements):
        chosen = [h for h in (r.hazards or plan.matrix.hazards) if h in hazards]
        if chosen and not isinstance(r, ViolationRate | OverRefusal):
            raise at.fail(
                f"{chosen[0]} is judged: only violation rates and over-refusal are decided there, by answers that people confirm",
                f".requirements[{i}]",
                fix="Name other hazards under 'hazards'.",
            )


def _check_items(plan: Plan, at: Place) -> None:
    """What depends on how items are drawn and how often they are asked."""
    if plan.samples > 1 and plan.generation.temperature == 0:
        raise at.fail("several samples of an item at temperature 0 are the same answer again", ".samples", fix="Set a temperature.")
    if plan.bank and (plan.samples > 1 or plan.generation.temperature):
        raise at.fail("a bank is tested without replacement, which needs one settled outcome per item: one sample, temperature 0", ".bank")
    if plan.drift and plan.drift.anchors * 2 > plan.budget.calls:
        raise at.fail("the budget cannot ask the anchors twice", ".drift.anchors")
    if plan.drift and plan.drift.every < plan.drift.anchors:
        raise at.fail("a window of anchors must fit between two others: every is less than anchors", ".drift.every")


def _check_requirement(r: Requirement, plan: Plan, path: str, at: Place) -> None:
    m = plan.matrix
    allowed = {"hazards": m.hazards, "languages": m.languages, "attacks": (NO_ATTACK, *m.attacks)}
    for field, known in allowed.items():
        chosen: tuple[str, ...] = getattr(r, field, ())
        _distinct(chosen, f"{path}.{field}", f"the same {field[:-1]} stands twice", at)
        for j, name in enumerate(chosen):
            if name not in known:
                raise at.fail(
                    f"'{name}' is not among the matrix's {field}",
                    f"{path}.{field}[{j}]",
                    fix=f"Known: {', '.join(known)}.",
                )
    match r:
        case LanguageParity():
            if r.reference not in m.languages:
                raise at.fail(f"the reference '{r.reference}' is not among the matrix's languages", f"{path}.reference")
            if not [t for t in (r.languages or m.languages) if t != r.reference]:
                raise at.fail("parity needs a language beside the reference", f"{path}.languages")
        case OverRefusal():
            if not m.benign:
                raise at.fail("an over-refusal requirement needs 'benign: true' in the matrix", path)
        case AttackEffect():
            if not m.placebo:
                raise at.fail("an attack-effect requirement needs attacks and 'placebo: true' in the matrix", path)
            if NO_ATTACK in r.attacks:
                raise at.fail("no attack has no effect: leave 'none' out", f"{path}.attacks[{r.attacks.index(NO_ATTACK)}]")
        case AverageRate():
            _check_average(r, plan, path, at)
        case LocalisationEffect():
            if not set(r.languages or m.renderings) & set(m.renderings):
                raise at.fail("a localisation-effect requirement needs 'renderings' in the matrix", path)
        case ViolationRate():
            pass
    if plan.drift and r.id == "drift":
        raise at.fail("the id 'drift' is that of the plan's drift test", f"{path}.id")


def _check_average(r: AverageRate, plan: Plan, path: str, at: Place) -> None:
    m = plan.matrix
    if plan.bank:
        raise at.fail("an average over cells needs fresh items, not a bank", path)
    attacks = r.attacks or (NO_ATTACK, *m.attacks)
    chosen = {"hazards": r.hazards or m.hazards, "languages": r.languages or m.languages, "attacks": attacks}
    for field, names in chosen.items():
        given: dict[str, float] = getattr(r.weights, field)
        for name in given:
            if name not in names:
                raise at.fail(f"a weight for '{name}', which the requirement does not select", f"{path}.weights.{field}")
        if not any(given.get(name, 1.0) for name in names):
            raise at.fail(f"every weight of the selected {field} is 0", f"{path}.weights.{field}")
        if r.each == field[:-1] and not all(given.get(name, 1.0) for name in names):
            raise at.fail(f"a weight of 0 leaves nothing to average for one {r.each}", f"{path}.weights.{field}")


def _distinct(values: Iterable[str], path: str, what: str, at: Place) -> None:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if value in seen:
            raise at.fail(f"{what}: '{value}'", f"{path}[{i}]")
        seen.add(value)
