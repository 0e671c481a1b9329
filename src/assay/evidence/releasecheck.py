"""Checking a release: whose signatures count, until when it holds, whether a newer one was seen, and, with the bundle, everything again.

    checked = check_release(read_release(path), roles, now_ms, seen=seen)
    checked.ok, checked.verdict, checked.findings

Fails closed: whoever acts on a release acts on `Checked.verdict`, which is `halt` wherever anything is amiss.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from assay.decision import Verdict
from assay.evidence.attached import ATTACHED, MAX_ATTACHED, Attachment
from assay.evidence.release import EVALUATION_RESULT, RELEASE_DECISION, VERIFICATION_SUMMARY, Release, ReleaseError
from assay.evidence.releasemake import STRICTNESS, read_basis, recomputed, unfounded, verification_summary
from assay.evidence.roles import DAY_MS, RoleName, Roles
from assay.evidence.seen import Seen, SeenRelease
from assay.evidence.statements import TEST_RESULT, subject
from assay.evidence.verify import Finding
from assay.ledger import Cosigned
from assay.ledger.dsse import SignatureError

CLOCK_SLACK_MS = 5 * 60_000
RECOMPUTED = (TEST_RESULT, EVALUATION_RESULT, RELEASE_DECISION)
KINDS = (*RECOMPUTED, ATTACHED, VERIFICATION_SUMMARY)


@dataclass(slots=True)
class Checked:
    """What was found. `approvers` and `evaluators` are the names of those whose signatures on the decision count, `rests_on` what is
    left to trust of what others say of the model.
    """

    release: Release
    checks: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    evaluators: list[str] = field(default_factory=list)
    approvers: list[str] = field(default_factory=list)
    rests_on: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.findings

    @property
    def verdict(self) -> Verdict:
        """What may be acted on: the release's verdict if everything held, else halt."""
        return self.release.terms.verdict if self.ok else "halt"

    def passed(self, check: str, detail: str) -> None:
        """Note a check that held."""
        self.checks.append((check, detail))

    def failed(self, check: str, what: str) -> None:
        """Note one that did not."""
        self.findings.append(Finding(check, "", what))


def check_release(
    release: Release,
    roles: Roles,
    now_ms: int,
    *,
    bundle: Path | None = None,
    target: str = "",
    policy: str = "",
    seen: Seen | None = None,
    approvals: bool = True,
) -> Checked:
    """Check a release at a time (Unix ms) under roles that are trusted already (`open_roles`).

    `target` is the digest (`sha256:...`) that is to be served, `policy` that of the policy that was agreed on; `seen` what was accepted
    before; with the `bundle`, what evaluators signed is made again from it. Without `approvals` signatures may be missing still, as
    when somebody is about to add one.
    """
    found = Checked(release)
    try:
        _roles(found, roles, now_ms)
        _form(found)
        _signatures(found, roles, now_ms, approvals=approvals)
        _time(found, now_ms)
        _approval(found)
        _target(found, target)
        _policy(found, policy)
        _epoch(found, seen)
        if bundle is not None:
            _bundle(found, roles, now_ms, bundle)
    except ReleaseError as e:
        found.failed("form", e.what)
    return found


def _roles(found: Checked, roles: Roles, now_ms: int) -> None:
    terms = found.release.terms
    if now_ms > roles.expires_ms:
        found.failed("roles", f"the roles expired on {roles.expires}: ask their owners for the next version")
    if terms.authority != roles.authority:
        found.failed("roles", f"the release is of '{terms.authority}', the roles are of '{roles.authority}'")
    elif terms.verdict != "approve":  # whoever may stop under these roles, stops: whatever version they had
        pass
    elif terms.roles_version > roles.version:
        found.failed("roles", f"made under version {terms.roles_version} of the roles, which is newer than yours ({roles.version})")
    elif terms.roles_version == roles.version and terms.roles_digest != roles.digest:
        found.failed("roles", f"made under another version {roles.version} of the roles")
    if found.ok:
        found.passed("roles", f"{roles.authority}, version {roles.version}, until {roles.expires}")


def _form(found: Checked) -> None:
    """Every statement is about the one target, of a known kind or attached by name, and none is doubled that may stand once."""
    release = found.release
    for envelope in release.envelopes:
        statement = envelope.statement()
        kind = statement.get("predicateType")
        if kind not in KINDS:
            found.failed("form", f"a statement of unknown type {str(kind)[:80]!r}")
        elif statement.get("subject") != release.subject:
            found.failed("form", f"a statement of type {kind} about another target")
    if [f"sha256:{hashlib.sha256(e.payload).hexdigest()}" for e in release.of(ATTACHED)] != list(release.terms.attached):
        found.failed("form", "what is attached is not what the decision names")
    for kind, fewest, most in _numbers(release):
        count = len(release.of(kind))
        if not fewest <= count <= most:
            found.failed("form", f"{count} statements of type {kind}")
    for envelope in release.of(TEST_RESULT) + release.of(EVALUATION_RESULT):
        if release.terms.evidence and _root_of(envelope) != release.terms.evidence.merkle_root:
            found.failed("form", "a result of another run than the one that the decision rests on")
    if found.ok:
        found.passed("statements", f"{len(release.envelopes)}, all about {release.target}")


def _root_of(result: Cosigned) -> str:
    """The Merkle root of the trials that a result says it is about; empty where it says none."""
    predicate = result.statement()["predicate"]
    try:
        if "receipt" in predicate:
            return f"sha256:{base64.b64decode(predicate['receipt']['merkleRootB64'], validate=True).hex()}"
        return f"sha256:{predicate['configuration'][1]['digest']['sha256']}"
    except (KeyError, IndexError, TypeError, ValueError):
        return ""


def _numbers(release: Release) -> Iterator[tuple[str, int, int]]:
    evidence = release.terms.evidence is not None
    yield EVALUATION_RESULT, int(evidence), int(evidence)
    yield TEST_RESULT, int(evidence), 10_000 if evidence else 0
    yield ATTACHED, 0, MAX_ATTACHED if evidence else 0
    yield VERIFICATION_SUMMARY, 0, int(release.terms.verdict == "approve")


def _signatures(found: Checked, roles: Roles, now_ms: int, *, approvals: bool) -> None:
    release, terms = found.release, found.release.terms
    found.evaluators = _signed(found, release.decision, roles, "evaluator", now_ms)
    found.approvers = _signed(found, release.decision, roles, "approver", now_ms)
    if terms.evidence is not None:
        for kind in (*RECOMPUTED, ATTACHED):
            for envelope in release.of(kind):
                who = _signed(found, envelope, roles, "evaluator", now_ms)
                if len(who) < roles.evaluator.threshold and approvals:
                    found.failed("evaluators", f"{len(who)} of {roles.evaluator.threshold} have signed the statement of type {kind}")
    if terms.verdict != "approve":
        who = found.evaluators + found.approvers
        if not who:
            found.failed("signatures", "nobody who evaluates or approves has signed it")
        else:
            found.passed("signed by one who may stop", ", ".join(who))
        return
    if terms.evidence and terms.evidence.keyid not in {k.keyid for k in roles.counting("evaluator", now_ms).values()}:
        found.failed("evidence", f"the bundle is signed by {terms.evidence.keyid[:16]}..., which is no evaluator's key that counts")
    missing = roles.approver.threshold - len(found.approvers)
    summary = release.of(VERIFICATION_SUMMARY)
    if missing > 0 and approvals:
        who = found.approvers
        found.failed("approvers", f"{len(who)} of {roles.approver.threshold} have signed ({', '.join(who) or 'nobody'})")
    if summary and summary[0].statement()["predicate"] != verification_summary(release):
        found.failed("verification summary", "it does not follow from the release")
    elif missing <= 0 and (not summary or not _signed(found, summary[0], roles, "approver", now_ms)):
        found.failed("verification summary", "an approval has one, signed by an approver")
    if found.ok:
        found.passed("evaluated by", ", ".join(found.evaluators))
        found.passed("approved by", ", ".join(found.approvers) or "nobody yet")


def _signed(found: Checked, envelope: Cosigned, roles: Roles, role: RoleName, now_ms: int) -> list[str]:
    try:
        return envelope.signers(roles.counting(role, now_ms))
    except SignatureError as e:
        found.failed("signatures", e.what)
        return []


def _time(found: Checked, now_ms: int) -> None:
    terms = found.release.terms
    if terms.issued > now_ms + CLOCK_SLACK_MS and terms.verdict == "approve":
        found.failed("time", "issued in the future")
    if now_ms > terms.expires:
        found.failed("time", f"expired {(now_ms - terms.expires) // 1000:,} s ago")
    if terms.policy is not None and terms.expires - terms.issued > terms.policy.decision_days * DAY_MS:
        found.failed("time", f"it would hold longer than the {terms.policy.decision_days} days that its policy allows")
    until = terms.evidence.at + terms.policy.decision_days * DAY_MS if terms.evidence and terms.policy else terms.expires
    if terms.verdict == "approve" and terms.expires > until:
        found.failed("time", "it would hold longer than its policy allows from when the run ended")
    if terms.expires <= terms.issued:
        found.failed("time", "it expires before it was issued")
    if found.ok:
        found.passed("still holds", f"{(terms.expires - now_ms) / DAY_MS:.1f} days more")


def _approval(found: Checked) -> None:
    """What an approval says of its own basis."""
    terms = found.release.terms
    if terms.evidence is None and terms.verdict == "approve":
        found.failed("evidence", "an approval without evidence")
    if terms.evidence is not None and STRICTNESS[terms.verdict] < STRICTNESS[terms.evidence.verdict]:
        found.failed("evidence", f"it says {terms.verdict}, and its evidence {terms.evidence.verdict}")
    if (terms.evidence is None or terms.verdict != terms.evidence.verdict) and not terms.reason:
        found.failed("evidence", "a verdict that is not the evidence's, without a reason")
    if terms.verdict == "approve" and (terms.policy is None or terms.evidence is None or terms.evidence.ended != "complete"):
        found.failed("evidence", "an approval rests on a complete run that was opened under a policy")


def _target(found: Checked, target: str) -> None:
    if (found.release.terms.identity == "weights") != found.release.target.startswith("sha256:"):
        found.failed("target", f"it is known by '{found.release.terms.identity}', and named by {found.release.target}")
    if target and found.release.target != target:
        found.failed("target", f"the release is about {found.release.target}, not about {target}")
    elif target and found.ok:
        found.passed("the target is the one that is served", target)


def _policy(found: Checked, policy: str) -> None:
    named = found.release.terms.policy
    if not policy or found.release.terms.verdict != "approve":
        return
    if named is None or named.digest != policy:
        found.failed("policy", f"it rests on {named.digest if named else 'no policy'}, not on {policy}")
    elif found.ok:
        found.passed("the policy is the one that was agreed on", policy)


def _epoch(found: Checked, seen: Seen | None) -> None:
    release, terms = found.release, found.release.terms
    before = seen.release(terms.authority, release.target) if seen else None
    own = hashlib.sha256(release.decision.payload).hexdigest()
    if before is not None and terms.epoch < before.epoch:
        found.failed("epoch", f"stale: a release of epoch {before.epoch} was seen, this one is of {terms.epoch}")
    elif before is not None and terms.epoch == before.epoch and own != before.digest and terms.verdict != "halt":
        found.failed("epoch", f"another decision under the epoch {terms.epoch} that was seen before")
    elif found.ok:
        found.passed("epoch", f"{terms.epoch}" + (f", after {before.epoch}" if before and before.epoch < terms.epoch else ""))


def _bundle(found: Checked, roles: Roles, now_ms: int, path: Path) -> None:
    """Everything that evaluators signed, made again from the bundle."""
    terms, release = found.release.terms, found.release
    if terms.evidence is None:
        found.failed("evidence", "the release rests on no bundle")
        return
    basis, report = read_basis(path, roles, now_ms, must_hold=False)
    for finding in report.findings:
        found.failed(f"bundle, {finding.check}", f"{finding.where}: {finding.what}")
    if basis is None:
        return
    if basis.ref != terms.evidence:
        found.failed("evidence", "the release rests on another bundle")
        return
    for lacking in unfounded(terms.verdict, basis):
        found.failed("evidence", lacking)
    policy = basis.policy
    named = terms.policy and (terms.policy.id, terms.policy.version, terms.policy.digest, terms.policy.decision_days)
    if named != (policy and (policy.id, policy.version, policy.digest, policy.decision_days)):
        found.failed("policy", "the release names another policy than the run was opened under")
    if release.subject != subject(basis.target):
        found.failed("target", "the release is about another target than the run")
    known = basis.known(attachments(release))
    for finding in known.findings:
        found.failed(finding.check, f"{finding.where}: {finding.what}")
    if terms.identity != known.level.name:
        found.failed("target", f"it says that the target is known by '{terms.identity}'; the evidence has '{known.level.name}'")
    found.rests_on += [*known.rests_on, *report.trusted[1:]]
    made = list(recomputed(terms, basis))
    there = [(s["predicateType"], s["predicate"]) for e in release.envelopes if (s := e.statement()).get("predicateType") in RECOMPUTED]
    if made != there:
        found.failed("evidence", "the results that were signed do not follow from the bundle")
    if found.ok:
        found.passed("bundle verified, results made again", f"{terms.evidence.trials} trials, {terms.evidence.bundle_digest}")


def attachments(release: Release) -> list[Attachment]:
    """What others say of the model, as it was attached. Raises `ReleaseError` for what cannot be read."""
    try:
        return [msgspec.convert(e.statement()["predicate"], Attachment) for e in release.of(ATTACHED)]
    except msgspec.ValidationError as e:
        raise ReleaseError(f"what is attached cannot be read: {e}") from None


def accepted(seen: Seen, found: Checked, roles: Roles, signed_roles: object) -> Seen:
    """What has been seen once this release is accepted. Raises `ReleaseError` for one that is not."""
    if not found.ok:
        raise ReleaseError("only a release that holds is kept")
    release = found.release
    digest = hashlib.sha256(release.decision.payload).hexdigest()
    return seen.followed(roles, signed_roles).with_release(roles.authority, release.target, SeenRelease(release.terms.epoch, digest))
