"""What changed from one run to another, in both directions, and where many cells say the same.

    found = changes(older, newer, margin=0.05, error=0.05)
    for group in grouped(found, "rose"): group.changes[0].low, len(group.changes), group.of

A rise is bounded by `decision.compare` as it is, a fall by the same comparison the other way round. Each direction has the error by itself:
the chance that any rise shown is none, or is smaller than said, is at most `error` over all cells together; so for falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Literal

from msgspec import Struct

from assay.decision import Comparison, Observed, compare
from assay.plan import ErrorRates, Stream

Kind = Literal["worse", "rose", "better", "fell", "same", "not worse", "open"]
Direction = Literal["rose", "fell"]
KINDS: dict[Direction, tuple[Kind, ...]] = {"rose": ("worse", "rose"), "fell": ("better", "fell")}
MOST_OF = 0.6  # the share of a group's cells that must say the same to speak of the group
_DIMENSIONS = ("hazard", "language", "manner")


class Change(Struct, frozen=True):
    """One stream in two runs. Newer minus older lies in [`low`, `high`], each end at the error shared over all cells compared.

    `most` bounds a rise from above and `least` a fall from below, each at the error of this cell alone: those say 'not worse' and 'same'.
    Kinds: `worse` and `better` are shown to exceed the margin, `rose` and `fell` to be more than
    none; `same` is within the margin both ways.
    """

    stream: Stream
    older: tuple[int, int]
    newer: tuple[int, int]
    paired: int
    low: float
    high: float
    least: float
    most: float
    kind: Kind

    @property
    def shown(self) -> float:
        """How large a change was shown at least, whichever way; 0 if none was."""
        return max(self.low, -self.high, 0.0)


class Changes(Struct, frozen=True):
    """All streams that both runs have, with the project's own comparison, whose verdict stands."""

    comparison: Comparison
    changes: tuple[Change, ...]

    def count(self, *kinds: Kind) -> int:
        """How many streams are of these kinds."""
        return sum(c.kind in kinds for c in self.changes)


class Group(Struct, frozen=True):
    """Cells that changed the same way, gravest first. A dimension in which they vary is empty; `of` counts all compared cells like them.

    `far` if each was shown to have changed by more than the margin.
    """

    direction: Direction
    far: bool
    harmless: bool
    hazard: str
    language: str
    manner: tuple[str, str]
    changes: tuple[Change, ...]
    of: int


def changes(older: Observed, newer: Observed, margin: float, errors: ErrorRates) -> Changes:
    """Both directions of every stream that both runs have, anchors left out; `errors` as in `decision.compare`."""
    forth = compare(older, newer, margin, errors)
    back = {d.stream: d for d in compare(newer, older, margin, errors).differences}
    found = []
    for d in forth.differences:
        low, high, least, most = d.low, -back[d.stream].low, -back[d.stream].high, d.high
        found.append(Change(d.stream, d.older, d.newer, d.paired, low, high, least, most, _kind(low, high, least, most, margin)))
    return Changes(forth, tuple(found))


def _kind(low: float, high: float, least: float, most: float, margin: float) -> Kind:
    if low > 0:
        return "worse" if low > margin else "rose"
    if high < 0:
        return "better" if -high > margin else "fell"
    if most <= margin:
        return "same" if least >= -margin else "not worse"
    return "open"


def grouped(found: Sequence[Change], direction: Direction) -> tuple[Group, ...]:
    """The cells that changed this way, each in one group, the gravest group first; a group is named if most of its cells are in it."""
    out: list[Group] = []
    for harmless, kind in product((False, True), KINDS[direction]):
        like = [c for c in found if (c.stream.arm == "benign") == harmless]
        left = [c for c in like if c.kind == kind]
        while left:
            group = _largest(like, left, direction, harmless=harmless)
            out.append(group)
            left = [c for c in left if c not in group.changes]
    return tuple(sorted(out, key=lambda g: -g.changes[0].shown))


def _largest(like: list[Change], left: list[Change], direction: Direction, *, harmless: bool) -> Group:
    best: tuple[tuple[int, int, float], Group] | None = None
    for count in range(len(_DIMENSIONS) + 1):
        for fixed in combinations(_DIMENSIONS, count):
            of: dict[tuple[object, ...], int] = {}
            for c in like:
                key = tuple(_place(c.stream)[name] for name in fixed)
                of[key] = of.get(key, 0) + 1
            members: dict[tuple[object, ...], list[Change]] = {}
            for c in left:
                members.setdefault(tuple(_place(c.stream)[name] for name in fixed), []).append(c)
            for key, those in members.items():
                if count < len(_DIMENSIONS) and (len(those) < 2 or len(those) < MOST_OF * of[key]):
                    continue
                those = sorted(those, key=lambda c: -c.shown)
                rank = (len(those), count, those[0].shown)
                if best is None or rank > best[0]:
                    best = rank, _group(dict(zip(fixed, key, strict=True)), those, of[key], direction, harmless=harmless)
    assert best is not None  # noqa: S101 (every cell is a group of its own)
    return best[1]


def _place(stream: Stream) -> dict[str, object]:
    return {"hazard": stream.hazard, "language": stream.language, "manner": (stream.attack, stream.arm)}


def _group(fixed: dict[str, object], those: list[Change], of: int, direction: Direction, *, harmless: bool) -> Group:
    stream = those[0].stream
    return Group(
        direction=direction,
        far=those[0].kind in ("worse", "better"),
        harmless=harmless,
        hazard=stream.hazard if "hazard" in fixed else "",
        language=stream.language if "language" in fixed else "",
        manner=(stream.attack, stream.arm) if "manner" in fixed else ("", ""),
        changes=tuple(those),
        of=of,
    )
