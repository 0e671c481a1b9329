"""Whole runs in a store: by the command line, through kills of driver and server, in the studio, on the desk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from assay import api
from assay.cli import main
from assay.engine import Committed
from assay.errors import RunFileError
from assay.label import Desk, Scope
from assay.runs import read_run, reopen_run
from assay.runs.address import RunAddress, parse_store
from assay.runs.opening import read_reference, write_reference
from assay.runs.reading import AWAY
from assay.runs.stored import stored_runs
from assay.studio.following import Follower
from assay.studio.shelf import Shelf
from assay.studio.stores import MOST_AWAY, Stores
from tests.postgres import Server
from tests.runs.conftest import PASSWORD
from tests.runs.test_postgres import cut, sql
from tests.support import Recorder, make_plan, plan_text

Call = Callable[..., tuple[int, str]]
KILLED = {
    "target": {"kind": "scripted", "model": "0.08", "options": {"delay_ms": "20", "failure": "0.03"}},
    "matrix": {"hazards": ["secret-leakage", "injected-instructions", "personal-data"], "languages": ["en"], "attacks": ["base64"]},
    "budget": {"calls": 600},
    "limits": {"concurrency": 8, "lookahead": 24, "outage_s": 60},
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `assay`; exit code, and all that it said."""

    def called(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["assay", *map(str, arguments)])
        code = main()
        out, err = capsys.readouterr()
        return code, out + err

    return called


@pytest.fixture
def far(server: Server, store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's address over the network, where it asks for a password, which the surroundings have."""
    address = f"postgresql://gate@127.0.0.1:{server.port}/postgres"
    monkeypatch.setenv("ASSAY_STORE_URL", address.replace("gate@", f"gate:{quote(PASSWORD, safe='')}@"))
    return address


def test_a_whole_run_and_what_comes_after_it_through_the_command_line(
    call: Call, far: str, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = []

    def ok(*arguments: object, code: int = 0) -> str:
        got, text = call(*arguments)
        assert got == code, text
        said.append(text)
        return text

    assert "ready" in ok("store", "check", far)
    run = tmp_path / "runs" / "first"
    assert "is kept in postgresql://gate@127.0.0.1" in ok("run", plan_file, "--store", far, "--out", run, code=20)
    assert not (run / "run.db").exists()
    assert "HALT" in ok("decide", run, code=20)
    ok("verify", run / "evidence.jsonl")
    ok("report", run)
    ok("report", run, "--interactive")
    ok("report", run, "--framework", "nist-ai-rmf")
    ok("export", "jsonl", run, "--out", "first.jsonl")
    ok("policy", "check", run, "--policy", "general-release", code=1)
    ok("compare", run, run, code=10)
    ok("run", "--replay", run, "--out", "runs/again", code=20)
    assert (tmp_path / "runs" / "again" / "run.ref").exists(), "ASSAY_STORE_URL is the store of new runs"
    listed = [json.loads(line) for line in ok("store", "list", "--json").splitlines()]
    assert [(r["plan"], r["writing"]) for r in listed] == [("small", False)] * 2
    address = listed[1]["address"]
    assert address == read_reference(run / "run.ref").text
    assert ok("decide", address, code=20) == ok("decide", run, code=20)
    for refused in (("report", address), ("label", address), ("run", "--resume", "--out", address)):
        assert "has no folder here" in ok(*refused, code=2)
    ok("store", "attach", address[:-50], "--out", "runs/theirs")
    assert read_reference(Path("runs/theirs/run.ref")).text == address
    assert "leave --store out" in ok("run", "--resume", "--store", far, "--out", "runs/first", code=2)
    monkeypatch.setenv("ASSAY_RUN_STORE", far)  # not typed: it is for new runs
    ok("run", "--resume", "--out", "runs/first", code=20)
    assert "already" in ok("run", plan_file, "--out", run, code=2)
    with_password = far.replace("gate@", "gate:topsecret@")
    for refused in (
        ("run", "--store", with_password),
        ("store", "list", with_password),
        ("store", "attach", f"{with_password}#{'0' * 8}", "--out", "x"),
    ):
        text = ok(*refused, code=2)
        assert "password" in text
        assert "topsecret" not in text
    monkeypatch.setenv("ASSAY_STORE_URL", far.replace("gate@", "gate:topsecret@"))
    assert "topsecret" not in ok("decide", run, code=2)
    everything = "".join(said)
    for path in (*tmp_path.rglob("*"), *Path(os.environ["HOME"]).rglob("*")):
        if path.is_file():
            everything += path.read_bytes().decode(errors="replace")
    for secret in (PASSWORD, PASSWORD.split()[0], "s3cret%20word", "topsecret"):
        assert secret not in everything


def test_kills_of_driver_and_server_change_nothing(server: Server, store: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(**KILLED))
    command = [sys.executable, "-m", "assay", "run", str(plan), "--store", store, "--out", str(tmp_path / "killed"), "--quiet"]
    resume = [*command[:5], "--resume", *command[7:]]
    alone = api.evaluate(plan, out=tmp_path / "alone")
    seen = 0
    for kill, how in enumerate(("driver", "server")):
        process = subprocess.Popen(resume if kill else command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        seen = wait_for_trials(tmp_path / "killed", seen + 40, process)
        if how == "server":
            server.stop("immediate")
            server.start()
            assert count(tmp_path / "killed") >= seen
            seen = wait_for_trials(tmp_path / "killed", seen + 40, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert count(tmp_path / "killed") >= seen
    done = subprocess.run(resume, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == alone.decision.exit_code, done.stderr
    assert trials_of(tmp_path / "killed") == trials_of(tmp_path / "alone")
    report = api.verify(tmp_path / "killed" / "evidence.jsonl")
    assert report.ok
    with read_run(tmp_path / "killed") as run:
        assert [i["what"] for i in run.incidents()].count("resumed") == 2


def count(folder: Path) -> int:
    with read_run(folder) as run:
        return run.count()


def wait_for_trials(folder: Path, least: int, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        if (folder / "run.ref").exists() and (found := count(folder)) >= least:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {least} trials in 30 s")


def trials_of(folder: Path) -> list[tuple[int, str, str, str, str]]:
    with read_run(folder) as run:
        return [(t.slot, t.stream.key, t.item, t.answer, t.outcome) for t in run.trials()]


def test_who_watches_a_run_hears_that_its_store_was_away(store: str, tmp_path: Path) -> None:
    heard: list[str] = []

    class Watching(Recorder):
        def committed(self, trial: Committed, gate: Any, phase: str) -> None:
            if trial.slot in (20, 60):
                cut(store)

        def outage(self, reason: str, seconds: float) -> None:
            heard.append(reason)

    plan = make_plan(budget={"calls": 120}, exploration={"plain": 40, "attack": 20, "benign": 20})
    result = api.evaluate(plan, out=tmp_path / "run", store=store, observer=Watching())
    assert heard
    assert all(reason.startswith(AWAY) for reason in heard)
    assert len(trials_of(tmp_path / "run")) == result.target_calls == 120


def test_a_driver_that_lost_its_run_stops_and_says_so(store: str, tmp_path: Path) -> None:
    """Its machine was cut off, another resumed the run meanwhile, and then the first came back."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(**{**KILLED, "budget": {"calls": 2000}}))
    command = [sys.executable, "-m", "assay", "run", str(plan), "--store", store, "--out", str(tmp_path / "first"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_trials(tmp_path / "first", 20, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        cut(store)
        write_reference(tmp_path / "second" / "run.ref", read_reference(tmp_path / "first" / "run.ref"))
        with reopen_run(tmp_path / "second") as taker:
            kept = taker.count()
            os.kill(process.pid, signal.SIGCONT)
            _, err = process.communicate(timeout=30)
            assert taker.count() == kept
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == 2
    assert b"another process goes on with this run" in err
    assert b"Traceback" not in err


def test_the_studio_lists_and_follows_runs_in_a_store(store: str, plan_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    result = api.evaluate(plan_file, out=runs / "mine", store=store)
    write_reference(runs / "theirs" / "run.ref", read_reference(runs / "mine" / "run.ref"))
    shelf = Shelf(runs)
    mine, theirs = (shelf.run(name) for name in ("mine", "theirs"))
    assert mine is not None
    assert theirs is not None
    assert (mine.state, mine.verdict, mine.signed, mine.trials) == ("finished", "halt", "yes", result.target_calls)
    assert (theirs.state, theirs.verdict, theirs.signed, theirs.plan) == ("stopped", "", "no", "small")
    follower = Follower(runs / "mine" / "run.ref")
    seen = follower.look()
    follower.close()
    assert (seen.trials, seen.verdict) == (result.target_calls, "halt")
    with reopen_run(runs / "theirs"):
        assert [(r.name, r.state) for r in Shelf(runs).runs() if r.writer] == [("theirs", "running")]
        assert {r.state for r in Shelf(runs).runs()} == {"running"}, "written from another folder, as from another machine"
    sql(store, "DELETE FROM assay.meta WHERE name = 'plan'")
    assert "lacks its 'plan'" in {r.name: r.wrong for r in Shelf(runs).runs()}["mine"]


def test_stores_that_do_not_answer_are_not_asked_again_and_again(tmp_path: Path) -> None:
    now = 100.0
    stores = Stores(lambda: now)
    asked = 0
    for n in range(MOST_AWAY + 2):
        path = tmp_path / f"{n}.ref"
        write_reference(path, RunAddress(parse_store(f"postgresql://gate@/x{n}?host={tmp_path}"), "0" * 64))
        with pytest.raises(RunFileError) as away:
            stores.look(path)
        asked += "cannot be reached" in away.value.what
    assert asked == MOST_AWAY
    with pytest.raises(RunFileError, match="cannot be reached"):
        stores.look(tmp_path / "0.ref")


def test_people_label_a_run_in_a_store_beside_its_reference(store: str, plan_file: Path, tmp_path: Path) -> None:
    api.evaluate(plan_file, out=tmp_path / "run", store=store)
    with Desk.open(tmp_path / "run", Scope(everything=True)) as desk:
        assert len(desk.candidates) == stored_runs(parse_store(store))[0].trials
    assert (tmp_path / "run" / "labels.db").exists()
    with pytest.raises(RunFileError, match="has no folder here"):
        Desk.open(Path(read_reference(tmp_path / "run" / "run.ref").text))


def test_a_run_whose_reference_cannot_be_written_is_not_begun(store: str, plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.ref.partial").mkdir()  # in the way
    with pytest.raises(RunFileError, match="cannot write here"):
        api.evaluate(plan_file, out=tmp_path / "run", store=store)
    assert not (tmp_path / "run" / "evidence.jsonl").exists()
    assert stored_runs(parse_store(store))[0].trials == 0
    shutil.rmtree(tmp_path / "run" / ".run.ref.partial")
    api.evaluate(plan_file, out=tmp_path / "run", store=store)
