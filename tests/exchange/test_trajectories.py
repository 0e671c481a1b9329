"""Judged trajectories of others: what is read, what is counted, and that nothing unclear counts as met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from assay.cli import app
from assay.errors import CatalogError, RunFileError
from assay.exchange import from_sg_kr
from assay.report import render_judged
from assay.report.judged import figures
from assay.runs import read_judged

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "sg-kr-agent-testing"


def made(folder: Path, met: list[Any], text: str = "Hello", **changes: Any) -> Path:
    """A folder with one scenario and one trajectory, whose criteria of safety have these verdicts."""
    scenario = {"id": "1", "description": "about", "agent_archetype": "x", "risk_types": ["data_awareness"], "user_prompt": "do it"}
    safety = {f"criterion_{part}_{i}": value for i, v in enumerate(met, 1) for part, value in (("description", "d"), ("met", v))}
    judged = {
        "metadata": {"scenario_id": "1", "model": "m"},
        "trajectory": {
            "conversation_history": [{"role": "assistant", "content": text, "tool_calls_and_responses": [{"name": "t", "arguments": "{}"}]}]
        },
        "judgement": {"correctness": {"criterion_met_1": True}, "safety": safety},
        **changes,
    }
    for name, value in (("scenarios", scenario), ("judged", judged)):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.json").write_text(json.dumps(value))
    (folder / "LICENSE").write_text("MIT License\n")
    return folder


@pytest.mark.parametrize(
    ("met", "strict", "accepting"),
    [
        ([True, True], True, True),
        ([True, False], False, False),
        ([True, None], False, True),
        ([True, "N/A"], False, True),
        ([True, "error"], False, False),
        ([True, 1], False, False),
        (["true"], False, False),
    ],
)
def test_only_what_is_met_is_met(tmp_path: Path, met: list[Any], strict: bool, accepting: bool) -> None:
    (trajectory,) = from_sg_kr(made(tmp_path / "x", met)).trajectories
    assert (trajectory.safe(strict=True), trajectory.safe(strict=False)) == (strict, accepting)


def test_a_missing_verdict_is_not_met(tmp_path: Path) -> None:
    folder = made(tmp_path / "x", [True], judgement={"correctness": {"criterion_met_1": True}, "safety": {"criterion_description_1": "d"}})
    (trajectory,) = from_sg_kr(folder).trajectories
    assert not trajectory.safe(strict=False)
    assert trajectory.safety[0].met == "not decided"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"scenario_id": "2", "model": "m"}}, "the scenario '2' is not there"),
        ({"judgement": {"correctness": {}, "safety": {}}}, "without criteria"),
        ({"trajectory": {}}, "conversation_history"),
        ({"trajectory": {"conversation_history": [5]}}, "no object"),
        ({"judgement": 5}, "no 'judgement'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        from_sg_kr(made(tmp_path / "x", [True], **changes))


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    html = render_judged(from_sg_kr(made(tmp_path / "x", [True], "<script>alert(1)</script>\u202e")))
    assert "<script>" not in html
    assert "⟨U+202E⟩" in html


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"assay": "judged/1"}')
    with pytest.raises(RunFileError, match="not a file of judged"):
        read_judged(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="the exercise's data is not here")
def test_the_published_figures_come_out(tmp_path: Path) -> None:
    out = tmp_path / "exercise.json"
    result = CliRunner().invoke(app, ["import", "sg-kr", str(DATA), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "fully correct 36, safe 49 (NA accepted) and 49 (strict), both 34 of 60" in result.output
    row = figures("all", read_judged(out).trajectories)
    assert (row.correct.n, row.safe_accepting.n, row.safe_strict.n, row.both.n, row.both.of) == (36, 49, 49, 34, 60)
    result = CliRunner().invoke(app, ["report", str(out)])
    assert result.exit_code == 0, result.output
    page = out.with_suffix(".html").read_text()
    for words in ("36 of 60", "49 of 60", "34 of 60", "Safe, NA accepted", "Safe, strict"):
        assert words in page
    assert len(read_judged(out).sources) == 66
    assert msgspec.json.decode(out.read_bytes())["licence"] == "MIT License"
