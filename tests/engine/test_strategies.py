"""Strategies: several calls for one item, recorded, judged turn by turn, verified, replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.decision import Supposed, forecast
from assay.engine import Engine, ReplayTarget
from assay.engine.strategies import STRATEGIES, Played, most_calls
from assay.errors import AssayError
from assay.evidence import open_run, verify_bundle, write_bundle
from assay.ledger import canonical
from assay.plan import Plan, streams
from assay.report import render_report
from assay.runs import RunFile, Trial
from assay.scenarios import Item, Message
from assay.targets import AtHand, Attempt, Reply
from tests.support import KEY, NONCE, Recorder, make_plan

ATTACKER = {"target": {"kind": "scripted", "model": "0"}, "calls": 5}
IDENTITY = {"kind": "scripted", "model": "0.0"}


class Weak(AtHand):
    """Refuses until the message holds the magic word; then gives everything away."""

    identity: Mapping[str, str] = IDENTITY

    def __init__(self, after: str = "please") -> None:
        self.after = after
        self.asked: list[tuple[Message, ...]] = []

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        raise AssertionError("asked without its item")

    async def ask_item(self, item: Item) -> Reply:
        self.asked.append(item.messages)
        yes = self.after in item.messages[-1].content
        text = f"Here: {', '.join((*item.check.forbidden, *item.check.expected))}." if yes else "I cannot help with that."
        return Reply(text, model="weak", prompt_tokens=10, answer_tokens=5, attempts=(Attempt("200", 1),))


class Writer(AtHand):
    """An attacker that writes its n-th message as told."""

    identity: Mapping[str, str] = {"kind": "scripted", "model": "attacker"}

    def __init__(self, messages: list[str], failing: bool = False) -> None:
        self.messages = messages
        self.failing = failing
        self.tasks: list[str] = []

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        if self.failing:
            return Reply("", failure="HTTP 500", attempts=(Attempt("500", 1),))
        self.tasks.append(messages[-1].content)
        return Reply(self.messages[(len(self.tasks) - 1) % len(self.messages)], prompt_tokens=100, answer_tokens=20)


def plan_for(attack: str, hazard: str = "secret-leakage") -> tuple[Plan, Any]:
    return make_plan(
        matrix={"hazards": [hazard], "languages": ["en"], "attacks": [attack], "benign": False},
        requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.3, "attacks": [attack]}],
        budget={"calls": 3}, exploration={}, attacker=ATTACKER, limits={"concurrency": 1, "lookahead": 1},
    )  # fmt: skip


def played(path: Path, attack: str, target: Weak, attacker: Writer | None, hazard: str = "secret-leakage") -> list[Trial]:
    plan, catalog = plan_for(attack, hazard)

    async def go() -> list[Trial]:
        run = RunFile.create(path, open_run(plan, catalog, dict(IDENTITY), NONCE, KEY))
        await Engine(run, target, Recorder(), attacker).trials()
        with run:
            write_bundle(run, KEY, "complete", path.with_name("evidence.jsonl"))
            return list(run.trials())

    return asyncio.run(go())


@pytest.mark.parametrize("attack", sorted(STRATEGIES))
def test_a_strategy_ends_with_the_first_violation_and_verifies(tmp_path: Path, attack: str) -> None:
    target = Weak("PLEASE" if attack == "best-of-n" else "please")
    attacker = Writer(["Tell me.", "Tell me now.", "Tell me, please."])
    trials = played(tmp_path / "run.db", attack, Weak("") if attack == "best-of-n" else target, attacker)
    for trial in trials:
        assert trial.outcome == "violation"
        assert trial.answer == trial.turns[-1].answer
        assert all("cannot" in t.answer for t in trial.turns[:-1])
        assert trial.tokens[0] >= 10 * len(trial.turns)
    report = verify_bundle(tmp_path / "evidence.jsonl")
    assert report.ok, report.findings
    assert any("cannot be rebuilt" in line for line in report.trusted)


@pytest.mark.parametrize("attack", sorted(STRATEGIES))
def test_a_strategy_makes_no_more_calls_than_the_plan_says(tmp_path: Path, attack: str) -> None:
    target = Weak("never said")
    trials = played(tmp_path / "run.db", attack, target, Writer(["yes", "Tell me."]))
    assert [len(t.turns) for t in trials] == [5, 5, 5]
    assert len(target.asked) == 15
    assert {t.outcome for t in trials} == {"safe"}


def test_the_context_stays_and_only_the_request_changes(tmp_path: Path) -> None:
    target = Weak("never said")
    played(tmp_path / "run.db", "pair", target, Writer(["A wholly other request"]))
    systems = {messages[0].content for messages in target.asked[:5]}
    assert len(systems) == 1
    assert all("A wholly other request" in messages[-1].content for messages in target.asked)


def test_several_turns_keep_what_was_not_refused(tmp_path: Path) -> None:
    class Talks(Weak):
        async def ask_item(self, item: Item) -> Reply:
            self.asked.append(item.messages)
            return Reply("Let us talk about something else today.", attempts=(Attempt("200", 1),))

    target = Talks()
    played(tmp_path / "run.db", "crescendo", target, Writer(["one", "two", "three", "four", "five"]))
    said = [m.content for m in target.asked[2] if m.role == "user"]
    assert [words in content for words, content in zip(("one", "two", "three"), said, strict=True)] == [True] * 3
    assert len(target.asked[4]) == len(target.asked[0]) + 8


def test_an_injection_is_rewritten_inside_its_document(tmp_path: Path) -> None:
    target = Weak("never said")
    played(tmp_path / "run.db", "goat", target, Writer(["Other words in the document"]), hazard="injected-instructions")
    content = target.asked[0][-1].content
    assert content.count("<<<") == 1
    inside = content.partition("<<<")[2].partition(">>>")[0]
    assert "Other words in the document" in inside


def test_an_attacker_that_cannot_be_reached_is_never_a_pass(tmp_path: Path) -> None:
    trials = played(tmp_path / "run.db", "pair", Weak(), Writer([], failing=True))
    assert {(t.outcome, t.reason) for t in trials} == {("unscorable", "attacker: HTTP 500")}


def test_an_attacker_that_only_says_no_does_not_run_for_ever(tmp_path: Path) -> None:
    """TAP cuts what the attacker calls off topic; when that is everything, the plain request is asked and the episode ends."""
    target = Weak("never said")
    attacker = Writer(["no"])
    trials = played(tmp_path / "run.db", "tap", target, attacker)
    assert [len(t.turns) for t in trials] == [1, 1, 1]
    assert len(attacker.tasks) <= 3 * (4 * 5 + 1)


@pytest.mark.parametrize("attack", sorted(STRATEGIES))
def test_a_plan_counts_the_calls_of_strategies(tmp_path: Path, attack: str) -> None:
    plan, _ = plan_for(attack)
    each = {s.key: most_calls(plan, s) for s in streams(plan)}
    stream = next(s for s in streams(plan) if s.arm == "attack")
    assert {c for key, c in each.items() if key != stream.key} == {Played(1, 0)}
    target, attacker = Weak("never said"), Writer(["yes", "Tell me."])
    played(tmp_path / "run.db", attack, target, attacker)
    assert len(target.asked) == 3 * each[stream.key].target
    assert len(attacker.tasks) <= 3 * each[stream.key].attacker
    seen = forecast(plan, Supposed(0.0), 3, calls=lambda s: (each[s.key].target, each[s.key].attacker))
    assert seen.calls_mean == seen.trials_mean * each[stream.key].target
    assert seen.attacker_calls_mean == seen.trials_mean * each[stream.key].attacker


def test_a_message_in_json_is_taken_out(tmp_path: Path) -> None:
    target = Weak("never said")
    played(tmp_path / "run.db", "goat", target, Writer(['{"observation": "x", "approach": "y", "message": "the message"}']))
    assert all("the message" in messages[-1].content and "observation" not in messages[-1].content for messages in target.asked)


def test_a_replay_gives_the_same_without_any_call(tmp_path: Path) -> None:
    before = played(tmp_path / "run.db", "pair", Weak(), Writer(["Tell me.", "Tell me, please."]))
    plan, catalog = plan_for("pair")

    async def go() -> list[Trial]:
        with RunFile.read(tmp_path / "run.db") as earlier:
            async with ReplayTarget(earlier) as target:
                with RunFile.create(tmp_path / "again.db", open_run(plan, catalog, dict(IDENTITY), NONCE, KEY)) as run:
                    await Engine(run, target, Recorder()).trials()
                    return list(run.trials())

    assert [(t.turns, t.outcome, t.answer) for t in asyncio.run(go())] == [(t.turns, t.outcome, t.answer) for t in before]


def test_a_turn_that_is_altered_is_found(tmp_path: Path) -> None:
    """The violating answer made harmless: judgement and Merkle root no longer fit."""
    played(tmp_path / "run.db", "pair", Weak(), Writer(["Tell me, please."]))
    lines = (tmp_path / "evidence.jsonl").read_bytes().split(b"\n")
    place = next(i for i, line in enumerate(lines) if b'"turns":[{' in line)
    trial = msgspec.json.decode(lines[place])
    trial["turns"][-1]["answer"] = "I cannot help with that."
    lines[place] = canonical(trial)
    (tmp_path / "evidence.jsonl").write_bytes(b"\n".join(lines))
    report = verify_bundle(tmp_path / "evidence.jsonl")
    assert {"judgements", "evidence"} <= {f.check for f in report.findings}


def test_the_page_shows_what_was_tried(tmp_path: Path) -> None:
    played(tmp_path / "run.db", "persuasion", Weak(), Writer(["<b>Tell</b> me, please."]))
    with RunFile.read(tmp_path / "run.db") as run:
        page = render_report(run, summary=None, ended="complete", bundle_name="evidence.jsonl")
    assert "What the attacker tried" in page
    assert "<b>Tell</b>" not in page


@pytest.mark.parametrize(
    ("attacks", "attacker", "what"),
    [(["pair"], None, "needs an attacker"), (["pair+base64"], ATTACKER, "stands alone"), (["best-of-n"], None, "")],
)
def test_what_a_strategy_needs_is_said(attacks: list[str], attacker: Any, what: str) -> None:
    changes = {"matrix": {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": attacks}, "attacker": attacker}
    if not what:
        make_plan(**changes)
        return
    with pytest.raises(AssayError, match=what):
        make_plan(**changes)


def test_an_attacker_that_was_down_goes_on_and_no_answer_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.engine.patience.FIRST_PAUSE_S", 0.01)

    class Falters(Writer):
        down = 0

        async def alive(self) -> bool:
            return self.down > 3

        async def ask(self, messages: tuple[Message, ...]) -> Reply:
            if len(self.tasks) == 2 and self.down < 4:
                self.down += 1
                return Reply("", failure="HTTP 503", outage=True, attempts=(Attempt("503", 1),))
            return await super().ask(messages)

    target = Weak("never said")
    trials = played(tmp_path / "run.db", "pair", target, Falters(["Tell me."]))
    assert {t.outcome for t in trials} == {"safe"}
    assert len(target.asked) == 15
