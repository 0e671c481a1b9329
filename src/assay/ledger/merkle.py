"""The Merkle tree of RFC 6962, section 2.1, grown leaf by leaf in O(log n) memory.

tree = MerkleTree()
tree.append(b"first")
tree.root()
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def leaf_hash(data: bytes) -> bytes:
    """MTH of a single leaf: SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """Append-only. Holds only the roots of the complete subtrees, largest first: one for each one-bit of `size`."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add a leaf."""
        node = leaf_hash(data)
        n = self.size
        while n & 1:
            node = _node(self._peaks.pop(), node)
            n >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """MTH(D[size]), 32 bytes; SHA-256 of nothing for the empty tree."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        node = self._peaks[-1]
        for left in reversed(self._peaks[:-1]):
            node = _node(left, node)
        return node


def merkle_root(leaves: Iterable[bytes]) -> str:
    """The root over leaves, as `sha256:` and hex."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return "sha256:" + tree.root().hex()
