"""What the audit log holds: a record of each kind, and the line that binds it to the line before. Pure.

    body = encode({"kind": "token", "at": now, "grant": "power", "version": 1, "person": "Ada", "network": "192.0.2.7"})
    line = line_of(body, n=7, after=hash_of(line_before))
    read_line(line).record

A line is canonical JSON (RFC 8785): {"after": SHA-256 of the line before, "n": its place in the segment, "record": ...}. Records are flat,
without floats, and bounded; fields that are left out have their default. A record that cannot be read back is not written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.access.model import Count, Id, Ms, Tier
from assay.errors import AssayError

MAX_LINE = 256 << 10
MAX_HEADER = 4 << 20
MAX_TEXT = 300
FIRST = "0" * 64

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, Meta(pattern=r"^((sha256|assayTargetIdentity):[0-9a-f]{64})?\Z")]
Rules = Annotated[tuple[Text, ...], Meta(max_length=100)]
SegmentName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}-[0-9]{13}\Z")]


class AuditError(AssayError):
    """The audit log cannot be written or read. Whoever waits for it is denied."""


class AuditTamperedError(AuditError):
    """The audit log is not what was signed."""

    exit_code = 1


class Record(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What all kinds have: when, Unix milliseconds."""

    at: Ms


class Decided(Record, frozen=True, tag="decided"):
    """A request that goes upstream: on disk before it does. `reserved` is requests, tokens, money (millionths of the gate's currency)."""

    id: Text
    grant: Text
    version: Count
    person: Text
    organisation: Text
    purpose: Text
    model: Text
    digest: Digest
    route: Text
    network: Text
    system: Text = ""
    tools: Annotated[tuple[Text, ...], Meta(max_length=500)] = ()
    stream: bool = False
    tier: Tier | Literal[""] = ""
    decision: Text = ""
    rules: Rules = ()
    epoch: Count = 0
    request_digest: Digest = ""
    reserved: Annotated[tuple[Count, ...], Meta(max_length=3)] = ()


class Ended(Record, frozen=True, tag="ended"):
    """How the request `id` ended: `complete`, or why not. `ms` is how long it took, `first_ms` until the first byte (-1: none came).
    `flags` are what content checks found (CHECK: REASON (SIDE)), `sketch` what tells near-duplicates of its prompt (sketches.py).
    """

    id: Text
    how: Text
    halt: Text = ""
    answer_digest: Digest = ""
    tokens: Count = 0
    money: Count = 0
    ms: Count = 0
    first_ms: Annotated[int, Meta(ge=-1, lt=2**53)] = -1
    flags: Rules = ()
    sketch: Text = ""


class Denied(Record, frozen=True, tag="denied"):
    """A request that was turned away by `rule`; as much else as was known then."""

    rule: Text
    what: Text = ""
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    id: Text = ""
    grant: Text = ""
    version: Count = 0
    person: Text = ""
    organisation: Text = ""
    purpose: Text = ""
    model: Text = ""
    digest: Digest = ""
    route: Text = ""
    network: Text = ""
    system: Text = ""
    tools: Annotated[tuple[Text, ...], Meta(max_length=500)] = ()
    stream: bool = False
    tier: Tier | Literal[""] = ""
    decision: Text = ""
    rules: Rules = ()
    epoch: Count = 0
    request_digest: Digest = ""
    reserved: Annotated[tuple[Count, ...], Meta(max_length=3)] = ()


class Token(Record, frozen=True, tag="token"):
    """A token was given out."""

    grant: Text
    version: Count
    person: Text
    network: Text


Did = Literal["grant", "approve", "revoke", "halt", "lift", "release", "roles", "rules", "start", "stop", "review", "cut", "alert"]


class Control(Record, frozen=True, tag="control"):
    """Grants, halts, releases, roles or rules were changed: what was done, to which, by whom, and the digest of what it is now."""

    did: Did
    subject: Text
    by: Annotated[tuple[Text, ...], Meta(max_length=50)] = ()
    what: Text = ""
    digest: Digest = ""
    epoch: Count = 0


class Alert(Record, frozen=True, tag="alert"):
    """Something unusual: which alert, about whom."""

    alert: Text
    what: Text = ""
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    grant: Text = ""
    person: Text = ""
    organisation: Text = ""
    model: Text = ""
    id: Text = ""


class BreakGlass(Record, frozen=True, tag="break-glass"):
    """Access in an emergency: opened by whom and why, until when; used; reviewed afterwards."""

    state: Literal["opened", "used", "closed", "reviewed"]
    by: Text
    reason: Text
    grant: Text = ""
    person: Text = ""
    organisation: Text = ""
    model: Text = ""
    until: Ms = 0


class Fault(Record, frozen=True, tag="error"):
    """The gate failed on a request; the kind of error, nothing of the request."""

    what: Text


class Previous(Struct, frozen=True, forbid_unknown_fields=True):
    """Another segment as a header found it: how many lines, the hash of the last. A living one has 0; `settled`: its writer was gone."""

    records: Count
    last: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
    settled: bool


class Repaired(Struct, frozen=True, forbid_unknown_fields=True):
    """A torn tail, never acknowledged, that was set aside in the file SEGMENT.torn: how many bytes, and their SHA-256."""

    length: Count
    sha256: Hex


class Segment(Record, frozen=True, tag="segment", omit_defaults=True):
    """A segment's first line, signed: who writes it, under which key and gate's file, what other segments there were, and what was signed
    of all of them (`size` entries of the ends with `root`). `secret` is the age file with the key of the contents, for `auditors`.
    `follows` is the segment of the same worker that had grown too large: requests that were decided there may end here.
    """

    segment: SegmentName
    worker: Id
    key: Text
    config: Digest
    previous: Annotated[dict[SegmentName, Previous], Meta(max_length=10_000)]
    repaired: Annotated[dict[SegmentName, Repaired], Meta(max_length=10_000)]
    size: Count
    root: Hex
    auditors: Annotated[tuple[Text, ...], Meta(max_length=20)]
    secret: Annotated[str, Meta(max_length=100_000)]
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
    follows: SegmentName | Literal[""] = ""


AnyRecord = Segment | Decided | Ended | Denied | Token | Control | Alert | BreakGlass | Fault
KINDS = ("decided", "ended", "denied", "token", "control", "alert", "break-glass", "error", "segment")


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """A line: the hash of the one before, its place in the segment (the header is 0), and what it says."""

    after: Hex
    n: Count
    record: AnyRecord


_encoder = msgspec.json.Encoder(order="sorted")
_records = msgspec.json.Decoder(AnyRecord)
_lines = msgspec.json.Decoder(Line)


def encode(record: dict[str, Any], limit: int = MAX_LINE - 200) -> bytes:
    """The canonical JSON of a record, if it can be read back. Raises `AuditError`, which denies whoever waits."""
    try:
        body = _encoder.encode(record)
        _records.decode(body)
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError, OverflowError) as e:
        what = f"this is no record of the audit log: {e}"
        raise AuditError(what, fix="Bound and clean what comes from outside: auditrecords.shown.") from None
    if len(body) > limit:
        raise AuditError(f"a record of {len(body):,} bytes; at most {limit:,} are written")
    return body


def line_of(body: bytes, n: int, after: str) -> bytes:
    """The canonical line of a record, without its newline."""
    return b'{"after":"%s","n":%d,"record":%s}' % (after.encode(), n, body)


def hash_of(line: bytes) -> str:
    """What the next line says of this one: the SHA-256 of its bytes, without the newline; hex."""
    return hashlib.sha256(line).hexdigest()


def read_line(data: bytes) -> Line:
    """A line, checked against its type and its canonical form. Raises `AuditTamperedError`."""
    try:
        line = _lines.decode(data)
        plain = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise AuditTamperedError(f"not a line of the audit log: {str(e)[:200]}") from None
    if _encoder.encode(plain) != data:
        raise AuditTamperedError("the line is not canonical JSON")
    return line


def quick_line(data: bytes) -> Line:
    """A line, checked against its type only. Raises `AuditTamperedError`."""
    try:
        return _lines.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise AuditTamperedError(f"not a line of the audit log: {str(e)[:200]}") from None


def signed_part(record: Segment | dict[str, Any]) -> bytes:
    """What a header's signature is over: the record without it, canonical, under a name of its own."""
    value = dict(record) if isinstance(record, dict) else msgspec.json.decode(_encoder.encode(record))
    value.pop("signature", None)
    return b"assay-audit-segment/1\n" + _encoder.encode(value)


def control(at: int, did: Did, subject: str, by: Sequence[str], what: str = "", digest: str = "") -> dict[str, Any]:
    """The record of what was done, the same by the API and by command. `at` is Unix milliseconds."""
    return {"kind": "control", "at": at, "did": did, "subject": subject, "by": list(by), "what": shown(what, MAX_TEXT), "digest": digest}


def shown(text: str, limit: int = MAX_TEXT) -> str:
    """Text from outside, made fit for a record: no lone surrogates, no more than `limit` characters."""
    return text[:limit].encode("utf-8", errors="replace").decode("utf-8")
