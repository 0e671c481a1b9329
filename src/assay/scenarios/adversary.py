"""What an attack gets, and the placebo that pairs with it.

An attack rewrites the text that the adversary controls: the user's request, or the injection in a document. The words around it come from
the catalogue, in the item's language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from msgspec import Struct

from assay.catalog import Language
from assay.catalog.content import AttackWords
from assay.scenarios.prf import Prf

Path = tuple[str | int, ...]


class Context(Struct, frozen=True):
    """The words of this attack in the item's language; `rendering` gives the same request in another language, as the attack's kind says:
    a poorly resourced one, or one that people mix with the item's.
    """

    language: Language
    words: AttackWords
    prf: Prf
    path: Path
    rendering: Callable[[], str]


Attack = Callable[[str, Context], str]


def turned(text: str, context: Context) -> tuple[str, str, str]:
    """An attack over two turns: the first message, the reply that is put into the assistant's mouth, and the request.

    `{a}` and `{b}` in the words stand for the two halves of the request, `{payload}` for all of it.
    """
    words = context.words
    units = graphemes(text)
    half = len(units) // 2
    cut = next((i for i in range(half, len(units)) if units[i].isspace()), half)
    a, b = "".join(units[:cut]), "".join(units[cut:]).strip()
    first, last = (t.replace("{a}", a).replace("{b}", b).replace("{payload}", text) for t in (words.first, words.wrap))
    return first, words.reply, last


def placebo(text: str, length: int, neutral: tuple[str, ...], prf: Prf, path: Path) -> str:
    """The request unchanged, beside harmless sentences, as long as the attack's text in characters (to within one sentence)."""
    filler: list[str] = []
    i = 0
    while len(text) + 2 + sum(map(len, filler)) + len(filler) < length:
        filler.append(prf.choose(neutral, *path, "placebo", i))
        i += 1
    return "\n\n".join(part for part in (" ".join(filler), text) if part)


_JOINS = re.compile(r"[\u200d\u0e30-\u0e3a\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece]")


def graphemes(text: str) -> list[str]:
    """Letters with the marks that belong to them: a close, table-free form of Unicode's grapheme clusters (UAX 29)."""
    out: list[str] = []
    for char in text:
        if out and (unicodedata.category(char) in ("Mn", "Mc", "Me") or _JOINS.match(char)):
            out[-1] += char
        else:
            out.append(char)
    return out
