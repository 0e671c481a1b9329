"""What kinds of answer came back in each language, what could not be scored, and what happened beside the trials.

for row in response_rows(tally): row.language.tag, row.harmful.kinds
"""

from __future__ import annotations

from collections import Counter
from typing import get_args

from msgspec import Struct

from assay.judges.response import ResponseKind, default_kinds
from assay.report.matrix import LanguageName, language_name
from assay.report.tally import KindCounts, Tally
from assay.report.words import KIND_ORDER, listed, rate_text, time_text

RESPONSE_KINDS: tuple[ResponseKind, ...] = get_args(ResponseKind)


class KindCell(Struct, frozen=True):
    """Trials of one kind of answer, and their share."""

    n: int
    share: str


class KindGroup(Struct, frozen=True):
    """All kinds in the order of `KIND_ORDER`; `useful` of `expected` answers held the fact they should."""

    n: int
    kinds: tuple[KindCell, ...]
    useful: int
    expected: int
    useful_share: str


class ResponseRow(Struct, frozen=True):
    """One language: hazardous requests (plain, attack, placebo) and harmless ones (benign)."""

    language: LanguageName
    harmful: KindGroup
    harmless: KindGroup


class ReasonRow(Struct, frozen=True):
    """Why trials could not be scored, how many, and in which languages."""

    reason: str
    n: int
    languages: str


class IncidentRow(Struct, frozen=True):
    """One thing that happened beside the trials."""

    when: str
    what: str
    details: str


def response_rows(tally: Tally) -> tuple[ResponseRow, ...]:
    """Response kinds and usefulness, language by language."""
    catalog = tally.opening.catalog
    return tuple(
        ResponseRow(
            language_name(catalog, tag),
            _group(tally.kinds.get((tag, False), KindCounts())),
            _group(tally.kinds.get((tag, True), KindCounts())),
        )
        for tag in tally.opening.plan.matrix.languages
    )


def _group(counts: KindCounts) -> KindGroup:
    kinds = tuple(KindCell(counts.kinds[k], rate_text(counts.kinds[k] / counts.n) if counts.n else "") for k in KIND_ORDER)
    share = rate_text(counts.useful / counts.expected) if counts.expected else ""
    return KindGroup(counts.n, kinds, counts.useful, counts.expected, share)


class HeardRow(Struct, frozen=True):
    """One language: the kinds of the first answers to hazardous requests, in the order of `RESPONSE_KINDS`, and how many are unsure."""

    language: LanguageName
    n: int
    kinds: tuple[KindCell, ...]
    unsure: int


def heard_rows(tally: Tally) -> tuple[HeardRow, ...]:
    """Response kinds by language identification and embedding; empty where the extra `language` is not installed."""
    kinds = default_kinds()
    if kinds is None:
        return ()
    rows = []
    for tag in tally.opening.plan.matrix.languages:
        if texts := tally.heard.get(tag):
            found = kinds.classify_all(texts, tag)
            count = Counter(r.kind for r in found)
            cells = tuple(KindCell(count[k], rate_text(count[k] / len(found))) for k in RESPONSE_KINDS)
            rows.append(HeardRow(language_name(tally.opening.catalog, tag), len(found), cells, sum(not r.sure for r in found)))
    return tuple(rows)


def reason_rows(tally: Tally) -> tuple[ReasonRow, ...]:
    """Reasons of unscorable trials, most frequent first."""
    by_reason: dict[str, dict[str, int]] = {}
    for (reason, language), n in tally.reasons.items():
        by_reason.setdefault(reason, {})[language] = n
    rows = [
        ReasonRow(reason, sum(found.values()), listed([f"{tag} {n:,}" for tag, n in sorted(found.items())], most=12))
        for reason, found in by_reason.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.n, row.reason)))


def incident_rows(incidents: list[dict[str, str | int]]) -> tuple[IncidentRow, ...]:
    """What was noted, oldest first."""
    return tuple(_incident(i) for i in incidents)


def _incident(incident: dict[str, str | int]) -> IncidentRow:
    at = incident.get("at")
    details = [f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in incident.items()]
    shown = [d for d in details if not d.startswith(("what:", "at:"))]
    return IncidentRow(time_text(at) if isinstance(at, int) else "", str(incident.get("what", "")), "; ".join(shown))
