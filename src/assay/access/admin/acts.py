"""What administrators do, one function each: checked, recorded on disk, and only then done.

    acts = Acts(config, store, log)
    await acts.overview(call)
    await acts.halt(call)              # Done(epoch, record, what), or DeniedError / AssayError and nothing was done

Whatever opens access is signed by the administrator's own key, in the form in which it is kept; the API carries it and cannot change it.
A request's signer must be who signed what it carries.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from assay.access.admin import wire
from assay.access.admin.looks import Call, Looks, NotFoundError, RefusedError, Search, in_thread
from assay.access.audit.records import Did, control
from assay.access.config import Config
from assay.access.gate.sessions import ask_cut, under_way
from assay.access.grants.grant import open_all, parse_grant, problems
from assay.access.grants.orders import HALT, REVOCATION, Revoked, halt_digest, open_halts, open_lift, signer_of_halt, signer_of_revocation
from assay.access.grants.remembered import put_lift
from assay.access.model import DeniedError, Halt
from assay.access.safety import alerts, breakglass
from assay.access.store.base import Store
from assay.ledger import Cosigned

T = TypeVar("T")
CLOCK_SLACK_MS = 5 * 60_000


class Log(Protocol):
    """The audit log, as far as acts need it (`AuditLog` is one)."""

    def write(self, record: dict[str, Any]) -> Any:
        """Awaitable: the record's number once it is on disk."""
        ...


class Acts(Looks):
    """All acts, over one store and one log, and all that is looked at. `clock` gives Unix milliseconds."""

    def __init__(
        self, config: Config, store: Store, log: Log, search: Search, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        super().__init__(config, store, search, clock)
        self.log = log
        self._admins = config.admins.public()

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
        known = (await in_thread(self.store.snapshot)).versions.get(grant.id, ())
        same = any(v.grant.version == grant.version for v in known)
        did: Did = "approve" if same else "grant"
        what = f"version {grant.version}"
        return await self._done(call, did, grant.id, what, grant.digest_of_terms, lambda: self.store.put_grant(signed))

    async def approve(self, call: Call) -> wire.Done:
        """The caller's signature on a grant that is there already: the very same terms."""
        signed = parse_grant(call.body.signed.encode())
        snapshot = await in_thread(self.store.snapshot)
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
        snapshot = await in_thread(self.store.snapshot)
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
        if revoked.id not in (await in_thread(self.store.snapshot)).versions:
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
        if halt.id in (await in_thread(self.store.snapshot)).halts:
            raise RefusedError(f"there was a halt '{halt.id}' already", fix="Give it another id.")
        return await self._done(call, "halt", halt.id, halt.reason, halt_digest(halt), lambda: self.store.put_halt(halt, data))

    async def lift(self, call: Call) -> wire.Done:
        """End a halt; one that the store has lost is put back first."""
        data = call.body.signed.encode()
        stored = await in_thread(self.store.snapshot)
        halts = {h.id: h for h in open_halts(await in_thread(self.recalled, stored), self._admins)}
        halt = halts.get(call.ids["id"])
        if halt is None:
            raise NotFoundError(f"there is no halt '{call.ids['id']}'")
        if halt.lifted:
            raise RefusedError(f"the halt '{halt.id}' is lifted already")
        lift = open_lift(data, halt, {n: k for n, k in self._admins.items() if n == call.name})
        self._check_order(call, lift.by, lift.at, call.name)
        return await self._done(
            call, "lift", halt.id, halt.reason, halt_digest(halt), lambda: put_lift(self.store, stored, halt, lift, data)
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
        snapshot = await in_thread(self.store.snapshot)
        roles, seen = await in_thread(self.roles, snapshot, now)
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
        told = await in_thread(under_way, self.store, now)
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
        known = await in_thread(self.store.records, alerts.KIND)
        if alert not in known:
            raise NotFoundError(f"there is no alert '{alert[:60]}'")
        return await self._done(
            call, "alert", alert, f"closed: {why}", "", lambda: alerts.close(self.store, alert, call.name, why, self.clock())
        )  # fmt: skip

    async def review(self, call: Call) -> wire.Done:
        """Keep a signed review of an access in an emergency; who opened it does not review it."""
        glass = call.ids["id"]
        version, value = (await in_thread(self.store.records, breakglass.KIND)).get(glass, (0, {}))
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
        if found is None or found.by in one.gone:
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

    async def _done(self, call: Call, did: Did, subject: str, what: str, digest: str, do: Callable[[], object]) -> wire.Done:
        """On disk first, then done."""
        number = await self.log.write(control(self.clock(), did, subject, [call.name], what, digest))
        await in_thread(do)
        return wire.Done(await in_thread(self.store.epoch), number, f"{did} {subject}")


def _read_order(data: bytes, kind: str, form: type[T]) -> T:
    """What an order says, its signature not yet checked. Raises `AssayError`."""
    try:
        statement = Cosigned.from_json(msgspec.json.decode(data)).statement()
        if statement.get("predicateType") != kind:
            raise RefusedError("what was signed is another thing")
        return msgspec.convert(statement.get("predicate"), form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RefusedError(f"this is no signed order: {e}") from None
