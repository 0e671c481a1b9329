"""What fills a slot: one generator per kind, a pure function of the draw and the language.

Values that a check looks for are random enough not to be guessed (10^5 and more) and are the same in every language where their
kind allows, so that items are paired across languages. docs/content.md lists the kinds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from assay.catalog import Language
from assay.errors import CatalogError
from assay.scenarios.adversary import Path
from assay.scenarios.prf import Prf

_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_LOWER = "23456789abcdefghjkmnpqrstuvwxyz"
_LETTER_PAIRS = tuple(a + b for a in _UPPER for b in _UPPER)
_TOKEN_PAIRS = tuple(a + b for a in _LOWER for b in _LOWER)
_SYLLABLES = tuple(c + v for c in "BDFGKLMNPRSTVZ" for v in "AEIOU")

_RUNS = re.compile(r"#+|@@?|[^#@]+")
Generator = Callable[[int, Language], str]


def _code(n: int, _: Language) -> str:
    return _pattern("#@-####-@@", n)


def _pin(n: int, _: Language) -> str:
    return str(100_000 + n % 900_000)


def _token(n: int, _: Language) -> str:
    return "tk-" + _words(_TOKEN_PAIRS, 6, n)


def _account(n: int, _: Language) -> str:
    return str(10_000_000_000 + n % 90_000_000_000)


def _national_id(n: int, language: Language) -> str:
    return _pattern(language.national_id.pattern, n)


def _phone(n: int, language: Language) -> str:
    return _pattern(language.phone, n)


def _ref(n: int, _: Language) -> str:
    n, letter = divmod(n, len(_UPPER))
    return f"{_UPPER[letter]}-{10_000 + n % 90_000}"


def _room(n: int, _: Language) -> str:
    return str(201 + n % 789)


def _hotline(n: int, _: Language) -> str:
    return f"1800-555-{n % 10_000:04d}"


def _head(n: int, _: Language) -> str:
    return _words(_SYLLABLES, 3, n)


def _tail(n: int, _: Language) -> str:
    return str(1000 + n % 9000)


def _words(words: Sequence[str], count: int, n: int) -> str:
    out = []
    for _ in range(count):
        n, i = divmod(n, len(words))
        out.append(words[i])
    return "".join(out)


def _pattern(pattern: str, n: int) -> str:
    """'#' becomes a digit, '@' a capital letter; everything else stays."""
    template, drawn = _compiled(pattern)
    values: list[str | int] = []
    for size, words in drawn:
        n, i = divmod(n, size)
        values.append(words[i] if words else i)
    return template % tuple(values)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[str, tuple[tuple[int, Sequence[str]], ...]]:
    """A printf template, and for each of its places how many values there are and, for letters, which."""
    template: list[str] = []
    drawn: list[tuple[int, Sequence[str]]] = []
    for run in _RUNS.findall(pattern):
        if run[0] == "#":
            template.append(f"%0{len(run)}d")
            drawn.append((10 ** len(run), ()))
        elif run[0] == "@":
            words = _LETTER_PAIRS if len(run) == 2 else _UPPER
            template.append("%s")
            drawn.append((len(words), words))
        else:
            template.append(run.replace("%", "%%"))
    return "".join(template), tuple(drawn)


GENERATORS: dict[str, Generator] = {
    "code": _code,
    "pin": _pin,
    "token": _token,
    "account": _account,
    "national_id": _national_id,
    "phone": _phone,
    "ref": _ref,
    "room": _room,
    "hotline": _hotline,
    "head": _head,
    "tail": _tail,
}


def slot_size(kind: str, language: Language) -> int:
    """How many different values a slot of this kind has."""
    match kind:
        case "person":
            return len(set(language.people))
        case "money":
            return 900
        case "payment":
            return max(1, len(set(language.payments)))
        case "national_id":
            return _pattern_size(language.national_id.pattern)
        case "phone":
            return _pattern_size(language.phone)
        case _ if kind.startswith("place."):
            return len(set(language.places.get(kind.removeprefix("place."), ())))
        case _:
            return _SIZES[kind]


def _pattern_size(pattern: str) -> int:
    return math.prod(size for size, _ in _compiled(pattern)[1])


_SIZES = {
    "code": _pattern_size("#@-####-@@"),
    "pin": 900_000,
    "token": len(_TOKEN_PAIRS) ** 6,
    "account": 90_000_000_000,
    "ref": len(_UPPER) * 90_000,
    "room": 789,
    "hotline": 10_000,
    "head": len(_SYLLABLES) ** 3,
    "tail": 9_000,
}


def fill_slots(slots: dict[str, str], prf: Prf, path: Path, language: Language) -> dict[str, str]:
    """A value for every slot, and for every person `NAME_title`, the polite form of address.

    Slots of the same kind never share a value within one item.
    """
    values: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    names = sorted(slots)
    for name, number in zip(names, prf.integers(len(names), *path, "slots"), strict=True):
        kind = slots[name]
        value = _one(kind, number, language)
        for attempt in range(64):
            if (kind, value) not in taken:
                break
            value = _one(kind, prf.integer(*path, name, attempt), language)
        else:
            raise CatalogError(f"not enough different values for slot '{name}' ({kind}) in {language.tag}")
        taken.add((kind, value))
        values[name] = value
        if kind == "person":
            values[f"{name}_title"] = next(title for person, title in language.people if person == value)
    return values


def _one(kind: str, number: int, language: Language) -> str:
    generator = GENERATORS.get(kind)
    if generator is not None:
        return generator(number, language)
    if kind == "person":
        return language.people[number % len(language.people)][0]
    if kind == "money":
        return language.money.replace("{}", str(100 + number % 900))
    if kind == "payment":
        if not language.payments:
            raise CatalogError(f"language {language.tag} lists no payments")
        return language.payments[number % len(language.payments)]
    if kind.startswith("place."):
        places = language.places.get(kind.removeprefix("place."), ())
        if not places:
            raise CatalogError(f"language {language.tag} lists no places of kind '{kind.removeprefix('place.')}'")
        return places[number % len(places)]
    raise CatalogError(f"unknown slot kind '{kind}'", fix=f"Known: person, place.KIND, money, payment, {', '.join(sorted(GENERATORS))}.")
