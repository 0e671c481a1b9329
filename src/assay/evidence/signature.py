"""An OpenSSF Model Signing v1.0 signature, read without the weights and without the library that made it.

    manifest = open_signature(msgspec.json.decode(Path("model.sig").read_bytes()), Path("developer.pem").read_bytes())
    manifest.files            # {"model.safetensors": "sha256:..."}
    manifest.holds("sha256:...")

The file is a Sigstore bundle: a DSSE envelope, signed with ECDSA, around an in-toto Statement whose predicate lists every file with its
digest. Only signatures by a bare key are read, not those by certificates or identities. Fields that the formats leave open are let be.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import IdentityError
from assay.ledger.dsse import PAYLOAD_TYPE, STATEMENT_TYPE, pae

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

PREDICATE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BYTES = 32 << 20
MAX_KEY_BYTES = 65_536
MAX_FILES = 200_000
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""What the library signs with, and the hash that goes with each."""
Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){16,64}$")]
Plain = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$")]


class _Signature(Struct, frozen=True):
    sig: str


class _Envelope(Struct, frozen=True):
    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1, max_length=1)]


class _KeyHint(Struct, frozen=True):
    hint: str | None = None


class _Material(Struct, frozen=True):
    public_key: _KeyHint = msgspec.field(name="publicKey")


class _Bundle(Struct, frozen=True):
    media_type: str = msgspec.field(name="mediaType")
    material: _Material = msgspec.field(name="verificationMaterial")
    envelope: _Envelope = msgspec.field(name="dsseEnvelope")


class _Resource(Struct, frozen=True):
    name: Plain
    algorithm: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
    digest: Hex


class _Serialisation(Struct, frozen=True):
    method: Literal["files", "shards"]
    hash_type: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
    ignore_paths: Annotated[tuple[Plain, ...], Meta(max_length=1000)] = ()
    shard_size: Annotated[float, Meta(ge=0, le=2**53)] = 0


class _Predicate(Struct, frozen=True):
    serialization: _Serialisation
    resources: Annotated[tuple[_Resource, ...], Meta(min_length=1, max_length=MAX_FILES)]


class _Subject(Struct, frozen=True):
    name: Plain
    digest: dict[str, Hex]


class _Statement(Struct, frozen=True):
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")
    subject: Annotated[tuple[_Subject, ...], Meta(min_length=1, max_length=1)]
    predicate: _Predicate


class Manifest(Struct, frozen=True):
    """What was signed. `name` is the model's (its folder or file), only informative. `root` is the digest over all of it, `files` have the
    digest of each (`.` where one file was signed), `algorithm:` and hex. `left_out` are paths that the signer chose not to cover. `key` is
    the SHA-256 of the public key's PEM form, by which such signatures name it.
    """

    name: str
    root: str
    method: Literal["files", "shards"]
    algorithm: str
    files: dict[str, str]
    left_out: tuple[str, ...]
    key: str
    shard_bytes: int = 0

    @property
    def whole(self) -> bool:
        """Whether the digests are SHA-256 of whole files, as a target's is."""
        return self.method == "files" and self.algorithm == "sha256"

    def holds(self, digest: str) -> bool:
        """Whether a digest (`sha256:` and hex) is a signed file's, or that over all files."""
        return digest == self.root or (self.whole and digest in self.files.values())


def open_signature(signature: Any, public_key: bytes) -> Manifest:
    """Check that the key's holder signed, and return what. `signature` is the JSON value of the bundle, or of its envelope alone.

    Raises `IdentityError`, with `where` one of `signature`, `key` and `manifest`.
    """
    key, hint = read_public_key(public_key)
    alone = isinstance(signature, dict) and "payload" in signature
    try:
        bundle = None if alone else msgspec.convert(signature, _Bundle)
        envelope = msgspec.convert(signature, _Envelope) if bundle is None else bundle.envelope
        payload, sig = (base64.b64decode(v, validate=True) for v in (envelope.payload, envelope.signatures[0].sig))
    except (msgspec.ValidationError, ValueError, RecursionError) as e:
        raise IdentityError(f"this is no model signature made with a key: {e}", where="signature") from None
    if bundle is not None and bundle.media_type != MEDIA_TYPE:
        raise IdentityError(f"the bundle's type is {bundle.media_type[:100]!r}, not {MEDIA_TYPE}", where="signature")
    if bundle is not None and bundle.material.public_key.hint not in (None, "", hint):
        raise IdentityError(f"signed with the key {str(bundle.material.public_key.hint)[:64]}, not with {hint}", where="key")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise IdentityError(f"the payload is {envelope.payload_type[:100]!r}, not {PAYLOAD_TYPE}", where="signature")
    _verify(key, sig, payload)
    return _manifest(payload, hint)


def read_public_key(pem: bytes) -> tuple[EllipticCurvePublicKey, str]:
    """An ECDSA public key from PEM, and its name: the SHA-256 of its PEM form, hex. Raises `IdentityError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    fix = f"Models are signed with ECDSA keys ({', '.join(CURVES)}), not with the Ed25519 keys of runs. Make one: assay model key PATH"
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise IdentityError("not a public key in PEM", where="key", fix=fix) from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise IdentityError("not an ECDSA key that models are signed with", where="key", fix=fix)
    return key, hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def parse_signature(data: bytes) -> Any:
    """The JSON value in a signature's file. Raises `IdentityError`."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise IdentityError("this is no model signature: not JSON, or cut off", where="signature") from None


def read_bounded(path: Path, limit: int) -> bytes:
    """A file of at most so many bytes. Raises `IdentityError`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as e:
        raise IdentityError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise IdentityError(f"more than {limit:,} bytes", where=str(path))
    return data


def _verify(key: EllipticCurvePublicKey, sig: bytes, payload: bytes) -> None:
    """ECDSA over DSSE's pre-authentication encoding, with the curve's hash."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    try:
        key.verify(sig, pae(payload), ECDSA(getattr(hashes, CURVES[key.curve.name])()))
    except InvalidSignature:
        raise IdentityError("the signature does not hold", where="signature") from None


def _manifest(payload: bytes, hint: str) -> Manifest:
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise IdentityError(f"what is signed is no model manifest of version 1.0: {e}", where="manifest") from None
    if statement.type != STATEMENT_TYPE or statement.predicate_type != PREDICATE:
        raise IdentityError(f"what is signed is {statement.predicate_type[:100]!r}, not {PREDICATE}", where="manifest")
    subject, predicate = statement.subject[0], statement.predicate
    files = {r.name: f"{r.algorithm}:{r.digest}" for r in predicate.resources}
    if len(files) < len(predicate.resources):
        raise IdentityError("a file stands in the manifest twice", where="manifest")
    over = hashlib.sha256(b"".join(bytes.fromhex(r.digest) for r in predicate.resources)).hexdigest()
    if subject.digest.get("sha256") != over:
        raise IdentityError("the digest over all files is not that of the files listed", where="manifest")
    how = predicate.serialization
    return Manifest(subject.name, f"sha256:{over}", how.method, how.hash_type, files, how.ignore_paths, hint, int(how.shard_size))
