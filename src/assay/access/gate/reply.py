"""What the gateway speaks with: the ASGI connection's body, address and answer.

reply = Reply(send, scope.get("assay.connection"), slow_s=60.0)
body = await body_of(receive, 4 << 20)
await reply.json(200, {"data": []})
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from assay.access.gate.live import Live
from assay.access.model import DeniedError

if TYPE_CHECKING:
    from assay.access.gate.protocol import Connection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
STREAM_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
PIECE = 65_536
"""At most so much is given at once to a client, which may not read it: the rest stays in a halt's reach."""


class Reply:
    """What goes back to the caller: begun once, ended once; nothing of it after a cut, and never more than the client takes.

    `connection` is None where another server than the gate's own runs the application.
    """

    __slots__ = ("_connection", "_live", "_send", "_slow_s", "cut", "ended", "known", "started")

    def __init__(self, send: Send, connection: Connection | None, slow_s: float) -> None:
        self._send, self._connection, self._slow_s = send, connection, slow_s
        self._live: Live | None = None
        self.started = self.ended = self.cut = False
        self.known = False  # whose request it is: what becomes of it is then recorded and counted with its grant

    async def start(self, status: int, headers: list[tuple[bytes, bytes]], request: str = "") -> None:
        """The head; `request` is the id that the caller may quote."""
        self.started = True
        more = [(b"x-request-id", request.encode())] if request else []
        await self._give({"type": "http.response.start", "status": status, "headers": [*headers, *more]})

    @contextmanager
    def of(self, live: Live) -> Iterator[None]:
        """While this request is under way, it ends when its client is gone."""
        self._live = live
        if self._connection is None:
            yield
            return
        if self._connection.lost:
            self._gone()
            raise asyncio.CancelledError
        self._connection.when_lost.add(self._gone)
        try:
            yield
        finally:
            self._connection.when_lost.discard(self._gone)

    def _gone(self) -> None:
        self.cut = True
        if self._live is not None:
            self._live.task.cancel()

    async def _give(self, message: Message) -> None:
        """Raises `CancelledError` after a cut that somebody else has swallowed, and for a client that does not read."""
        if self._live is not None and self._live.reason and not self.cut:
            raise asyncio.CancelledError
        if self._connection is None or not self._connection.paused:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._slow_s):
                await self._send(message)
        except TimeoutError:
            self.cut = True
            self._connection.drop()
            raise asyncio.CancelledError from None

    async def part(self, data: bytes) -> None:
        """Something of the body, in pieces."""
        for at in range(0, len(data), PIECE):
            await self._give({"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True})

    async def end(self, last: bytes = b"") -> None:
        """The last of the body; nothing the second time."""
        if not self.ended:
            at = max(0, len(last) - 1) // PIECE * PIECE
            await self.part(last[:at])
            self.ended = True
            await self._give({"type": "http.response.body", "body": last[at:], "more_body": False})

    async def json(self, status: int, value: Any, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """A whole answer."""
        await self.start(status, [*JSON_HEADERS, *more])
        await self.end(msgspec.json.encode(value))

    async def denied(self, e: DeniedError, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Say that it is denied and by which rule; of an answer that has begun, say why it ends."""
        if self.started:
            await self.cut_off(e.what, stream=True)
            return
        await self.json(e.status, {"error": {"message": e.what, "type": "denied", "code": e.rule, "param": None}}, more)

    async def cut_off(self, why: str, *, stream: bool) -> None:
        """Say why, as far as that can still be said, and close."""
        self.cut = True
        if self._connection is not None:
            if self._connection.paused or (self.started and not stream):
                self._connection.drop()  # nothing can be said; what waits for a client that does not read goes nowhere
                return
            self._connection.drop_soon()
        error = {"error": {"message": why, "type": "cut", "code": "cut", "param": None}}
        if not self.started:
            await self.json(403, error)
            return
        if not self.ended and stream:
            await self.part(b"data: " + msgspec.json.encode(error) + b"\n\n")
        await self.end()


async def body_of(receive: Receive, most: int) -> bytes:
    """A request's body. Raises `DeniedError` for one that is too long, or breaks off."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DeniedError("request", 400, "the request broke off")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise DeniedError("request", 413, f"a request has at most {most:,} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts) if len(parts) > 1 else bytes(parts[0])


def network_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
