"""A client and an upstream for the door's bench: as little Python a request as can be, so that they do not hide what the gate costs.

`python -m bench.access.wire upstream PORT` serves streams of 64 parts, each written by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

import uvloop

PARTS = 64
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def _event(value: object) -> bytes:
    body = f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


def _part(word: str) -> dict[str, object]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "inner", "choices": [choice]}


EVENTS = [_event(_part(f"word{i} ")) for i in range(PARTS)]
USAGE = _event({**_part(""), "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": PARTS, "total_tokens": 20 + PARTS}})
DONE = b"e\r\ndata: [DONE]\n\n\r\n"


class Served(asyncio.Protocol):
    """One connection of the upstream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, sep, rest = self._data.partition(b"\r\n\r\n")
            if not sep:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self._data = rest[length:]
            write = self._transport.write
            write(_HEAD)
            for event in EVENTS:
                write(event)
            write(USAGE + DONE + END)


class Asking(asyncio.Protocol):
    """One connection of the client: asks, again and again, until it is told to stop."""

    def __init__(self, request: Callable[[], bytes], done: Callable[[float], bool]) -> None:
        self._request, self._done = request, done
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bad = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self._first, self._tail = True, b""
        self._asked = time.perf_counter()
        self._transport.write(self._request())

    def data_received(self, data: bytes) -> None:
        if self._first:
            self._first = False
            if not data.startswith(b"HTTP/1.1 200"):
                self.bad = data
                self._transport.close()
                return
        self._tail = (self._tail + data)[-8:]
        if self._tail.endswith(END):
            if self._done(time.perf_counter() - self._asked):
                self._ask()
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(port: int, request: Callable[[], bytes], *, count: int, concurrency: int) -> tuple[float, list[float]]:
    """Ask so many times, so many at once: seconds in all, and of each request. Raises AssertionError for an answer that is none."""
    times: list[float] = []
    begun = concurrency

    def done(seconds: float) -> bool:
        nonlocal begun
        times.append(seconds)
        begun += 1
        return begun <= count

    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = await asyncio.gather(*(loop.create_connection(lambda: Asking(request, done), "127.0.0.1", port) for _ in range(concurrency)))
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    seconds = time.perf_counter() - start
    bad = next((p.bad for _, p in made if p.bad), b"")
    assert not bad, bad[:500]
    return seconds, times


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[2])))
