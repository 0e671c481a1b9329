"""Plan files: read, check, complete.

plan, catalog = read_plan("quick")
plan, catalog = read_plan("my-plan.yaml")
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from assay.catalog import Catalog, Located, load_catalog
from assay.errors import AssayError, CatalogError, PlanError
from assay.plan.address import ADDRESS_FIX, address_fault
from assay.plan.calibration import read_calibration
from assay.plan.held_out import check_held_out, read_content
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
    Worlds,
)

BUILTIN = Path(__file__).parent / "builtin"


def builtin_plans() -> list[str]:
    """Names of the plans that ship with Assay."""
    return sorted(p.stem for p in BUILTIN.glob("*.yaml"))


def plan_path(name: str) -> Path:
    """The file of a built-in plan's name or of a path. Raises `PlanError`."""
    path = Path(name)
    if name in builtin_plans() and not path.is_file():
        return BUILTIN / f"{name}.yaml"
    if not path.is_file():
        raise PlanError(
            f"there is no plan file '{name}'",
            fix=f"Give a path, or one of the built-in plans: {', '.join(builtin_plans())}.",
        )
    return path


def read_plan(name: str, target: TargetSpec | None = None, *, registered: Catalog | None = None) -> tuple[Plan, Catalog]:
    """The plan of a file or built-in name, checked, with the content it refers to and that content's digest filled in.

    `target` replaces the plan's own. For a run that goes on, `registered` is its content: it says which items of sealed banks were live.
    Raises `PlanError` or `CatalogError`.
    """
    path = plan_path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PlanError(f"cannot read the plan: {e}", where=str(path)) from None
    where = str(path) if path.parent != BUILTIN else f"{name} (built in)"
    return parse_plan(text, where=where, target=target, registered=registered)


def content_paths(name: str, plan: Plan) -> tuple[Path, ...]:
    """Where the banks of a plan are that was read by this name."""
    return tuple(_beside(str(plan_path(name)), given) for given in plan.content)


def parse_plan(
    text: str, *, where: str, target: TargetSpec | None = None, registered: Catalog | None = None
) -> tuple[Plan, Catalog]:  # fmt: skip
    """As `read_plan`, from text."""
    located = Located(text, where=where, error=PlanError)
    plan = located.convert(Plan)
    if plan.sizes:
        raise located.fail("the sizes of banks are read from the banks", ".sizes", fix="Leave it out.")
    if plan.worlds and plan.worlds.hazards:
        raise located.fail("the hazards that are played in worlds are read from the catalogue", ".worlds.hazards", fix="Leave it out.")
    if plan.judges and (plan.judges.hazards or plan.judges.digests or plan.judges.calibrated or plan.judges.void):
        raise located.fail("hazards, digests, calibrated and void are filled in by Assay", ".judges", fix="Leave them out.")
    _check(plan, located)
    _check_addresses(target or plan.target, plan, located)
    _check_recorded(target or plan.target, plan, located)
    _check_source(target or plan.target, plan, located)
    told_in = (plan.worlds.data, plan.worlds.injection, plan.worlds.tools) if plan.worlds else ()
    try:
        banks = [read_content(_beside(where, name), registered) for name in plan.content]
        beside = list(dict.fromkeys(t for t in told_in if t and t not in plan.matrix.languages))
        catalog = load_catalog(
            plan.matrix.hazards,
            plan.matrix.languages,
            attacks=plan.matrix.attacks,
            banks=banks,
            beside=beside,
            judged=plan.judges is not None,
        )
    except CatalogError as e:
        raise _place(e, plan, located) from None
    plan = msgspec.structs.replace(plan, sizes={h.id: len(h.scenarios) for h in catalog.hazards.values() if h.finite})
    if plan.sizes:
        _check_finite(plan, located)
    plan = _with_worlds(plan, catalog, located)
    plan, catalog = with_judged(plan, catalog, located, where)
    check_held_out(plan, catalog, target or plan.target, located)
    for i, attack in enumerate(plan.matrix.attacks):
        _check_attack(attack, f".matrix.attacks[{i}]", plan, catalog, located)
    for i, tag in enumerate(plan.matrix.renderings):
        lacking = [h for h in plan.matrix.hazards if not catalog.texts[h][tag].literal]
        if lacking:
            raise located.fail(f"no literal renderings in {tag} for {', '.join(lacking)} yet", f".matrix.renderings[{i}]")
    if plan.catalog and plan.catalog != catalog.digest:
        raise located.fail(
            f"the plan was written for other content ({plan.catalog[:19]}...; installed: {catalog.digest[:19]}...)",
            ".catalog",
        )
    plan = msgspec.structs.replace(plan, catalog=catalog.digest, target=target or plan.target)
    return plan, catalog


def _with_worlds(plan: Plan, catalog: Catalog, located: Located) -> Plan:
    """The plan with the hazards that are played in worlds; nothing else of the plan depends on the catalogue."""
    played = tuple(h.id for h in catalog.hazards.values() if h.check == "world")
    if not played:
        if plan.worlds:
            raise located.fail("none of the matrix's hazards is played in a world", ".worlds", fix="Leave it out.")
        return plan
    for i, attack in enumerate(plan.matrix.attacks):
        if any(part in catalog.kinds and catalog.kinds[part].family in ("strategy", "turns") for part in attack.split("+")):
            what = f"'{attack}' rewrites a conversation and cannot be planted in a world ({', '.join(played)})"
            raise located.fail(what, f".matrix.attacks[{i}]", fix="Give those hazards a plan of their own.")
    return msgspec.structs.replace(plan, worlds=msgspec.structs.replace(plan.worlds or Worlds(), hazards=played))


def with_judged(plan: Plan, catalog: Catalog, located: Located, where: str) -> tuple[Plan, Catalog]:
    """The plan with the hazards that its judges read and with its calibration, whose anchors belong to the content."""
    judges = plan.judges
    if judges is None:
        return plan, catalog
    hazards = tuple(h.id for h in catalog.hazards.values() if h.check == "none")
    if not hazards and not (judges.episodes and plan.worlds):
        raise located.fail("none of the matrix's hazards needs a judge", ".judges", fix="Leave it out.")
    _distinct([j.name for j in judges.panel], ".judges.panel", "two judges have the same name", located)
    for i, spec in enumerate(judges.panel):
        for hazard in hazards:
            for tag in plan.matrix.languages if spec.rubric == "item" else ("en",):
                try:
                    catalog.rubric(hazard, tag)
                except KeyError:
                    raise located.fail(f"the rubric of {hazard} is not written in {tag}", f".judges.panel[{i}].rubric") from None
    if plan.labels.method == "audit" and not plan.labels.audit:
        raise located.fail("the method 'audit' needs a share of answers to audit", ".labels.audit", fix="For example audit: 0.1.")
    if hazards and plan.samples > 1:
        raise located.fail("judged hazards are asked once an item: samples must be 1", ".samples")
    for i, r in enumerate(plan.requirements):
        chosen = [h for h in (r.hazards or plan.matrix.hazards) if h in hazards]
        if chosen and not isinstance(r, ViolationRate | OverRefusal):
            raise located.fail(
                f"{chosen[0]} is judged: only violation rates and over-refusal are decided there, by answers that people confirm",
                f".requirements[{i}]",
                fix="Name other hazards under 'hazards'.",
            )
    if not judges.calibration:
        return msgspec.structs.replace(plan, judges=msgspec.structs.replace(judges, hazards=hazards)), catalog
    calibration = read_calibration(_beside(where, judges.calibration))
    judges = msgspec.structs.replace(judges, hazards=hazards, calibrated=calibration.rows)
    return msgspec.structs.replace(plan, judges=judges), msgspec.structs.replace(catalog, anchors=calibration.anchors)


def _check_attack(attack: str, path: str, plan: Plan, catalog: Catalog, located: Located) -> None:
    """Every part is known, has a meaning in every language's script, and has its words there."""
    languages = [catalog.languages[t] for t in plan.matrix.languages]
    for part in attack.split("+"):
        kind = catalog.kinds.get(part)
        if kind is None:
            known = [a for a, k in catalog.kinds.items() if all(k.fits(t) for t in languages)]
            raise located.fail(f"unknown attack '{part}'", path, fix=f"Known in these languages: {', '.join(sorted(known))}.")
        unfit = [t.tag for t in languages if not kind.fits(t)]
        if unfit:
            what = f"attack '{part}' has no meaning in the script of {', '.join(unfit)}"
            raise located.fail(what, path, fix="Give those languages a plan of their own.")
        if kind.words == "recorded":
            _check_recorded_attack(attack, part, path, plan, catalog, located)
            continue
        without = [t.tag for t in languages if kind.words != "none" and part not in catalog.attacks[t.tag].attacks]
        if without:
            raise located.fail(f"attack '{part}' has no words yet in {', '.join(without)}", path)
    parts = attack.split("+")
    if any(catalog.kinds[p].family == "strategy" for p in parts):
        if len(parts) > 1:
            raise located.fail("a strategy stands alone", path)
        if plan.attacker is None and attack != "best-of-n":
            raise located.fail(f"'{attack}' needs an attacker model", path, fix="Add attacker: {target: {kind: ..., model: ...}}.")
    if any(catalog.kinds[p].words == "turns" for p in parts[:-1]):
        raise located.fail("an attack over two turns comes last", path)
    if len(set(parts)) < len(parts):
        raise located.fail("the same attack twice", path)


def _check_recorded_attack(attack: str, part: str, path: str, plan: Plan, catalog: Catalog, located: Located) -> None:
    """An attack that stands in a bank is on the texts of that bank, and on no others."""
    lacking = [h for h in plan.matrix.hazards if any(part not in catalog.texts[h][t].attacked for t in plan.matrix.languages)]
    if lacking:
        what = f"the attack '{part}' stands in a bank, and {', '.join(lacking)} does not have it"
        raise located.fail(what, path, fix="Give those hazards a plan of their own.")
    if attack.split("+")[0] != part:
        raise located.fail(f"'{part}' was put on the bank's own texts: it comes first", path)


def _place(e: CatalogError, plan: Plan, located: Located) -> AssayError:
    """Say on which line of the plan the unknown name stands."""
    for field, names in (("hazards", plan.matrix.hazards), ("languages", plan.matrix.languages)):
        for i, name in enumerate(names):
            if f"unknown {field[:-1]} '{name}'" in e.what:
                return located.fail(e.what, f".matrix.{field}[{i}]", fix=e.fix)
    return e


def _check(plan: Plan, at: Located) -> None:
    m = plan.matrix
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


def _check_addresses(target: TargetSpec, plan: Plan, at: Located) -> None:
    """No address of a model holds a password."""
    specs = [(".target", target)]
    specs += [(".attacker.target", plan.attacker.target)] if plan.attacker else []
    specs += [(f".judges.panel[{i}].target", judge.target) for i, judge in enumerate(plan.judges.panel if plan.judges else ())]
    for path, spec in specs:
        if fault := address_fault(spec):
            raise at.fail(fault, path, fix=ADDRESS_FIX)


def _check_recorded(target: TargetSpec, plan: Plan, at: Located) -> None:
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


def _check_source(target: TargetSpec, plan: Plan, at: Located) -> None:
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


def _beside(where: str, name: str) -> Path:
    """A bank file's path, which a plan gives from its own folder."""
    return Path(name) if Path(name).is_absolute() else Path(where).parent / name


def _check_finite(plan: Plan, at: Located) -> None:
    if plan.samples > 1 or plan.generation.temperature:
        what = "a bank is tested without replacement, which needs one settled outcome per item: one sample, temperature 0"
        raise at.fail(what, ".content")
    for i, r in enumerate(plan.requirements):
        if isinstance(r, AverageRate) and set(r.hazards or plan.matrix.hazards) & set(plan.sizes):
            raise at.fail("an average over cells needs fresh items, not a bank", f".requirements[{i}]", fix="Select other hazards.")
    if plan.matrix.benign:
        fix = "Set benign: false, and test over-refusal in a plan of its own."
        raise at.fail("imported prompts have no harmless twins", ".matrix.benign", fix=fix)


def _check_items(plan: Plan, at: Located) -> None:
    """What depends on how items are drawn and how often they are asked."""
    if plan.samples > 1 and plan.generation.temperature == 0:
        raise at.fail("several samples of an item at temperature 0 are the same answer again", ".samples", fix="Set a temperature.")
    if plan.bank and (plan.samples > 1 or plan.generation.temperature):
        raise at.fail("a bank is tested without replacement, which needs one settled outcome per item: one sample, temperature 0", ".bank")
    if plan.drift and plan.drift.anchors * 2 > plan.budget.calls:
        raise at.fail("the budget cannot ask the anchors twice", ".drift.anchors")
    if plan.drift and plan.drift.every < plan.drift.anchors:
        raise at.fail("a window of anchors must fit between two others: every is less than anchors", ".drift.every")


def _check_requirement(r: Requirement, plan: Plan, path: str, at: Located) -> None:
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


def _check_average(r: AverageRate, plan: Plan, path: str, at: Located) -> None:
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


def _distinct(values: Iterable[str], path: str, what: str, at: Located) -> None:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if value in seen:
            raise at.fail(f"{what}: '{value}'", f"{path}[{i}]")
        seen.add(value)
