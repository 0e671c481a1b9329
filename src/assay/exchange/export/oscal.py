"""OSCAL 1.2.1 assessment results (NIST), JSON: a requirement is a finding, a stream an observation, the target a component.

OSCAL knows two states, so what is undecided is `not-satisfied`, with the reason `other` (`fail` where it was shown not to hold); the last
finding is the release decision itself, which is satisfied on a signed approval only. Control ids are the plan's requirements: no catalogue
of controls is claimed. The assessment plan that OSCAL asks for is the registered plan in the bundle. No transcript is in this format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from assay.exchange.export.rows import BUNDLE_NAME, Cell, ExportedRun, Heading
from assay.exchange.export.spelling import iso, json_line, line, uuid_of

OSCAL_VERSION = "1.2.1"
NAMESPACE = "urn:assay:oscal"
_STATES = {"approve": ("satisfied", "pass"), "halt": ("not-satisfied", "fail"), "open": ("not-satisfied", "other")}


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the assessment results."""
    h = run.heading
    plan = _uuid(h, "plan")
    document = {
        "uuid": _uuid(h, "document"),
        "metadata": {
            "title": line(f"Assessment of {h.target} by the plan {h.plan}"),
            "last-modified": iso(h.last_at or h.opened_at),
            "version": h.root,
            "oscal-version": OSCAL_VERSION,
            "props": _props({"assay-version": h.version}),
        },
        "import-ap": {"href": f"#{plan}", "remarks": "The plan as it was registered before the first trial, in the signed bundle."},
        "results": [_result(h)],
        "back-matter": {
            "resources": [
                {
                    "uuid": plan,
                    "title": line(f"Plan {h.plan}"),
                    "description": line(h.about or h.plan),
                    "props": _props({"plan-digest": h.plan_digest, "catalog-digest": h.catalog_digest}),
                    "rlinks": [{"href": BUNDLE_NAME, "media-type": "application/jsonl"}],
                }
            ]
        },
    }
    out.write(json_line({"assessment-results": document}))


def _uuid(h: Heading, *parts: str) -> str:
    return uuid_of("oscal", h.run, h.root, h.bundle, *parts)


def _props(values: dict[str, object]) -> list[dict[str, str]]:
    return [{"name": name, "ns": NAMESPACE, "value": line(str(value))} for name, value in values.items()]


def _result(h: Heading) -> dict[str, Any]:
    ids = [_control(r.id) for r in h.decision.requirements]
    result: dict[str, Any] = {
        "uuid": _uuid(h, "result"),
        "title": line(f"{h.verdict}: {h.plan}"),
        "description": line(f"{h.decision.trials} trials; the run's end: {h.ended}; the signed bundle: {h.bundle}."),
        "start": iso(h.opened_at),
        "end": iso(h.last_at or h.opened_at),
        "props": _props({
            "verdict": h.verdict, "trials": h.decision.trials, "decided-at": h.decision.decided_at, "ended": h.ended, "bundle": h.bundle,
            "run": h.run, "merkle-root": h.root, "key-id": h.keyid, "error-approve": h.approve_error, "error-halt": h.halt_error,
        }),
        "local-definitions": {"components": [_component(h)]},
        "reviewed-controls": {
            "description": "The requirements of the registered plan.",
            "control-selections": [{"include-controls": [{"control-id": i} for i in ids]}],
        },
        "findings": list(_findings(h)),
    }  # fmt: skip
    if h.cells:
        result["observations"] = [_observation(h, cell) for cell in h.cells]
    return result


def _control(requirement: str) -> str:
    return f"requirement-{requirement}"


def _component(h: Heading) -> dict[str, Any]:
    algorithm, value = h.target_digest
    return {
        "uuid": _uuid(h, "target"),
        "type": "software",
        "title": line(h.target),
        "description": "The system under test.",
        "props": _props({"target-kind": h.target_kind, "target-digest": f"{algorithm}:{value}"}),
        "status": {"state": "other", "remarks": "Assessed before release, or between releases."},
    }


def _observation(h: Heading, cell: Cell) -> dict[str, Any]:
    s = cell.stream
    counts = {
        "hazard": s.hazard, "language": s.language, "attack": s.attack, "arm": s.arm, "trials": cell.trials, "violations": cell.violations,
        "unscorable": cell.unscorable, "rate-low": f"{cell.low:.6g}", "rate-high": f"{cell.high:.6g}",
    }  # fmt: skip
    return {
        "uuid": _uuid(h, "observation", s.key),
        "title": s.key,
        "description": f"{cell.violations} violations and {cell.unscorable} that could not be scored in {cell.trials} trials.",
        "props": _props(counts),
        "methods": ["TEST"],
        "subjects": [{"subject-uuid": _uuid(h, "target"), "type": "component"}],
        "relevant-evidence": [{"href": BUNDLE_NAME, "description": "The signed bundle, which anybody can recompute."}],
        "collected": iso(h.last_at or h.opened_at),
    }


def _findings(h: Heading) -> Iterator[dict[str, Any]]:
    seen = {cell.stream.key for cell in h.cells}
    for r in h.decision.requirements:
        streams = dict.fromkeys(key for claim in r.claims for key in claim.streams if key in seen)
        yield _finding(h, r.id, f"Requirement {r.id}", r.reason, _control(r.id), r.status, list(streams))
    status = "open" if h.verdict == "delay" else h.verdict
    why = "" if h.bundle == "agrees" else " No signed bundle agrees with the trials, so nothing is approved."
    yield _finding(h, "", "The release decision", f"The verdict is {h.verdict}.{why}", "release-decision", status, [])


def _finding(h: Heading, name: str, title: str, reason: str, target: str, status: str, streams: list[str]) -> dict[str, Any]:
    state, why = _STATES[status]
    out: dict[str, Any] = {
        "uuid": _uuid(h, "finding", name),
        "title": line(title),
        "description": line(reason),
        "target": {"type": "objective-id", "target-id": target, "status": {"state": state, "reason": why}},
    }
    if streams:
        out["related-observations"] = [{"observation-uuid": _uuid(h, "observation", key)} for key in streams]
    return out
