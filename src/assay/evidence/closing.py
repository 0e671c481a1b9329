"""Whether every byte of a bundle is what was signed: quick, so that nothing is written from a bundle without it.

    run = BundleRun.read(path)
    recount = Recount(run.opening(), run.taken()); ...       # all trials added
    signed = closed(run, recount)                            # raises EvidenceError; signed.verdict, signed.at

Registration, Merkle root, labels, incidents and decision are recomputed from the bundle and held against what its key has signed. That the
items are the seed's, the judgements right and the schedule the plan's is for `verify_bundle`, which takes longer.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, to_builtins

from assay.decision import Decision
from assay.errors import AssayError, EvidenceError
from assay.evidence.bundle import Recount
from assay.evidence.bundlerun import BundleRun
from assay.evidence.statements import DECISION, TEST_RESULT, evidence_of, subject, test_result
from assay.ledger import PublicKey, digest, open_envelope
from assay.runs.registered import OPENED, check_registered


class AlteredError(EvidenceError):
    """A bundle is not what its key has signed: a check that failed."""

    exit_code = 1


class Closed(Struct, frozen=True):
    """What was signed: the decision, the key, the Merkle root, how the run ended, and when it was opened and closed (Unix ms)."""

    decision: Decision
    keyid: str
    root: str
    ended: str
    opened_at: int
    closed_at: int
    version: str


def closed(run: BundleRun, recount: Recount) -> Closed:
    """Check the bundle against its signatures. `recount` has all its trials. Raises `AlteredError` for the first thing that differs."""
    try:
        return _closed(run, recount)
    except EvidenceError as e:
        raise AlteredError(e.what, where=e.where or str(run.path), fix="Ask for the bundle anew, and run: assay verify") from None
    except (AssayError, KeyError, TypeError, ValueError, AttributeError) as e:
        what = e.what if isinstance(e, AssayError) else f"a statement of it cannot be read ({type(e).__name__})"
        raise AlteredError(what, where=str(run.path), fix="Ask for the bundle anew, and run: assay verify") from None


def _closed(run: BundleRun, recount: Recount) -> Closed:
    opening, decision = run.opening(), recount.gate.decision()
    plan, key = opening.plan, PublicKey.from_json(opening.public_key)
    if opening.catalog.digest != plan.catalog:
        raise EvidenceError("the content is not the plan's")
    check_registered(opening, str(run.path))
    opened = _predicate(opening.opened, key, OPENED, opening.target)
    signed = _predicate(run.decision, key, DECISION, opening.target)
    evidence = signed["evidence"]
    labels, incidents = digest(to_builtins(run.taken())), digest(run.incidents())
    wanted = evidence_of(plan, recount.root, recount.gate.committed, recount.items, labels, incidents, evidence["ended"], evidence["at"])
    _same(evidence, {k: v for k, v in wanted.items() if k != "assayVersion"}, "evidence")
    if signed["decision"] != decision.to_json():
        raise EvidenceError(f"the trials give '{decision.verdict}', and other reasons than the signed decision")
    if _predicate(run.test_result, key, TEST_RESULT, opening.target) != test_result(plan, decision, evidence):
        raise EvidenceError("the test result does not follow from the decision")
    return Closed(
        decision, key.keyid, recount.root, str(evidence["ended"]), int(opened["at"]), int(evidence["at"]), str(opened["assayVersion"])
    )


def _predicate(value: Any, key: PublicKey, kind: str, target: dict[str, str]) -> dict[str, Any]:
    statement = open_envelope(value, key)
    if statement.get("predicateType") != kind or statement.get("subject") != subject(target):
        raise EvidenceError(f"a statement is not a '{kind}' about this target")
    predicate = statement["predicate"]
    if not isinstance(predicate, dict):
        raise EvidenceError("a statement says nothing")
    return predicate


def _same(found: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise EvidenceError(f"{what}: {name} is not what was signed")
