"""Bad input at the command line, through the real entry point: one clear message, the documented exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import COMMANDS, app
from tests.support import plan_text

SECRET = "sk-must-never-be-shown"


def assay(*arguments: str | Path, cwd: Path, limit_bytes: int = 0) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    env = {**os.environ, "SOME_KEY": SECRET, "BAD_KEY": f"{SECRET}\nX-Other: 1"}
    command = [sys.executable, "-m", "assay", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit)


def assert_refused(done: subprocess.CompletedProcess[str], *parts: str, code: int = 2) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout
    assert 1 <= len(done.stderr.strip().splitlines()) <= 4, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_version_and_help(tmp_path: Path) -> None:
    assert assay("--version", cwd=tmp_path).stdout.startswith("assay ")
    top = assay("--help", cwd=tmp_path).stdout
    assert "Examples:" in top
    assert "Usage:" in assay("run", "--help", cwd=tmp_path).stdout
    for name in COMMANDS:
        assert name in top
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0, name
        assert "Usage:" in done.output


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nonsense"], ["No such command"]),
        (["run", "no-such-plan"], ["there is no plan file 'no-such-plan'", "quick"]),
        (["run", "quick", "--target", "gpt"], ["'gpt' is not a target"]),
        (["run", "quick", "--target", "magic:1"], ["unknown kind of target 'magic'"]),
        (["run", "quick", "--target", "scripted:often"], ["must be a rate"]),
        (["run", "quick", "--target", "http://127.0.0.1:9/v1"], ["name the model"]),
        (["run", "quick", "--target", "http://127.0.0.1:9/v1#m"], ["gave no usable answer"]),
        (["run", "quick", "--target", "http://127.0.0.1:9/v1#m@UNSET_KEY"], ["UNSET_KEY is not set"]),
        (["run", "quick", "--target", "http://127.0.0.1:9/v1#m@BAD_KEY"], ["characters that no key has"]),
        (["run", "quick", "--target", "embedded:gpt-9"], ["no embedded model 'gpt-9'"]),
        (["run", "--resume"], ["--resume needs --out"]),
        (["run", "--resume", "--out", "nowhere"], ["there is no run file"]),
        (["decide", "nowhere"], ["there is no run file"]),
        (["report", "nowhere"], ["there is no run file"]),
        (["plan", "check", "quick2"], ["there is no plan file"]),
        (["catalog", "show", "gossip"], ["unknown hazard 'gossip'"]),
        (["catalog", "show", "secret-leakage", "--language", "tlh"], ["unknown language 'tlh'"]),
        (["model", "fetch", "gpt-9"], ["no embedded model"]),
        (["model", "add", "nothing.gguf"], ["cannot read the weights"]),
    ],
)
def test_bad_words_get_one_message_and_leave_nothing(arguments: list[str], parts: list[str], tmp_path: Path) -> None:
    assert_refused(assay(*arguments, cwd=tmp_path), *parts)
    assert not list(tmp_path.rglob("run.db"))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    assert_refused(assay("verify", "none.jsonl", cwd=tmp_path), "cannot read the bundle", code=2)


@pytest.fixture
def finished(tmp_path: Path, plan_file: Path) -> Path:
    done = assay("run", plan_file, "--out", "run", "--quiet", cwd=tmp_path)
    assert done.returncode in (0, 10, 20), done.stderr
    return tmp_path / "run"


def test_json_lines_and_exit_codes_agree(tmp_path: Path, plan_file: Path) -> None:
    done = assay("run", plan_file, "--out", "run", "--json", cwd=tmp_path)
    events = [json.loads(row) for row in done.stdout.splitlines()]
    assert {e["event"] for e in events} == {"trial", "decision"}
    verdict = events[-1]["verdict"]
    assert done.returncode == {"approve": 0, "delay": 10, "halt": 20}[verdict]
    assert assay("decide", "run", cwd=tmp_path).returncode == done.returncode
    assert json.loads(assay("decide", "run", "--json", cwd=tmp_path).stdout)["verdict"] == verdict
    assert assay("verify", "run", cwd=tmp_path).returncode == 0
    assert json.loads(assay("verify", "run", "--json", cwd=tmp_path).stdout)["ok"]
    assert json.loads(assay("run", plan_file, "--dry-run", "--json", cwd=tmp_path).stdout)["streams"] == 6


def test_a_folder_with_a_run_is_not_overwritten(finished: Path, plan_file: Path) -> None:
    before = (finished / "run.db").read_bytes()
    assert_refused(assay("run", plan_file, "--out", finished, cwd=finished), "already", "--resume")
    assert (finished / "run.db").read_bytes() == before


def test_a_run_of_another_plan_is_not_continued(finished: Path, plan_file: Path) -> None:
    plan_file.write_text(plan_text(name="other"))
    assert_refused(assay("run", plan_file, "--resume", "--out", finished, cwd=finished), "opened with another plan")


def test_a_damaged_bundle_is_found_and_named(finished: Path) -> None:
    bundle = finished / "evidence.jsonl"
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 2] ^= 1
    bundle.write_bytes(raw)
    done = assay("verify", bundle, cwd=finished)
    assert done.returncode == 1
    assert "line " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["row", "page", "truncated", "not sqlite"])
def test_a_damaged_run_file_is_said_so(damage: str, finished: Path) -> None:
    path = finished / "run.db"
    if damage == "row":
        db = sqlite3.connect(path)
        db.execute("UPDATE trial SET leaf = replace(leaf, 'answer', 'Answer') WHERE slot = 2")
        db.commit()
        db.close()
    else:
        raw = path.read_bytes()
        changed = {"page": raw[:4096] + os.urandom(len(raw) - 4096), "truncated": raw[: len(raw) // 3], "not sqlite": b"hello " * 900}
        path.write_bytes(changed[damage])
    for command in (["decide", finished], ["report", finished, "--out", finished / "new.html"], ["run", "--resume", "--out", finished]):
        assert_refused(assay(*command, cwd=finished), "run.db")
    assert not (finished / "new.html").exists()


def test_a_full_disk_is_said_so_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(target={"kind": "scripted", "model": "0.08"}, budget={"calls": 3000}))
    done = assay("run", plan, "--out", "run", "--quiet", cwd=tmp_path, limit_bytes=420_000)
    assert_refused(done, "run.db")
    resumed = assay("run", "--resume", "--out", "run", "--quiet", cwd=tmp_path)
    assert resumed.returncode in (0, 10, 20), resumed.stderr
    assert assay("verify", "run", cwd=tmp_path).returncode == 0


def test_an_unwritable_place_is_said_so(tmp_path: Path, plan_file: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(assay("run", plan_file, "--out", "file/run", cwd=tmp_path), "cannot write here")


def test_a_damaged_key_is_said_so(tmp_path: Path, plan_file: Path) -> None:
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n")
    assert_refused(assay("run", plan_file, "--out", "run", "--key", "key.pem", cwd=tmp_path), "key.pem", "private key")
    assert not (tmp_path / "run" / "run.db").exists()


def test_a_plan_made_by_new_is_valid(tmp_path: Path) -> None:
    assert assay("plan", "new", "my plan.yaml", cwd=tmp_path).returncode == 0
    assert assay("plan", "check", "my plan.yaml", cwd=tmp_path).returncode == 0
    assert_refused(assay("plan", "new", "my plan.yaml", cwd=tmp_path), "already")
