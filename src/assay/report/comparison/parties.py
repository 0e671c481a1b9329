"""Runs of one plan on one target: do those who made them agree?

for agreement in agreements(sources, observed, margin=0.05, error=0.05): agreement.kind, agreement.widest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from assay.decision import Observed
from assay.ledger import digest
from assay.plan import ErrorRates
from assay.report.comparison.changes import Change, changes
from assay.report.comparison.identity import parts_of, target_of
from assay.report.sources import Source

Agreed = Literal["agree", "differ", "open"]


class Agreement(Struct, frozen=True):
    """Two runs of one plan on one target. `agree`: every cell's rates were shown to lie within the margin of each other; `differ`: those of
    a cell were shown to be apart, by however little. `widest` is the cell that was shown to be farthest apart, or that may be.

    `agree` errs at most at the error; `differ` shares it over both directions, all cells and all agreements of the page.
    """

    letters: tuple[str, str]
    one_key: bool
    paired: int
    compared: int
    within: int
    apart: int
    widest: Change | None
    verdicts: tuple[str, str]
    kind: Agreed


def agreements(sources: Sequence[Source], observed: Mapping[str, Observed], margin: float, error: float) -> tuple[Agreement, ...]:
    """Every later run of a plan (whatever its name and seed) and target against the first one of it."""
    pairs = []
    first: dict[tuple[str, str], Source] = {}
    for source in sources:
        key = digest(parts_of(source)), target_of(source)
        if key in first:
            pairs.append((first[key], source))
        first.setdefault(key, source)
    rates = ErrorRates(error, error / (2 * max(1, len(pairs))))
    return tuple(_agreement(a, b, observed, margin, rates) for a, b in pairs)


def _agreement(a: Source, b: Source, observed: Mapping[str, Observed], margin: float, rates: ErrorRates) -> Agreement:
    found = changes(observed[a.letter], observed[b.letter], margin, rates).changes
    within = sum(-margin <= c.least and c.most <= margin for c in found)
    apart = sum(c.shown > 0 for c in found)
    widest = max(found, key=lambda c: (c.shown, max(c.high, -c.low)), default=None)
    return Agreement(
        letters=(a.letter, b.letter),
        one_key=a.signed.keyid == b.signed.keyid,
        paired=sum(c.paired > 0 for c in found),
        compared=len(found),
        within=within,
        apart=apart,
        widest=widest,
        verdicts=(a.signed.decision.verdict, b.signed.decision.verdict),
        kind="differ" if apart else "agree" if found and within == len(found) else "open",
    )
