"""Cryptography only: canonical JSON, the Merkle tree, DSSE envelopes and keys. Knows nothing of trials or plans."""

from assay.ledger.canonical import canonical, digest, digest_bytes
from assay.ledger.dsse import Cosigned, Envelope, open_envelope, sign_statement
from assay.ledger.keys import PrivateKey, PublicKey, is_protected, load_key, load_or_create_key, write_key
from assay.ledger.merkle import MerkleTree, leaf_hash, merkle_root
from assay.ledger.places import KeyPlace, TokenPlace, key_place

__all__ = [
    "Cosigned",
    "Envelope",
    "KeyPlace",
    "MerkleTree",
    "PrivateKey",
    "PublicKey",
    "TokenPlace",
    "canonical",
    "digest",
    "digest_bytes",
    "is_protected",
    "key_place",
    "leaf_hash",
    "load_key",
    "load_or_create_key",
    "merkle_root",
    "open_envelope",
    "sign_statement",
    "write_key",
]
