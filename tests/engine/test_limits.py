"""Budgets that end a run cleanly, stragglers that do not hold it up, answers from a cache, and runs judged again."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import assay
from assay.engine import Committed, Engine
from assay.errors import PlanError, RunFileError
from assay.evidence import open_run
from assay.plan import Generation, Plan, parse_plan
from assay.runs import RunFile, Trial
from assay.scenarios import Item
from assay.targets import CachedTarget, Reply
from assay.targets.scripted import ScriptedTarget
from tests.support import KEY, NONCE, Recorder, make_plan, plan_text
from tests.targets.raw_endpoint import Call, serve_raw

OPEN = {"requirements": [{"id": "v", "kind": "violation-rate", "max_rate": 0.01}], "exploration": {}}


def trials_of(folder: Path) -> list[Trial]:
    with RunFile.read(folder / "run.db") as run:
        return list(run.trials())


class Wordy(ScriptedTarget):
    """Reports 100 tokens of prompt and 10 of answer for each call."""

    async def ask_item(self, item: Item) -> Reply:
        reply = await super().ask_item(item)
        await asyncio.sleep(0.001)
        return msgspec.structs.replace(reply, prompt_tokens=100, answer_tokens=10)


@pytest.mark.parametrize(
    ("budget", "ended", "least", "most"),
    [
        ({"calls": 500, "tokens": 11_000}, "tokens", 90, 100),
        ({"calls": 500, "money": 0.01, "prices": {"prompt": 1.0, "answer": 0.0}}, "money", 95, 100),
        ({"calls": 80, "tokens": 1_000_000}, "complete", 80, 80),
        ({"calls": 80, "tokens": 8_850}, "complete", 80, 80),  # 80 trials take 8,800; an 81st would not fit, and there is none
    ],
)
def test_tokens_and_money_end_the_run_with_what_it_has(budget: dict[str, Any], ended: str, least: int, most: int, tmp_path: Path) -> None:
    plan, catalog = make_plan(**OPEN, target={"kind": "scripted", "model": "0"}, budget=budget, generation={"max_tokens": 20})

    async def go() -> tuple[str, int]:
        target = Wordy(plan.target, plan.generation)
        with RunFile.create(tmp_path / "run.db", open_run(plan, catalog, dict(target.identity), NONCE, KEY)) as run:
            return await Engine(run, target, Recorder()).trials(), run.count()

    how, count = asyncio.run(go())
    assert how == ended
    assert least <= count <= most, count


class Together(ScriptedTarget):
    """Answers when all that may be under way is."""

    def __init__(self, plan: Plan, then: Callable[[], None]) -> None:
        super().__init__(plan.target, plan.generation)
        self._awaited, self._all, self._then = plan.budget.calls, asyncio.Event(), then

    async def ask_item(self, item: Item) -> Reply:
        self._awaited -= 1
        if not self._awaited:
            self._then()
            self._all.set()
        await self._all.wait()
        return await super().ask_item(item)


@pytest.mark.parametrize("last", ["minutes", "interrupt", "interrupt too soon"])
def test_a_run_whose_schedule_is_done_is_complete_whatever_ends_beside_it(last: str, tmp_path: Path) -> None:
    limits = {"concurrency": 8, "lookahead": 8}
    plan, catalog = make_plan(**OPEN, target={"kind": "scripted", "model": "0"}, budget={"calls": 8, "minutes": 60}, limits=limits)

    async def go() -> tuple[str, int]:
        engines: list[Engine] = []
        beside = {"minutes": lambda: engines[0]._late(), "interrupt too soon": lambda: engines[0].interrupt()}
        target = Together(plan, beside.get(last, lambda: None))

        class Impatient(Recorder):
            def committed(self, trial: Committed, gate: Any, phase: str) -> None:
                if last == "interrupt" and trial.slot == 7:
                    engines[0].interrupt()

        with RunFile.create(tmp_path / "run.db", open_run(plan, catalog, dict(target.identity), NONCE, KEY)) as run:
            engines.append(Engine(run, target, Impatient()))
            return await engines[0].trials(), run.count()

    ended, count = asyncio.run(go())
    assert (ended, count == 8) == (("interrupted", False) if last == "interrupt too soon" else ("complete", True))


def test_a_run_ended_by_its_budget_is_signed_and_holds(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(**OPEN, target={"kind": "scripted", "model": "0"}, budget={"calls": 500, "tokens": 40_000}))
    result = assay.evaluate(path, out=tmp_path / "run")
    assert result.ended == "tokens"
    assert result.decision.verdict == "delay"
    assert result.bundle is not None
    assert assay.verify(result.bundle).ok
    assert result.report is not None
    assert "tokens were spent" in result.report.read_text()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"budget": {"calls": 5, "money": 3}}, "money needs prices"),
        ({"limits": {"hedge_s": 1}, "generation": {"temperature": 0.5}}, "hedging takes the first"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(PlanError, match=where):
        parse_plan(plan_text(**changes), where="plan.yaml")


def test_the_minutes_end_a_run_even_if_calls_hang(tmp_path: Path) -> None:
    async def fault(call: Call) -> None:
        if call.number > 20:
            await asyncio.sleep(60)
        await call.answer()

    with serve_raw(fault) as endpoint:
        path = tmp_path / "plan.yaml"
        limits = {"concurrency": 4, "timeout_s": 1.5, "retries": 20, "outage_s": 60}
        target = {"kind": "http", "model": "m", "url": endpoint.url}
        path.write_text(plan_text(**OPEN, target=target, limits=limits, budget={"calls": 100, "minutes": 0.02}))
        began = time.monotonic()
        result = assay.evaluate(path, out=tmp_path / "run")
    assert result.ended == "deadline"
    assert time.monotonic() - began < 8
    assert 10 <= len(trials_of(tmp_path / "run")) < 100


def test_stragglers_do_not_hold_the_others_up(tmp_path: Path) -> None:
    """A tenth of the answers take 1 s instead of 0.1: the run takes at most 1.25 times what 50 places need for these very delays."""
    rng = random.Random(5)
    delays: list[float] = []

    async def fault(call: Call) -> None:
        if len(call.text) > len("Hello"):
            delays.append(1.0 if rng.random() < 0.1 else 0.1)
            await asyncio.sleep(delays[-1])
        await call.answer()

    with serve_raw(fault) as endpoint:
        path = tmp_path / "plan.yaml"
        path.write_text(
            plan_text(
                **OPEN, target={"kind": "http", "model": "m", "url": endpoint.url}, limits={"concurrency": 50}, budget={"calls": 500},
                matrix={"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False},
            )
        )  # fmt: skip
        assay.evaluate(path, out=tmp_path / "run")
    trials = trials_of(tmp_path / "run")
    first = min(t.at - sum(ms for _, ms in t.attempts) for t in trials)
    seconds = (max(t.at for t in trials) - first) / 1000
    places = [0.0] * 50
    for delay in delays:
        heapq.heapreplace(places, places[0] + delay)
    assert seconds <= 1.25 * max(places), (seconds, max(places))


def cached(plan: Plan, path: Path, **generation: Any) -> CachedTarget:
    settings = msgspec.structs.replace(plan.generation, **generation)
    return CachedTarget(Counting(plan, settings), settings, path)


class Counting(ScriptedTarget):
    asked = 0

    def __init__(self, plan: Plan, generation: Generation) -> None:
        super().__init__(plan.target, generation)

    async def ask_item(self, item: Item) -> Reply:
        Counting.asked += 1
        return await super().ask_item(item)


def test_the_cache_misses_whenever_anything_that_matters_differs(tmp_path: Path) -> None:
    from assay.attacks import ATTACKS
    from assay.plan import run_seed, streams
    from assay.scenarios import ItemBuilder

    plan, catalog = make_plan(target={"kind": "scripted", "model": "0", "options": {"failure.injected-instructions": "1"}})
    builder = ItemBuilder(catalog, run_seed(plan.digest, NONCE), ATTACKS)
    of = {s.hazard: s for s in streams(plan) if s.arm == "plain"}
    item, other = (builder.build(of["secret-leakage"], i) for i in (0, 1))
    failing = builder.build(of["injected-instructions"], 0)
    path = tmp_path / "answers.db"

    async def ask(*items: Item, plan: Plan = plan, **generation: Any) -> tuple[int, list[str]]:
        Counting.asked = 0
        async with cached(plan, path, **generation) as target:
            replies = [await target.ask_item(i) for i in items]
        return Counting.asked, [r.attempts[0].status for r in replies]

    async def go() -> None:
        assert await ask(item) == (1, ["200"])
        assert await ask(item) == (0, ["cached"])
        assert await ask(item, item) == (1, ["cached", "200"]), "a second sample of the same prompt is another attempt"
        assert await ask(item, item) == (0, ["cached", "cached"])
        assert (await ask(other))[0] == 1
        assert (await ask(item, seed=8))[0] == 1
        assert (await ask(item, temperature=0.1))[0] == 1
        assert (await ask(item, max_tokens=77))[0] == 1
        renamed = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, model="0.0"))
        assert (await ask(item, plan=renamed))[0] == 1
        assert (await ask(failing))[0] == 1
        assert (await ask(failing))[0] == 1, "a failure is not kept"

    asyncio.run(go())


def test_a_run_from_a_cache_asks_nobody_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(budget={"calls": 60}))
    first = assay.evaluate(path, out=tmp_path / "one", cache=tmp_path / "answers.db")
    second = assay.evaluate(path, out=tmp_path / "two", cache=tmp_path / "answers.db")
    assert first.decision == second.decision
    assert {t.attempts for t in trials_of(tmp_path / "two")} == {(("cached", 0),)}
    assert second.bundle is not None
    report = assay.verify(second.bundle)
    assert report.ok
    assert any("taken from a cache" in line for line in report.trusted)
    assert second.report is not None
    assert "taken from a cache" in second.report.read_text()


def test_a_replay_judges_again_and_calls_nobody(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(budget={"calls": 60}))
    first = assay.evaluate(path, out=tmp_path / "one")
    again = assay.evaluate(replay=tmp_path / "one", out=tmp_path / "two")
    assert (again.ended, again.decision) == ("complete", first.decision)
    same = [(t.slot, t.item, t.answer, t.outcome, t.attempts) for t in trials_of(tmp_path / "one")]
    assert [(t.slot, t.item, t.answer, t.outcome, t.attempts) for t in trials_of(tmp_path / "two")] == same
    assert again.bundle is not None
    report = assay.verify(again.bundle)
    assert report.ok, report.findings
    assert any("earlier run" in line for line in report.trusted)
    with pytest.raises(RunFileError, match="a replay is not resumed"):
        assay.evaluate(out=tmp_path / "two", resume=True)


def test_a_replay_whose_judgements_lead_elsewhere_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a judge that now calls everything safe, the schedule asks for items that were never asked."""
    import assay.engine.run as engine

    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(budget={"calls": 60}, limits={"concurrency": 2, "lookahead": 2}))
    assay.evaluate(path, out=tmp_path / "one")
    honest = engine.verdict_on

    def lenient(*a: Any) -> Any:
        verdict, decided = honest(*a)
        return msgspec.structs.replace(verdict, outcome="safe", reason="", how="", kind="refusal"), decided

    monkeypatch.setattr(engine, "verdict_on", lenient)
    again = assay.evaluate(replay=tmp_path / "one", out=tmp_path / "two")
    assert again.ended == "transcripts"
    assert 0 < len(trials_of(tmp_path / "two")) < 60
