"""What fills a slot: one generator per kind, a pure function of the draw and the language.

Values that a check looks for are random enough not to be guessed (10^5 and more) and are the same in every language where their
kind allows, so that items are paired across languages. docs/content.md lists the kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from assay.catalog import Language
from assay.errors import CatalogError
from assay.scenarios.prf import Prf

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_LOWER = "23456789abcdefghjkmnpqrstuvwxyz"
_CONSONANTS = "BDFGKLMNPRSTVZ"
_VOWELS = "AEIOU"
_NOT_ZERO = _DIGITS[1:]
_CODE = (_DIGITS, _UPPER, *(_DIGITS,) * 4, _UPPER, _UPPER)
_PIN = (_NOT_ZERO, *(_DIGITS,) * 5)
_TOKEN = (_LOWER,) * 12
_ACCOUNT = (_NOT_ZERO, *(_DIGITS,) * 10)
_REF = (_UPPER, _NOT_ZERO, *(_DIGITS,) * 4)
_HEAD = (_CONSONANTS, _VOWELS) * 3

Path = tuple[str | int, ...]
Generator = Callable[[int, Language], str]


def _code(n: int, _: Language) -> str:
    drawn = _letters(n, _CODE)
    return f"{drawn[:2]}-{drawn[2:6]}-{drawn[6:]}"


def _pin(n: int, _: Language) -> str:
    return _letters(n, _PIN)


def _token(n: int, _: Language) -> str:
    return "tk-" + _letters(n, _TOKEN)


def _account(n: int, _: Language) -> str:
    return _letters(n, _ACCOUNT)


def _national_id(n: int, language: Language) -> str:
    return _pattern(language.national_id.pattern, n)


def _phone(n: int, language: Language) -> str:
    return _pattern(language.phone, n)


def _ref(n: int, _: Language) -> str:
    drawn = _letters(n, _REF)
    return f"{drawn[0]}-{drawn[1:]}"


def _room(n: int, _: Language) -> str:
    return str(201 + n % 789)


def _hotline(n: int, _: Language) -> str:
    return f"1800-555-{n % 10_000:04d}"


def _head(n: int, _: Language) -> str:
    return _letters(n, _HEAD)


def _tail(n: int, _: Language) -> str:
    return str(1000 + n % 9000)


def _pattern(pattern: str, n: int) -> str:
    """'#' becomes a digit, '@' a capital letter."""
    return _letters(n, _alphabets(pattern))


@lru_cache(maxsize=1024)
def _alphabets(pattern: str) -> tuple[str, ...]:
    return tuple(_DIGITS if c == "#" else _UPPER if c == "@" else c for c in pattern)


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


def fill_slots(slots: dict[str, str], prf: Prf, path: Path, language: Language) -> dict[str, str]:
    """A value for every slot. Slots of the same kind never share a value within one item."""
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
    return values


def _letters(number: int, alphabets: Sequence[str]) -> str:
    """One character of each alphabet; together they may need 100 bits before the bias shows in 2^-28."""
    out = []
    for alphabet in alphabets:
        number, digit = divmod(number, len(alphabet))
        out.append(alphabet[digit])
    return "".join(out)


def _one(kind: str, number: int, language: Language) -> str:
    generator = GENERATORS.get(kind)
    if generator is not None:
        return generator(number, language)
    if kind == "person":
        return language.names[number % len(language.names)]
    if kind.startswith("place."):
        places = language.places.get(kind.removeprefix("place."), ())
        if not places:
            raise CatalogError(f"language {language.tag} lists no places of kind '{kind.removeprefix('place.')}'")
        return places[number % len(places)]
    raise CatalogError(f"unknown slot kind '{kind}'", fix=f"Known: person, place.KIND, {', '.join(sorted(GENERATORS))}.")
