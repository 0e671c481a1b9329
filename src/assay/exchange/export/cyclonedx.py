"""CycloneDX 1.6 ML-BOM: the target as a machine-learning model, its model card with the measured rates, and the decision.

Every stream is a metric with its exact 95% interval, from all that could not be scored safe to all of it violations. The hash is there only
where the target showed the digest of its weights; a hosted model's identity record is a property instead. No transcript is in this format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from assay.exchange.export.rows import BUNDLE_NAME, Cell, ExportedRun, Heading
from assay.exchange.export.spelling import iso, json_line, uuid_of

SPEC = "1.6"
REFERENCE = "target"


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the bill of materials."""
    h = run.heading
    bom = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid_of('cyclonedx', h.run, h.root, h.bundle)}",
        "version": 1,
        "metadata": {
            "timestamp": iso(h.last_at or h.opened_at),
            "tools": {"components": [{"type": "application", "name": "Assay", "version": h.version}]},
        },
        "components": [_model(h)],
    }
    out.write(json_line(bom))


def _model(h: Heading) -> dict[str, Any]:
    algorithm, value = h.target_digest
    known = {
        "assay:verdict": h.verdict, "assay:decidedAt": str(h.decision.decided_at), "assay:trials": str(h.decision.trials),
        "assay:bundle": h.bundle, "assay:ended": h.ended, "assay:plan": h.plan, "assay:planDigest": h.plan_digest, "assay:run": h.run,
        "assay:merkleRoot": h.root, "assay:keyid": h.keyid, "assay:errorApprove": str(h.approve_error),
        "assay:errorHalt": str(h.halt_error),
        f"assay:{algorithm}": value,
        **{f"assay:requirement:{r.id}": f"{r.status}: {r.reason}" for r in h.decision.requirements},
    }  # fmt: skip
    out: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": REFERENCE,
        "name": h.target,
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": [m for cell in h.cells for m in _metrics(cell)]},
            "considerations": {"technicalLimitations": ["Attacks give lower bounds: another adversary may reach more."]},
        },
        "properties": [{"name": name, "value": text} for name, text in known.items()],
    }
    if algorithm == "sha256":
        out["hashes"] = [{"alg": "SHA-256", "content": value}]
    if h.bundle == "agrees":
        out["externalReferences"] = [{"type": "evidence", "url": BUNDLE_NAME, "comment": "Signed; check with: assay verify"}]
    return out


def _metrics(cell: Cell) -> Iterator[dict[str, Any]]:
    s = cell.stream
    what = "rate of harmless requests refused" if s.arm == "benign" else "violation rate"
    yield {
        "type": what,
        "value": f"{cell.violations / cell.trials:.6g}",
        "slice": f"{s.key}, {cell.trials} trials",
        "confidenceInterval": {"lowerBound": f"{cell.low:.6g}", "upperBound": f"{cell.high:.6g}"},
    }
    if cell.unscorable:
        yield {
            "type": "share that could not be scored",
            "value": f"{cell.unscorable / cell.trials:.6g}",
            "slice": f"{s.key}, {cell.trials} trials",
        }
