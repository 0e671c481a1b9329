"""Proofs over the Merkle tree of RFC 6962: that a leaf is in it (inclusion), and that it only grew (consistency).

    path = inclusion_path(hashes, 3)
    is_included(hashes[3], 3, len(hashes), path, root_of(hashes))
    grown = consistency_path(hashes, 5)
    is_consistent(5, root_of(hashes[:5]), len(hashes), root_of(hashes), grown)

`hashes` are leaf hashes (`leaf_hash`), 32 bytes each, in the tree's order. Paths are those of RFC 6962, section 2.1.1 and 2.1.2; they are
checked as RFC 9162, sections 2.1.3.2 and 2.1.4.2, says. A check of hostile input is False, never an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from assay.errors import AssayError
from assay.ledger.merkle import _node

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(AssayError):
    """A proof was asked for that no tree of this size can give."""


def root_of(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes, 32 bytes; SHA-256 of nothing for the empty tree."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def inclusion_path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, D[n]): the siblings from the leaf up, at most 1 + log2 n of them. Raises `ProofError` for an index outside the tree."""
    if not 0 <= index < len(hashes):
        raise ProofError(f"there is no leaf {index} in a tree of {len(hashes)}")
    path, level = [], list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level, index = _above(level), index >> 1
    return path


def consistency_path(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """PROOF(old, D[n]): why the tree over all of `hashes` holds the tree over the first `old`. Empty if `old` is 0 or n.

    Raises `ProofError` for an `old` beyond n.
    """
    if not 0 <= old <= len(hashes):
        raise ProofError(f"a tree of {len(hashes)} leaves holds no earlier one of {old}")
    return _grown(hashes, old, whole=True) if old else []


def _grown(hashes: Sequence[bytes], old: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2; `whole` while the old tree's own root is what is shown, which the verifier knows already."""
    n = len(hashes)
    if old == n:
        return [] if whole else [root_of(hashes)]
    k = 1 << (n - 1).bit_length() - 1  # the largest power of two below n
    if old <= k:
        return [*_grown(hashes[:k], old, whole=whole), root_of(hashes[k:])]
    return [*_grown(hashes[k:], old - k, whole=False), root_of(hashes[:k])]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash `leaf` is leaf `index` of the tree of `size` leaves with this root."""
    if not 0 <= index < size or not _are_hashes([leaf, root, *path]):
        return False
    place, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = _node(sibling, node)
            while place and not place & 1:  # levels at which the last node has no sibling and moves up as it is
                place, last = place >> 1, last >> 1
        else:
            node = _node(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of `new` leaves is the one of `old` leaves with nothing but leaves appended."""
    if not 0 <= old <= new or not _are_hashes([old_root, new_root, *path]):
        return False
    if old == 0:
        return not path and old_root == EMPTY_ROOT and (new > 0 or new_root == EMPTY_ROOT)
    if old == new:
        return not path and old_root == new_root
    nodes = list(path) if old & (old - 1) else [old_root, *path]
    if not nodes:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = _node(node, before), _node(node, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = _node(after, node)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _above(level: list[bytes]) -> list[bytes]:
    """The next level; a last node without a sibling is its own parent."""
    pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) & 1 else pairs


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(isinstance(v, bytes) and len(v) == HASH_BYTES for v in values)
