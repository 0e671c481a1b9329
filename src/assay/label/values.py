"""What goes between the desk and the page.

Sent(id="3f0c9a77", act="label", slot=41, transcript="sha256:...", verdict="acceptable")
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from assay.errors import AssayError
from assay.judges.labels import Act, Confidence, LabelVerdict, Refusal
from assay.label.view import Rubric, View


class Scope(Struct, frozen=True):
    """Which trials are labelled: those that the plan asks for, or with `everything` all; and only these hazards and languages."""

    everything: bool = False
    hazards: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


class Given(Struct, frozen=True, omit_defaults=True):
    """What somebody said of a trial, as an adjudicator or its own author sees it: no name, no time."""

    verdict: LabelVerdict | None = None
    refusal: Refusal | None = None
    modes: tuple[Annotated[int, Meta(ge=1, le=10)], ...] = ()
    confidence: Confidence | None = None
    note: Annotated[str, Meta(max_length=4000)] = ""


class Sent(Given, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An act as a browser sends it, as often as it takes; `id` is the browser's own and new for every act."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    act: Act
    slot: Annotated[int, Meta(ge=0, le=2**53)]
    transcript: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class Handed(Struct, frozen=True, omit_defaults=True):
    """A trial for one person, with the draft that they left (and its time), and for an adjudicator what the others said."""

    view: View
    draft: dict[str, Any] = {}
    draft_at: int = 0
    others: tuple[Given, ...] = ()


class LanguageShare(Struct, frozen=True):
    """How far a language is, all people together."""

    tag: str
    name: str
    dir: str
    done: int
    total: int


class Progress(Struct, frozen=True):
    """One's own labels, trials still open to one, those of them that one skipped; and all people's labels by language."""

    done: int
    left: int
    skipped: int
    languages: tuple[LanguageShare, ...]


class Draft(Struct, frozen=True):
    """A label left unfinished, and when it was typed by the browser's clock."""

    slot: int
    at: int
    value: dict[str, Any]


class Work(Struct, frozen=True):
    """`drafts` are those of trials that the browser has already, since a browser that was killed may have less of them. `drop` names trials
    that the browser has in stock and that are others' now; `last` is the trial of this person's latest act.
    """

    trials: tuple[Handed, ...]
    drafts: tuple[Draft, ...]
    drop: tuple[int, ...]
    rubrics: dict[str, tuple[Rubric, ...]]
    progress: Progress
    last: int | None


class RefusedError(AssayError):
    """An act that cannot be filed, and would not be the next time either."""
