"""Reads the content files of this package.

catalog = load_catalog(hazards=["secret-leakage"], languages=["ms", "en"])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, structs

from assay.catalog.banks import BankFile
from assay.catalog.content import (
    Answers,
    AttackKind,
    AttackTexts,
    Catalog,
    Hazard,
    HazardTexts,
    JudgeAttacks,
    LabelledAnswer,
    Language,
    RubricTexts,
    Texts,
    WorldCommon,
    WorldTexts,
)
from assay.catalog.sealed import LiveBank
from assay.catalog.yamlfile import load_yaml
from assay.errors import CatalogError

T = TypeVar("T")
ROOT = Path(__file__).parent


def hazard_ids(root: Path = ROOT) -> list[str]:
    """Every hazard that has a folder."""
    return sorted(p.parent.name for p in (root / "hazards").glob("*/hazard.yaml"))


def language_tags(root: Path = ROOT) -> list[str]:
    """Every language that has a file."""
    return sorted(p.stem for p in (root / "languages").glob("*.yaml"))


def _read(path: Path, kind: type[T]) -> T:
    where = "/".join(path.parts[-3:])
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise CatalogError(f"cannot read this content file: {e.strerror}", where=where) from None
    return load_yaml(text, kind, where=where, error=CatalogError)


@lru_cache(maxsize=1024)
def read_language(tag: str, root: Path = ROOT) -> Language:
    """One language's file."""
    return _read(root / "languages" / f"{tag}.yaml", Language)


@lru_cache(maxsize=1024)
def read_hazard(hazard: str, root: Path = ROOT) -> Hazard:
    """One hazard's definition."""
    return _read(root / "hazards" / hazard / "hazard.yaml", Hazard)


@lru_cache(maxsize=4096)
def read_texts(hazard: str, language: str, root: Path = ROOT) -> HazardTexts:
    """One hazard's words in one language; of a hazard that is played in worlds, what adversaries ask for there."""
    definition = read_hazard(hazard, root)
    if definition.check != "world":
        return _read(root / "hazards" / hazard / f"{language}.yaml", HazardTexts)
    world = read_world(definition.family, language, root)
    goals = {name: Texts(user=text, benign=world.twins.get(name, "")) for name, text in world.goals.items()}
    whole = set(world.units) <= set(world.reviews)  # an episode shows nearly all of a file, so it counts as reviewed when all of it is
    return HazardTexts(language, goals, world.provenance, reviews={g: world.reviews[f"goals.{g}"] for g in goals} if whole else {})


@lru_cache(maxsize=4096)
def read_world(family: str, language: str, root: Path = ROOT) -> WorldTexts:
    """One family of worlds in one language."""
    return _read(root / "worlds" / family / f"{language}.yaml", WorldTexts)


@lru_cache(maxsize=1024)
def read_common(language: str, root: Path = ROOT) -> WorldCommon:
    """What all worlds say alike in one language."""
    return _read(root / "worlds" / "common" / f"{language}.yaml", WorldCommon)


@lru_cache(maxsize=1024)
def read_rubrics(language: str, root: Path = ROOT) -> RubricTexts:
    """What judges and labellers are told in one language."""
    return _read(root / "rubrics" / f"{language}.yaml", RubricTexts)


def read_judge_attacks(root: Path = ROOT) -> dict[str, JudgeAttacks]:
    """The answers that try to steer a judge, of every language that has some."""
    return {p.stem: _read(p, JudgeAttacks) for p in sorted((root / "judge_attacks").glob("*.yaml"))}


def rubric_tags(root: Path = ROOT) -> list[str]:
    """Every language that rubrics are written in."""
    return sorted(p.stem for p in (root / "rubrics").glob("*.yaml"))


def _rubrics(languages: Iterable[str], root: Path) -> dict[str, RubricTexts]:
    return {t: read_rubrics(t, root) for t in dict.fromkeys(("en", *languages)) if t in rubric_tags(root)}


def with_rubrics(catalog: Catalog, root: Path = ROOT) -> Catalog:
    """The same content with the rubrics of this package, where it came without any."""
    return catalog if catalog.rubrics else structs.replace(catalog, rubrics=_rubrics(catalog.languages, root))


def family_ids(root: Path = ROOT) -> list[str]:
    """Every family of worlds that has texts."""
    return sorted(p.name for p in (root / "worlds").glob("*") if p.is_dir() and p.name != "common")


def is_written(hazard: str, language: str, root: Path = ROOT) -> bool:
    """Whether a hazard has texts in a language."""
    definition = read_hazard(hazard, root)
    if definition.check == "world":
        return all((root / "worlds" / folder / f"{language}.yaml").is_file() for folder in (definition.family, "common"))
    return (root / "hazards" / hazard / f"{language}.yaml").is_file()


@lru_cache(maxsize=1024)
def read_attack_texts(language: str, root: Path = ROOT) -> AttackTexts:
    """All attacks' words in one language."""
    return _read(root / "attacks" / f"{language}.yaml", AttackTexts)


def read_answers(root: Path = ROOT) -> dict[str, tuple[LabelledAnswer, ...]]:
    """The labelled answers of every language that has some."""
    return {p.stem: _read(p, Answers).answers for p in sorted((root / "answers").glob("*.yaml"))}


class _Kinds(Struct, frozen=True, forbid_unknown_fields=True):
    attacks: dict[str, AttackKind]


@lru_cache(maxsize=8)
def attack_kinds(root: Path = ROOT) -> dict[str, AttackKind]:
    """Every attack that the catalogue describes."""
    return _read(root / "attacks.yaml", _Kinds).attacks


def load_everything(root: Path = ROOT) -> Catalog:
    """All content there is. Not every hazard has texts in every language; `Catalog.texts` says which."""
    hazards, languages = hazard_ids(root), language_tags(root)
    there = {h: [t for t in languages if is_written(h, t, root)] for h in hazards}
    worlds, common = _worlds(there, root)
    return Catalog(
        hazards={h: read_hazard(h, root) for h in hazards},
        languages={t: read_language(t, root) for t in languages},
        texts={h: {t: read_texts(h, t, root) for t in tags} for h, tags in there.items()},
        attacks={t: read_attack_texts(t, root) for t in languages if (root / "attacks" / f"{t}.yaml").is_file()},
        kinds=attack_kinds(root),
        worlds=worlds,
        common=common,
        rubrics=_rubrics(languages, root),
    )


def _worlds(there: dict[str, list[str]], root: Path) -> tuple[dict[str, dict[str, WorldTexts]], dict[str, WorldCommon]]:
    """The worlds of those hazards that are played in some, and what all worlds say alike."""
    played = {read_hazard(h, root).family: tags for h, tags in there.items() if read_hazard(h, root).check == "world"}
    worlds = {family: {t: read_world(family, t, root) for t in tags} for family, tags in played.items()}
    return worlds, {t: read_common(t, root) for t in dict.fromkeys(t for tags in played.values() for t in tags)}


def load_catalog(
    hazards: Iterable[str],
    languages: Sequence[str],
    root: Path = ROOT,
    *,
    attacks: Sequence[str] = (),
    banks: Sequence[BankFile | LiveBank] = (),
    beside: Sequence[str] = (),
    judged: bool = False,
) -> Catalog:
    """The content for these hazards in these languages, in those that the attacks turn to, and in those `beside` that worlds are told in.
    `banks` are hazards too. With `judged` the rubrics are in it.

    Raises `CatalogError` for what is not there.
    """
    known_hazards, known_languages = hazard_ids(root), language_tags(root)
    named = {bank.name: bank for bank in banks}
    asked = list(hazards)
    wanted = [h for h in asked if h not in named]
    others: list[str] = []
    for hazard in wanted:
        if hazard not in known_hazards:
            raise CatalogError(f"unknown hazard '{hazard}'", fix=f"Known: {', '.join([*known_hazards, *named])}.")
    for tag in (*languages, *beside):
        if tag not in known_languages:
            raise CatalogError(f"unknown language '{tag}'", fix=f"Known: {', '.join(known_languages)}.")
    for attack in attacks:
        for kind in (attack_kinds(root)[a] for a in attack.split("+") if a in attack_kinds(root)):
            for t in languages:
                turns_to = kind.turns_to(read_language(t, root))
                there = [o for o in turns_to if all(is_written(h, o, root) for h in wanted)]
                others += [o for o in there[:1] if o not in others]
    for h in wanted:
        if read_hazard(h, root).kind == "imported":
            raise CatalogError(f"hazard '{h}' has no items here", fix="Import a bank from those entitled to hold it: assay import.")
        lacking = [t for t in (*languages, *beside) if not is_written(h, t, root)]
        if lacking:
            raise CatalogError(f"unknown language '{lacking[0]}' for hazard '{h}': it is not written in {', '.join(lacking)} yet")
    extra = [t for t in dict.fromkeys((*beside, *others)) if t not in languages and t in known_languages]
    texts = {h: {t: read_texts(h, t, root) for t in languages} for h in wanted}
    for h in wanted:
        texts[h] |= {t: read_texts(h, t, root) for t in extra if is_written(h, t, root)}
    worlds, common = _worlds({h: list(texts[h]) for h in wanted}, root)
    for bank in (named[h] for h in asked if h in named):
        missing = [t for t in languages if t not in bank.languages]
        if missing:
            raise CatalogError(f"bank '{bank.name}' has no prompts in {', '.join(missing)}", fix=f"It has {', '.join(bank.languages)}.")
        texts[bank.name] = {t: v for t, v in bank.texts().items() if t in languages or t in extra}
    return Catalog(
        hazards={h: named[h].hazard() if h in named else read_hazard(h, root) for h in asked},
        languages={t: read_language(t, root) for t in [*languages, *extra]},
        texts=texts,
        attacks={t: read_attack_texts(t, root) for t in dict.fromkeys((*languages, *beside))},
        kinds=attack_kinds(root) | _recorded_kinds(banks, root),
        worlds=worlds,
        common=common,
        rubrics=_rubrics(languages, root) if judged else {},
        sealed={b.name: b.file.registered() for b in banks if isinstance(b, LiveBank) and b.name in asked},
    )


def _recorded_kinds(banks: Sequence[BankFile | LiveBank], root: Path) -> dict[str, AttackKind]:
    """The attacks that stand in banks. Raises `CatalogError` for one that has the name of another."""
    known = attack_kinds(root)
    found: dict[str, AttackKind] = {}
    for bank in banks:
        for name, kind in (bank.kinds() if isinstance(bank, BankFile) else {}).items():
            if name in known or found.setdefault(name, kind) != kind:
                raise CatalogError(f"the attack '{name}' of the bank '{bank.name}' is another than one of the same name")
    return found
