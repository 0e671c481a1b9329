"""`assay watch` as it is called."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from assay.cli.watch import command
from assay.errors import AssayError, SigningKeyError
from assay.watch import Folder, Settings, Watch
from tests.watch.fleet import checkpoint, fleet, small_plan, write_plan


def called(tmp_path: Path, where: Path | str, *more: str) -> Any:
    plan = tmp_path / "plan.yaml"
    given = [str(where), "--plan", str(plan if plan.exists() else write_plan(tmp_path)), "--out", str(tmp_path / "out"), "--settle", "0.05"]
    return CliRunner().invoke(command, [*given, *more], standalone_mode=False)


def test_once_looks_waits_for_what_settles_and_says_what_changed(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    empty = called(tmp_path, weights, "--once")
    assert (empty.return_value, "no checkpoint" in empty.stderr) == (10, True)
    checkpoint(weights, "0.0")
    first = called(tmp_path, weights, "--once", "--target", "scripted:{name}")
    assert (first.return_value, "0.0 is the reference" in first.stdout) == (0, True), first.output
    checkpoint(weights, "0.9")
    second = called(tmp_path, weights, "--once", "--target", "scripted:{name}", "--json")
    events = [json.loads(line) for line in second.stdout.splitlines()]
    assert second.return_value == 20
    assert [(e["event"], e["checkpoint"]) for e in events] == [("found", "0.9"), ("evaluated", "0.9")]
    assert events[-1]["verdict"] == "worse"
    again = called(tmp_path, weights, "--once", "--target", "scripted:{name}")
    assert again.return_value == 20  # nothing new: the code is that of the latest
    (weights / "bad").mkdir()
    (weights / "bad" / "a.safetensors").write_text("x")
    assert called(tmp_path, weights, "--once", "--every", "0.05").return_value == 10


def test_until_change_ends_at_the_first_change(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = ["leak-1", "refuse-2"]
        done = called(tmp_path, f"{served.url}/v1", "--until-change", "--every", "0.05")
    assert done.return_value == 20  # it refuses harmless requests, too
    assert "harmless requests not served rose" in done.stdout
    assert "assay compare" in done.stdout.replace("-m assay", "assay")


def test_what_cannot_be_watched_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is no folder"):
        raise called(tmp_path, tmp_path / "gone").exception
    with pytest.raises(AssayError, match="does not answer"):
        raise called(tmp_path, "http://127.0.0.1:9/v1", "--every", "0.05").exception
    with pytest.raises(Exception, match="--once looks once"):
        raise called(tmp_path, tmp_path, "--once", "--until-change").exception
    with pytest.raises(AssayError, match="webhook"):
        raise called(tmp_path, tmp_path, "--webhook", "http://example.org/").exception


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("scripted:x", "one and the same target"),
        ("scripted:0.1", "one and the same target"),
        ("scripted:x{name}", "must be a rate"),
        ("magic:{name}", "unknown kind of target"),
        ("http://127.0.0.1:9/v1#{name}@UNSET_KEY", "UNSET_KEY is not set"),
        ("http://127.0.0.1:9/v1", "one and the same target"),
    ],
)
def test_a_mistyped_target_is_refused_before_anything_is_noted(tmp_path: Path, target: str, said: str) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    with pytest.raises(AssayError, match=said) as refused:
        raise called(tmp_path, weights, "--once", "--target", target).exception
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    right = called(tmp_path, weights, "--once", "--target", "scripted:{name}")
    assert (right.return_value, "0.0 is the reference" in right.stdout) == (0, True), right.output


def test_a_key_that_cannot_be_opened_is_no_try_of_a_checkpoint(tmp_path: Path) -> None:
    weights, bad = tmp_path / "weights", tmp_path / "bad.pem"
    checkpoint(weights, "0.0")
    bad.write_text("no key")
    assert isinstance(called(tmp_path, weights, "--once", "--target", "scripted:{name}", "--key", str(bad)).exception, AssayError)
    assert not (tmp_path / "out").exists()
    watch = Watch.open(Settings(tmp_path / "out", target="scripted:{name}", key=bad), Folder(weights, settle_s=0), *small_plan(tmp_path))
    with watch:
        assert not list(watch.look())  # it is whole where two looks see the same
        with pytest.raises(SigningKeyError):
            list(watch.look())
    assert [(c.status, c.tries) for c in watch.state.checkpoints] == [("found", 0)]


def test_what_failed_is_tried_again_when_it_is_asked_for(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "final")
    given = (tmp_path, weights, "--once", "--every", "0.05", "--target")
    failed = called(*given, "scripted:{name}")
    assert (failed.return_value, "! final could not be evaluated" in failed.stdout) == (10, True), failed.output
    assert "--again final" in failed.stderr
    with fleet() as served:
        target = f"{served.url}/v1#{{name}}"
        assert called(*given, target).return_value == 10
        assert not served.calls
        with pytest.raises(AssayError, match="no checkpoint 'fnal'") as wrong:
            raise called(*given, target, "--again", "fnal").exception
        assert wrong.value.fix == "Those that could not: final."
        again = called(*given, target, "--again", "final")
    assert (again.return_value, "final is the reference" in again.stdout) == (0, True), again.output


def test_with_nothing_new_it_does_not_wait_and_says_what_the_code_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    for name in ("0.0", "0.9"):
        checkpoint(weights, name)
    first = called(tmp_path, weights, "--once", "--target", "scripted:{name}")
    assert "Waiting 0.05 s for files to settle" in first.stderr
    slept: list[float] = []
    monkeypatch.setattr("assay.cli.watch.time.sleep", slept.append)
    again = called(tmp_path, weights, "--once", "--target", "scripted:{name}", "--settle", "3600")
    assert (again.return_value, slept) == (20, []), again.output
    assert "Nothing new. The latest: 0.9 got worse than 0.0" in again.stderr
    assert "(exit 20)" in again.stderr


def test_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    command = [sys.executable, "-m", "assay", "watch", str(weights), "--plan", str(write_plan(tmp_path)), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    given = [*command, "--settle", "0", "--every", "0.1", "--target", "scripted:{name}"]
    process = subprocess.Popen(given, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "is the reference" in line
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err


def test_the_code_of_a_copy_is_that_of_what_it_copies(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for name in ("0.0", "0.9"):
        checkpoint(weights, name)
    assert called(tmp_path, weights, "--once", "--target", "scripted:{name}").return_value == 20
    checkpoint(weights, "copy", "0.9")
    again = called(tmp_path, weights, "--once", "--target", "scripted:{name}")
    assert (again.return_value, "✕ copy is checkpoint 2 again: 0.9 got worse than 0.0" in again.stdout) == (20, True), again.output


def test_a_listed_model_that_does_not_answer_is_no_success(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = ["refuse-1", "refuse-2"]
        assert called(tmp_path, f"{served.url}/v1", "--once", "--every", "0.05").return_value == 0
        served.silent = {"refuse-1"}
        known = called(tmp_path, f"{served.url}/v1", "--once", "--every", "0.05")
        assert (known.return_value, "refuse-1: nothing is known of it now" in known.stderr) == (10, True), known.output
        served.models, served.silent = ["refuse-2", "new-3"], {"new-3"}
        new = called(tmp_path, f"{served.url}/v1", "--once", "--every", "0.05")
        assert (new.return_value, "new-3 could not be evaluated: asked for a greeting" in new.stdout) == (10, True), new.output


def test_a_password_in_an_address_is_refused_and_not_written(tmp_path: Path) -> None:
    for where in ("https://mei:hunter2@models.example/v1", "https://models.example/v1?key=hunter2", "htps://mei:hunter2@models.example"):
        refused = called(tmp_path, where, "--once")
        assert refused.exception is not None
        assert "hunter2" not in f"{refused.output}{refused.exception}"
        assert not (tmp_path / "out").exists()
