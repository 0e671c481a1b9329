"""Ed25519 keys on PKCS#11 tokens: the private half never leaves the token. Needs the extra `token` (python-pkcs11).

half = open_token_key(key_place("pkcs11:token=office;object=assay?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin"))
half.sign(b"data")

Every signature opens a session of its own, reads the PIN anew and closes again: nothing secret stays in memory, and a token that was taken
out in the meantime says so. A signature is checked against the public half before it is used.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from assay.errors import SigningKeyError
from assay.ledger.places import TokenPlace

try:
    import pkcs11
except ModuleNotFoundError:
    raise SigningKeyError("keys on tokens need python-pkcs11, which is not installed", fix="Install assay[token].") from None

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, exceptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PIN_FILE = "ASSAY_PKCS11_PIN_FILE"
MAX_PIN_BYTES = 1024
ED25519 = (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519")
"""CKA_EC_PARAMS of Ed25519: its object identifier (RFC 8410, section 3), or its name (PKCS #11 v3.0, section 2.3.5)."""

_LOGIN = threading.Lock()
"""A login holds for the whole process (PKCS #11 v3.0, section 5.6.8), so one session at a time."""

_WORDS: dict[type[Exception], tuple[str, str]] = {
    exceptions.PinIncorrect: ("the PIN is wrong", "It was tried once. A token locks after a few wrong PINs."),
    exceptions.PinInvalid: ("the PIN has characters that the token does not take", ""),
    exceptions.PinLenRange: ("the PIN is too short or too long", ""),
    exceptions.PinLocked: ("the token is locked: the PIN was wrong too often", "Its security officer unlocks it."),
    exceptions.PinExpired: ("the PIN has expired", "Set another with the token's own tools."),
    exceptions.UserPinNotInitialized: ("the token has no PIN yet", "Set one with the token's own tools."),
    exceptions.UserAlreadyLoggedIn: ("this process is logged in to the token already", "Close its other sessions."),
    exceptions.TokenWriteProtected: ("the token is write-protected", ""),
    exceptions.TokenNotPresent: ("the token was taken out", ""),
    exceptions.DeviceRemoved: ("the token was taken out", ""),
    exceptions.MechanismInvalid: ("the token cannot do Ed25519 (EDDSA)", "Use a token that can, or a key in a file."),
    exceptions.DataLenRange: ("the message is too long for the token", "Use a token that signs messages of any length with Ed25519."),
}


class TokenHalf(Struct, frozen=True):
    """The private half of a key, held by a token. `raw` are the 32 bytes of its public half."""

    place: TokenPlace
    raw: bytes

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self.raw)

    def sign(self, data: bytes, /) -> bytes:
        """The 64 bytes of an Ed25519 signature, made on the token. Raises `SigningKeyError`."""
        from cryptography.exceptions import InvalidSignature

        with _session(self.place) as session:
            signature = bytes(_private(session, self.place).sign(data, mechanism=Mechanism.EDDSA))
        try:
            self.public_key().verify(signature, data)
        except (InvalidSignature, ValueError):
            raise SigningKeyError("the token's signature does not fit the key's public half", where=self.place.name) from None
        return signature


def open_token_key(place: TokenPlace) -> TokenHalf:
    """The key that is on the token. Raises `SigningKeyError` where module, token, PIN or key are not as they should be."""
    with _session(place) as session:
        return TokenHalf(place, _public(session, place, _private(session, place)))


def make_token_key(place: TokenPlace) -> TokenHalf:
    """Make a key on the token that can never leave it. Raises `SigningKeyError`, also where there is such a key already."""
    if not place.object:
        raise SigningKeyError("a new key needs a label", where=place.name, fix="Add object=LABEL to the URI.")
    with _session(place, rw=True) as session:
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            names: list[dict[Attribute, Any]] = [{Attribute.LABEL: place.object}, *([{Attribute.ID: place.id}] if place.id else [])]
            for named in names:
                if list(session.get_objects({Attribute.CLASS: kind, **named})):
                    raise SigningKeyError("there is such a key on the token already", where=place.name, fix="Choose another label and id.")
        curve = session.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519[0]}, local=True)
        hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        curve.generate_keypair(
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=place.object, id=place.id or secrets.token_bytes(16),
            private_template=hidden,
        )  # fmt: skip
    half = open_token_key(place)
    half.sign(b"assay key new")
    return half


@contextmanager
def _session(place: TokenPlace, *, rw: bool = False) -> Iterator[Any]:
    """A session with the token that the PIN opened; what goes wrong in it is said in words."""
    pin = _pin(place)
    with _LOGIN:
        try:
            with _token(place).open(rw=rw, user_pin=pin) as session:
                yield session
        except exceptions.PKCS11Error as e:
            what, fix = _WORDS.get(type(e), (f"the token says {type(e).__name__}{f' ({e})' if str(e) else ''}", ""))
            raise SigningKeyError(what, where=place.name, fix=fix) from None


def _pin(place: TokenPlace) -> str:
    """The first line of the file that `pin-source` names, else ASSAY_PKCS11_PIN_FILE. Raises `SigningKeyError`."""
    named = place.pin_file or os.environ.get(PIN_FILE, "")
    if not named:
        fix = f"Put it into a file, and name that in {PIN_FILE} or by &pin-source=FILE in the URI."
        raise SigningKeyError("the token asks for its PIN", where=place.name, fix=fix)
    try:
        with Path(named).open("rb") as file:
            pin = file.read(MAX_PIN_BYTES).split(b"\n", 1)[0].rstrip(b"\r").decode()
    except OSError as e:
        raise SigningKeyError(f"cannot read the PIN: {e.strerror}", where=named) from None
    except UnicodeDecodeError:
        raise SigningKeyError("the PIN is not UTF-8", where=named) from None
    if not pin:
        raise SigningKeyError("the file holds no PIN", where=named)
    return pin


def _token(place: TokenPlace) -> Any:
    """The one token that the place names."""
    try:
        module = pkcs11.lib(place.module)
    except exceptions.PKCS11Error as e:
        raise SigningKeyError(f"cannot load the token's module: {e}", where=place.module, fix="Check module-path in the URI.") from None
    tokens = list(module.get_tokens())
    wanted = (place.token, place.serial, place.manufacturer, place.model)
    found = [t for t in tokens if all(not w or w == is_ for w, is_ in zip(wanted, _told(t), strict=True))]
    if not found:
        there = ", ".join(sorted({t.label for t in tokens if t.label})) or "none"
        raise SigningKeyError("there is no such token", where=place.name, fix=f"Tokens that the module shows: {there}.")
    if len(found) > 1:
        serials = ", ".join(sorted(_told(t)[1] for t in found))
        raise SigningKeyError(f"{len(found)} tokens match", where=place.name, fix=f"Add serial=..., one of {serials}.")
    return found[0]


def _told(token: Any) -> tuple[str, str, str, str]:
    """Label, serial number, manufacturer and model, without the padding of PKCS #11."""
    serial = token.serial.decode(errors="replace") if isinstance(token.serial, bytes) else str(token.serial)
    return (token.label.strip(), serial.strip(" \0"), token.manufacturer_id.strip(), token.model.strip())


def _private(session: Any, place: TokenPlace) -> Any:
    """The one private key that the place names, an Ed25519 key."""
    named = {**({Attribute.LABEL: place.object} if place.object else {}), **({Attribute.ID: place.id} if place.id else {})}
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **named}))
    if not found:
        raise SigningKeyError("there is no such key on the token", where=place.name, fix=f"Make one: assay key new '{place}'")
    if len(found) > 1:
        ids = ", ".join("".join(f"%{byte:02x}" for byte in key.id) or "none" for key in found[:8])
        raise SigningKeyError(f"{len(found)} keys match", where=place.name, fix=f"Add id=... to the URI; theirs are {ids}.")
    if found[0].key_type is not KeyType.EC_EDWARDS or bytes(found[0][Attribute.EC_PARAMS]) not in ED25519:
        raise SigningKeyError("the key is not an Ed25519 key", where=place.name)
    return found[0]


def _public(session: Any, place: TokenPlace, private: Any) -> bytes:
    """The 32 bytes of the public half: of the object that shares the private key's id, else its label."""
    named = {Attribute.ID: private.id} if private.id else {Attribute.LABEL: private.label}
    points = {bytes(o[Attribute.EC_POINT]) for o in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, **named})}
    if len(points) != 1:
        what = "the key's public half is not on the token" if not points else "two public keys share the key's id"
        raise SigningKeyError(what, where=place.name)
    raw = points.pop()
    raw = raw.removeprefix(b"\x04\x20") if len(raw) == 34 else raw  # PKCS #11 v3.0 wraps it in an OCTET STRING; some tokens do not
    if len(raw) != 32:
        raise SigningKeyError("the key is not an Ed25519 key", where=place.name)
    return raw
