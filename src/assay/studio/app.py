"""The studio's page, on this machine only. The browser names runs and plans that are listed; paths and commands are made here.

    app, link = make_studio(starter, port=8473)
    # link: http://127.0.0.1:8473/#t=...       opens once; from then on a cookie of this browser, until this process ends

A foreign page can neither call in nor frame it (`web.guard`). Reports are made of what models said, so they are served in a sandbox: an
origin of their own, without scripts (the explorer has its own, without network), that cannot ask this studio for anything.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import jinja2
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.errors import AssayError
from assay.runs import run_path
from assay.studio.following import Follower, Seen
from assay.studio.shelf import Run
from assay.studio.starting import Starter, StudioError
from assay.web.answers import SHARED, answer, file_answer, read_body, said
from assay.web.guard import LOOPBACK, Guard
from assay.web.languages import INTERFACE, preferred, read_words
from assay.web.sessions import Sessions

HERE = Path(__file__).parent
WORDS = HERE / "words"
FILES = {path.name: path for folder in (HERE / "static", SHARED) for path in sorted(folder.iterdir())}
MAX_BODY = 16_384
MOST_FOLLOWED = 4
PAPER = "/open/"
_CLOSED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SANDBOX = {
    "report": f"sandbox; {_CLOSED}",
    "paper": f"sandbox; {_CLOSED}",
    "explorer": f"sandbox allow-scripts allow-downloads; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; worker-src blob:; {_CLOSED}",
}
"""The policy under which each kind of document is opened. None may ask the network, or this studio, for anything."""
KINDS = {".html": "text/html; charset=utf-8", ".pdf": "application/pdf"}

RunName = Annotated[str, Meta(min_length=1, max_length=200)]
Short = Annotated[str, Meta(max_length=400)]


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """The link's token, to sign in with."""

    token: Annotated[str, Meta(max_length=200)]


class Chosen(Struct, frozen=True, forbid_unknown_fields=True):
    """A plan and a target, to be forecast."""

    plan: RunName
    target: Short = ""


class Begin(Struct, frozen=True, forbid_unknown_fields=True):
    """What was forecast, to be started."""

    plan: RunName
    digest: Annotated[str, Meta(max_length=100)]
    target: Short = ""
    name: Annotated[str, Meta(max_length=64)] = ""


class This(Struct, frozen=True, forbid_unknown_fields=True):
    """A run by its name."""

    name: RunName


class Listed(Struct, frozen=True):
    """A run as the list shows it. `stoppable` if a studio started it; `commands` are what one would type for each act."""

    run: Run
    stoppable: bool
    failed: bool
    reporting: str


class Looked(Struct, frozen=True):
    """A run that is being looked at. `seen` is None where there is nothing to follow."""

    listed: Listed
    seen: Seen | None
    log: str
    report_log: str
    wrong: str
    commands: dict[str, str]


class _Page:
    def __init__(self, starter: Starter, cookie: str) -> None:
        self.starter, self.cookie = starter, cookie
        self.sessions = Sessions()
        self._followed: OrderedDict[str, tuple[tuple[int, int], Follower]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, request: Request) -> None:
        if not self.sessions.holds(request.cookies.get(self.cookie, "")):
            raise HTTPException(401, "not signed in")

    async def shell(self, request: Request) -> Response:
        tag = preferred(request.headers.get("accept-language", ""))
        return HTMLResponse(_shell(tag), headers={"Vary": "Accept-Language"})

    async def sign_in(self, request: Request) -> Response:
        value = self.sessions.enter((await read_body(request, Token)).token)
        if not value:
            raise HTTPException(403, "this link was used, or is not valid")
        response = answer({})
        response.set_cookie(self.cookie, value, path="/", httponly=True, samesite="strict")
        return response

    async def sign_out(self, request: Request) -> Response:
        self.check(request)
        self.sessions.leave(request.cookies.get(self.cookie, ""))
        response = answer({})
        response.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")
        return response

    async def runs(self, request: Request) -> Response:
        self.check(request)
        typed, folder = self.starter.typed, self.starter.shelf.folder
        example = typed.run("quick", "scripted:0.01", folder / "first")
        return answer({"folder": typed.path(folder), "runs": await asyncio.to_thread(self._runs), "example": example})

    def _runs(self) -> list[Listed]:
        with self._lock:
            return [self._listed(run) for run in self.starter.runs()]

    def _listed(self, run: Run) -> Listed:
        name = run.name
        if not name:
            return Listed(run, stoppable=False, failed=False, reporting="")
        return Listed(run, self.starter.stoppable(run) > 0, self.starter.failed(name), self.starter.reporting(name))

    async def look(self, request: Request) -> Response:
        self.check(request)
        name, since = request.path_params["name"], request.query_params.get("since", "")[:40]
        return answer(await asyncio.to_thread(self._look, name, since))

    def _look(self, name: str, since: str) -> Looked:
        with self._lock:
            run = self.starter.known(name)
            listed = self._listed(run)
            folder = self.starter.shelf.folder / name
            seen, wrong = None, run.wrong
            if run.has_run_file and run.state != "broken":
                try:
                    seen = self._follower(name, run_path(folder)).look(since, running=run.state == "running")
                except (AssayError, ValueError, LookupError) as e:
                    self._drop(name)
                    wrong = e.what if isinstance(e, AssayError) else f"its trials cannot be counted ({type(e).__name__})"
            return Looked(
                listed, seen, self.starter.log(name), self.starter.report_log(name) if listed.reporting else "", wrong,
                self._commands(run, folder),
            )  # fmt: skip

    def _commands(self, run: Run, folder: Path) -> dict[str, str]:
        typed = self.starter.typed
        where = typed.path(folder)
        pid = self.starter.maker(run.name) or run.writer
        return {
            "resume": typed.resume(folder),
            "report": f"{typed.program} report {where}",
            "verify": f"{typed.program} verify {typed.path(folder / 'evidence.jsonl')}",
            "decide": f"{typed.program} decide {where}",
            **({"stop": f"kill -INT {pid}"} if pid else {}),
        }

    def _follower(self, name: str, path: Path) -> Follower:
        """Those that are looked at lately are kept open; a run file that was replaced is opened anew."""
        found = path.stat()
        stamp = (found.st_dev, found.st_ino)
        known = self._followed.pop(name, None)
        if known is not None and known[0] != stamp:
            known[1].close()
            known = None
        if known is None:
            known = (stamp, Follower(path))
        self._followed[name] = known
        while len(self._followed) > MOST_FOLLOWED:
            self._followed.popitem(last=False)[1][1].close()
        return known[1]

    def _drop(self, name: str) -> None:
        known = self._followed.pop(name, None)
        if known is not None:
            known[1].close()

    async def plans(self, request: Request) -> Response:
        self.check(request)
        return answer({"plans": await asyncio.to_thread(self.starter.offers)})

    async def forecast(self, request: Request) -> Response:
        self.check(request)
        chosen = await read_body(request, Chosen)
        return answer(await self.starter.forecast(chosen.plan, chosen.target.strip()))

    async def start(self, request: Request) -> Response:
        self.check(request)
        begin = await read_body(request, Begin)
        name = await asyncio.to_thread(self._begin, begin)
        return answer({"name": name})

    def _begin(self, begin: Begin) -> str:
        with self._lock:
            return self.starter.start(begin.plan, begin.target.strip(), begin.digest, begin.name)

    def act(self, do: Callable[[str], None]) -> Callable[[Request], Awaitable[Response]]:
        async def done(request: Request) -> Response:
            self.check(request)
            name = (await read_body(request, This)).name
            await asyncio.to_thread(locked, name)
            return answer({})

        def locked(name: str) -> None:
            with self._lock:
                do(name)

        return done

    async def document(self, request: Request) -> Response:
        self.check(request)
        which = request.path_params["which"]
        path = await asyncio.to_thread(self.starter.shelf.document, request.path_params["name"], which)
        if path is None or path.suffix not in KINDS:
            raise HTTPException(404, "not here")
        saved = path.name if path.suffix == ".pdf" else None  # browsers show no PDF in a sandbox
        return FileResponse(path, media_type=KINDS[path.suffix], filename=saved)


class _Sandboxed:
    """Puts the documents' own policy in place of the page's: outermost, so that nothing takes it away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        policy = SANDBOX.get(path.rpartition("/")[2]) if scope["type"] == "http" and path.startswith(PAPER) else None
        if policy is None:
            await self._app(scope, receive, send)
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = policy
            await send(message)

        await self._app(scope, receive, with_policy)


def make_studio(starter: Starter, *, port: int) -> tuple[ASGIApp, str]:
    """The application, guarded, and the link that opens it once."""
    page = _Page(starter, f"assay-studio-{port}")
    posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "sign-in": page.sign_in,
        "sign-out": page.sign_out,
        "forecast": page.forecast,
        "start": page.start,
        "stop": page.act(starter.stop),
        "resume": page.act(starter.resume),
        "report": page.act(starter.report),
        "explore": page.act(starter.explore),
    }
    app = Starlette(
        routes=[
            Route("/", page.shell),
            Route("/static/{name}", _file),
            Route("/words/{tag}.json", _words),
            Route("/api/runs", page.runs),
            Route("/api/plans", page.plans),
            Route("/api/run/{name}", page.look),
            Route(PAPER + "{name}/{which}", page.document),
            *(Route(f"/api/{name}", act, methods=["POST"]) for name, act in posts.items()),
        ],
        exception_handlers={HTTPException: said, StudioError: _cannot, AssayError: _failed},
        max_body_size=MAX_BODY,
    )
    guarded = _Sandboxed(Guard(app, hosts=LOOPBACK, secure=False))
    return guarded, f"http://127.0.0.1:{port}/#t={page.sessions.link()}"


async def _cannot(request: Request, error: Exception) -> Response:
    """What the page cannot do now, by the word that it has for it."""
    assert isinstance(error, StudioError)  # noqa: S101 (what it is registered for)
    return answer({"code": error.code, "error": error.what}, 404 if error.code in ("no_run", "no_plan") else 409)


async def _failed(request: Request, error: Exception) -> Response:
    """A plan or a target that is not valid, a damaged file: in the command line's own words."""
    return answer({"code": "said", "error": str(error)}, 422)


async def _file(request: Request) -> Response:
    return file_answer(FILES.get(request.path_params["name"]))


async def _words(request: Request) -> Response:
    tag = request.path_params["tag"]
    if tag not in INTERFACE:
        raise HTTPException(404, "not here")
    return answer(read_words(WORDS)[tag])


@cache
def _shell(tag: str) -> str:
    """The page without anybody's data."""
    env = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, trim_blocks=True)
    html = env.get_template("page.html").render(w=read_words(WORDS)[tag], tag=tag, languages=INTERFACE)
    return re.sub(r"\n\s*\n+", "\n", html)
