"""The administration's API: grants, halts, releases, sessions, audit, on a listener of its own; every call signed by a key that the gate's
file names.

    app = make_admin(acts, spend=store.spend, hosts={"127.0.0.1"}, secure=False, ready=ready, metrics=folder)

Order of every request: host, no browser, route, signature (before the body is read), role, nonce, body; then the act, which is recorded on
disk before it takes effect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.access.admin import wire
from assay.access.admin.acts import Acts
from assay.access.admin.looks import Call, NotFoundError, RefusedError
from assay.access.admin.operations import OPERATIONS, Operation
from assay.access.admin.signedhttp import Proof, check_signature
from assay.access.config import Config
from assay.access.gate.health import Ready, healthz
from assay.access.gate.metricstext import CONTENT_TYPE, exposition
from assay.access.model import DeniedError
from assay.access.store.base import ConflictError
from assay.errors import AssayError
from assay.evidence.roles import public_key
from assay.ledger import PublicKey
from assay.web.guard import HEADERS, host_name

RANK: dict[wire.RoleName, int] = {"viewer": 0, "auditor": 1, "admin": 2}
Spend = Callable[[Sequence[tuple[bytes, int]], int], Sequence[bool]]


@dataclass(frozen=True, slots=True)
class People:
    """Whose keys count, and in which role."""

    keys: Mapping[str, PublicKey]
    roles: Mapping[str, wire.RoleName]

    @classmethod
    def of(cls, config: Config) -> People:
        """Those whom the gate's file names."""
        reading = config.administration
        named: list[tuple[wire.RoleName, Mapping[str, str]]] = [
            ("viewer", reading.viewers), ("auditor", reading.auditors), ("admin", config.admins.keys),
        ]  # fmt: skip
        return cls(
            {name: public_key(text) for _, keys in named for name, text in keys.items()},
            {name: role for role, keys in named for name in keys},
        )


class _Api:
    def __init__(self, acts: Acts, people: People, spend: Spend, *, secure: bool, clock: Callable[[], float]) -> None:
        self.acts, self.people, self.spend, self.clock = acts, people, spend, clock
        self.scheme = "https" if secure else "http"

    def endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            proof = self.prove(request)
            role = self.people.roles[proof.name]
            if RANK[role] < RANK[operation.role]:
                raise DeniedError("role", 403, f"'{proof.name}' is {role}; this takes {operation.role}")
            body = await _read(request, operation.body_bytes if operation.body else 0)
            proof.check_body(body)
            now = int(self.clock() * 1000)
            if list(await asyncio.to_thread(self.spend, [(proof.nonce, proof.expires_ms)], now)) != [True]:
                raise DeniedError("replay", 401, "this signature was used before")
            call = Call(proof.name, role, dict(request.path_params), _query(operation, request), _body(operation, body))
            return _json(await operation.act(self.acts, call))

        return answer

    def prove(self, request: Request) -> Proof:
        raw = request.scope["raw_path"] + (b"?" + request.scope["query_string"] if request.scope["query_string"] else b"")
        uri = f"{self.scheme}://{request.headers['host']}{raw.decode('latin-1')}"
        return check_signature(self.people.keys, request.method, uri, request.headers.items(), now_s=self.clock())


def make_admin(
    acts: Acts, *, people: People, spend: Spend, hosts: Collection[str], secure: bool, ready: Ready | None = None,
    metrics: Path | None = None, scrapers: Sequence[str] = ("127.0.0.0/8", "::1/128"), clock: Callable[[], float] = time.time,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None, gauges: Callable[[], bytes] = bytes,
) -> ASGIApp:  # fmt: skip
    """The application. `hosts` are names without port, `secure` says that it is served over TLS, `metrics` is the folder of the workers'
    counts, `gauges` adds this process' own in Prometheus' text format, `scrapers` are the networks from which health and metrics are read
    unsigned.
    """
    from assay.access.admin.openapi import describe

    api = _Api(acts, people, spend, secure=secure, clock=clock)
    description = msgspec.json.encode(describe(OPERATIONS))

    async def openapi(request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def counts(request: Request) -> Response:
        workers = await asyncio.to_thread(exposition, metrics) if metrics else b""
        return Response(workers + gauges(), headers={"Content-Type": CONTENT_TYPE})

    networks = tuple(ipaddress.ip_network(n) for n in scrapers)
    app = Starlette(
        routes=[
            *(Route(o.path, api.endpoint(o), methods=[o.method], name=o.name) for o in OPERATIONS),
            Route("/access/openapi.json", openapi, name="openapi"),
            Route("/metrics", counts, name="metrics"),
        ],
        exception_handlers={HTTPException: _said, AssayError: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return _Front(app, frozenset(h.casefold() for h in hosts), networks, ready)


class _Front:
    """What stands before everything: the host's name, no browser, and headers that let an answer do nothing."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], networks: Sequence[Any], ready: Ready | None) -> None:
        self._app, self._hosts, self._networks, self._ready = app, hosts, networks, ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(n, v) for n, v in message["headers"] if n.lower() not in _OWN]
                message = {**message, "headers": [*kept, *_OWN.items()]}
            await send(message)

        refused = self._refused(scope)
        if refused is None and scope["path"] == "/healthz":
            await healthz(scope, receive, with_headers)
        elif refused is None and scope["path"] == "/readyz" and self._ready is not None:
            await self._ready(scope, receive, with_headers)
        else:
            await (refused or self._app)(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        names = [n for n, _ in scope["headers"]]
        hosts = [v for n, v in scope["headers"] if n == b"host"]
        if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
            return PlainTextResponse("This is not the address of this API.\n", 400)
        if any(n in (b"origin", b"cookie") or n.startswith(b"sec-fetch-") for n in names):
            return _json(wire.Failed("browsers do not come here", "browser", "Use: assay access console"), 403)
        if scope["path"] in ("/metrics", "/healthz", "/readyz") and not self._near(scope):
            return _json(wire.Failed("not from this network", "network"), 403)
        return None

    def _near(self, scope: Scope) -> bool:
        try:
            address = ipaddress.ip_address(scope["client"][0])
        except (TypeError, ValueError):
            return False
        return any(address in network for network in self._networks)


_OWN = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, f"at most {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _query(operation: Operation, request: Request) -> Any:
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise HTTPException(422, "a parameter stands twice")
    try:
        return msgspec.convert(dict(given), operation.query or _Nothing, strict=False)
    except msgspec.ValidationError as e:
        raise HTTPException(422, str(e)) from None


def _body(operation: Operation, data: bytes) -> Any:
    if operation.body is None:
        return None
    try:
        return msgspec.json.decode(data, type=operation.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise HTTPException(422, str(e)) from None


class _Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    pass


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
    return _json(wire.Failed(error.detail, "request"), error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    """Bad orders are 422 or 409, what was denied has its own status, and where store or log fail it is 503: nothing was done."""
    assert isinstance(error, AssayError)  # noqa: S101 (what it is registered for)
    if isinstance(error, DeniedError):
        return _json(wire.Failed(error.what, error.rule, error.fix), error.status)
    from assay.access.audit.records import AuditError
    from assay.access.store.base import StoreError

    status = 422
    if isinstance(error, NotFoundError):
        status = 404
    elif isinstance(error, ConflictError):
        status = 409
    elif isinstance(error, (StoreError, AuditError)) and not isinstance(error, RefusedError):
        status = 503
    return _json(wire.Failed(f"{error.where}: {error.what}" if error.where else error.what, "refused", error.fix), status)
