"""What is set aside and settled: judges and attackers too, limits that hold for the day, files that are taken away; plans held fast."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.assistant import acts, reckoning
from assay.assistant.acts import Assistant
from assay.assistant.grants import GrantsError, RefusedError, read_grants
from assay.assistant.reckoning import amounts_of, most, used_by
from assay.assistant.spending import Amounts
from assay.catalog import Catalog
from assay.ledger import write_key
from assay.plan import Plan, parse_plan
from assay.plan.sealing import terms
from assay.studio.shelf import Run
from tests.assistant.scene import write_grants
from tests.support import KEY, make_bundle, plan_text

PAID = {"kind": "http", "model": "judge", "url": "http://127.0.0.1:9/v1", "api_key_env": "MY_API_KEY"}
NAMED = "http://127.0.0.1:9/v1#judge@MY_API_KEY"
KNOWN = {"kind": "scripted-judge", "model": "0.8/0.97"}
WHOLE = Amounts(500, 7, 0)
PRICES = {"prompt": 1.0, "answer": 10.0}
ANY = {
    "each_run": {"calls": 10**6, "tokens": "any", "money": "any"},
    "each_day": {"runs": 5, "calls": 10**6, "tokens": "any", "money": "any"},
}


def judged(*targets: dict[str, Any], **changes: Any) -> str:
    panel = [{"name": f"j{i}", "target": dict(t), "max_tokens": 100} for i, t in enumerate(targets)]
    matrix = {"hazards": ["hate"], "languages": ["en"], "attacks": []}
    return plan_text(**{"matrix": matrix, "judges": {"panel": panel, "tries": 3}, "budget": {"calls": 40}, "seed": "auto", **changes})


def attacked(target: dict[str, Any], **changes: Any) -> str:
    matrix = {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": ["pair"]}
    return plan_text(**{"matrix": matrix, "attacker": {"target": target, "calls": 4}, "budget": {"calls": 40}, "seed": "auto", **changes})


def parsed(text: str) -> tuple[Plan, Catalog]:
    return parse_plan(text, where="test.yaml")


@contextmanager
def assisted(folder: Path, plan: str = "", **changes: Any) -> Iterator[Assistant]:
    grants = write_grants(folder, **changes)
    if plan:
        (folder / "small.yaml").write_text(plan)
    assistant = Assistant(grants, folder / "state")
    try:
        yield assistant
    finally:
        assistant.close()


def reserved(assistant: Assistant, run: str, plan: Plan | None = None, amounts: Amounts = WHOLE) -> None:
    digest = terms(plan) if plan else "sha256:x"
    assistant.purse.reserve(run, "small", digest, "scripted:0.3", amounts, time.time_ns() // 10**6)


def settled(assistant: Assistant, run: str) -> tuple[int, int, int]:
    _, found = assistant.purse.all()[run]
    assert found.state == "settled"
    return found.used


# Judges and attackers


@pytest.mark.parametrize("plan", [judged(PAID), judged(KNOWN, PAID), attacked(PAID)])
def test_judges_and_attackers_have_to_stand_in_the_grants(tmp_path: Path, plan: str) -> None:
    with assisted(tmp_path, plan, **ANY) as assistant:
        with pytest.raises(RefusedError, match="are no targets of the grants: http:judge"):
            assistant.start("small", "plan")
        (small,) = [p for p in assistant.list_plans()["plans"] if p["plan"] == "small"]
        assert "no targets of the grants" in small["cannot_start"]
    for near in (NAMED.replace("#judge", "#other"), NAMED.replace(":9", ":8"), NAMED.replace("MY_API", "OTHER")):
        with pytest.raises(RefusedError, match="no targets of the grants"):
            amounts_of(*parsed(plan), read_grants(write_grants(tmp_path, targets=["plan", near], **ANY))[0])
    assert amounts_of(*parsed(plan), read_grants(write_grants(tmp_path, targets=["plan", NAMED], **ANY))[0]).requests > 40
    assert not (tmp_path / "runs").exists()


def test_calls_of_judges_and_attackers_are_set_aside_where_they_are_not_on_this_machine(tmp_path: Path) -> None:
    assert most(*parsed(judged(KNOWN))) == 40
    assert most(*parsed(judged(PAID))) == 40 + 3 * 40
    assert most(*parsed(judged(PAID, PAID, KNOWN))) == 40 + 2 * 3 * 40
    assert most(*parsed(attacked({"kind": "scripted", "model": "0.1"}))) == 40 * 4
    assert most(*parsed(attacked(PAID))) == 40 * (4 + 5)
    grants = write_grants(tmp_path, targets=["plan", NAMED], each_run={"calls": 159, "tokens": "any", "money": "any"},
                          each_day=ANY["each_day"])  # fmt: skip
    with pytest.raises(RefusedError, match="160 calls"):
        amounts_of(*parsed(judged(PAID)), read_grants(grants)[0])


def test_tokens_and_money_of_judges_are_set_aside_beside_the_plans_own(tmp_path: Path) -> None:
    def got(text: str, **each: Any) -> Amounts:
        limits = {"calls": 10**6, "tokens": "any", "money": "any", **each}
        path = write_grants(tmp_path, targets=["plan", NAMED], each_run=limits, each_day={"runs": 5, **limits})
        return amounts_of(*parsed(text), read_grants(path)[0])

    budget = {"calls": 40, "tokens": 10_000, "money": 2.0, "prices": PRICES}
    # Three tries about 40 trials: three times what the run reads and writes, a rubric each; replies of 100 tokens, shown twice again.
    prompt, answer = 3 * 3 * 10_000 + 120 * 6_000 + 2 * 120 * 100, 120 * 100
    assert got(judged(PAID, budget=budget), tokens=10**9).tokens == 10_000 + prompt + answer
    assert got(judged(KNOWN, budget=budget), tokens=10**9).tokens == 10_000
    cost = 2.0 + (prompt * 1.0 + answer * 10.0) / 1e6
    assert got(judged(PAID, budget=budget), money=100).money == round(cost * 1e6)
    with pytest.raises(RefusedError, match="with its judges"):
        got(judged(PAID, budget=budget), tokens=prompt)
    with pytest.raises(RefusedError, match="with its judges"):
        got(judged(PAID, budget=budget), money=2.0)
    for text in (judged(PAID), attacked(PAID)):  # the target costs nothing; they do
        with pytest.raises(RefusedError, match="no limit of money"):
            got(text, money=100)
        with pytest.raises(RefusedError, match="no limit of tokens"):
            got(text, tokens=10**9)
    assert got(judged(KNOWN), money=0).money == 0


def test_what_judges_used_is_settled_and_a_run_beyond_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"matrix": {"hazards": ["hate"], "languages": ["en"], "attacks": []}, "budget": {"calls": 40, "prices": PRICES},
               "judges": {"panel": [{"name": "j", "target": KNOWN, "max_tokens": 100}], "tries": 3}}  # fmt: skip
    (tmp_path / "judged.yaml").write_text(plan_text(**changes))
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "key.pem"))
    write_key(tmp_path / "key.pem", KEY, b"")
    assay.evaluate(tmp_path / "judged.yaml", out=tmp_path / "runs" / "r")
    run = tmp_path / "runs" / "r" / "run.db"
    alone = used_by(run)
    monkeypatch.setattr(reckoning, "FREE", ("scripted",))  # as if the judge were another's
    both = used_by(run)
    assert alone.requests < both.requests <= alone.requests + 3 * 40
    assert both.tokens > alone.tokens
    assert both.money > alone.money > 0
    plan, _ = parsed(plan_text(**changes))
    with assisted(tmp_path, targets=["plan"], **ANY) as assistant:
        reserved(assistant, "r", plan, Amounts(alone.requests + 120, both.tokens, both.money))
        assert assistant._beyond("r", assistant.purse.all()["r"][1]) == ""
        for less, what in ((Amounts(0, 1, 0), "tokens"), (Amounts(0, 0, 1), "of money")):
            name = f"r{what[0]}"
            shutil.copytree(tmp_path / "runs" / "r", tmp_path / "runs" / name)
            reserved(assistant, name, plan, Amounts(alone.requests + 120, both.tokens - less.tokens, both.money - less.money))
            assert what in assistant._beyond(name, assistant.purse.all()[name][1])
        assistant.tend()
        assert settled(assistant, "r") == tuple(both)


# Limits of the day


@pytest.mark.parametrize("name", ["tokens", "money"])
def test_a_limit_for_the_day_needs_one_for_a_run(tmp_path: Path, name: str) -> None:
    run, day = {"calls": 500, "tokens": "any", "money": "any"}, {"runs": 3, "calls": 900, "tokens": "any", "money": "any"}
    read_grants(write_grants(tmp_path, each_run=run, each_day=day))
    read_grants(write_grants(tmp_path, each_run=run | {name: 5}, each_day=day | {name: 5}))
    read_grants(write_grants(tmp_path, each_run=run | {name: 5}, each_day=day))
    with pytest.raises(GrantsError, match=f"each_run.{name} is `any`, and each_day.{name} is 5"):
        read_grants(write_grants(tmp_path, each_run=run, each_day=day | {name: 5}))


# Files that are taken away


@pytest.mark.parametrize("seen", [True, False])
def test_a_run_whose_file_is_taken_away_gives_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    make_bundle(folder, budget={"calls": 40})
    plan, _ = parsed(plan_text(budget={"calls": 40}))
    with assisted(tmp_path) as assistant:
        reserved(assistant, "r", plan)
        if seen:
            monkeypatch.setattr(assistant.starter, "maker", lambda name: 1)  # as if it went on
            assistant.tend()
            assert assistant.purse.all()["r"][1].seen
            monkeypatch.undo()
        (folder / "run.db").unlink()
        (folder / "evidence.jsonl").unlink()
        monkeypatch.setattr(assistant, "_found", lambda name: Run(name, name, "failed", "small", "scripted:0.3", at=1))
        assistant.tend()
        assert settled(assistant, "r") == WHOLE
        why = assistant.purse.all()["r"][1].why
    assert ("no longer there" if seen else "left no file") in why


def test_a_run_that_was_started_and_left_no_file_counts_as_a_whole(tmp_path: Path) -> None:
    """Its target cannot be reached, so it fails; what was sent meanwhile nobody can say."""
    with assisted(tmp_path, targets=["http://127.0.0.1:9/v1#m"], **ANY) as assistant:
        run = assistant.start("small", "http://127.0.0.1:9/v1#m")["run"]
        deadline = time.monotonic() + 60
        while assistant.purse.all()[run][1].state == "open":
            assert time.monotonic() < deadline
            time.sleep(0.1)
            assistant.tend()
        assert not (tmp_path / "runs" / run / "run.db").exists()
        assert settled(assistant, run)[0] == 120


# What is told, and what goes on


def test_the_log_of_others_failed_runs_is_not_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with assisted(tmp_path, read=["mine", "*"]) as assistant:
        own = tmp_path / "runs" / ".studio"
        own.mkdir(parents=True)
        for name in ("theirs", "ours"):
            (own / f"{name}.log").write_text("Traceback: a secret of the owner\n")
            record = {"pid": 2**22 + 5, "born": "x", "at": 1, "plan": "small", "target": "scripted:0.3"}
            (own / f"{name}.json").write_text(json.dumps(record))
        reserved(assistant, "ours")
        theirs, ours = assistant.progress("theirs"), assistant.progress("ours")
    assert theirs["state"] == ours["state"] == "failed"
    assert "secret" in ours["said"]
    assert "secret" not in json.dumps(theirs)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("what nobody thought of")])
def test_one_run_that_cannot_be_looked_at_leaves_the_others_looked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    real = Assistant._tend
    seen: list[str] = []

    def tend(self: Assistant, name: str, found: Any) -> None:
        if name == "a":
            raise error
        seen.append(name)
        real(self, name, found)

    monkeypatch.setattr(Assistant, "_tend", tend)
    with assisted(tmp_path) as assistant, caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            reserved(assistant, name, amounts=Amounts(9, 0, 0))
        assistant.tend()
        assert assistant.purse.all()["a"][1].state == "open"
    assert seen == ["b"]
    assert "the run a cannot be looked at" in caplog.text


def test_who_keeps_runs_within_their_share_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mcp", reason="the extra agents is not installed")
    from assay.assistant import tools as room
    from assay.assistant.record import Record

    monkeypatch.setattr(room, "TEND_S", 0.01)
    assistant = Assistant(write_grants(tmp_path), tmp_path / "state")
    tools = room.Tools(assistant, Record(tmp_path / "record.jsonl"))
    times: list[int] = []

    def broken() -> None:
        times.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assistant, "tend", broken)

    async def go() -> None:
        tending = asyncio.create_task(tools.tend())
        for _ in range(500):
            if len(times) >= 3 or tending.done():
                break
            await asyncio.sleep(0.01)
        assert not tending.done()
        tending.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(go())
    tools.close()
    assert "No space left" in caplog.text


# Plans


def test_a_plan_is_held_fast_by_its_digest(tmp_path: Path) -> None:
    write_grants(tmp_path)
    digest = parse_plan((tmp_path / "small.yaml").read_text(), where=str(tmp_path / "small.yaml"))[0].digest
    with assisted(tmp_path, plans=[f"small.yaml#{digest}"]) as assistant:
        (small,) = assistant.list_plans()["plans"]
        assert (small["plan"], small["digest"]) == ("small", digest)
        assert "cannot_start" not in small
        (tmp_path / "small.yaml").write_text(plan_text(budget={"calls": 121}))
        assert "the grants say" in assistant.list_plans()["plans"][0]["cannot_start"]
        for target in ("plan", "scripted:0.01"):
            with pytest.raises(RefusedError, match="the grants say"):
                assistant.start("small", target)
    assert not (tmp_path / "runs").exists()


def test_a_run_of_another_plan_than_was_looked_at_is_found(tmp_path: Path) -> None:
    """Another plan of the same size, against the same target: the file was changed after it was checked, and before it was read."""
    (tmp_path / "runs" / "r").mkdir(parents=True)
    make_bundle(tmp_path / "runs" / "r", budget={"calls": 40})
    with assisted(tmp_path) as assistant:
        for change, why in (({}, ""), ({"about": "x"}, "the plan's file was changed while the run began")):
            plan, _ = parsed(plan_text(budget={"calls": 40}, **change))
            found = acts.Reserved("r", "small", terms(plan), "scripted:0.3", 0, 0, 500, 0, 0)
            assert assistant._beyond("r", found) == why


def test_a_plan_that_others_may_write_is_refused(tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    plans.mkdir(mode=0o700)
    (plans / "mine.yaml").write_text(plan_text(budget={"calls": 120}))
    with assisted(tmp_path, plans=["plans/mine.yaml", "quick"]) as assistant:
        for part, mode, well in ((plans / "mine.yaml", 0o664, 0o600), (plans / "mine.yaml", 0o602, 0o600), (plans, 0o775, 0o700)):
            part.chmod(mode)
            with pytest.raises(GrantsError, match="others may write it"):
                read_grants(tmp_path / "grants.yaml")
            with pytest.raises(GrantsError, match="others may write it"):
                assistant.start("mine", "plan")
            assert "others may write it" in assistant.list_plans()["plans"][0]["cannot_start"]
            part.chmod(well)
        assert "cannot_start" not in assistant.list_plans()["plans"][0]
    assert not (tmp_path / "runs").exists()


def test_two_plans_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "own" / "quick.yaml").write_text(plan_text())
    with pytest.raises(GrantsError, match="two plans have the name 'quick'"):
        read_grants(write_grants(tmp_path, plans=["quick", "own/quick.yaml"]))
