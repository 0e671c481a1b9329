"""Break-glass: one administrator lifts one grant's hours or quota, for an hour at most, at once; another reviews it afterwards.

    opened = open_glass(store, admins, key, grant=grant, lifts=("hours",), reason="turbine trip", minutes=30, now=now_ms, record=write)
    exceptions = Exceptions.read(store, admins, now_ms)         # what the gate looks at; read again whenever the store's epoch changes
    exceptions.lifts(grant, "hours", now_ms)
    review(store, admins, other_key, opened.id, justified=True, note="the trip is in the plant's log", now=now_ms, record=write)

It lifts hours and quota, for there are no other words for it: never a halt, a decision, a revocation, an expiry, a network or a rule. The
alert and the audit record are written before the exception; if they cannot be, nothing is opened. An exception that nobody has reviewed
within `REVIEW_MS` of its end blocks every other one. Both papers are signed, and what the store says beside them counts for nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from assay.access.model import Grant, Halt, Id, Ms, covers
from assay.access.safety.alerts import SEVERITY, Alert, alert_id, keep
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey, PublicKey, digest

if TYPE_CHECKING:
    from assay.access.store.base import Store

KIND = "break-glass"
OPENED = "urn:assay:predicate:access-break-glass:v1"
REVIEWED = "urn:assay:predicate:access-break-glass-review:v1"
MINUTE_MS = 60_000
LONGEST_MS = 60 * MINUTE_MS
REVIEW_MS = 24 * 60 * MINUTE_MS
SKEW_MS = 5_000
Lifted = Literal["hours", "quota"]
Reason = Annotated[str, Meta(min_length=10, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z")]
T = TypeVar("T")
Record = Callable[[dict[str, Any]], None]
"""Writes a record to the audit log and returns when it is on disk, or raises."""


class BreakGlassError(AssayError):
    """It may not be opened or reviewed so: a check that failed."""

    exit_code = 1


class Opened(Struct, frozen=True, forbid_unknown_fields=True):
    """An exception for one grant, in this version of it. Times are Unix milliseconds."""

    id: Annotated[str, Meta(pattern=r"^bg-[0-9a-f]{16}\Z")]
    grant: Id
    version: Annotated[int, Meta(ge=1, le=10**6)]
    lifts: Annotated[tuple[Lifted, ...], Meta(min_length=1, max_length=2)]
    reason: Reason
    by: Id
    at: Ms
    until: Ms


class Review(Struct, frozen=True, forbid_unknown_fields=True):
    """What another administrator found afterwards, on the very paper whose digest this is."""

    id: str
    opened: str
    justified: bool
    note: Reason
    by: Id
    at: Ms


class Glass(Struct, frozen=True):
    """An exception as it stands: opened, and reviewed or not. Of whom it names, `gone` are those whose key is no administrator's now."""

    opened: Opened
    review: Review | None = None
    gone: tuple[str, ...] = ()

    @property
    def nobodys(self) -> bool:
        """Whether no administrator of now has opened it: then it lifts nothing."""
        return self.opened.by in self.gone

    def state(self, now: Ms) -> str:
        """`open` while it lifts, then `unreviewed` or `overdue`, in the end `reviewed`. What is nobody's is to be reviewed at once."""
        if self.review is not None:
            return "reviewed"
        if self.nobodys:
            return "overdue"
        if now < self.opened.until:
            return "open"
        return "overdue" if now > self.opened.until + REVIEW_MS else "unreviewed"


def open_glass(
    store: Store,
    admins: Mapping[str, PublicKey],
    key: PrivateKey,
    *,
    grant: Grant,
    lifts: Sequence[Lifted],
    reason: str,
    minutes: int,
    now: Ms,
    record: Record,
    halts: Sequence[Halt] = (),
) -> Opened:
    """Open an exception for a grant that holds. Raises `BreakGlassError`: the key is no administrator's, the grant is stopped or over, the
    time too long, the reason none, an earlier one unreviewed for too long. Raises `StoreError` if it cannot be recorded: nothing is open.
    """
    by = _name_of(key, admins)
    if not 1 <= minutes <= LONGEST_MS // MINUTE_MS:
        raise BreakGlassError(f"an exception is for 1 to {LONGEST_MS // MINUTE_MS} minutes, not {minutes}")
    if not grant.starts <= now < grant.expires:
        raise BreakGlassError(f"the grant '{grant.id}' does not hold now; no exception makes it")
    for halt in halts:
        if any(covers(halt, grant, p.name) for p in grant.persons):
            raise BreakGlassError(f"halt {halt.id} stops the grant '{grant.id}'; no exception passes a halt")
    glasses = read_all(store, admins)
    for one in glasses.values():
        if one.state(now) == "overdue":
            fix = f"Another administrator reviews it: assay access break-glass review {one.opened.id}"
            raise BreakGlassError(f"{one.opened.id} is not reviewed yet, and should be", fix=fix)
        if one.state(now) == "open" and one.opened.grant == grant.id:
            raise BreakGlassError(f"{one.opened.id} is open for this grant already")
    if len(glasses) >= 10_000:
        raise BreakGlassError("there are 10,000 exceptions; this store has had enough of them")
    value = {
        "id": f"bg-{secrets.token_hex(8)}", "grant": grant.id, "version": grant.version, "lifts": sorted(set(lifts)),
        "reason": reason.strip(), "by": by, "at": now, "until": now + minutes * MINUTE_MS,
    }  # fmt: skip
    opened = _converted(value, Opened)
    what = f"{by} lifted {' and '.join(opened.lifts)} of '{grant.id}' for {minutes} minutes: {opened.reason}"
    alert = Alert(
        alert_id("break-glass", opened.id), "break-glass", SEVERITY["break-glass"], what[:500], now, grant.organisation, grant.id, by,
        (), (digest(_json(opened)),), {"minutes": float(minutes)},
    )  # fmt: skip
    keep(store, [alert])
    record(_told("opened", by, opened.reason, grant, now) | {"until": opened.until})
    store.put_record(KIND, opened.id, {"opened": _signed(OPENED, opened.id, _json(opened), key), "review": None}, 0)
    store.touch()
    return opened


def review(
    store: Store, admins: Mapping[str, PublicKey], key: PrivateKey, glass: str, *, justified: bool, note: str, now: Ms, record: Record
) -> Review:
    """Review an exception that has ended. Raises `BreakGlassError`: no such one, not over, opened by the same, reviewed; `StoreError`."""
    by = _name_of(key, admins)
    version, value = store.records(KIND).get(glass, (0, None))
    if value is None:
        raise BreakGlassError(f"there is no exception '{glass[:40]}'", fix="See them: assay access break-glass list")
    one = _glass(glass, value, admins)
    if one.review is not None:
        raise BreakGlassError(f"{glass} was reviewed already, by {one.review.by}")
    if by == one.opened.by:
        raise BreakGlassError(f"'{by}' has opened {glass}; another administrator reviews it")
    if now < one.opened.until:
        raise BreakGlassError(f"{glass} is open still; it is reviewed when it has ended")
    made = _converted(
        {"id": glass, "opened": digest(_json(one.opened)), "justified": justified, "note": note.strip(), "by": by, "at": now}, Review
    )
    found = f"{glass} {'justified' if justified else 'not justified'}: {made.note}"[:300]
    record({"kind": "break-glass", "at": now, "state": "reviewed", "by": by, "reason": found, "grant": one.opened.grant})
    store.put_record(KIND, glass, {**value, "review": _signed(REVIEWED, glass, _json(made), key)}, version)
    store.touch()
    return made


def _told(state: str, by: str, reason: str, grant: Grant, now: Ms) -> dict[str, Any]:
    return {
        "kind": "break-glass", "at": now, "state": state, "by": by, "reason": reason, "grant": grant.id, "organisation": grant.organisation,
        "model": grant.model,
    }  # fmt: skip


def read_all(store: Store, admins: Mapping[str, PublicKey]) -> dict[str, Glass]:
    """Every exception, checked: a paper that is not what was signed raises `BreakGlassError`, so that none is passed over in silence. One
    by somebody who is no administrator now lifts nothing; reviewed it is closed, and otherwise any administrator reviews it.
    """
    return {name: _glass(name, value, admins) for name, (_, value) in store.records(KIND).items()}


class Exceptions:
    """What is lifted now. Made of papers that hold; one that does not hold lifts nothing."""

    def __init__(self, opened: Sequence[Opened], problems: Sequence[str] = ()) -> None:
        self._by_grant: dict[str, list[Opened]] = {}
        for one in opened:
            self._by_grant.setdefault(one.grant, []).append(one)
        self.problems = tuple(problems)

    @classmethod
    def read(cls, store: Store, admins: Mapping[str, PublicKey], now: Ms) -> Exceptions:
        """What is open at this time. Raises `StoreError`; a paper that does not hold is among the `problems`."""
        opened, problems = [], []
        for name, (_, value) in store.records(KIND).items():
            try:
                one = _glass(name, value, admins)
            except AssayError as e:
                problems.append(e.what)
                continue
            if one.nobodys and one.review is None:
                problems.append(f"the exception '{name[:40]}' was opened by nobody who is an administrator now")
            if one.state(now) == "open" and one.opened.at <= now + SKEW_MS:
                opened.append(one.opened)
        return cls(opened, problems)

    def lifts(self, grant: Grant, what: Lifted, now: Ms) -> str:
        """The id of the exception that lifts it for this very version of the grant; empty: none. A sub-grant has none of its parent's."""
        for one in self._by_grant.get(grant.id, ()):
            if what in one.lifts and one.version == grant.version and one.at - SKEW_MS <= now < one.until:
                return one.id
        return ""


def _name_of(key: PrivateKey, admins: Mapping[str, PublicKey]) -> str:
    name = next((n for n, public in admins.items() if public.keyid == key.public.keyid), "")
    if not name:
        raise BreakGlassError("this key is no administrator's", fix="Use a key that stands under admins in the gate's file.")
    return name


def _glass(name: str, value: Mapping[str, Any], admins: Mapping[str, PublicKey]) -> Glass:
    opened, known = _checked(value.get("opened"), OPENED, Opened, admins, name)
    gone = () if known else (opened.by,)
    if opened.id != name or not 0 < opened.until - opened.at <= LONGEST_MS:
        raise BreakGlassError(f"the exception '{name[:40]}' is not what was signed")
    if value.get("review") is None:
        return Glass(opened, None, gone)
    found, known = _checked(value["review"], REVIEWED, Review, admins, name)
    if found.id != name or found.opened != digest(_json(opened)) or found.by == opened.by or found.at < opened.until:
        raise BreakGlassError(f"the review of '{name[:40]}' is of another exception, too early, or by whom it was opened")
    return Glass(opened, found, gone if known else (*gone, found.by))


def _checked(value: Any, kind: str, form: type[T], admins: Mapping[str, PublicKey], name: str) -> tuple[T, bool]:
    """What was signed, and whether by an administrator of now; raises for one who is not the one that it names."""
    try:
        envelope = Cosigned.from_json(value)
        statement = envelope.statement()
        signers = envelope.signers(admins)
    except AssayError as e:
        raise BreakGlassError(f"the exception '{name[:40]}' does not hold: {e.what}") from None
    found = _converted(statement.get("predicate"), form)
    if statement.get("predicateType") != kind or (signers and getattr(found, "by", "") not in signers):
        raise BreakGlassError(f"the exception '{name[:40]}' is not signed by the administrator whom it names")
    return found, bool(signers)


def _converted(value: Any, form: type[T]) -> T:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as e:
        raise BreakGlassError(f"this is no valid paper: {e}", fix="Give a reason of ten characters or more, in one line.") from None


def _signed(kind: str, name: str, predicate: dict[str, Any], key: PrivateKey) -> dict[str, Any]:
    subject = [{"name": name, "digest": {"sha256": digest(predicate).removeprefix("sha256:")}}]
    return Cosigned.of(subject, kind, predicate).signed(key).to_json()


def _json(value: Struct) -> dict[str, Any]:
    out: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return out
