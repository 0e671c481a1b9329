"""Running the administration's API: a process of its own beside the gateway's workers, on the same store, with its own audit segment. It
looks the audit log through for alerts, too.

serve_admin(config)             # until it is stopped; what `assay access admin` calls
app = open_admin(config)        # the application, which opens log and store when its lifespan begins
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.access.admin.acts import Acts
from assay.access.admin.app import People, make_admin
from assay.access.admin.looks import Search
from assay.access.admin.watching import DAYS, Watching
from assay.access.admin.wire import AuditFound, AuditQuery
from assay.access.audit.log import AuditLog
from assay.access.audit.read import Query, search
from assay.access.audit.records import AuditError
from assay.access.config import Config
from assay.access.gate.health import Facts, Ready, State
from assay.access.safety.alerts import DAY_MS
from assay.access.safety.scan import Scan
from assay.access.store.base import open_store
from assay.ledger import digest, load_key

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp

METRICS = "metrics"
WORKER = "admin"
FACTS_S = 1.0
KINDS = ("decided", "ended", "denied", "token", "control", "alert", "break-glass", "error")


def searcher(folder: Path) -> Search:
    """A search in the audit log of this folder: the newest records that fit."""

    def look(asked: AuditQuery) -> AuditFound:
        if asked.kind and asked.kind not in KINDS:
            raise AuditError(f"no records are of the kind '{asked.kind}'", fix=f"Kinds: {', '.join(KINDS)}.")
        query = Query(
            grant=asked.grant, person=asked.person, organisation=asked.organisation, model=asked.model,
            kinds=(asked.kind,) if asked.kind else KINDS, since=asked.since, until=asked.until,
        )  # fmt: skip
        kept = deque(search(folder, query), maxlen=asked.limit + 1)
        newest = sorted((row.flat() for row in kept), key=lambda flat: (-flat["at"], -flat["n"]))
        return AuditFound(tuple(newest[: asked.limit]), len(newest) > asked.limit)

    return look


def open_admin(config: Config) -> ASGIApp:
    """The application. Raises `AssayError` where store or keys cannot be had."""
    store = open_store(config.store, Path(config.folder))
    folder = config.path(config.audit.folder)
    terms = digest(msgspec.to_builtins(config))
    log = AuditLog(folder, WORKER, load_key(config.path(config.audit.key)), config.audit.auditors, spend=store.spend, config=terms)
    acts = Acts(config, store, log, searcher(folder))
    reading = config.administration
    watching = None
    if reading.alerts_every_s:
        watching = Watching(Scan(folder, acts.clock() - DAYS * DAY_MS), store, log.note, every_s=reading.alerts_every_s)
        acts.problems = watching.problems

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await log.start()
        await asyncio.to_thread(store.spend, [], time.time_ns() // 1_000_000)  # the memory of nonces begins now, not with the first request
        task = asyncio.create_task(watching.run()) if watching else None
        try:
            yield
        finally:
            if watching and task:
                await watching.stop(task)
            await log.stop()
            store.close()

    return make_admin(
        acts, people=People.of(config), spend=store.spend, hosts=reading.hosts, secure=reading.tls is not None, lifespan=lifespan,
        ready=_Readiness(acts, log), metrics=config.path(METRICS), scrapers=reading.scrapers,
        gauges=watching.exposition if watching else bytes,
    )  # fmt: skip


class _Facts:
    """What readiness rests on, looked up once a second at most."""

    def __init__(self, acts: Acts, log: AuditLog) -> None:
        self._acts, self._log = acts, log
        self._known: Facts | None = None
        self._at = float("-inf")

    def read(self) -> Facts:
        if self._known is None or time.monotonic() - self._at > FACTS_S:
            heard = self._acts.clock()
            releases, epoch = self._acts.release_ends()
            lease = int(self._acts.config.lease_s * 1000)
            self._known, self._at = Facts(heard, max(lease, 2000), not self._log.problems(), releases, epoch), time.monotonic()
        return self._known


class _Readiness(Ready):
    """`/readyz` of the administration: what stands against the scans for alerts is said, but takes nobody the power to halt."""

    def __init__(self, acts: Acts, log: AuditLog) -> None:
        super().__init__(_Facts(acts, log).read)
        self._acts = acts

    def state(self) -> State:
        """Ready or not, and all that is missing."""
        state = super().state()
        return State(state.ready, (*state.missing, *self._acts.problems()))


def serve_admin(config: Config, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    tls = config.administration.tls
    settings = uvicorn.Config(
        open_admin(config), access_log=False, log_level="warning", server_header=False, proxy_headers=False, ws="none", lifespan="on",
        interface="asgi3", timeout_keep_alive=30, timeout_graceful_shutdown=3, limit_concurrency=200, h11_max_incomplete_event_size=32_768,
        ssl_certfile=str(config.path(tls.certificate)) if tls else None, ssl_keyfile=str(config.path(tls.key)) if tls else None,
        ssl_ca_certs=str(config.path(tls.client_ca)) if tls and tls.client_ca else None,
        ssl_cert_reqs=2 if tls and tls.client_ca else 0,
    )  # fmt: skip
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:
        return
