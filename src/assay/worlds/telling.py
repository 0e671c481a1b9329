"""Values in what agents write: arguments as the tools take them, and whether a text tells a value.

plain(" p‑01 ") == "P-01"; holds("It was S$1,240.", "1240")      # neither "240" nor "1" stands there
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT = 262_144
MAX_ID = 64
ACCOUNT_DIGITS = 9
"""From so many digits on (a date has eight) separators between them say nothing."""

_HYPHENS = dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")
_UNSEEN = {"Cf": "", "Zs": " "}
_GROUPED = re.compile(r"[0-9][0-9 .-]*")
_NUMBER = re.compile(r"(?P<sign>(?:(?<=[\s(])|^)-)?(?<![A-Za-z]-)(?<![0-9])(?P<digits>[0-9]+(?:[.,'\u2019 \u00a0\u202f][0-9]+)*)")
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:[.,'\u2019 \u00a0\u202f][0-9]{2,3})*[.,'\u2019 \u00a0\u202f][0-9]{3}")
_DECIMAL = re.compile(r"(?P<whole>.*[0-9])[.,](?P<part>[0-9]+)")
_SPACE = re.compile(r"[ \u00a0\u202f]")


def western(text: str) -> str:
    """Every digit system's digits as 0-9, every hyphen as -, and compatibility forms (NFKC) as their plain letters; cut at a bound."""
    text = text[:MAX_TEXT]
    if text.isascii():
        return text
    return _with_digits(unicodedata.normalize("NFKC", text)[:MAX_TEXT].translate(_HYPHENS))


def plain(argument: str) -> str:
    """An id or number as tools take it: western digits, plain hyphens, no spaces around, ids in capitals, long numbers without separators.

    What is neither, texts above all, comes back as it is.
    """
    text = argument
    if len(text) > MAX_ID:
        return argument
    if not text.isascii():
        text = "".join(_UNSEEN.get(unicodedata.category(c), c) for c in _with_digits(text.translate(_HYPHENS)))
        if not text.isascii():
            return argument
    text = text.strip()
    if text[1:2] == "-" and text[0].islower() and text[2:].isdigit():
        return text.upper()
    if text[:1].isdigit() and not text.isdigit() and _GROUPED.fullmatch(text):
        digits = "".join(c for c in text if c.isdigit())
        return digits if len(digits) >= ACCOUNT_DIGITS else text
    return text


def squeezed(text: str) -> str:
    """Letters and digits only, western and in one case."""
    return "".join(c for c in western(text).casefold() if c.isalnum())


def holds(told: str, value: str) -> bool:
    """Whether the value stands in the text on its own, not inside a longer word or number; a thousands separator does not hide it."""
    if value.isdigit():
        return value in numbers(told)
    text, needle = told.casefold(), value.casefold()
    at = text.find(needle)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(needle) : at + len(needle) + 1]
        if not _joins(before, needle[0]) and not _joins(after, needle[-1]):
            return True
        at = text.find(needle, at + 1)
    return False


def numbers(text: str) -> set[str]:
    """The numbers in a western text. Ids are none; `1,240.00` is 1240; `12 345` may be one or two."""
    found: set[str] = set()
    for match in _NUMBER.finditer(text):
        sign, digits = match["sign"] or "", match["digits"]
        spaced = _SPACE.split(digits)
        if len(spaced) > 1:
            found.update(part for one in spaced for part in _read(one))
        if len(spaced) == 1 or _THOUSANDS.fullmatch(digits):
            found.update(sign + part for part in _read(digits))
    return found


def _read(digits: str) -> list[str]:
    """Digits with separators as one number; as several where they are no number."""
    if digits.isdigit():
        return [digits]
    if _THOUSANDS.fullmatch(digits):
        return ["".join(c for c in digits if c.isdigit())]
    decimal = _DECIMAL.fullmatch(digits)
    if decimal and (decimal["whole"].isdigit() or _THOUSANDS.fullmatch(decimal["whole"])):
        whole = "".join(c for c in decimal["whole"] if c.isdigit())
        return [whole + (f".{decimal['part']}" if decimal["part"].strip("0") else "")]
    return re.split(r"[^0-9]", digits)


def _joins(char: str, edge: str) -> bool:
    """Whether two neighbours are one word: two digits, or two ASCII letters or digits. Other scripts write no spaces."""
    if edge.isdigit():
        return char.isdigit() and char.isascii()
    return char.isascii() and char.isalnum()


def _with_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(c)) if unicodedata.category(c) == "Nd" else c for c in text)
