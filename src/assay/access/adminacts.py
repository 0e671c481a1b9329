"""What administrators do, one function each: checked, recorded on disk, and only then done.

    acts = Acts(config, store, log)
    await acts.overview(call)
    await acts.halt(call)              # Done(epoch, record, what), or DeniedError / AssayError and nothing was done

Whatever opens access is signed by the administrator's own key, in the form in which it is kept; the API carries it and cannot change it.
A request's signer must be who signed what it carries.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from assay.access import adminviews as views
from assay.access import adminwire as wire
from assay.access import alerts, breakglass, findings
from assay.access.config import Config
from assay.access.grants import open_all, parse_grant, problems
from assay.access.model import DeniedError, Halt
from assay.access.orders import HALT, REVOCATION, Revoked, halt_digest, open_halts, open_lift, signer_of_halt, signer_of_revocation
from assay.access.sessions import ask_cut, under_way
from assay.access.store import Snapshot, Store
from assay.errors import AssayError
from assay.evidence.seen import Seen, SeenRelease, follow, read_seen
from assay.ledger import Cosigned

if TYPE_CHECKING:
    from assay.evidence.roles import Roles

T = TypeVar("T")
CLOCK_SLACK_MS = 5 * 60_000


class RefusedError(AssayError):
    """What is asked for cannot be done: it does not hold, or is not signed as it must be."""


class NotFoundError(AssayError):
    """There is no such thing."""


class Log(Protocol):
    """The audit log, as far as acts need it (`AuditLog` is one)."""

    def write(self, record: dict[str, Any]) -> Any:
        """Awaitable: the record's number once it is on disk."""
        ...


class Call(Struct, frozen=True):
    """A request whose signature holds: by whom, in which role, and what came with it."""

    name: str
    role: wire.RoleName
    ids: dict[str, str] = {}
    query: Any = None
    body: Any = None


Search = Callable[[wire.AuditQuery], wire.AuditFound]


class Acts:
    """All acts, over one store and one log. `search` looks in the audit log; `clock` gives Unix milliseconds."""

    def __init__(
        self, config: Config, store: Store, log: Log, search: Search, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.config, self.store, self.log, self.clock = config, store, log, clock
        self._search = search
        self._admins = config.admins.public()

    # Looking

    async def me(self, call: Call) -> wire.Me:
        """Who asks."""
        return wire.Me(call.name, call.role, self.clock(), self.config.admins.threshold)

    async def overview(self, call: Call) -> wire.Overview:
        """Everything that the console shows first."""
        return await _thread(self._overview, await self.me(call))

    def _overview(self, me: wire.Me) -> wire.Overview:
        now, snapshot, problem = self.clock(), self.store.snapshot(), ""
        roles, seen = None, Seen()
        try:
            roles, seen = self._roles(snapshot, now)
        except AssayError as e:
            problem = f"no roles that hold: {e.what}"
        return wire.Overview(
            me, snapshot.epoch, self.clock() - now, problem, views.grant_views(self.config, snapshot, now, self.store),
            views.halt_views(self.config, snapshot), views.release_views(self.config, snapshot, roles, seen, now),
            views.session_views(self.store, now), views.alert_views(self.store),
            views.glass_views(self.config, self.store, now), views.finding_views(self.config, self.store.records(findings.KIND)),
        )  # fmt: skip

    async def grants(self, call: Call) -> wire.Grants:
        """All grants."""
        snapshot = await _thread(self.store.snapshot)
        return wire.Grants(await _thread(views.grant_views, self.config, snapshot, self.clock(), self.store), snapshot.damaged)

    async def grant(self, call: Call) -> wire.GrantDetail:
        """One grant, its newest version, with what was signed."""
        snapshot = await _thread(self.store.snapshot)
        versions = snapshot.versions.get(call.ids["id"])
        if not versions:
            raise NotFoundError(f"there is no grant '{call.ids['id']}'")
        all_views = await _thread(views.grant_views, self.config, snapshot, self.clock(), self.store)
        view = next(v for v in all_views if v.grant.id == call.ids["id"] and v.grant.version == versions[0].grant.version)
        return wire.GrantDetail(view, versions[0].encoded().decode(), tuple(v.grant.version for v in versions))

    async def halts(self, call: Call) -> wire.Halts:
        """All halts."""
        return wire.Halts(views.halt_views(self.config, await _thread(self.store.snapshot)))

    async def releases(self, call: Call) -> wire.Releases:
        """What holds of every served model."""
        return wire.Releases((await self.overview(call)).releases)

    def release_ends(self) -> tuple[dict[str, int], int]:
        """Until when each served model's release holds, of those that have one, and the epoch. Raises `AssayError`."""
        now, snapshot = self.clock(), self.store.snapshot()
        roles, seen = self._roles(snapshot, now)
        found = views.release_views(self.config, snapshot, roles, seen, now)
        return {v.model: v.expires for v in found if v.verdict != "none"}, snapshot.epoch

    async def sessions(self, call: Call) -> wire.Sessions:
        """What is under way."""
        return await _thread(views.session_views, self.store, self.clock())

    async def findings(self, call: Call) -> wire.Findings:
        """All findings."""
        return wire.Findings(views.finding_views(self.config, await _thread(self.store.records, findings.KIND)))

    async def alerts(self, call: Call) -> wire.Alerts:
        """Alerts."""
        return wire.Alerts(await _thread(views.alert_views, self.store))

    async def glasses(self, call: Call) -> wire.Glasses:
        """Accesses in an emergency."""
        return wire.Glasses(await _thread(views.glass_views, self.config, self.store, self.clock()))

    async def audit(self, call: Call) -> wire.AuditFound:
        """Records of the audit log."""
        return await _thread(self._search, call.query)

    async def configuration(self, call: Call) -> wire.ConfigView:
        """The gate's file, without secrets."""
        return views.config_view(self.config)

    # Grants

    async def put_grant(self, call: Call) -> wire.Done:
        """A grant that the caller has signed: proposed by the first administrator, approved by others with the same call."""
        signed = parse_grant(call.body.signed.encode())
        grant = signed.grant
        if grant.parent:
            raise RefusedError("a sub-grant is signed by its parent's holder", fix="Send it to /access/sub-grants.")
        self._check_terms(grant)
        signers = signed.signers(self._admins)
        if call.name not in signers:
            raise DeniedError("signature", 403, f"'{call.name}' sends this grant and has not signed it")
        foreign = {keyid for keyid, _ in signed.envelope.signatures} - {k.keyid for k in self._admins.values()}
        if foreign:
            raise RefusedError(f"signed with a key that is no administrator's: {min(foreign)[:16]}...")
        known = (await _thread(self.store.snapshot)).versions.get(grant.id, ())
        same = any(v.grant.version == grant.version for v in known)
        did = "approve" if same else "grant"
        what = f"version {grant.version}"
        return await self._done(call, did, grant.id, what, grant.digest_of_terms, lambda: self.store.put_grant(signed))

    async def approve(self, call: Call) -> wire.Done:
        """The caller's signature on a grant that is there already: the very same terms."""
        signed = parse_grant(call.body.signed.encode())
        snapshot = await _thread(self.store.snapshot)
        known = snapshot.versions.get(call.ids["id"])
        if not known:
            raise NotFoundError(f"there is no grant '{call.ids['id']}'")
        if signed.grant.id != call.ids["id"] or signed.envelope.payload != known[0].envelope.payload:
            raise RefusedError("what you signed is not the newest version of this grant: look at it again")
        return await self.put_grant(call)

    async def put_sub_grant(self, call: Call) -> wire.Done:
        """A sub-grant that a holder of its parent has signed, for a contractor: only narrower, and dies with its parent."""
        signed = parse_grant(call.body.signed.encode())
        grant, now = signed.grant, self.clock()
        if not grant.parent:
            raise RefusedError("this is no sub-grant", fix="Send it to /access/grants.")
        self._check_terms(grant)
        snapshot = await _thread(self.store.snapshot)
        others = {i: v for i, v in snapshot.versions.items() if i != grant.id}
        trial = msgspec.structs.replace(snapshot, versions={**others, grant.id: (signed,)})
        _, refused = open_all(trial, self.config.admins, now)
        if grant.id in refused:
            raise RefusedError(refused[grant.id], where=grant.id)
        what = f"version {grant.version}, sub-grant of {grant.parent}"
        return await self._done(call, "grant", grant.id, what, grant.digest_of_terms, lambda: self.store.put_grant(signed))

    async def revoke(self, call: Call) -> wire.Done:
        """End a grant for ever."""
        data = call.body.signed.encode()
        revoked = _read_order(data, REVOCATION, Revoked)
        self._check_order(call, revoked.by, revoked.at, signer_of_revocation(data, revoked, self._admins))
        if revoked.id != call.ids["id"]:
            raise RefusedError("what you signed revokes another grant")
        if revoked.id not in (await _thread(self.store.snapshot)).versions:
            raise NotFoundError(f"there is no grant '{revoked.id}'")
        return await self._done(
            call, "revoke", revoked.id, revoked.reason, "",
            lambda: self.store.revoke(revoked.id, revoked.by, revoked.reason, revoked.at, data),
        )  # fmt: skip

    # Halts

    async def halt(self, call: Call) -> wire.Done:
        """Halt at once whatever fits the scope."""
        data = call.body.signed.encode()
        halt = _read_order(data, HALT, Halt)
        self._check_order(call, halt.by, halt.at, signer_of_halt(data, halt, self._admins))
        if halt.lifted:
            raise RefusedError("a halt does not begin lifted")
        if halt.id in (await _thread(self.store.snapshot)).halts:
            raise RefusedError(f"there was a halt '{halt.id}' already", fix="Give it another id.")
        return await self._done(call, "halt", halt.id, halt.reason, halt_digest(halt), lambda: self.store.put_halt(halt, data))

    async def lift(self, call: Call) -> wire.Done:
        """End a halt."""
        data = call.body.signed.encode()
        halts = {h.id: h for h in open_halts(await _thread(self.store.snapshot), self._admins)}
        halt = halts.get(call.ids["id"])
        if halt is None:
            raise NotFoundError(f"there is no halt '{call.ids['id']}'")
        if halt.lifted:
            raise RefusedError(f"the halt '{halt.id}' is lifted already")
        lift = open_lift(data, halt, {n: k for n, k in self._admins.items() if n == call.name})
        self._check_order(call, lift.by, lift.at, call.name)
        return await self._done(
            call, "lift", halt.id, halt.reason, halt_digest(halt), lambda: self.store.lift(halt.id, lift.by, lift.at, data)
        )  # fmt: skip

    # Releases

    async def add_release(self, call: Call) -> wire.Done:
        """Keep a release that holds, of a model that is served. One that is stale, expired or not signed by enough is refused."""
        from assay.evidence.release import parse_release
        from assay.evidence.releasecheck import check_release

        data, now = call.body.release.encode(), self.clock()
        release = parse_release(data)
        served = [name for name, m in self.config.models.items() if m.digest == release.target]
        if not served:
            raise RefusedError(f"no served model has the digest {release.target}")
        snapshot = await _thread(self.store.snapshot)
        roles, seen = await _thread(self._roles, snapshot, now)
        found = check_release(release, roles, now, target=release.target, seen=seen)
        if not found.ok:
            raise RefusedError("; ".join(f"{f.check}: {f.what}" for f in found.findings[:5]))
        what = f"{found.verdict} for {', '.join(served)}, epoch {release.terms.epoch}"
        digest = f"sha256:{hashlib.sha256(release.decision.payload).hexdigest()}"
        return await self._done(call, "release", release.target, what, digest, lambda: self.store.put_release(release.target, data))

    # Sessions, reviews

    async def cut(self, call: Call) -> wire.Done:
        """Cut a request that is under way."""
        session, now = call.ids["id"], self.clock()
        told = await _thread(under_way, self.store, now)
        live = next((s for t in told.values() for s in t.live if s.id == session), None)
        if live is None:
            raise NotFoundError("this is not under way any more")
        what = f"cut {live.model} of {live.grant}: {call.body.reason}"
        return await self._done(
            call, "cut", session, what, "", lambda: ask_cut(self.store, session, by=call.name, reason=call.body.reason, now=now)
        )  # fmt: skip

    async def close_alert(self, call: Call) -> wire.Done:
        """Close an alert, and say why."""
        alert, why = call.ids["id"], call.body.reason
        known = await _thread(self.store.records, alerts.KIND)
        if alert not in known:
            raise NotFoundError(f"there is no alert '{alert[:60]}'")
        return await self._done(
            call, "alert", alert, f"closed: {why}", "", lambda: alerts.close(self.store, alert, call.name, why, self.clock())
        )  # fmt: skip

    async def review(self, call: Call) -> wire.Done:
        """Keep a signed review of an access in an emergency; who opened it does not review it."""
        glass = call.ids["id"]
        version, value = (await _thread(self.store.records, breakglass.KIND)).get(glass, (0, {}))
        if not version:
            raise NotFoundError(f"there is no exception '{glass[:40]}'")
        if value.get("review") is not None:
            raise RefusedError("it was reviewed already")
        try:
            made = {**value, "review": msgspec.json.decode(call.body.signed.encode())}
        except (msgspec.MsgspecError, RecursionError):
            raise RefusedError("this is no signed review") from None
        one = breakglass._glass(glass, made, self._admins)
        found = one.review
        if found is None:
            raise RefusedError("this is no signed review")
        self._check_order(call, found.by, found.at, found.by)
        what = f"{'justified' if found.justified else 'not justified'}: {found.note}"

        paper = {"state": "reviewed", "by": found.by, "reason": f"{glass} {what}"[:300], "grant": one.opened.grant}
        await self.log.write({"kind": "break-glass", "at": self.clock(), **paper})

        def keep() -> None:
            self.store.put_record(breakglass.KIND, glass, made, version)
            self.store.touch()

        return await self._done(call, "review", glass, what, found.opened, keep)

    # What they share

    def _check_terms(self, grant: Any) -> None:
        found = problems(grant)
        if found:
            raise RefusedError("; ".join(found), where=f"grant '{grant.id}'")
        served = self.config.models.get(grant.model)
        if served is None or served.digest != grant.digest:
            raise RefusedError(f"no model '{grant.model}' with the digest {grant.digest} is served", where=f"grant '{grant.id}'")

    def _check_order(self, call: Call, by: str, at: int, signer: str) -> None:
        if call.name not in signer.split(", ") or by != call.name:
            raise DeniedError("signature", 403, f"'{call.name}' sends this order and has not signed it in that name")
        if abs(self.clock() - at) > CLOCK_SLACK_MS:
            raise RefusedError("the order's time is not now: look at both clocks")

    def _roles(self, snapshot: Snapshot, now: int) -> tuple[Roles, Seen]:
        authority = self.config.authority
        seen = read_seen(self.config.path(authority.state))
        try:
            signed = msgspec.json.decode(snapshot.roles or self.config.path(authority.roles).read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise RefusedError(f"the roles cannot be read: {e}") from None
        roles = follow(seen, signed, authority.owners, now_ms=now)
        held = seen.followed(roles, signed)
        return roles, _with_kept(held, roles, snapshot)

    async def _done(self, call: Call, did: str, subject: str, what: str, digest: str, do: Callable[[], object]) -> wire.Done:
        """On disk first, then done."""
        record = {
            "kind": "control", "at": self.clock(), "did": did, "subject": subject, "by": [call.name], "what": what[:300], "digest": digest,
        }  # fmt: skip
        number = await self.log.write(record)
        await _thread(do)
        return wire.Done(await _thread(self.store.epoch), number, f"{did} {subject}")


def _with_kept(seen: Seen, roles: Roles, snapshot: Snapshot) -> Seen:
    """What was seen, and besides it what the store keeps: an older release than that one is stale."""
    from assay.evidence.release import parse_release

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


def _read_order(data: bytes, kind: str, form: type[T]) -> T:
    """What an order says, its signature not yet checked. Raises `AssayError`."""
    try:
        statement = Cosigned.from_json(msgspec.json.decode(data)).statement()
        if statement.get("predicateType") != kind:
            raise RefusedError("what was signed is another thing")
        return msgspec.convert(statement.get("predicate"), form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RefusedError(f"this is no signed order: {e}") from None


async def _thread(do: Callable[..., T], *args: Any) -> T:
    return await asyncio.to_thread(do, *args)
