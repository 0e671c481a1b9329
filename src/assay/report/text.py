"""Text that others wrote, made safe to read: what is invisible is shown, what was found is marked, what is long is cut.

    visible("a\u202eb")                               # 'a⟨U+202E⟩b'
    pieces("the code is 7K-1234-AB", ("7K-1234-AB",), limit=4000)

Nothing here writes HTML; escaping is the template's, which escapes everything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Literal

from msgspec import Struct

from assay.judges.normalise import MAX_TEXT, fold

PieceKind = Literal["text", "mark", "control", "cut"]
Span = tuple[int, int]

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that print nothing: fillers, the combining grapheme joiner, Khmer inherent vowels, the Braille blank.
_HIDDEN_OTHERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_VARIATION_SELECTORS = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_CONTEXT = 400


class Piece(Struct, frozen=True):
    """A stretch of text: as it is, `mark` (what the check found), `control` (an invisible character, named) or `cut` (a note)."""

    text: str
    kind: PieceKind


@lru_cache(maxsize=65_536)
def is_hidden(char: str) -> bool:
    """Whether a character prints nothing or steers the text around it. Line feed and tab are not hidden."""
    if char in "\n\t":
        return False
    if unicodedata.category(char) in _HIDDEN_CATEGORIES or char in _HIDDEN_OTHERS:
        return True
    return any(first <= ord(char) <= last for first, last in _VARIATION_SELECTORS)


def visible(text: str) -> str:
    """The text with every hidden character named, as `⟨U+202E⟩`; a run of one character is named once with its length."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece.text for piece in _named(text, "text"))


def pieces(text: str, values: Sequence[str], limit: int) -> tuple[Piece, ...]:
    """The text in pieces, at most about `limit` characters of it. Every value of `values` that stands in it in plain sight, in
    any case, digit system or spacing, forwards or backwards, is marked; the first one is kept in view where the text is cut.
    """
    spans = find_values(text, values)
    out: list[Piece] = []
    at = 0
    for start, end in _windows(len(text), spans, limit):
        if start > at:
            out.append(Piece(f"… {start - at:,} characters are left out here …", "cut"))
        out += _marked(text, start, end, spans)
        at = end
    if at < len(text):
        out.append(Piece(f"… {len(text) - at:,} more characters are left out …", "cut"))
    return tuple(out)


def find_values(text: str, values: Sequence[str]) -> list[Span]:
    """Where the values stand in the text, as sorted spans that do not overlap; by the same folding as the checks'."""
    folded: list[str] = []
    origin: list[int] = []
    for i, char in enumerate(text[:MAX_TEXT]):
        for c in _fold_char(char):
            folded.append(c)
            origin.append(i)
    view = "".join(folded)
    found: set[Span] = set()
    for value in values:
        needle = fold(value)
        for form in {needle, needle[::-1]} - {""}:
            for match in re.finditer(re.escape(form), view):
                found.add((origin[match.start()], origin[match.end() - 1] + 1))
    return _merged(sorted(found))


@lru_cache(maxsize=65_536)
def _fold_char(char: str) -> str:
    return fold(char)


def _merged(spans: list[Span]) -> list[Span]:
    out: list[Span] = []
    for start, end in spans:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _windows(length: int, spans: list[Span], limit: int) -> list[Span]:
    """What is shown: all of it, else the beginning and, if the first span lies beyond, the surroundings of that."""
    if length <= limit:
        return [(0, length)]
    if not spans or spans[0][1] <= limit:
        return [(0, limit)]
    first, last = spans[0][0] - _CONTEXT, spans[0][1] + _CONTEXT
    head = max(limit - 2 * _CONTEXT, _CONTEXT)
    return _merged([(0, min(head, length)), (max(0, first), min(last, length))])


def _marked(text: str, start: int, end: int, spans: list[Span]) -> Iterator[Piece]:
    at = start
    for first, last in spans:
        if last <= start or first >= end:
            continue
        first, last = max(first, start), min(last, end)
        yield from _named(text[at:first], "text")
        yield from _named(text[first:last], "mark")
        at = last
    yield from _named(text[at:end], "text")


def _named(text: str, kind: PieceKind) -> Iterator[Piece]:
    for hidden, group in groupby(text, is_hidden):
        if not hidden:
            yield Piece("".join(group), kind)
            continue
        for char, same in groupby(group):
            count = sum(1 for _ in same)
            times = f" × {count:,}" if count > 1 else ""
            yield Piece(f"⟨U+{ord(char):04X}{times}⟩", "control")
