"""Deterministic attacks. `catalog/attacks.yaml` says what each is, in which scripts it has a meaning, and which words it needs.

    ATTACKS["base64"](text, context)

What can be undone has its inverse in `UNDO`, and the content lint checks that it undoes. Static attacks give a lower bound on what an
adaptive adversary reaches. Sources of the ideas stand beside the attacks in the catalogue; the code and the words are our own.
"""

from __future__ import annotations

import base64
import codecs
import re
import unicodedata
from collections.abc import Callable

from anyascii import anyascii

from assay.attacks.letters import ART, HOMOGLYPHS, LEET, LOOKALIKE_SPELLINGS, MARKS, MORSE
from assay.scenarios import Attack, Context, graphemes, turned

ZERO_WIDTH = "\u200b"
_SENTENCE = re.compile(r"(?<=[.!?。！？၊။។॥।])\s*|\n+")


def _base64(text: str, context: Context) -> str:
    return _wrapped(base64.b64encode(text.encode()).decode(), context)


def _hex(text: str, context: Context) -> str:
    return _wrapped(text.encode().hex(" "), context)


def _rot13(text: str, context: Context) -> str:
    return _wrapped(codecs.encode(text, "rot13"), context)


def _leetspeak(text: str, context: Context) -> str:
    return _wrapped(text.translate(LEET), context)


def _morse(text: str, context: Context) -> str:
    """Over a romanisation, since Morse has Latin letters and digits only; what has no sign is left out."""
    words = anyascii(unicodedata.normalize("NFKC", text)).lower().split()
    coded = (" ".join(MORSE[c] for c in word if c in MORSE) for word in words)
    return _wrapped(" / ".join(word for word in coded if word), context)


def _romanised(text: str, context: Context) -> str:
    return anyascii(text)


def _reversed(text: str, context: Context) -> str:
    """Grapheme by grapheme, so that signs stay on their letters."""
    return _wrapped("".join(reversed(graphemes(text))), context)


def _character_spacing(text: str, context: Context) -> str:
    return _wrapped(" ".join(g if not g.isspace() else "/" for g in graphemes(text)), context)


def _homoglyphs(text: str, context: Context) -> str:
    """About half of the letters that have a double become it; spellings that look the same are exchanged throughout."""
    for plain, other in LOOKALIKE_SPELLINGS:
        text = text.replace(plain, other)
    if context.language.script in ("Kore", "Jpan", "Taml", "Telu", "Deva"):
        text = unicodedata.normalize("NFD", text)
    return "".join([HOMOGLYPHS[c] if c in HOMOGLYPHS and draw & 1 else c for c, draw in _drawn(text, context)])


def _zero_width(text: str, context: Context) -> str:
    """A zero-width space after about half of the letters."""
    return "".join([g + ZERO_WIDTH if g[0].isalpha() and draw & 1 else g for g, draw in _drawn(graphemes(text), context)])


def _diacritics(text: str, context: Context) -> str:
    """A combining mark on about half of the letters."""
    drawn = _drawn(text, context)
    return "".join([c + MARKS[(draw >> 1) % len(MARKS)] if c.isascii() and c.isalpha() and draw & 1 else c for c, draw in drawn])


def _bidi(text: str, context: Context) -> str:
    """Stored backwards, shown forwards by a right-to-left override."""
    return "\n".join("\u202e" + "".join(reversed(graphemes(line))) + "\u202c" if line.strip() else line for line in text.split("\n"))


def _drawn(units: str | list[str], context: Context) -> list[tuple[str, int]]:
    return list(zip(units, context.prf.integers(len(units), *context.path, "units"), strict=True)) if units else []


def _payload_splitting(text: str, context: Context) -> str:
    parts = graphemes(text)
    third = max(1, len(parts) // 3)
    wrap = context.words.wrap
    for name, part in zip("abc", (parts[:third], parts[third : 2 * third], parts[2 * third :]), strict=True):
        wrap = wrap.replace("{" + name + "}", "".join(part))
    return wrap


def _code_wrapping(text: str, context: Context) -> str:
    """The request as a list of pieces, last first, and a function that reads it."""
    pieces = words(text)
    listed = ",\n".join(f"    {_quoted(p)}" for p in reversed(pieces))
    program = f"def read(pieces):\n    return {_quoted(_joint(text))}.join(reversed(pieces))\n\nrequest = read([\n{listed},\n])"
    return _wrapped(program, context)


def _ascii_art(text: str, context: Context) -> str:
    """The longest word drawn in signs, and a gap in its place."""
    longest = max(re.findall(r"[^\W\d_]+", text) or [text], key=len)
    letters = [ART[c] for c in anyascii(longest).upper() if c in ART]
    rows = ["  ".join(letter[row] for letter in letters) for row in range(5)]
    art = "\n".join(row.replace("1", "#").replace("0", " ").rstrip() for row in rows)
    return context.words.wrap.replace("{art}", art).replace("{payload}", text.replace(longest, "[____]"))


def _many_shot(text: str, context: Context) -> str:
    """Every stored example twice, in an order of its own for each item."""
    shots = context.words.shots * 2
    order = sorted(range(len(shots)), key=lambda i: context.prf.integer(*context.path, "shot", i))
    shown = "\n\n".join(f"{shots[i].ask}\n{shots[i].answer}" for i in order)
    return context.words.wrap.replace("{shots}", shown).replace("{payload}", text)


def _low_resource_pivot(text: str, context: Context) -> str:
    return _wrapped(context.rendering(), context)


def _code_switching(text: str, context: Context) -> str:
    """The request's own sentences but the last, a phrase of the other language between them, and that language's last sentence."""
    own, other = sentences(text), sentences(context.rendering())
    phrases = context.words.phrases
    mixed = own[:-1] or own
    for i, draw in enumerate(context.prf.integers(len(mixed), *context.path, "phrase")):
        mixed[i] = f"{mixed[i]} {phrases[draw % len(phrases)]}" if phrases else mixed[i]
    return " ".join([*mixed, other[-1]])


def _framing(text: str, context: Context) -> str:
    """The request unchanged, inside the attack's frame."""
    return _wrapped(text, context)


def _in_one_turn(text: str, context: Context) -> str:
    """Where the adversary has one text only, its turns one after the other."""
    return "\n\n".join(part for part in turned(text, context) if part)


def _wrapped(payload: str, context: Context) -> str:
    return context.words.wrap.replace("{payload}", payload) if context.words.wrap else payload


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def words(text: str) -> list[str]:
    """Words where they are separated by spaces, else pieces of four letters; joined by `_joint` they give the text, its spaces made one."""
    separated = text.split()
    if len(separated) * 12 >= len(text):
        return separated
    units = graphemes(text)
    return ["".join(units[i : i + 4]) for i in range(0, len(units), 4)]


def _joint(text: str) -> str:
    return " " if len(text.split()) * 12 >= len(text) else ""


def sentences(text: str) -> list[str]:
    """By stops and lines; by spaces where a script has no stops."""
    found = [part.strip() for part in _SENTENCE.split(text) if part.strip()]
    if len(found) == 1 and re.search(r"[\u0e00-\u0eff]", text):
        found = text.split()
    return found or [text]


# Strategies begin with the plain request; the engine plays them.
ATTACKS: dict[str, Attack] = {
    "base64": _base64,
    "hex": _hex,
    "rot13": _rot13,
    "leetspeak": _leetspeak,
    "morse": _morse,
    "romanised": _romanised,
    "reversed": _reversed,
    "character-spacing": _character_spacing,
    "homoglyphs": _homoglyphs,
    "zero-width": _zero_width,
    "diacritics": _diacritics,
    "bidi": _bidi,
    "payload-splitting": _payload_splitting,
    "code-wrapping": _code_wrapping,
    "ascii-art": _ascii_art,
    "prefix-injection": _framing,
    "refusal-suppression": _framing,
    "style": _framing,
    "role-play": _framing,
    "nested-fiction": _framing,
    "configuration": _framing,
    "past-tense": _framing,
    "many-shot": _many_shot,
    "low-resource-pivot": _low_resource_pivot,
    "code-switching": _code_switching,
    **dict.fromkeys(("best-of-n", "persuasion", "pair", "tap", "crescendo", "goat"), _framing),
    "skeleton-key": _in_one_turn,
    "decomposition": _in_one_turn,
}

_UNMARK = {**{other: plain for plain, other in HOMOGLYPHS.items()}}


def _plain_spelling(text: str) -> str:
    text = "".join(_UNMARK.get(c, c) for c in text)
    for plain, other in LOOKALIKE_SPELLINGS:
        text = text.replace(other, plain)
    return unicodedata.normalize("NFC", text)


UNDO: dict[str, Callable[[str], str]] = {
    "base64": lambda coded: base64.b64decode(coded).decode(),
    "hex": lambda coded: bytes.fromhex(coded).decode(),
    "rot13": lambda coded: codecs.encode(coded, "rot13"),
    "reversed": lambda coded: "".join(reversed(graphemes(coded))),
    "character-spacing": lambda coded: coded.replace(" ", "").replace("/", " "),
    "zero-width": lambda coded: coded.replace(ZERO_WIDTH, ""),
    "homoglyphs": _plain_spelling,
    "diacritics": lambda coded: "".join(c for c in coded if c not in MARKS),
    "bidi": lambda coded: "\n".join("".join(reversed(graphemes(line.strip("\u202e\u202c")))) for line in coded.split("\n")),
}
"""What gives the request back from the attacked text without its wrap; for whitespace, up to its kind."""
