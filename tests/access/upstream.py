"""A model's server for tests and benches: raw asyncio, OpenAI's forms, as fast as it can be. `python -m tests.access.upstream PORT`.

It answers with as many words as `max_tokens` says (64 unless given), one event a word where a stream is asked for, then what was used. The
first word is the model that it was asked for. `user` steers it: `slow:MS` waits between words, `fail:STATUS` fails, `break` breaks off,
`silent` reports no usage, `echo` says back the last message.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


class Upstream:
    """Keeps what it was asked, in order: headers and value."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
        value = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        self.asked.append((headers, value))
        del self.asked[:-1000]
        self.open += 1
        try:
            return await self._answer(lines[0].split(" ")[1], headers, value, writer)
        finally:
            self.open -= 1

    async def _answer(self, path: str, headers: dict[str, str], value: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        steer = str(value.get("user", ""))
        if steer.startswith("fail:"):
            await _write(writer, int(steer[5:]), "application/json", b'{"error": {"message": "secret upstream detail"}}')
            return True
        words = int(value.get("max_tokens") or value.get("max_completion_tokens") or value.get("max_output_tokens") or 64)
        prompt = len(json.dumps(value.get("messages") or value.get("input") or "")) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
        if path.endswith("/embeddings"):
            data = {"object": "list", "model": value["model"], "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]}
            await _write(
                writer, 200, "application/json", json.dumps({**data, "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}).encode()
            )
            return True
        said = [f"{value['model']} " if i == 0 else f"w{i} " for i in range(words)]
        if steer == "echo":
            said = [str(value["messages"][-1]["content"])]
        if not value.get("stream"):
            await _write(writer, 200, "application/json", json.dumps(_whole(path, value, "".join(said), usage, steer)).encode())
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for word in said:
            _event(writer, _part(path, value, word))
            if steer.startswith("slow:"):
                await writer.drain()
                await asyncio.sleep(float(steer[5:]) / 1000)
            if steer == "break":
                await writer.drain()
                writer.transport.abort()
                return False
        if path.endswith("/responses"):
            used = {"input_tokens": prompt, "output_tokens": words, "total_tokens": prompt + words}
            done = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": used, "model": value["model"]}
            _event(writer, {"type": "response.completed", "sequence_number": 9, "response": done})
        elif steer != "silent" and (value.get("stream_options") or {}).get("include_usage"):
            _event(writer, {**_part(path, value, ""), "choices": [], "usage": usage})
        if not path.endswith("/responses"):
            body = b"data: [DONE]\n\n"
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _part(path: str, value: dict[str, Any], word: str) -> dict[str, Any]:
    if path.endswith("/responses"):
        return {
            "type": "response.output_text.delta",
            "item_id": "m",
            "output_index": 0,
            "content_index": 0,
            "delta": word,
            "sequence_number": 1,
        }
    choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": value["model"], "choices": [choice]}


def _whole(path: str, value: dict[str, Any], text: str, usage: dict[str, int], steer: str) -> dict[str, Any]:
    if path.endswith("/responses"):
        content = [{"type": "output_text", "text": text, "annotations": []}]
        output = [{"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": content}]
        used = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"], "total_tokens": usage["total_tokens"]}
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": value["model"],
            "output": output,
            "usage": used,
        }
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if value.get("tools"):
        call = {"id": "t", "type": "function", "function": {"name": value["tools"][0]["function"]["name"], "arguments": "{}"}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": value["model"], "choices": [choice]}
    return whole if steer == "silent" else {**whole, "usage": usage}


def _event(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    name = f"event: {value['type']}\n" if "type" in value else ""
    body = f"{name}data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(body), body))


async def _write(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    writer.write(b"HTTP/1.1 %d OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind.encode(), len(body), body))
    await writer.drain()


async def _main(port: int) -> None:
    await Upstream().start(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
