"""The labelling page on the web: one shell, a few answers in JSON, nothing else.

    app = make_app(desk, tokens, hosts={"127.0.0.1", "localhost"}, secure=False)

The desk lives in one thread, so every answer is made on the event loop; the longest step is one write to the disk.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from functools import cache
from pathlib import Path
from typing import Annotated

import jinja2
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from assay.errors import AssayError
from assay.label.desk import STOCK, Desk
from assay.label.values import Given, RefusedError, Sent
from assay.web.answers import SHARED, answer, file_answer, read_body, said
from assay.web.guard import Guard
from assay.web.languages import INTERFACE, preferred, read_words
from assay.web.signin import Person, TokenFile

HERE = Path(__file__).parent
WORDS = HERE / "words"
FILES = {path.name: path for folder in (HERE / "static", SHARED) for path in sorted(folder.iterdir())}
MAX_BODY = 65_536
COOKIE_AGE_S = 30 * 86_400

Slot = Annotated[int, Meta(ge=0, le=2**53)]


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """A token, to sign in with."""

    token: Annotated[str, Meta(max_length=200)]


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser has, when it asks for more."""

    who: str
    have: Annotated[tuple[Slot, ...], Meta(max_length=100)] = ()
    sent: Annotated[tuple[Slot, ...], Meta(max_length=1000)] = ()
    skipped: bool = False


class Acted(Struct, frozen=True, forbid_unknown_fields=True):
    """An act; `who` guards against a second person's sign-in in the same browser."""

    who: str
    act: Sent


class Drafted(Struct, frozen=True, forbid_unknown_fields=True):
    """A draft, and when it was typed by the browser's clock."""

    who: str
    slot: Slot
    at: Annotated[int, Meta(ge=0, le=2**53)]
    draft: Given


class _Page:
    """The answers. `cookie` has the run in its name, since cookies know no ports."""

    def __init__(self, desk: Desk, tokens: TokenFile, *, secure: bool) -> None:
        self.desk, self.tokens, self.secure = desk, tokens, secure
        self.cookie = f"assay-label-{desk.digest.removeprefix('sha256:')[:12]}"

    def person(self, request: Request, who: str | None = None) -> Person:
        person = self.tokens.who(request.cookies.get(self.cookie, ""))
        if person is None:
            raise HTTPException(401, "not signed in")
        if who is not None and who != person.name:
            raise HTTPException(401, "somebody else is signed in")
        return person

    async def shell(self, request: Request) -> Response:
        tag = preferred(request.headers.get("accept-language", ""))
        return HTMLResponse(_shell(tag), headers={"Vary": "Accept-Language"})

    async def sign_in(self, request: Request) -> Response:
        given = await read_body(request, Token)
        person = self.tokens.who(given.token)
        if person is None:
            raise HTTPException(403, "this link is not valid")
        response = self.me_of(person)
        response.set_cookie(self.cookie, given.token, max_age=COOKIE_AGE_S, path="/", secure=self.secure, httponly=True, samesite="strict")
        return response

    async def sign_out(self, request: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="strict")
        return response

    async def me(self, request: Request) -> Response:
        return self.me_of(self.person(request))

    def me_of(self, person: Person) -> Response:
        return answer({"name": person.name, "roles": person.roles, "run": self.desk.digest, "plan": self.desk.plan.name, "stock": STOCK})

    async def work(self, request: Request) -> Response:
        asked = await read_body(request, Asked)
        return answer(self.desk.work(self.person(request, asked.who), asked.have, asked.sent, skipped=asked.skipped))

    async def act(self, request: Request) -> Response:
        acted = await read_body(request, Acted)
        return answer(self.desk.act(self.person(request, acted.who), acted.act))

    async def draft(self, request: Request) -> Response:
        drafted = await read_body(request, Drafted)
        self.desk.draft(self.person(request, drafted.who), drafted.slot, drafted.draft, drafted.at)
        return Response(status_code=204)

    async def trial(self, request: Request) -> Response:
        handed = self.desk.trial(self.person(request), request.path_params["slot"])
        return answer({"trial": handed, "rubrics": {handed.view.hazard: self.desk.rubrics(handed.view.hazard)}})


def make_app(desk: Desk, tokens: TokenFile, *, hosts: Collection[str], secure: bool) -> ASGIApp:
    """The application, guarded. `hosts` are the names by which it may be called; `secure` says that it is served over TLS."""
    page = _Page(desk, tokens, secure=secure)
    posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "sign-in": page.sign_in, "sign-out": page.sign_out, "work": page.work, "act": page.act, "draft": page.draft,
    }  # fmt: skip
    app = Starlette(
        routes=[
            Route("/", page.shell),
            Route("/sw.js", _file),
            Route("/static/{name}", _file),
            Route("/words/{tag}.json", _words),
            Route("/api/me", page.me),
            Route("/api/trial/{slot:int}", page.trial),
            *(Route(f"/api/{name}", act, methods=["POST"]) for name, act in posts.items()),
        ],
        exception_handlers={HTTPException: said, RefusedError: _refused, AssayError: _failed},
        max_body_size=MAX_BODY,
    )
    return Guard(app, hosts=hosts, secure=secure)


async def _refused(request: Request, error: Exception) -> Response:
    """What would be refused the next time, too: the browser keeps it apart and goes on."""
    return answer({"error": str(error)}, 409)


async def _failed(request: Request, error: Exception) -> Response:
    """A full disk, a damaged file: the browser keeps what it has and tries again."""
    return answer({"error": str(error)}, 503)


async def _file(request: Request) -> Response:
    return file_answer(FILES.get(request.path_params.get("name", "sw.js")))


async def _words(request: Request) -> Response:
    tag = request.path_params["tag"]
    if tag not in INTERFACE:
        raise HTTPException(404, "not here")
    return answer(read_words(WORDS)[tag])


@cache
def _shell(tag: str) -> str:
    """The page without anybody's data: the same for all who read this language, so that it can be kept for work without a connection."""
    env = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, trim_blocks=True)
    words = read_words(WORDS)[tag]
    html = env.get_template("page.html").render(w=words, tag=tag, languages=INTERFACE, modes=range(1, 11))
    return re.sub(r"\n\s*\n+", "\n", html)
