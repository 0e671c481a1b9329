"""Rule 1 for answers that were there before the run: a plan that is younger than the answers could have been fitted to them.

    registration = registered_first(plan, target, seals)     # None where the target was asked in the run
    Gate(plan, seed, registration=registration)               # an approval without the rule is a delay; a halt stands

It follows from the plan, the target's identity and the seals in the bundle, and from nothing else, so an auditor recomputes it. What lifts
the cap are seals of two parties or more, all older than the first answer: one party's clock is one party's word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from assay.plan import RECORDED, Plan, Sealed

REGISTRATION = "registration"
_TIME = re.compile(r"[1-9]\d{0,13}")


class Registration(Struct, frozen=True):
    """Whether the plan is shown to be older than the answers, and why, in words."""

    first: bool
    reason: str


def registered_first(plan: Plan, target: Mapping[str, str], seals: Sequence[Sealed]) -> Registration | None:
    """What rule 1 says of a run on recorded answers; None for every other run.

    `target` is the identity record: `made` is the Unix time in milliseconds when the first answer was begun, or a word where that is not
    known, which no seal can be older than.
    """
    if RECORDED not in (plan.target.kind, target.get("kind")):
        return None
    made = target.get("made", "")
    if not _TIME.fullmatch(made):
        return Registration(first=False, reason=f"when the answers were made is not known, so the plan may be younger; {_CAPPED}")
    when = f"{datetime.fromtimestamp(int(made) // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    parties = sorted(s.seal.party for s in seals)
    late = sorted(s.seal.party for s in seals if s.seal.at >= int(made))
    if len(set(parties)) >= 2 and not late:
        return Registration(first=True, reason=f"{' and '.join(parties)} sealed the plan before the first answer was begun ({when})")
    if late:
        why = f"{' and '.join(late)} sealed the plan after that"
    elif parties:
        why = f"only {parties[0]} sealed the plan before that, and one party's clock is no proof"
    else:
        why = "no two parties sealed the plan before that"
    return Registration(first=False, reason=f"the answers are recorded, the first was begun at {when}, and {why}; {_CAPPED}")


_CAPPED = "a plan that may have been fitted to its answers can halt, and never approves"
