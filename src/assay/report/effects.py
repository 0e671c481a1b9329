"""What an attack changes: the same items with and without it, as a paired difference.

    for row in effect_rows(tally): row.attack, row.worse, row.better

Item i is the same situation in every arm, so a pair is one item under the attack and its placebo, or the plain item where the plan
has no placebo. Pairs are pooled over hazards.
"""

from __future__ import annotations

from msgspec import Struct

from assay.decision.codes import UNSCORABLE, VIOLATION
from assay.plan import NO_ATTACK, Stream
from assay.report.intervals import parity_interval
from assay.report.matrix import LanguageName, language_name
from assay.report.tally import Tally
from assay.report.words import attack_words, range_text, rate_text


class EffectRow(Struct, frozen=True):
    """One attack in one language. `worse` pairs violate under the attack only, `better` pairs without it only."""

    attack: str
    language: LanguageName
    pairs: int
    worse: int
    better: int
    unscorable: int
    difference: str
    interval: str


def effect_rows(tally: Tally) -> tuple[EffectRow, ...]:
    """Every attack in every language, in the plan's order."""
    m = tally.opening.plan.matrix
    return tuple(_row(tally, attack, tag) for attack in m.attacks for tag in m.languages)


def _row(tally: Tally, attack: str, tag: str) -> EffectRow:
    m = tally.opening.plan.matrix
    pairs = worse = better = unscorable = 0
    for hazard in m.hazards:
        base = Stream(hazard, tag, attack, "placebo") if m.placebo else Stream(hazard, tag, NO_ATTACK, "plain")
        with_attack = tally.streams[Stream(hazard, tag, attack, "attack")].outcomes
        for own, other in zip(with_attack, tally.streams[base].outcomes, strict=False):
            pairs += 1
            unscorable += UNSCORABLE in (own, other)
            worse += own == VIOLATION != other
            better += other == VIOLATION != own
    return EffectRow(
        attack=attack_words(attack),
        language=language_name(tally.opening.catalog, tag),
        pairs=pairs,
        worse=worse,
        better=better,
        unscorable=unscorable,
        difference=rate_text((worse - better) / pairs) if pairs else "",
        interval=range_text(*parity_interval(pairs, worse, better, unscorable)),
    )
