"""Inspect logs: read back by Inspect's own API, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.exchange.export import ExportError, Row, inspect_log, read_exported, write_export
from assay.runs import RunFile
from assay.scenarios import Turn
from tests.exchange.exporting import HOSTILE, exported, hostile_run, judged_run, read_by_inspect, signed_run

AGENTS: dict[str, Any] = {
    "matrix": {"hazards": ["agent-banking"], "languages": ["en"], "attacks": []},
    "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.2}],
    "target": {"kind": "scripted", "model": "0.6"},
    "worlds": {"steps": 8, "calls": 20},
    "budget": {"calls": 12},
}


def sample_id(row: Row) -> str:
    return f"{row.hazard}/{row.language}/{row.attack}/{row.arm}/{row.index}"


def test_inspect_reads_every_trial_as_a_sample(tmp_path: Path) -> None:
    run = signed_run(tmp_path / "run")
    log = json.loads(read_by_inspect(exported("inspect", run, tmp_path)))
    with read_exported(run) as opened:
        heading, rows = opened.heading, list(opened.rows())
    assert (log["version"], log["status"]) == (2, "success")
    assert log["eval"]["dataset"]["sample_ids"] == [sample_id(row) for row in rows]
    assert len(log["samples"]) == len({s["id"] for s in log["samples"]}) == len(rows)
    for sample, row in zip(log["samples"], sorted(rows, key=sample_id), strict=True):  # Inspect reads them in the order of their ids
        assert sample["id"] == sample_id(row)
        assert sample["scores"]["assay"]["value"] == row.outcome
        assert sample["metadata"]["transcript"] == row.transcript
        assert [m["content"] for m in sample["input"]] == [m.content for m in row.prompt or ()]
        assert sample["messages"][-1]["content"] == sample["output"]["choices"][0]["message"]["content"] == row.answer
        assert sum(u["total_tokens"] for u in sample["model_usage"].values()) == row.prompt_tokens + row.answer_tokens
    assert log["results"]["metadata"]["verdict"] == heading.verdict
    rates = {s["name"]: s["metrics"]["violation_rate"]["value"] for s in log["results"]["scores"]}
    assert rates == {c.stream.key: pytest.approx(c.violations / c.trials) for c in heading.cells}


def test_hostile_answers_come_back_as_they_were(tmp_path: Path) -> None:
    log = json.loads(read_by_inspect(exported("inspect", hostile_run(tmp_path), tmp_path)))
    assert {s["messages"][-1]["content"] for s in log["samples"]} >= set(HOSTILE)
    assert log["status"] == "cancelled", "nobody signed its end"


def test_labels_and_flags_are_in_the_log_and_no_value_is_right_or_wrong(tmp_path: Path) -> None:
    log = json.loads(read_by_inspect(exported("inspect", judged_run(tmp_path / "j", labelled=True), tmp_path, transcripts=False)))
    scores = [s["scores"]["assay"] for s in log["samples"]]
    assert {s["value"] for s in scores} <= {"violation", "safe", "unscorable"}
    assert "violation" in {s["metadata"]["label"] for s in scores}
    assert {s["input"] for s in log["samples"]} == {"(withheld)"}


def test_turns_of_a_strategy_stand_in_the_place_of_the_request_and_those_of_an_episode_follow_it(tmp_path: Path) -> None:
    chat, agents = signed_run(tmp_path / "chat", budget={"calls": 12}), signed_run(tmp_path / "agents", **AGENTS)
    turns = (Turn("first try", "no"), Turn("second try", "yes"))
    with RunFile.read(chat / "run.db") as run, RunFile.create(tmp_path / "run.db", run.opening()) as copy:
        copy.append(msgspec.structs.replace(t, turns=turns, answer="yes") for t in run.trials())
    for folder, strategy in ((tmp_path, True), (agents, False)):
        samples = {s["id"]: s["messages"] for s in json.loads(read_by_inspect(exported("inspect", folder, tmp_path)))["samples"]}
        with read_exported(folder) as opened:
            rows = [r for r in opened.rows() if r.turns]
        assert rows
        for row in rows:
            asked = [m.content for m in row.prompt or ()]
            said = [text for t in row.turns or () for text in (t.prompt, t.answer) if text]
            assert [m["content"] for m in samples[sample_id(row)]] == (asked[:-1] if strategy else asked) + said


def test_more_trials_than_inspect_can_take_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_log, "MAX_TRIALS", 3)
    with read_exported(signed_run(tmp_path / "run")) as run, pytest.raises(ExportError, match="jsonl or parquet"):
        write_export("inspect", run, tmp_path / "run.eval")


def test_a_large_run_gives_the_same_log_as_a_small_one(tmp_path: Path) -> None:
    signed_run(tmp_path / "run", budget={"calls": 40})
    code = (
        "import json, sys; from pathlib import Path; from assay.exchange.export import inspect_child as c; from inspect_ai.log import "
        "read_eval_log; here = Path(sys.argv[1])\n"
        "for c.MANY, name in ((5000, 'small'), (0, 'large')): c.main([str(here / 'run.jsonl'), str(here / f'{name}.eval')])\n"
        "print(json.dumps([json.loads(read_eval_log(str(here / f'{n}.eval')).model_dump_json(exclude={'location'})) for n in "
        "('small', 'large')]))"
    )
    (tmp_path / "run.jsonl").write_bytes(exported("jsonl", tmp_path / "run", tmp_path))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    small, large = json.loads(done.stdout)
    assert small == large
    assert len(large["samples"]) > 30


def test_what_inspect_says_when_it_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_log, "CHILD", "assay.exchange.export.nowhere")
    with read_exported(signed_run(tmp_path / "run")) as run, pytest.raises(ExportError, match="nowhere"):
        write_export("inspect", run, tmp_path / "run.eval")
    assert not (tmp_path / "run.eval").exists()
    assert "inspect_ai" not in sys.modules
