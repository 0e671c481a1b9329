"""Canonical JSON, Merkle tree, envelopes and keys, against other implementations and by property."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from assay.errors import AssayError, SigningKeyError
from assay.ledger import MerkleTree, PrivateKey, PublicKey, canonical, leaf_hash, load_or_create_key, open_envelope, sign_statement
from assay.ledger.canonical import canonical_plain
from assay.ledger.dsse import SignatureError

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ_09", max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(plain_json)
def test_the_quick_form_is_the_canonical_form(value: Any) -> None:
    assert canonical_plain(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(AssayError):
        canonical(value)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 100])
def test_the_tree_has_pymerkles_root(count: int) -> None:
    ours, theirs = MerkleTree(), InmemoryTree(algorithm="sha256")
    for i in range(count):
        ours.append(f"leaf {i}".encode())
        theirs.append_entry(f"leaf {i}".encode())
    assert ours.root() == theirs.get_root()
    assert ours.size == count


def test_the_trees_published_vectors() -> None:
    """RFC 6962 test vectors of the certificate-transparency project: the empty tree and the empty leaf."""
    assert MerkleTree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def envelope(key: PrivateKey) -> dict[str, Any]:
    return sign_statement(key, [{"name": "m", "digest": {"sha256": "00"}}], "urn:test", {"a": 1}).to_json()


def test_an_envelope_opens_with_its_key_only() -> None:
    key = PrivateKey.generate()
    assert open_envelope(envelope(key), key.public)["predicate"] == {"a": 1}
    with pytest.raises(SignatureError, match="another key"):
        open_envelope(envelope(key), PrivateKey.generate().public)


def test_dsse_is_what_securesystemslib_verifies() -> None:
    """The envelope verifies with the library's own verifier, from its own parsing."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    key = PrivateKey.generate()
    public = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.public.raw), keyid=key.public.keyid)
    Envelope.from_dict(envelope(key)).verify([public], 1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_character_of_an_envelope_is_refused(data: st.DataObject) -> None:
    key = _FIXED
    raw = canonical(envelope(key))
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 6)))]) + raw[at + 1 :]
    import msgspec

    try:
        value = msgspec.json.decode(changed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if value == msgspec.json.decode(raw):
        return
    with pytest.raises(SignatureError):
        open_envelope(value, key.public)


_FIXED = PrivateKey.generate()


def test_a_key_file_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "config" / "key.pem"
    first = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path).public == first.public
    assert base64.b64encode(first.public.raw).decode() not in repr(first)


def test_processes_that_make_their_first_key_together_end_up_with_one(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    with ThreadPoolExecutor(16) as pool:
        made = {key.public.keyid for key in pool.map(lambda _: load_or_create_key(path), range(64))}
    assert made == {load_or_create_key(path).public.keyid}
    assert [p.name for p in path.parent.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_file_is_said_so_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(SigningKeyError, match=r"key\.pem") as error:
        load_or_create_key(path)
    assert "AAAA" not in str(error.value)


def test_a_public_key_that_does_not_fit_its_id_is_refused() -> None:
    value = _FIXED.public.to_json()
    for field, wrong in (("keyid", "0" * 64), ("public", base64.b64encode(b"short").decode()), ("algorithm", "rsa")):
        with pytest.raises(SigningKeyError):
            PublicKey.from_json({**value, field: wrong})
