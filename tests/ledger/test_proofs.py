"""Inclusion and consistency proofs against pymerkle, against the published vectors of the certificate-transparency project, and altered."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from assay.ledger import MerkleTree, leaf_hash
from assay.ledger.proofs import EMPTY_ROOT, ProofError, consistency_path, inclusion_path, is_consistent, is_included, root_of

SIZES = range(131)
LEAVES = [f"leaf {i}".encode() for i in SIZES]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]

INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PUBLISHED = [leaf_hash(bytes.fromhex(data)) for data in INPUTS]
SECOND = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
THIRD_PAIR = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
RIGHT_HALF = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"


@cache
def pymerkle_tree() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for leaf in LEAVES:
        tree.append_entry(leaf)
    return tree


@cache
def root(size: int) -> bytes:
    return root_of(HASHES[:size])


def unhex(*hashes: str) -> list[bytes]:
    return [bytes.fromhex(h) for h in hashes]


def test_the_published_roots() -> None:
    """merkle_tree_test of the certificate-transparency project: eight inputs, and the root after each."""
    assert [root_of(PUBLISHED[:n]).hex() for n in range(1, 9)] == ROOTS


def test_the_published_paths() -> None:
    """The same test's audit paths and consistency proofs, leaf numbers counted from 0 here."""
    assert inclusion_path(PUBLISHED[:1], 0) == []
    assert inclusion_path(PUBLISHED, 0) == unhex(SECOND, THIRD_PAIR, RIGHT_HALF)
    assert inclusion_path(PUBLISHED, 5) == unhex(
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ROOTS[3],
    )
    assert inclusion_path(PUBLISHED[:3], 2) == unhex(ROOTS[1])
    assert consistency_path(PUBLISHED[:1], 1) == []
    assert consistency_path(PUBLISHED, 1) == unhex(SECOND, THIRD_PAIR, RIGHT_HALF)
    assert consistency_path(PUBLISHED, 6) == unhex(
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ROOTS[3],
    )
    assert consistency_path(PUBLISHED[:5], 2) == unhex(THIRD_PAIR, "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b")


def test_roots_are_pymerkles_and_the_growing_trees() -> None:
    tree = MerkleTree()
    for size in SIZES:
        assert root(size) == tree.root() == pymerkle_tree().get_root(size)
        tree.append(LEAVES[size])


def test_every_inclusion_path_is_pymerkles_and_holds() -> None:
    """pymerkle's path begins with the leaf itself."""
    for size in SIZES:
        for index in range(size):
            path = inclusion_path(HASHES[:size], index)
            assert [HASHES[index], *path] == pymerkle_tree().prove_inclusion(index + 1, size).path
            assert is_included(HASHES[index], index, size, path, root(size))


def test_every_consistency_path_holds_between_pymerkles_roots() -> None:
    """And the nodes that give the old root are pymerkle's (which cuts the rest finer than RFC 6962)."""
    tree = pymerkle_tree()
    for new in SIZES:
        for old in range(new + 1):
            path = consistency_path(HASHES[:new], old)
            assert is_consistent(old, tree.get_root(old), new, tree.get_root(new), path)
            if 0 < old < new:
                theirs = tree.prove_consistency(old, new)
                assert {node for node, is_old in zip(theirs.path, theirs.subset, strict=True) if is_old} <= {root(old), *path}


def bits(path: list[bytes]) -> list[list[bytes]]:
    """The path with each of its bits flipped."""
    return [
        [*path[:i], node[:byte] + bytes([node[byte] ^ 1 << bit]) + node[byte + 1 :], *path[i + 1 :]]
        for i, node in enumerate(path)
        for byte in range(32)
        for bit in range(8)
    ]


def cut_and_stretched(path: list[bytes]) -> list[list[bytes]]:
    return [path[1:], path[:-1], [*path, HASHES[0]], [HASHES[0], *path], path[::-1], [*path, *path]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 21, 64, 130])
def test_every_bit_of_an_inclusion_proof_counts(size: int) -> None:
    for index in {0, size // 3, size - 1}:
        path = inclusion_path(HASHES[:size], index)
        for changed in bits(path):
            assert not is_included(HASHES[index], index, size, changed, root(size))
        for [changed] in bits([HASHES[index]]):
            assert not is_included(changed, index, size, path, root(size))
        for [changed] in bits([root(size)]):
            assert not is_included(HASHES[index], index, size, path, changed)
        for changed in cut_and_stretched(path):
            assert changed == path or not is_included(HASHES[index], index, size, changed, root(size))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 130), (2, 5), (3, 7), (4, 8), (6, 8), (64, 65), (63, 130), (129, 130), (128, 130)])
def test_every_bit_of_a_consistency_proof_counts(old: int, new: int) -> None:
    path = consistency_path(HASHES[:new], old)
    for changed in bits(path):
        assert not is_consistent(old, root(old), new, root(new), changed)
    for [changed] in bits([root(old)]):
        assert not is_consistent(old, changed, new, root(new), path)
    for [changed] in bits([root(new)]):
        assert not is_consistent(old, root(old), new, changed, path)
    for changed in cut_and_stretched(path):
        assert changed == path or not is_consistent(old, root(old), new, root(new), changed)


def test_swapped_and_wrong_sizes_and_indexes_are_refused() -> None:
    for new in range(1, 40):
        for old in range(1, new):
            path = consistency_path(HASHES[:new], old)
            assert not is_consistent(new, root(new), old, root(old), path)
            assert not is_consistent(old, root(new), new, root(old), path)
            assert not is_consistent(old, root(old), old, root(old), path)
            assert not is_consistent(new, root(old), new, root(new), [])
            assert not is_consistent(0, root(old), new, root(new), path)
    for size in range(1, 40):
        for index in range(size):
            path = inclusion_path(HASHES[:size], index)
            for other in range(-1, size + 2):
                assert is_included(HASHES[index], other, size, path, root(size)) == (other == index)


def test_a_tree_of_another_height_is_refused() -> None:
    """Sizes of the same height may share a path's shape: a root, not a proof, says the size. That is why a checkpoint signs both."""
    for size in range(2, 66):
        height = (size - 1).bit_length()
        index, old = size // 2, size // 2 + 1
        path, grown = inclusion_path(HASHES[:size], index), consistency_path(HASHES[:size], old)
        for other in {2**height + 1, 2 ** (height + 1), 2**60}:
            assert not is_included(HASHES[index], index, other, path, root(size))
            assert not is_consistent(old, root(old), other, root(size), grown)


def test_the_empty_tree() -> None:
    assert root_of([]) == EMPTY_ROOT
    assert consistency_path([], 0) == []
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert is_consistent(0, EMPTY_ROOT, 5, root(5), [])
    assert not is_consistent(0, EMPTY_ROOT, 0, root(1), [])
    assert not is_consistent(0, root(1), 5, root(5), [])
    assert not is_consistent(0, EMPTY_ROOT, 5, root(5), [HASHES[0]])
    assert not is_included(HASHES[0], 0, 0, [], EMPTY_ROOT)


@pytest.mark.parametrize(
    "ask", [lambda: inclusion_path([], 0), lambda: inclusion_path(HASHES[:3], 3), lambda: inclusion_path(HASHES[:3], -1)]
)
def test_an_index_outside_the_tree_is_an_error_to_ask_for(ask: Callable[[], object]) -> None:
    with pytest.raises(ProofError, match="there is no leaf"):
        ask()


@pytest.mark.parametrize("old", [-1, 4])
def test_an_earlier_tree_that_is_larger_is_an_error_to_ask_for(old: int) -> None:
    with pytest.raises(ProofError, match="no earlier one"):
        consistency_path(HASHES[:3], old)


@settings(max_examples=400, deadline=None)
@given(st.integers(-3, 2**64), st.integers(-3, 2**64), st.lists(st.binary(max_size=33) | st.sampled_from(HASHES), max_size=140))
def test_hostile_input_is_false_and_never_an_error(first: int, second: int, path: list[bytes]) -> None:
    """Sizes beyond any tree, hashes of other lengths, paths of any length: no random path leads to a root."""
    assert not is_included(HASHES[0], first, second, path, root(7)) or (first, second) == (0, 7)
    if not 0 <= first <= second <= 7:
        assert not is_consistent(first, root(3), second, root(7), path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_proofs_of_random_trees_hold_and_are_short(data: st.DataObject) -> None:
    hashes = [leaf_hash(leaf) for leaf in data.draw(st.lists(st.binary(max_size=8), min_size=1, max_size=600))]
    index, old = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, len(hashes)))
    path, grown = inclusion_path(hashes, index), consistency_path(hashes, old)
    assert is_included(hashes[index], index, len(hashes), path, root_of(hashes))
    assert is_consistent(old, root_of(hashes[:old]), len(hashes), root_of(hashes), grown)
    assert len(path) <= (len(hashes) - 1).bit_length()
    assert len(grown) <= (len(hashes) - 1).bit_length() + 1
