"""Proofs of possession by a signature (RFC 9449): made by a connector, checked by the gate. Ed25519 (`EdDSA`, or `Ed25519` as RFC 9864
has it) and P-256 (`ES256`) only.

    text = make_proof(key, "POST", "https://gate.example/access/token", at_s, nonce=nonce)
    proof = check_proof(text.encode(), "POST", "gate.example", "/access/token", scheme="https", now=now)
    proof.key == thumbprint(key.public)

What is checked needs nobody's word but the proof's own: the caller compares `proof.key` with the key that a grant names, the nonce with
those that it gave out, and gives `proof.mark` to the replay cache. A proof tells nothing of a request's body.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from assay.access.model import DeniedError
from assay.ledger import PrivateKey, PublicKey

WINDOW_MS = 60_000
"""How long ago a proof's `iat` may be, by the gate's clock."""
AHEAD_MS = 10_000
"""How far it may be ahead: the store counts on it (`PROOF_MS`) where it has lost what was spent."""
_COMPACT = re.compile(rb"([A-Za-z0-9_-]{1,1200})\.([A-Za-z0-9_-]{1,1200})\.([A-Za-z0-9_-]{86})\Z")
_Coordinate = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class _Okp(Struct, frozen=True, tag_field="kty", tag="OKP", forbid_unknown_fields=True):
    crv: Literal["Ed25519"]
    x: _Coordinate
    kid: str = ""
    use: str = ""
    alg: str = ""


class _Ec(Struct, frozen=True, tag_field="kty", tag="EC", forbid_unknown_fields=True):
    crv: Literal["P-256"]
    x: _Coordinate
    y: _Coordinate
    kid: str = ""
    use: str = ""
    alg: str = ""


class _Head(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing but these: no `kid`, `jku`, `x5u` that would point to another key, no `crit`. A `d` in the key is unknown, and so refused."""

    typ: Literal["dpop+jwt"]
    alg: Literal["EdDSA", "Ed25519", "ES256"]
    jwk: _Okp | _Ec


class _Claims(Struct, frozen=True):
    jti: Annotated[str, Meta(min_length=8, max_length=128)]
    htm: Annotated[str, Meta(max_length=10)]
    htu: Annotated[str, Meta(max_length=500)]
    iat: Annotated[int, Meta(ge=0, lt=2**40)]
    nonce: Annotated[str, Meta(max_length=128)] = ""
    ath: Annotated[str, Meta(max_length=43)] = ""


_head = msgspec.json.Decoder(_Head).decode
_claims = msgspec.json.Decoder(_Claims).decode


class Proof(Struct, frozen=True):
    """A proof that holds: the key's thumbprint, the nonce in it, 16 bytes for the replay cache, and until when it would be taken (ms)."""

    key: str
    nonce: str
    mark: bytes
    expiry: int


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str | bytes) -> bytes:
    """Strict inverse of `b64`: the one text that stands for these bytes. Raises ValueError."""
    raw = text.encode() if isinstance(text, str) else text
    data = base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True)
    if base64.urlsafe_b64encode(data).rstrip(b"=") != raw:
        raise ValueError("not canonical base64url")
    return data


def thumbprint(key: PublicKey) -> str:
    """SHA-256 thumbprint of an Ed25519 key's JWK (RFC 7638, RFC 8037): what a grant names."""
    return _thumbprint_of(_Okp("Ed25519", b64(key.raw)))


def certificate_thumbprint(der: bytes) -> str:
    """`x5t#S256` of a certificate: what a grant names for a person with a client certificate (RFC 8705, section 3.1)."""
    return b64(hashlib.sha256(der).digest())


def _thumbprint_of(jwk: _Okp | _Ec) -> str:
    named = f'"x":"{jwk.x}"' if isinstance(jwk, _Okp) else f'"x":"{jwk.x}","y":"{jwk.y}"'
    kind = "OKP" if isinstance(jwk, _Okp) else "EC"
    return b64(hashlib.sha256(f'{{"crv":"{jwk.crv}","kty":"{kind}",{named}}}'.encode()).digest())


def token_hash(token: str) -> str:
    """`ath`: which token a proof goes with (RFC 9449, section 4.2)."""
    return b64(hashlib.sha256(token.encode()).digest())


def make_proof(key: PrivateKey, method: str, url: str, at_s: int, *, nonce: str = "", token: str = "") -> str:
    """A proof by an Ed25519 key for one request. Raises `SigningKeyError` where a key on a token does not sign."""
    claims: dict[str, Any] = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": url, "iat": at_s}
    claims |= {"nonce": nonce} if nonce else {}
    claims |= {"ath": token_hash(token)} if token else {}
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public.raw)}
    head = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk}
    signed = f"{b64(msgspec.json.encode(head))}.{b64(msgspec.json.encode(claims))}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def check_proof(
    proof: bytes, method: str, host: str, path: str, *, scheme: Literal["https", "http"], now: int, token: str = "", key: str = ""
) -> Proof:  # fmt: skip
    """What the proof proves. `host` is as the request's Host header has it, `path` without query, `now` in ms.

    With `token`, its `ath` must name that; with `key`, it must be by the key of that thumbprint. Raises `DeniedError` (401).
    """
    parts = _COMPACT.match(proof)
    if parts is None:
        raise _refused()
    try:
        head, claims = _head(unb64(parts[1])), _claims(unb64(parts[2]))
        signature = unb64(parts[3])
    except (ValueError, msgspec.MsgspecError):
        raise _refused() from None
    if claims.htm != method or not _same(claims.htu, scheme, host, path):
        raise _refused("the proof is for another request")
    if not -AHEAD_MS <= now - claims.iat * 1000 <= WINDOW_MS:
        raise _refused("the proof is of another time")
    if token and claims.ath != token_hash(token):
        raise _refused("the proof is for another token")
    found = _thumbprint_of(head.jwk)
    if key and found != key:
        raise _refused("the proof is by another key")
    _verify(head, parts[1] + b"." + parts[2], signature)
    mark = hashlib.sha256(f"{found} {claims.jti}".encode(errors="surrogatepass")).digest()[:16]
    return Proof(found, claims.nonce, mark, claims.iat * 1000 + WINDOW_MS)


def _refused(what: str = "the proof of possession is not valid") -> DeniedError:
    return DeniedError("credentials.proof", 401, what)


def _same(url: str, scheme: str, host: str, path: str) -> bool:
    """Whether `htu` names scheme, host and path (RFC 9449, section 4.3: after normalisation; none of ours has a query there)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    usual = {"https": ":443", "http": ":80"}[scheme]
    ours, theirs = host.lower().removesuffix(usual), parts.netloc.lower().removesuffix(usual)
    return parts.scheme == scheme and theirs == ours and parts.path == path and "?" not in url and "#" not in url


def _verify(head: _Head, signed: bytes, signature: bytes) -> None:
    """The signature, by the algorithm that goes with the key's type and no other."""
    from cryptography.exceptions import InvalidSignature

    if (head.alg != "ES256") != isinstance(head.jwk, _Okp):
        raise _refused()
    try:
        if isinstance(head.jwk, _Okp):
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            Ed25519PublicKey.from_public_bytes(unb64(head.jwk.x)).verify(signature, signed)
            return
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        _p256(head.jwk.x, head.jwk.y).verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise _refused() from None


@lru_cache(maxsize=1024)
def _p256(x: str, y: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.EllipticCurvePublicNumbers(int.from_bytes(unb64(x), "big"), int.from_bytes(unb64(y), "big"), ec.SECP256R1()).public_key()
