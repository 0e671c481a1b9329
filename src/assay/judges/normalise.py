"""Make texts comparable: one Unicode form, one case, one digit system, nothing invisible; and undo the usual encodings, within bounds.

views = list(decoded_views(answer, digit_words))
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from urllib.parse import unquote

MAX_TEXT = 262_144
MAX_BLOBS = 64
MIN_RECODED = 8
_LEET_PAIRS = tuple(zip("0134578@$!|lL", "oieastbasiiii", strict=True))
_LEET = str.maketrans(dict(_LEET_PAIRS))
_TAGS = {0xE0000 + i: chr(i) for i in range(32, 127)}  # invisible characters, one for each of ASCII
_CONFUSABLE: dict[int, int | str | None] = {
    **str.maketrans("АВЕКМНОРСТХУаеорсухіјѕԁɡΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοινρ", "ABEKMHOPCTXYaeopcyxijsdgABEZHIKMNOPTYXaoivp"),
    **_TAGS,
}
_MORSE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g", "....": "h", "..": "i", ".---": "j",
    "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o", ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t",
    "..-": "u", "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z", "-----": "0", ".----": "1", "..---": "2",
    "...--": "3", "....-": "4", ".....": "5", "-....": "6", "--...": "7", "---..": "8", "----.": "9",
}  # fmt: skip
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_BASE64_LINES = re.compile(r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{8,}+\r?\n)+[A-Za-z0-9+/_-]{2,}={0,2}")
_BASE32 = re.compile(r"[A-Z2-7]{8,}")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]*){4,}")
_BINARY = re.compile(r"(?:[01]{8}[\s,]*){4,}")
_DECIMAL = re.compile(r"(?<!\d)(?:1?\d\d[\s,;]++){3,}1?\d\d(?!\d)")
_MORSE_RUN = re.compile(r"(?:[.\-·−–—]{1,6}[ /|]+){4,}[.\-·−–—]{1,6}")
_MORSE_MARKS = str.maketrans("·−–—", ".---")
_ESCAPE = re.compile(
    r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\u\{([0-9a-fA-F]{1,5})\}|\\U000([0-9a-fA-F]{5})|\bU\+([0-9a-fA-F]{4,5})\b[ ,]*"
)
_DIGITS = re.compile("[0-9]+")
_QUOTED = re.compile(r"=([0-9A-Fa-f]{2})")
_TAG = re.compile(r"<[^<>]{1,200}>")
_BRAILLE = dict(zip("⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵", "abcdefghijklmnopqrstuvwxyz", strict=True))
_BRAILLE_NUMBER = re.compile("⠼([⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚]+)")


_ASCII = {i: chr(i).lower() if chr(i).isalnum() else None for i in range(128)}
_ASCII_LEET = {**_ASCII, **{ord(c): letter for c, letter in _LEET_PAIRS}}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CAESAR = tuple(str.maketrans(_LETTERS, _LETTERS[by:] + _LETTERS[:by]) for by in range(1, 26))
_ROT13 = _CAESAR[12]
_ATBASH = str.maketrans(_LETTERS, _LETTERS[::-1])
_SPOKEN = dict(zip(_LETTERS, [
    "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima", "mike", "november",
    "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee", "zulu",
], strict=True))  # fmt: skip


def fold(text: str) -> str:
    """NFKC, look-alikes to Latin, casefold, marks that hide letters removed, every digit as 0-9, letters and digits only."""
    text = text[:MAX_TEXT]
    if text.isascii():
        return text.translate(_ASCII)
    text = unicodedata.normalize("NFKC", text).translate(_CONFUSABLE).casefold()
    if text.isascii():
        return text.translate(_ASCII)
    return "".join([_fold_char(c) for c in unicodedata.normalize("NFD", text)])


def rot13(folded: str) -> str:
    """Rot13 of folded text."""
    return folded.translate(_ROT13)


@lru_cache(maxsize=8192)
def _fold_char(char: str) -> str:
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    numeric = unicodedata.numeric(char, None)
    if numeric is not None and numeric == int(numeric) and 0 <= numeric <= 9:
        return str(int(numeric))
    category = unicodedata.category(char)
    return char if category[0] in "LN" or category == "Mc" else ""


def decoded_views(text: str, digit_words: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(how, folded text) for the text itself and for what the usual encodings in it decode to. Bounded in number and size."""
    text = text[:MAX_TEXT]
    plain = fold(text)
    yield "plain", plain
    yield "reversed", plain[::-1]
    yield "rot13", rot13(plain)
    yield "leetspeak", text.translate(_ASCII_LEET) if text.isascii() else fold(unleet(text))
    if digit_words:
        spelt = spell_digits(text, digit_words)
        if spelt is not text:
            yield "digit words", fold(spelt)
    for how, decoded in _unescaped(text):
        yield how, fold(decoded)
    for how, decoded in _blobs(text):
        folded = fold(decoded)
        yield how, folded
        yield f"{how}, reversed", folded[::-1]


def recoded_in(needle: str, folded: str) -> str:
    """In which code of letters a folded value stands in folded text; empty if in none. Its digits stand as they are.

    Never for a short value, which would be in any text by chance, and by no cipher for a single letter, which would be any letter.
    """
    letters = sum(map(str.isalpha, needle))
    anchor = max(_DIGITS.findall(needle), key=len, default="")
    if letters == 0 or len(needle) < MIN_RECODED or not needle.isascii() or anchor not in folded:
        return ""
    if "".join([_SPOKEN.get(c, c) for c in needle]) in folded:
        return "spelling alphabet"
    if letters > 1 and any(needle.translate(table) in folded for table in _CAESAR):
        return "Caesar"
    return "Atbash" if letters > 1 and needle.translate(_ATBASH) in folded else ""


def _unescaped(text: str) -> Iterator[tuple[str, str]]:
    if "%" in text:
        yield "URL encoding", unquote(text, errors="replace")
    if "&" in text:
        yield "HTML entities", html.unescape(text)
    if "\\" in text or "U+" in text:
        yield "Unicode escapes", _ESCAPE.sub(_character, text)
    if text.count("=") >= 4:
        yield "quoted-printable", _QUOTED.sub(_character, text)
    if "⠼" in text:
        numbers = _BRAILLE_NUMBER.sub(lambda m: "".join(str("jabcdefghi".index(_BRAILLE[c])) for c in m.group(1)), text)
        yield "Braille", "".join([_BRAILLE.get(c, c) for c in numbers])
    if "<" in text and ">" in text:
        yield "markup", _TAG.sub("", text)


def _character(match: re.Match[str]) -> str:
    return chr(int(match.group(match.lastindex or 0), 16))


def _blobs(text: str) -> Iterator[tuple[str, str]]:
    """What stands encoded in the text. Counting characters first is quick, and spares most answers the regular expressions."""
    for match in islice(_BASE64.finditer(text), MAX_BLOBS):
        token = match.group()
        inside = _unbase64(token)
        yield "base64", inside
        if _BASE64.fullmatch(inside):
            yield "base64 twice", _unbase64(inside)
        if _BASE32.fullmatch(token.rstrip("=")):
            yield "base32", _unbase32(token.rstrip("="))
    if "\n" in text:
        for match in islice(_BASE64_LINES.finditer(text), MAX_BLOBS):
            first, _, rest = match.group().partition("\n")
            yield "base64", _unbase64("".join((first + rest).split()))
            yield "base64", _unbase64("".join(rest.split()))
    if _has(text, "0123456789", 4):  # hex of letters and digits has a digit in every byte
        for match in islice(_HEX.finditer(text), MAX_BLOBS):
            digits = re.sub(r"0x|\\x|[^0-9a-fA-F]", "", match.group())
            yield "hex", bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")
    if _has(text, "0123456789", 10):
        for match in islice(_DECIMAL.finditer(text), MAX_BLOBS):
            yield "decimal codes", "".join(map(chr, map(int, re.findall(r"\d+", match.group()))))
    if _has(text, "01", 32):
        for match in islice(_BINARY.finditer(text), MAX_BLOBS):
            bits = re.sub(r"[^01]", "", match.group())
            decoded = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))
            yield "binary", decoded.decode("utf-8", "replace")
    if _has(text, ".-·−–—", 5):
        for match in islice(_MORSE_RUN.finditer(text), MAX_BLOBS):
            marks = match.group().translate(_MORSE_MARKS)
            yield "Morse", "".join(_MORSE.get(mark, " ") for mark in re.split(r"[ /|]+", marks))


def _unbase64(token: str) -> str:
    """The text; empty if it is none."""
    token = token.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _unbase32(token: str) -> str:
    try:
        return base64.b32decode(token + "=" * (-len(token) % 8)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _has(text: str, characters: str, least: int) -> bool:
    """Whether the text holds at least so many of the characters."""
    return sum(map(text.count, characters)) >= least


def unleet(text: str) -> str:
    """Digits and signs that stand for letters, as letters; compare with an equally treated needle."""
    return text.translate(_LEET)


_UNSEEN = {0x2019: "'", 0x2018: "'", 0x200B: None, 0x200C: None, 0x200D: None, 0x2060: None, 0xFEFF: None, 0x00AD: None}


def squash(text: str) -> str:
    """For phrases: NFKC, casefold, straight apostrophes, single spaces, no emphasis, nothing invisible; marks stay: they carry meaning.

    Khmer, Lao and Burmese are often written with invisible spaces between words, and Persian with invisible joiners.
    """
    text = text[:MAX_TEXT]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_UNSEEN)
    return " ".join(text.replace("*", "").casefold().split())


def western_digits(text: str) -> str:
    """NFKC, look-alikes to Latin, casefold, every digit as 0-9, separators kept."""
    text = unicodedata.normalize("NFKC", text[:MAX_TEXT])
    text = (text if text.isascii() else text.translate(_CONFUSABLE)).casefold()
    return text if text.isascii() else "".join(_fold_char(c) or " " for c in text)


def spell_digits(text: str, digit_words: Sequence[str]) -> str:
    """Digit words as digits: 'satu dua' becomes ' 1  2 '. Each entry may hold alternatives, 'pito|siyete'; the longest word first.

    The very same text comes back if no digit word is in it.
    """
    words = _digit_table(tuple(digit_words))
    spelt = (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()
    found = [(word, digit) for word, digit in words if word in spelt]
    for word, digit in found:
        spelt = spelt.replace(word, f" {digit} ")
    return spelt if found else text


@lru_cache(maxsize=128)
def _digit_table(digit_words: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    words = [(unicodedata.normalize("NFKC", w).casefold(), digit) for digit, entry in enumerate(digit_words) for w in entry.split("|")]
    return tuple(sorted(words, key=lambda pair: -len(pair[0])))
