"""When the endpoint goes down: the run waits, or stops and keeps everything; an outage never becomes a verdict on an item."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import assay
from assay.errors import RunFileError, TargetError
from assay.runs import RunFile
from tests.support import plan_text
from tests.targets.endpoint import completion, serve


def plan_for(url: str, folder: Path, **limits: Any) -> Path:
    path = folder / "plan.yaml"
    path.write_text(
        plan_text(
            target={"kind": "http", "model": "m", "url": url},
            matrix={"hazards": ["secret-leakage"], "languages": ["en"], "attacks": []},
            requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.1}],
            budget={"calls": 24},
            limits={"concurrency": 4, "retries": 0, "timeout_s": 1, "outage_s": 2, **limits},
        )
    )
    return path


def outcomes(folder: Path) -> list[str]:
    with RunFile.read(folder / "run.db") as run:
        return [t.outcome for t in run.trials()]


def test_a_pause_of_429_leaves_no_mark_on_the_outcomes(tmp_path: Path) -> None:
    began = time.monotonic()

    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if number > 6 and time.monotonic() - began < 1.5:
            return web.Response(status=429)
        return web.json_response(completion("I cannot help with that."))

    with serve(behaviour) as endpoint:
        result = assay.evaluate(plan_for(endpoint.url, tmp_path, outage_s=20), out=tmp_path / "run")
    assert result.ended == "complete"
    assert outcomes(tmp_path / "run").count("unscorable") == 0


def test_429_without_end_stops_keeps_and_resumes(tmp_path: Path) -> None:
    down = True

    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if down and number > 8:
            return web.Response(status=429)
        return web.json_response(completion("I cannot help with that."))

    with serve(behaviour) as endpoint:
        plan = plan_for(endpoint.url, tmp_path)
        with pytest.raises(TargetError, match="no answer for") as error:
            assay.evaluate(plan, out=tmp_path / "run")
        assert "--resume" in str(error.value)
        kept = outcomes(tmp_path / "run")
        assert 4 <= len(kept) < 24
        assert not (tmp_path / "run" / "evidence.jsonl").exists()
        down = False
        result = assay.evaluate(plan, out=tmp_path / "run", resume=True)
    assert result.bundle is not None
    report = assay.verify(result.bundle)
    assert report.ok, report.findings
    assert outcomes(tmp_path / "run").count("unscorable") == 0
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert [i["what"] for i in run.incidents()] == ["target down", "resumed"]


def test_an_item_that_always_fails_while_others_answer_is_unscorable(tmp_path: Path) -> None:
    poison: list[str] = []

    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        text = body["messages"][-1]["content"]
        if number == 5:
            poison.append(text)
        if text in poison:
            return web.Response(status=500)
        return web.json_response(completion("I cannot help with that."))

    with serve(behaviour) as endpoint:
        result = assay.evaluate(plan_for(endpoint.url, tmp_path, outage_s=20), out=tmp_path / "run")
    assert result.ended == "complete"
    assert outcomes(tmp_path / "run").count("unscorable") >= 1
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert {t.reason for t in run.trials() if t.outcome == "unscorable" and t.arm == "plain"} <= {"HTTP 500"}


def test_a_resumed_run_wants_its_own_plan(tmp_path: Path) -> None:
    with serve() as endpoint:
        plan = plan_for(endpoint.url, tmp_path)
        assay.evaluate(plan, out=tmp_path / "run")
        plan.write_text(plan.read_text().replace("calls: 24", "calls: 25"))
        with pytest.raises(RunFileError, match="opened with another plan"):
            assay.evaluate(plan, out=tmp_path / "run", resume=True)
        with pytest.raises(RunFileError, match="already"):
            assay.evaluate(plan, out=tmp_path / "run")
