"""Reproducible draws from the run's seed: a keyed hash of a path of labels, nothing else.

prf = Prf(seed)
prf.below(6, "secret-leakage", 17, "scenario")     # 0..5, the same for ever
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Prf:
    """BLAKE2b keyed with the seed. Labels are joined with their lengths, so that no two paths collide."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"a seed has 32 bytes, not {len(seed)}")
        self._keyed = blake2b(key=seed, digest_size=16, person=b"assay/item/1")

    def integer(self, *path: str | int) -> int:
        """128 pseudorandom bits for a path."""
        h = self._keyed.copy()
        for label in path:
            data = str(label).encode()
            h.update(b"%d:" % len(data))
            h.update(data)
        return int.from_bytes(h.digest(), "big")

    def below(self, n: int, *path: str | int) -> int:
        """Uniform in 0..n-1; the bias is below n / 2^128."""
        if n < 1:
            raise ValueError("nothing to draw from")
        return self.integer(*path) % n

    def choose(self, values: Sequence[T], *path: str | int) -> T:
        """One of the values."""
        return values[self.below(len(values), *path)]

    def text(self, alphabet: str, length: int, *path: str | int) -> str:
        """`length` characters of the alphabet; at most 24 for 36 letters, so that one draw has enough bits."""
        number, base, out = self.integer(*path), len(alphabet), []
        for _ in range(length):
            number, digit = divmod(number, base)
            out.append(alphabet[digit])
        return "".join(out)
