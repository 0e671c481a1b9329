"""How the gate reads HTTP: httptools, the client's certificate, the request's target as it was sent, and the connection itself, so that a
client that is gone is noticed, and one that does not read is dropped. Needs uvicorn.

    connection: Connection = scope[CONNECTION]
    connection.when_lost.add(task.cancel)
    connection.paused                           # more waits for the client than it reads
    connection.drop()                           # at once, with all that waits
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from assay.access.credentials.tls import Telling

TARGET = "assay.target"
CONNECTION = "assay.connection"
HEAD_S = 60.0
LAST_S = 1.0
NOW = struct.pack("ii", 1, 0)


class Connection:
    """What the gateway may do with a client's connection."""

    __slots__ = ("_protocol", "lost", "when_lost")

    def __init__(self, protocol: GateProtocol) -> None:
        self._protocol = protocol
        self.lost = False
        self.when_lost: set[Callable[[], object]] = set()

    @property
    def paused(self) -> bool:
        """Whether the client reads more slowly than it is answered."""
        return self._protocol.flow.write_paused

    @property
    def waiting(self) -> int:
        """Bytes that the client has not taken yet, as far as this process has them."""
        return 0 if self._protocol.transport.is_closing() else self._protocol.transport.get_write_buffer_size()

    def drop(self) -> None:
        """End it now; what waits for the client is thrown away."""
        transport = self._protocol.transport
        sock = transport.get_extra_info("socket")
        with suppress(OSError, AttributeError), socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)  # the kernel's part of it too
        transport.abort()

    def drop_soon(self) -> None:
        """End it, unless the client takes what waits for it within a second."""
        cycle = self._protocol.cycle
        self._protocol.loop.call_later(LAST_S, lambda: self.drop() if self._protocol.cycle is cycle and self.waiting else None)


class GateProtocol(Telling, HttpToolsProtocol):
    """uvicorn's protocol on httptools. Of a target that is a whole address uvicorn keeps the path and drops the host; here it is told."""

    head_s = HEAD_S
    """Within so many seconds a request is here whole, from its first byte on (the first one: from the connection's beginning)."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        super().connection_made(transport)
        self._connection = Connection(self)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and with it whatever was done for it."""
        self._expected()
        super().connection_lost(exc)
        self._connection.lost = True
        for lost in list(self._connection.when_lost):
            lost()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._timer is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """Once the request's head was read."""
        self.scope[TARGET] = self.url  # type: ignore[literal-required]
        self.scope[CONNECTION] = self._connection  # type: ignore[literal-required]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is here."""
        self._expected()
        super().on_message_complete()

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.head_s, self._late)

    def _expected(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.pipeline:  # it waits for the request before it, and is not read
            self._expect()
        else:
            self.transport.abort()
