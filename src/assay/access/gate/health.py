"""Whether the gateway lives, and whether it may serve: two plain ASGI answers that say what is missing, and no secret.

    ready = Ready(facts)              # facts() -> Facts, cheap: it is asked on every probe
    await healthz(scope, receive, send)
    await ready(scope, receive, send) # 200 {"ready":true,"missing":[]} or 503 with the reasons

The gateway mounts them; so does the administration's listener. Alive means that the event loop answers; ready means that the store was
heard of within the lease, the audit log can be written, and at least one model has a release that holds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec
from msgspec import Struct

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Facts(Struct, frozen=True):
    """What readiness rests on. Times are Unix milliseconds; `releases` have the end of each model's release that holds now."""

    store_heard: int
    lease_ms: int
    audit_writable: bool
    releases: Mapping[str, int]
    epoch: int = 0


class State(Struct, frozen=True):
    """The answer of `/readyz`."""

    ready: bool
    missing: tuple[str, ...]


def missing(facts: Facts, now_ms: int) -> tuple[str, ...]:
    """What stands against serving at this time, in words that name no secret."""
    out = []
    silent = now_ms - facts.store_heard
    if silent > facts.lease_ms or silent < -facts.lease_ms:
        out.append("store: never heard of" if not facts.store_heard else f"store: not heard of for {silent / 1000:.1f} s")
    if not facts.audit_writable:
        out.append("audit: the log cannot be written")
    if not any(expires > now_ms for expires in facts.releases.values()):
        out.append("release: no model has one that holds")
    return tuple(out)


class Ready:
    """`/readyz`. `clock` gives Unix milliseconds."""

    def __init__(self, facts: Callable[[], Facts], clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._facts = facts
        self._clock = clock

    def state(self) -> State:
        """What the answer says. Facts that cannot be had are missing themselves."""
        try:
            lacking = missing(self._facts(), self._clock())
        except Exception as e:  # noqa: BLE001 (a probe is answered whatever breaks, and then with no)
            lacking = (f"facts: {type(e).__name__}",)
        return State(not lacking, lacking)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        state = self.state()
        await _answer(scope, send, 200 if state.ready else 503, msgspec.json.encode(state))


async def healthz(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """`/healthz`: 200 as long as the event loop turns."""
    await _answer(scope, send, 200, b'{"alive":true}')


async def _answer(scope: Mapping[str, Any], send: Send, status: int, body: bytes) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        status, body = 405, b'{"error":"GET only"}'
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
