"""A loopback endpoint that misbehaves on demand: an aiohttp server in a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Behaviour = Callable[[web.Request, dict[str, Any], int], Awaitable[web.StreamResponse]]


_ids = itertools.count()


def completion(text: Any, **more: Any) -> dict[str, Any]:
    """A chat completion as OpenAI-compatible servers send it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{next(_ids)}",
        "choices": [choice],
        "model": "loop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        **more,
    }


class Endpoint:
    """The address, and every request body and header it got."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.behaviour: Behaviour | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if self.behaviour is None:
            return web.json_response(completion("I cannot help with that."))
        return await self.behaviour(request, body, len(self.bodies))


@contextmanager
def serve(behaviour: Behaviour | None = None) -> Iterator[Endpoint]:
    """Run the endpoint on a free loopback port."""
    endpoint, loop, ready = Endpoint(), asyncio.new_event_loop(), threading.Event()
    endpoint.behaviour = behaviour
    stop = asyncio.Event()

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", endpoint.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
