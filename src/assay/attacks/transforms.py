"""Eight deterministic single-turn attacks, and the placebo that pairs with each.

An attack rewrites the text that the adversary controls: the user's request, or the injection in a document. The sentences around the
rewritten text come from the catalogue, in the item's language. Static attacks give a lower bound on what an adaptive adversary reaches.

    attack, placebo = ATTACKS["base64"]
    attack(text, wrap, neutral, prf, path)
"""

from __future__ import annotations

import base64
import re
import unicodedata

from assay.scenarios import Path, Prf, Transform

Neutral = tuple[str, ...]


def _base64(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
    return wrap.replace("{payload}", base64.b64encode(text.encode()).decode())


def _reversed(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
    """Grapheme by grapheme, so that Thai and Tamil signs stay on their letters (after FlipAttack)."""
    return wrap.replace("{payload}", "".join(reversed(graphemes(text))))


def _character_spacing(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
    return wrap.replace("{payload}", " ".join(g if not g.isspace() else "/" for g in graphemes(text)))


def _payload_splitting(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
    parts = graphemes(text)
    third = max(1, len(parts) // 3)
    cut = [parts[:third], parts[third : 2 * third], parts[2 * third :]]
    for name, part in zip("abc", cut, strict=True):
        wrap = wrap.replace("{" + name + "}", "".join(part))
    return wrap


def _framing(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
    """The request unchanged, inside the attack's frame."""
    return wrap.replace("{payload}", text)


def _placebo(attack: Transform) -> Transform:
    """The request unchanged, beside harmless sentences, as long as the attack's text in characters (to within one sentence)."""

    def transform(text: str, wrap: str, neutral: Neutral, prf: Prf, path: Path) -> str:
        length = len(attack(text, wrap, neutral, prf, path))
        filler: list[str] = []
        i = 0
        while len(text) + 2 + sum(map(len, filler)) + len(filler) < length:
            filler.append(prf.choose(neutral, *path, "placebo", i))
            i += 1
        return "\n\n".join(part for part in (" ".join(filler), text) if part)

    return transform


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


_BY_NAME: dict[str, Transform] = {
    "base64": _base64,
    "reversed": _reversed,
    "character-spacing": _character_spacing,
    "payload-splitting": _payload_splitting,
    "prefix-injection": _framing,
    "refusal-suppression": _framing,
    "role-play": _framing,
    "configuration": _framing,
}

ATTACKS: dict[str, tuple[Transform, Transform]] = {name: (attack, _placebo(attack)) for name, attack in _BY_NAME.items()}
