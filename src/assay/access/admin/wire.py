"""What the administration's API takes and gives. Every answer and every body is one of these; the OpenAPI description is made from them.

Orders (a halt, its lift, a revocation) and grants travel as they are signed, so that whoever stores them cannot change them: the JSON of
their DSSE envelopes, as text. Times are Unix milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from assay.access.model import Grant, Id, Ms, Plain, Scope

SignedText = Annotated[str, Meta(min_length=2, max_length=1 << 20)]
RoleName = Literal["admin", "auditor", "viewer"]
GrantState = Literal["pending", "not begun", "active", "expired", "revoked", "refused"]


class Signed(Struct, frozen=True, forbid_unknown_fields=True):
    """Something signed: the JSON text of a signed grant, or of the DSSE envelope of an order."""

    signed: SignedText


class ReleaseSent(Struct, frozen=True, forbid_unknown_fields=True):
    """A release: the text of its file, an in-toto bundle."""

    release: Annotated[str, Meta(min_length=2, max_length=16 << 20)]


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """Why, in words for the log."""

    reason: Plain


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for in the audit log; whatever is given must fit. `since` and `until` bound the time."""

    kind: Annotated[str, Meta(max_length=20)] = ""
    grant: Annotated[str, Meta(max_length=64)] = ""
    person: Annotated[str, Meta(max_length=300)] = ""
    organisation: Annotated[str, Meta(max_length=300)] = ""
    model: Annotated[str, Meta(max_length=64)] = ""
    since: Ms = 0
    until: Annotated[int, Meta(ge=0, lt=2**53)] = 2**53 - 1
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


class Failed(Struct, frozen=True):
    """Why not. `rule` is what denied it."""

    error: str
    rule: str = ""
    fix: str = ""


class Me(Struct, frozen=True):
    """Who has signed this request, as what, and the server's time."""

    name: str
    role: RoleName
    now: int
    approvals: int
    """Administrators that a grant takes."""


class Used(Struct, frozen=True):
    """What of a quota is used, or held by a worker, in the window of now."""

    window: str
    requests: int
    requests_limit: int
    tokens: int
    tokens_limit: int
    money: int
    money_limit: int


class GrantView(Struct, frozen=True):
    """A version of a grant. `why` says what stands against it. `digest` is that of its terms, which a signature covers."""

    grant: Grant
    state: GrantState
    digest: str
    approved_by: tuple[str, ...]
    needs: int
    why: str = ""
    used: tuple[Used, ...] = ()
    revoked_by: str = ""
    revoked_reason: str = ""


class Grants(Struct, frozen=True):
    """All grants: of each the version in force, and a newer one that waits for approval."""

    grants: tuple[GrantView, ...]
    damaged: dict[str, str]


class GrantDetail(Struct, frozen=True):
    """A grant with its signed form, which an administrator looks at and adds a signature to."""

    view: GrantView
    signed: str
    versions: tuple[int, ...]


class HaltView(Struct, frozen=True):
    """A halt. `lifted` is 0 while it holds. `signed_by` is empty where no administrator's signature holds: it counts all the same. `lost`:
    the store has lost it; the gate has seen it, so it counts until it is lifted.
    """

    id: Id
    scope: Scope
    reason: str
    by: str
    at: int
    spares: tuple[str, ...]
    lifted: int
    signed_by: str
    lost: bool = False


class Halts(Struct, frozen=True):
    """All halts, newest first."""

    halts: tuple[HaltView, ...]


class ReleaseView(Struct, frozen=True):
    """What holds of a served model now: `none` where it has no release that holds, and why."""

    model: Id
    digest: str
    verdict: Literal["approve", "delay", "halt", "none"]
    expires: int
    epoch: int
    why: str


class Releases(Struct, frozen=True):
    """Of every served model, what holds."""

    releases: tuple[ReleaseView, ...]


class SessionView(Struct, frozen=True):
    """A request under way. `sent` are bytes of the answer so far. `cut` says that it is to be cut off and by whom."""

    id: str
    worker: str
    model: str
    grant: str
    organisation: str
    person: str
    route: str
    since: int
    tokens: int
    cut: str = ""


class Sessions(Struct, frozen=True):
    """What is under way on all workers, longest first. `at` is when the worker that waits longest said so; 0 if none has."""

    sessions: tuple[SessionView, ...]
    at: int


class FindingView(Struct, frozen=True):
    """A finding as it stands."""

    id: str
    title: str
    state: str
    severity: str
    tlp: str
    organisation: str
    model: str
    at: int
    embargo_until: int
    waits_for_signature: bool
    problem: str = ""


class Findings(Struct, frozen=True):
    """All findings, newest first; of one whose signatures do not hold, only that."""

    findings: tuple[FindingView, ...]


class AlertView(Struct, frozen=True):
    """Something unusual, open or closed by somebody for a reason."""

    id: str
    at: int
    kind: str
    severity: str
    what: str
    grant: str = ""
    person: str = ""
    organisation: str = ""
    state: str = "open"
    closed_by: str = ""
    why: str = ""


class Alerts(Struct, frozen=True):
    """Alerts: open ones first, then the gravest, then the newest; and what is wrong with those that cannot be read."""

    alerts: tuple[AlertView, ...]
    problems: tuple[str, ...] = ()


class GlassView(Struct, frozen=True):
    """An access in an emergency: what was lifted of which grant, by whom and why, and its review, if it has one. `digest` is that of the
    signed paper, which a review names. `problem` says why a paper does not hold.
    """

    id: str
    grant: str
    lifts: tuple[str, ...]
    by: str
    reason: str
    at: int
    until: int
    state: str
    digest: str
    reviewed_by: str = ""
    justified: bool = False
    note: str = ""
    problem: str = ""


class Glasses(Struct, frozen=True):
    """Accesses in an emergency, those that wait for a review first."""

    glasses: tuple[GlassView, ...]


class AuditFound(Struct, frozen=True):
    """Records that fit, newest first; `more` says that there are others. Contents are not among them, only their digests."""

    records: tuple[dict[str, Any], ...]
    more: bool


class ModelConfig(Struct, frozen=True):
    """A served model without its key."""

    digest: str
    upstream: str
    upstream_model: str
    has_key: bool
    longest_answer: int


class ConfigView(Struct, frozen=True):
    """The gate's file without secrets: no keys, no paths of keys, no passwords in addresses."""

    listen: str
    hosts: tuple[str, ...]
    tls: bool
    client_certificates: bool
    workers: int
    lease_s: float
    token_s: int
    currency: str
    store: str
    models: dict[str, ModelConfig]
    admins: dict[str, str]
    auditors: tuple[str, ...]
    viewers: tuple[str, ...]
    approvals: int
    content_auditors: int
    checks: tuple[str, ...]


class Overview(Struct, frozen=True):
    """What the console shows first, in one answer at one epoch."""

    me: Me
    epoch: int
    store_age_ms: int
    problem: str
    grants: tuple[GrantView, ...]
    halts: tuple[HaltView, ...]
    releases: tuple[ReleaseView, ...]
    sessions: Sessions
    alerts: tuple[AlertView, ...]
    glasses: tuple[GlassView, ...]
    findings: tuple[FindingView, ...]


class Done(Struct, frozen=True):
    """The act took effect, at this epoch; its record in the audit log has this number."""

    epoch: int
    record: int
    what: str
