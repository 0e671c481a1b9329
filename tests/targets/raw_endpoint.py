"""A loopback endpoint below HTTP: it may answer byte by byte, twice, half, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


def echo(body: dict[str, Any]) -> str:
    """An answer that names its own request, so that a mix-up shows."""
    said = "\n".join(m["content"] for m in body["messages"])
    return f"I cannot help with that ({hashlib.sha256(said.encode()).hexdigest()[:12]})."


_ids = itertools.count()


def payload(body: dict[str, Any], name: str = "") -> bytes:
    """A chat completion with that answer, with an id of its own unless `name` is given."""
    choice = {"index": 0, "message": {"role": "assistant", "content": echo(body)}, "finish_reason": "stop"}
    return json.dumps(
        {"id": name or f"chatcmpl-{next(_ids)}", "choices": [choice], "model": "raw", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    ).encode()


def http(data: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "", length: int | None = None) -> bytes:
    """A response as bytes; `length` lies about it."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data) if length is None else length}\r\n{more}\r\n"
    return head.encode() + data


@dataclass
class Call:
    """One request: its number from 0 (the greeting), its body, and the connection to answer on."""

    number: int
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    @property
    def text(self) -> str:
        return "\n".join(m["content"] for m in self.body["messages"])

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> None:
        await self.send(http(payload(self.body)))

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault = Callable[[Call], Awaitable[None]]


@dataclass
class RawEndpoint:
    """Where it is, and what it saw."""

    url: str = ""
    calls: int = 0
    most_at_once: int = 0
    _now: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def connection(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.transport.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                call = Call(self.calls, body, writer)
                self.calls += 1
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                try:
                    await fault(call)
                finally:
                    self._now -= 1
        self.tasks.discard(task)
        writer.close()


@contextmanager
def serve_raw(fault: Fault) -> Iterator[RawEndpoint]:
    """Run it on a free loopback port, in a thread of its own."""
    endpoint, loop, ready = RawEndpoint(), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: endpoint.connection(fault, r, w), "127.0.0.1", 0, backlog=1024)
        endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await stop.wait()
        server.close()
        for task in list(endpoint.tasks):
            task.cancel()
        await asyncio.gather(*endpoint.tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
