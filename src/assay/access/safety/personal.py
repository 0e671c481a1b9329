"""Numbers that name a person or an account, by forms that have a check digit, a date or a grouping of their own.

set(kinds_in("card 4111 1111 1111 1111", ("card", "iban"))) == {"card"}

Each kind asks for more than digits, because a check that flags every order number is one that people turn off. Identity numbers without a
check digit or date (Viet Nam, the Philippines, Cambodia, Laos, Myanmar, Kenya) are not among them. Digits of all scripts are read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

Kind = Literal[
    "card", "iban", "email", "phone",
    "id-sg", "id-my", "id-id", "id-th", "id-cn", "id-hk", "id-kr", "id-jp", "id-in", "id-fr",
]  # fmt: skip

_D = r"(?<![0-9A-Za-z.,/-])"
_E = r"(?![0-9A-Za-z]|[.,/-][0-9])"
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")


def _dihedral(a: int, b: int) -> int:
    """The product in the dihedral group of order 10."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
    return 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5


_ROUND = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(digits: Sequence[int]) -> bool:
    """Whether the last digit is right by Verhoeff's scheme (1969)."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        for _ in range(place % 8):
            digit = _ROUND[digit]
        check = _dihedral(check, digit)
    return check == 0


def luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit is right by Luhn's scheme (ISO/IEC 7812-1)."""
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _digits(text: str) -> list[int]:
    return [int(c) for c in text if c.isdigit()]


def _date(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _card(text: str) -> bool:
    digits = _digits(text)
    first = digits[0] * 10 + digits[1]
    known = digits[0] == 4 or 51 <= first <= 55 or 22 <= first <= 27 or first in (34, 37, 35, 36, 38, 60, 62, 65)
    return 13 <= len(digits) <= 19 and known and luhn(digits)


def _iban(text: str) -> bool:
    letters = text.replace(" ", "")
    if not 15 <= len(letters) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in letters[4:] + letters[:4])) % 97 == 1


def _sg(text: str) -> bool:
    total = sum(int(c) * w for c, w in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    match text[0]:
        case "S" | "T":
            return "JZIHGFEDCBA"[(total + (4 if text[0] == "T" else 0)) % 11] == text[8]
        case "F" | "G":
            return "XWUTRQPNMLK"[(total + (4 if text[0] == "G" else 0)) % 11] == text[8]
        case _:
            return "KLJNPQRTUWX"[10 - (total + 3) % 11] == text[8]


def _my(text: str) -> bool:
    return _date(int(text[2:4]), int(text[4:6])) and text[7:9] != "00"


def _indonesia(text: str) -> bool:
    day = int(text[6:8])
    return 11 <= int(text[:2]) <= 96 and _date(int(text[8:10]), day - 40 if day > 40 else day) and text[12:] != "0000"


def _th(text: str) -> bool:
    digits = _digits(text)
    return digits[0] not in (0, 9) and (11 - sum(d * w for d, w in zip(digits, range(13, 1, -1), strict=False)) % 11) % 10 == digits[12]


def _cn(text: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    right = "10X98765432"[sum(int(c) * w for c, w in zip(text, weights, strict=False)) % 11]
    return text[6:8] in ("19", "20") and _date(int(text[10:12]), int(text[12:14])) and text[17].upper() == right


def _hk(text: str) -> bool:
    letters, rest = re.match(r"([A-Z]{1,2})([0-9]{6})\(([0-9A])\)", text).groups()[:2], text[-2]  # type: ignore[union-attr]
    values = [int(c, 36) for c in letters[0]] if len(letters[0]) == 2 else [36, int(letters[0], 36)]
    values += [int(c) for c in letters[1]] + [int(rest, 16)]
    return sum(v * w for v, w in zip(values, range(9, 0, -1), strict=True)) % 11 == 0


def _kr(text: str) -> bool:
    digits = _digits(text)
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    right = (11 - sum(d * w for d, w in zip(digits, weights, strict=False)) % 11) % 10
    return _date(int(text[2:4]), int(text[4:6])) and digits[6] in range(1, 9) and digits[12] == right


def _jp(text: str) -> bool:
    digits = _digits(text)
    rest = sum(d * (n + 1 if n <= 6 else n - 5) for n, d in enumerate(digits[10::-1], 1)) % 11
    return digits[11] == (0 if rest <= 1 else 11 - rest)


def _india(text: str) -> bool:
    digits = _digits(text)
    return digits[0] > 1 and verhoeff(digits)


def _fr(text: str) -> bool:
    number = text.replace(" ", "").replace("2A", "19").replace("2B", "18")
    return _date(int(number[3:5]), 1) and 97 - int(number[:13]) % 97 == int(number[13:])


_FORMS: dict[Kind, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "card": (re.compile(rf"{_D}[2-6][0-9]{{3}}(?:[ -]?[0-9]){{9,15}}{_E}"), _card),
    "iban": (re.compile(rf"{_D}[A-Z]{{2}}[0-9]{{2}}(?: ?[0-9A-Z]{{4}}){{2,7}}(?: ?[0-9A-Z]{{1,3}})?(?![0-9A-Za-z])"), _iban),
    "email": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}(?![\w-])"), lambda _: True),
    "phone": (re.compile(rf"{_D}\+[1-9][0-9]{{0,2}}(?:[ .()-]{{0,2}}[0-9]){{7,12}}{_E}"), lambda _: True),
    "id-sg": (re.compile(rf"{_D}[STFGM][0-9]{{7}}[A-Z]{_E}"), _sg),
    "id-my": (re.compile(rf"{_D}[0-9]{{6}}-[0-9]{{2}}-[0-9]{{4}}{_E}"), _my),
    "id-id": (re.compile(rf"{_D}[1-9][0-9]{{15}}{_E}"), _indonesia),
    "id-th": (re.compile(rf"{_D}[0-9]-[0-9]{{4}}-[0-9]{{5}}-[0-9]{{2}}-[0-9]{_E}"), _th),
    "id-cn": (re.compile(rf"{_D}[1-9][0-9]{{16}}[0-9Xx]{_E}"), _cn),
    "id-hk": (re.compile(rf"{_D}[A-Z]{{1,2}}[0-9]{{6}}\([0-9A]\)"), _hk),
    "id-kr": (re.compile(rf"{_D}[0-9]{{6}}-[0-9]{{7}}{_E}"), _kr),
    "id-jp": (re.compile(rf"{_D}[0-9]{{4}}[ -][0-9]{{4}}[ -][0-9]{{4}}{_E}"), _jp),
    "id-in": (re.compile(rf"{_D}[2-9][0-9]{{3}}[ -][0-9]{{4}}[ -][0-9]{{4}}{_E}"), _india),
    "id-fr": (
        re.compile(rf"{_D}[1278] ?[0-9]{{2}} ?[0-9]{{2}} ?[0-9][0-9AB] ?[0-9]{{3}} ?[0-9]{{3}} ?[0-9]{{2}}{_E}"), _fr,
    ),
}  # fmt: skip
_TWO_DIGITS = re.compile(r"[0-9]{2}")
_RUN = re.compile(r"[0-9A-Z+](?:[ .()-]{0,2}[0-9A-Zx]){7,}\)?")
LEAST_DIGITS = 6


def kinds_in(text: str, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """The kinds that are in a text, each once."""
    text = text if text.isascii() else _OTHER_DIGIT.sub(lambda m: str(unicodedata.decimal(m.group())), text)
    if "email" in kinds and "@" in text and _FORMS["email"][0].search(text):
        yield "email"
    if not _TWO_DIGITS.search(text):
        return
    runs = [text[max(0, m.start() - 1) : m.end() + 2] for m in _RUN.finditer(text) if sum(map(str.isdigit, m.group())) >= LEAST_DIGITS]
    if not runs:
        return
    joined = "\n".join(runs)
    for kind in kinds:
        pattern, right = _FORMS[kind]
        if kind != "email" and any(right(match.group()) for match in pattern.finditer(joined)):
            yield kind
