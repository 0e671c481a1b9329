"""Findings: weaknesses that operators found with a model, in their own systems or in the model itself, from report to disclosure.

    record = new_record(report, key)                                       # the reporter signs
    record = with_step(record, Step(..., to="triaged"), {"ada": key})       # an administrator signs; each step names the one before
    finding = open_record(record, admins, threshold)                        # every signature checked
    finding.state, finding.embargo_until, visible(finding, viewer, now_ms)

A record is a chain of DSSE envelopes: the report, and steps that each hold the digest of what came before. Ending an embargo early takes as
many administrators as approve a grant, two at least. Descriptions are in general words: nothing here says how to do harm.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.access.grants.grant import thumbprint
from assay.access.model import Grant, Id, Ms, Plain, TargetDigest, Thumbprint
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey

KIND = "finding"
REPORT = "urn:assay:predicate:finding:v1"
STEP = "urn:assay:predicate:finding-step:v1"
FORMAT = "finding-record/1"
MAX_STEPS = 500
LONGEST_RUN = 60
LEAST_SIGNERS = 2

State = Literal["reported", "triaged", "confirmed", "fixed", "disclosed", "rejected", "withdrawn"]
Tlp = Literal["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"]
"""FIRST's traffic-light protocol, version 2.0."""
MOVES: dict[State, frozenset[State]] = {
    "reported": frozenset({"triaged", "rejected", "withdrawn"}),
    "triaged": frozenset({"confirmed", "rejected", "withdrawn"}),
    "confirmed": frozenset({"fixed", "disclosed", "rejected", "withdrawn"}),
    "fixed": frozenset({"confirmed", "disclosed", "withdrawn"}),
    "disclosed": frozenset({"withdrawn"}),
    "rejected": frozenset({"triaged"}),
    "withdrawn": frozenset(),
}
"""From each state, where it may go. A withdrawn finding stays so; one that was rejected may be looked at again."""

FindingId = Annotated[str, Meta(pattern=r"^f-[0-9a-f]{12}\Z")]
Vector = Annotated[str, Meta(max_length=300, pattern=r"^(CVSS:4\.0/[A-Za-z0-9:/]+)?\Z")]
Words = Annotated[
    str, Meta(min_length=1, max_length=4000, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z")
]
Short = Annotated[str, Meta(max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z")]
Url = Annotated[str, Meta(max_length=500, pattern=r"^https?://[A-Za-z0-9][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*\Z")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class FindingError(AssayError):
    """A finding cannot be made, read or moved."""


class UntrustedFindingError(FindingError):
    """A finding whose signatures do not hold, or are not those of the people who may sign: a check that failed."""

    exit_code = 1


class EmbargoError(FindingError):
    """What an embargo or a mark keeps from being passed on: a check that failed."""

    exit_code = 1


class System(Struct, frozen=True, forbid_unknown_fields=True):
    """What is affected, besides the model: a product by maker and name, and its versions; `fixed` is the version that is not affected."""

    vendor: Plain
    name: Plain
    versions: Annotated[tuple[Plain, ...], Meta(min_length=1, max_length=50)]
    fixed: Short = ""


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """An address with what is there."""

    url: Url
    about: Plain


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """What shows it, by digest: a record of the audit log, or a trial of a run. The content stays where it is."""

    kind: Literal["audit", "trial", "bundle", "other"]
    digest: Digest


class Report(Struct, frozen=True, forbid_unknown_fields=True):
    """What the reporter signs. Times are Unix milliseconds. `systems` is empty where the model itself is weak. `severity` is a CVSS v4.0
    vector, or empty. `credit` is how the reporter wants to be named in public; empty: not at all.
    """

    assay: Literal["finding/1"]
    id: FindingId
    title: Plain
    grant: Id
    organisation: Plain
    person: Plain
    key: Thumbprint
    at: Ms
    model: Id
    digest: TargetDigest
    description: Words
    embargo_until: Ms
    tlp: Tlp = "AMBER"
    severity: Vector = ""
    systems: Annotated[tuple[System, ...], Meta(max_length=50)] = ()
    references: Annotated[tuple[Reference, ...], Meta(max_length=50)] = ()
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=200)] = ()
    credit: Short = ""


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody did with a finding, and why. `before` is the digest of the payload before it. `to` may be the state that it has, for a
    change of what else is given: the embargo, its end at once, the mark, the severity, or in which versions systems are fixed (by name).
    """

    assay: Literal["finding-step/1"]
    id: FindingId
    number: Annotated[int, Meta(ge=1, le=MAX_STEPS)]
    before: Digest
    to: State
    by: Plain
    at: Ms
    why: Words
    embargo_until: Ms | None = None
    tlp: Tlp | None = None
    severity: Vector | None = None
    fixed: Annotated[dict[Plain, Plain], Meta(max_length=50)] = {}
    adopts: bool = False
    """An administrator takes over what one has signed who administers no more."""


class Finding(Struct, frozen=True):
    """A finding as it stands, with all that was done. `tip` is the digest that the next step must name."""

    report: Report
    steps: tuple[Step, ...]
    signers: tuple[tuple[str, ...], ...]
    state: State
    embargo_until: int
    tlp: Tlp
    severity: str
    fixed: dict[str, str]
    tip: str
    pending: Step | None = None
    pending_by: tuple[str, ...] = ()

    @property
    def disclosed_at(self) -> int:
        """When it was disclosed (Unix ms); 0 if it was not."""
        return next((s.at for s in self.steps if s.to == "disclosed"), 0)


class Viewer(Struct, frozen=True):
    """Who looks: an administrator, somebody of an organisation that has a grant, or (neither) anybody who has one."""

    administrator: str = ""
    organisation: str = ""


class Severity(Struct, frozen=True):
    """A CVSS v4.0 vector in canonical order, its base score (0 to 10) and the word for that."""

    vector: str
    score: float
    rating: str


def severity_of(vector: str) -> Severity:
    """Check and score a CVSS v4.0 vector (FIRST, CVSS v4.0 specification, sections 7 and 8). Raises `FindingError`."""
    from cvss import CVSS4
    from cvss.exceptions import CVSSError

    try:
        found = CVSS4(vector)
        return Severity(str(found.clean_vector()), float(found.base_score), str(found.severity).lower())
    except (CVSSError, ValueError, KeyError, IndexError) as e:
        raise FindingError(f"not a CVSS v4.0 vector: {e}", fix="Any CVSS v4.0 calculator gives one.") from None


def new_id() -> str:
    """An id that says nothing of what was found."""
    return f"f-{secrets.token_hex(6)}"


def problems(report: Report) -> Iterator[str]:
    """What the types cannot say of a report."""
    if report.embargo_until < report.at:
        yield "the embargo would have ended before the report"
    if report.embargo_until > report.at + 2 * 365 * 86_400_000:
        yield "an embargo holds two years at most"
    if len({s.name for s in report.systems}) < len(report.systems):
        yield "a system stands twice"
    yield from operational(report.description)
    if report.severity:
        try:
            severity_of(report.severity)
        except FindingError as e:
            yield e.what


def operational(text: str) -> Iterator[str]:
    """Signs that a text is more than general words. A coarse sieve: the triager reads every report before anybody else does."""
    if "```" in text or "~~~" in text:
        yield "a block of code or output: describe it in general words, and keep it as evidence by its digest"
    if re.search(rf"[A-Za-z0-9+/=%\\]{{{LONGEST_RUN},}}", text):
        yield "a long run of characters that is no word: describe it in general words, and keep it as evidence by its digest"


def check_reporter(report: Report, grants: Mapping[str, Grant]) -> None:
    """Whether the reporter is a person of the grant that is named, of that organisation and model. Raises `UntrustedFindingError`."""
    grant = grants.get(report.grant)
    if grant is None:
        raise UntrustedFindingError(f"there is no grant '{report.grant}'", where=report.id)
    if (report.person, report.key) not in {(p.name, p.key) for p in grant.persons}:
        raise UntrustedFindingError(f"'{report.person}' with this key is no person of the grant '{report.grant}'", where=report.id)
    if (report.organisation, report.model, report.digest) != (grant.organisation, grant.model, grant.digest):
        raise UntrustedFindingError("organisation, model and digest are not those of the grant", where=report.id)


def new_record(report: Report, key: PrivateKey) -> dict[str, Any]:
    """The record of a report, signed by its reporter. Raises `FindingError`."""
    if thumbprint(key.public) != report.key:
        raise FindingError("the key is not the one that the report names", where=report.id)
    for what in problems(report):
        raise FindingError(what, where=report.id)
    envelope = Cosigned.of(subject_of(report.id), REPORT, to_json(report)).signed(key)
    return {"assay": FORMAT, "report": envelope.to_json(), "key": key.public.to_json(), "steps": []}


def to_json(value: Struct) -> dict[str, Any]:
    """Every field, defaults included: what is signed."""
    out: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return out


def digest_of(envelope: Cosigned) -> str:
    """SHA-256 over what was signed."""
    return f"sha256:{hashlib.sha256(envelope.payload).hexdigest()}"


def step_envelope(step: Step) -> Cosigned:
    """A step, unsigned."""
    return Cosigned.of(subject_of(step.id), STEP, to_json(step))


def subject_of(finding_id: str) -> list[dict[str, Any]]:
    """The subject of every statement about a finding."""
    return [{"name": finding_id, "digest": {"sha256": hashlib.sha256(finding_id.encode()).hexdigest()}}]


def visible(finding: Finding, viewer: Viewer, now_ms: int) -> bool:
    """Administrators and the reporter's organisation see it always; all others once it is disclosed and its embargo has ended."""
    if viewer.administrator or (viewer.organisation and viewer.organisation == finding.report.organisation):
        return True
    return finding.disclosed_at > 0 and now_ms >= finding.embargo_until
