"""Parquet and CycloneDX: what others' readers make of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from assay.evidence import open_run
from assay.exchange.export import ExportError, parquet, read_exported, write_export
from assay.runs import RunFile
from tests.exchange.exporting import HOSTILE, exported, hostile_run, signed_run
from tests.support import KEY


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_run(tmp_path_factory.mktemp("hostile"))


def asked(run: Path, folder: Path, query: str) -> list[tuple[Any, ...]]:
    (folder / "run.parquet").write_bytes(exported("parquet", run, folder))
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        return db.execute(query.replace("RUN", f"'{folder / 'run.parquet'}'")).fetchall()


def test_duckdb_counts_as_the_run_file_does(signed: Path, tmp_path: Path) -> None:
    query = "select hazard, arm, count(*), count(*) filter (outcome = 'violation'), min(epoch_ms(\"at\")) from RUN group by all"
    with RunFile.read(signed / "run.db") as run:
        trials = list(run.trials())
    found = {(hazard, arm): rest for hazard, arm, *rest in asked(signed, tmp_path, query)}
    for (hazard, arm), rest in found.items():
        mine = [t for t in trials if (t.hazard, t.arm) == (hazard, arm)]
        assert rest == [len(mine), sum(t.outcome == "violation" for t in mine), min(t.at for t in mine)]
    assert sum(rest[0] for rest in found.values()) == len(trials)


def test_duckdb_reads_hostile_answers_and_prompts_as_they_are(hostile: Path, tmp_path: Path) -> None:
    rows = asked(hostile, tmp_path, "select answer, prompt[-1].content, turns from RUN order by slot")
    assert {answer for answer, _, _ in rows} >= set(HOSTILE)
    with read_exported(hostile) as run:
        assert [p for _, p, _ in rows] == [r.prompt[-1].content for r in run.rows() if r.prompt]


def test_rows_are_written_in_groups_and_the_heading_is_in_the_metadata(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_CHARACTERS", 900_000)
    with read_exported(hostile) as run:
        write_export("parquet", run, tmp_path / "run.parquet")
        heading = run.heading
    file = pq.ParquetFile(tmp_path / "run.parquet")
    assert file.metadata.num_row_groups > 2
    assert file.metadata.num_rows == heading.decision.trials
    about = json.loads(file.schema_arrow.metadata[b"assay"])
    assert about["root"] == heading.root
    assert about["decision"] == heading.decision.to_json()


def test_without_transcripts_the_columns_are_not_there(hostile: Path, tmp_path: Path) -> None:
    (tmp_path / "run.parquet").write_bytes(exported("parquet", hostile, tmp_path, transcripts=False))
    names = pq.read_schema(tmp_path / "run.parquet").names
    assert {"prompt", "turns", "answer"}.isdisjoint(names)
    assert {"item", "transcript", "leaf"} <= set(names)


def test_a_missing_extra_is_named(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "assay.exchange.export.parquet")
    with read_exported(signed) as run, pytest.raises(ExportError, match=r"assay\[export\]"):
        write_export("parquet", run, tmp_path / "run.parquet")
    assert not (tmp_path / "run.parquet").exists()


@pytest.mark.parametrize("transcripts", [True, False])
@pytest.mark.parametrize("which", ["signed", "hostile"])
def test_the_bill_of_materials_is_valid(which: str, transcripts: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    data = exported("cyclonedx", request.getfixturevalue(which), tmp_path, transcripts=transcripts)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(data.decode()) is None
    assert validator.validate_str(data.decode().replace("machine-learning-model", "model")) is not None


def test_the_model_card_has_every_rate_and_the_digest_of_the_weights(signed: Path, tmp_path: Path) -> None:
    (model,) = json.loads(exported("cyclonedx", signed, tmp_path))["components"]
    with read_exported(signed) as run:
        heading = run.heading
    metrics = [m for m in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] if "confidenceInterval" in m]
    assert len(metrics) == len(heading.cells)
    for metric, counted in zip(metrics, heading.cells, strict=True):
        assert metric["slice"].startswith(counted.stream.key)
        assert float(metric["value"]) == pytest.approx(counted.violations / counted.trials, rel=1e-5)
        assert float(metric["confidenceInterval"]["lowerBound"]) <= float(metric["value"])
    assert "hashes" not in model, "a scripted target has no weights"
    known = {p["name"]: p["value"] for p in model["properties"]}
    assert known["assay:verdict"] == "halt"
    assert known["assay:assayTargetIdentity"] == heading.target_digest[1]
    assert model["externalReferences"][0]["url"] == "evidence.jsonl"


def test_weights_that_were_shown_are_a_hash(signed: Path, tmp_path: Path) -> None:
    with RunFile.read(signed / "run.db") as run:
        opening = run.opening()
        target = {"kind": "embedded", "model": "m", "digest": "sha256:" + "ab" * 32}
        again = open_run(opening.plan, opening.catalog, target, opening.nonce_bytes, KEY)
        with RunFile.create(tmp_path / "run.db", again) as copy:
            copy.append(run.trials())
    (model,) = json.loads(exported("cyclonedx", tmp_path, tmp_path))["components"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
