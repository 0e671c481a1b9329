"""A whole watch: evaluate, compare, tell; nothing twice and nothing lost, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import assay
from assay.errors import AssayError
from assay.watch import Endpoint, Folder, News, Settings, Watch
from assay.watch.state import read_state
from assay.watch.telling import Teller, verdict_of
from tests.watch.fleet import checkpoint, fleet, small_plan, write_plan


def opened(tmp_path: Path, source: Any, **given: Any) -> Watch:
    return Watch.open(Settings(tmp_path / "out", **given), source, *small_plan(tmp_path))


def settled(folder: Path) -> Folder:
    source = Folder(folder, settle_s=0)
    source.look()
    return source


def evaluated(news: list[News]) -> dict[str, str]:
    return {n.checkpoint.name: verdict_of(n.checkpoint) for n in news if n.kind == "evaluated"}


@pytest.mark.usefixtures("chart")
def test_new_checkpoints_are_signed_runs_and_each_is_held_against_the_first(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    with opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        assert evaluated(list(watch.look())) == {"0.0": "reference"}
        assert evaluated(list(watch.look())) == {}
        checkpoint(weights, "0.01")
        checkpoint(weights, "0.99")
        assert evaluated(list(watch.look())) == {}
        assert evaluated(list(watch.look())) == {"0.01": "no change", "0.99": "worse"}
        changes = [c.change for c in watch.state.checkpoints]
    assert changes[0] is None
    assert [(c.number, c.level) for c in changes[1:] if c] == [(1, 0.05 / 2), (2, 0.05 / 6)]
    assert changes[2].worse[0].newer[0] > 8
    for folder in ("0001-0.0", "0002-0.01", "0003-0.99"):
        assert assay.verify(tmp_path / "out" / folder / "evidence.jsonl").ok
    page = (tmp_path / "out" / "trend.html").read_text()
    assert "0.99 got worse than 0.0" in page
    assert "0003-0.99/report.html" in page
    assert "<svg" in page
    assert "<script" not in page


def test_an_endpoints_models_are_evaluated_as_they_are_listed(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = ["refuse-1"]
        teller = Teller(webhook=f"{served.url}/hook")
        with opened(tmp_path, Endpoint(f"{served.url}/v1")) as watch:
            assert evaluated(list(watch.look(teller))) == {"refuse-1": "reference"}
            before = served.calls["refuse-1"]
            served.models = ["refuse-1", "leak-2"]
            assert evaluated(list(watch.look(teller))) == {"leak-2": "worse"}
            assert served.calls["refuse-1"] == before + 1  # a greeting, and no trial
            served.fingerprints["refuse-1"] = "fp-2"
            assert evaluated(list(watch.look(teller))) == {"refuse-1": "no change"}
            numbers = [c.number for c in watch.state.checkpoints]
    assert numbers == [1, 2, 3]
    assert [(a["checkpoint"], a["verdict"]) for a in served.heard] == [("leak-2", "worse")]
    moves = {m["what"]: m["direction"] for m in served.heard[0]["moves"]}
    assert moves["harmful requests"] == "rose"
    assert moves["harmless requests"] == "fell"


def test_what_was_not_told_is_told_at_the_next_look_and_then_never_again(tmp_path: Path) -> None:
    with fleet() as served:
        served.models, served.hooks = ["leak-1", "refuse-2"], 500
        teller = Teller(webhook=f"{served.url}/hook")
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            first = list(watch.look(teller))
            assert [n.kind for n in first if n.kind == "untold"] == ["untold"]
            assert "answers 500" in first[-1].message
            assert "/hook" not in first[-1].message
            served.hooks, served.heard = 200, []
            list(watch.look(teller))
            list(watch.look(teller))
    assert [a["checkpoint"] for a in served.heard] == ["refuse-2"]


def test_the_same_weights_under_another_name_are_not_evaluated_again(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0", "same bytes")
    checkpoint(weights, "0.5", "same bytes")
    with opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        assert evaluated(list(watch.look())) == {"0.5": "same", "0.0": "reference"}
        assert watch.state.checkpoints[1].like == 1
        assert not list((tmp_path / "out").glob("0002*"))


def test_a_checkpoint_that_cannot_be_evaluated_is_tried_again_and_then_failed(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "step-1")
    with opened(tmp_path, settled(weights), tries=2) as watch:
        assert [n.kind for n in watch.look()] == ["found", "retry"]
        assert evaluated(list(watch.look())) == {"step-1": "failed"}
        assert list(watch.look()) == []
    assert "GGUF" in watch.state.checkpoints[0].reason


def test_an_outage_within_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with fleet() as served:
        served.models, served.breaks_after = ["refuse-1"], 14  # two greetings and twelve trials
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            assert [n.kind for n in watch.look()] == ["found", "retry"]
            assert "no answer" in watch.state.checkpoints[0].reason
            served.breaks_after, served.calls = 10**9, {}
            assert evaluated(list(watch.look())) == {"refuse-1": "reference"}
        assert served.calls["refuse-1"] <= 2 + 24 - 12 + 4  # what was there is not asked again, but for what was under way
    assert watch.state.checkpoints[0].trials == 24


def test_baselines(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for name in ("0.9", "0.0", "0.01"):
        checkpoint(weights, name)
    with opened(tmp_path, settled(weights), target="scripted:{name}", baseline="approved", level=0.2) as watch:
        list(watch.look())
        found = {c.name: c for c in watch.state.checkpoints}
    assert [c.name for c in watch.state.checkpoints] == ["0.0", "0.01", "0.9"]
    assert found["0.0"].verdict == found["0.01"].verdict == "approve"
    assert found["0.01"].change.reference == "0.0"
    assert found["0.9"].change.reference == "0.01"
    assert found["0.9"].change.level == pytest.approx(0.2 / 6 / 2)  # chosen between two by what they showed
    given = Settings(tmp_path / "other", target="scripted:{name}", baseline=str(tmp_path / "out" / found["0.9"].run))
    with Watch.open(given, settled(weights), *small_plan(tmp_path)) as watch:
        assert evaluated(list(watch.look())) == {"0.0": "better", "0.01": "better", "0.9": "no change"}


def test_a_watch_belongs_to_one_process_one_plan_and_one_error(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    with opened(tmp_path, settled(weights)), pytest.raises(AssayError, match="another process"):
        opened(tmp_path, settled(weights))
    with pytest.raises(AssayError, match="another error"):
        opened(tmp_path, settled(weights), level=0.01)
    with pytest.raises(AssayError, match="another plan"):
        Watch.open(Settings(tmp_path / "out"), settled(weights), *small_plan(tmp_path, budget={"calls": 30}))
    with pytest.raises(AssayError, match="out of range"):
        opened(tmp_path, settled(weights), margin=1.0)
    opened(tmp_path, settled(weights)).__exit__(None, None, None)
    (tmp_path / "out" / "watch.json").write_text('{"assay": "watch/1"}')
    with pytest.raises(AssayError, match="no state"):
        opened(tmp_path, settled(weights))


def test_a_run_that_ended_early_is_unclear(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    plan, catalog = small_plan(tmp_path, budget={"calls": 24, "tokens": 40})
    with Watch.open(Settings(tmp_path / "out", target="scripted:{name}"), settled(weights), plan, catalog) as watch:
        assert evaluated(list(watch.look())) == {"0.0": "unclear"}


KILLED = 3


def test_killed_at_any_time_nothing_is_lost_and_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for name in ("0.0", "0.02", "0.9"):
        checkpoint(weights, name)
        (weights / name / ".complete").touch()
    plan, log = write_plan(tmp_path), tmp_path / "told.jsonl"
    tell = tmp_path / "tell"
    tell.write_text(f'#!/bin/sh\necho "$ASSAY_ALERT" >> {log}\n')
    tell.chmod(0o755)
    command = [sys.executable, "-m", "assay", "watch", str(weights), "--plan", str(plan), "--target", "scripted:{name}", "--once"]
    command += ["--out", str(tmp_path / "out"), "--alert-command", str(tell), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(assay.__file__).parents[1])}
    code = None
    for attempt in range(KILLED + 1):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if attempt < KILLED:
            time.sleep(0.7 + 0.4 * attempt)  # a kill has no moment to wait for
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            code = process.wait(timeout=60)
    assert code == 20
    state = read_state(tmp_path / "out")
    assert state is not None
    assert [(c.number, c.name, c.status, c.trials) for c in state.checkpoints] == [
        (1, "0.0", "done", 24), (2, "0.02", "done", 24), (3, "0.9", "done", 24),
    ]  # fmt: skip
    assert [c.change.number for c in state.checkpoints if c.change] == [1, 2]
    assert all(assay.verify(tmp_path / "out" / c.run / "evidence.jsonl").ok for c in state.checkpoints)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert {t["checkpoint"] for t in told} == {"0.9"}
    assert len(told) <= 2


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    checkpoint(weights, "0.9")
    with opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        list(watch.look())
        assert read_state(tmp_path / "out") == structs.replace(watch.state)
