"""Every Eval Ever: the structure that its schema 0.3.0 asks for.

Its own package needs Python 3.12 and an older rich than ours, so it is no part of the tests.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from assay.exchange.export import read_exported
from assay.exchange.export.eee import model_id
from tests.exchange.exporting import exported, hostile_run, judged_run, signed_run

REQUIRED = {
    "": {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library", "evaluation_results"},
    "source_metadata": {"source_type", "source_organization_name", "evaluator_relationship"},
    "model_info": {"name", "id", "additional_details"},
    "eval_library": {"name", "version"},
}
RESULT = {"evaluation_name", "source_data", "metric_config", "score_details"}


def record_of(run: Path, folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(exported("eee", run, folder))
    for name, fields in REQUIRED.items():
        assert fields <= set(record[name] if name else record)
    for result in record["evaluation_results"]:
        assert set(result) >= RESULT
        assert set(result["source_data"]) >= {"dataset_name", "source_type"}
        uncertainty = result["score_details"]["uncertainty"]
        interval = uncertainty["confidence_interval"]
        assert 0 <= interval["lower"] <= result["score_details"]["score"] <= interval["upper"] <= 1
        assert all(isinstance(v, str) for v in result["score_details"]["details"].values())
        assert math.isfinite(result["score_details"]["score"])
    assert all(isinstance(v, str) for v in record["source_metadata"]["additional_details"].values())
    return record


def test_every_stream_is_a_result_with_its_rate(tmp_path: Path) -> None:
    run = signed_run(tmp_path / "run")
    record = record_of(run, tmp_path)
    with read_exported(run) as opened:
        cells = {c.stream.key: c for c in opened.heading.cells}
    assert {r["evaluation_result_id"] for r in record["evaluation_results"]} == set(cells)
    for result in record["evaluation_results"]:
        cell = cells[result["evaluation_name"]]
        assert result["score_details"]["score"] == cell.violations / cell.trials
        assert result["metric_config"]["lower_is_better"]
        assert "llm_scoring" not in result["metric_config"]
    assert record["source_metadata"]["additional_details"]["verdict"] == "halt"


def test_models_that_judge_are_named(tmp_path: Path) -> None:
    for result in record_of(judged_run(tmp_path / "judged", labelled=False), tmp_path)["evaluation_results"]:
        scoring = result["metric_config"]["llm_scoring"]
        assert [j["model_info"]["name"] for j in scoring["judges"]] == ["0.9/0.97"]
        assert "sha256:" in scoring["input_prompt"]


def test_hostile_names_give_a_path_that_leads_nowhere_else(tmp_path: Path) -> None:
    record = record_of(hostile_run(tmp_path), tmp_path)
    assert record["model_info"]["id"].startswith("unknown/evil-")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", "a/b"),
        ("model", "unknown/model"),
        ("../../etc", "unknown/etc"),
        ("", "unknown/unknown"),
        ("a/../b c", "a/b-c"),
        ("/", "unknown/unknown"),
    ],
)
def test_model_ids(name: str, expected: str) -> None:
    assert model_id(name) == expected
