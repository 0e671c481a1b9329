"""The signed statements of a run: opened (before the first trial), test result and decision (at the end).

All are in-toto Statements v1 in DSSE envelopes; the subject is always the target. The test result has the in-toto predicate
`test-result/v0.1`; the two others are our own.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from assay.decision import Decision, Verdict
from assay.ledger import Envelope, PrivateKey, canonical, digest, sign_statement
from assay.plan import Plan
from assay.runs.registered import OPENED
from assay.version import __version__

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
DECISION = "urn:assay:predicate:decision:v1"

RESULTS: dict[Verdict, str] = {"approve": "PASSED", "delay": "WARNED", "halt": "FAILED"}


def subject(target: dict[str, str]) -> list[dict[str, Any]]:
    """The target as an in-toto subject: by the digest of its weights, else of its identity record."""
    if target.get("digest", "").startswith("sha256:"):
        return [{"name": target["model"], "digest": {"sha256": target["digest"].removeprefix("sha256:")}}]
    identity = digest(target).removeprefix("sha256:")
    return [{"name": target.get("model", "target"), "digest": {"assayTargetIdentity": identity}}]


def sign_opened(
    key: PrivateKey, plan: Plan, target: dict[str, str], nonce: bytes, at: int, replay_of: str = "", seals: str = "", policy: str = ""
) -> Envelope:
    """The registration: what is fixed before the first trial. `at` is Unix time in milliseconds.

    `replay_of` is the digest of the registration of the run whose transcripts are judged again, `seals` that of the parties' seals,
    `policy` that of the policy that the plan must meet. `packages` are the versions of what ran, so that it can be told later which runs a
    package that turned hostile has touched.
    """
    predicate = {
        "planDigest": plan.digest,
        "catalogDigest": plan.catalog,
        "nonceDigest": digest(nonce.hex()),
        "target": target,
        "at": at,
        "assayVersion": __version__,
        "packages": packages(),
        **({"replayOf": replay_of} if replay_of else {}),
        **({"sealsDigest": seals} if seals else {}),
        **({"policyDigest": policy} if policy else {}),
    }
    return sign_statement(key, subject(target), OPENED, predicate)


@cache
def packages() -> dict[str, str]:
    """The versions of the distributions that Assay needs to run, as they are installed."""
    from importlib.metadata import PackageNotFoundError, requires, version

    found = {}
    for wanted in requires("assay") or ():
        name = re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0]
        with suppress(PackageNotFoundError):
            found[name.lower()] = version(name)
    return found


def replay_of(opened: dict[str, Any]) -> str:
    """The digest of the registration whose transcripts a run judges again; empty for a run that asks a target."""
    return str(msgspec.json.decode(Envelope.from_json(opened).payload)["predicate"].get("replayOf", ""))


def evidence_of(plan: Plan, root: str, trials: int, items: str, labels: str, incidents: str, ended: str, at: int) -> dict[str, Any]:
    """What both closing statements refer to."""
    return {
        "planDigest": plan.digest,
        "merkleRoot": root,
        "trials": trials,
        "itemsDigest": items,
        "labelsDigest": labels,
        "incidentsDigest": incidents,
        "ended": ended,
        "at": at,
        "assayVersion": __version__,
    }


def sign_test_result(key: PrivateKey, plan: Plan, target: dict[str, str], decision: Decision, evidence: dict[str, Any]) -> Envelope:
    """in-toto test-result/v0.1: PASSED, WARNED or FAILED; a claim that halts is a failed test, an open one a warned test."""
    return sign_statement(key, subject(target), TEST_RESULT, test_result(plan, decision, evidence))


def test_result(plan: Plan, decision: Decision, evidence: dict[str, Any]) -> dict[str, Any]:
    """The predicate of `sign_test_result`."""
    by_status: dict[str, list[str]] = {"approve": [], "open": [], "halt": []}
    for requirement in decision.requirements:
        for claim in requirement.claims:
            by_status[claim.status].append(f"{requirement.id}: {claim.label}")
    return {
        "result": RESULTS[decision.verdict],
        "configuration": [
            {"name": f"plan {plan.name}", "digest": {"sha256": plan.digest.removeprefix("sha256:")}},
            {"name": "trials", "digest": {"sha256": evidence["merkleRoot"].removeprefix("sha256:")}},
        ],
        "passedTests": by_status["approve"],
        "warnedTests": by_status["open"],
        "failedTests": by_status["halt"],
    }


def sign_decision(key: PrivateKey, target: dict[str, str], decision: Decision, evidence: dict[str, Any]) -> Envelope:
    """The decision of the run: the verdict, its reasons and the evidence it rests on. `evidence.release` is what people make of it."""
    return sign_statement(key, subject(target), DECISION, {"decision": decision.to_json(), "evidence": evidence})


def opened_leaf(opened: dict[str, Any]) -> bytes:
    """Leaf 0 of the tree: the registration, so that the root covers it and it comes first."""
    return canonical(opened)
