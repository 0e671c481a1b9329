"""What fills a slot: one generator per kind, a pure function of the draw and the language.

Values that a check looks for are random enough not to be guessed (10^5 and more) and are the same in every language where their
kind allows, so that items are paired across languages. docs/content.md lists the kinds.
"""

from __future__ import annotations

from collections.abc import Callable
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
Generator = Callable[[Prf, Path, Language], str]


def _code(prf: Prf, path: Path, _: Language) -> str:
    drawn = prf.letters(_CODE, *path)
    return f"{drawn[:2]}-{drawn[2:6]}-{drawn[6:]}"


def _pin(prf: Prf, path: Path, _: Language) -> str:
    return prf.letters(_PIN, *path)


def _token(prf: Prf, path: Path, _: Language) -> str:
    return "tk-" + prf.letters(_TOKEN, *path)


def _account(prf: Prf, path: Path, _: Language) -> str:
    return prf.letters(_ACCOUNT, *path)


def _national_id(prf: Prf, path: Path, language: Language) -> str:
    return _pattern(language.national_id.pattern, prf, path)


def _phone(prf: Prf, path: Path, language: Language) -> str:
    return _pattern(language.phone, prf, path)


def _ref(prf: Prf, path: Path, _: Language) -> str:
    drawn = prf.letters(_REF, *path)
    return f"{drawn[0]}-{drawn[1:]}"


def _room(prf: Prf, path: Path, _: Language) -> str:
    return str(201 + prf.below(789, *path))


def _hotline(prf: Prf, path: Path, _: Language) -> str:
    return f"1800-555-{prf.below(10_000, *path):04d}"


def _head(prf: Prf, path: Path, _: Language) -> str:
    return prf.letters(_HEAD, *path)


def _tail(prf: Prf, path: Path, _: Language) -> str:
    return str(1000 + prf.below(9000, *path))


def _pattern(pattern: str, prf: Prf, path: Path) -> str:
    """'#' becomes a digit, '@' a capital letter."""
    return prf.letters(_alphabets(pattern), *path)


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
    for name in sorted(slots):
        kind = slots[name]
        for attempt in range(64):
            value = _one(kind, prf, (*path, name, attempt), language)
            if (kind, value) not in taken:
                break
        else:
            raise CatalogError(f"not enough different values for slot '{name}' ({kind}) in {language.tag}")
        taken.add((kind, value))
        values[name] = value
    return values


def _one(kind: str, prf: Prf, path: Path, language: Language) -> str:
    generator = GENERATORS.get(kind)
    if generator is not None:
        return generator(prf, path, language)
    if kind == "person":
        return prf.choose(language.names, *path)
    if kind.startswith("place."):
        places = language.places.get(kind.removeprefix("place."), ())
        if not places:
            raise CatalogError(f"language {language.tag} lists no places of kind '{kind.removeprefix('place.')}'")
        return prf.choose(places, *path)
    raise CatalogError(f"unknown slot kind '{kind}'", fix=f"Known: person, place.KIND, {', '.join(sorted(GENERATORS))}.")
