"""The connector: a local endpoint for any ordinary OpenAI client, behind which every request is proven to the gate.

    async with GateClient(link, key) as client, Connector(client, secret) as connector:
        await connector.listen("127.0.0.1", 8400)       # "http://127.0.0.1:8400/v1"

Only this machine reaches it, only with the local secret as API key, and never a web page: a foreign Host (DNS rebinding) or any Origin is
refused. What comes back is passed on piece by piece as it comes in; who stops reading stops the gate, who leaves cuts it off.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web

from assay.access.credentials.gateclient import ConnectError, GateClient
from assay.errors import AssayError

MAX_BODY = 64 << 20
MAX_REFUSAL = 65_536
METHODS = frozenset({"GET", "POST", "DELETE"})
_PATH = re.compile(r"/v1(?:/(?!\.{1,2}(?:[/?]|\Z))[A-Za-z0-9._~:@!$&'()*+,;=-]+)+(?:\?[!-\"$-~]+)?\Z")
"""No escapes, no empty segments, no dots that lead elsewhere: what is proven is what the gate reads."""
_SYSTEM = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,300}\Z")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_SENT = ("Content-Type", "Accept")
_PASSED = re.compile(r"(?:content-type|content-encoding|content-length|cache-control|retry-after|x-request-id|x-ratelimit-.+|openai-.+)\Z")


class Connector:
    """The local server. `secret` is the API key that local clients give."""

    def __init__(self, client: GateClient, secret: str) -> None:
        self._client = client
        self._secret = hashlib.sha256(secret.encode()).digest()
        self._hosts: frozenset[str] = frozenset()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        silent = logging.Logger("assay.connect")  # aiohttp's own would quote a malformed request, and with it the local secret
        silent.addHandler(logging.NullHandler())
        self._runner = web.AppRunner(app, access_log=None, logger=silent, handler_cancellation=True, shutdown_timeout=3)
        await self._runner.setup()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def listen(self, host: str, port: int) -> str:
        """The base address for clients; port 0 takes any free one. Raises `AssayError`: not this machine's alone, or in use."""
        if not _loopback(host):
            raise AssayError(f"'{host}' can be reached by others", fix="The connector listens on 127.0.0.1 or ::1 only.")
        if self._runner is None:
            raise AssayError("the connector is not started")
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as e:
            raise AssayError(f"cannot listen on {host}:{port}: {e.strerror}", fix="Choose another port; 0 takes any free one.") from None
        found = int(self._runner.addresses[0][1])
        names = {f"[{host}]" if ":" in host else host, "127.0.0.1", "localhost", "[::1]"}
        self._hosts = frozenset(f"{name}:{found}" for name in names)
        return f"http://{f'[{host}]' if ':' in host else host}:{found}/v1"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        refused = self._refused(request)
        if refused is not None:
            return refused
        system = request.headers.get("X-Assay-System", "")
        if system and not _SYSTEM.match(system):
            return _error(400, "X-Assay-System has characters that it may not have", "system")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"a request has at most {MAX_BODY:,} bytes", "too_large")
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        headers |= {"X-Assay-System": system} if system else {}
        try:
            async with self._client.request(request.method, request.raw_path, body, headers) as answer:
                return await self._pass(request, answer)
        except ConnectError as e:
            return _error(e.status, e.what, e.code, again=not e.sent)
        except AssayError as e:
            return _error(502, e.what, "key", again=False)

    def _refused(self, request: web.Request) -> web.Response | None:
        """Why a request is not even read."""
        if len(request.headers.getall("Host", [])) != 1 or request.headers["Host"].lower() not in self._hosts:
            return _error(421, "this is not the address of the connector", "host")
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            return _error(403, "web pages may not use the connector", "origin")
        given = request.headers.getall("Authorization", [])
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        digest = hashlib.sha256(key.strip().encode(errors="surrogateescape")).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._secret):
            return _error(401, "the API key is the connector's local secret, which it showed when it began", "invalid_api_key")
        if not _PATH.match(request.raw_path) or len(request.raw_path) > 4096:
            return _error(404, "there is nothing at this address; the connector passes on what is below /v1", "path")
        if request.method not in METHODS:
            return _error(405, "GET, POST or DELETE", "method")
        return None

    async def _pass(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """The gate's answer, as it comes in. If it breaks off in the middle, so does ours: a part must not look like the whole."""
        if answer.status >= 400:
            return await _refusal(answer)
        if answer.status < 200 or answer.status >= 300:
            return _error(502, f"the gate answers with status {answer.status}", "gate_answer", again=False)
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if _PASSED.match(name.lower()):
                response.headers[name] = value
        await response.prepare(request)
        events, tail = answer.content_type == "text/event-stream", b"\n\n"
        while True:
            try:
                chunk = await answer.content.readany()
            except (aiohttp.ClientError, TimeoutError, OSError):
                if events and tail.endswith((b"\n\n", b"\r\n\r\n")):
                    said = _said("the connection to the gate broke off in the middle of the answer", "gate_broke_off")
                    await response.write(b"data: " + said + b"\n\n")
                if request.transport is not None:
                    request.transport.close()
                return response
            if not chunk:
                break
            tail = (tail + chunk[-4:])[-4:]
            await response.write(chunk)
        await response.write_eof()
        return response


def local_secret(path: Path | None) -> str:
    """The local secret: a random one, kept in a file that only its owner reads if a path is given; what is there already is taken again.

    Raises `AssayError` for a file that others can read, or that holds something else.
    """
    made = secrets.token_urlsafe(32)
    if path is None:
        return made
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(made + "\n")
        return made
    except FileExistsError:
        pass
    except OSError as e:
        raise AssayError(f"cannot write the local secret: {e.strerror}", where=str(path)) from None
    try:
        with path.open("rb") as found:
            status, text = os.fstat(found.fileno()), found.read(100).decode("ascii", errors="replace").strip()
    except OSError as e:
        raise AssayError(f"cannot read the local secret: {e.strerror}", where=str(path)) from None
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.getuid():
        raise AssayError("others can get at the local secret", where=str(path), fix="Delete the file; the connector makes another.")
    if not _SECRET.match(text):
        raise AssayError("this file holds no local secret", where=str(path), fix="Choose another file.")
    return text


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refusal(answer: aiohttp.ClientResponse) -> web.Response:
    """The gate's own words if it has said them as OpenAI's clients read them; else the status alone."""
    parts, size = [], 0
    try:
        while size <= MAX_REFUSAL and (part := await answer.content.readany()):
            parts.append(part)
            size += len(part)
        said: Any = msgspec.json.decode(b"".join(parts)) if size <= MAX_REFUSAL else None
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, ValueError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("error"), dict):
        return _error(answer.status, f"the gate answers with status {answer.status}", "gate_answer", again=answer.status == 429)
    kept = {name: answer.headers[name] for name in ("Retry-After", "X-Request-Id", "X-Should-Retry") if name in answer.headers}
    return web.Response(status=answer.status, body=b"".join(parts), content_type="application/json", headers=kept)


def _said(message: str, code: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": "connector", "code": code, "param": None}})


def _error(status: int, message: str, code: str, *, again: bool = False) -> web.Response:
    """An error as OpenAI's clients read it. Where a request may have arrived they are told not to repeat it."""
    headers = {"Cache-Control": "no-store", **({} if again else {"X-Should-Retry": "false"})}
    return web.Response(status=status, body=_said(message, code), content_type="application/json", headers=headers)
