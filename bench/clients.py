"""The bare clients that every harness is held against: they send the prompts, read the answers, and keep one line each.

python -m bench.clients aiohttp URL PROMPTS OUT --concurrency 64
python -m bench.clients raw     URL PROMPTS OUT --concurrency 64
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast


def bodies(prompts: Path) -> Iterator[dict[str, object]]:
    """Request bodies, one a prompt."""
    with prompts.open() as lines:
        for line in lines:
            prompt = json.loads(line)
            messages = [{"role": "system", "content": prompt["system"]}, {"role": "user", "content": prompt["user"]}]
            yield {"model": "bench", "messages": messages, "temperature": 0, "max_tokens": 64}


async def with_aiohttp(url: str, prompts: Path, out: IO[str], concurrency: int) -> None:
    """One session, as aiohttp's documentation has it."""
    import aiohttp

    queue = bodies(prompts)

    async def worker(session: aiohttp.ClientSession) -> None:
        for body in queue:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json()
            out.write(json.dumps(answer["choices"][0]["message"]["content"]) + "\n")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))


class _Raw(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete. No retries, no limits, no chunked answers: a lower bound, not a client."""

    def __init__(self, host: str, queue: Iterator[dict[str, object]], out: IO[str]) -> None:
        self._head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._queue = queue
        self._out = out
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"Content-Length:")
        length = int(self._buffer[at + 15 : self._buffer.index(b"\r\n", at)])
        if len(self._buffer) < end + 4 + length:
            return
        answer = json.loads(self._buffer[end + 4 : end + 4 + length])
        self._buffer = b""
        self._out.write(json.dumps(answer["choices"][0]["message"]["content"]) + "\n")
        self._send()

    def _send(self) -> None:
        body = next(self._queue, None)
        if body is None:
            self._transport.close()
            self.done.set_result(None)
            return
        data = json.dumps(body).encode()
        self._transport.write((self._head % len(data)).encode() + data)


async def raw(url: str, prompts: Path, out: IO[str], concurrency: int) -> None:
    """asyncio protocols on uvloop, nothing between them and the socket."""
    host = url.removeprefix("http://").split("/")[0]
    name, port = host.split(":")
    queue = bodies(prompts)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Raw(host, queue, out), name, int(port)) for _ in range(concurrency)]
    await asyncio.gather(*(protocol.done for _, protocol in made))


CLIENTS = {"aiohttp": with_aiohttp, "raw": raw}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--concurrency", type=int, default=64)
    args = parser.parse_args()
    import uvloop

    with args.out.open("w") as out, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(CLIENTS[args.client](args.url, args.prompts, out, args.concurrency))


if __name__ == "__main__":
    main()
