"""Every Eval Ever 0.3 (EvalEval Coalition), the aggregate file: every stream a result with its interval, judges and decoding beside it.

A score is violations per trial; its interval reaches from all that could not be scored safe to all of it violations. Assay does not know
how the evaluator stands to the model, so `evaluator_relationship` is `other`, to be set by whoever publishes. No transcript is in it.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from assay.exchange.export.rows import Cell, ExportedRun, Heading
from assay.exchange.export.spelling import json_line, line
from assay.plan import Judges, Plan

SCHEMA_VERSION = "0.3.0"
METHOD = "Clopper-Pearson; from all that could not be scored safe to all of it violations"
_NOT_PATH = re.compile(r"[^A-Za-z0-9._/-]+")


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the aggregate file."""
    h, plan = run.heading, run.plan
    at = str((h.last_at or h.opened_at) // 1000)
    identity = model_id(h.target)
    document = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"assay-{h.plan}/{identity.replace('/', '_')}/{at}",
        "evaluation_timestamp": str(h.opened_at // 1000),
        "retrieved_timestamp": at,
        "source_metadata": {
            "source_name": "Assay",
            "source_type": "evaluation_run",
            "source_organization_name": f"holder of the key {h.keyid}",
            "evaluator_relationship": "other",
            "additional_details": {
                "verdict": h.verdict, "trials": str(h.decision.trials), "decided_at": str(h.decision.decided_at), "ended": h.ended,
                "bundle": h.bundle, "run": h.run, "plan": h.plan, "plan_digest": h.plan_digest, "merkle_root": h.root,
                **{f"requirement {r.id}": f"{r.status}: {line(r.reason)}" for r in h.decision.requirements},
            },
        },
        "eval_library": {"name": "assay", "version": h.version},
        "model_info": _model(h, identity),
        "evaluation_results": [_result(h, plan, cell) for cell in h.cells],
    }  # fmt: skip
    out.write(json_line(document))


def model_id(name: str) -> str:
    """A target's name as `developer/model`, of characters that a path may hold."""
    parts = [part.strip("-.") for part in _NOT_PATH.sub("-", name).split("/")]
    parts = [part for part in parts if part] or ["unknown"]
    return "/".join(parts if len(parts) > 1 else ["unknown", *parts])


def _model(h: Heading, identity: str) -> dict[str, Any]:
    own = h.target_kind in ("embedded", "vllm")
    return {
        "name": line(h.target),
        "id": identity,
        "additional_details": {
            "deployment_type": "self_deployed" if own else "unknown",
            "model_availability": "open_weights" if own else "unknown",
            "target_kind": h.target_kind,
            "digest": ":".join(h.target_digest),
        },
    }


def _result(h: Heading, plan: Plan, cell: Cell) -> dict[str, Any]:
    s = cell.stream
    what = "harmless_request_refusal_rate" if s.arm == "benign" else "violation_rate"
    config: dict[str, Any] = {
        "evaluation_description": f"Hazard {s.hazard}, language {s.language}, attack {s.attack}, arm {s.arm}.",
        "metric_id": f"assay.{what}", "metric_name": what.replace("_", " "), "metric_kind": what, "metric_unit": "proportion",
        "lower_is_better": True, "score_type": "continuous", "min_score": 0, "max_score": 1,
    }  # fmt: skip
    if plan.judges and s.hazard in plan.judges.hazards:
        config["llm_scoring"] = _judges(plan.judges, f"{s.hazard}/{s.language}")
    return {
        "evaluation_result_id": s.key,
        "evaluation_name": s.key,
        "source_data": {
            "dataset_name": f"assay catalogue, {s.hazard}",
            "source_type": "other",
            "additional_details": {"catalog_digest": h.catalog_digest, "items": "drawn afresh from the run's seed"},
        },
        "metric_config": config,
        "score_details": {
            "score": cell.violations / cell.trials,
            "details": {"trials": str(cell.trials), "violations": str(cell.violations), "unscorable": str(cell.unscorable)},
            "uncertainty": {
                "confidence_interval": {"lower": cell.low, "upper": cell.high, "confidence_level": 0.95, "method": METHOD},
                "num_samples": cell.trials,
            },
        },
        "generation_config": {
            "generation_args": {"temperature": plan.generation.temperature, "max_tokens": plan.generation.max_tokens},
            "additional_details": {"seed": str(plan.generation.seed), "samples_per_item": str(plan.samples)},
        },
    }


def _judges(judges: Judges, stream: str) -> dict[str, Any]:
    """The panel. The prompt is the catalogue's rubric, named by the digest of all that the panel's verdict depends on."""
    panel = [
        {
            "model_info": {
                "name": line(spec.target.model), "id": model_id(spec.target.model),
                "additional_details": {"deployment_type": "unknown", "model_availability": "unknown", "digest": spec.target.digest},
            },
            "temperature": spec.temperature,
        }
        for spec in judges.panel
    ]  # fmt: skip
    out: dict[str, Any] = {
        "judges": panel,
        "input_prompt": f"The rubric of Assay's catalogue for {stream}; panel {judges.digests.get(stream, 'not pinned')}",
        "additional_details": {
            "combine": judges.combine,
            "tries": str(judges.tries),
            "people": "a flagged answer counts once a person confirms",
        },
    }
    if judges.combine == "majority":
        out["aggregation_method"] = "majority_vote"
    return out
