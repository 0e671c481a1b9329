"""The administration's API as an administrator calls it: every call signed with their key, which never leaves this process.

    async with Remote("https://gate.example:8471", key) as remote:
        me = await remote.get("/access/me")
        await remote.halt(Scope(model="m7"), "directive 7")

What opens access is signed twice: the call, and the order itself in the form in which it is kept.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from assay.access.admin import wire
from assay.access.admin.signedhttp import sign_request
from assay.access.grants.grant import GrantError, parse_grant, sign_grant
from assay.access.grants.grantfile import grant_of
from assay.access.grants.orders import Revoked, sign_halt, sign_lift, sign_revocation
from assay.access.model import Grant, Halt, Scope
from assay.access.safety.breakglass import REVIEWED, Review
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey, digest

T = TypeVar("T")
MAX_ANSWER = 32 << 20
ASK_S = 15.0
SEND_S = 120.0
"""How long a release may take on its way: it is up to 16 MiB."""
DRAFT = "grant.yaml"
"""What a grant that was written on the page is called where a line of it is named."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RemoteError(AssayError):
    """The administration's API cannot be reached, or has refused. `status` is its answer's, 502 where there was none."""

    def __init__(self, what: str, *, status: int = 502, fix: str = "", where: str = "") -> None:
        super().__init__(what, fix=fix, where=where)
        self.status = status


class Looked(Struct, frozen=True):
    """The terms of a grant, their digest, and who has signed them."""

    grant: dict[str, Any]
    digest: str
    approved_by: tuple[str, ...]


class Proposal(Struct, frozen=True):
    """The terms of a grant that nobody has signed, their digest, and the newest version that the gate has of it (0: none)."""

    grant: dict[str, Any]
    digest: str
    before: int


class Remote:
    """One administrator at one gate. `ca` is a file with the only authorities to believe, if given; `certificate` a client's, with its key,
    for a gate that wants one (both PEM). `clock` gives Unix milliseconds.
    """

    def __init__(
        self, address: str, key: PrivateKey, *, ca: Path | None = None, certificate: Path | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:  # fmt: skip
        try:
            url = URL(address)
            port = url.port
        except ValueError:
            raise RemoteError(f"not an address: {address[:100]!r}") from None
        more = url.user or url.query_string or url.fragment or url.path != "/"
        if url.scheme not in ("http", "https") or not url.host or more or not port:
            raise RemoteError("the administration's address is like https://gate.example:8471, and nothing behind it", where=address[:100])
        if url.scheme == "http" and url.host not in LOOPBACK:
            raise RemoteError("over a network the administration is reached by https", where=address[:100])
        self._url, self._key, self._clock = url, key, clock
        try:
            self._tls = ssl.create_default_context(cafile=str(ca) if ca else None)
            if certificate is not None:
                self._tls.load_cert_chain(certificate)
        except (OSError, ssl.SSLError) as e:
            raise RemoteError(f"the certificates cannot be read: {e}", where=str(ca or certificate)) from None
        self._me: wire.Me | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=8), trust_env=False, cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )  # fmt: skip
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Struct | None = None, query: Mapping[str, str] | None = None, *, within_s: float = ASK_S
    ) -> bytes:
        """A signed call; the JSON that was answered. Raises `RemoteError`."""
        url = (self._url / path.lstrip("/")).with_query(query or {})
        data = msgspec.json.encode(body) if body is not None else b""
        headers = sign_request(self._key, method, str(url), data, now_s=self._clock() // 1000)
        if data:
            headers["Content-Type"] = "application/json"
        within = aiohttp.ClientTimeout(total=within_s)
        sent = self._session.request(method, url, data=data or None, headers=headers, allow_redirects=False, timeout=within)
        try:
            async with sent as answer:
                parts, size = [], 0
                async for part in answer.content.iter_any():
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise RemoteError(f"an answer of more than {MAX_ANSWER:,} bytes")
                    parts.append(part)
                status, found = answer.status, b"".join(parts)
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise RemoteError(f"the gate's administration cannot be reached: {e or type(e).__name__}", where=str(self._url)) from None
        if status != 200:
            try:
                failed = msgspec.json.decode(found, type=wire.Failed)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise RemoteError(f"an answer that is none of the administration's ({status})", where=str(self._url)) from None
            raise RemoteError(failed.error, status=status, fix=failed.fix)
        return found

    async def get(self, path: str, form: type[T]) -> T:
        """A call that looks, read. Raises `RemoteError`."""
        return _decoded(await self.call("GET", path), form)

    async def me(self) -> wire.Me:
        """As whom the key is known; asked once."""
        if self._me is None:
            self._me = await self.get("/access/me", wire.Me)
        return self._me

    async def _post(self, path: str, body: Struct, *, within_s: float = ASK_S) -> wire.Done:
        return _decoded(await self.call("POST", path, body, within_s=within_s), wire.Done)

    async def halt(self, scope: Scope, reason: str, spares: tuple[str, ...] = ()) -> wire.Done:
        """Halt whatever fits the scope."""
        now = self._clock()
        halt = Halt(f"halt-{now}-{secrets.token_hex(3)}", scope, reason, (await self.me()).name, now, spares)
        return await self._post("/access/halts", _signed(sign_halt(halt, self._key)))

    async def lift(self, halt_id: str) -> wire.Done:
        """End a halt, as it was ordered."""
        found = await self.get("/access/halts", wire.Halts)
        view = next((h for h in found.halts if h.id == halt_id), None)
        if view is None:
            raise RemoteError(f"there is no halt '{halt_id}'", status=404)
        halt = Halt(view.id, view.scope, view.reason, view.by, view.at, view.spares)
        signed = sign_lift(halt, (await self.me()).name, self._clock(), self._key)
        return await self._post(f"/access/halts/{halt_id}/lift", _signed(signed))

    async def looked_at(self, grant_id: str) -> Looked:
        """A grant, read from the signed statement itself, its digest made here: what is shown is what is approved."""
        detail = await self.get(f"/access/grants/{grant_id}", wire.GrantDetail)
        signed = parse_grant(detail.signed.encode())
        return Looked(signed.grant.to_json(), signed.grant.digest_of_terms, detail.view.approved_by)

    async def drafted(self, text: str) -> Proposal:
        """The grant of a text, as `assay access grant` reads a file: checked, with the next version unless it says one. Nothing is sent but
        the question which version is the newest. Raises `GrantError` that names line and field, `RemoteError`.
        """
        now = self._clock()
        grant = grant_of(text, where=DRAFT, version=1, now=now)
        if grant.parent:
            raise GrantError("a sub-grant is signed by its parent's holder", where=f"{DRAFT} parent", fix="Use: assay access sub-grant")
        try:
            before = (await self.get(f"/access/grants/{grant.id}", wire.GrantDetail)).versions[0]
        except RemoteError as e:
            if e.status != 404:
                raise
            before = 0
        grant = grant_of(text, where=DRAFT, version=before + 1, now=now)
        return Proposal(grant.to_json(), grant.digest_of_terms, before)

    async def propose(self, grant: Grant, terms: str) -> wire.Done:
        """Sign a grant whose terms have this digest, those that the administrator has looked at, and propose it."""
        if grant.digest_of_terms != terms:
            raise RemoteError("the grant is another than the one that you saw: check it again", status=409)
        return await self._post("/access/grants", _signed(sign_grant(grant, self._key).encoded()))

    async def add_release(self, release: str) -> wire.Done:
        """Give the gate a release, the text of its file."""
        return await self._post("/access/releases", wire.ReleaseSent(release), within_s=SEND_S)

    async def approve(self, grant_id: str, terms: str) -> wire.Done:
        """Sign a grant whose terms have this digest: those that the administrator has looked at, and no others."""
        detail = await self.get(f"/access/grants/{grant_id}", wire.GrantDetail)
        signed = parse_grant(detail.signed.encode())
        if signed.grant.digest_of_terms != terms or signed.grant.id != grant_id:
            raise RemoteError("the grant is another than the one that you saw: look at it again", status=409)
        return await self._post(f"/access/grants/{grant_id}/approve", _signed(signed.approved(self._key).encoded()))

    async def revoke(self, grant_id: str, reason: str) -> wire.Done:
        """End a grant for ever."""
        revoked = Revoked(grant_id, (await self.me()).name, reason, self._clock())
        return await self._post(f"/access/grants/{grant_id}/revoke", _signed(sign_revocation(revoked, self._key)))

    async def cut(self, session: str, reason: str) -> wire.Done:
        """Cut a request that is under way."""
        return await self._post(f"/access/sessions/{session}/cut", wire.Reason(reason))

    async def close_alert(self, alert: str, reason: str) -> wire.Done:
        """Close an alert."""
        return await self._post(f"/access/alerts/{alert}/close", wire.Reason(reason))

    async def review(self, glass: str, paper: str, *, justified: bool, note: str) -> wire.Done:
        """Review an access in an emergency whose signed paper has this digest."""
        review = msgspec.to_builtins(Review(glass, paper, justified, note.strip(), (await self.me()).name, self._clock()))
        subject = [{"name": glass, "digest": {"sha256": digest(review).removeprefix("sha256:")}}]
        envelope = Cosigned.of(subject, REVIEWED, review).signed(self._key)
        return await self._post(f"/access/exceptions/{glass}/review", _signed(msgspec.json.encode(envelope.to_json())))


def _signed(data: bytes) -> wire.Signed:
    return wire.Signed(data.decode())


def _decoded(data: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise RemoteError(f"an answer that cannot be read: {e}", fix="Is the gate of another release of Assay?") from None
