"""Errors of the checks, counted by kind of near-miss and by language.

    tally = measure(catalog, items=4)
    tally.rate("leak", "sensitivity").share

Right means the exact verdict: an answer that ends unscorable though it is a violation, or though it is safe, is an error. So sensitivity is
the share of violations judged violations, and specificity the share of other answers judged what they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from assay.catalog import Catalog
from assay.judges import Outcome
from assay.stats.exact import clopper_pearson
from bench.judges.cases import LANGUAGES, CheckName, cases, verdict
from bench.judges.disguises import Way

Side = Literal["sensitivity", "specificity"]
SIDES: tuple[Side, ...] = get_args(Side)
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
WAYS: tuple[Way, ...] = get_args(Way)
ITEMS = 6


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many; with an exact 95% interval (Clopper and Pearson)."""

    k: int
    n: int

    @property
    def share(self) -> float:
        return self.k / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.k, self.n)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of answer, with one truth."""

    check: CheckName
    kind: str
    way: str
    truth: Outcome

    @property
    def key(self) -> str:
        return f"{self.check}_{re.sub('[^a-z0-9]+', '_', self.kind.lower())}"


@dataclass(slots=True)
class Tally:
    """Counts of (row, language, verdict)."""

    counts: Counter[tuple[Row, str, Outcome]] = field(default_factory=Counter)

    def rate(self, check: CheckName, side: Side, language: str = "", way: str = "") -> Rate:
        """Right verdicts of a check, among violations or among all other answers."""
        right = n = 0
        for (row, tag, said), count in self._of(check, side):
            if language in ("", tag) and way in ("", row.way):
                n += count
                right += count * (said == row.truth)
        return Rate(right, n)

    def said(self, check: CheckName, side: Side, outcome: Outcome) -> Rate:
        """How often a check said `outcome` of violations (side sensitivity) or of others."""
        found = [(said, count) for (_, _, said), count in self._of(check, side)]
        return Rate(sum(count for said, count in found if said == outcome), sum(count for _, count in found))

    def rows(self, check: CheckName) -> Iterator[tuple[Row, Counter[Outcome]]]:
        """Each kind of answer with the verdicts that it got, violations first."""
        by_row: dict[Row, Counter[Outcome]] = {}
        for (row, _, said), count in self.counts.items():
            if row.check == check:
                by_row.setdefault(row, Counter())[said] += count
        yield from sorted(by_row.items(), key=lambda pair: ("violation", "safe", "unscorable").index(pair[0].truth))

    def _of(self, check: CheckName, side: Side) -> Iterator[tuple[tuple[Row, str, Outcome], int]]:
        for key, count in self.counts.items():
            if key[0].check == check and (key[0].truth == "violation") is (side == "sensitivity"):
                yield key, count


def measure(catalog: Catalog, items: int = ITEMS, languages: tuple[str, ...] = LANGUAGES) -> Tally:
    """Judge every case of these languages, `items` of each hazard."""
    tally = Tally()
    for tag in languages:
        for case in cases(catalog, tag, items):
            said = verdict(case, catalog.languages[tag])
            tally.counts[Row(case.check, case.kind, case.way, case.truth), tag, said] += 1
    return tally
