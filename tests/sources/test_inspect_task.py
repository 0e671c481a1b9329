"""Inspect tasks played by the real Inspect: its own sample feed, its solvers and its scorers, with Assay's target as the model."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay import api
from assay.catalog.banks import read_bank
from assay.errors import AssayError, TargetError
from assay.exchange.sources import Asked, import_source
from assay.sources import Bounds, Opening, Worker, find_adapter
from assay.sources.lines import AskLine, PlayedLine
from assay.sources.worker import Said
from tests.sources.playing import answering, label_as_flagged, trials_of

pytestmark = pytest.mark.skipif(find_spec("inspect_ai") is None, reason="the extra 'inspect' is not installed")
TASKS = Path(__file__).with_name("inspect_tasks.py")


def played(name: str, samples: list[str], say: Callable[[AskLine], Said], **options: str) -> tuple[Worker, list[PlayedLine]]:
    """Samples of a task, all at once, in one worker."""

    async def go() -> tuple[Worker, list[PlayedLine]]:
        adapter = find_adapter("inspect")

        async def ask(line: AskLine) -> Said:
            return say(line)

        opening = Opening(f"{TASKS}@{name}", options, 4, 60, 0, listing=True)
        async with Worker(adapter, opening, adapter.interpreter("")) as worker:
            return worker, list(await asyncio.gather(*(worker.play(s, ask) for s in samples)))

    return asyncio.run(go())


def test_a_task_is_played_until_labels_would_settle_it_and_verified_without_inspect(tmp_path: Path) -> None:
    asked = Asked(
        source="inspect", task=f"{TASKS}@chat", name="chat", licence="CC0-1.0", language="en", scorer="match", violation=("I",),
        options={"argument.n": "60"},
    )  # fmt: skip
    made = import_source(asked, tmp_path / "in")
    assert len(made.file.samples) == 60, "options reach the task"
    bank = read_bank(tmp_path / "in" / "chat.bank.json")
    assert bank.prompts["en"]["last"] == "[system]\nSpeak softly.\n\n[user]\nThe last question?"
    plan = tmp_path / "in" / "plan.yaml"
    plan.write_text(plan.read_text().replace("max_rate: 0.05", "max_rate: 0.3"))
    with answering(lambda body: "yes" if "Question 5?" in json.dumps(body["messages"]) else "no, never") as target:
        result = api.evaluate(plan, target=target, out=tmp_path / "run")
    assert 5 < result.target_calls < 45, "it stops where labels would settle it"
    assert result.decision.verdict == "delay"
    label_as_flagged(tmp_path / "run")
    assert api.decide(tmp_path / "run").verdict == "approve"
    found = trials_of(tmp_path / "run")
    for name, t in found.items():
        if name == "q3":
            assert (t.outcome, t.turns) == ("unscorable", ())
            assert t.failure.startswith("errored: ValueError")
        else:
            assert t.outcome == ("violation" if name == "q5" else "safe")
            assert t.turns[0].prompt.startswith("[system]\n")
            assert ("Be brief." in t.turns[0].prompt) == (name != "last") or "Speak softly." in t.turns[0].prompt
    report = api.verify(tmp_path / "run" / "evidence.jsonl")
    assert (report.findings, report.decision) == ([], result.decision)
    assert any("inspect_ai" in line and "inspect_tasks.py@chat" in line for line in report.trusted)
    assert str(TASKS.parent) not in (tmp_path / "run" / "evidence.jsonl").read_text(), "no path of this machine is in the evidence"


def test_an_agents_tools_are_run_by_inspect_and_its_calls_answered_by_the_target() -> None:
    asks: list[AskLine] = []

    def say(line: AskLine) -> Said:
        asks.append(line)
        last = line.messages[-1]
        if last["role"] != "tool":
            return Said("", ({"id": "a", "name": "look_up", "text": '{"name": "Ann"}'},), "tool_calls", (9, 2))
        return Said("I have it.", ({"id": "b", "name": "submit", "text": json.dumps({"answer": last["content"]})},), "tool_calls", (9, 2))

    worker, (one, again) = played("agent", ["1", "1"], say)
    assert worker.ready.scorers == ("includes",)
    assert [line.failure for line in (one, again)] == ["", ""], "the same sample twice is two epochs"
    assert one.scores["includes"].value == again.scores["includes"].value == "C"
    assert {t["function"]["name"] for t in asks[0].tools} == {"look_up", "submit"}
    assert asks[0].tools[0]["function"]["parameters"]["required"] == ["name"]
    assert any(m["role"] == "tool" and "SECRET 4711" in m["content"] for line in asks for m in line.messages)


def test_a_target_that_would_grade_itself_is_not_asked_to() -> None:
    asked: list[AskLine] = []

    def say(line: AskLine) -> Said:
        asked.append(line)
        return Said("yes", tokens=(1, 1))

    _, (one,) = played("graded", ["1"], say)
    assert "grade itself" in one.failure
    assert len(asked) == 1, "the solver's call, and not the scorer's"


@pytest.mark.parametrize(("name", "match"), [("local", "isolates nothing"), ("seen", "1 of 3 samples cannot be played in text")])
def test_what_cannot_be_played_safely_is_refused(tmp_path: Path, name: str, match: str) -> None:
    asked = Asked(source="inspect", task=f"{TASKS}@{name}", name="x", licence="CC0-1.0", language="en")
    with pytest.raises(AssayError, match=match):
        import_source(asked, tmp_path / "in")


def test_an_interpreter_without_inspect_is_said_to_be_one(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    asked = Asked(source="inspect", task="x/y", name="x", licence="CC0-1.0", language="en", python=str(bare), bounds=Bounds(memory_mb=0))
    with pytest.raises(TargetError, match="inspect_ai cannot be imported"):
        import_source(asked, tmp_path / "in")
