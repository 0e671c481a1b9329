"""A server on the loopback that keeps comments as GitHub's and GitLab's interfaces do: tokens, pages, limits, refusals."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-job"
BOT = "github-actions[bot]"
ME = 77


class Forge(ThreadingHTTPServer):
    """`comments` are those of the one pull request, `pulls` what a search by head finds, `answers` statuses to give before all else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.reads_only = False
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def comment(self, body: str, login: str = BOT, *, system: bool = False) -> dict[str, Any]:
        made = {"id": 1000 + len(self.comments), "body": body, "user": {"login": login}, "system": system}
        made["author"] = {"id": ME if login == BOT else 1}
        self.comments.append(made)
        return made

    @property
    def texts(self) -> list[str]:
        return [c["body"] for c in self.comments]


@contextmanager
def serving() -> Iterator[Forge]:
    with Forge() as forge:
        thread = threading.Thread(target=forge.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield forge
        forge.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Forge

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.server.seen.append(f"{method} {url.path}")
        if self.server.answers:
            return self._send(self.server.answers.pop(0), {"message": "as told"})
        if TOKEN not in (self.headers.get("PRIVATE-TOKEN"), (self.headers.get("Authorization") or "").removeprefix("Bearer ")):
            return self._send(401, {"message": "Bad credentials"})
        if method != "GET" and self.server.reads_only:
            return self._send(403, {"message": "Resource not accessible by integration"})
        return self._send(*self._routed(method, url.path, {k: v[0] for k, v in parse_qs(url.query).items()}, body))

    def _routed(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        one = re.fullmatch(r"/repos/o/r/issues/comments/(\d+)|/projects/5/merge_requests/9/notes/(\d+)", path)
        lists = path in ("/repos/o/r/issues/9/comments", "/projects/5/merge_requests/9/notes")
        if path == "/user":
            return 200, {"id": ME}
        if path == "/repos/o/r/pulls":
            return 200, [p for p in self.server.pulls if query["head"] == p["head"]["label"] and query["state"] == "open"]
        if method == "GET" and lists:
            size, page = int(query["per_page"]), int(query["page"])
            return 200, self.server.comments[size * (page - 1) : size * page]
        if len(body.get("body", "")) > 65_536 or not body.get("body"):
            return 422, {"message": "Validation Failed"}
        if method == "POST" and lists:
            return 201, self.server.comment(body["body"])
        found = [c for c in self.server.comments if one and str(c["id"]) in one.groups()]
        if found and method == ("PATCH" if path.startswith("/repos") else "PUT"):
            found[0]["body"] = body["body"]
            return 200, found[0]
        return 404, {"message": "Not Found"}

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
