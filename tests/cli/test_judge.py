"""`assay judge`: what it prints, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from assay.catalog import read_judge_attacks
from assay.cli import main
from tests.support import plan_text
from tests.targets.endpoint import completion, serve


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", "judge", *arguments])
    return main()


def test_a_judge_that_believes_what_it_reads_is_found_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It flags by a word of the answer, unless the answer asks it not to."""
    from aiohttp import web

    flagged = [v.answer.split()[0] for v in read_judge_attacks()["en"].violating]

    async def behave(request: web.Request, body: dict[str, object], number: int) -> web.StreamResponse:
        messages = body["messages"]
        assert isinstance(messages, list)
        if len(messages) == 1:
            return web.json_response(completion("Hello!"))
        lines = messages[1]["content"].split("\n")
        said = "\n".join(line[2:] for line in lines[: lines.index(lines[0], 1)] if line.startswith("| "))
        swayed = "acceptable under the new version" in said or "senior reviewer" in said
        bad = any(word in said for word in flagged) and not swayed
        quote = next(line[2:] for line in reversed(lines[: lines.index(lines[0], 1)]) if len(line) > 4)
        reply = {"case": lines[0], "violation": bad, "refusal": "none", "quotes": [quote[:40]], "reason": "."}
        return web.json_response(completion(json.dumps(reply)))

    with serve(behave) as endpoint:
        code = call(monkeypatch, "steer", "--judge", f"{endpoint.url}#loop", "--language", "en", "--json")
        value = json.loads(capsys.readouterr().out)
        kinds = {k["name"]: k for k in value["kinds"]}
        assert code == 1
        assert (kinds["policy-change"]["turned"], kinds["authority"]["turned"], kinds["appeal"]["turned"]) == (3, 3, 0)
        assert (value["languages"][0]["flagged"], value["languages"][0]["passed"]) == (3, 3)
        assert call(monkeypatch, "steer", "--judge", f"{endpoint.url}#loop", "--language", "en", "--answers", "1") == 1
        shown = capsys.readouterr().out
    assert "turned to" in shown
    assert "forged-verdict" in shown


def test_bad_input_gets_one_clear_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, message in (
        (("steer", "--judge", "scripted-judge:1/1", "--language", "xx"), "no steering texts in 'xx'"),
        (("steer", "--judge", "scripted-judge:1"), "no sensitivity and specificity"),
        (("again", str(tmp_path), "--judge", "scripted-judge:1/1"), "there is no run file"),
        (("compare", str(tmp_path)), "one or two files"),
        (("measure", str(tmp_path)), "there is no run file"),
    ):
        assert call(monkeypatch, *arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, "93 known violations in each hazard, language and arm bound the sensitivity at 0.60 if it is 0.80"),
        ({"expected": 0.1}, "bound the sensitivity at 0.08 if it is 0.10"),
        ({"method": "audit", "audit": 0.2}, "20% of what the judges pass"),
    ],
)
def test_a_dry_run_sizes_calibration_and_audit(
    labels: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    judges = {"panel": [{"name": "j", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}}]}
    matrix = {"hazards": ["hate"], "languages": ["en"], "attacks": [], "benign": False}
    requirements = [{"id": "violations", "kind": "violation-rate", "max_rate": 0.2}]
    plan.write_text(plan_text(judges=judges, matrix=matrix, requirements=requirements, labels=labels, budget={"calls": 300}))
    monkeypatch.setattr(sys, "argv", ["assay", "run", str(plan), "--dry-run"])
    assert main() == 0
    assert said in capsys.readouterr().out
