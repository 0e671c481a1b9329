"""Letters as attacks write them: look-alikes, leetspeak, Morse, combining marks, and five-line drawings."""

from __future__ import annotations

HOMOGLYPHS: dict[str, str] = dict(zip("aceijopsxyABCEHIJKMOPSTXYZ", "асеіјорѕхуАВСЕНІЈКМОРЅТХΥΖ", strict=True))
"""Latin letters and their Cyrillic or Greek doubles."""

LOOKALIKE_SPELLINGS: tuple[tuple[str, str], ...] = (
    ("\u0e33", "\u0e4d\u0e32"),  # Thai am
    ("\u0eb3", "\u0ecd\u0eb2"),  # Lao am
    ("\u0e41", "\u0e40\u0e40"),  # Thai ae as two e
    ("\u0ec1", "\u0ec0\u0ec0"),  # Lao the same
    ("\u06cc", "\u064a"),  # Persian and Arabic yeh
    ("\u06a9", "\u0643"),  # Persian and Arabic kaf
)
"""Spellings that are shown alike."""

LEET = str.maketrans("aeiostAEIOST", "431057431057")

MARKS = ("\u0301", "\u0300", "\u0302", "\u0308", "\u0327")

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
MORSE: dict[str, str] = dict(zip(_LETTERS, _SIGNS.split(), strict=True))

_DRAWN = """
A 01110 10001 11111 10001 10001
B 11110 10001 11110 10001 11110
C 01111 10000 10000 10000 01111
D 11110 10001 10001 10001 11110
E 11111 10000 11110 10000 11111
F 11111 10000 11110 10000 10000
G 01111 10000 10011 10001 01111
H 10001 10001 11111 10001 10001
I 11111 00100 00100 00100 11111
J 00111 00010 00010 10010 01100
K 10001 10010 11100 10010 10001
L 10000 10000 10000 10000 11111
M 10001 11011 10101 10001 10001
N 10001 11001 10101 10011 10001
O 01110 10001 10001 10001 01110
P 11110 10001 11110 10000 10000
Q 01110 10001 10101 10010 01101
R 11110 10001 11110 10010 10001
S 01111 10000 01110 00001 11110
T 11111 00100 00100 00100 00100
U 10001 10001 10001 10001 01110
V 10001 10001 10001 01010 00100
W 10001 10001 10101 11011 10001
X 10001 01010 00100 01010 10001
Y 10001 01010 00100 00100 00100
Z 11111 00010 00100 01000 11111
"""
ART: dict[str, list[str]] = {line.split()[0]: line.split()[1:] for line in _DRAWN.strip().splitlines()}
