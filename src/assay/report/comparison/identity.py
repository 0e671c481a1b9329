"""Who was tested by what: what differs between runs, and what therefore cannot be compared.

for row in identity_rows(sources): row.key, row.values, row.differs
for difference in plan_differences(sources): difference.field, difference.effect, difference.letters
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from assay.evidence.statements import subject
from assay.plan.policy import Policy
from assay.report.sources import Source
from assay.report.text import visible
from assay.report.words import shortened

MAX_NAME = 80
Effect = Literal["cells", "items", "answers", "measure", "bar", "amount", "other"]

EFFECTS: dict[str, Effect] = {
    "matrix": "cells", "catalog": "items", "content": "items", "sizes": "items", "bank": "items", "attacker": "items", "worlds": "items",
    "generation": "answers", "samples": "answers", "limits": "answers", "judges": "measure", "labels": "measure",
    "requirements": "bar", "errors": "bar", "exploration": "amount", "budget": "amount", "drift": "amount",
}  # fmt: skip
"""What it means for a comparison that two plans differ here."""
_APART = ("target", "name", "about", "seed", "assay")


class IdentityRow(Struct, frozen=True):
    """One fact about every run, in the runs' order; `code` where it is a digest or an id."""

    key: str
    values: tuple[str, ...]
    code: bool

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.values)) > 1


class PlanDifference(Struct, frozen=True):
    """A part of the plan file in which the runs of these letters differ from the first run's, and what that touches."""

    field: str
    effect: Effect
    letters: tuple[str, ...]


def name(text: str) -> str:
    """A name that somebody else chose: hidden characters shown, the length bounded, on one line."""
    return shortened(visible(" ".join(text.split())), MAX_NAME)


def target_of(source: Source) -> str:
    """The digest that the run's signed statements name as their subject."""
    kind, value = next(iter(subject(source.tally.opening.target)[0]["digest"].items()))
    return f"sha256:{value}" if kind == "sha256" else f"{kind}:{value}"


def identity_rows(sources: Sequence[Source]) -> tuple[IdentityRow, ...]:
    """Target, plan, content, policy and key of every run."""

    def row(key: str, values: list[str], *, code: bool = True) -> IdentityRow:
        return IdentityRow(key, tuple(values), code)

    openings = [s.tally.opening for s in sources]
    return (
        row("model", [name(s.model) for s in sources], code=False),
        row("target", [target_of(s) for s in sources]),
        row("plan", [o.plan.name for o in openings], code=False),
        row("plan_digest", [o.plan.digest for o in openings]),
        row("languages", [", ".join(map(name, o.plan.matrix.languages)) for o in openings], code=False),
        row("content", [o.plan.catalog or o.catalog.digest for o in openings]),
        row("policy", [_policy(o.policy) for o in openings], code=False),
        row("key", [s.signed.keyid for s in sources]),
        row("version", [name(s.signed.version) for s in sources], code=False),
        row("bundle", [s.bundle for s in sources]),
    )


def _policy(policy: Policy | None) -> str:
    return f"{name(policy.id)} {name(policy.version)}, {policy.digest}" if policy else "-"


def plan_differences(sources: Sequence[Source]) -> tuple[PlanDifference, ...]:
    """Every part of the plans that is not the same in all runs; the target, names and seeds are apart."""
    plans = [parts_of(s) for s in sources]
    out = []
    for field in plans[0]:
        letters = tuple(s.letter for s, plan in zip(sources, plans, strict=True) if plan[field] != plans[0][field])
        if letters:
            out.append(PlanDifference(field, EFFECTS.get(field, "other"), letters))
    order = list(dict.fromkeys(EFFECTS.values()))
    return tuple(sorted(out, key=lambda d: order.index(d.effect) if d.effect in order else len(order)))


def parts_of(source: Source) -> dict[str, Any]:
    """All that the plan asks, by its fields: without the target, names and seeds."""
    return {field: value for field, value in source.tally.opening.plan.to_json().items() if field not in _APART}
