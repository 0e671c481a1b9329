"""Making a release: from a bundle that holds, by an evaluator; then signed by approvers.

    basis, _ = read_basis(Path("evidence.jsonl"), roles, now_ms)
    release = new_release(basis, roles, evaluator_key, Stated(epoch=7, issued=now_ms))
    release = sign_release(release, roles, approver_key, now_ms)           # by each approver
    write_release(release, Path("release.intoto.jsonl"))

What evaluators sign follows from the bundle to the letter, so that anybody who has it can make the same statements again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.decision import Decision, Verdict
from assay.evidence.attached import ATTACHED, Attachment, Known, check_attached
from assay.evidence.bundle import FORMAT
from assay.evidence.release import (
    EVALUATION_RESULT,
    MAX_DAYS,
    MAX_TIME,
    RELEASE_DECISION,
    VERIFICATION_SUMMARY,
    EvidenceRef,
    LevelName,
    PolicyRef,
    Release,
    ReleaseError,
    Terms,
    UnfoundedError,
    release_of,
    target_of,
)
from assay.evidence.roles import DAY_MS, RoleName, Roles
from assay.evidence.statements import RESULTS, TEST_RESULT, subject
from assay.evidence.verify import Report, verify_bundle
from assay.ledger import Cosigned, Envelope, PrivateKey, digest
from assay.plan import Plan
from assay.plan.policy import Policy
from assay.version import __version__

DEFAULT_DAYS = 30
CLOSING_MS = 3_600_000
"""How much later than its last trial or label a run may say that it ended: a bundle takes its time to write."""
STRICTNESS: dict[Verdict, int] = {"approve": 0, "delay": 1, "halt": 2}


class Stated(Struct, frozen=True):
    """What whoever makes a release decides: the epoch, the time (Unix ms), for how many days (as many as the policy allows if 0), a verdict
    stricter than the evidence's with the reason for it, and what others say of the model.
    """

    epoch: int
    issued: int
    days: int = 0
    verdict: Verdict | Literal[""] = ""
    reason: str = ""
    attached: tuple[Attachment, ...] = ()


class Basis(Struct, frozen=True):
    """A bundle that holds, and what a release needs of it."""

    plan: Plan
    policy: Policy | None
    target: dict[str, str]
    decision: Decision
    ref: EvidenceRef
    opened_at: int
    replayed: bool

    def known(self, attachments: Sequence[Attachment]) -> Known:
        """How well the target is known, with what others say of it."""
        return check_attached(attachments, self.target, (self.opened_at, self.ref.at))


def read_basis(path: Path, roles: Roles, now_ms: int, *, must_hold: bool = True) -> tuple[Basis | None, Report]:
    """A bundle, verified in full, signed by an evaluator whose key counts. Raises `UnfoundedError` if it does not hold (or, where it need
    not, gives None beside the report), `EvidenceError` if it cannot be read.

    The run ended when the bundle says, but at most an hour after its last trial or label: to sign the same trials again makes them no
    younger.
    """
    report = verify_bundle(path)
    evaluators = {k.keyid for k in roles.counting("evaluator", now_ms).values()}
    if report.ok and report.keyid not in evaluators:
        report.failed("roles", str(path), f"the bundle is signed by {report.keyid[:16]}..., which is no evaluator's key that counts")
    said, first = report.evidence, {}
    if report.ok:
        first = msgspec.json.decode(Envelope.from_json(report.opened).payload)["predicate"]
        for at in (first["at"], said["at"]):
            if isinstance(at, bool) or not 0 <= at <= MAX_TIME:
                report.failed("evidence", str(path), f"{at} is no time")
    if not report.ok or report.decision is None or report.plan is None:
        if must_hold:
            raise UnfoundedError(f"the bundle does not hold: {report.findings[0]}", where=str(path), fix="See all: assay verify BUNDLE")
        return None, report
    ref = EvidenceRef(
        report.bundle, digest(report.opened), report.plan.digest, report.root, said["itemsDigest"], said["trials"], report.ended,
        report.decision.verdict, report.keyid, min(said["at"], max(report.newest, first["at"]) + CLOSING_MS),
    )  # fmt: skip
    return Basis(report.plan, report.policy, report.target, report.decision, ref, first["at"], "replayOf" in first), report


def new_release(basis: Basis, roles: Roles, key: PrivateKey, stated: Stated) -> Release:
    """A release on a bundle, with an evaluator's signature. Raises `UnfoundedError` for one that the evidence does not carry."""
    if stated.issued > roles.expires_ms:
        raise UnfoundedError(f"the roles expired on {roles.expires}", fix="Ask their owners for the next version.")
    verdict = stated.verdict or basis.decision.verdict
    if STRICTNESS[verdict] < STRICTNESS[basis.decision.verdict]:
        raise UnfoundedError(f"the evidence says {basis.decision.verdict}; a release may be stricter, never more lenient")
    if verdict != basis.decision.verdict and not stated.reason:
        raise ReleaseError("a verdict of one's own needs a reason", fix="Say why: --reason")
    for lacking in unfounded(verdict, basis):
        raise UnfoundedError(f"this cannot be approved: {lacking}")
    known = basis.known(stated.attached)
    if known.findings:
        raise UnfoundedError(f"what is attached does not hold: {known.findings[0]}")
    days = stated.days or (basis.policy.decision_days if basis.policy else DEFAULT_DAYS)
    attached = [Cosigned.of(subject(basis.target), ATTACHED, a.to_json()) for a in stated.attached]
    digests = tuple(f"sha256:{hashlib.sha256(e.payload).hexdigest()}" for e in attached)
    terms = _terms(roles, stated, verdict, days, known.level.name, basis.policy, basis.ref, digests)
    made = [Cosigned.of(subject(basis.target), kind, predicate) for kind, predicate in recomputed(terms, basis)]
    return sign_release(release_of([*made, *attached]), roles, key, stated.issued)


def new_halt(name: str, target: str, roles: Roles, key: PrivateKey, stated: Stated) -> Release:
    """A halt or a delay by the authority's own word, without a run: what stops a release at once. `target` is the digest that releases of
    it have, `algorithm:value`. Raises `ReleaseError`.
    """
    algorithm, _, value = target.partition(":")
    about = [{"name": name, "digest": {algorithm: value}}]
    try:
        target_of(about)
    except ReleaseError:
        fix = "Take it from a release: assay release show RELEASE prints sha256:... or assayTargetIdentity:..., and 64 hex digits."
        raise ReleaseError(f"'{target[:100]}' is no digest of a target (or its name is too long)", fix=fix) from None
    if stated.verdict not in ("halt", "delay") or not stated.reason:
        raise ReleaseError("without evidence a release can only halt or delay, with a reason")
    identity: LevelName = "weights" if algorithm == "sha256" else "endpoint"
    terms = _terms(roles, stated, stated.verdict, stated.days or MAX_DAYS, identity, None, None)
    return sign_release(release_of([Cosigned.of(about, RELEASE_DECISION, terms.to_json())]), roles, key, stated.issued)


def unfounded(verdict: Verdict, basis: Basis) -> Iterator[str]:
    """Why an approval would not stand on this bundle."""
    if verdict != "approve":
        return
    if basis.policy is None:
        yield "the run was opened under no policy (assay run --policy), so nobody else has said what it had to show"
    if basis.ref.ended != "complete":
        yield f"the run did not complete: it ended with '{basis.ref.ended}'"
    if basis.replayed:
        yield "the run judges the transcripts of another run again"


def _terms(
    roles: Roles, stated: Stated, verdict: Verdict, days: int, identity: LevelName, policy: Policy | None, ref: EvidenceRef | None,
    attached: tuple[str, ...] = (),
) -> Terms:  # fmt: skip
    if policy is not None and days > policy.decision_days:
        raise UnfoundedError(f"{days} days are more than the {policy.decision_days} that the policy allows")
    wanted = PolicyRef(policy.id, policy.version, policy.digest, policy.decision_days) if policy else None
    until = stated.issued + days * DAY_MS
    if policy is not None and ref is not None and verdict == "approve":
        until = min(until, ref.at + policy.decision_days * DAY_MS)  # from when the run ended: an old one is not approved again and again
        if until <= stated.issued:
            what = f"the run ended on {rfc3339(ref.at)}, and under its policy a decision holds for {policy.decision_days} days"
            raise UnfoundedError(what, fix="Run the plan again: assay run PLAN --policy POLICY")
    terms = Terms(
        roles.authority, verdict, stated.reason, stated.epoch, stated.issued, until, roles.version, roles.digest, identity, wanted, ref,
        attached, __version__,
    )  # fmt: skip
    try:
        return msgspec.convert(terms.to_json(), Terms)
    except msgspec.ValidationError as e:
        raise ReleaseError(f"this cannot be released: {e}") from None


def recomputed(terms: Terms, basis: Basis) -> Iterator[tuple[str, dict[str, Any]]]:
    """What evaluators sign, as it follows from the bundle: predicate types and predicates, in the file's order."""
    yield from ((TEST_RESULT, p) for p in suites(basis))
    yield EVALUATION_RESULT, evaluation_result(terms, basis)
    yield RELEASE_DECISION, terms.to_json()


def suites(basis: Basis) -> Iterator[dict[str, Any]]:
    """One in-toto test result for every requirement: PASSED if all of its claims hold, FAILED if one is refuted, else WARNED."""
    plan, root = basis.plan.digest.removeprefix("sha256:"), basis.ref.merkle_root.removeprefix("sha256:")
    for requirement in basis.decision.requirements:
        labels: dict[str, list[str]] = {"approve": [], "open": [], "halt": []}
        for claim in requirement.claims:
            labels[claim.status].append(claim.label)
        status: Verdict = "approve" if requirement.status == "approve" else "halt" if requirement.status == "halt" else "delay"
        yield {
            "result": RESULTS[status],
            "configuration": [
                {"name": f"plan {basis.plan.name}, requirement {requirement.id} ({requirement.kind})", "digest": {"sha256": plan}},
                {"name": "trials", "digest": {"sha256": root}},
            ],
            "passedTests": labels["approve"],
            "warnedTests": labels["open"],
            "failedTests": labels["halt"],
        }


def evaluation_result(terms: Terms, basis: Basis) -> dict[str, Any]:
    """Every claim with metric, comparator, threshold and sample size. The fields are those of the eval-result predicate that was proposed
    to in-toto (attestation PR 575), under a URI of our own until that is settled; thresholds are decimal strings.
    """
    bounds = {r.id: float(getattr(r, "max_rate", 0.0) or getattr(r, "margin", 0.0)) for r in basis.plan.requirements}
    claims = [
        {
            "metric": r.kind,
            "requirement": r.id,
            "about": claim.label,
            "comparator": "<=",
            "threshold": f"{Decimal(repr(bounds[r.id])):f}",
            "passed": claim.status == "approve",
            "sampleSize": int(claim.counts.get("n", 0)),
        }
        for r in basis.decision.requirements
        for claim in r.claims
    ]
    about = subject(basis.target)
    return {
        "verifier": {"id": f"https://{terms.authority}"},
        "evaluatedAt": rfc3339(basis.ref.at),
        "suite": {"name": basis.plan.name, "version": basis.plan.digest},
        "claims": claims,
        "sampleSize": basis.ref.trials,
        "commitments": {
            "model": {"alg": next(iter(about[0]["digest"])), "value": next(iter(about[0]["digest"].values())), "salted": False},
            "dataset": {"alg": "sha256", "value": basis.ref.items_digest.removeprefix("sha256:"), "salted": False},
        },
        "assuranceLevel": "self_attested",
        "subjectProfile": "public-model",
        "preRegistration": {"alg": "sha256", "value": basis.ref.opened_digest.removeprefix("sha256:")},
        "receipt": {"schema": FORMAT, "merkleRootB64": base64.b64encode(bytes.fromhex(basis.ref.merkle_root[7:])).decode()},
        "harness": {"name": "assay", "version": terms.assay_version},
    }


def verification_summary(release: Release) -> dict[str, Any]:
    """The SLSA verification summary of an approval: what others' admission rules ask for."""
    terms = release.terms
    if terms.policy is None:
        raise ReleaseError("an approval names its policy")
    return {
        "verifier": {"id": f"https://{terms.authority}", "version": {"assay": terms.assay_version}},
        "timeVerified": rfc3339(terms.issued),
        "resourceUri": f"urn:assay:target:{release.target}",
        "policy": {
            "uri": f"urn:assay:policy:{terms.policy.id}:{terms.policy.version}",
            "digest": {"sha256": terms.policy.digest.removeprefix("sha256:")},
        },
        "inputAttestations": [
            {"uri": str(e.statement()["predicateType"]), "digest": {"sha256": hashlib.sha256(e.payload).hexdigest()}}
            for e in release.envelopes
            if e.statement()["predicateType"] != VERIFICATION_SUMMARY
        ],
        "verificationResult": "PASSED",
        "verifiedLevels": ["ASSAY_APPROVED"],
    }


def sign_release(release: Release, roles: Roles, key: PrivateKey, now_ms: int) -> Release:
    """With the signature of one more key, by its role: an evaluator signs the results and the decision, an approver the decision. The
    approver whose signature completes the threshold of an approval adds the verification summary, and signs that.

    Raises `ReleaseError` for a key that has no role here, or counts no more, and for an approver who comes before the evaluators.
    """
    role: RoleName | None = next(
        (r for r in ("evaluator", "approver") if key.public in roles.counting(r, now_ms).values()),
        None,
    )
    if role is None:
        known = roles.found(key.public.keyid)
        why = f"is '{known}', which neither evaluates nor approves now" if known else "has no role"
        raise ReleaseError(f"the key {key.public.keyid[:16]}... {why} in version {roles.version} of the roles of {roles.authority}")
    evaluated, wanted = release.decision.signers(roles.counting("evaluator", now_ms)), roles.evaluator.threshold
    if role == "approver" and release.terms.verdict == "approve" and len(evaluated) < wanted:
        raise ReleaseError(f"{len(evaluated)} of {wanted} evaluators have signed; approvers sign after them")
    own = {RELEASE_DECISION} if role == "approver" else {TEST_RESULT, EVALUATION_RESULT, RELEASE_DECISION, ATTACHED}
    signed = release_of([e.signed(key) if e.statement()["predicateType"] in own else e for e in release.envelopes])
    if role == "approver" and signed.terms.verdict == "approve":
        approved = signed.decision.signers(roles.counting("approver", now_ms))
        if len(approved) >= roles.approver.threshold:
            there = signed.of(VERIFICATION_SUMMARY)
            made = Cosigned.of(signed.subject, VERIFICATION_SUMMARY, verification_summary(signed))
            summary = next((e for e in there if e.payload == made.payload), made)  # never what somebody else has put there
            signed = release_of([*(e for e in signed.envelopes if e not in there), summary.signed(key)])
    return signed


def rfc3339(at: int) -> str:
    """A time in Unix milliseconds as RFC 3339, UTC, to the second; one that no calendar has, as its number."""
    if not 0 <= at <= MAX_TIME:
        return f"{at} ms"
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
