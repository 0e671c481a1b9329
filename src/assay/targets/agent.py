"""An agent behind HTTP: it is sent the task and where its tools are, acts by itself, and answers when it is done.

    --target agent:http://127.0.0.1:9000/run

    POST /run   {"assay": "agent/1", "messages": [...], "tools": [...], "call_url": "http://127.0.0.1:PORT/episodes/TOKEN/call",
                 "mcp_url": "http://127.0.0.1:PORT/episodes/TOKEN/mcp"}
    it calls    POST call_url {"tool": "read_message", "arguments": {"message": "M-01"}}
                ->  {"result": [...]} or {"result": {"error": ...}}
    it answers  {"message": "Done."}

`mcp_url` is there where the extra `agents` is installed. Options: `listen` (host:port of the tools, loopback by default) and `public` (the
address under which the agent reaches it). A token is 256 random bits and ends with its episode.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import mcp_server
from assay.targets.apikey import api_key
from assay.targets.base import Access, Attempt, Progress, Reply, clean_text

MAX_CALL_BYTES = 262_144


class HttpAgent:
    """One client session, and one server of tools on loopback for all episodes."""

    def __init__(self, spec: TargetSpec, limits: Limits) -> None:
        self._url = spec.url or spec.model
        if not self._url.startswith(("http://", "https://")):
            raise TargetError("an agent needs an address that begins with http:// or https://", where="target.url")
        unknown = set(spec.options) - {"listen", "public"}
        if unknown:
            raise TargetError(f"unknown option '{min(unknown)}'", where="target.options")
        self._listen = _address(spec.options.get("listen", "127.0.0.1:0"))
        self._public = spec.options.get("public", "").rstrip("/")
        self._key_env = spec.api_key_env
        self._limits = limits
        self._open: dict[str, Access] = {}
        self.identity: Mapping[str, str] = {"kind": "agent", "model": spec.model, "url": self._url}

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        headers = {"Authorization": f"Bearer {api_key(self._key_env, self._url)}"} if self._key_env else {}
        async with AsyncExitStack() as stack:
            timeout = aiohttp.ClientTimeout(total=self._limits.call_s or self._limits.timeout_s)
            self._session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, headers=headers))
            app = web.Application(client_max_size=MAX_CALL_BYTES)
            app.router.add_post("/episodes/{token}/call", self._called)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, *self._listen)
            try:
                await site.start()
            except OSError as e:
                raise TargetError(
                    f"cannot listen on {self._listen[0]}:{self._listen[1]}: {e.strerror}", where="target.options.listen"
                ) from None
            host, port = runner.addresses[0][:2]
            self._call_base = self._public or f"http://{host}:{port}"
            self._mcp = None
            if mcp_server.installed() and not self._public:
                self._mcp = await stack.enter_async_context(mcp_server.HttpServer(self._open.get, self._listen[0]))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def alive(self) -> bool:
        """Whether anything listens at the agent's address."""
        try:
            async with self._session.get(self._url, timeout=aiohttp.ClientTimeout(total=10)):
                return True
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """The agent without tools."""
        return await self.act(Access(messages, [], lambda name, arguments: '{"error": "no such tool"}'))

    async def act(self, access: Access) -> Reply:
        """One episode."""
        token = secrets.token_urlsafe(32)
        self._open[token] = access
        body: dict[str, Any] = {
            "assay": "agent/1",
            "messages": [{"role": m.role, "content": m.content} for m in access.messages],
            "tools": access.tools,
            "call_url": f"{self._call_base}/episodes/{token}/call",
        }
        if self._mcp:
            body["mcp_url"] = self._mcp.url(token)
        began = time.monotonic()
        try:
            async with self._session.post(self._url, json=body) as response:
                data = await response.content.read(self._limits.max_answer_bytes + 1)
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as e:
            down = isinstance(e, aiohttp.ClientConnectorError)
            failure = f"no answer from the agent ({type(e).__name__})"
            return Reply("", failure=failure, outage=True, busy=down, attempts=(_attempt(type(e).__name__, began),))
        finally:
            access.close()
            del self._open[token]
        attempts = (_attempt(str(status), began),)
        if status in (401, 403, 404):
            raise TargetError(f"the agent answers HTTP {status}", where=self._url)
        if status != 200:
            return Reply("", failure=f"HTTP {status}", outage=True, busy=status in (429, 503), attempts=attempts)
        try:
            said = json.loads(data)["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            said = None
        if not isinstance(said, str):
            return Reply("", failure="malformed answer (no message)", attempts=attempts)
        text, truncated = clean_text(said, self._limits.max_answer_bytes)
        return Reply(text, finish="stop", model="agent", truncated=truncated, attempts=attempts)

    async def _called(self, request: web.Request) -> web.Response:
        """One call of a tool. Who has no token of an open episode is told nothing."""
        access = self._open.get(request.match_info["token"])
        if access is None:
            return web.json_response({"error": "no such episode"}, status=404)
        try:
            value = json.loads(await request.read())
            name, arguments = value["tool"], value.get("arguments", {})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return web.json_response({"error": "a call is {tool, arguments}"}, status=400)
        if not isinstance(name, str):
            return web.json_response({"error": "a call is {tool, arguments}"}, status=400)
        return web.Response(text=f'{{"result": {access.call(name[:200], arguments)}}}', content_type="application/json")


def _attempt(status: str, began: float) -> Attempt:
    return Attempt(status, round(1000 * (time.monotonic() - began)))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise TargetError(f"'{text}' is no host:port", where="target.options.listen")
    return host, int(port)


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> HttpAgent:
    """Entry point `agent`."""
    return HttpAgent(spec, limits)
