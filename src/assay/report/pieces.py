"""Sentences whose numbers are bound to evidence: what the white paper and comparisons are written in.

    say("{n} of {of} answers", n=Figure("3", (bundle,)), of=Figure("120", (bundle,)))

A number is a `Figure` with the digests of the signed bundles that it follows from, a `Reference` (the name of a standard, a clause, a
digest) or a `Stated` (an author's word, printed as such, with its source); words have no numbers (`numeral`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from assay.errors import AssayError

_ASCII_DIGIT = re.compile("[0-9]")
_HAN = ("CJK UNIFIED IDEOGRAPH-", "CJK COMPATIBILITY IDEOGRAPH-")
_ZERO = "〇"
_OF = "分之"
_SHARE = "%％‰‱"
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


def numeral(text: str) -> str:
    """The first number in a text, as it is written; empty if there is none.

    A number is any character that Unicode gives a value: digits of every script, ½, ², ⑨, Ⅻ. Chinese ideographs that have one stand in
    ordinary words (一, 三), so of those only two or more in a row count, and one beside 分之 or before a percent sign.
    """
    if text.isascii():
        found = _ASCII_DIGIT.search(text)
        return found[0] if found else ""
    run = 0
    for at, char in enumerate(text):
        kind = _kind(char)
        if kind == "number":
            return char
        run = run + 1 if kind == "ideograph" else 0
        if run and (run > 1 or text[at + 1 : at + 2] in tuple(_SHARE) or _OF in (text[at + 1 : at + 3], text[max(0, at - 2) : at])):
            return text[at - run + 1 : at + 1]
    return ""


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """`number`, `ideograph` for a number that is a Chinese character, or nothing."""
    if char == _ZERO or (unicodedata.numeric(char, None) is not None and unicodedata.name(char, "").startswith(_HAN)):
        return "ideograph"
    return "number" if any(unicodedata.numeric(c, None) is not None for c in (char, *unicodedata.normalize("NFKC", char))) else ""


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
