"""Prompts and answers beside the audit log: encrypted to the named auditors, known in the log by a salted digest only.

    sealer = Sealer(segment, secret, salts)                       # one a segment
    digest, frame = sealer.digest(data, sha256), sealer.frame("request", digest, data)
    contents = Contents.open(folder / "w0-1790000000000.content", header, identities)
    kind, data = contents[digest]

A segment has one random key, in its header as an age file for all auditors; each content is ChaCha20-Poly1305 under it, with its number
as nonce and the segment's name, the number and the digest as associated data. (An age file for each content costs 119 us; this costs 2.)
The digest is HMAC-SHA256(salt, SHA-256(content)): nobody can try guesses against the log alone. Salts follow from the audit key's
signature over the segment's name, and lie with the content, so that an auditor checks the digest, and the key's holder can.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from assay.access.audit.records import AuditError, AuditTamperedError, Segment
from assay.ledger import PrivateKey

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

_HEAD = struct.Struct(">IQ32s")
STEP = 2040
SALT = 16
MAX_CONTENT = 300 << 20
SECRET = 32


def _age() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError:
        raise AuditError("contents need pyrage, which is not installed", fix="pip install 'assay[access]'") from None
    return pyrage


def salts_of(key: PrivateKey, segment: str) -> bytes:
    """The secret that a segment's salts are made from (32 bytes): only the key's holder can make it again."""
    return hashlib.sha256(key.sign(b"assay-audit-salts/1\n" + segment.encode())).digest()


def new_secret(auditors: Sequence[str]) -> tuple[bytes, str]:
    """A fresh key for a segment's contents, and the age file with it for the auditors, in base64. Raises `AuditError`."""
    age = _age()
    try:
        recipients = [age.x25519.Recipient.from_str(a) for a in auditors]
    except (age.RecipientError, ValueError):
        raise AuditError("an auditor's recipient is no X25519 recipient of age", where=", ".join(a[:20] for a in auditors)) from None
    secret = os.urandom(SECRET)
    return secret, base64.b64encode(age.encrypt(secret, recipients)).decode()


def sha256_of(data: bytes) -> bytes:
    """SHA-256. In small steps where that is quick: for a large one Python lets other threads run, and waits for its turn after it."""
    if len(data) < STEP or len(data) > 64 * STEP:
        return hashlib.sha256(data).digest()
    found, view = hashlib.sha256(), memoryview(data)
    for at in range(0, len(data), STEP):
        found.update(view[at : at + STEP])
    return found.digest()


class Sealer:
    """Makes digests (in the event loop) and frames (in the commit thread) of one segment. Without a secret: digests only."""

    def __init__(self, segment: str, salts: bytes, secret: bytes = b"") -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._name = segment.encode()
        self._salting = hmac.new(salts, digestmod="sha256")
        self._cipher = ChaCha20Poly1305(secret) if secret else None
        self._next = 0

    @property
    def keeps(self) -> bool:
        """Whether contents are kept at all."""
        return self._cipher is not None

    def digest(self, data: bytes, sha256: bytes = b"") -> tuple[int, bytes, bytes]:
        """The content's number, its salt, and its salted digest; `sha256` is that of the data, if it is known already."""
        n = self._next
        self._next = n + 1
        salting = self._salting.copy()
        salting.update(n.to_bytes(8, "big"))
        salt = salting.digest()[:SALT]
        return n, salt, hmac.new(salt, sha256 or sha256_of(data), "sha256").digest()

    def frame(self, kind: str, n: int, salt: bytes, digest: bytes, data: bytes) -> bytes:
        """The content as it stands in the file."""
        if self._cipher is None:
            raise AuditError("no auditors are named: contents are not kept")
        name = kind.encode()[:255]
        plain = b"%c%s%s%s" % (len(name), name, salt, data)
        sealed = self._cipher.encrypt(n.to_bytes(12, "big"), plain, _bound(self._name, n, digest))
        return _HEAD.pack(len(sealed), n, digest) + sealed


def _bound(segment: bytes, n: int, digest: bytes) -> bytes:
    return b"assay-audit-content/1\n%s\n%d\n%s" % (segment, n, digest)


class Frame(Struct, frozen=True):
    """Where a content lies: its number, its digest, and the offset and length of the ciphertext."""

    n: int
    digest: str
    offset: int
    size: int


def frames(path: Path) -> Iterator[Frame]:
    """What is in a file of contents, without opening any, as far as it can be: they are numbered without gaps, and a torn tail is none of
    them. Raises `AuditError`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            at = count = 0
            while at + _HEAD.size <= size:
                file.seek(at)
                length, n, digest = _HEAD.unpack(file.read(_HEAD.size))
                if n != count or length > MAX_CONTENT or at + _HEAD.size + length > size:
                    return
                count += 1
                yield Frame(n, "sha256:" + digest.hex(), at + _HEAD.size, length)
                at += _HEAD.size + length
    except FileNotFoundError:
        return
    except (OSError, struct.error) as e:
        raise AuditError(f"cannot read the contents: {e}", where=str(path)) from None


class Contents:
    """The contents of one segment, for an auditor: by digest, each checked when it is read."""

    def __init__(self, path: Path, segment: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._path = path
        self._name = segment.encode()
        self._cipher = ChaCha20Poly1305(secret)
        self._frames = {f.digest: f for f in frames(path)}

    @classmethod
    def open(cls, path: Path, header: Segment, identities: Sequence[Identity]) -> Contents:
        """Raises `AuditError` if none of the identities is an auditor's of this segment."""
        age = _age()
        try:
            secret = age.decrypt(base64.b64decode(header.secret, validate=True), list(identities))
        except (age.DecryptError, ValueError):
            fix = "It was made for: " + (", ".join(header.auditors) or "nobody")
            raise AuditError("none of these identities opens it", where=header.segment, fix=fix) from None
        if len(secret) != SECRET:
            raise AuditTamperedError("the key of the contents is not 32 bytes", where=header.segment)
        return cls(path, header.segment, secret)

    def __contains__(self, digest: str) -> bool:
        return digest in self._frames

    def __getitem__(self, digest: str) -> tuple[str, bytes]:
        """The content's kind and bytes. Raises `KeyError` if it is not there, `AuditTamperedError` if it is not what the digest says."""
        from cryptography.exceptions import InvalidTag

        frame = self._frames[digest]
        raw = bytes.fromhex(digest.removeprefix("sha256:"))
        with self._path.open("rb") as file:
            file.seek(frame.offset)
            sealed = file.read(frame.size)
        try:
            plain = self._cipher.decrypt(frame.n.to_bytes(12, "big"), sealed, _bound(self._name, frame.n, raw))
        except InvalidTag:
            raise AuditTamperedError("a content was changed", where=f"{self._path}, {digest}") from None
        begin = 1 + plain[0]
        salt, data = plain[begin : begin + SALT], plain[begin + SALT :]
        if hmac.digest(salt, hashlib.sha256(data).digest(), "sha256") != raw:
            raise AuditTamperedError("a content is not what its digest says", where=f"{self._path}, {digest}")
        return plain[1:begin].decode(errors="replace"), data
