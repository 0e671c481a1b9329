"""The console's page, on this machine only. The browser says what it wants; this process signs it and asks the gate.

    app, link = make_console(remote, port=8472)
    # link: http://127.0.0.1:8472/#t=...     opens once; from then on a cookie of this browser, which ends when nobody uses it

A foreign page can neither call in nor frame it (`web.guard`); the link's token is good for one sign-in, the cookie's value for one session,
and only digests of both are kept, in memory. The gate itself takes no cookies at all.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from assay.access.admin import wire
from assay.access.admin.console.remote import Remote, RemoteError
from assay.access.model import Grant, Id, Plain, Scope
from assay.errors import AssayError
from assay.web.answers import SHARED, answer, file_answer, read_body, said
from assay.web.guard import LOOPBACK, Guard
from assay.web.sessions import Sessions

T = TypeVar("T")
HERE = Path(__file__).parent
MAX_BODY = 65_536
MAX_BODIES = {"check-grant": 2 << 20, "propose": 2 << 20, "add-release": 20 << 20}
"""What takes more: as much as the command line and the gate's administration do."""
IDLE_S = 30 * 60
LONGEST_S = 12 * 3600
RecordId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """The link's token, to sign in with."""

    token: Annotated[str, Meta(max_length=200)]


class Stop(Struct, frozen=True, forbid_unknown_fields=True):
    """What to halt, why, and which grants are carved out."""

    scope: Scope
    reason: Plain
    spares: Annotated[tuple[Id, ...], Meta(max_length=200)] = ()


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """Something by its id."""

    id: RecordId


class Approved(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant, and the digest of the terms that were looked at."""

    id: Id
    digest: Annotated[str, Meta(max_length=100)]


class Draft(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant as people write it: the text of its file."""

    text: Annotated[str, Meta(max_length=1 << 20)]


class Proposed(Struct, frozen=True, forbid_unknown_fields=True):
    """All terms of a grant, and the digest of those that were looked at."""

    grant: Grant
    digest: Annotated[str, Meta(max_length=100)]


class Because(Struct, frozen=True, forbid_unknown_fields=True):
    """Something by its id, and why."""

    id: RecordId
    reason: Plain


class Found(Struct, frozen=True, forbid_unknown_fields=True):
    """What a review came to, of which paper."""

    id: RecordId
    digest: Annotated[str, Meta(max_length=100)]
    justified: bool
    note: Plain


class _Page:
    def __init__(self, remote: Remote, cookie: str, clock: Callable[[], float]) -> None:
        self.remote, self.cookie = remote, cookie
        self.sessions = Sessions(idle_s=IDLE_S, longest_s=LONGEST_S, clock=clock)

    def check(self, request: Request) -> None:
        """Somebody is signed in. Polls do not keep a session alive; people do: the page says so in a header."""
        used = request.method == "POST" or request.headers.get("x-used") == "1"
        if not self.sessions.holds(request.cookies.get(self.cookie, ""), used=used):
            raise HTTPException(401, "not signed in")

    async def sign_in(self, request: Request) -> Response:
        value = self.sessions.enter((await read_body(request, Token)).token)
        if not value:
            raise HTTPException(403, "this link was used, or is not valid")
        response = answer({})
        response.set_cookie(self.cookie, value, max_age=LONGEST_S, path="/", httponly=True, samesite="strict")
        return response

    async def sign_out(self, request: Request) -> Response:
        self.check(request)
        self.sessions.leave(request.cookies.get(self.cookie, ""))
        response = answer({})
        response.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")
        return response

    async def overview(self, request: Request) -> Response:
        self.check(request)
        return Response(await self.remote.call("GET", "/access/overview"), media_type="application/json")

    async def audit(self, request: Request) -> Response:
        self.check(request)
        try:
            msgspec.convert(dict(request.query_params), wire.AuditQuery, strict=False)
        except msgspec.ValidationError as e:
            raise HTTPException(422, str(e)) from None
        found = await self.remote.call("GET", "/access/audit", query=dict(request.query_params))
        return Response(found, media_type="application/json")

    async def grant(self, request: Request) -> Response:
        self.check(request)
        try:
            grant_id = msgspec.convert(request.path_params["id"], Id)
        except msgspec.ValidationError as e:
            raise HTTPException(404, str(e)) from None
        return answer(await self.remote.looked_at(grant_id))

    def act(self, form: type[T], do: Callable[[T], Awaitable[Struct]]) -> Callable[[Request], Awaitable[Response]]:
        async def done(request: Request) -> Response:
            self.check(request)
            return answer(await do(await read_body(request, form)))

        return done


def make_console(remote: Remote, *, port: int, clock: Callable[[], float] = time.monotonic) -> tuple[ASGIApp, str]:
    """The application, guarded, and the link that opens it once."""
    page = _Page(remote, f"assay-console-{port}", clock)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with remote:
            yield

    acts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "sign-in": page.sign_in,
        "sign-out": page.sign_out,
        "halt": page.act(Stop, lambda b: remote.halt(b.scope, b.reason, b.spares)),
        "lift": page.act(Named, lambda b: remote.lift(b.id)),
        "approve": page.act(Approved, lambda b: remote.approve(b.id, b.digest)),
        "revoke": page.act(Because, lambda b: remote.revoke(b.id, b.reason)),
        "check-grant": page.act(Draft, lambda b: remote.drafted(b.text)),
        "propose": page.act(Proposed, lambda b: remote.propose(b.grant, b.digest)),
        "add-release": page.act(wire.ReleaseSent, lambda b: remote.add_release(b.release)),
        "cut": page.act(Because, lambda b: remote.cut(b.id, b.reason)),
        "close-alert": page.act(Because, lambda b: remote.close_alert(b.id, b.reason)),
        "review": page.act(Found, lambda b: remote.review(b.id, b.digest, justified=b.justified, note=b.note)),
    }
    app = Starlette(
        routes=[
            Route("/", _file),
            Route("/static/{name}", _file),
            Route("/api/overview", page.overview),
            Route("/api/audit", page.audit),
            Route("/api/grant/{id}", page.grant),
            *(Route(f"/api/{name}", act, methods=["POST"], max_body_size=MAX_BODIES.get(name)) for name, act in acts.items()),
        ],
        exception_handlers={HTTPException: said, AssayError: _failed},
        max_body_size=MAX_BODY,
        lifespan=lifespan,
    )
    return Guard(app, hosts=LOOPBACK, secure=False), f"http://127.0.0.1:{port}/#t={page.sessions.link()}"


async def _failed(request: Request, error: Exception) -> Response:
    """What the gate said, with its status; 401 there is not 401 here, where it would ask the person to sign in. What this process found
    itself names the place.
    """
    assert isinstance(error, AssayError)  # noqa: S101 (what it is registered for)
    if isinstance(error, RemoteError):
        return answer({"error": error.what, "fix": error.fix}, 502 if error.status == 401 else error.status)
    return answer({"error": f"{error.where}: {error.what}" if error.where else error.what, "fix": error.fix}, 422)


@cache
def _files() -> dict[str, Path]:
    return {"": HERE / "page.html", **{p.name: p for folder in (HERE / "static", SHARED) for p in sorted(folder.iterdir())}}


async def _file(request: Request) -> Response:
    return file_answer(_files().get(str(request.path_params.get("name", ""))))


__all__ = ["make_console"]
