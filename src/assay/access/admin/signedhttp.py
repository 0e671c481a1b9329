"""Requests that an administrator's key has signed: RFC 9421 in one fixed form, with one way to write it and one to read it.

    headers = sign_request(key, "POST", "https://gate.example:8471/access/halts", body, now_s=now)
    proof = check_signature(keys, "POST", uri, headers, now_s=now)             # Proof(name, nonce, ...), or DeniedError: no body is needed
    proof.check_body(body)                                                     # DeniedError if it is another than was signed

Signed are the method, the whole address (so that nothing is replayed elsewhere) and the SHA-256 of the body (RFC 9530), always, with the
time, the key's id and 128 bits or more that are used once: whoever checks spends `proof.nonce` before acting. A request is too old after
a minute. The signature is checked before the body is read. What is not in exactly this form is refused.

    Content-Digest: sha-256=:...:
    Signature-Input: assay=("@method" "@target-uri" "content-digest");created=1790000000;keyid="...";nonce="...";
        alg="ed25519";tag="assay-admin"                                                                         (on one line)
    Signature: assay=:...:
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping

from msgspec import Struct

from assay.access.model import DeniedError
from assay.ledger import PrivateKey, PublicKey

WINDOW_S = 60
AHEAD_S = 10
"""How old a signature may be, and how far ahead of the server's clock: the store counts on it where it has lost what was spent."""
TAG = "assay-admin"
COMPONENTS = '("@method" "@target-uri" "content-digest")'
_INPUT = re.compile(
    r'assay=(\("@method" "@target-uri" "content-digest"\);created=([0-9]{1,12});keyid="([0-9a-f]{64})";nonce="([A-Za-z0-9_-]{22,64})"'
    r';alg="ed25519";tag="assay-admin")\Z'
)
_DIGEST = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:\Z")
_SIGNATURE = re.compile(r"assay=:([A-Za-z0-9+/]{86}==):\Z")
URI = re.compile(r"https?://[!-~]{1,2000}\Z")


class Proof(Struct, frozen=True):
    """Who signed, by name, and what is to be spent: the nonce, until when (Unix ms) it has to be remembered. `digest` is the body's."""

    name: str
    nonce: bytes
    expires_ms: int
    digest: str

    def check_body(self, body: bytes) -> None:
        """Raises `DeniedError` for a body that was not signed."""
        if content_digest(body) != self.digest:
            raise _denied("the body is not the one that was signed")


def sign_request(key: PrivateKey, method: str, uri: str, body: bytes, *, now_s: int, nonce: str = "") -> dict[str, str]:
    """The headers that prove that the key's holder sends this. `now_s` is Unix time in seconds. ValueError for what is no address."""
    if not URI.match(uri):
        raise ValueError(f"not an address: {uri[:80]!r}")
    nonce = nonce or secrets.token_urlsafe(24)
    params = f'{COMPONENTS};created={now_s};keyid="{key.public.keyid}";nonce="{nonce}";alg="ed25519";tag="{TAG}"'
    digest = content_digest(body)
    signature = base64.b64encode(key.sign(signature_base(method, uri, digest, params))).decode()
    return {"Content-Digest": digest, "Signature-Input": f"assay={params}", "Signature": f"assay=:{signature}:"}


def check_signature(keys: Mapping[str, PublicKey], method: str, uri: str, headers: Iterable[tuple[str, str]], *, now_s: float) -> Proof:
    """Whose request this is. `uri` is the address by which the server is called, `headers` all that came, names in lower case.

    Raises `DeniedError` (401), which does not say whether the key is known.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in ("content-digest", "signature-input", "signature"):
            if name in found:
                raise _denied(f"two headers {name}")
            found[name] = value
    given = _INPUT.match(found.get("signature-input", ""))
    signature = _SIGNATURE.match(found.get("signature", ""))
    digest = found.get("content-digest", "")
    if given is None or signature is None or not URI.match(uri) or not _DIGEST.match(digest):
        raise _denied("not signed in the form that docs/access-console.md describes")
    params, created, keyid, nonce = given.groups()
    if not -AHEAD_S <= now_s - int(created) <= WINDOW_S:
        raise _denied("the signature's time is not now: look at both clocks")
    name = next((n for n, k in keys.items() if k.keyid == keyid), "")
    if not name or not _holds(keys[name], base64.b64decode(signature.group(1)), signature_base(method, uri, digest, params)):
        raise _denied("no key that counts here has signed this")
    spent = hashlib.sha256(f"{TAG} {keyid} {nonce}".encode()).digest()
    return Proof(name, spent, (int(created) + WINDOW_S) * 1000, digest)


def content_digest(body: bytes) -> str:
    """RFC 9530, one algorithm."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signature_base(method: str, uri: str, digest: str, params: str) -> bytes:
    """RFC 9421, section 2.5, of the profile's components."""
    return f'"@method": {method}\n"@target-uri": {uri}\n"content-digest": {digest}\n"@signature-params": {params}'.encode()


def _holds(key: PublicKey, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _denied(what: str) -> DeniedError:
    return DeniedError("signature", 401, what)
