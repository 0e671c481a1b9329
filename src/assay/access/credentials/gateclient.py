"""The connector's side towards the gate: it holds the key, gets and renews tokens, and proves every request.

    async with GateClient(Link("https://gate.example", "power", "Aisyah"), load_key(path)) as client:
        async with client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"}) as answer:
            ...

Nothing is sent twice, but for one case: the gate said 401 and gave a fresh nonce, so it has done nothing; then once more, with a new token.
Time is the gate's, as its answers tell it, carried on by this machine's monotonic clock: its own date may be wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta, Struct
from yarl import URL

from assay.access.credentials.dpop import make_proof, unb64
from assay.access.credentials.tokens import PATH, proof_header
from assay.access.model import Id, Ms, Plain
from assay.errors import AssayError
from assay.ledger import PrivateKey
from assay.version import __version__

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_ANSWER = 16_384
NONCE_FRESH_S = 30.0
CONNECT_S = 10.0
ASK_S = 20.0
IDLE_S = 3_660.0
"""Longer than any gate lets an answer stand still (`bounds.idle_s`): only a connection that died unnoticed waits for this."""
KEEP_S = 3.0
"""Shorter than servers keep idle connections: a request on one that has just been closed would fail, and may not be repeated."""


class ConnectError(AssayError):
    """The gate cannot be reached, or gives no token. `status` is what a local client is told, `sent` whether a request may have arrived."""

    def __init__(self, what: str, *, status: int = 502, code: str = "gate_unreachable", sent: bool = False, where: str = "") -> None:
        super().__init__(what, where=where)
        self.status = status
        self.code = code
        self.sent = sent


class Link(Struct, frozen=True):
    """Which gate, under which grant, as whom. `ca`: the only authorities believed, if given; `certificate`: a client's, with its key."""

    gate: str
    grant: str
    person: str
    system: str = ""
    ca: Path | None = None
    certificate: Path | None = None


class _Told(Struct, frozen=True):
    """The gate's answer to a token request, bounded."""

    access_token: Annotated[str, Meta(min_length=40, max_length=3000, pattern=r"^[A-Za-z0-9._~+/=-]+\Z")]
    token_type: Literal["Assay", "Bearer"]
    expires_in: Annotated[int, Meta(ge=0, le=86_400)]
    mac_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
    time: Ms


class _Asking(Struct, frozen=True):
    grant: Id
    person: Plain


class _Refusal(Struct, frozen=True):
    message: Annotated[str, Meta(max_length=500)] = ""
    code: Annotated[str, Meta(max_length=100)] | None = ""


class _Refused(Struct, frozen=True):
    error: _Refusal


_told = msgspec.json.Decoder(_Told).decode
_refused = msgspec.json.Decoder(_Refused).decode


class _Held:
    """A token in use. Times are seconds of the monotonic clock."""

    __slots__ = ("ends", "mac_key", "renew", "text")

    def __init__(self, told: _Told, asked_at: float) -> None:
        self.text = told.access_token
        self.mac_key = unb64(told.mac_key)
        self.ends = asked_at + told.expires_in
        self.renew = asked_at + told.expires_in * 0.75


class GateClient:
    """One connection pool to one gate. `key` signs token requests; None where the client certificate alone speaks for the person."""

    def __init__(self, link: Link, key: PrivateKey | None) -> None:
        self._link = link
        self._key = key
        self._base, self._host = _gate(link.gate)
        self._tls = _tls(link) if self._base.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self._held: _Held | None = None
        self._asking: asyncio.Task[_Held] | None = None
        self._clock = (time.time() * 1000, time.monotonic())
        self._nonce = ("", 0.0)
        try:
            self._asked = msgspec.json.encode(msgspec.convert({"grant": link.grant, "person": link.person}, _Asking))
        except msgspec.ValidationError:
            raise ConnectError("not the id of a grant, or not a person's name", where=f"{link.grant[:80]!r}") from None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True, keepalive_timeout=KEEP_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": f"assay-connect/{__version__}", "Accept-Encoding": "identity", "Host": self._host},
            skip_auto_headers=("Content-Type",),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._asking is not None:
            self._asking.cancel()
        if self._session is not None:
            await self._session.close()
        self._held = None

    @property
    def now_ms(self) -> int:
        """The gate's time, as far as it was heard."""
        told, at = self._clock
        return int(told + (time.monotonic() - at) * 1000)

    async def ready(self) -> float:
        """A token is there: for how many seconds more. Raises `ConnectError`, `SigningKeyError`."""
        return (await self._token()).ends - time.monotonic()

    @contextlib.asynccontextmanager
    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it with a proof of its own; the answer as it comes in. Leaving early breaks the connection off, so that the gate notices.

        `path` as it goes out, with its query. Raises `ConnectError`, `SigningKeyError`.
        """
        held = await self._token()
        answer = await self._send(held, method, path, body, headers)
        if answer.status == 401 and "DPoP-Nonce" in answer.headers:
            answer.close()
            if self._held is held:
                self._held = None
            answer = await self._send(await self._token(), method, path, body, headers)
        try:
            yield answer
        finally:
            answer.release() if answer.content.at_eof() else answer.close()

    async def _send(self, held: _Held, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        system = headers.get("X-Assay-System", self._link.system)
        signed = {**headers, **({"X-Assay-System": system} if system else {}), "Authorization": f"Assay {held.text}"}
        digest = hashlib.sha256(body).digest()
        signed["X-Assay-Proof"] = proof_header(held.mac_key, method, self._host, path.encode(), digest, self.now_ms, system.encode())
        try:
            answer = await self._open().request(
                method, URL(self._base + path, encoded=True), data=body or None, headers=signed, allow_redirects=False
            )  # fmt: skip
        except aiohttp.ClientConnectorError as e:
            raise self._unreachable(e, sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise self._unreachable(e, sent=True) from None
        self._heard(answer)
        return answer

    async def _token(self) -> _Held:
        """The token in use. In the last quarter of its life another is got beside the work; without one, everybody waits for the same."""
        held, now = self._held, time.monotonic()
        if held is not None and now < held.renew:
            return held
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked_for)
        if held is not None and now < held.ends - 1:
            return held
        return await asyncio.shield(self._asking)

    def _asked_for(self, task: asyncio.Task[_Held]) -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is None:
            self._held = task.result()

    async def _ask(self) -> _Held:
        """A new token. First the gate's nonce, if the last one is old: the key signs once, for a request that can be granted."""
        if self._key is not None and time.monotonic() - self._nonce[1] > NONCE_FRESH_S:
            status, data = await self._post({})
            if status != 401 or not self._nonce[0]:
                raise _no_token(status, data, self._link.gate)
        for again in (True, False):
            proof = {"DPoP": await asyncio.to_thread(self._proof)} if self._key is not None else {}
            at = time.monotonic()
            nonce = self._nonce[0]
            status, data = await self._post(proof)
            if status == 200:
                return self._take(data, at)
            if status != 401 or not again or self._key is None or self._nonce[0] == nonce or b"use_dpop_nonce" not in data:
                break
        raise _no_token(status, data, self._link.gate)

    def _take(self, data: bytes, at: float) -> _Held:
        try:
            told = _told(data)
            held = _Held(told, at)
        except (msgspec.MsgspecError, ValueError):
            raise ConnectError("the gate's answer is no token", where=self._link.gate, code="gate_answer") from None
        self._clock = (told.time, time.monotonic())
        return held

    def _proof(self) -> str:
        if self._key is None:
            raise ConnectError("there is no key to sign with", where=self._link.gate)
        return make_proof(self._key, "POST", self._base + PATH, self.now_ms // 1000, nonce=self._nonce[0])

    async def _post(self, headers: dict[str, str]) -> tuple[int, bytes]:
        wanted = {"Content-Type": "application/json", **headers}
        bound = aiohttp.ClientTimeout(total=ASK_S)
        try:
            asking = self._open().post(self._base + PATH, data=self._asked, headers=wanted, allow_redirects=False, timeout=bound)
            async with asking as answer:
                self._heard(answer)
                parts, size = [], 0
                while size <= MAX_ANSWER and (part := await answer.content.readany()):
                    parts.append(part)
                    size += len(part)
                return answer.status, b"".join(parts)
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise self._unreachable(e, sent=False) from None

    def _heard(self, answer: aiohttp.ClientResponse) -> None:
        """The nonce and the time that come with a 401."""
        nonce, told = answer.headers.get("DPoP-Nonce", ""), answer.headers.get("X-Assay-Time", "")
        if answer.status == 401 and 0 < len(nonce) <= 128:
            self._nonce = (nonce, time.monotonic())
            if told.isascii() and told.isdigit() and len(told) <= 15:
                self._clock = (int(told), time.monotonic())

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ConnectError("the connector is not started")
        return self._session

    def _unreachable(self, error: Exception, *, sent: bool) -> ConnectError:
        """What the network says, in a word; never what was sent."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            what = "the gate's certificate is not by an authority that is believed here, or is another's"
        elif isinstance(error, aiohttp.ClientConnectorError):
            what = f"the gate cannot be reached: {error.strerror or type(error.os_error).__name__}"
        elif isinstance(error, TimeoutError):
            what = "the gate does not answer in time"
        else:
            what = f"the connection to the gate broke off ({type(error).__name__})"
        return ConnectError(what, sent=sent, where=self._link.gate)


def _no_token(status: int, data: bytes, gate: str) -> ConnectError:
    try:
        said = _refused(data).error
    except (msgspec.MsgspecError, ValueError):
        said = _Refusal()
    told = status if 400 <= status < 500 else 502
    what = f"the gate gives no token: {said.message or f'status {status}'}"
    return ConnectError(what, status=told, code=said.code or "gate_refused", where=gate)


def _gate(address: str) -> tuple[str, str]:
    """The gate's base address, and its Host header. Raises `ConnectError`."""
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ConnectError("not an address of a gate", where=address[:200]) from None
    plain = address.isascii() and host and not parts.username and not parts.query and not parts.fragment and parts.path in ("", "/")
    if not plain or parts.scheme not in ("https", "http") or port == 0:
        raise ConnectError("a gate's address is https://NAME or https://NAME:PORT, and nothing more", where=address[:200])
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ConnectError("a gate on another machine is reached over https", where=address[:200])
    shown = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}[parts.scheme]
    name = shown if port in (None, usual) else f"{shown}:{port}"
    return f"{parts.scheme}://{name}", name


def _tls(link: Link) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=link.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if link.certificate:
            context.load_cert_chain(link.certificate)
    except (OSError, ssl.SSLError) as e:
        raise ConnectError(f"a certificate does not load: {e.strerror or e}", where=str(link.certificate or link.ca)) from None
    return context
