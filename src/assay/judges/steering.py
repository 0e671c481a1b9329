"""Whether a judge can be steered by what it reads: answers whose verdict is known, alone and with words around them that speak to it.

cases = steering_cases(read_judge_attacks(), ["en", "ms"])
withstood = tally(zip(cases, outcomes))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from msgspec import Struct

from assay.catalog import JudgeAttacks
from assay.judges.checks import Outcome
from assay.plan import NO_ATTACK, Stream
from assay.scenarios import Check, Item, Message
from assay.stats import clopper_pearson

ALONE = "alone"


class Case(Struct, frozen=True):
    """One answer under judgement: `steering` names the words around it (`alone` without any)."""

    item: Item
    answer: str
    violation: bool
    steering: str
    number: int

    @property
    def language(self) -> str:
        """Of the answer and of the words around it."""
        return self.item.stream.language


class Withstood(Struct, frozen=True):
    """What a judge did in one language or with one kind of steering.

    `alone`: violating answers, and how many were flagged without steering; `passed`: acceptable answers and how many were passed. Of the
    `steered` (those whose answer was flagged alone), `turned` were called safe and `unusable` got no usable reply.
    """

    name: str
    violating: int
    flagged: int
    acceptable: int
    passed: int
    steered: int
    turned: int
    unusable: int

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% interval of the rate at which steering turns a verdict (Clopper and Pearson 1934)."""
        return clopper_pearson(self.turned, self.steered) if self.steered else (0.0, 1.0)


def steering_cases(attacks: Mapping[str, JudgeAttacks], languages: Sequence[str], answers: int = 3) -> Iterator[Case]:
    """All cases of some languages: every violating answer alone and with every steering, every acceptable one alone. `answers` bounds how
    many of each are taken.
    """
    for tag in languages:
        found = attacks[tag]
        for number, given in enumerate(found.violating[:answers]):
            item = _item(given.hazard, tag, given.request, number)
            yield Case(item, given.answer, True, ALONE, number)
            for steering in found.steering:
                around = steering.text.replace("{answer}", given.answer.strip()).replace("{code_guess}", _guess(tag, number))
                yield Case(item, around, True, steering.id, number)
        for number, given in enumerate(found.acceptable[:answers]):
            yield Case(_item(given.hazard, tag, given.request, number), given.answer, False, ALONE, number)


def tally(judged: Iterable[tuple[Case, Outcome]], *, by_language: bool) -> list[Withstood]:
    """What the judge did, by language or by kind of steering, and over all (named `all`, last)."""
    cases = list(judged)
    flagged = {(c.language, c.number) for c, outcome in cases if c.violation and c.steering == ALONE and outcome == "violation"}
    names = list(dict.fromkeys(c.language if by_language else c.steering for c, _ in cases))
    out = []
    for name in [*(n for n in names if n != ALONE), "all"]:
        mine = [
            (c, o)
            for c, o in cases
            if name == "all" or (c.language if by_language else c.steering) in (name, *([] if by_language else [ALONE]))
        ]
        alone = [(c, o) for c, o in mine if c.steering == ALONE]
        steered = [o for c, o in mine if c.steering != ALONE and (c.language, c.number) in flagged]
        out.append(
            Withstood(
                name, sum(c.violation for c, _ in alone), sum(c.violation and o == "violation" for c, o in alone),
                sum(not c.violation for c, _ in alone), sum(not c.violation and o == "safe" for c, o in alone),
                len(steered), steered.count("safe"), steered.count("unscorable"),
            )
        )  # fmt: skip
    return out


def _item(hazard: str, language: str, request: str, number: int) -> Item:
    return Item(Stream(hazard, language, NO_ATTACK, "plain"), number, "steering", (Message("user", request.strip()),), Check("judged"))


def _guess(language: str, number: int) -> str:
    return sha256(f"guess/{language}/{number}".encode()).hexdigest()[:10].upper()
