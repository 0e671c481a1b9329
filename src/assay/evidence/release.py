"""A release: what an authority says of a target, signed by its evaluators and approvers, for a time.

    release = read_release(Path("release.intoto.jsonl"))
    release.terms.verdict, release.terms.expires

The file is an in-toto bundle: a DSSE envelope with an in-toto Statement on every line, all with the target as their subject: a test result
for every requirement, an evaluation result, the release decision, what was attached (a provider's statement, a signature over the weights),
and, of an approval that enough approvers have signed, a verification summary that says PASSED. `evidence.releasemake` makes it,
`evidence.releasecheck` checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.decision import Verdict
from assay.errors import AssayError, EvidenceError
from assay.ledger import Cosigned, canonical
from assay.runs import whole_file

RELEASE_DECISION = "urn:assay:predicate:release-decision:v1"
EVALUATION_RESULT = "urn:assay:predicate:evaluation-result:v1"
VERIFICATION_SUMMARY = "https://slsa.dev/verification_summary/v1"
MAX_BYTES = 16 << 20
MAX_LINES = 500
MAX_DAYS = 3650
MAX_EPOCH = 2**53 - 1
MAX_TIME = 253_402_300_799_999  # the end of the year 9999

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Time = Annotated[int, Meta(ge=0, le=MAX_TIME)]
Words = Annotated[str, Meta(max_length=2000)]
LevelName = Literal["weights", "provider-statement", "endpoint"]


class ReleaseError(EvidenceError):
    """A release cannot be made, signed or read."""


class UnfoundedError(ReleaseError):
    """The evidence does not carry what would be released by it: a check that failed."""

    exit_code = 1


class PolicyRef(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The policy that the plan had to meet, and how many days a decision under it holds at most."""

    id: Words
    version: Words
    digest: Digest
    decision_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)]


class EvidenceRef(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The run that a release rests on: the bundle's bytes, its registration, plan, trials, how it ended, its own verdict, and when that was
    signed (Unix ms).
    """

    bundle_digest: Digest
    opened_digest: Digest
    plan_digest: Digest
    merkle_root: Digest
    items_digest: Digest
    trials: Count
    ended: Words
    verdict: Verdict
    keyid: Hex
    at: Time = 0


class Terms(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The release decision: the predicate that evaluators and approvers sign. Times are Unix milliseconds.

    Of two releases of one target by one authority, the one with the larger `epoch` holds. `attached` are the digests of the payloads of the
    statements that came from others. Without `evidence` it can only be a halt or a delay.
    """

    authority: Words
    verdict: Verdict
    reason: Words
    epoch: Annotated[int, Meta(ge=1, le=MAX_EPOCH)]
    issued: Time
    expires: Time
    roles_version: Count
    roles_digest: Digest
    identity: LevelName
    policy: PolicyRef | None
    evidence: EvidenceRef | None
    attached: tuple[Digest, ...]
    assay_version: Words

    def to_json(self) -> dict[str, Any]:
        """As it is signed."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value


class _About(Struct, frozen=True, forbid_unknown_fields=True):
    name: Words
    digest: dict[Literal["sha256", "assayTargetIdentity"], Hex]


class Release(Struct, frozen=True):
    """A release as it was read: its decision, and every envelope in the file's order with its statement."""

    terms: Terms
    subject: list[dict[str, Any]]
    envelopes: tuple[Cosigned, ...]

    def of(self, predicate_type: str) -> list[Cosigned]:
        """The envelopes with this predicate."""
        return [e for e in self.envelopes if e.statement().get("predicateType") == predicate_type]

    @property
    def decision(self) -> Cosigned:
        """The release decision's envelope."""
        return self.of(RELEASE_DECISION)[0]

    @property
    def target(self) -> str:
        """The target's digest, by which epochs are counted: `algorithm:value`."""
        return target_of(self.subject)


def target_of(about: list[dict[str, Any]]) -> str:
    """The digest in a subject: of the weights (`sha256:`) or of the target's record (`assayTargetIdentity:`). Raises `ReleaseError` if it
    is not one name and one digest.
    """
    try:
        (one,) = msgspec.convert(about, tuple[_About, ...])
        ((algorithm, value),) = one.digest.items()
    except (msgspec.ValidationError, ValueError):
        raise ReleaseError("a release has one target, by name and one digest: sha256 or assayTargetIdentity, 64 hex digits") from None
    return f"{algorithm}:{value}"


def write_release(release: Release, path: Path) -> None:
    """The release as a file, whole or not at all. Raises `ReleaseError`, also for one that `read_release` would refuse."""
    data = b"".join(canonical(envelope.to_json()) + b"\n" for envelope in release.envelopes)
    if len(data) > MAX_BYTES or len(release.envelopes) > MAX_LINES:
        what = f"{len(release.envelopes)} statements in {len(data):,} bytes; a release has at most {MAX_LINES} in {MAX_BYTES:,}"
        raise ReleaseError(what, where=str(path), fix="Attach less: --attach")
    try:
        with whole_file(path) as out:
            out.write(data)
    except OSError as e:
        raise ReleaseError(f"cannot write: {e.strerror}", where=str(path)) from None


def read_release(path: Path) -> Release:
    """A release as it stands in its file, signatures unchecked. Raises `ReleaseError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ReleaseError(f"cannot read the release: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ReleaseError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return parse_release(data, str(path))


def parse_release(data: bytes, where: str = "") -> Release:
    """A release from the bytes of its file, signatures unchecked. Raises `ReleaseError`."""
    *lines, rest = data.split(b"\n")
    if rest or not lines or len(lines) > MAX_LINES:
        raise ReleaseError(f"not a release: 1 to {MAX_LINES} whole lines", where=where)
    envelopes = []
    for number, line in enumerate(lines, 1):
        try:
            value = msgspec.json.decode(line)
            envelope = Cosigned.from_json(value)
            if canonical(envelope.to_json()) != line:
                raise ReleaseError("not in canonical form")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ReleaseError("not JSON", where=f"{where} line {number}") from None
        except AssayError as e:
            raise ReleaseError(e.what, where=f"{where} line {number}") from None
        envelopes.append(envelope)
    return release_of(envelopes, where)


def release_of(envelopes: Sequence[Cosigned], where: str = "") -> Release:
    """What the envelopes say. Raises `ReleaseError` if they are no release."""
    statements = [e.statement() for e in envelopes]
    for statement in statements:
        if not isinstance(statement.get("predicateType"), str) or not isinstance(statement.get("predicate"), dict):
            raise ReleaseError("a statement without a predicate, or its type", where=where)
    decisions = [s for s in statements if s.get("predicateType") == RELEASE_DECISION]
    if len(decisions) != 1:
        raise ReleaseError(f"{len(decisions)} release decisions, where there is one", where=where)
    try:
        terms = msgspec.convert(decisions[0].get("predicate"), Terms)
    except msgspec.ValidationError as e:
        raise ReleaseError(f"not a release decision: {e}", where=where) from None
    if terms.to_json() != decisions[0]["predicate"]:
        raise ReleaseError("the release decision does not read back to itself", where=where)
    about = decisions[0].get("subject")
    if not isinstance(about, list):
        raise ReleaseError("a release has one target, by one digest", where=where)
    release = Release(terms, about, tuple(envelopes))
    target_of(about)
    return release
