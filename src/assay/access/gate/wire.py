"""HTTP/1.1 to a model's server, as little of it as a gate needs: POST, an answer that comes in parts, connections kept for a while.

    pool = Pool("https://models.example.org/v1", connect_s=10, idle_s=120, answer_s=900)
    answer = await pool.post(pool.head("/chat/completions", headers), body)
    async for chunk in answer.chunks(): ...
    answer.close()                                   # kept for another if it was read to its end, else shut

httptools (llhttp) does the parsing. What a general client does for every part of a chunked answer costs more than all that the gate
decides; here parts are joined as they come. It follows nothing, keeps no cookie, reads no proxy from the environment, and repeats nothing:
a request that was sent may have been done. Raises `WireError`, an OSError, and TimeoutError.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httptools

MAX_BUFFERED = 1 << 20
MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 << 10
ONCE = frozenset({b"content-encoding", b"transfer-encoding", b"content-type", b"content-length"})
KEEP_S = 4.0
"""How long an unused connection is kept: shorter than the servers behind gates keep theirs."""
MAX_KEPT = 1024


class WireError(OSError):
    """The server could not be reached, broke off, or does not speak HTTP/1.1."""


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.kept_at = 0.0
        self._busy = False
        self._waiter: asyncio.Future[None] | None = None
        self._fresh()

    def _fresh(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.ready = self.done = False
        self.error: Exception | None = None
        self._parts: list[bytes] = []
        self._size = self._header_bytes = self._header_count = 0
        self._paused = False
        self.heard = self._loop.time()

    # What the caller does

    def send(self, data: bytes) -> None:
        """Begin a request."""
        if self.transport is None:
            raise WireError("the connection was not made")
        self._fresh()
        self._busy = True
        self.transport.write(data)

    def take(self) -> bytes:
        """What has come since."""
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def has(self) -> bool:
        """Whether something has come that was not taken."""
        return bool(self._parts)

    async def changed(self) -> None:
        """Until something comes, or the connection ends."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def fail(self, error: Exception) -> None:
        """End it, with this as the reason."""
        if self.error is None and not self.done:
            self.error = error
        self.shut()
        self._wake()

    def shut(self) -> None:
        """Close the connection."""
        self._busy = False
        if self.transport is not None:
            self.transport.abort()

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it: read to its end, and nothing came beyond."""
        return self.done and not self.lost and self._keeps and self.error is None

    def keep(self) -> None:
        """It waits for another request; whatever comes before that shuts it."""
        self._busy = False
        self.kept_at = self._loop.time()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.done:
            self.fail(WireError("the model's server said more than it was asked"))
            return
        self.heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(WireError("the model's server changed the protocol"))
            return
        except httptools.HttpParserError:
            self.fail(self.error or WireError("the model's server does not speak HTTP/1.1"))
            return
        if self._size > MAX_BUFFERED and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._busy and not self.done and self.error is None:
            until_the_end = self.ready and not {b"content-length", b"transfer-encoding"} & self.headers.keys()
            if until_the_end and exc is None:
                self.done = True
            else:
                self.error = WireError("the model's server broke off")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # httptools' side

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_count > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self.error = WireError("the model's server sends too many headers")
            raise self.error
        name = name.lower()
        if name in ONCE and name in self.headers:
            self.error = WireError("the model's server contradicts itself")
            raise self.error
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._keeps = bool(self._parser.should_keep_alive())
            self.ready = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)

    def on_message_begin(self) -> None:
        if self.done:
            self.error = WireError("the model's server said more than it was asked")
            raise self.error

    def on_message_complete(self) -> None:
        if self.status < 200:  # an interim answer: the real one follows
            self.headers = {}
            return
        self.done = True


class Answer:
    """An answer under way. `status` and `content_type` are known; the rest comes by `chunks`."""

    def __init__(self, pool: Pool, connection: _Connection, timers: list[asyncio.TimerHandle]) -> None:
        self._pool, self._connection, self._timers = pool, connection, timers
        self.status = connection.status
        self.content_type = connection.headers.get(b"content-type", b"").decode("latin-1")
        self.encoding = connection.headers.get(b"content-encoding", b"").decode("latin-1")

    @property
    def at_end(self) -> bool:
        """Whether everything was taken."""
        return self._connection.done and not self._connection.has

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes, as it comes. Raises `WireError`, TimeoutError."""
        connection = self._connection
        while True:
            if connection.has:
                yield connection.take()
            elif connection.error is not None:
                raise connection.error
            elif connection.done:
                return
            else:
                await connection.changed()

    def close(self) -> None:
        """Done with it."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._pool.give_back(self._connection, whole=self.at_end)


class Pool:
    """Connections to one server."""

    def __init__(self, url: str, *, connect_s: float, idle_s: float, answer_s: float) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._ssl = ssl.create_default_context() if secure else None
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._base, self._name = parts.path.rstrip("/"), f"{name}:{self._port}" if parts.port else name
        self._connect_s, self._idle_s, self._answer_s = connect_s, idle_s, answer_s
        self._kept: list[_Connection] = []
        self._open = True

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """Everything of a request but its length and body."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._base}{path} HTTP/1.1\r\nHost: {self._name}\r\n{lines}".encode("latin-1")

    async def post(self, head: bytes, body: bytes) -> Answer:
        """Ask, and wait for the answer's head. Raises `WireError`, TimeoutError."""
        loop = asyncio.get_running_loop()
        connection = self._idle(loop.time()) or await self._connected(loop)
        timers: list[asyncio.TimerHandle] = []
        try:
            connection.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            timers = [loop.call_later(self._answer_s, connection.fail, TimeoutError("the answer took too long"))]
            self._watch(loop, connection, timers)
            while not connection.ready:
                if connection.error is not None:
                    raise connection.error
                await connection.changed()
            return Answer(self, connection, timers)
        except BaseException:
            for timer in timers:
                timer.cancel()
            connection.shut()
            raise

    def _watch(self, loop: asyncio.AbstractEventLoop, connection: _Connection, timers: list[asyncio.TimerHandle]) -> None:
        """One timer looks whether anything was heard, instead of one that is set anew with every part."""

        def look() -> None:
            left = connection.heard + self._idle_s - loop.time()
            if left <= 0 and not connection.done:
                connection.fail(TimeoutError("the model's server fell silent"))
            elif not connection.done:
                timers[1] = loop.call_later(max(left, 0.01), look)

        timers.append(loop.call_later(self._idle_s, look))

    def _idle(self, now: float) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if not connection.lost and now - connection.kept_at < KEEP_S and connection.transport and not connection.transport.is_closing():
                return connection
            connection.shut()
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                server_hostname = self._host if self._ssl else None
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), self._host, self._port, ssl=self._ssl, server_hostname=server_hostname
                )
        except TimeoutError:
            raise
        except OSError as e:
            raise WireError(f"the model's server cannot be reached: {type(e).__name__}") from None
        return connection

    def give_back(self, connection: _Connection, *, whole: bool) -> None:
        """Keep it for another request, or shut it."""
        if whole and self._open and connection.reusable and len(self._kept) < MAX_KEPT:
            connection.keep()
            self._kept.append(connection)
        else:
            connection.shut()

    def close(self) -> None:
        """Shut what is kept; keep nothing more."""
        self._open = False
        for connection in self._kept:
            connection.shut()
        self._kept.clear()
