"""Ed25519 keys in PEM files, or on tokens.

key = load_or_create_key(Path("~/.config/assay/key.pem").expanduser())
key.public.keyid
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from assay.errors import SigningKeyError
from assay.ledger import keychain
from assay.ledger.places import KeyPlace, TokenPlace

PASSPHRASE_FILE = "ASSAY_KEY_PASSPHRASE_FILE"  # noqa: S105 (the name of the variable)
PASSPHRASE = "ASSAY_KEY_PASSPHRASE"  # noqa: S105 (the name of the variable)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class PrivateHalf(Protocol):
    """What holds the private half: the cryptography package in this process, or a token."""

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        ...

    def sign(self, data: bytes, /) -> bytes:
        """The 64 bytes of a signature."""
        ...


class PublicKey(Struct, frozen=True):
    """The 32 raw bytes of an Ed25519 public key."""

    raw: bytes

    @property
    def keyid(self) -> str:
        """SHA-256 of the raw bytes, hex: what people compare."""
        return hashlib.sha256(self.raw).hexdigest()

    def to_json(self) -> dict[str, str]:
        """As it stands in a bundle."""
        return {"algorithm": "ed25519", "keyid": self.keyid, "public": base64.b64encode(self.raw).decode()}

    def to_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM (RFC 8410): what OpenSSL, cosign and in-toto read."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_json(cls, value: object) -> PublicKey:
        """Strict inverse of `to_json`. Raises `SigningKeyError`."""
        if not isinstance(value, dict) or not isinstance(value.get("public"), str):
            raise SigningKeyError("this is not a public key")
        try:
            key = cls(base64.b64decode(value["public"], validate=True))
        except ValueError:
            raise SigningKeyError("the public key is not base64") from None
        if len(key.raw) != 32 or value != key.to_json():
            raise SigningKeyError("the public key and its key id do not agree")
        return key


class PrivateKey(Struct, frozen=True):
    """A signing key. Its repr shows the public half only."""

    _key: PrivateHalf

    def __repr__(self) -> str:
        return f"PrivateKey(keyid={self.public.keyid[:12]}...)"

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature (RFC 8032, pure) over `data`."""
        return self._key.sign(data)

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the operating system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    def to_pem(self, passphrase: bytes = b"") -> bytes:
        """PKCS#8 PEM, encrypted if there is a passphrase (scrypt or PBKDF2 and AES-256, as the cryptography package does best).

        Raises `SigningKeyError` for a key on a token, which cannot leave it.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not isinstance(self._key, Ed25519PrivateKey):
            raise SigningKeyError("the key is on a token and never leaves it")
        hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str, passphrase: bytes = b"") -> PrivateKey:
        """Read a PKCS#8 PEM key; `passphrase` opens a protected one. Raises `SigningKeyError`."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        protected = is_protected(pem)
        if protected and not passphrase:
            fix = f"Put it into a file and name that in {PASSPHRASE_FILE}, or keep it in the keyring: assay key store {PASSPHRASE}"
            raise SigningKeyError("the key is protected by a passphrase", where=where, fix=fix)
        try:
            key = serialization.load_pem_private_key(pem, password=passphrase if protected else None)
        except (ValueError, TypeError) as e:
            if protected:
                raise SigningKeyError("the passphrase does not open the key", where=where) from None
            raise SigningKeyError(f"not a readable private key ({type(e).__name__})", where=where) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError("the key is not an Ed25519 key", where=where)
        return cls(key)


def is_protected(pem: bytes) -> bool:
    """Whether a PEM file holds an encrypted key."""
    return b"ENCRYPTED" in pem


def passphrase() -> bytes:
    """The passphrase of protected keys: the first line of the file that ASSAY_KEY_PASSPHRASE_FILE names, else ASSAY_KEY_PASSPHRASE; empty
    without either. Raises `SigningKeyError` for a file that cannot be read.
    """
    named = os.environ.get(PASSPHRASE_FILE)
    if not named:
        return os.environ.get(PASSPHRASE, "").encode()
    try:
        return Path(named).read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as e:
        raise SigningKeyError(f"cannot read the passphrase: {e.strerror}", where=named) from None


def load_key(path: KeyPlace) -> PrivateKey:
    """The signing key at `path`, opened by `passphrase` or the keyring's if it is protected, or by the PIN of its token.

    Raises `SigningKeyError`, and `KeyringError` where the keyring is locked.
    """
    if isinstance(path, TokenPlace):
        from assay.ledger.token import open_token_key

        return PrivateKey(open_token_key(path))
    try:
        pem = path.read_bytes()
    except OSError as e:
        raise SigningKeyError(f"cannot read the signing key: {e.strerror}", where=str(path)) from None
    secret = passphrase() or (keychain.look_up(PASSPHRASE).encode() if is_protected(pem) else b"")
    return PrivateKey.from_pem(pem, where=str(path), passphrase=secret)


def load_or_create_key(path: KeyPlace) -> PrivateKey:
    """The signing key at `path`; made there, readable by its owner only, if there is none: protected if there is a `passphrase`.

    On a token nothing is made unasked. Raises `SigningKeyError`.
    """
    if isinstance(path, TokenPlace) or path.exists():
        return load_key(path)
    key = PrivateKey.generate()
    try:
        write_key(path, key, passphrase())
    except FileExistsError:
        return load_key(path)
    return key


def _linked(partial: Path, path: Path) -> bool:
    """Put a whole file where there is none: two processes may make their first key together, and must end up with one. FileExistsError
    where there is one; false where the file system has no links.
    """
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(str(path)) from None
        return False
    return True


def write_key(path: Path, key: PrivateKey, secret: bytes, *, replace: bool = False) -> None:
    """Keep a key at `path`, whole or not at all, readable by its owner only. FileExistsError unless it may `replace`, `SigningKeyError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as f:
                f.write(key.to_pem(secret))
                f.flush()
                os.fsync(f.fileno())
            if replace or not _linked(partial, path):
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as e:
        raise SigningKeyError(f"cannot write the signing key: {e.strerror}", where=str(path)) from None
