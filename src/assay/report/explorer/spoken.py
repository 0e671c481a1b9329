"""Who said what in a trial, and which of it is covered until a reader asks for it.

    for line in spoken_lines(trial, item, violation=True): line.role, line.text, line.cover

Covered is what an adversary wrote (requests of every arm but the harmless twins, and what is planted in a world), and what a target said
in a violation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from assay.judges.reading import spoken
from assay.runs import Trial
from assay.scenarios import Item, WithheldItem

Cover = Literal[0, 1, 2]
OPEN: Cover = 0
PAYLOAD: Cover = 1
ANSWER: Cover = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One message. `role` is `s` for the system, `u` for the user, `a` for the assistant, `w` for what a world's tools gave."""

    role: str
    text: str
    cover: Cover


def spoken_lines(trial: Trial, item: Item, *, violation: bool) -> Iterator[Line]:
    """The whole conversation in order; the turns of a strategy stand in the place of the request, those of an episode follow it."""
    harmless = trial.arm == "benign"
    asked = len(item.messages) if item.world or not trial.turns else len(item.messages) - 1
    planted = tuple(json.dumps(p, ensure_ascii=False)[1:-1][:60] for p in planted_in(item))
    for number, (role, text) in enumerate(spoken(item, trial.answer, trial.turns)):
        given = number < asked
        if role == "system":
            yield Line("s", text, OPEN)
        elif role == "user" and item.world and not given:
            met = not harmless and any(p in text for p in planted)
            yield Line("w", text, PAYLOAD if met else OPEN)
        elif role == "user" or given:
            open_ = harmless or isinstance(item, WithheldItem) or (item.world is not None and bool(planted))
            yield Line("u" if role == "user" else "a", text, OPEN if open_ else PAYLOAD)
        else:
            yield Line("a", text, ANSWER if violation and not harmless else OPEN)


def planted_in(item: Item) -> tuple[str, ...]:
    """What an outsider wrote into a world, if it is one."""
    return tuple(p for p in item.world.planted.values() if p) if item.world else ()
