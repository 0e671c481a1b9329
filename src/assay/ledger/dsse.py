"""In-toto Statements v1 in DSSE envelopes, signed with Ed25519.

envelope = sign_statement(key, subject, PREDICATE_TYPE, predicate)
statement = open_envelope(envelope.to_json(), key.public)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.ledger.canonical import canonical
from assay.ledger.keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_SIGNATURES = 64


class SignatureError(AssayError):
    """An envelope is malformed, or its signature does not hold."""


class Envelope(Struct, frozen=True):
    """A signed payload, as in the DSSE specification v1."""

    payload: bytes
    keyid: str
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        """The DSSE JSON form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}],
        }

    @classmethod
    def from_json(cls, value: Any) -> Envelope:
        """Strict inverse of `to_json`: what does not read back to the same JSON is refused. Raises `SignatureError`."""
        try:
            envelope = cls(
                base64.b64decode(value["payload"], validate=True),
                value["signatures"][0]["keyid"],
                base64.b64decode(value["signatures"][0]["sig"], validate=True),
            )
            strict = envelope.to_json() == value
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            strict = False
        if not strict:
            raise SignatureError("this is not a DSSE envelope with one signature")
        return envelope


class Cosigned(Struct, frozen=True):
    """An in-toto Statement with the signatures of any number of keys, each once: `signatures` are pairs of key id and signature."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The DSSE JSON form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(sig).decode()} for keyid, sig in self.signatures],
        }

    @classmethod
    def from_json(cls, value: Any) -> Cosigned:
        """Strict inverse of `to_json`; one that does not read back to the same JSON or names a key twice raises `SignatureError`."""
        try:
            signatures = tuple((str(s["keyid"]), base64.b64decode(s["sig"], validate=True)) for s in value["signatures"][:MAX_SIGNATURES])
            envelope = cls(base64.b64decode(value["payload"], validate=True), signatures)
            strict = envelope.to_json() == value and len({keyid for keyid, _ in signatures}) == len(signatures)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            strict = False
        if not strict:
            raise SignatureError(f"this is not a DSSE envelope with at most {MAX_SIGNATURES} signatures, each by another key")
        return envelope

    @classmethod
    def of(cls, subject: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> Cosigned:
        """The statement, unsigned."""
        return cls(_statement(subject, predicate_type, predicate))

    def signed(self, key: PrivateKey) -> Cosigned:
        """With the signature of this key too."""
        others = tuple(s for s in self.signatures if s[0] != key.public.keyid)
        return Cosigned(self.payload, (*others, (key.public.keyid, key.sign(pae(self.payload)))))

    def statement(self) -> dict[str, Any]:
        """What is signed, signatures unchecked. Raises `SignatureError` if it is no in-toto Statement in canonical form."""
        statement = _read(self.payload)
        try:
            strict = canonical(statement) == self.payload
        except RecursionError:
            raise SignatureError("the signed payload is nested too deeply") from None
        if not strict:
            raise SignatureError("the signed payload is not in canonical form")
        return statement

    def signers(self, keys: Mapping[str, PublicKey]) -> list[str]:
        """Of these keys, by name, the names of those whose signature holds. One that is there and does not hold raises `SignatureError`."""
        given, held = dict(self.signatures), []
        for name, key in keys.items():
            signature = given.get(key.keyid)
            if signature is None:
                continue
            if not _holds(self.payload, signature, key):
                raise SignatureError(f"the signature of '{name}' does not hold")
            held.append(name)
        return held


def sign_statement(key: PrivateKey, subject: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> Envelope:
    """Sign an in-toto Statement over `subject` (names and digests)."""
    payload = _statement(subject, predicate_type, predicate)
    return Envelope(payload, key.public.keyid, key.sign(pae(payload)))


def open_envelope(value: Any, key: PublicKey) -> dict[str, Any]:
    """Check the signature and return the statement. Raises `SignatureError`."""
    envelope = Envelope.from_json(value)
    if envelope.keyid != key.keyid:
        raise SignatureError("the envelope names another key than the bundle's")
    if not _holds(envelope.payload, envelope.signature, key):
        raise SignatureError("the signature does not hold")
    return _read(envelope.payload)


def _statement(subject: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> bytes:
    return canonical({"_type": STATEMENT_TYPE, "subject": subject, "predicateType": predicate_type, "predicate": predicate})


def pae(payload: bytes) -> bytes:
    """What is signed of an in-toto payload: DSSE's pre-authentication encoding, version 1."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _holds(payload: bytes, signature: bytes, key: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, pae(payload))
    except InvalidSignature:
        return False
    return True


def _read(payload: bytes) -> dict[str, Any]:
    try:
        statement = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SignatureError("the signed payload is not JSON") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise SignatureError("the signed payload is not an in-toto Statement v1")
    return statement
