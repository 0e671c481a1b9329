"""A run killed with SIGKILL at random moments and resumed ends exactly as one left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from assay.evidence.bundle import read_summary
from assay.runs import RunFile
from tests.support import plan_text

KILLS = 10
PLAN = {
    "target": {"kind": "scripted", "model": "0.08", "options": {"delay_ms": "40", "failure": "0.03"}},
    "matrix": {"hazards": ["secret-leakage", "injected-instructions", "personal-data"], "languages": ["en"], "attacks": ["base64"]},
    "budget": {"calls": 1500},
    "limits": {"concurrency": 8, "lookahead": 24},
}


def command(plan: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "assay", "run", str(plan), "--out", str(out), "--quiet", *more]


def items_of(out: Path) -> list[tuple[int, str, str, str]]:
    with RunFile.read(out / "run.db") as run:
        return [(t.slot, t.stream.key, t.item, t.outcome) for t in run.trials()]


def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(**PLAN))
    alone = tmp_path / "alone"
    code = subprocess.run(command(plan, alone), check=False, capture_output=True, timeout=120).returncode
    assert code in (0, 10, 20)

    killed, rng, kills, seen = tmp_path / "killed", random.Random(11), 0, 0
    while kills < KILLS:
        resume = ["--resume"] if (killed / "run.db").exists() else []
        process = subprocess.Popen(command(plan, killed, *resume), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (killed / "run.db").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.3, 0.75))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        now = len(items_of(killed))
        assert now >= seen, "an acknowledged trial was lost"
        seen = now
    assert kills == KILLS, f"the run ended after {kills} kills; it was too short for this test"
    done = subprocess.run(command(plan, killed, "--resume"), check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert items_of(killed) == items_of(alone)
    one, other = read_summary(killed / "evidence.jsonl"), read_summary(alone / "evidence.jsonl")
    assert one is not None
    assert other is not None
    assert one.items == other.items
    assert one.decision == other.decision
    with RunFile.read(killed / "run.db") as a, RunFile.read(alone / "run.db") as b:
        assert a.opening().plan.digest == b.opening().plan.digest
        assert [i["what"] for i in a.incidents()].count("resumed") >= 1
    checked = subprocess.run(
        [sys.executable, "-m", "assay", "verify", str(killed / "evidence.jsonl"), "--json"], check=False, capture_output=True, timeout=60
    )
    assert json.loads(checked.stdout)["ok"], checked.stdout


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.yaml", tmp_path / "run"
    plan.write_text(plan_text(**{**PLAN, "target": {"kind": "scripted", "model": "0", "options": {"delay_ms": "200"}}}))
    process = subprocess.Popen(command(plan, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "run.db").exists() and len(items_of(out)) >= 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "assay run --resume --out" in stdout
    assert "Traceback" not in stderr
    kept = len(items_of(out))
    assert kept >= 5
    assert not (out / "evidence.jsonl").exists()
    resumed = subprocess.Popen(command(plan, out, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=30)
    assert len(items_of(out)) > kept
