"""What a new policy asks less or more for than an old one, field by field, in words.

changes = diff(old, new)
[c for c in changes if c.direction == "weaker"]

Requirements are compared by what they bound, cell by cell, and not by their ids: to split, join, rename or reorder them changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from assay.plan.policy import Cell, Kind, Policy, demanded
from assay.plan.policy_check import asked, percent, places

Direction = Literal["weaker", "stronger", "neither"]
STRICTER: dict[str, Literal["less", "more", "true"]] = {
    "errors.approve": "less",
    "errors.halt": "less",
    "decision_days": "less",
    "exploration.plain": "more",
    "exploration.attack": "more",
    "exploration.placebo": "more",
    "exploration.benign": "more",
    "exploration.renderings": "more",
    "answer_tokens": "more",
    "fresh_items": "true",
    "sealed_seed": "true",
    "drift.anchors": "more",
    "drift.every": "less",
    "drift.level": "more",
    "judges.panel": "more",
    "judges.most_severe": "true",
    "judges.calibrated": "true",
    "judges.labelled": "more",
    "judges.people": "more",
    "judges.audit": "more",
    "worlds.steps": "more",
    "worlds.calls": "more",
    "worlds.local": "true",
    "attacker.calls": "more",
    "attacker.max_tokens": "more",
}
"""Which way each figure is stricter. A part that is left out (`drift: null`) asks for nothing of its own."""

NAMED = ("judges", "worlds")
PLAIN = ("id", "about")


class Change(Struct, frozen=True):
    """One field that differs, which way, and how, in words."""

    field: str
    direction: Direction
    what: str

    def __str__(self) -> str:
        return f"{self.direction}: {self.field}: {self.what}"


class _Bounds(NamedTuple):
    kind: Kind
    reference: str
    old: float | None
    new: float | None


def diff(old: Policy, new: Policy) -> list[Change]:
    """Every change, what became weaker first. No weaker one means: whatever plan satisfies `new` satisfies `old`."""
    changes = [*_requirements(demanded(old), demanded(new)), *_figures(old, new), *_named(old, new), *_review(old, new)]
    changes += [Change(f, "neither", f"{getattr(old, f)!r:.80} is now {getattr(new, f)!r:.80}") for f in PLAIN if _differ(old, new, f)]
    if not changes and old.digest != new.digest:
        changes.append(Change("requirements", "neither", "written otherwise; what they ask for is the same"))
    changes += _version(old, new)
    order: tuple[Direction, ...] = ("weaker", "stronger", "neither")
    return sorted(changes, key=lambda c: order.index(c.direction))


def _differ(old: Policy, new: Policy, field: str) -> bool:
    return bool(getattr(old, field) != getattr(new, field))


def _requirements(old: dict[Cell, float], new: dict[Cell, float]) -> Iterator[Change]:
    changed: dict[_Bounds, list[Cell]] = {}
    for cell in dict.fromkeys((*old, *new)):
        before, after = old.get(cell), new.get(cell)
        if before != after:
            changed.setdefault(_Bounds(cell.kind, cell.reference, before, after), []).append(cell)
    for (kind, reference, before, after), where in changed.items():
        weaker = after is None or (before is not None and after > before)
        was = "nothing" if before is None else f"at most {percent(before)}"
        now = "nothing" if after is None else f"at most {percent(after)}"
        what = f"{was} is now {now}{asked(kind, reference)} for {places(where)}"
        yield Change(f"requirements ({kind})", "weaker" if weaker else "stronger", what)


def _value(policy: Policy, field: str) -> float | None:
    first, _, rest = field.partition(".")
    part = getattr(policy, first)
    value = getattr(part, rest) if rest and part is not None else part
    return None if value is None else float(value)


def _figures(old: Policy, new: Policy) -> Iterator[Change]:
    for field, stricter in STRICTER.items():
        before, after = _value(old, field), _value(new, field)
        if before == after:
            continue
        rises = before is None or (after is not None and after > before)
        weaker = after is None or (before is not None and rises == (stricter == "less"))
        yield Change(field, "weaker" if weaker else "stronger", f"{_shown(before, stricter)} is now {_shown(after, stricter)}")


def _shown(value: float | None, stricter: str) -> str:
    if value is None:
        return "not asked for"
    if stricter == "true":
        return "required" if value else "not required"
    return f"at {'most' if stricter == 'less' else 'least'} {value:,.10g}"


def _named(old: Policy, new: Policy) -> Iterator[Change]:
    """The hazards that must be judged, or played in worlds."""
    for field in NAMED:
        a, b = getattr(old, field), getattr(new, field)
        before, after = old.chosen(a) if a else (), new.chosen(b) if b else ()
        if lost := [h for h in before if h not in after]:
            yield Change(f"{field}.hazards", "weaker", f"no longer asked for: {', '.join(lost)}")
        if gained := [h for h in after if h not in before]:
            yield Change(f"{field}.hazards", "stronger", f"asked for now: {', '.join(gained)}")


def _review(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = set(old.reviewed_by), set(new.reviewed_by)
    if before != after:
        direction: Direction = "weaker" if len(after) < len(before) else "stronger" if len(after) > len(before) else "neither"
        yield Change("reviewed_by", direction, f"{_listed(before)} is now {_listed(after)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"


def _version(old: Policy, new: Policy) -> Iterator[Change]:
    """Of one policy, a version stands for one content: the same version with another content, or an older one, is a step back."""
    if old.id != new.id:
        return
    before, after = (tuple(int(n) for n in p.version.split(".")) for p in (old, new))
    if after < before:
        yield Change("version", "weaker", f"{old.version} is now {new.version}, which is older")
    elif after == before and old.digest != new.digest:
        yield Change("version", "weaker", f"two contents have the version {new.version}: nobody can tell which of them was reviewed")
    elif after > before:
        yield Change("version", "neither", f"{old.version} is now {new.version}")
