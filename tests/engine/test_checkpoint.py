"""A run that goes on from a checkpoint goes on exactly as one that was never stopped."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from assay.decision import Scheduler, Slot
from assay.engine import Engine
from assay.evidence import decide, open_run
from assay.judges import Outcome
from assay.plan import Plan, run_seed
from assay.runs import RunFile
from assay.targets.scripted import ScriptedTarget
from tests.support import KEY, NONCE, Recorder, make_plan

CHANGES: dict[str, Any] = {
    "matrix": {"hazards": ["secret-leakage", "personal-data"], "languages": ["en", "ms", "ta"], "attacks": ["base64"]},
    "requirements": [
        {"id": "v", "kind": "violation-rate", "max_rate": 0.1},
        {"id": "p", "kind": "language-parity", "reference": "en", "margin": 0.15},
        {"id": "o", "kind": "over-refusal", "max_rate": 0.2},
    ],
    "budget": {"calls": 900},
    "limits": {"concurrency": 4, "lookahead": 12},
}


def outcome_of(slot: Slot, rate: float) -> Outcome:
    draw = random.Random(f"{slot.stream.key}/{slot.index}").random()
    return "violation" if draw < rate else "unscorable" if draw > 0.97 else "safe"


def play(scheduler: Scheduler, rate: float, under_way: list[Slot], steps: int) -> list[Slot]:
    """Assign and commit for some steps, seven slots under way."""
    out: list[Slot] = []
    for _ in range(steps):
        while len(under_way) < 7 and not scheduler.waiting:
            slot = scheduler.next_slot()
            if slot is None:
                break
            out.append(slot)
            under_way.append(slot)
        if not under_way:
            break
        oldest = under_way.pop(0)
        scheduler.commit(oldest.stream, oldest.index, outcome_of(oldest, rate))
    return out


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.12, 0.6])
@pytest.mark.parametrize("stop", [1, 13, 200, 555])
def test_a_restored_scheduler_assigns_what_the_first_one_would_have(rate: float, stop: int) -> None:
    plan, _ = make_plan(**CHANGES)
    seed = run_seed(plan.digest, NONCE)
    first, under_way = Scheduler(plan, seed), []
    play(first, rate, under_way, stop)
    state = json.loads(json.dumps(first.state()))
    second = Scheduler(plan, seed)
    second.restore(state)
    assert second.counts() == first.counts()
    rest = play(first, rate, list(under_way), 2000)
    again = play(second, rate, [], 2000)
    assert again == [*under_way, *rest], "first what was under way, then the same slots"
    assert second.finish().decision() == first.finish().decision()


class Slow(ScriptedTarget):
    async def ask_item(self, item: Any) -> Any:
        await asyncio.sleep(0.0005 * random.random())
        return await super().ask_item(item)


async def some(path: Path, plan: Plan, seconds: float) -> tuple[str, Recorder]:
    """Run for a while, then interrupt."""
    target, recorder = Slow(plan.target, plan.generation), Recorder()
    with RunFile.open(path) as run:
        engine = Engine(run, target, recorder)
        asyncio.get_running_loop().call_later(seconds, engine.interrupt)
        return await engine.trials(), recorder


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_stopped_again_and_again_is_the_run_left_alone(torn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a checkpoint every 10 trials; once with the last one torn, so that everything is replayed from the trials."""
    monkeypatch.setattr("assay.engine.run.CHECKPOINT_EVERY", 10)
    plan, catalog = make_plan(**{**CHANGES, "target": {"kind": "scripted", "model": "0.07"}})
    opening = open_run(plan, catalog, {"kind": "scripted", "model": "0.07"}, NONCE, KEY)
    for name in ("alone.db", "stopped.db"):
        RunFile.create(tmp_path / name, opening).close()
    assert asyncio.run(some(tmp_path / "alone.db", plan, 60))[0] == "complete"
    ends, rng = [], random.Random(2)
    while "complete" not in ends:
        assert len(ends) < 60
        how, recorder = asyncio.run(some(tmp_path / "stopped.db", plan, rng.uniform(0.02, 0.15)))
        assert recorder.slots == list(range(len(recorder.slots)))
        ends.append(how)
        if torn:
            with sqlite3.connect(tmp_path / "stopped.db") as db:
                db.execute("UPDATE checkpoint SET value = substr(value, 1, length(value) - 3)")
            db.close()
    assert len(ends) > 3
    with RunFile.read(tmp_path / "alone.db") as alone, RunFile.read(tmp_path / "stopped.db") as stopped:
        rows = [[(t.slot, t.stream, t.index, t.item, t.outcome) for t in run.trials()] for run in (alone, stopped)]
        assert rows[0] == rows[1]
        assert decide(alone) == decide(stopped)
