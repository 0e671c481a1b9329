"""What stands in front of every web room: only its own hosts, only same-origin posts of JSON, and headers that let a page do nothing else.

    app = Guard(app, hosts={"127.0.0.1", "localhost"}, secure=False)

A foreign page can then neither call in (Origin), nor be pointed here by its own name (Host: DNS rebinding), nor frame this one.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Guard:
    """ASGI middleware. `hosts` are names without port; `secure` says whether the server speaks TLS."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], secure: bool) -> None:
        self._app = app
        self._hosts = frozenset(h.casefold() for h in hosts)
        self._scheme = "https" if secure else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass; turn the rest away with 400, 403, 405 or 415."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refused(scope)
        await (refused or self._app)(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        if len(given) != 1 or host_name(given[0]) not in self._hosts:
            return PlainTextResponse("This is not the address of this page.\n", 400)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return PlainTextResponse("Not here.\n", 405)
        if headers.get("origin", "").casefold() != f"{self._scheme}://{given[0]}".casefold():
            return PlainTextResponse("Posts come from this page only.\n", 403)
        if headers.get("content-type", "").partition(";")[0].strip().casefold() != "application/json":
            return PlainTextResponse("JSON only.\n", 415)
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets: `[::1]:80` -> `::1`."""
    host = host.strip().casefold()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
