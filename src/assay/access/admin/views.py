"""What administrators are shown of the store: grants with states, halts, what may be served, sessions, alerts, findings.

    grant_views(config, snapshot, now)
    release_views(config, snapshot, roles, seen, now)

Functions of a snapshot: nothing is changed, and nothing is believed that is not signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from assay.access.admin.wire import (
    Alerts,
    AlertView,
    ConfigView,
    FindingView,
    GlassView,
    GrantState,
    GrantView,
    HaltView,
    ModelConfig,
    ReleaseView,
    Sessions,
    SessionView,
    Used,
)
from assay.access.config import Config
from assay.access.gate.sessions import cuts, under_way
from assay.access.grants.grant import SignedGrant, open_all
from assay.access.grants.orders import open_halts, signer_of_halt
from assay.access.grants.quota import WINDOWS_MS
from assay.access.model import Grant
from assay.access.safety import breakglass
from assay.access.safety.alerts import listed
from assay.access.store.base import Amounts, LeaseKey, Snapshot, Store
from assay.errors import AssayError
from assay.evidence.release import parse_release
from assay.evidence.releasecheck import check_release
from assay.evidence.roles import Roles
from assay.evidence.seen import Seen
from assay.ledger import Cosigned, PublicKey, digest

MOST_ALERTS = 200
Records = Mapping[str, tuple[int, Mapping[str, Any]]]


def grant_views(
    config: Config, snapshot: Snapshot, now: int, store: Store | None = None, stored: Snapshot | None = None
) -> tuple[GrantView, ...]:
    """Of every grant the version in force, and a newer one that is not. With the store, what of the quotas is used; with `stored`, where
    the snapshot is as the gate takes it, also what the gate takes for rolled back.
    """
    opened, refused = open_all(snapshot, config.admins, now)
    used = _used(store, opened.values(), now) if store else {}
    out = []
    for grant_id, versions in (stored or snapshot).versions.items():
        newest = versions[0]
        known = opened.get(grant_id)
        if known is not None and known.version != newest.grant.version:
            in_force = next(v for v in versions if v.grant.version == known.version)
            out.append(_grant_view(config, snapshot, in_force, "active" if known.starts <= now else "not begun", "", used))
        state, why = _state(config, snapshot, newest, known, refused.get(grant_id, ""), now)
        out.append(_grant_view(config, snapshot, newest, state, why, used if state == "active" else {}))
    return tuple(out)


def _state(config: Config, snapshot: Snapshot, signed: SignedGrant, known: Grant | None, why: str, now: int) -> tuple[GrantState, str]:
    grant = signed.grant
    if grant.id in snapshot.revoked:
        return "revoked", snapshot.revoked[grant.id].reason
    if known is not None and known.version == grant.version:
        return ("active", "") if grant.starts <= now else ("not begun", "")
    if now >= grant.expires:
        return "expired", ""
    if not grant.parent and len(_signers(config, signed)) < config.admins.threshold:
        return "pending", ""
    return "refused", why


def _grant_view(
    config: Config, snapshot: Snapshot, signed: SignedGrant, state: GrantState, why: str, used: Mapping[str, tuple[Used, ...]]
) -> GrantView:
    grant = signed.grant
    revoked = snapshot.revoked.get(grant.id)
    return GrantView(
        grant, state, _terms(grant), tuple(_signers(config, signed)), 0 if grant.parent else config.admins.threshold, why,
        used.get(grant.id, ()), revoked.by if revoked else "", revoked.reason if revoked else "",
    )  # fmt: skip


def _signers(config: Config, signed: SignedGrant) -> list[str]:
    return _who(signed.envelope, tuple(config.admins.public().items()))


@lru_cache(8192)
def _terms(grant: Grant) -> str:
    return grant.digest_of_terms


@lru_cache(8192)
def _who(envelope: Cosigned, admins: tuple[tuple[str, PublicKey], ...]) -> list[str]:
    try:
        return envelope.signers(dict(admins))
    except AssayError:
        return []


def _used(store: Store, grants: Iterable[Grant], now: int) -> dict[str, tuple[Used, ...]]:
    """Of every grant's quotas, what is used in the windows of now; asked of the store in one go."""
    asked = []
    for grant in grants:
        for quota in grant.quotas:
            length = WINDOWS_MS[quota.window]
            limit = Amounts(quota.requests, quota.tokens, quota.money)
            asked.append((quota, LeaseKey(grant.id, "", quota.window, now - now % length if length else 0, limit)))
    out: dict[str, tuple[Used, ...]] = {}
    for (q, key), u in zip(asked, store.used([key for _, key in asked]), strict=True):
        used = Used(q.window, u.requests, q.requests, u.tokens, q.tokens, u.money, q.money)
        out[key.grant] = (*out.get(key.grant, ()), used)
    return out


def halt_views(config: Config, snapshot: Snapshot, stored: Snapshot | None = None) -> tuple[HaltView, ...]:
    """All halts, newest first; those that hold before those that were lifted. Those that are not `stored` are lost."""
    admins = config.admins.public()
    out = [
        HaltView(
            h.id, h.scope, h.reason, h.by, h.at, h.spares, h.lifted,
            signer_of_halt(snapshot.orders.get(h.id, b""), snapshot.halts[h.id], admins), h.id not in (stored or snapshot).halts,
        )
        for h in open_halts(snapshot, admins)
    ]  # fmt: skip
    return tuple(sorted(out, key=lambda v: (bool(v.lifted), -v.at)))


def release_views(config: Config, snapshot: Snapshot, roles: Roles | None, seen: Seen, now: int) -> tuple[ReleaseView, ...]:
    """Of every served model, what holds. Without roles nothing does."""
    out = []
    for name, served in config.models.items():
        data = snapshot.releases.get(served.digest)
        verdict, expires, epoch, why = "none", 0, 0, "no release" if roles else "no roles that hold"
        if data and roles is not None:
            try:
                release = parse_release(data)
                found = check_release(release, roles, now, target=served.digest, seen=seen)
                expires, epoch = min(release.terms.expires, roles.expires_ms), release.terms.epoch
                verdict, why = (found.verdict, "") if found.ok else ("none", str(found.findings[0].what))
            except AssayError as e:
                why = e.what
        out.append(ReleaseView(name, served.digest, verdict, expires, epoch, why))  # type: ignore[arg-type]
    return tuple(out)


def session_views(store: Store, now: int) -> Sessions:
    """What is under way, longest first."""
    told, cut = under_way(store, now), cuts(store, now)
    views = [
        SessionView(
            s.id, worker, s.model, s.grant, s.organisation, s.person, s.route, s.since, s.tokens, cut[s.id].by if s.id in cut else ""
        )
        for worker, t in told.items()
        for s in t.live
    ]
    return Sessions(tuple(sorted(views, key=lambda v: v.since)), min((t.at for t in told.values()), default=0))


def alert_views(store: Store) -> Alerts:
    """Alerts, open ones first; one that is damaged is passed over, and told."""
    damaged: list[str] = []
    views = tuple(
        AlertView(a.id, a.at, a.kind, a.severity, a.what, a.grant, a.person, a.organisation, a.state, a.closed_by, a.why)
        for a in listed(store, damaged=damaged)[:MOST_ALERTS]
    )
    return Alerts(views, tuple(damaged))


def glass_views(config: Config, store: Store, now: int) -> tuple[GlassView, ...]:
    """Accesses in an emergency: those that wait for a review first, then the newest. Of a paper that does not hold, only that."""
    admins, out = config.admins.public(), []
    for glass_id, (_, value) in store.records(breakglass.KIND).items():
        try:
            one = breakglass._glass(glass_id, value, admins)
        except AssayError as e:
            out.append(GlassView(glass_id, "", (), "", "", 0, 0, "damaged", "", problem=e.what))
            continue
        o, r = one.opened, one.review
        paper = digest(msgspec.json.decode(msgspec.json.encode(o)))
        words = (r.by, r.justified, r.note) if r else ()
        out.append(GlassView(o.id, o.grant, o.lifts, o.by, o.reason, o.at, o.until, one.state(now), paper, *words))
    return tuple(sorted(out, key=lambda v: (v.state == "reviewed", -v.at)))


def finding_views(config: Config, records: Records) -> tuple[FindingView, ...]:
    """All findings, newest first."""
    from assay.access.findings.steps import open_record

    admins = config.admins.public()
    out = []
    for finding_id, (_, value) in records.items():
        try:
            found = open_record(value, admins, config.admins.threshold)
        except AssayError as e:
            out.append(FindingView(finding_id, "", "", "", "", "", "", 0, 0, False, e.what))
            continue
        report = found.report
        out.append(
            FindingView(
                report.id, report.title, found.state, found.severity, found.tlp, report.organisation, report.model, report.at,
                found.embargo_until, found.pending is not None,
            )
        )  # fmt: skip
    return tuple(sorted(out, key=lambda v: -v.at))


def config_view(config: Config) -> ConfigView:
    """The gate's file without secrets."""
    models = {
        name: ModelConfig(m.digest, m.upstream, m.upstream_model, bool(m.key_variable), m.longest_answer)
        for name, m in config.models.items()
    }
    return ConfigView(
        config.listen, config.hosts, config.tls is not None, bool(config.tls and config.tls.client_ca), config.workers, config.lease_s,
        config.token_s, config.currency, _without_secrets(config.store), models,
        {name: key.keyid for name, key in config.admins.public().items()}, tuple(config.administration.auditors),
        tuple(config.administration.viewers), config.admins.threshold, len(config.audit.auditors), config.checks,
    )  # fmt: skip


def _without_secrets(address: str) -> str:
    """A store's address, without user, password and parameters."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
        return urlunsplit((parts.scheme, f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}", parts.path, "", ""))
    except ValueError:
        return address.partition("://")[0] + "://"
