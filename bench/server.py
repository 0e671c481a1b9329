"""A local chat-completions server that costs next to nothing, so that what is measured is the client.

    python -m bench.server --port 0 --latency-ms 200        # prints its base URL, serves until killed

Raw asyncio protocol on uvloop: finds the end of the head, reads Content-Length, answers a fixed body after the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import cast

ANSWER = "I cannot help with that."


ID = "chatcmpl-000000000000"


def response(answer: str = ANSWER) -> bytes:
    """One complete HTTP/1.1 response with a short answer; `ID` stands for an id of its own."""
    body = json.dumps(
        {
            "id": ID,
            "object": "chat.completion",
            "created": 0,
            "model": "bench",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 6, "total_tokens": 106},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, as HTTP/1.1 clients do."""

    answers = 0

    def __init__(self, latency_s: float, answer: bytes) -> None:
        self._latency_s = latency_s
        self._before, self._after = answer.split(ID.encode())
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._reply)
            else:
                self._reply()

    def _reply(self) -> None:
        if not self._transport.is_closing():
            Connection.answers += 1
            self._transport.write(b"%bchatcmpl-%012d%b" % (self._before, Connection.answers, self._after))


async def serve(port: int, latency_s: float) -> None:
    """Serve on loopback until killed."""
    loop = asyncio.get_running_loop()
    answer = response()
    server = await loop.create_server(lambda: Connection(latency_s, answer), "127.0.0.1", port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    args = parser.parse_args()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(args.port, args.latency_ms / 1000))


if __name__ == "__main__":
    main()
