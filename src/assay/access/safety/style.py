"""A grant's mark in how long answers are set: which dash, which apostrophe, which ellipsis. Off unless the holder agreed to it.

    styler = Styler(key)
    out = styler.feed("It’s a test — and ") + styler.feed("more...") + styler.end()
    style_p(out, key)          # how likely a text that knows nothing of this key agrees with it as well

At each site the form follows from a keyed hash of the words before it. So a copy of a part, or an edited text, keeps the mark wherever
the words around a site are left. With another key, or for text of any other origin, every site agrees with probability one half whatever
forms its author prefers: the randomness is the key's, not the text's. The chance of a false alarm is therefore an exact binomial tail.

It does not survive rewriting, translation, or an editor that makes all apostrophes and dashes alike; and a language without such signs
carries nothing. Code, JSON, tables, links and tool calls are left alone.
"""

from __future__ import annotations

import hmac
import math
import re
import unicodedata
from fractions import Fraction

STYLE_LEVEL = 1e-6
"""Chance of naming anybody, over all grants together, for a text that none of them was given."""
CONTEXT = 16
KEPT = 128
FORMS: dict[str, tuple[str, str]] = {"apostrophe": ("'", "’"), "dash": (" – ", " — "), "ellipsis": ("...", "…")}
_TOKEN = re.compile(
    r"(?P<fence>`{3,}|~{3,})|(?P<code>`|://|(?:\A|\n)(?: {4}|\t| {0,3}[|{\[]))|(?P<line>\n)"
    r"|(?P<apostrophe>(?<=[^\W\d_])['’](?=[^\W\d_]))"
    r"|(?P<dash>(?<=[^\W_])(?: [–—] |—)(?=[^\W\d_]))"
    r"|(?P<ellipsis>(?<=\w)(?:\.\.\.|…)(?![.…\w]))"
)
_OPEN = re.compile(r"(?:['’]| [–—]? ?|—|\.{1,3}|…|(?:\A|\n) {0,4}|`{1,64}|~{1,64}|:/?)\Z")


class _Place:
    """Where in a text one is: inside code, in a line that holds some, or in prose."""

    def __init__(self) -> None:
        self.fenced = self.plain = False

    def at(self, kind: str) -> bool:
        """Go over a token; whether it is a site in prose."""
        if kind == "line":
            self.plain = False
        elif kind == "fence":
            self.fenced, self.plain = not self.fenced, True
        elif kind == "code":
            self.plain = True
        else:
            return not self.fenced and not self.plain
        return False


class Styler:
    """Sets one answer's text as it comes. What is not prose goes through as it is: code, and a line from its first sign of code on.

    Holds back at most what may begin a site (a few characters, or a run of backticks); the same text comes out however it was cut.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._before = ""
        self._held = ""
        self._place = _Place()

    def feed(self, text: str) -> str:
        """What may go on now."""
        match = _OPEN.search(self._held + text)
        return self._set(self._held + text, len(match.group()) if match else 0)

    def end(self) -> str:
        """The rest."""
        return self._set(self._held, 0)

    def _set(self, text: str, keep: int) -> str:
        """All but the last `keep` characters, and but a token that reaches into them."""
        at = len(self._before)
        whole = self._before + text
        end = len(whole) - keep
        out = []
        for match in _TOKEN.finditer(whole, at):
            if match.end() > end:
                end = min(end, match.start())
                break
            kind = match.lastgroup or ""
            if self._place.at(kind):
                out += [whole[at : match.start()], FORMS[kind][_bit(self._key, kind, context(whole, match.start()))]]
                at = match.end()
        out.append(whole[at:end])
        self._held = whole[end:]
        self._before = whole[max(0, end - KEPT) : end]
        return "".join(out)


def context(text: str, at: int) -> str:
    """The letters and digits before a site: spaces, marks and the forms of earlier sites do not matter."""
    before = unicodedata.normalize("NFKC", text[max(0, at - KEPT // 2) : at]).casefold()
    return "".join([c for c in before if c.isalnum()])[-CONTEXT:]


def _bit(key: bytes, kind: str, words: str) -> int:
    return hmac.digest(key, f"{kind}\0{words}".encode(), "sha256")[0] & 1


def sites_of(text: str) -> dict[tuple[str, str], str]:
    """The forms at a text's sites, by kind and context, each context once."""
    found: dict[tuple[str, str], str] = {}
    place = _Place()
    for match in _TOKEN.finditer(text):
        kind, form = match.lastgroup or "", match.group()
        if place.at(kind):
            found.setdefault((kind, context(text, match.start())), " — " if form == "—" else form)
    return found


def agreement(sites: dict[tuple[str, str], str], key: bytes) -> int:
    """At how many sites the form is the key's."""
    return sum(FORMS[kind][_bit(key, kind, words)] == form for (kind, words), form in sites.items())


def tail(agree: int, n: int) -> float:
    """P(Binomial(n, 1/2) >= agree): the chance that a text which knows nothing of a key agrees with it as well."""
    return float(Fraction(sum(math.comb(n, k) for k in range(agree, n + 1)), 2**n))
