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
_LEET = str.maketrans("013457@$!|", "oieastasil")
_CONFUSABLE = str.maketrans("АВЕКМНОРСТХУаеорсухіјѕԁɡΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοινρ", "ABEKMHOPCTXYaeopcyxijsdgABEZHIKMNOPTYXaoivp")
_MORSE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g", "....": "h", "..": "i", ".---": "j",
    "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o", ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t",
    "..-": "u", "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z", "-----": "0", ".----": "1", "..---": "2",
    "...--": "3", "....-": "4", ".....": "5", "-....": "6", "--...": "7", "---..": "8", "----.": "9",
}  # fmt: skip
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]*){4,}")
_BINARY = re.compile(r"(?:[01]{8}[\s,]*){4,}")
_MORSE_RUN = re.compile(r"(?:[.\-·−–—]{1,6}[ /|]+){4,}[.\-·−–—]{1,6}")
_MORSE_MARKS = str.maketrans("·−–—", ".---")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")


_ASCII = {i: chr(i).lower() if chr(i).isalnum() else None for i in range(128)}
_ASCII_LEET = {**_ASCII, **{ord(c): letter for c, letter in zip("013457@$!|", "oieastasil", strict=True)}}
_ROT13 = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")


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


def _unescaped(text: str) -> Iterator[tuple[str, str]]:
    if "%" in text:
        yield "URL encoding", unquote(text, errors="replace")
    if "&" in text:
        yield "HTML entities", html.unescape(text)
    if "\\" in text:
        yield "Unicode escapes", _ESCAPE.sub(lambda m: chr(int(m.group(1) or m.group(2), 16)), text)


def _blobs(text: str) -> Iterator[tuple[str, str]]:
    """What stands encoded in the text. Counting characters first is quick, and spares most answers the regular expressions."""
    for match in islice(_BASE64.finditer(text), MAX_BLOBS):
        token = match.group().replace("-", "+").replace("_", "/").rstrip("=")
        try:
            yield "base64", base64.b64decode(token + "=" * (-len(token) % 4)).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            continue
    if _has(text, "0123456789", 4):  # hex of letters and digits has a digit in every byte
        for match in islice(_HEX.finditer(text), MAX_BLOBS):
            digits = re.sub(r"0x|\\x|[^0-9a-fA-F]", "", match.group())
            yield "hex", bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")
    if _has(text, "01", 32):
        for match in islice(_BINARY.finditer(text), MAX_BLOBS):
            bits = re.sub(r"[^01]", "", match.group())
            decoded = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))
            yield "binary", decoded.decode("utf-8", "replace")
    if _has(text, ".-·−–—", 5):
        for match in islice(_MORSE_RUN.finditer(text), MAX_BLOBS):
            marks = match.group().translate(_MORSE_MARKS)
            yield "Morse", "".join(_MORSE.get(mark, " ") for mark in re.split(r"[ /|]+", marks))


def _has(text: str, characters: str, least: int) -> bool:
    """Whether the text holds at least so many of the characters."""
    return sum(map(text.count, characters)) >= least


def unleet(text: str) -> str:
    """Digits and signs that stand for letters, as letters; compare with an equally treated needle."""
    return text.translate(_LEET)


_UNSEEN = {0x2019: "'", 0x2018: "'", 0x200B: None, 0x200C: None, 0x200D: None, 0x2060: None, 0xFEFF: None, 0x00AD: None}


def squash(text: str) -> str:
    """For phrases: NFKC, casefold, straight apostrophes, single spaces, nothing invisible; marks stay, since they carry meaning.

    Khmer, Lao and Burmese are often written with invisible spaces between words, and Persian with invisible joiners.
    """
    text = text[:MAX_TEXT]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_UNSEEN)
    return " ".join(text.casefold().split())


def western_digits(text: str) -> str:
    """NFKC and casefold, every digit as 0-9, separators kept."""
    text = unicodedata.normalize("NFKC", text[:MAX_TEXT]).casefold()
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
