"""Alerts: what is unusual in the audit log, computed off the hot path, kept in the store until somebody closes them.

    watch = Watch()
    for record in records: keep(store, watch.feed(record))      # records of the audit log, in order of time
    listed(store, "open")
    close(store, "network-3f2a9c...", by="ada", why="travelled; asked by telephone", now=now_ms)

An alert's id follows from what it is about, so the same records fed again give the same alerts, and one that was closed stays closed. An
alert holds digests of requests and figures, never content. It stops nobody: a halt or a revocation does.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.access.audit.records import Alert as Noted
from assay.access.audit.records import AnyRecord, Decided, Denied, Ended, shown
from assay.access.model import Ms
from assay.access.safety.habits import Habits, HabitSettings, Request, Unusual, block_of
from assay.access.safety.likeness import Alike, Likeness, LikenessSettings, Prompt
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.access.store.base import Store

MOST_LIVE = 200_000
MOST_TOLD = 100_000
DAY_MS = 86_400_000
KIND = "alert"
FOUND = "found"
"""What the audit log calls an alert that was found in it; those that the gate itself tells of have other names."""
CUT = ("check:", "stopped by the check")
"""How an answer ended that a content check cut."""
Severity = Literal["low", "medium", "high"]
State = Literal["open", "closed"]
AlertKind = Literal["network", "hours", "volume", "tokens", "drift", "denied", "sharing", "grid", "content", "break-glass"]
SEVERITY: dict[AlertKind, Severity] = {
    "network": "medium", "hours": "low", "volume": "high", "tokens": "high", "drift": "medium", "denied": "medium",
    "sharing": "high", "grid": "medium", "content": "medium", "break-glass": "high",
}  # fmt: skip


class AlertError(AssayError):
    """There is no such alert, or it cannot be closed so."""


class Alert(Struct, frozen=True, forbid_unknown_fields=True):
    """An alert: what, who, when (Unix ms), digests of requests that show it, figures; and who closed it, when and why."""

    id: Annotated[str, Meta(pattern=r"^[a-z-]{1,20}-[0-9a-f]{20}\Z")]
    kind: AlertKind
    severity: Severity
    what: Annotated[str, Meta(max_length=500)]
    at: Ms
    organisation: str = ""
    grant: str = ""
    person: str = ""
    others: tuple[str, ...] = ()
    evidence: Annotated[tuple[str, ...], Meta(max_length=40)] = ()
    figures: dict[str, float] = {}
    state: State = "open"
    closed_by: str = ""
    closed_at: Ms = 0
    why: Annotated[str, Meta(max_length=2000)] = ""


def alert_id(kind: AlertKind, *about: str) -> str:
    """The id of the alert about this."""
    return f"{kind}-{hashlib.sha256(chr(0).join((kind, *about)).encode('utf-8', 'replace')).hexdigest()[:20]}"


class WatchSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of what is looked for."""

    habits: HabitSettings = HabitSettings()
    likeness: LikenessSettings = LikenessSettings()


class Watch:
    """Follows the audit log. Memory is bounded; a new one that is fed the log's last weeks knows what the old one did."""

    def __init__(self, settings: WatchSettings | None = None) -> None:
        settings = settings or WatchSettings()
        self._habits = Habits(settings.habits)
        self._likeness = Likeness(settings.likeness)
        self._live: OrderedDict[str, Decided] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    def feed(self, record: AnyRecord) -> list[Alert]:
        """The alerts that a record gives. Kinds that nothing is looked for in give none."""
        found: list[Alert] = []
        match record:
            case Decided():
                self._live[record.id] = record
                if len(self._live) > MOST_LIVE:
                    self._live.popitem(last=False)
                found = [_of_habit(u) for u in self._habits.feed(_request(record))]
            case Denied():
                found = [_of_habit(u) for u in self._habits.feed(_request(record, record.rule or "unknown"))]
                if record.rule.startswith("check:"):
                    found.append(_content(record, f"denied by the content check '{record.rule[6:]}'", "high"))
            case Ended():
                begun = self._live.pop(record.id, None)
                if begun is not None:
                    found = self._ended(record, begun)
            case Noted() if record.alert == "content":
                found = [_content(record, f"flagged by the content check '{record.what}'", "medium")]
            case Noted() if record.alert == "use":
                found = [_use(record)]
            case _:
                return []
        return [alert for alert in found if self._is_new(alert.id)]

    def _ended(self, record: Ended, begun: Decided) -> list[Alert]:
        request = msgspec.structs.replace(_request(begun), at=max(begun.at, record.at))  # in the order in which it is fed
        found = [_of_habit(u) for u in self._habits.tokens(request, record.tokens)]
        found += [_content(begun, f"flagged by the content check '{flag}'", "medium") for flag in record.flags]
        if record.how.startswith(CUT):
            found.append(_content(begun, f"the answer was {record.how}", "high"))
        if record.sketch:
            prompt = Prompt(begun.at, begun.organisation, begun.grant, begun.person, record.sketch, begun.request_digest or begun.id)
            found += [_of_likeness(a, prompt) for a in self._likeness.feed(prompt)]
        return found

    def _is_new(self, alert: str) -> bool:
        if alert in self._told:
            return False
        self._told[alert] = None
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        return True


def _request(record: Decided | Denied, denied: str = "") -> Request:
    digest = record.request_digest or record.id
    return Request(record.at, record.organisation, record.grant, record.person, record.network, digest, denied)


def _of_habit(unusual: Unusual) -> Alert:
    r = unusual.request
    per_grant = unusual.kind in ("volume", "tokens", "drift")
    person = "" if per_grant else r.person
    who = (r.grant, person) if r.grant else (block_of(r.network),)
    return Alert(
        alert_id(unusual.kind, *who, unusual.period), unusual.kind, SEVERITY[unusual.kind], unusual.what[:500], r.at,
        r.organisation, r.grant, person, (), (r.digest,) if r.digest else (), unusual.figures,
    )  # fmt: skip


def _of_likeness(alike: Alike, prompt: Prompt) -> Alert:
    if alike.kind == "sharing":
        what = f"{alike.shared} of {alike.trials} prompts are near-duplicates of what other organisations asked before"
        figures = {"prompts": float(alike.trials), "shared": float(alike.shared), "log_e": round(alike.log_e, 2)}
        found = alert_id("sharing", alike.organisation, str(prompt.at // DAY_MS))
        return Alert(found, "sharing", "high", what, prompt.at, alike.organisation, "", "", alike.others, alike.evidence[:40], figures)
    what = f"one family of {alike.trials} different prompts is asked by {len(alike.persons)} persons"
    severity: Severity = "high" if len(alike.others) > 1 else "medium"
    return Alert(
        alert_id("grid", *alike.persons, str(alike.trials)), "grid", severity, what, prompt.at, alike.organisation, prompt.grant, "",
        (*alike.others, *alike.persons)[:40], alike.evidence[:40], {"prompts": float(alike.trials)},
    )  # fmt: skip


def _content(record: Decided | Denied | Noted, what: str, severity: Severity) -> Alert:
    """One alert of a person, a check's reason and a day."""
    found = alert_id("content", record.grant, record.person, what, str(record.at // DAY_MS))
    shown = record.id if isinstance(record, Noted) else record.request_digest or record.id
    evidence = (shown,) if shown else ()
    return Alert(found, "content", severity, what[:500], record.at, record.organisation, record.grant, record.person, (), evidence)


def _use(record: Noted) -> Alert:
    """One alert of a grant and a day: the model's server reports use that cannot be."""
    found = alert_id("tokens", record.grant, "use", str(record.at // DAY_MS))
    return Alert(found, "tokens", "high", record.what[:500], record.at, record.organisation, record.grant, evidence=(record.id,))


# In the store


def keep(store: Store, alerts: Sequence[Alert]) -> list[Alert]:
    """Write the alerts that the store has not got yet; those. Raises `StoreError`."""
    from assay.access.store.base import ConflictError

    new = []
    for alert in alerts:
        try:
            store.put_record(KIND, alert.id, _json(alert), 0)
        except ConflictError:
            continue
        new.append(alert)
    return new


def listed(store: Store, state: State | None = None, damaged: list[str] | None = None) -> list[Alert]:
    """The alerts of the store, the gravest and newest first. Raises `StoreError`, and `AlertError` for one that is damaged, unless
    `damaged` is given, which gets a line for each.
    """
    alerts = []
    for name, (_, value) in store.records(KIND).items():
        try:
            alerts.append(_alert(name, value))
        except AlertError as e:
            if damaged is None:
                raise
            damaged.append(e.what)
    order = ("high", "medium", "low")
    chosen = [a for a in alerts if state is None or a.state == state]
    return sorted(chosen, key=lambda a: (a.state != "open", order.index(a.severity), -a.at, a.id))


def close(store: Store, alert: str, by: str, why: str, now: Ms) -> Alert:
    """Close an alert, by whom and why. Raises `AlertError` if there is none, it is closed, or nothing says why; `StoreError`."""
    if not by.strip() or len(why.strip()) < 3:
        raise AlertError("an alert is closed by somebody, for a reason in words", fix="Say why: --why TEXT")
    version, value = store.records(KIND).get(alert, (0, None))
    if value is None:
        raise AlertError(f"there is no alert '{alert[:60]}'", fix="See them: assay access alerts list")
    old = _alert(alert, value)
    if old.state == "closed":
        raise AlertError(f"'{alert}' was closed already, by {old.closed_by}")
    closed = msgspec.structs.replace(old, state="closed", closed_by=by, closed_at=now, why=why.strip()[:2000])
    store.put_record(KIND, alert, _json(closed), version)
    return closed


def noted(alert: Alert, now: Ms) -> dict[str, Any]:
    """The record of the audit log that says that this was found. No `Watch` takes it for something to look into."""
    return {
        "kind": "alert", "at": now, "alert": FOUND, "what": shown(f"{alert.kind}: {alert.what}"), "severity": alert.severity,
        "grant": alert.grant, "person": shown(alert.person), "organisation": shown(alert.organisation), "id": alert.id,
    }  # fmt: skip


def _alert(name: str, value: Any) -> Alert:
    try:
        alert = msgspec.convert(value, Alert)
    except msgspec.ValidationError as e:
        raise AlertError(f"the alert '{name[:60]}' is damaged: {e}") from None
    if alert.id != name:
        raise AlertError(f"the alert '{name[:60]}' is damaged: it says another id")
    return alert


def _json(alert: Alert) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(alert))
    return value
