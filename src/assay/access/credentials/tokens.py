"""Credentials bound to a key: short-lived tokens, and a proof of possession with every request. A copied token is worth nothing.

    tokens = Tokens.read(config)
    asked = tokens.asked(headers, body, now)                        # POST /access/token; asked.nonce goes to the replay cache
    reply = tokens.issue(grant.id, grant.version, person.name, asked.key, now, by=asked.by, until=grant.expires)
    proven = tokens.check(headers, "POST", b"/v1/chat/completions", body_sha256, now)
    person = holder(proven, grants.get(proven.grant))

A token is `1.KEYID.CLAIMS.MAC`: claims in the clear, sealed with a sub-key of the gate's secret. Three proofs are taken:

| `Authorization` | proof |
|---|---|
| `Assay TOKEN` | `X-Assay-Proof: 1.MS.NONCE.MAC`: HMAC-SHA256, by a key told with the token only, over `canonical` |
| `DPoP TOKEN` | `DPoP: ...` (RFC 9449, with the gate's nonce and `ath`); says nothing of the body; slower |
| `Bearer TOKEN` | the TLS connection's client certificate (RFC 8705), for tokens that were asked for with it |

Headers are what ASGI gives, by names in lower case; whoever calls has refused those of `HEADERS` that stand twice.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from assay.access.config import Config, GateError
from assay.access.credentials.dpop import b64, check_proof, unb64
from assay.access.credentials.secretfile import Secret, read_secrets
from assay.access.model import Count, DeniedError, Grant, Id, Ms, Person, Plain, Thumbprint

PATH = "/access/token"
WINDOW_MS = 30_000
NONCE_MS = 60_000
AHEAD_MS = 5_000
"""How far another machine of the same gate may be ahead of this one's clock."""
REREAD_MS = 1_000
"""How old what is known of the secret's file may be: a rotation, or a leaked secret taken out of it, holds everywhere after this."""
CACHED = 4096
MAX_TOKEN = 3000
MAX_REQUEST = 4096
HEADERS = frozenset({b"authorization", b"x-assay-proof", b"dpop", b"host", b"x-assay-system"})
_PROOF = re.compile(rb"1\.([0-9]{12,15})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})\Z")
_TOKEN = re.compile(rb"1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{20,2900})\.([A-Za-z0-9_-]{43})\Z")

Headers = Mapping[bytes, bytes]


class Claims(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token says: who may do what its grant lets, in which version, with which key (`by`: a JWK or a certificate). Times in ms."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    grant: Id
    version: Count
    person: Plain
    key: Thumbprint
    by: Literal["jwk", "x5t"]
    issued: Ms
    expires: Ms


class Answer(Struct, frozen=True):
    """The answer to a token request. `time` is the gate's clock (Unix ms), by which the connector corrects its own."""

    access_token: str
    token_type: Literal["Assay", "Bearer"]
    expires_in: int
    mac_key: str
    time: int

    def __repr__(self) -> str:
        return f"Answer(expires_in={self.expires_in})"


class Proven(Struct, frozen=True):
    """A request that was proven: whose, under what. `nonce` (16 bytes) is for the replay cache, which keeps it until `expires` (ms)."""

    grant: str
    version: int
    person: str
    key: str
    nonce: bytes
    expires: int


class AskedToken(Struct, frozen=True):
    """A token request with a proof that holds: for which grant, by which key; `person` as they say (empty: by the key alone)."""

    grant: str
    person: str
    key: str
    by: Literal["jwk", "x5t"]
    nonce: bytes
    expires: int


class Opened(Struct, frozen=True):
    """A token that was opened. `making` is an HMAC under its key, begun: a copy of it is quick, and lets no other thread run between."""

    claims: Claims
    making: hmac.HMAC
    until: int


class _Keys(Struct, frozen=True):
    """Sub-keys of one secret, and when it was retired."""

    seal: bytes
    nonce: bytes
    mac: bytes
    retired: int


class _Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    grant: Id
    person: Annotated[str, Meta(max_length=300)] = ""


_claims = msgspec.json.Decoder(Claims).decode
_wanted = msgspec.json.Decoder(_Wanted).decode


def canonical(method: str, host: str, path: bytes, body_sha256: bytes, ms: int, nonce: str, system: bytes = b"") -> bytes:
    """What a proof is made over: one line each; `path` with its query as sent, the digest in hex, `system` as the header has it."""
    return b"assay-proof/1\n%b\n%b\n%b\n%b\n%d\n%b\n%b" % (
        method.encode(), host.encode(), path, body_sha256.hex().encode(), ms, nonce.encode(), system,
    )  # fmt: skip


def proof_header(mac_key: bytes, method: str, host: str, path: bytes, body_sha256: bytes, ms: int, system: bytes = b"") -> str:
    """The header `Assay-Proof` of one request."""
    nonce = secrets.token_hex(16)
    mac = hmac.digest(mac_key, canonical(method, host, path, body_sha256, ms, nonce, system), "sha256")
    return f"1.{ms}.{nonce}.{b64(mac)}"


def holder(proven: Proven, grant: Grant | None) -> Person:
    """Who holds the grant as it is now (None: revoked, or not there). Raises `DeniedError`: revoked, another version, or theirs no more."""
    if grant is not None and grant.id == proven.grant and grant.version == proven.version:
        for person in grant.persons:
            if person.name == proven.person and person.key == proven.key:
                return person
    raise DeniedError("credentials.grant", 401, "the token's grant is not in force any more")


class Tokens:
    """Issues and checks tokens. All it keeps is a bounded cache of tokens that it opened; one for a worker.

    `hosts` are the names by which the gate may be called, `scheme` how. `reread` gives the secrets anew: every second, and where a token
    names one that is not known here, since another worker may have read a rotated file first.
    """

    def __init__(
        self, given: Sequence[Secret], *, hosts: Sequence[str], scheme: Literal["https", "http"] = "https", token_s: int = 300,
        reread: Callable[[], Sequence[Secret]] | None = None,
    ) -> None:  # fmt: skip
        self._hosts = {host.lower().encode(): host.lower() for host in hosts}
        self._scheme: Literal["https", "http"] = scheme
        self._token_ms = token_s * 1000
        self._reread = reread
        self._read_at = 0
        self._renew(tuple(given))

    @classmethod
    def read(cls, config: Config) -> Self:
        """By the gate's file. Raises `GateError` where the secret cannot be had."""
        path = config.path(config.secret)
        scheme: Literal["https", "http"] = "https" if config.tls else "http"
        return cls(
            read_secrets(path), hosts=config.hosts, scheme=scheme, token_s=config.token_s, reread=lambda: read_secrets(path)
        )  # fmt: skip

    def renew(self, now: int) -> None:
        """Read the secrets again, and use them if they are others than before. Raises `DeniedError` (503) where they cannot be had."""
        try:
            given = tuple(self._reread()) if self._reread else self._secrets
        except GateError:
            raise DeniedError("credentials.secret", 503, "the gate is closed") from None
        self._read_at = now
        if given != self._secrets:
            self._renew(given)

    def issue(
        self, grant: str, version: int, person: str, key: str, now: int, *, by: Literal["jwk", "x5t"] = "jwk", until: int = 2**53 - 1
    ) -> Answer:  # fmt: skip
        """A token that is bound to `key`, for a token's life but not beyond `until` (ms)."""
        claims = Claims(secrets.token_hex(16), grant, version, person, key, by, now, min(now + self._token_ms, until))
        keys = self._keys[self._current]
        sealed = b"1.%b.%b" % (self._current, b64(msgspec.json.encode(claims)).encode())
        text = sealed.decode() + "." + b64(hmac.digest(keys.seal, sealed, "sha256"))
        kind: Literal["Assay", "Bearer"] = "Assay" if by == "jwk" else "Bearer"
        return Answer(text, kind, max(0, (claims.expires - now) // 1000), b64(_sub(keys.mac, claims.id)), now)

    def asked(self, headers: Headers, body: bytes, now: int, *, certificate: str = "") -> AskedToken:
        """Who asks for a token at `PATH`: `{"grant": ..., "person": ...}`, with a DPoP proof, or else over TLS with a client certificate,
        whose thumbprint the server gives. Whether the grant names that key is for the caller. Raises `DeniedError` (400, 401).
        """
        if not 0 <= now - self._read_at < REREAD_MS:
            self.renew(now)
        host = self._host(headers)
        try:
            wanted = _wanted(body) if len(body) <= MAX_REQUEST else None
        except (msgspec.MsgspecError, ValueError):
            wanted = None
        if wanted is None:
            raise DeniedError("credentials.request", 400, 'a token request is {"grant": "...", "person": "..."}')
        if b"dpop" not in headers and certificate:
            return AskedToken(wanted.grant, wanted.person, certificate, "x5t", secrets.token_bytes(16), now + WINDOW_MS)
        proof = check_proof(headers.get(b"dpop", b""), "POST", host, PATH, scheme=self._scheme, now=now)
        self._check_nonce(proof.nonce, now)
        return AskedToken(wanted.grant, wanted.person, proof.key, "jwk", proof.mark, proof.expiry)

    def check(self, headers: Headers, method: str, path: bytes, body_sha256: bytes, now: int, *, certificate: str = "") -> Proven:
        """Whose request it is. `path` as sent, with its query; `now` in ms; `certificate` the thumbprint of the TLS connection's client
        certificate, from the server and never from a header. Raises `DeniedError` (400, 401).
        """
        if not 0 <= now - self._read_at < REREAD_MS:
            self.renew(now)
        host = self._host(headers)
        scheme, text, known = self.known(headers, now)
        claims = known.claims
        if claims.by == "x5t" and not hmac.compare_digest(certificate.encode(), claims.key.encode()):
            raise DeniedError("credentials.certificate", 401, "the token is bound to another certificate")
        if scheme == b"Assay":
            nonce, expires = _check_mac(headers, known.making, method, host, path, body_sha256, now)
        elif scheme == b"DPoP" and claims.by == "jwk":
            plain = path.partition(b"?")[0].decode("ascii", errors="replace")
            given = headers.get(b"dpop", b"")
            proof = check_proof(given, method, host, plain, scheme=self._scheme, now=now, token=text.decode(), key=claims.key)
            self._check_nonce(proof.nonce, now)
            nonce, expires = proof.mark, proof.expiry
        elif scheme == b"Bearer" and claims.by == "x5t":
            nonce, expires = secrets.token_bytes(16), now + WINDOW_MS
        else:
            raise DeniedError("credentials.scheme", 401, "this token does not go with this kind of authorization")
        return Proven(claims.grant, claims.version, claims.person, claims.key, nonce, expires)

    def known(self, headers: Headers, now: int) -> tuple[bytes, bytes, Opened]:
        """The kind of authorization and the token, opened: of this gate, and not expired. Whose request it is, only `check` says.

        Raises `DeniedError` (401).
        """
        scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
        known = self._cache.get(text)
        if known is None:
            known = self._opened(text, now)
        else:
            self._cache.move_to_end(text)
        if now >= known.until or now < known.claims.issued - AHEAD_MS:
            raise DeniedError("credentials.expired", 401, "the token has expired")
        return scheme, text, known

    def challenge(self, now: int) -> list[tuple[bytes, bytes]]:
        """Headers of every 401: what is taken, a fresh nonce for DPoP proofs, and the gate's time."""
        stamp = b"%d.%b" % (now, secrets.token_hex(8).encode())
        nonce = stamp + b"." + b64(hmac.digest(self._keys[self._current].nonce, stamp, "sha256")[:18]).encode()
        return [
            (b"www-authenticate", b'Assay, DPoP algs="EdDSA Ed25519 ES256"'),
            (b"dpop-nonce", nonce),
            (b"x-assay-time", b"%d" % now),
        ]

    def _check_nonce(self, nonce: str, now: int) -> None:
        """Raises `DeniedError` for a nonce that this gate did not give out within a minute: no proof can be made ahead."""
        stamp, _, mac = nonce.rpartition(".")
        ms = stamp.partition(".")[0]
        try:
            sealed, fresh = stamp.encode("ascii"), -AHEAD_MS <= now - int(ms) <= NONCE_MS
        except ValueError:
            fresh, sealed = False, b""
        live = [k for k in self._keys.values() if not k.retired or now < k.retired + NONCE_MS]
        wanted = [b64(hmac.digest(k.nonce, sealed, "sha256")[:18]) for k in live]
        if not fresh or not any(hmac.compare_digest(w.encode(), mac.encode(errors="replace")) for w in wanted):
            raise DeniedError("credentials.nonce", 401, "use_dpop_nonce: the proof needs the nonce that comes with this answer")

    def _opened(self, text: bytes, now: int) -> Opened:
        """A token that was not seen yet, cached if its seal holds. Raises `DeniedError`."""
        parts = _TOKEN.match(text) if len(text) <= MAX_TOKEN else None
        if parts is None:
            raise DeniedError("credentials.token", 401, "the request has no token of this gate")
        if parts[1] not in self._keys:
            self.renew(now)
        keys = self._keys.get(parts[1])
        sealed = text[: parts.start(3) - 1]
        mac = b64(hmac.digest(keys.seal if keys else b"", sealed, "sha256")).encode()
        if keys is None or not hmac.compare_digest(mac, parts[3]):
            raise DeniedError("credentials.token", 401, "the request has no token of this gate")
        try:
            claims = _claims(unb64(parts[2]))
        except (ValueError, msgspec.MsgspecError):
            raise DeniedError("credentials.token", 401, "the request has no token of this gate") from None
        if keys.retired and claims.issued > keys.retired + AHEAD_MS:
            raise DeniedError("credentials.token", 401, "the request has no token of this gate")
        until = min(claims.expires, claims.issued + self._token_ms, keys.retired + self._token_ms if keys.retired else claims.expires)
        known = Opened(claims, hmac.new(_sub(keys.mac, claims.id), digestmod="sha256"), until)
        self._cache[text] = known
        while len(self._cache) > CACHED or next(iter(self._cache.values())).until <= now < until:  # the first is who was not seen longest
            self._cache.popitem(last=False)
        return known

    def _renew(self, given: tuple[Secret, ...]) -> None:
        self._secrets = given
        self._keys = {_sub(s.value, "name")[:8].hex().encode(): _keys(s) for s in given}
        self._current = next(iter(self._keys))
        self._cache: OrderedDict[bytes, Opened] = OrderedDict()

    def _host(self, headers: Headers) -> str:
        host = self._hosts.get(headers.get(b"host", b"").lower())
        if host is None:
            raise DeniedError("credentials.host", 400, "this gate has another name")
        return host


def _check_mac(
    headers: Headers, making: hmac.HMAC, method: str, host: str, path: bytes, body_sha256: bytes, now: int
) -> tuple[bytes, int]:  # fmt: skip
    """What the replay cache is to keep of the proof, and until when. Of each request another, and of each token: part of the MAC itself."""
    parts = _PROOF.match(headers.get(b"x-assay-proof", b""))
    if parts is None:
        raise DeniedError("credentials.proof", 401, "the request has no proof of possession")
    ms = int(parts[1])
    made_over = canonical(method, host, path, body_sha256, ms, parts[2].decode(), headers.get(b"x-assay-system", b""))
    making = making.copy()
    making.update(made_over)
    mac = making.digest()
    if not hmac.compare_digest(b64(mac).encode(), parts[3]):
        raise DeniedError("credentials.proof", 401, "the proof is not of this request")
    if not -WINDOW_MS <= now - ms <= WINDOW_MS:
        raise DeniedError("credentials.proof", 401, "the proof is of another time")
    return mac[:16], ms + WINDOW_MS


def _keys(secret: Secret) -> _Keys:
    return _Keys(_sub(secret.value, "seal"), _sub(secret.value, "nonce"), _sub(secret.value, "proofs"), secret.retired)


def _sub(key: bytes, what: str) -> bytes:
    """A sub-key (HKDF-SHA256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived: Any = HKDF(SHA256(), 32, None, b"assay/gate/1 " + what.encode()).derive(key)
    return bytes(derived)
