"""In-toto Statements v1 in DSSE envelopes, signed with Ed25519 (through securesystemslib).

envelope = sign_statement(key, subject, PREDICATE_TYPE, predicate)
statement = open_envelope(envelope.to_json(), key.public)
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.ledger.canonical import canonical
from assay.ledger.keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


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


def sign_statement(key: PrivateKey, subject: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> Envelope:
    """Sign an in-toto Statement over `subject` (names and digests)."""
    from securesystemslib.dsse import Envelope as Signed

    statement = {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": predicate_type, "predicate": predicate}
    payload = canonical(statement)
    return Envelope(payload, key.public.keyid, key.sign(Signed(payload, PAYLOAD_TYPE, {}).pae()))


def open_envelope(value: Any, key: PublicKey) -> dict[str, Any]:
    """Check the signature and return the statement. Raises `SignatureError`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.dsse import Envelope as Signed

    envelope = Envelope.from_json(value)
    if envelope.keyid != key.keyid:
        raise SignatureError("the envelope names another key than the bundle's")
    pae = Signed(envelope.payload, PAYLOAD_TYPE, {}).pae()
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(envelope.signature, pae)
    except InvalidSignature:
        raise SignatureError("the signature does not hold") from None
    try:
        statement = msgspec.json.decode(envelope.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SignatureError("the signed payload is not JSON") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise SignatureError("the signed payload is not an in-toto Statement v1")
    return statement
