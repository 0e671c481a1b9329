"""Answers come back in any order; streams, schedule and decision do not know it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from assay.decision import Decision
from assay.engine import Engine
from assay.errors import AssayError, RunFileError, TargetError
from assay.evidence import decide, open_run
from assay.plan import Plan
from assay.runs import RunFile, Trial
from assay.scenarios import Item, Message
from assay.targets import AtHand, Reply
from assay.targets.scripted import REFUSAL, ScriptedTarget
from tests.support import KEY, NONCE, Recorder, make_plan


class Timed(ScriptedTarget):
    """The scripted answers after a delay that depends on the answer: refusals quick or slow."""

    def __init__(self, plan: Plan, refusal_s: float, compliance_s: float) -> None:
        super().__init__(plan.target, plan.generation)
        self._delays = refusal_s, compliance_s

    async def ask_item(self, item: Item) -> Reply:
        reply = await super().ask_item(item)
        await asyncio.sleep(self._delays[0] if reply.text == REFUSAL else self._delays[1])
        return reply


async def run_timed(path: Path, plan: Plan, target: Timed, catalog: object) -> tuple[Decision, list[Trial], Recorder]:
    recorder = Recorder()
    with RunFile.create(path, open_run(plan, catalog, dict(target.identity), NONCE, KEY)) as run:
        assert await Engine(run, target, recorder).trials() == "complete"
        return decide(run), list(run.trials()), recorder


def test_refusals_finishing_first_do_not_bias_the_stream(tmp_path: Path) -> None:
    """The same answers, once with quick refusals and once with slow ones: the same trials, streams and decision."""
    plan, catalog = make_plan(target={"kind": "scripted", "model": "0.15"}, limits={"concurrency": 16, "lookahead": 32})
    results = [
        asyncio.run(run_timed(tmp_path / f"{i}.db", plan, Timed(plan, refusal, compliance), catalog))
        for i, (refusal, compliance) in enumerate([(0.0, 0.02), (0.02, 0.0), (0.003, 0.003)])
    ]
    decisions = {repr(decision) for decision, _, _ in results}
    assert len(decisions) == 1
    rows = [[(t.slot, t.stream.key, t.index, t.item, t.outcome) for t in trials] for _, trials, _ in results]
    assert rows[0] == rows[1] == rows[2]
    for _, _, recorder in results:
        assert recorder.slots == list(range(len(rows[0])))


def test_completion_order_would_have_biased(tmp_path: Path) -> None:
    """The trap is real: with quick refusals the first finished answers hold fewer violations than the first by index."""
    plan, catalog = make_plan(
        target={"kind": "scripted", "model": "0.3"}, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.3}],
        budget={"calls": 200}, limits={"concurrency": 32, "lookahead": 64},
    )  # fmt: skip
    _, trials, _ = asyncio.run(run_timed(tmp_path / "run.db", plan, Timed(plan, 0.0, 0.05), catalog))
    by_time = sorted(trials, key=lambda t: t.at)[:40]
    by_index = trials[:40]
    assert sum(t.outcome == "violation" for t in by_time) < sum(t.outcome == "violation" for t in by_index)


def test_a_run_file_of_another_schedule_is_refused(tmp_path: Path) -> None:
    plan, catalog = make_plan()
    target = Timed(plan, 0, 0)
    opening = open_run(plan, catalog, dict(target.identity), NONCE, KEY)

    async def go() -> None:
        with RunFile.create(tmp_path / "whole.db", opening) as run:
            await Engine(run, target, Recorder()).trials()
            trials = list(run.trials())
        moved = Trial(**{**{f: getattr(trials[1], f) for f in Trial.__struct_fields__}, "index": trials[1].index + 1})
        with RunFile.create(tmp_path / "other.db", opening) as run:
            run.append([trials[0], moved])
            with pytest.raises(RunFileError, match="the plan's schedule has"):
                await Engine(run, target, Recorder()).trials()

    asyncio.run(go())


class Broken(AtHand):
    """Refuses the key after a few answers."""

    identity: Mapping[str, str] = {"kind": "broken", "model": "m"}

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.asked > 10:
            raise TargetError("the endpoint refused the key")
        return Reply("I cannot help with that.")


def test_an_error_of_the_target_ends_the_run_and_keeps_what_was_done(tmp_path: Path) -> None:
    plan, catalog = make_plan()
    target = Broken()

    async def go() -> int:
        with RunFile.create(tmp_path / "run.db", open_run(plan, catalog, dict(target.identity), NONCE, KEY)) as run:
            with pytest.raises(TargetError, match="key"):
                await Engine(run, target, Recorder()).trials()
            return run.count()

    assert asyncio.run(go()) >= 7


def test_what_a_provider_has_signed_stands_beside_what_the_target_says_of_itself(tmp_path: Path) -> None:
    plan, catalog = make_plan(budget={"calls": 20})
    target = Timed(plan, 0, 0)

    async def go(name: str, record: dict[str, str]) -> str:
        with RunFile.create(tmp_path / name, open_run(plan, catalog, record, NONCE, KEY)) as run:
            return await Engine(run, target, Recorder()).trials()

    digest = "sha256:" + "0" * 64
    stated = {"providerKey": "k", "providerStatement": digest, "providerVersion": "1", "providerWeights": digest}
    assert asyncio.run(go("stated.db", {**target.identity, **stated})) == "complete"
    with pytest.raises(AssayError, match="opened against"):
        asyncio.run(go("other.db", {**target.identity, "digest": digest}))
