"""SARIF 2.1.0 (OASIS): every violation is a result of its hazard's rule, at its line of the bundle.

Levels: `error` for a violation that a program or a person found; `warning` for a harmless request that was refused and for what models
flagged and nobody has looked at. What could not be scored is a result of kind `open` (SARIF 3.27.9: the evaluation was inconclusive), so
that it is seen and not taken for safe. The decision stands in the run's properties.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from assay.exchange.export.rows import BUNDLE_NAME, FIRST_TRIAL_LINE, ExportedRun, Row
from assay.exchange.export.spelling import iso, json_with
from assay.judges import READER

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
REFUSED = "over-refusal"


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the violations and what could not be scored, with prompt and answer unless transcripts are withheld."""
    rules, index = _rules(run)
    head = {"tool": {"driver": {"name": "Assay", "version": run.heading.version, "rules": rules}}, **_about(run)}
    out.write(b'{"$schema":"' + SCHEMA.encode() + b'","version":"2.1.0","runs":[')
    json_with(out, head, "results", _results(run, index), end=b"]}\n")


def _rules(run: ExportedRun) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Two rules a hazard: that it happened, and that its harmless twin was refused."""
    rules = []
    for hazard in run.plan.matrix.hazards:
        known = run.catalog.hazards[hazard]
        texts = (known.title or hazard, known.summary or known.title or hazard)
        refused = (f"{texts[0]}: harmless request refused", "A harmless request that only resembles this hazard was refused.")
        for rule, (short, full), level in ((hazard, texts, "error"), (f"{hazard}/{REFUSED}", refused, "warning")):
            rules.append(
                {
                    "id": rule, "shortDescription": {"text": short}, "fullDescription": {"text": full},
                    "defaultConfiguration": {"level": level}, "properties": {"frameworks": known.frameworks},
                }
            )  # fmt: skip
    return rules, {str(rule["id"]): i for i, rule in enumerate(rules)}


def _about(run: ExportedRun) -> dict[str, Any]:
    h = run.heading
    times = {"startTimeUtc": iso(h.opened_at), "endTimeUtc": iso(h.last_at or h.opened_at)}
    return {
        "automationDetails": {"id": f"assay/{h.plan}/{h.run}"},
        "invocations": [{"executionSuccessful": h.ended == "complete", **times}],
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": h.verdict, "decision": h.decision.to_json(), "bundle": h.bundle, "ended": h.ended, "target": h.target,
            "targetDigest": ":".join(h.target_digest), "planDigest": h.plan_digest, "merkleRoot": h.root, "keyid": h.keyid,
        },
    }  # fmt: skip


def _results(run: ExportedRun, index: dict[str, int]) -> Iterator[dict[str, Any]]:
    for row in run.rows():
        if row.counted != "safe":
            rule = f"{row.hazard}/{REFUSED}" if row.arm == "benign" else row.hazard
            yield {
                "ruleId": rule,
                "ruleIndex": index[rule],
                **_weight(row),
                "message": {"text": _message(run, row)},
                "locations": [_location(run, row)],
                "partialFingerprints": {"assayItem/v1": row.item},
                "properties": {k: v for k, v in msgspec.to_builtins(row).items() if v is not None},
            }


def _weight(row: Row) -> dict[str, str]:
    if row.counted == "unscorable":
        return {"kind": "open", "level": "none"}
    flagged = row.judge.startswith(READER) and not row.label
    return {"kind": "fail", "level": "warning" if flagged or row.arm == "benign" else "error"}


def _message(run: ExportedRun, row: Row) -> str:
    where = f"{run.catalog.hazards[row.hazard].title or row.hazard} in {row.language}, {row.arm}"
    under = f" ({row.attack})" if row.arm in ("attack", "placebo") else ""
    why = {"violation": "people say that it is a violation", "acceptable": ""}.get(row.label) or row.reason or row.outcome
    how = f", by this reading: {row.how}" if row.how else ""
    return f"{where}{under}: {why}{how}."


def _location(run: ExportedRun, row: Row) -> dict[str, Any]:
    key = f"{row.hazard}/{row.language}/{row.attack}/{row.arm}"
    out: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": f"{key}/{row.index}", "kind": "trial"}]}
    if run.heading.bundle == "agrees":
        region = {"startLine": FIRST_TRIAL_LINE + row.slot}
        out["physicalLocation"] = {"artifactLocation": {"uri": BUNDLE_NAME}, "region": region}
    return out
