"""Reproducible draws from the run's seed: a keyed hash of a path of labels, nothing else.

prf = Prf(seed)
prf.below(6, "secret-leakage", 17, "scenario")     # 0..5, the same for ever
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hashlib import shake_128 as _shake
from typing import TypeVar

T = TypeVar("T")


class Prf:
    """BLAKE2b and SHAKE128 keyed with the seed. Labels are joined by a character that none of them holds, so that no two paths collide."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"a seed has 32 bytes, not {len(seed)}")
        self._seed = b"assay/item/1:" + seed
        self._keyed = blake2b(key=seed, digest_size=32, person=b"assay/item/1")

    def integer(self, *path: str | int) -> int:
        """256 pseudorandom bits for a path."""
        h = self._keyed.copy()
        h.update(_joined(path))
        return int.from_bytes(h.digest(), "big")

    def below(self, n: int, *path: str | int) -> int:
        """Uniform in 0..n-1; the bias is below n / 2^256."""
        if n < 1:
            raise ValueError("nothing to draw from")
        return self.integer(*path) % n

    def choose(self, values: Sequence[T], *path: str | int) -> T:
        """One of the values."""
        return values[self.below(len(values), *path)]

    def integers(self, count: int, *path: str | int) -> list[int]:
        """`count` independent integers of 128 pseudorandom bits for a path, from one call of an extendable hash."""
        data = _shake(self._seed + _joined(path)).digest(16 * count)
        return [int.from_bytes(data[i : i + 16], "big") for i in range(0, 16 * count, 16)]


def _joined(path: Sequence[str | int]) -> bytes:
    return "\x1f".join(map(str, path)).encode()
