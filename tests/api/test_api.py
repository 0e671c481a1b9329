"""The functions that programs and notebooks call: both ways of calling, running loops, functions as targets, being stopped."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
import zlib
from pathlib import Path

import msgspec
import pytest

import assay
from assay import api
from assay.cli import main
from assay.engine.loops import in_thread, on_interrupt, run_loop
from assay.errors import RunFileError, SigningKeyError, TargetError
from assay.ledger import canonical, load_or_create_key
from assay.runs import RunFile
from tests.api import signatures
from tests.api.plans import small_plan

GOLDEN = Path(__file__).with_name("signatures.txt")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "plan.yaml"
    path.write_text(small_plan())
    return str(path)


def refuses(access: assay.Access) -> str:
    return "I cannot help with that."


def test_what_is_promised_is_what_there_is() -> None:
    found = "\n".join(signatures.lines()) + "\n"
    assert found == GOLDEN.read_text(), "a public signature changed: if it was meant, see tests/api/signatures.py and docs/python.md"


@pytest.mark.parametrize("name", ["evaluate", "decide", "verify"])
def test_twins_take_the_same_and_give_the_same(name: str) -> None:
    one, other = (inspect.signature(getattr(assay, n)) for n in (name, f"{name}_async"))
    assert [(p.name, p.kind, p.annotation) for p in one.parameters.values()] == [
        (p.name, p.kind, p.annotation) for p in other.parameters.values()
    ]
    assert one.return_annotation == other.return_annotation
    assert inspect.iscoroutinefunction(getattr(assay, f"{name}_async"))


def test_every_public_name_is_there_and_shown() -> None:
    assert set(assay.__all__) <= set(dir(assay))
    assert all(getattr(assay, name).__doc__ for name in assay.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'evaluation'"):
        assay.evaluation  # noqa: B018


def test_a_target_is_given_as_words_a_spec_or_a_function(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_words = assay.evaluate(plan, "scripted:0")
    assert by_words.run.parent == Path("runs")
    assert by_words.run.name.startswith("small-")
    assert assay.decide(by_words.run) == by_words.decision
    by_function = assay.evaluate(Path(plan), refuses, out="f")
    assert by_function.decision.verdict == "approve"
    with RunFile.read(tmp_path / "f" / "run.db") as run:
        assert run.opening().target == {"kind": "callable", "model": f"{__name__}:refuses"}


@pytest.mark.parametrize(("target", "said"), [(3, "a int is no target"), ("nonsense", "is not a target")])
def test_what_is_no_target_is_said_before_anything_is_written(plan: str, tmp_path: Path, target: object, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        assay.evaluate(plan, target, out=tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_what_goes_wrong_is_told_alone_and_in_words_for_python(plan: str, tmp_path: Path) -> None:
    api.evaluate(plan, "scripted:0", out=tmp_path / "run", key=str(tmp_path / "key.pem"))
    with pytest.raises(RunFileError, match="resume=True") as told:
        api.evaluate(plan, "scripted:0", out=tmp_path / "run", key=str(tmp_path / "key.pem"))
    assert "During handling" not in "".join(traceback.format_exception(told.value))

    async def fails() -> None:
        raise TargetError("it is down")

    with pytest.raises(TargetError) as alone:
        run_loop(fails())
    assert alone.value.__context__ is None


def test_a_result_is_one_short_line(plan: str, tmp_path: Path) -> None:
    result = api.evaluate(plan, "scripted:0", out=tmp_path / "run", key=str(tmp_path / "key.pem"))
    assert repr(result) == str(result) == f"<Result approve, complete, {result.target_calls} calls, {str(tmp_path / 'run')!r}>"
    assert repr(result.decision) == f"<Decision approve, {result.decision.trials} trials, {len(result.decision.requirements)} requirements>"
    assert result.bundle is not None
    assert re.fullmatch(r"<Report holds, \d+ checks, 0 findings, key [0-9a-f]{16}>", repr(api.verify(result.bundle)))


def test_a_run_that_goes_on_needs_a_folder_and_its_own_function(plan: str, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="needs a folder"):
        assay.evaluate(resume=True)
    api.evaluate(plan, refuses, out=tmp_path / "f")

    def other(access: assay.Access) -> str:
        return ""

    with pytest.raises(TargetError, match="not with this function"):
        assay.evaluate(target=other, out=tmp_path / "f", resume=True)
    assert assay.evaluate(target=refuses, out=tmp_path / "f", resume=True).decision.verdict == "approve"


def test_a_run_goes_on_with_its_own_key_alone_and_says_so_before_it_asks(plan: str, tmp_path: Path) -> None:
    first, other, none = (tmp_path / f"{name}.pem" for name in ("first", "other", "none"))
    load_or_create_key(other)
    asked = 0

    def counted(access: assay.Access) -> str:
        nonlocal asked
        asked += 1
        return refuses(access)

    assay.evaluate(plan, counted, out=tmp_path / "f", key=first)
    with sqlite3.connect(tmp_path / "f" / "run.db") as db:  # as if it had been stopped at once
        db.execute("DELETE FROM trial")
        db.execute("DELETE FROM checkpoint")
    db.close()
    asked = 0
    with pytest.raises(RunFileError, match="opened with another signing key"):
        assay.evaluate(target=counted, out=tmp_path / "f", key=other, resume=True)
    with pytest.raises(SigningKeyError, match="cannot read the signing key"):
        assay.evaluate(target=counted, out=tmp_path / "f", key=none, resume=True)
    assert (asked, none.exists()) == (0, False)
    assert assay.evaluate(target=counted, out=tmp_path / "f", key=first, resume=True).decision.verdict == "approve"
    assert asked > 0


def test_a_run_whose_plan_was_made_easier_is_neither_decided_on_nor_gone_on_with(
    plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a right checksum, so that only the registration tells."""
    run = assay.evaluate(plan, refuses, out=tmp_path / "f").run
    with sqlite3.connect(run / "run.db") as db:
        kept = msgspec.json.decode(db.execute("SELECT value FROM meta WHERE name = 'plan'").fetchone()[0])
        kept["requirements"][0]["max_rate"] = 0.9
        db.execute("UPDATE meta SET value = ?, crc = ? WHERE name = 'plan'", (canonical(kept), zlib.crc32(canonical(kept))))
    db.close()
    with pytest.raises(RunFileError, match="the run's plan is not the one that was registered"):
        assay.decide(run)
    with pytest.raises(RunFileError, match="the run's plan is not the one that was registered"):
        assay.evaluate(target=refuses, out=run, resume=True)
    monkeypatch.setattr(sys, "argv", ["assay", "decide", str(run)])
    assert main() == 2


def test_where_a_loop_runs_both_ways_work_and_the_loop_goes_on(plan: str, tmp_path: Path) -> None:
    async def main() -> None:
        home, beats, seen = asyncio.get_running_loop(), 0, set()

        async def agent(access: assay.Access) -> str:
            seen.add(asyncio.get_running_loop())
            return refuses(access)

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.001)

        heart = asyncio.create_task(beat())
        result = await assay.evaluate_async(plan, agent, out=tmp_path / "a")
        assert seen == {home}
        assert beats > 5
        assert await assay.decide_async(result.run) == result.decision
        assert (await assay.verify_async(result.bundle or "")).ok
        heart.cancel()
        beats = 0
        assert assay.evaluate(plan, agent, out=tmp_path / "b").decision.verdict == "approve"
        assert len(seen) == 2
        assert beats == 0, "a call that blocks let the loop run on"

    asyncio.run(main())


def test_cancelled_it_stops_and_goes_on_later(tmp_path: Path) -> None:
    path, asked = tmp_path / "plan.yaml", threading.Semaphore(0)
    path.write_text(small_plan(budget={"calls": 40}, exploration={"plain": 40}))
    hold = True

    async def agent(access: assay.Access) -> str:
        asked.release()
        if hold and asked._value >= 8:
            await asyncio.Event().wait()
        return refuses(access)

    async def main() -> None:
        nonlocal hold
        task = asyncio.create_task(assay.evaluate_async(path, agent, out=tmp_path / "run"))
        while asked._value < 8:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        with RunFile.read(tmp_path / "run" / "run.db") as run:
            kept = run.count()
        assert 0 < kept < 40
        hold = False
        result = await assay.evaluate_async(target=agent, out=tmp_path / "run", resume=True)
        assert (result.ended, result.target_calls) == ("complete", 40)
        assert assay.verify(result.bundle or "").ok

    asyncio.run(main())


def test_a_first_request_to_stop_is_gentle_and_a_second_one_is_not() -> None:
    heard: list[str] = []
    ready = threading.Event()

    async def stubborn() -> None:
        with on_interrupt(lambda: heard.append("asked")):
            ready.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("forced")
                raise

    async def main() -> None:
        task = asyncio.create_task(in_thread(lambda: run_loop(stubborn())))
        await asyncio.to_thread(ready.wait, 20)
        task.cancel()
        while not heard:
            await asyncio.sleep(0.002)
        assert (heard, task.done()) == (["asked"], False)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    asyncio.run(main())
    assert heard == ["asked", "forced"]


def test_a_request_that_comes_before_anything_runs_is_not_lost() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        may = threading.Event()
        task = asyncio.create_task(in_thread(lambda: may.wait(20) and run_loop(endless())))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    asyncio.run(main())


def test_ctrl_c_where_a_loop_runs_keeps_what_is_done(tmp_path: Path) -> None:
    """A notebook's stop button sends SIGINT while a cell blocks the loop."""
    path = tmp_path / "plan.yaml"
    path.write_text(small_plan(budget={"calls": 40}, exploration={"plain": 40}))
    main_thread, calls = threading.main_thread().ident or 0, iter(range(10**6))

    async def agent(access: assay.Access) -> str:
        if next(calls) == 8:
            signal.pthread_kill(main_thread, signal.SIGINT)
        if next(calls) > 8:
            await asyncio.Event().wait()
        return refuses(access)

    async def cell() -> assay.Result:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a kernel has it while a cell runs
        return assay.evaluate(path, agent, out=tmp_path / "run")

    before = signal.getsignal(signal.SIGINT)
    try:
        result = asyncio.run(cell())
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.ended == "interrupted"
    assert 0 < result.target_calls < 40
    assert "To go on" in result._repr_html_()


USER = """
from pathlib import Path

import assay


async def agent(access: assay.Access) -> str:
    return access.messages[-1].content


def gate(plan: Path) -> bool:
    result = assay.evaluate(plan, agent, out="runs/x")
    decision: assay.Decision = assay.decide(result.run)
    return decision.verdict == "approve" and result.bundle is not None and assay.verify(result.bundle).ok


async def gate_async() -> int:
    result: assay.Result = await assay.evaluate_async("quick", assay.TargetSpec("scripted", "0.1"))
    return result.decision.exit_code
"""
WRONG = USER + '\n\nassay.evaluate("quick", 3)\nassay.decide("x").verdicts\n'


def test_a_users_program_is_checked_by_mypy(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
    ]
    done = subprocess.run([*command, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(lines) == 2, done.stdout + done.stderr
    assert 'incompatible type "int"' in lines[0]
    assert 'has no attribute "verdicts"' in lines[1]
    assert (Path(assay.__file__).parent / "py.typed").is_file()
