"""Sentences whose numbers are bound to evidence: what the white paper and comparisons are written in.

    say("{n} of {of} answers", n=Figure("3", (bundle,)), of=Figure("120", (bundle,)))

A number is a `Figure` with the digests of the signed bundles that it follows from, a `Reference` (the name of a standard, a clause, a
digest) or a `Stated` (an author's word, printed as such, with its source); words have no digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from assay.errors import AssayError

DIGIT = re.compile(r"\d")
PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class PaperError(AssayError):
    """The paper cannot be made: what is missing, stale or without evidence, and where."""


class Text(Struct, frozen=True, tag="text"):
    """Words; `lang` where they are in another language than the paper, `strong` where they stand out."""

    text: str
    lang: str = ""
    strong: bool = False


class Figure(Struct, frozen=True, tag="figure"):
    """A number or a name out of signed runs, as it is printed, and the digests of the bundles that it follows from."""

    text: str
    evidence: tuple[str, ...]
    strong: bool = False


class Reference(Struct, frozen=True, tag="reference"):
    """The name of something elsewhere, whose digits count nothing: a standard, a clause, a key, a version. `code` sets it as such."""

    text: str
    code: bool = False
    link: str = ""


class Stated(Struct, frozen=True, tag="stated"):
    """What the authors say with digits in it, and where they have it from; printed with a mark, and listed in an annex."""

    text: str
    source: str


Piece = Text | Figure | Reference | Stated


def say(template: str, **pieces: Piece | str | tuple[Piece, ...]) -> tuple[Piece, ...]:
    """A template's pieces: `{name}` gives way to a figure, a reference, or words. Raises `PaperError` for a place that nothing fills."""
    out: list[Piece] = []
    at = 0
    for place in PLACE.finditer(template):
        if place[1] not in pieces:
            raise PaperError(f"nothing fills {{{place[1]}}} in “{template[:80]}”")
        if place.start() > at:
            out.append(Text(template[at : place.start()]))
        given = pieces[place[1]]
        out += given if isinstance(given, tuple) else (Text(given) if isinstance(given, str) else given,)
        at = place.end()
    if at < len(template):
        out.append(Text(template[at:]))
    return tuple(out)


def evidence_in(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """The digests that pieces rest on, each once, in order."""
    return tuple(dict.fromkeys(d for piece in pieces if isinstance(piece, Figure) for d in piece.evidence))
