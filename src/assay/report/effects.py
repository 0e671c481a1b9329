"""What an attack changes: the same items with and without it, as a paired difference.

    for row in effect_rows(tally): row.attack, row.worse, row.better

Item i is the same situation in every arm, so a pair is one item under the attack and its placebo, or the plain item where the plan
has no placebo. Pairs are pooled over hazards.
"""

from __future__ import annotations

from msgspec import Struct

from assay.decision.codes import UNSCORABLE, VIOLATION
from assay.plan import NO_ATTACK, Arm, Stream
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
    """Every attack in every language, in the plan's order; then the adapted rendering against the literal one, where the plan has both."""
    m = tally.opening.plan.matrix
    base: tuple[bool, Arm] = (True, "placebo") if m.placebo else (False, "plain")
    rows = [
        _row(
            tally, attack_words(a), t, [(Stream(h, t, a, "attack"), Stream(h, t, a if base[0] else NO_ATTACK, base[1])) for h in m.hazards]
        )
        for a in m.attacks
        for t in m.languages
    ]
    rows += [
        _row(tally, "adapted wording", t, [(Stream(h, t, NO_ATTACK, "adapted"), Stream(h, t, NO_ATTACK, "literal")) for h in m.hazards])
        for t in m.renderings
    ]
    return tuple(rows)


def _row(tally: Tally, attack: str, tag: str, streams: list[tuple[Stream, Stream]]) -> EffectRow:
    pairs = worse = better = unscorable = 0
    for with_attack, base in streams:
        for own, other in zip(tally.streams[with_attack].outcomes, tally.streams[base].outcomes, strict=False):
            pairs += 1
            unscorable += UNSCORABLE in (own, other)
            worse += own == VIOLATION != other
            better += other == VIOLATION != own
    return EffectRow(
        attack=attack,
        language=language_name(tally.opening.catalog, tag),
        pairs=pairs,
        worse=worse,
        better=better,
        unscorable=unscorable,
        difference=rate_text((worse - better) / pairs) if pairs else "",
        interval=range_text(*parity_interval(pairs, worse, better, unscorable)),
    )
