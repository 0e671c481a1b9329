"""The admission webhook over HTTPS: reads the gate's store for every review, and admits nothing by error.

    serve(read_config(path), rules, listen="0.0.0.0:8444", certificate=..., key=...)

It needs no credentials of the cluster, and keeps nothing of an object: a dry run gets the same answer. What it keeps is what it saw of the
store, so that rows that vanish from it, or come back, admit nothing. Where the store, the roles or that memory cannot be read every review
is denied, and where the webhook cannot be reached the manifest's `failurePolicy: Fail` denies.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.access.admission.decide import Judged, Standing, answer, judge, read_review
from assay.access.admission.objects import AdmissionError, Review, Rules
from assay.access.config import Config
from assay.access.grants.remembered import REMEMBERED, Remembered
from assay.errors import AssayError
from assay.evidence.release import parse_release
from assay.evidence.releasecheck import check_release
from assay.evidence.roles import Roles
from assay.evidence.seen import SeenRelease, follow, lock_seen, newest, read_seen, write_seen

if TYPE_CHECKING:
    import socket

    from assay.access.model import Halt
    from assay.access.store.base import Snapshot, Store

PATH = "/admit"
MAX_BODY = 8 << 20
BODY_S = 5.0
NEVER = 2**53

Message = MutableMapping[str, Any]


class Releases:
    """What holds of targets, by the gate's store. Everything is checked anew for every review; what was seen as newest, and halts, are kept
    in the folder `memory`, or without one in the gate's own files.
    """

    def __init__(
        self, config: Config, store: Store, memory: Path | None = None, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._config, self._store, self._clock = config, store, clock
        gates = config.path(config.authority.state)
        self._path = memory / gates.name if memory else gates
        self._remembered = Remembered(memory / REMEMBERED if memory else config.path(REMEMBERED))
        self._kept = read_seen(self._path)
        self._seen = newest(self._kept, read_seen(gates))
        self._names = {m.digest: frozenset(n for n, o in config.models.items() if o.digest == m.digest) for m in config.models.values()}
        self._lock = threading.Lock()

    def judged(self, review: Review, rules: Rules) -> Judged:
        """The judgement on a review. Raises `AssayError` where nothing can be known."""
        with self._lock:
            snapshot, now = self._store.snapshot(), self._clock()
            roles, halts = self._roles(snapshot, now), self._halts(snapshot, now)
            judged = judge(review, rules, lambda target: self._standing(target, snapshot, roles, now), halts, self._names, now)
            self._keep()
            return judged

    def ready(self) -> None:
        """Take notice of all that the store has now. Raises `AssayError` where nothing can be known."""
        with self._lock:
            snapshot, now = self._store.snapshot(), self._clock()
            roles = self._roles(snapshot, now)
            self._halts(snapshot, now)
            for target in snapshot.releases:
                self._standing(target, snapshot, roles, now)
            self._keep()

    def _halts(self, snapshot: Snapshot, now: int) -> list[Halt]:
        """Those in force, also where the store has lost them."""
        return [h for h in self._remembered.open(snapshot, self._config.admins, now).halts if not h.lifted]

    def _keep(self) -> None:
        """What was seen outlives the process. Raises `AssayError`: what cannot be remembered is not answered for."""
        if self._seen == self._kept:
            return
        with lock_seen(self._path):
            self._seen = newest(self._seen, read_seen(self._path))
            write_seen(self._path, self._seen)
        self._kept = self._seen

    def _roles(self, snapshot: Snapshot, now: int) -> Roles:
        try:
            signed = msgspec.json.decode(snapshot.roles or self._config.path(self._config.authority.roles).read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise AdmissionError("the signed roles cannot be read") from None
        roles = follow(self._seen, signed, self._config.authority.owners, now_ms=now)
        self._seen = self._seen.followed(roles, signed)
        return roles

    def _standing(self, target: str, snapshot: Snapshot, roles: Roles, now: int) -> Standing:
        data = snapshot.releases.get(target)
        if not data:
            return Standing("none", NEVER, why="there is none")
        try:
            release = parse_release(data)
            found = check_release(release, roles, now, target=target, seen=self._seen)
        except AssayError as e:
            return Standing("none", NEVER, why=e.what)
        if not found.ok:
            return Standing("none", NEVER, release.terms.epoch, found.findings[0].what)
        own = SeenRelease(release.terms.epoch, hashlib.sha256(release.decision.payload).hexdigest())
        self._seen = self._seen.with_release(roles.authority, release.target, own)
        return Standing(found.verdict, min(release.terms.expires, roles.expires_ms), release.terms.epoch)


class Webhook:
    """The ASGI application: POST /admit, GET /healthz and /readyz, nothing else."""

    def __init__(self, releases: Releases, rules: Rules) -> None:
        self._releases, self._rules = releases, rules

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer one request; whatever goes wrong is no admission."""
        if scope["type"] != "http":
            return
        try:
            status, value = await self._answered(scope, receive)
        except Exception:  # noqa: BLE001 (an error that nobody thought of must not admit, nor leave the caller without an answer)
            status, value = 500, {"error": "the webhook failed; nothing is admitted"}
        body = msgspec.json.encode(value)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answered(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> tuple[int, dict[str, Any]]:
        route = (scope["method"], scope["path"])
        if route == ("GET", "/healthz"):
            return 200, {"ok": True}
        if route == ("GET", "/readyz"):
            try:
                await asyncio.to_thread(self._releases.ready)
            except AssayError as e:
                return 503, {"ok": False, "why": e.what}
            return 200, {"ok": True}
        if route != ("POST", PATH):
            return 404, {"error": "not here"}
        kinds = [v for k, v in scope["headers"] if k == b"content-type"]
        if len(kinds) != 1 or kinds[0].split(b";")[0].strip().lower() != b"application/json":
            return 415, {"error": "JSON only"}
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except TimeoutError:
            return 408, {"error": "too slow"}
        if body is None:
            return 413, {"error": f"larger than {MAX_BODY} bytes"}
        try:
            review = read_review(body)
        except AdmissionError as e:
            return 400, {"error": e.what}
        try:
            judged = await asyncio.to_thread(self._releases.judged, review, self._rules)
        except AssayError as e:
            judged = Judged(review.uid, False, f"it cannot be known what is released: {e.what}")
        except Exception:  # noqa: BLE001 (the same: denied, with an answer that the API server can pass on)
            judged = Judged(review.uid, False, "the webhook failed on this object")
        return 200, answer(judged)


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def serve(app: Webhook, sockets: list[socket.socket], certificate: Path, key: Path, client_ca: Path | None = None) -> None:
    """Serve until stopped; with `client_ca`, only to callers with a certificate by it (the API server's)."""
    import ssl

    import uvicorn

    config = uvicorn.Config(
        app, access_log=False, log_level="warning", server_header=False, proxy_headers=False, ws="none", lifespan="off", interface="asgi3",
        timeout_keep_alive=30, timeout_graceful_shutdown=5, limit_concurrency=200, h11_max_incomplete_event_size=32_768, loop="asyncio",
        ssl_certfile=str(certificate), ssl_keyfile=str(key), ssl_ca_certs=str(client_ca) if client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=sockets)
