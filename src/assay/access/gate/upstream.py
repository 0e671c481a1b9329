"""The model's own server, behind the gate: the only module that has its key, and speaks to it.

upstream = Upstream(config)
async with upstream.post("m7", "chat.completions", body) as response:
    async for chunk in response.content.iter_any(): ...
used = usage_in(chunks, stream=True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from assay.access.config import Config, GateError
from assay.access.gate.wire import Answer, Pool
from assay.access.model import DeniedError, Route

PATHS: dict[Route, str] = {"chat.completions": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings"}
CONNECT_S = 10.0
MOST = 2**53


class Upstream:
    """Connections to every model's server, and the only holder of its key."""

    def __init__(self, config: Config) -> None:
        bounds = config.bounds
        self._pools: dict[str, Pool] = {}
        self._heads: dict[tuple[str, Route], bytes] = {}
        for name, served in config.models.items():
            pool = Pool(served.upstream, connect_s=CONNECT_S, idle_s=bounds.idle_s, answer_s=bounds.answer_s)
            key = config.upstream_key(name)
            headers = {
                "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Accept-Encoding": "identity",
                "User-Agent": "assay-gate", **({"Authorization": f"Bearer {key}"} if key else {}),
            }  # fmt: skip
            if any(c in key for c in "\r\n") or not key.isascii():
                raise GateError(f"the upstream's key for '{name}' is none", fix="Look at the variable that key_variable names.")
            self._pools[name] = pool
            self._heads |= {(name, route): pool.head(path, headers) for route, path in PATHS.items()}

    def stop(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()

    async def post(self, model: str, route: Route, body: bytes, more: Mapping[str, str] | None = None) -> Answer:
        """Ask, with more headers of the gate's making. The answer must be closed. Raises `DeniedError` (502, 504) where there is none."""
        head = self._heads[model, route]
        if more:
            head += "".join(f"{name}: {value}\r\n" for name, value in more.items()).encode("ascii")
        try:
            return await self._pools[model].post(head, body)
        except TimeoutError:
            raise DeniedError("upstream", 504, "the model did not answer in time") from None
        except OSError:
            raise DeniedError("upstream", 502, "the model cannot be reached") from None


def usage_in(chunks: Sequence[bytes], *, stream: bool) -> tuple[int, int] | None:
    """Tokens of prompt and answer that the upstream reported at the end of an answer; None where it did not, or nothing believable."""
    if not stream:
        return _usage(b"".join(chunks))
    data = b"".join(chunks[-64:])
    at = len(data)
    while (at := data.rfind(b'"usage"', 0, at)) >= 0:
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        line = data[start : end if end >= 0 else len(data)]
        if line.startswith(b"data:") and (found := _usage(line[5:])) is not None:
            return found
        at = start
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
    answer = usage.get("completion_tokens", usage.get("output_tokens"))
    if answer is None and value.get("object") == "list":
        answer = 0  # embeddings have no answer's tokens
    if type(prompt) is not int or type(answer) is not int or prompt < 0 or answer < 0:
        return None
    return min(prompt, MOST), min(answer, MOST)


def without_usage(chunk: bytes) -> bytes:
    """A part of a stream without the events that only report usage, for callers who did not ask for them."""
    at = len(chunk)
    while (at := chunk.rfind(b'"usage"', 0, at)) >= 0:
        before = chunk.rfind(b"\n\n", 0, at)
        start = before + 2 if before >= 0 else 0
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
