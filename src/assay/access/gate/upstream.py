"""The model's own server, behind the gate: the only module that has its key, and speaks to it.

upstream = Upstream(config)
async with upstream.post("m7", "chat.completions", body) as response:
    async for chunk in response.content.iter_any(): ...
used = usage_in(chunks, stream=True)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from assay.access.config import Config
from assay.access.model import DeniedError, Route

PATHS: dict[Route, str] = {"chat.completions": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings"}
CONNECT_S = 10.0
TAIL = 65_536


class Upstream:
    """Sessions to every model's server. Follows no redirect, keeps no cookie, takes no proxy from the environment."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._urls = {
            (name, route): served.upstream.rstrip("/") + path for name, served in config.models.items() for route, path in PATHS.items()
        }
        self._headers = {}
        for name in config.models:
            key = config.upstream_key(name)
            self._headers[name] = {
                "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Accept-Encoding": "identity",
                "User-Agent": "assay-gate", **({"Authorization": f"Bearer {key}"} if key else {}),
            }  # fmt: skip
        bounds = config.bounds
        self._timeout = aiohttp.ClientTimeout(total=bounds.answer_s, sock_connect=CONNECT_S, sock_read=bounds.idle_s)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool of connections."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, model: str, route: Route, body: bytes) -> aiohttp.ClientResponse:
        """Ask. The response must be closed. Raises `DeniedError` (502, 504) where there is none."""
        if self._session is None:
            raise DeniedError("upstream", 503, "the gate is not open")
        try:
            return await self._session.post(self._urls[model, route], data=body, headers=self._headers[model], allow_redirects=False)
        except TimeoutError:
            raise DeniedError("upstream", 504, "the model did not answer in time") from None
        except (aiohttp.ClientError, OSError):
            raise DeniedError("upstream", 502, "the model cannot be reached") from None


def usage_in(chunks: Sequence[bytes], *, stream: bool) -> tuple[int, int] | None:
    """Tokens of prompt and answer that the upstream reported at the end of an answer; None where it did not, or nothing believable."""
    data = b"".join(chunks[-64:])[-TAIL:] if stream else b"".join(chunks)
    if not stream:
        return _usage(data)
    for line in reversed(data.split(b"\n")):
        if line.startswith(b"data:") and b'"usage"' in line:
            found = _usage(line[5:].strip())
            if found is not None:
                return found
    return None


def _usage(data: bytes) -> tuple[int, int] | None:
    try:
        value: Any = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    usage = value.get("usage")
    if usage is None and isinstance(value.get("response"), dict):
        usage = value["response"].get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    answer = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if type(prompt) is not int or type(answer) is not int or prompt < 0 or answer < 0:
        return None
    return prompt, answer


def without_usage(chunk: bytes) -> bytes:
    """A part of a stream without the events that only report usage, for callers who did not ask for them."""
    at = len(chunk)
    while (at := chunk.rfind(b'"usage"', 0, at)) >= 0:
        start = chunk.rfind(b"\n\n", 0, at) + 2 if b"\n\n" in chunk[:at] else 0
        end = chunk.find(b"\n\n", at)
        if end >= 0 and _only_usage(chunk[start:end]):
            chunk = chunk[:start] + chunk[end + 2 :]
        at = start
    return chunk


def _only_usage(event: bytes) -> bool:
    if b'"usage"' not in event or not event.startswith(b"data:"):
        return False
    try:
        value: Any = msgspec.json.decode(event[5:].strip())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("choices") == [] and isinstance(value.get("usage"), dict)
