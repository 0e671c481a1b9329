"""A policy: the least that a plan must ask for, so that nobody lowers a threshold unseen. docs/policy.md describes the file.

policy = read_policy("general-release")
for shortfall in check_policy(policy, plan): print(shortfall)

Groups stand in the policy itself and not in the catalogue, so that a policy's digest says all that it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from assay.catalog import Located
from assay.errors import PlanError
from assay.ledger import digest
from assay.plan.model import NO_ATTACK, AttackName, Drift, ErrorRates, Exploration, Name, Rate

LIBRARY = Path(__file__).parent / "policies"
MAX_BYTES = 2 * 1024 * 1024
MAX_CELLS = 200_000

Kind = Literal["violation-rate", "average-rate", "over-refusal", "language-parity", "attack-effect", "localisation-effect"]
Each = Literal["all", "hazard", "language", "attack"]
ATTACKED: frozenset[Kind] = frozenset({"violation-rate", "average-rate", "language-parity", "attack-effect"})


class PolicyError(PlanError):
    """The policy is not valid, or there is none of that name."""


class Minimum(Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement that a plan must have: this kind, `at_most` this rate or margin, in every cell of these hazards (named, or all of a
    group), languages and attacks. No attack is always in, except for an attack's effect.
    """

    id: Name
    kind: Kind
    at_most: Rate
    languages: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=200)]
    hazards: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    groups: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    attacks: Annotated[tuple[AttackName, ...], Meta(max_length=200)] = ()
    reference: Annotated[str, Meta(max_length=64)] = ""
    each: Each = "all"


class JudgesMinimum(Struct, frozen=True, forbid_unknown_fields=True):
    """Which hazards must be read by judges, and how sure of them one must be: `panel` judges at least, `most_severe` combined, `calibrated`
    in every hazard, language and arm on `labelled` violations or more (or audited by people instead), each answer labelled by `people`, and
    a share `audit` of all answers.
    """

    hazards: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    groups: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    panel: Annotated[int, Meta(ge=1, le=9)] = 1
    most_severe: bool = False
    calibrated: bool = True
    labelled: Annotated[int, Meta(ge=0, le=10**6)] = 0
    people: Annotated[int, Meta(ge=1, le=9)] = 1
    audit: Annotated[float, Meta(ge=0, le=1)] = 0.0


class WorldsMinimum(Struct, frozen=True, forbid_unknown_fields=True):
    """Which hazards must be played in worlds, for how many `steps` and `calls` at least; `local`: records, planted texts and tools are in
    the language of the request.
    """

    hazards: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    groups: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    steps: Annotated[int, Meta(ge=1, le=200)] = 1
    calls: Annotated[int, Meta(ge=1, le=1000)] = 1
    local: bool = False


class AttackerMinimum(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a strategy may call the target for one item, at least, and how long its attacker's answers may be."""

    calls: Annotated[int, Meta(ge=1, le=200)] = 1
    max_tokens: Annotated[int, Meta(ge=16, le=8192)] = 16


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy. `errors` are the most, `exploration`, `answer_tokens`, `drift` (`every` the most), `judges`, `worlds` and `attacker`
    the least. `fresh_items` forbids banks, `sealed_seed` a seed that stands in the plan. A decision holds for `decision_days`.
    """

    assay: Literal["policy/1"]
    id: Name
    version: Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$")]
    about: Annotated[str, Meta(max_length=4000)]
    requirements: Annotated[tuple[Minimum, ...], Meta(min_length=1, max_length=64)]
    errors: ErrorRates
    decision_days: Annotated[int, Meta(ge=1, le=3650)]
    reviewed_by: Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=200)], ...], Meta(max_length=50)] = ()
    groups: dict[Name, Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)]] = {}
    exploration: Exploration = Exploration()
    answer_tokens: Annotated[int, Meta(ge=1, le=32_768)] = 1
    fresh_items: bool = False
    sealed_seed: bool = False
    drift: Drift | None = None
    judges: JudgesMinimum | None = None
    worlds: WorldsMinimum | None = None
    attacker: AttackerMinimum | None = None

    def to_json(self) -> dict[str, Any]:
        """Every field, defaults included: what is digested and signed."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest(self.to_json())

    def chosen(self, part: Minimum | JudgesMinimum | WorldsMinimum) -> tuple[str, ...]:
        """The hazards that a part names, by themselves or by group."""
        return tuple(dict.fromkeys((*part.hazards, *(h for g in part.groups for h in self.groups[g]))))


class Cell(NamedTuple):
    """What one bound is about. An average is about many cells at once: its names are joined by spaces, in alphabetical order."""

    kind: Kind
    reference: str
    hazard: str
    language: str
    attack: str


def demanded(policy: Policy) -> dict[Cell, float]:
    """The bound on every cell that a policy asks for: the strictest, where two of its requirements ask for the same."""
    out: dict[Cell, float] = {}
    for minimum in policy.requirements:
        for cell in cells(policy, minimum):
            out[cell] = min(minimum.at_most, out.get(cell, 1.0))
    return out


def cells(policy: Policy, minimum: Minimum) -> Iterator[Cell]:
    """The cells of one requirement, in the policy's order."""
    kind, reference, hazards = minimum.kind, minimum.reference, policy.chosen(minimum)
    attacks = minimum.attacks if kind == "attack-effect" else (NO_ATTACK, *minimum.attacks)
    if kind == "average-rate":
        yield from averages(hazards, minimum.languages, attacks, minimum.each)
        return
    for hazard in hazards:
        for language in minimum.languages:
            if language != reference:
                yield from (Cell(kind, reference, hazard, language, attack) for attack in attacks)


def averages(hazards: Iterable[str], languages: Iterable[str], attacks: Iterable[str], each: str) -> Iterator[Cell]:
    """The averages over these cells with equal weights. Where each hazard's (language's, attack's) is bounded, so is that over all."""
    joined = [" ".join(sorted(names)) for names in (hazards, languages, attacks)]
    for reference in dict.fromkeys(("all", each)):
        yield Cell("average-rate", reference, *joined)


def policy_names() -> list[str]:
    """The policies that ship with Assay, to start from."""
    return sorted(p.stem for p in LIBRARY.glob("*.yaml"))


def policy_path(name: str) -> Path:
    """The file of a starting policy's name or of a path. Raises `PolicyError`."""
    path = Path(name)
    if name in policy_names() and not path.is_file():
        return LIBRARY / f"{name}.yaml"
    if not path.is_file():
        raise PolicyError(f"there is no policy '{name}'", fix=f"Give a path, or one of: {', '.join(policy_names())}.")
    return path


def read_bounded(path: Path) -> str:
    """The text of a policy file. Raises `PolicyError` where it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PolicyError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"cannot read the policy: {e}", where=str(path)) from None


def read_policy(name: str) -> Policy:
    """The policy of a file or of a starting policy's name, checked. Raises `PolicyError`."""
    path = policy_path(name)
    return parse_policy(read_bounded(path), where=str(path) if path.parent != LIBRARY else f"{name} (built in)")


def parse_policy(text: str, *, where: str) -> Policy:
    """As `read_policy`, from text."""
    located = Located(text, where=where, error=PolicyError)
    policy = located.convert(Policy)
    for what, path in problems(policy):
        raise located.fail(what, path)
    return policy


def problems(policy: Policy) -> Iterator[tuple[str, str]]:
    """What the types cannot say: (what is wrong, the path of the field)."""
    yield from _doubled([r.id for r in policy.requirements], ".requirements", "two requirements have the same id")
    parts: dict[str, Minimum | JudgesMinimum | WorldsMinimum | None] = {".judges": policy.judges, ".worlds": policy.worlds}
    for path, part in {**parts, **{f".requirements[{i}]": r for i, r in enumerate(policy.requirements)}}.items():
        if part is None:
            continue
        unknown = [g for g in part.groups if g not in policy.groups]
        if unknown:
            yield f"unknown group '{unknown[0]}'", f"{path}.groups"
            return
        if not policy.chosen(part):
            yield "it names no hazard, neither under hazards nor under groups", path
    for i, minimum in enumerate(policy.requirements):
        yield from _of_minimum(minimum, f".requirements[{i}]")
    size = sum(
        len(policy.chosen(m)) * len(m.languages) * (1 + len(m.attacks)) if m.kind != "average-rate" else 1 for m in policy.requirements
    )
    if size > MAX_CELLS:
        yield f"it asks for {size:,} cells, more than {MAX_CELLS:,}", ".requirements"


def _of_minimum(minimum: Minimum, path: str) -> Iterator[tuple[str, str]]:
    for field in ("hazards", "groups", "languages", "attacks"):
        yield from _doubled(getattr(minimum, field), f"{path}.{field}", f"the same {field[:-1]} stands twice")
    if NO_ATTACK in minimum.attacks:
        yield "'none' is always in and is not listed", f"{path}.attacks"
    if minimum.attacks and minimum.kind not in ATTACKED:
        yield f"{minimum.kind} is not about attacks", f"{path}.attacks"
    if minimum.kind == "attack-effect" and not minimum.attacks:
        yield "an attack's effect needs attacks", path
    if bool(minimum.reference) != (minimum.kind == "language-parity"):
        yield "a reference language belongs to language-parity, which needs one", f"{path}.reference"
    if minimum.kind == "language-parity" and set(minimum.languages) <= {minimum.reference}:
        yield "parity needs a language beside the reference", f"{path}.languages"
    if minimum.each != "all" and minimum.kind != "average-rate":
        yield "only an average is taken for each hazard, language or attack", f"{path}.each"


def _doubled(values: Iterable[str], path: str, what: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if value in seen:
            yield f"{what}: '{value}'", f"{path}[{i}]"
        seen.add(value)
