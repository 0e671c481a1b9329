"""Ed25519 keys in PEM files.

key = load_or_create_key(Path("~/.config/assay/key.pem").expanduser())
key.public.keyid
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from assay.errors import SigningKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


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

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"PrivateKey(keyid={self.public.keyid[:12]}...)"

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    @property
    def crypto(self) -> Ed25519PrivateKey:
        """The key object of the cryptography package."""
        return self._key

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the operating system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    def to_pem(self) -> bytes:
        """PKCS#8 PEM, unencrypted."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str) -> PrivateKey:
        """Read a PKCS#8 PEM key. Raises `SigningKeyError`."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as e:
            raise SigningKeyError(f"not a readable private key ({type(e).__name__})", where=where) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError("the key is not an Ed25519 key", where=where)
        return cls(key)


def load_or_create_key(path: Path) -> PrivateKey:
    """The signing key at `path`; made there, readable by its owner only, if there is none."""
    if path.exists():
        return PrivateKey.from_pem(path.read_bytes(), where=str(path))
    key = PrivateKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as f:
            f.write(key.to_pem())
    except FileExistsError:
        return PrivateKey.from_pem(path.read_bytes(), where=str(path))
    except OSError as e:
        raise SigningKeyError(f"cannot write the signing key: {e.strerror}", where=str(path)) from None
    return key
