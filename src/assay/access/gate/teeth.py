"""The gate's teeth: what may be served now. It follows the store, checks releases again on a lease, and says at once when something closed.

    teeth = Teeth(config, store)
    await teeth.start(on_change)               # reads everything once; from then on `on_change()` runs on the event loop after every change
    view = teeth.view                          # never changes; raises DeniedError when the lease has run out
    view.verdict("m7", now_ms), view.halted(grant, person)

No valid, unexpired, unrevoked release for the served digest: the verdict is `none`, which is served to assessors only. The store not heard
of for the lease: nothing is served to anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from assay.access.config import Config, GateError
from assay.access.gate.sessions import cuts
from assay.access.grants.narrow import in_hours
from assay.access.grants.remembered import REMEMBERED, Remembered
from assay.access.model import DeniedError, Grant, Halt, covers
from assay.access.safety.breakglass import Exceptions
from assay.access.store.base import Snapshot, Store, StoreError
from assay.errors import AssayError
from assay.evidence.release import parse_release
from assay.evidence.releasecheck import check_release
from assay.evidence.roles import Roles
from assay.evidence.seen import Seen, SeenRelease, follow, lock_seen, newest, read_seen, write_seen

Standing = Literal["approve", "delay", "halt", "none"]
T = TypeVar("T")
POLL_S = 0.02
WATCH_S = 0.1
BACK_MS = 5_000
"""How far the clock may go back: more, and what had ended would hold again."""
RECHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What holds of a model: the verdict, until when (Unix ms), of which epoch, and why it is `none` where it is."""

    verdict: Standing
    until: int
    epoch: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What was known at one epoch of the store."""

    epoch: int
    grants: Mapping[str, Grant]
    halts: tuple[Halt, ...]
    decided: Mapping[str, Decided]
    refused: Mapping[str, str] = field(default_factory=dict)
    exceptions: Exceptions = field(default_factory=lambda: Exceptions(()))
    cut: Mapping[str, str] = field(default_factory=dict)

    def verdict(self, model: str, now_ms: int) -> Standing:
        """What may be acted on now."""
        found = self.decided.get(model)
        return found.verdict if found is not None and now_ms <= found.until else "none"

    def halted(self, grant: Grant, person: str) -> str:
        """The id of a halt that stops this person under this grant; empty if none does."""
        for halt in self.halts:
            if covers(halt, grant, person):
                return halt.id
        return ""

    def closed(self, grant_id: str, version: int, person: str, now_ms: int) -> str:
        """Why what began under a grant may not go on; empty if it may."""
        grant = self.grants.get(grant_id)
        if grant is None or grant.version != version:
            return "the grant is revoked, or was changed"
        if now_ms >= grant.expires:
            return "the grant has expired"
        if not in_hours(grant.hours, now_ms) and not self.exceptions.lifts(grant, "hours", now_ms):
            return "the grant's hours have ended"
        halt = self.halted(grant, person)
        if halt:
            return f"halt {halt}"
        if not served(grant.tier, self.verdict(grant.model, now_ms)):
            return f"the decision on {grant.model} is {self.verdict(grant.model, now_ms)}"
        return ""


def served(tier: str, verdict: Standing) -> bool:
    """Who is served under which decision."""
    return tier == "assessor" or verdict == "approve" or (tier == "operator" and verdict == "delay")


class Teeth:
    """Follows the store. One for each worker."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._config, self._store, self._clock = config, store, clock
        self._view: View | None = None
        self._heard = float("-inf")
        self._remembered = Remembered(config.path(REMEMBERED))
        self._seen = self._kept = Seen()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = ThreadPoolExecutor(1, "teeth")
        self._latest = 0
        self.problem = "nothing was read yet"

    @property
    def view(self) -> View:
        """What holds now. Raises `DeniedError` when the store was not heard of within the lease, or the clock has gone back."""
        if self._view is None or time.monotonic() - self._heard > self._config.lease_s:
            raise DeniedError("lease", 503, "the gate cannot know what holds now, so it serves nothing")
        now = self._clock()
        if now < self._latest - BACK_MS:
            raise DeniedError("lease", 503, "the gate's clock has gone back, so it serves nothing")
        self._latest = max(self._latest, now)
        return self._view

    @property
    def age(self) -> float:
        """Seconds since the store was heard of."""
        return time.monotonic() - self._heard

    async def start(self, changed: Callable[[], None]) -> None:
        """Read everything; then follow. Raises `GateError` if nothing can be read."""
        try:
            self._seen = self._kept = await asyncio.to_thread(read_seen, self._config.path(self._config.authority.state))
            await self._refresh()
        except AssayError as e:
            raise GateError(f"the gate does not open: {e.what}", where=e.where, fix=e.fix) from None
        self._tasks = [asyncio.create_task(self._follow(changed)), asyncio.create_task(self._watch(changed))]

    async def stop(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, changed: Callable[[], None]) -> None:
        last_check = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            try:
                asked = time.monotonic()
                epoch = await self._epoch()
                known = self._view.epoch if self._view else -1
                due = asked - last_check > RECHECK_S
                if epoch == known:
                    self._heard = asked  # nothing has changed; reading it all again may take its time
                if epoch != known or due:
                    await self._refresh()
                    last_check = time.monotonic()
                    changed()
                self._heard = asked
                self.problem = ""
            except Exception as e:  # noqa: BLE001 (whatever it is, following goes on, and without word the lease ends)
                self.problem = e.what if isinstance(e, AssayError) else f"what holds cannot be read ({type(e).__name__})"

    async def _watch(self, changed: Callable[[], None]) -> None:
        """Say that the lease has ended, or the clock gone back, whatever following is stuck in."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                _ = self.view
            except DeniedError:
                with suppress(Exception):
                    changed()

    async def _epoch(self) -> int:
        return self._store.epoch() if self._store.quick else await self._aside(self._store.epoch)

    async def _aside(self, read: Callable[[], T]) -> T:
        """In a thread of the teeth's own: those that others wait for the store in may all be busy."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def _refresh(self) -> None:
        asked = time.monotonic()
        self._view = await self._aside(self._read)
        self._heard = asked

    def _read(self) -> View:
        snapshot = self._store.snapshot()
        now, admins = self._clock(), self._config.admins.public()
        opened = self._remembered.open(snapshot, self._config.admins, now)
        decided = {}
        roles, why = self._roles(snapshot, now)
        for name, served_model in self._config.models.items():
            data = snapshot.releases.get(served_model.digest)
            decided[name] = self._decide(served_model.digest, data, roles, now) if roles else Decided("none", 2**53, why=why)
        self._keep()
        return View(
            snapshot.epoch,
            opened.grants,
            tuple(h for h in opened.halts if not h.lifted),
            decided,
            opened.refused,
            Exceptions.read(self._store, admins, now),
            {name: cut.reason for name, cut in cuts(self._store, now).items()},
        )

    def _keep(self) -> None:
        """What was seen outlives the worker, so that an old release stays stale after a start. Raises `AssayError`."""
        if self._seen == self._kept:
            return
        path = self._config.path(self._config.authority.state)
        with lock_seen(path):
            self._seen = newest(self._seen, read_seen(path))
            write_seen(path, self._seen)
        self._kept = self._seen

    def _roles(self, snapshot: Snapshot, now: int) -> tuple[Roles | None, str]:
        try:
            signed = msgspec.json.decode(snapshot.roles or self._config.path(self._config.authority.roles).read_bytes())
            roles = follow(self._seen, signed, self._config.authority.owners, now_ms=now)
            self._seen = self._seen.followed(roles, signed)
        except Exception as e:  # noqa: BLE001 (whoever writes to the store could write anything: it opens nothing)
            return None, f"no roles that hold: {e if isinstance(e, AssayError) else type(e).__name__}"
        return roles, ""

    def _decide(self, digest: str, data: bytes | None, roles: Roles, now: int) -> Decided:
        """The release is checked anew every time: roles are revoked, keys expire, time goes on."""
        if not data:
            return Decided("none", 2**53, why="no release")
        try:
            release = parse_release(data)
            found = check_release(release, roles, now, target=digest, seen=self._seen)
        except Exception as e:  # noqa: BLE001
            return Decided("none", 2**53, why=e.what if isinstance(e, AssayError) else f"no release ({type(e).__name__})")
        if not found.ok:
            return Decided("none", 2**53, why=str(found.findings[0]))
        own = SeenRelease(release.terms.epoch, hashlib.sha256(release.decision.payload).hexdigest())
        self._seen = self._seen.with_release(roles.authority, release.target, own)
        return Decided(found.verdict, min(release.terms.expires, roles.expires_ms), release.terms.epoch)


__all__ = ["Decided", "Standing", "StoreError", "Teeth", "View", "served"]
