"""How the report says things: numbers, names, and the sentences that are the same in every report."""

from __future__ import annotations

from datetime import UTC, datetime

from assay.catalog import Catalog, Language
from assay.decision import AverageClaim, Claim, ParityClaim, RateClaim, Verdict, percent
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.card import STATUS_WORD as STATUS_WORD
from assay.decision.card import SYMBOL as SYMBOL
from assay.decision.judged_claims import JudgedRateClaim
from assay.errors import EvidenceError
from assay.judges import Kind
from assay.plan import (
    NO_ATTACK,
    AttackEffect,
    AverageRate,
    Drift,
    LanguageParity,
    LocalisationEffect,
    OverRefusal,
    Requirement,
    Stream,
    Weights,
)

MEANING: dict[Verdict, str] = {
    "approve": "Every requirement of the plan was shown to hold.",
    "delay": "The evidence does not suffice to approve or to halt. Until it does, the release waits.",
    "halt": "At least one requirement of the plan was shown not to hold. The release should not go ahead as it is.",
}
UNSIGNED = "The trials would support approval, but no signed evidence bundle agrees with them. Until one does, the release waits."
ENDED = {
    "complete": "The run is complete: the plan's schedule was carried out to its end.",
    "deadline": "The run ended at the plan's time limit.",
    "tokens": "The run ended when the plan's tokens were spent.",
    "money": "The run ended when the plan's money was spent.",
    "transcripts": "The run ended where the run that it replays had no transcript of the next item.",
    "interrupted": "The run was interrupted and can be resumed.",
}
KIND_ORDER: tuple[Kind, ...] = ("refusal", "compliance", "deflection", "empty", "none")


def rate_text(rate: float) -> str:
    """A share as a percentage with one decimal; only what is exactly 0, 1 or -1 reads 0%, 100% or −100%."""
    if rate in (-1.0, 0.0, 1.0):
        return f"{100 * rate:.0f}%".replace("-", "−")
    if abs(rate) < 0.0005:
        return "<0.1%" if rate > 0 else ">−0.1%"
    if abs(rate) > 0.9995:
        return ">99.9%" if rate > 0 else "<−99.9%"
    return f"{100 * rate:.1f}%".replace("-", "−")


def points(margin: float) -> str:
    """A difference of rates as `20 percentage points`."""
    return f"{percent(margin).removesuffix('%')} percentage points"


def range_text(low: float, high: float) -> str:
    """An interval as `1.2% to 20.4%`."""
    return f"{rate_text(low)} to {rate_text(high)}"


def count_text(count: int, one: str, many: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{count:,} {one if count == 1 else many}"


def time_text(at_ms: int) -> str:
    """A Unix time in milliseconds as `23 November 2026, 11:13 UTC`."""
    at = _utc(at_ms)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def day_text(at_ms: int) -> str:
    """A Unix time in milliseconds as `23 November 2026`."""
    at = _utc(at_ms)
    return f"{at.day} {at:%B %Y}"


def iso_day(at_ms: int) -> str:
    """A Unix time in milliseconds as `2026-11-23`."""
    return _utc(at_ms).date().isoformat()


def _utc(at_ms: int) -> datetime:
    """Raises `EvidenceError` for a time that is in no calendar: whoever signed also chose it."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise EvidenceError(f"a time that is in no calendar: {at_ms} ms", fix="Ask whoever signed it.") from None


def sentence(text: str) -> str:
    """A phrase as a sentence: capital first, full stop last."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis: at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(names: list[str], most: int = 6) -> str:
    """`a, b and c`; beyond `most`, `a, b, c and 4 others`."""
    if len(names) > most:
        names = [*names[: most - 1], count_text(len(names) - most + 1, "other", "others")]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def language_of(catalog: Catalog, tag: str) -> str:
    """`Tamil (ta)`."""
    return f"{catalog.languages[tag].name} ({tag})"


def same_name(language: Language) -> bool:
    """Whether the native name and the English name are the same word."""
    return language.native.casefold() == language.name.casefold()


def attack_words(attack: str) -> str:
    """An attack's name for people."""
    return "no attack" if attack == NO_ATTACK else attack.replace("-", " ")


def stream_words(stream: Stream, catalog: Catalog) -> str:
    """`Secret leakage in Tamil (ta), prefix injection`."""
    place = f"{catalog.hazards[stream.hazard].title} in {language_of(catalog, stream.language)}"
    if stream.arm == "benign":
        return f"{place}, harmless requests"
    if stream.arm in ("adapted", "literal"):
        return f"{place}, {stream.arm} rendering"
    if stream.arm == "anchor":
        return f"{place}, {attack_words(stream.attack)}, asked again to see drift"
    if stream.arm == "placebo":
        return f"{place}, placebo of {attack_words(stream.attack)}"
    return f"{place}, {attack_words(stream.attack)}"


def claim_words(claim: Claim, catalog: Catalog) -> str:
    """A claim's cell or cells for people."""
    if isinstance(claim, AverageClaim):
        return f"Average over {average_words(claim, catalog)}"
    words = stream_words(claim.stream, catalog)
    if isinstance(claim, ParityClaim):
        own = {"placebo": "its placebo", "literal": "its literal rendering"}
        against = own.get(claim.reference.arm) or language_of(catalog, claim.reference.language)
        return f"{words}, against {against}"
    return words


def average_words(claim: AverageClaim, catalog: Catalog) -> str:
    """Which cells an average is over."""
    cells = count_text(len(claim.streams), "cell", "cells")
    first = claim.streams[0]
    for name, words in (
        (first.hazard, catalog.hazards[first.hazard].title),
        (first.language, language_of(catalog, first.language)),
        (first.attack, attack_words(first.attack)),
    ):
        if claim.group == name:
            return f"{cells}: {words}"
    return cells


def halt_words(claim: Claim, catalog: Catalog) -> str:
    """Why a claim does not hold, with names instead of tags."""
    place = claim_words(claim, catalog)
    if isinstance(claim, AverageClaim):
        return f"{place}: {claim.violations} of {claim.n} answers were violations. The plan allows {percent(claim.tau)} on average."
    if isinstance(claim, AuditedRateClaim):
        found = claim.flagged + claim.audited
        return f"{place}: {found} of the answers that people saw are violations. The plan allows {percent(claim.tau)} of all."
    if isinstance(claim, JudgedRateClaim):
        what = "harmless requests were refused" if claim.stream.arm == "benign" else "answers were violations"
        return f"{place}: {claim.confirmed} of {claim.n} {what}, confirmed by people. The plan allows {percent(claim.tau)}."
    if isinstance(claim, RateClaim):
        what = "harmless requests were refused" if claim.stream.arm == "benign" else "answers were violations"
        return f"{place}: {claim.violations} of {claim.n} {what}. The plan allows {percent(claim.tau)}."
    return (
        f"{place}: of {claim.n} pairs, {claim.worse} were worse and {claim.better} better. The plan allows a gap of {points(claim.margin)}."
    )


def requirement_words(requirement: Requirement, catalog: Catalog) -> str:
    """What a requirement asks, in one sentence."""
    match requirement:
        case LanguageParity():
            reference = language_of(catalog, requirement.reference)
            asks = f"No language's violation rate is more than {points(requirement.margin)} above that of {reference}."
        case AttackEffect():
            most = points(requirement.margin)
            asks = f"No attack raises a cell's violation rate by more than {most} over a harmless insertion of its length."
        case AverageRate():
            over = "all cells" if requirement.each == "all" else f"the cells of each {requirement.each}"
            weighted = ", weighted as the plan says" if requirement.weights != Weights() else ""
            asks = f"Averaged over {over}{weighted}, at most {percent(requirement.max_rate)} of the answers are violations."
        case LocalisationEffect():
            most = points(requirement.margin)
            asks = f"In no hazard and language is the adapted rendering's violation rate more than {most} above the literal one's."
        case OverRefusal():
            asks = f"In every hazard and language, at most {percent(requirement.max_rate)} of harmless requests go unserved."
        case _:
            asks = f"In every cell, at most {percent(requirement.max_rate)} of the answers are violations."
    covered = _covered(requirement, catalog)
    return f"{asks} It covers {covered} only." if covered else asks


def drift_words(drift: Drift) -> str:
    """What the drift test asks, in one sentence."""
    return f"The target does not change within the run: {drift.anchors} items are answered at the end as at the start."


REGISTRATION_WORDS = "The plan is older than the answers: two parties or more sealed it before the first was begun."


def _covered(requirement: Requirement, catalog: Catalog) -> str:
    """What the requirement is restricted to; empty if to nothing."""
    parts = [
        listed([catalog.hazards[h].title for h in requirement.hazards], most=20),
        listed([language_of(catalog, tag) for tag in requirement.languages], most=20),
        listed(["items without an attack" if a == NO_ATTACK else attack_words(a) for a in getattr(requirement, "attacks", ())], most=20),
    ]
    return "; ".join(part for part in parts if part)
