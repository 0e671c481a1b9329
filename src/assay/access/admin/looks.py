"""What administrators look at: the store's contents as `adminviews` shows them, asked for by a signed call.

looks = Looks(config, store, search)
await looks.overview(call)
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from assay.access.admin import views, wire
from assay.access.config import Config
from assay.access.findings import finding as findings
from assay.access.grants.remembered import REMEMBERED, Remembered
from assay.access.store.base import Snapshot, Store
from assay.errors import AssayError
from assay.evidence.release import parse_release
from assay.evidence.seen import Seen, SeenRelease, follow, read_seen

if TYPE_CHECKING:
    from assay.evidence.roles import Roles

T = TypeVar("T")


class RefusedError(AssayError):
    """What is asked for cannot be done: it does not hold, or is not signed as it must be."""


class NotFoundError(AssayError):
    """There is no such thing."""


class Call(Struct, frozen=True):
    """A request whose signature holds: by whom, in which role, and what came with it."""

    name: str
    role: wire.RoleName
    ids: dict[str, str] = {}
    query: Any = None
    body: Any = None


Search = Callable[[wire.AuditQuery], wire.AuditFound]


class Looks:
    """All that only looks. `search` looks in the audit log; `clock` gives Unix milliseconds."""

    def __init__(
        self, config: Config, store: Store, search: Search, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.config, self.store, self.clock = config, store, clock
        self.problems: Callable[[], Sequence[str]] = tuple
        """What else the console's page is to say is wrong: asked for each overview."""
        self._search = search
        self._remembered = Remembered(config.path(REMEMBERED))

    async def me(self, call: Call) -> wire.Me:
        """Who asks."""
        return wire.Me(call.name, call.role, self.clock(), self.config.admins.threshold)

    async def overview(self, call: Call) -> wire.Overview:
        """Everything that the console shows first."""
        return await in_thread(self._overview, await self.me(call))

    def _overview(self, me: wire.Me) -> wire.Overview:
        now, stored, problems = self.clock(), self.store.snapshot(), list(self.problems())
        part = partial(_part, problems)
        snapshot = part("what the store may have lost is not known", stored, lambda: self.recalled(stored))
        nobody: tuple[Roles | None, Seen] = (None, Seen())
        roles, seen = part("no roles that hold", nobody, lambda: self.roles(snapshot, now))
        sessions = part("what is under way cannot be read", wire.Sessions((), 0), lambda: views.session_views(self.store, now))
        alerts = part("alerts cannot be read", wire.Alerts(()), lambda: views.alert_views(self.store))
        glasses = part("exceptions cannot be read", wire.Glasses(()).glasses, lambda: views.glass_views(self.config, self.store, now))
        none: dict[str, tuple[int, dict[str, Any]]] = {}
        records = part("findings cannot be read", none, lambda: self.store.records(findings.KIND))
        return wire.Overview(
            me, snapshot.epoch, self.clock() - now, "; ".join([*problems, *alerts.problems]),
            views.grant_views(self.config, snapshot, now, self.store, stored), views.halt_views(self.config, snapshot, stored),
            views.release_views(self.config, snapshot, roles, seen, now), sessions, alerts.alerts, glasses,
            views.finding_views(self.config, records),
        )  # fmt: skip

    def recalled(self, stored: Snapshot) -> Snapshot:
        """A snapshot of the store as the gate takes it, with what the store has lost. Raises `StoreError`."""
        return self._remembered.recall(stored)

    async def grants(self, call: Call) -> wire.Grants:
        """All grants."""
        stored = await in_thread(self.store.snapshot)
        return wire.Grants(await self._grant_views(stored), stored.damaged)

    async def _grant_views(self, stored: Snapshot) -> tuple[wire.GrantView, ...]:
        snapshot = await in_thread(self.recalled, stored)
        return await in_thread(views.grant_views, self.config, snapshot, self.clock(), self.store, stored)

    async def grant(self, call: Call) -> wire.GrantDetail:
        """One grant, its newest version, with what was signed."""
        snapshot = await in_thread(self.store.snapshot)
        versions = snapshot.versions.get(call.ids["id"])
        if not versions:
            raise NotFoundError(f"there is no grant '{call.ids['id']}'")
        view = next(
            v for v in await self._grant_views(snapshot) if v.grant.id == call.ids["id"] and v.grant.version == versions[0].grant.version
        )
        return wire.GrantDetail(view, versions[0].encoded().decode(), tuple(v.grant.version for v in versions))

    async def halts(self, call: Call) -> wire.Halts:
        """All halts."""
        stored = await in_thread(self.store.snapshot)
        return wire.Halts(views.halt_views(self.config, await in_thread(self.recalled, stored), stored))

    async def releases(self, call: Call) -> wire.Releases:
        """What holds of every served model."""
        return wire.Releases((await self.overview(call)).releases)

    def release_ends(self) -> tuple[dict[str, int], int]:
        """Until when each served model's release holds, of those that have one, and the epoch. Raises `AssayError`."""
        now, snapshot = self.clock(), self.store.snapshot()
        roles, seen = self.roles(snapshot, now)
        found = views.release_views(self.config, snapshot, roles, seen, now)
        return {v.model: v.expires for v in found if v.verdict != "none"}, snapshot.epoch

    async def sessions(self, call: Call) -> wire.Sessions:
        """What is under way."""
        return await in_thread(views.session_views, self.store, self.clock())

    async def findings(self, call: Call) -> wire.Findings:
        """All findings."""
        return wire.Findings(views.finding_views(self.config, await in_thread(self.store.records, findings.KIND)))

    async def alerts(self, call: Call) -> wire.Alerts:
        """Alerts."""
        return await in_thread(views.alert_views, self.store)

    async def glasses(self, call: Call) -> wire.Glasses:
        """Accesses in an emergency."""
        return wire.Glasses(await in_thread(views.glass_views, self.config, self.store, self.clock()))

    async def audit(self, call: Call) -> wire.AuditFound:
        """Records of the audit log."""
        return await in_thread(self._search, call.query)

    async def configuration(self, call: Call) -> wire.ConfigView:
        """The gate's file, without secrets."""
        return views.config_view(self.config)

    def roles(self, snapshot: Snapshot, now: int) -> tuple[Roles, Seen]:
        """The roles that hold, and what was seen of releases. Raises `AssayError`."""
        authority = self.config.authority
        seen = read_seen(self.config.path(authority.state))
        try:
            signed = msgspec.json.decode(snapshot.roles or self.config.path(authority.roles).read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise RefusedError(f"the roles cannot be read: {e}") from None
        roles = follow(seen, signed, authority.owners, now_ms=now)
        held = seen.followed(roles, signed)
        return roles, _with_kept(held, roles, snapshot)


def _part(problems: list[str], what: str, without: T, read: Callable[[], T]) -> T:
    """One part that cannot be read is told, and takes nobody the others: with them would go the power to halt."""
    try:
        return read()
    except AssayError as e:
        problems.insert(0, f"{what}: {e.what}")
        return without


def _with_kept(seen: Seen, roles: Roles, snapshot: Snapshot) -> Seen:
    """What was seen, and besides it what the store keeps: an older release than that one is stale."""
    for target, data in snapshot.releases.items():
        try:
            release = parse_release(data)
        except AssayError:
            continue
        before = seen.release(roles.authority, target)
        if release.terms.authority == roles.authority and (before is None or before.epoch < release.terms.epoch):
            own = SeenRelease(release.terms.epoch, hashlib.sha256(release.decision.payload).hexdigest())
            seen = seen.with_release(roles.authority, target, own)
    return seen


async def in_thread(do: Callable[..., T], *args: Any) -> T:
    """Whatever waits for the store, beside the event loop."""
    return await asyncio.to_thread(do, *args)
