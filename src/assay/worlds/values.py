"""What the records of a world hold: meanings, not prose.

    Text("invoice", {"payee": Person(True, 3), "amount": Money(240)})      # words come from the language's file, when a tool answers

Ids, numbers and enumerations are the same in every language; a person is a place in the language's list of names. So a world's meaning can
be digested, and is equal in every language.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import shake_256
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Person(Struct, frozen=True):
    """Somebody: rendered as a full name of the data's language, the `index`-th of that gender."""

    female: bool
    index: int


class Money(Struct, frozen=True):
    """An amount in the currency's unit."""

    amount: int


class Term(Struct, frozen=True):
    """One word or phrase of the language's file."""

    key: str


class Text(Struct, frozen=True):
    """A sentence or more of the language's file, with its parameters."""

    key: str
    params: dict[str, Value]


class Slot(Struct, frozen=True):
    """A place where somebody outside can put text: who, is the trust domain. What stands there is no part of the world's meaning."""

    name: str
    domain: str


Value = str | int | bool | None | Person | Money | Term | Text | Slot
PEOPLE_OF_A_GENDER = 16


_DRAWS = struct.Struct(">512I")


class Dice:
    """Draws from one key, in order. A pure function of the key: SHAKE-256, four bytes a draw (bias below 2**-24 for the ranges used)."""

    __slots__ = ("_block", "_drawn", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._block = 0
        self._drawn: Iterator[int] = iter(_DRAWS.unpack(shake_256(key).digest(_DRAWS.size)))

    def below(self, n: int) -> int:
        """An integer from 0 to n - 1."""
        for value in self._drawn:
            return value % n
        self._block += 1
        self._drawn = iter(_DRAWS.unpack(shake_256(self._key + b"/%d" % self._block).digest(_DRAWS.size)))
        return self.below(n)

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both in. At most 2**32 of them."""
        return low + self.below(high - low + 1)

    def choose(self, values: tuple[T, ...] | list[T]) -> T:
        """One of them."""
        return values[self.below(len(values))]

    def order(self, n: int) -> list[int]:
        """0 to n - 1 in random order: sorted by a draw each (two draws are equal, and so in order, once in 2**32)."""
        below = self.below
        keys = [below(1 << 32) for _ in range(n)]
        return sorted(range(n), key=keys.__getitem__)

    def people(self) -> list[Person]:
        """Everybody that a world can hold, in random order."""
        return [Person(i >= PEOPLE_OF_A_GENDER, i % PEOPLE_OF_A_GENDER) for i in self.order(2 * PEOPLE_OF_A_GENDER)]

    def digits(self, n: int) -> str:
        """So many digits, the first not 0."""
        out = str(self.between(1, 9))
        while len(out) < n:
            out += f"{self.below(10**6):06}"
        return out[:n]
