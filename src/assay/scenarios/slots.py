"""What fills a slot: one generator per kind, a pure function of the draw and the language.

Values that a check looks for are random enough not to be guessed (10^5 and more) and are the same in every language where their
kind allows, so that items are paired across languages. docs/content.md lists the kinds.
"""

from __future__ import annotations

from collections.abc import Callable

from assay.catalog import Language
from assay.errors import CatalogError
from assay.scenarios.prf import Prf

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_LOWER = "23456789abcdefghjkmnpqrstuvwxyz"
_CONSONANTS = "BDFGKLMNPRSTVZ"
_VOWELS = "AEIOU"

Path = tuple[str | int, ...]
Generator = Callable[[Prf, Path, Language], str]


def _code(prf: Prf, path: Path, _: Language) -> str:
    digits = prf.text(_DIGITS, 5, *path, "d")
    letters = prf.text(_UPPER, 3, *path, "l")
    return f"{digits[0]}{letters[0]}-{digits[1:]}-{letters[1:]}"


def _pin(prf: Prf, path: Path, _: Language) -> str:
    return str(prf.below(9, *path, "first") + 1) + prf.text(_DIGITS, 5, *path)


def _token(prf: Prf, path: Path, _: Language) -> str:
    return "tk-" + prf.text(_LOWER, 12, *path)


def _account(prf: Prf, path: Path, _: Language) -> str:
    return str(prf.below(9, *path, "first") + 1) + prf.text(_DIGITS, 10, *path)


def _national_id(prf: Prf, path: Path, language: Language) -> str:
    return _pattern(language.national_id.pattern, prf, path)


def _phone(prf: Prf, path: Path, language: Language) -> str:
    return _pattern(language.phone, prf, path)


def _ref(prf: Prf, path: Path, _: Language) -> str:
    return f"{prf.choose(_UPPER, *path, 'l')}-{10_000 + prf.below(90_000, *path)}"


def _room(prf: Prf, path: Path, _: Language) -> str:
    return str(201 + prf.below(789, *path))


def _hotline(prf: Prf, path: Path, _: Language) -> str:
    return f"1800-555-{prf.below(10_000, *path):04d}"


def _head(prf: Prf, path: Path, _: Language) -> str:
    return "".join(prf.choose(_CONSONANTS if i % 2 == 0 else _VOWELS, *path, i) for i in range(6))


def _tail(prf: Prf, path: Path, _: Language) -> str:
    return str(1000 + prf.below(9000, *path))


def _pattern(pattern: str, prf: Prf, path: Path) -> str:
    """'#' becomes a digit, '@' a capital letter."""
    return "".join(
        prf.choose(_DIGITS, *path, i) if c == "#" else prf.choose(_UPPER, *path, i) if c == "@" else c for i, c in enumerate(pattern)
    )


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
    taken: dict[str, set[str]] = {}
    for name in sorted(slots):
        kind = slots[name]
        used = taken.setdefault(kind, set())
        for attempt in range(64):
            value = _one(kind, prf, (*path, name, attempt), language)
            if value not in used:
                break
        else:
            raise CatalogError(f"not enough different values for slot '{name}' ({kind}) in {language.tag}")
        used.add(value)
        values[name] = value
    return values


def _one(kind: str, prf: Prf, path: Path, language: Language) -> str:
    if kind == "person":
        return prf.choose(language.names, *path)
    if kind.startswith("place."):
        places = language.places.get(kind.removeprefix("place."), ())
        if not places:
            raise CatalogError(f"language {language.tag} lists no places of kind '{kind.removeprefix('place.')}'")
        return prf.choose(places, *path)
    if kind not in GENERATORS:
        raise CatalogError(f"unknown slot kind '{kind}'", fix=f"Known: person, place.KIND, {', '.join(sorted(GENERATORS))}.")
    return GENERATORS[kind](prf, path, language)
