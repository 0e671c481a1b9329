"""Hands worlds to agents over the Model Context Protocol: tools, and nothing else. Needs the extra `agents`.

    await serve_stdio(access)                                  # one world, on standard input and output
    async with HttpServer(find) as server: server.url(token)   # many worlds, each under its own token

What the user asks for is the prompt `task`; an agent is usually told it by whoever starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from assay.errors import TargetError
from assay.targets.base import Access
from assay.version import __version__

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

Find = Callable[[str], Access | None]
START_TIMEOUT_S = 20.0


def installed() -> bool:
    """Whether the extra `agents` is."""
    try:
        import mcp  # noqa: F401 (an extra)
    except ImportError:
        return False
    return True


async def serve_stdio(access: Access) -> None:
    """Serve one world until the other side closes. Raises `TargetError` without the extra."""
    _need()
    from mcp.server.stdio import stdio_server

    server = _server(lambda _: access)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class HttpServer:
    """Streamable HTTP; the world of a token at `/episodes/TOKEN/mcp`. Use as an async context manager."""

    def __init__(self, find: Find, host: str = "127.0.0.1", port: int = 0) -> None:
        _need()
        self._find = find
        self._host = host
        self._asked = port
        self._port = 0

    async def __aenter__(self) -> Self:
        import uvicorn

        app = _server(self._find).streamable_http_app(
            streamable_http_path="/episodes/{token}/mcp", json_response=True, stateless_http=True, host=self._host,
        )  # fmt: skip
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._asked))
        except OSError as e:
            listening.close()
            raise TargetError(f"cannot listen on {self._host}:{self._asked}: {e.strerror}") from None
        self._port = listening.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=2))
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        async with asyncio.timeout(START_TIMEOUT_S):
            while not self._server.started and not self._task.done():
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def url(self, token: str) -> str:
        """Where the world of a token is."""
        return f"http://{self._host}:{self._port}/episodes/{token}/mcp"


def _server(find: Find) -> Server[Any]:
    from mcp import types
    from mcp.server.lowlevel import Server

    def access_of(context: Any) -> Access:
        request = context.request
        token = str(request.path_params.get("token", "")) if request is not None else ""
        access = find(token)
        if access is None:
            raise ValueError("no such episode")
        return access

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        tools = [tool["function"] for tool in access_of(context).tools]
        listed = [types.Tool(name=t["name"], description=t["description"], input_schema=t["parameters"]) for t in tools]
        return types.ListToolsResult(tools=listed)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        shown = await asyncio.to_thread(access_of(context).call, params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=shown)], is_error=_failed(shown))

    async def list_prompts(context: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[types.Prompt(name="task", description="What the user asks for, and the assistant's role.")])

    async def get_prompt(context: Any, params: Any) -> types.GetPromptResult:
        text = _task(access_of(context))
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))])

    return Server(
        "assay-world", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool, on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )  # fmt: skip


def _task(access: Access) -> str:
    return "\n\n".join(message.content for message in access.messages)


def _failed(shown: str) -> bool:
    value = json.loads(shown)
    return isinstance(value, dict) and "error" in value


def _need() -> None:
    if not installed():
        raise TargetError("serving a world over MCP needs the extra 'agents'", fix="pip install 'assay[agents]'")
