"""What is done with findings: records opened with every signature checked, and steps added to them.

    finding = open_record(record, admins, threshold)
    record = propose(record, finding, Change("triaged", "looks right"), key, admins, threshold, now_ms)
    record = approve(record, finding, other_key, admins, threshold)          # a step that takes several administrators
    may_export(finding, "csaf", now_ms)

A step counts by the signatures of those who administer now. What former administrators have signed counts once as many as the threshold
have adopted it: each step names the digest of the one before, so whoever signs a step vouches for all that led to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from assay.access.findings.finding import (
    FORMAT,
    LEAST_SIGNERS,
    MAX_STEPS,
    MOVES,
    REPORT,
    EmbargoError,
    Finding,
    FindingError,
    Report,
    State,
    Step,
    Tlp,
    UntrustedFindingError,
    digest_of,
    problems,
    severity_of,
    step_envelope,
    subject_of,
    to_json,
)
from assay.access.grants.grant import thumbprint
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey, PublicKey

CLOCK_SLACK_MS = 5 * 60_000
PUBLIC: frozenset[Tlp] = frozenset({"CLEAR", "GREEN"})
Admins = Mapping[str, PublicKey]


class Change(Struct, frozen=True):
    """What somebody wants to do: the state to come to (empty: the one that it has), why, and what else changes."""

    to: State | str = ""
    why: str = ""
    embargo_until: int | None = None
    tlp: Tlp | None = None
    severity: str | None = None
    fixed: dict[str, str] = {}
    adopts: bool = False


def open_record(value: Any, admins: Admins, threshold: int, *, adopting: bool = False) -> Finding:
    """A record with every signature and every move checked. With `adopting`, steps of former administrators are let pass, for those who are
    about to take them over. Raises `FindingError` for what is no record, `UntrustedFindingError` for one that does not hold.
    """
    report, envelope, reporter = _report(value)
    finding = Finding(
        report, (), (), "reported", report.embargo_until, report.tlp, report.severity,
        {s.name: s.fixed for s in report.systems if s.fixed}, digest_of(envelope),
    )  # fmt: skip
    covered = _adopted(value["steps"], admins, threshold)
    for index, each in enumerate(value["steps"]):
        step, signed, keys = _signed_step(each, report.id)
        own = [k.keyid for k in keys.values()] == [reporter.keyid]
        names = (report.person,) if own else tuple(n for n, k in admins.items() if k.keyid in keys)
        for what in step_problems(finding, step, own=own):
            raise UntrustedFindingError(what, where=f"{report.id} step {step.number}")
        needed = signers_needed(finding, step, threshold)
        if not own and len(names) < needed and index >= covered and not adopting:
            what = f"signed by {len(names)} of those who administer now ({', '.join(names) or 'nobody'}); it takes {needed}"
            fix = f"If the others have left: assay access finding update {report.id} --adopt, by several administrators."
            raise UntrustedFindingError(what, where=f"{report.id} step {step.number}", fix=fix)
        finding = _after(finding, step, digest_of(signed), names or (step.by,))
    return _with_pending(value, finding, admins)


def _report(value: Any) -> tuple[Report, Cosigned, PublicKey]:
    if not isinstance(value, dict) or set(value) - {"pending"} != {"assay", "report", "key", "steps"} or value["assay"] != FORMAT:
        raise FindingError("this is not a finding's record")
    if not isinstance(value["steps"], list) or len(value["steps"]) > MAX_STEPS:
        raise FindingError(f"a finding has {MAX_STEPS} steps at most")
    try:
        key = PublicKey.from_json(value["key"])
        envelope = Cosigned.from_json(value["report"])
        statement = envelope.statement()
        report = msgspec.convert(statement.get("predicate"), Report)
        held = envelope.signers({"reporter": key})
    except (AssayError, msgspec.ValidationError) as e:
        raise FindingError(f"the report cannot be read: {e}") from None
    if Cosigned.of(subject_of(report.id), REPORT, to_json(report)).payload != envelope.payload:
        raise UntrustedFindingError("what was signed is another report than it says", where=report.id)
    if held != ["reporter"] or len(envelope.signatures) != 1 or thumbprint(key) != report.key:
        raise UntrustedFindingError("the reporter has not signed it", where=report.id)
    for what in problems(report):
        raise FindingError(what, where=report.id)
    return report, envelope, key


def _signed_step(value: Any, finding_id: str) -> tuple[Step, Cosigned, dict[str, PublicKey]]:
    """A step, its envelope, and the keys that have signed it by their ids; every signature holds."""
    if not isinstance(value, dict) or set(value) != {"envelope", "keys"} or not isinstance(value["keys"], list):
        raise FindingError("a step has an envelope and keys", where=finding_id)
    try:
        envelope = Cosigned.from_json(value["envelope"])
        statement = envelope.statement()
        step = msgspec.convert(statement.get("predicate"), Step)
        keys = {k.keyid: k for k in map(PublicKey.from_json, value["keys"])}
        held = envelope.signers(keys)
    except (AssayError, msgspec.ValidationError) as e:
        raise UntrustedFindingError(f"a step cannot be read: {e}", where=finding_id) from None
    if step_envelope(step).payload != envelope.payload:
        raise UntrustedFindingError("what was signed is another step than it says", where=finding_id)
    if not keys or sorted(held) != sorted(keys) or {k for k, _ in envelope.signatures} != set(keys):
        raise UntrustedFindingError("a step without the signatures that it names", where=finding_id)
    return step, envelope, keys


def _adopted(steps: list[Any], admins: Admins, threshold: int) -> int:
    """Up to which step (not counting it) enough of those who administer now have taken everything over."""
    current = {k.keyid for k in admins.values()}
    covered = 0
    for index, each in enumerate(steps):
        step, _, keys = _signed_step(each, "")
        if step.adopts and len(current & set(keys)) >= max(threshold, LEAST_SIGNERS):
            covered = index
    return covered


def signers_needed(finding: Finding, step: Step, threshold: int) -> int:
    """How many administrators a step takes: one, or as many as approve a grant (two at least) to end an embargo early, or to adopt."""
    early = step.embargo_until is not None and step.embargo_until < finding.embargo_until
    early |= step.to == "disclosed" and finding.state != "disclosed" and step.at < finding.embargo_until
    return max(threshold, LEAST_SIGNERS) if early or step.adopts else 1


def step_problems(finding: Finding, step: Step, *, own: bool) -> list[str]:
    """Why a step cannot follow on a finding; `own` for one by its reporter."""
    out = []
    if step.id != finding.report.id or step.number != len(finding.steps) + 1 or step.before != finding.tip:
        out.append("it does not follow on the step before")
    if step.at < (finding.steps[-1].at if finding.steps else finding.report.at):
        out.append("it is older than the step before")
    changes = any(x is not None for x in (step.embargo_until, step.tlp, step.severity)) or bool(step.fixed) or step.adopts
    if step.to == finding.state and not changes:
        out.append(f"it is '{finding.state}' already, and nothing else changes")
    if step.to != finding.state and step.to not in MOVES[finding.state]:
        allowed = ", ".join(sorted(MOVES[finding.state])) or "nothing more"
        out.append(f"from '{finding.state}' it may come to {allowed}, not to '{step.to}'")
    if own and (step.to != "withdrawn" or changes or step.by != finding.report.person):
        out.append("its reporter may withdraw it, and nothing else")
    if step.to == "disclosed" and (step.tlp or finding.tlp) not in PUBLIC:
        out.append(f"what is disclosed is marked TLP:CLEAR or TLP:GREEN, not TLP:{step.tlp or finding.tlp}")
    if unknown := sorted(set(step.fixed) - {s.name for s in finding.report.systems} - {finding.report.model}):
        out.append(f"'{unknown[0]}' is no system of this finding")
    if step.severity:
        try:
            severity_of(step.severity)
        except FindingError as e:
            out.append(e.what)
    return out


def _after(finding: Finding, step: Step, tip: str, names: tuple[str, ...]) -> Finding:
    return Finding(
        finding.report, (*finding.steps, step), (*finding.signers, names), step.to,
        finding.embargo_until if step.embargo_until is None else step.embargo_until,
        step.tlp or finding.tlp, finding.severity if step.severity is None else step.severity, {**finding.fixed, **step.fixed}, tip,
    )  # fmt: skip


def _with_pending(value: dict[str, Any], finding: Finding, admins: Admins) -> Finding:
    if "pending" not in value:
        return finding
    step, _, keys = _signed_step(value["pending"], finding.report.id)
    if step.before != finding.tip:
        return finding
    names = tuple(n for n, k in admins.items() if k.keyid in keys)
    return msgspec.structs.replace(finding, pending=step, pending_by=names)


def propose(
    record: dict[str, Any], finding: Finding, change: Change, key: PrivateKey, admins: Admins, threshold: int, now_ms: int
) -> dict[str, Any]:
    """The record with one more step, signed; or, where it takes more administrators, with that step pending. Raises `FindingError`."""
    own = thumbprint(key.public) == finding.report.key
    by = next((n for n, k in admins.items() if k == key.public), finding.report.person if own else "")
    if not by:
        raise FindingError("with this key nobody administers, and it is not the reporter's", where=finding.report.id)
    own = own and key.public not in admins.values()
    try:
        step = msgspec.convert(
            {
                "assay": "finding-step/1", "id": finding.report.id, "number": len(finding.steps) + 1, "before": finding.tip,
                "to": change.to or finding.state, "by": by, "at": now_ms, "why": change.why, "embargo_until": change.embargo_until,
                "tlp": change.tlp, "severity": change.severity, "fixed": change.fixed, "adopts": change.adopts,
            },
            Step,
        )  # fmt: skip
    except msgspec.ValidationError as e:
        raise FindingError(f"this cannot be done: {e}", where=finding.report.id, fix="Say why in words: --why") from None
    for what in step_problems(finding, step, own=own):
        raise FindingError(what, where=finding.report.id)
    made = {"envelope": step_envelope(step).signed(key).to_json(), "keys": [key.public.to_json()]}
    kept = {k: v for k, v in record.items() if k != "pending"}
    if not own and signers_needed(finding, step, threshold) > 1:
        return {**kept, "pending": made}
    return {**kept, "steps": [*record["steps"], made]}


def approve(record: dict[str, Any], finding: Finding, key: PrivateKey, admins: Admins, threshold: int, now_ms: int) -> dict[str, Any]:
    """The record with this administrator's signature on the step that waits; with enough of them it is done. Raises `FindingError`."""
    if finding.pending is None:
        raise FindingError("nothing waits for a signature", where=finding.report.id)
    if key.public not in admins.values():
        raise FindingError("with this key nobody administers", where=finding.report.id)
    step, envelope, keys = _signed_step(record["pending"], finding.report.id)
    if step.at > now_ms + CLOCK_SLACK_MS:
        raise FindingError("the step that waits is dated in the future", where=finding.report.id)
    for what in step_problems(finding, step, own=False):
        raise FindingError(what, where=finding.report.id)
    if key.public.keyid in keys:
        raise FindingError("you have signed it already; another administrator signs next", where=finding.report.id)
    keys[key.public.keyid] = key.public
    made = {"envelope": envelope.signed(key).to_json(), "keys": [k.to_json() for k in keys.values()]}
    kept = {k: v for k, v in record.items() if k != "pending"}
    enough = sum(k.keyid in keys for k in admins.values()) >= signers_needed(finding, step, threshold)
    return {**kept, "steps": [*record["steps"], made]} if enough else {**kept, "pending": made}


def may_export(finding: Finding, form: str, now_ms: int) -> None:
    """Raises `EmbargoError` for what may not leave: before its embargo ends, before it is confirmed, and as OSV, which is for everybody,
    whatever is not disclosed under TLP:CLEAR.
    """
    where, state = finding.report.id, finding.state
    if now_ms < finding.embargo_until:
        from assay.evidence.releasemake import rfc3339

        fix = f"To end it early takes two administrators: assay access finding update {where} --end-embargo, then --approve by another."
        raise EmbargoError(f"under embargo until {rfc3339(finding.embargo_until)}", where=where, fix=fix)
    if state in ("reported", "triaged", "rejected") or (state == "withdrawn" and not finding.disclosed_at):
        raise EmbargoError(f"it is '{state}': only what was confirmed is passed on", where=where)
    if form == "osv" and (not finding.disclosed_at or finding.tlp != "CLEAR"):
        what = f"it is '{state}' under TLP:{finding.tlp}; OSV is for everybody, so for what is disclosed under TLP:CLEAR"
        raise EmbargoError(what, where=where, fix="CSAF keeps the mark: --format csaf")
