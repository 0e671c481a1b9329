"""What the door's modules speak of: grants, halts, what is known of a request, and how one is turned away. Pure.

grant.routes, grant.quota
raise Denied("quota", 429, "the grant's requests for today are spent")
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import AssayError
from assay.ledger import digest

Tier = Literal["assessor", "operator", "general"]
"""Who is served under which decision: assessors always, operators under approve and delay, the general public under approve."""
Route = Literal["chat.completions", "responses", "embeddings", "models"]
Sector = Literal["power", "water", "health", "transport", "finance", "telecom", "government", "research", "other"]
AccessLevel = Literal["AL1", "AL2", "AL3"]
"""AL1: outputs only. AL2: with token probabilities. AL3: with everything that the upstream gives (hidden reasoning, internals)."""
Canary = Literal["note", "ids", "style"]
"""A record in the model's instructions; the grant's mark in answers' ids; a choice of dashes, apostrophes and ellipses in long answers."""

Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Plain = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z")]
Thumbprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
"""A key: base64url of the SHA-256 of its JWK (RFC 7638), or of a client certificate (RFC 8705)."""
TargetDigest = Annotated[str, Meta(pattern=r"^(sha256|assayTargetIdentity):[0-9a-f]{64}\Z")]
Ms = Annotated[int, Meta(ge=0, lt=2**53)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Jurisdiction = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
NoId = Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9._-]{0,63})?\Z")]
NoTargetDigest = Annotated[str, Meta(pattern=r"^((sha256|assayTargetIdentity):[0-9a-f]{64})?\Z")]
NoJurisdiction = Annotated[str, Meta(pattern=r"^([A-Z]{2})?\Z")]
# The same, or empty. In a union of a pattern with Literal[""], msgspec holds the empty text to the pattern too.


class DeniedError(AssayError):
    """A request that is turned away: by which `rule`, with which HTTP `status`. `what` is told to the caller and names no secret."""

    def __init__(self, rule: str, status: int, what: str) -> None:
        super().__init__(what)
        self.rule = rule
        self.status = status


class Quota(Struct, frozen=True, forbid_unknown_fields=True):
    """How much may be used in a window: requests, tokens (prompt and answer), and money in millionths of the gate's currency."""

    window: Literal["minute", "hour", "day", "total"]
    requests: Count
    tokens: Count
    money: Count


class Hours(Struct, frozen=True, forbid_unknown_fields=True):
    """When it may be used: days (1 is Monday), from minute to minute of the day, in a time zone of the IANA database. Not over midnight."""

    days: Annotated[tuple[Annotated[int, Meta(ge=1, le=7)], ...], Meta(min_length=1, max_length=7)]
    start: Annotated[int, Meta(ge=0, le=1439)]
    end: Annotated[int, Meta(ge=1, le=1440)]
    zone: Plain = "UTC"


class Person(Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """Somebody who may use a grant, with the key that only their connector has."""

    name: Plain
    key: Thumbprint


class Grant(Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """An operator's permission: who, which model, for what purpose, until when, how much. `parent` is the grant that it narrows, if any.

    `tools` are names of functions that a request may declare (empty: none; `*`: any). `systems` are the systems that may be tested with it,
    as the caller names them. `networks` are CIDR blocks. Times are Unix milliseconds.
    """

    assay: Literal["grant/1"]
    id: Id
    version: Annotated[int, Meta(ge=1, le=10**6)]
    organisation: Plain
    sector: Sector
    jurisdiction: Jurisdiction
    purpose: Plain
    persons: Annotated[tuple[Person, ...], Meta(min_length=1, max_length=200)]
    model: Id
    digest: TargetDigest
    tier: Tier
    level: AccessLevel
    routes: Annotated[tuple[Route, ...], Meta(min_length=1, max_length=4)]
    networks: Annotated[tuple[Annotated[str, Meta(max_length=50)], ...], Meta(min_length=1, max_length=100)]
    quotas: Annotated[tuple[Quota, ...], Meta(min_length=1, max_length=4)]
    starts: Ms
    expires: Ms
    tools: Annotated[tuple[Plain, ...], Meta(max_length=200)] = ()
    systems: Annotated[tuple[Plain, ...], Meta(max_length=200)] = ()
    hours: Annotated[tuple[Hours, ...], Meta(max_length=21)] = ()
    per_person_a_minute: Annotated[int, Meta(ge=1, le=10**6)] = 60
    parent: NoId = ""
    canaries: Annotated[tuple[Canary, ...], Meta(max_length=3)] = ()
    """What the holder agreed to: marks that show where a leaked text came from. A sub-grant has all of its parent's, or more."""

    def to_json(self) -> dict[str, Any]:
        """Every field, defaults included: what is digested and signed."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @property
    def digest_of_terms(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest(self.to_json())


class Scope(Struct, frozen=True, forbid_unknown_fields=True):
    """What a halt is about: whatever fits every attribute that is given. Nothing given: everything."""

    model: NoId = ""
    digest: NoTargetDigest = ""
    grant: NoId = ""
    organisation: Annotated[str, Meta(max_length=300)] = ""
    person: Annotated[str, Meta(max_length=300)] = ""
    sector: Sector | Literal[""] = ""
    jurisdiction: NoJurisdiction = ""
    tier: Tier | Literal[""] = ""


class Halt(Struct, frozen=True, forbid_unknown_fields=True):
    """A halt by an administrator: effective at once, until it is lifted. `spares` are grants that are carved out."""

    id: Id
    scope: Scope
    reason: Plain
    by: Plain
    at: Ms
    spares: Annotated[tuple[Id, ...], Meta(max_length=200)] = ()
    lifted: Ms = 0


class Asked(Struct, frozen=True):
    """What is known of a request before anything is decided. `at` is Unix milliseconds, `system` what the caller says that it tests.

    `network` is the caller's address; `model` the name in the request (for the route `models`, the grant's), `digest` that of what the gate
    serves under it; `logprobs` also for top_logprobs; `reasoning` whether hidden reasoning is asked for. Where model, digest
    or reasoning was not said, the rules deny.
    """

    grant: Grant
    person: Person
    route: Route
    tools: tuple[str, ...]
    stream: bool
    logprobs: bool
    network: str
    system: str
    at: int
    model: str = ""
    digest: str = ""
    reasoning: bool | None = None


def covers(halt: Halt, grant: Grant, person: str) -> bool:
    """Whether a halt that is not lifted stops this person under this grant."""
    scope = halt.scope
    if halt.lifted or grant.id in halt.spares or (grant.parent and grant.parent in halt.spares):
        return False
    facts = {
        "model": grant.model, "digest": grant.digest, "organisation": grant.organisation, "person": person,
        "sector": grant.sector, "jurisdiction": grant.jurisdiction, "tier": grant.tier,
    }  # fmt: skip
    if scope.grant and scope.grant not in (grant.id, grant.parent):
        return False
    return all(not getattr(scope, name) or getattr(scope, name) == value for name, value in facts.items())
