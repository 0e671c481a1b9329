"""Plan files: read, check, complete.

plan, catalog = read_plan("quick")
plan, catalog = read_plan("my-plan.yaml")
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from assay.catalog import Catalog, Located, load_catalog
from assay.errors import AssayError, CatalogError, PlanError
from assay.plan.address import ADDRESS_FIX, address_fault
from assay.plan.calibration import read_calibration
from assay.plan.held_out import check_held_out, read_content
from assay.plan.lint import check_finite, check_judged, check_parts, check_recorded, check_source
from assay.plan.model import Plan, TargetSpec, Worlds

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
    check_parts(plan, located)
    _check_addresses(target or plan.target, plan, located)
    check_recorded(target or plan.target, plan, located)
    check_source(target or plan.target, plan, located)
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
        check_finite(plan, located)
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
    for i, spec in enumerate(judges.panel):
        for hazard in hazards:
            for tag in plan.matrix.languages if spec.rubric == "item" else ("en",):
                try:
                    catalog.rubric(hazard, tag)
                except KeyError:
                    raise located.fail(f"the rubric of {hazard} is not written in {tag}", f".judges.panel[{i}].rubric") from None
    check_judged(plan, hazards, located)
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


def _check_addresses(target: TargetSpec, plan: Plan, at: Located) -> None:
    """No address of a model holds a password."""
    specs = [(".target", target)]
    specs += [(".attacker.target", plan.attacker.target)] if plan.attacker else []
    specs += [(f".judges.panel[{i}].target", judge.target) for i, judge in enumerate(plan.judges.panel if plan.judges else ())]
    for path, spec in specs:
        if fault := address_fault(spec):
            raise at.fail(fault, path, fix=ADDRESS_FIX)


def _beside(where: str, name: str) -> Path:
    """A bank file's path, which a plan gives from its own folder."""
    return Path(name) if Path(name).is_absolute() else Path(where).parent / name
