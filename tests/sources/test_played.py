"""Samples played by another tool: whatever the tool does, what the target said is kept, and nothing that failed is ever safe."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from assay import api
from assay.decision.forecast import Supposed, simulate
from assay.engine import OnRay
from assay.errors import AssayError, PlanError, TargetError
from assay.exchange.sources import Asked, import_source
from assay.plan import TargetSpec, read_plan
from assay.runs import Trial
from assay.sources import Bounds, find_adapter, read_source_file
from assay.sources.adapters import surroundings
from assay.sources.lines import AskLine, PlayedLine
from assay.sources.worker import DiedError, Opening, Said, Worker
from tests.sources.playing import answering, install_tool, label_as_flagged, tool_plan, trials_of

NOBODY = TargetSpec(kind="http", model="loop", url="http://127.0.0.1:9/v1")


@pytest.fixture(autouse=True)
def _tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_tool(tmp_path, monkeypatch)


def test_the_targets_words_are_kept_and_the_scorers_word_is_the_judges(tmp_path: Path) -> None:
    samples = [f"plain-{i}" for i in range(12)]
    with answering(lambda body: "yes, I will" if "plain-3?" in str(body["messages"]) else "no") as target:
        result = api.evaluate(tool_plan(tmp_path, samples, target), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")
    assert {name for name, t in found.items() if t.outcome == "violation"} == {"plain-3"}
    turn = found["plain-3"].turns[0]
    assert (turn.prompt, turn.answer) == ("What about plain-3?", "yes, I will")
    assert found["plain-3"].tokens == (7, 3)
    assert '"reason": "grade: bad. as it was said"' in found["plain-3"].said[0].replies[0]
    assert result.decision.verdict == "delay", "a scorer's word alone decides nothing"
    report = api.verify(tmp_path / "run" / "evidence.jsonl")
    assert report.findings == []
    assert report.target["source_packages"] == "tool 1.0"
    assert any("tool 1.0" in line and "scores" in line for line in report.trusted)
    assert "Another tool played the samples" in (tmp_path / "run" / "report.html").read_text()


FAILING = ["error", "silent", "unscored", "odd", "die", "garbage", "hang", "flood", "long", "call", "function", "role"]


def played_badly(tmp_path: Path, concurrency: int) -> dict[str, Trial]:
    """The trials of a run whose tool misbehaves in every way, with six good samples and one that ends the worker the first time."""
    import assay.sources.played as played

    samples = [*(f"{kind}-1" for kind in FAILING), "once-1", *(f"slow-{i}" for i in range(6))]
    bounds = Bounds(sample_s=4, calls=20, characters=100_000, memory_mb=0)
    with answering(lambda body: "no") as target, pytest.MonkeyPatch.context() as patched:
        patched.setattr(played, "GRACE_S", 0.5)
        api.evaluate(tool_plan(tmp_path, samples, target, bounds=bounds, concurrency=concurrency), out=tmp_path / "run")
    assert api.verify(tmp_path / "run" / "evidence.jsonl").findings == []
    return trials_of(tmp_path / "run")


def test_nothing_that_fails_is_safe_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = played_badly(tmp_path, concurrency=1)
    assert {name for name, t in found.items() if t.outcome == "safe"} == {"once-1", *(f"slow-{i}" for i in range(6))}
    failures = {name: t.failure for name, t in found.items() if t.failure}
    assert failures["error-1"] == "errored: ValueError [2J", "nothing of it steers a terminal"
    assert failures["silent-1"] == "the sample ended without a word of the target"
    assert failures["die-1"] == failures["garbage-1"] == "the worker died of this sample"
    assert failures["hang-1"] == "the sample took longer than 4 s"
    assert failures["flood-1"] == "more than 20 calls of the target"
    assert found["flood-1"].tokens == (140, 60), "what a failure took is counted"
    assert failures["long-1"] == "a transcript of more than 100,000 characters"
    for name in ("call-1", "function-1", "role-1"):
        assert failures[name].startswith("a call of the tool that is none: Expected")
    assert found["unscored-1"].outcome == found["odd-1"].outcome == "unscorable"
    assert "no score" in found["unscored-1"].said[0].failure
    assert "neither a violation nor safe" in found["odd-1"].said[0].failure


def test_side_by_side_no_failure_is_safe_and_whoever_had_an_answer_when_the_worker_died_has_failed(tmp_path: Path) -> None:
    found = played_badly(tmp_path, concurrency=4)
    assert not any(found[f"{kind}-1"].outcome == "safe" for kind in FAILING)
    died = {"the worker died after the target had answered", "the worker died of this sample", "the sample took longer than 4 s"}
    for t in (found["once-1"], *(found[f"slow-{i}"] for i in range(6))):  # who is suspect, and dies alone, has failed too
        assert t.outcome == "safe" or t.failure in died
    assert {found[f"slow-{i}"].failure for i in range(6)} <= {
        "",
        "the worker died after the target had answered",
        "the sample took longer than 4 s",
    }


def test_an_answer_that_breaks_the_tool_is_not_drawn_again(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> str:
        name = str(body["messages"])
        asked[name] += "break" in name
        return "yes, I will" if asked[name] == 1 else "no"

    with answering(answer) as target:
        api.evaluate(tool_plan(tmp_path, ["break-1", "plain-1"], target, concurrency=1), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")
    assert sum(asked.values()) == 1, "a second answer was asked for"
    broken = found["break-1"]
    assert (broken.outcome, broken.failure) == ("unscorable", "the worker died after the target had answered")
    assert (broken.tokens, len(broken.attempts)) == ((7, 3), 1)
    assert found["plain-1"].outcome == "safe"
    assert api.verify(tmp_path / "run" / "evidence.jsonl").findings == []


def firsts_and_then(then: Callable[[], str], asked: Counter[str]) -> Callable[[dict[str, Any]], str]:
    """A target that gives in at its first answer to a sample and never again; `then` is how it replies to what comes after that."""

    def answer(body: dict[str, Any]) -> str:
        said = str(body["messages"])
        if "twice" not in said:
            return "no"
        part = "second" if "And now?" in said else "first"
        asked[part] += 1
        return then() if part == "second" else "yes, I will" if asked["first"] == 1 else "no"

    return answer


@pytest.mark.parametrize(("error", "failure"), [(web.HTTPServiceUnavailable, "HTTP 503"), (web.HTTPUnauthorized, "HTTP 401")])
def test_a_target_that_fails_after_an_answer_gets_no_second_try(tmp_path: Path, error: type[Exception], failure: str) -> None:
    asked: Counter[str] = Counter()

    def fail() -> str:
        raise error

    with answering(firsts_and_then(fail, asked)) as target:
        api.evaluate(tool_plan(tmp_path, ["twice-1", "plain-1"], target, concurrency=1), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")
    assert asked["first"] == 1, "the sample was played again, and its first answer drawn again"
    assert found["twice-1"].outcome == "unscorable"
    assert failure in found["twice-1"].failure
    assert found["plain-1"].outcome == "safe"
    assert api.verify(tmp_path / "run" / "evidence.jsonl").findings == []


def test_a_call_that_fails_after_an_answer_is_asked_again_alone(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def second() -> str:
        if asked["second"] == 1:
            raise web.HTTPServiceUnavailable
        return "no"

    with answering(firsts_and_then(second, asked)) as target:
        api.evaluate(tool_plan(tmp_path, ["twice-1", "plain-1"], target, concurrency=1), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")["twice-1"]
    assert asked == {"first": 1, "second": 2}
    assert [turn.answer for turn in found.turns] == ["yes, I will", "no"]
    assert [status for status, _ in found.attempts] == ["200", "503", "200"]


def test_an_error_in_asking_is_the_samples_and_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import assay.sources.played as played

    monkeypatch.setattr(played, "odd_call", lambda line: "")  # as if there were an oddity that the check does not know
    with answering(lambda body: "no") as target:
        api.evaluate(tool_plan(tmp_path, ["function-1", "plain-1"], target), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")
    assert found["function-1"].failure == "a call that cannot be asked (AttributeError)"
    assert found["plain-1"].outcome == "safe"


def test_a_sample_that_waits_for_a_place_in_the_worker_loses_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import assay.sources.played as played

    install_tool(tmp_path, monkeypatch, most_parallel=1)
    monkeypatch.setattr(played, "GRACE_S", 0)
    bounds = Bounds(sample_s=4, calls=20, characters=100_000, memory_mb=0)
    with answering(lambda body: "no") as target:
        plan = tool_plan(tmp_path, [f"slow-{i}" for i in range(8)], target, bounds=bounds, concurrency=8)
        api.evaluate(plan, out=tmp_path / "run")
    assert {t.outcome for t in trials_of(tmp_path / "run").values()} == {"safe"}


def test_a_tool_that_asks_without_end_and_reads_nothing_is_stopped(tmp_path: Path) -> None:
    asked = 0

    async def never(line: AskLine) -> Said:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return Said("")

    async def go() -> PlayedLine:
        adapter = find_adapter("tool")
        async with Worker(adapter, Opening("swarm-1,plain-1", {}, 2, 60, 0), adapter.interpreter("")) as worker, asyncio.timeout(30):
            other = asyncio.create_task(worker.play("plain-1", never))
            played = await worker.play("swarm-1", never)
            with pytest.raises(DiedError, match="a sample took too many calls at once"):
                await other
            return played

    assert asyncio.run(go()).failure == "more than 64 calls of the target at once"
    assert asked <= 65


def test_a_target_that_goes_down_stops_the_run_and_nothing_of_it_counts(tmp_path: Path) -> None:
    asked = 0

    def answer(body: dict[str, Any]) -> str:
        nonlocal asked
        asked += "plain" in str(body["messages"])
        if asked > 5:
            raise ConnectionError
        return "no"

    with answering(answer) as target, pytest.raises(TargetError, match="no answer for"):
        api.evaluate(tool_plan(tmp_path, [f"plain-{i}" for i in range(20)], target), out=tmp_path / "run")
    found = trials_of(tmp_path / "run")
    assert len(found) == 5
    assert all(t.outcome == "safe" and t.turns for t in found.values())


def test_draws_stop_where_labels_would_settle_it_and_labels_do(tmp_path: Path) -> None:
    with answering(lambda body: "no") as target:
        plan = tool_plan(tmp_path, ["plain*300"], target)
        plan.write_text(plan.read_text().replace("exploration: {plain: 1}\n", ""))
        first = api.evaluate(plan, out=tmp_path / "run")
        assert first.decision.verdict == "delay"
        assert first.target_calls < 90, "the scorer's word plans: no more is asked than labels could need"
        assert "answers that the judge passed await labels" in first.decision.requirements[0].reason
        assert label_as_flagged(tmp_path / "run") == first.target_calls
        (tmp_path / "in" / "mine.source.json").unlink()
        after = api.evaluate(out=tmp_path / "run", resume=True)
    assert after.decision.verdict == "approve"
    assert after.target_calls == first.target_calls, "labels settled it without a further call"
    report = api.verify(tmp_path / "run" / "evidence.jsonl")
    assert (report.findings, report.decision) == ([], after.decision)


def test_the_forecast_of_a_played_plan_reckons_with_labels_of_all_that_is_drawn(tmp_path: Path) -> None:
    plan = tool_plan(tmp_path, ["plain*300"], NOBODY)
    plan.write_text(plan.read_text().replace("exploration: {plain: 1}\n", ""))
    loaded, _ = read_plan(str(plan))
    good, bad = (simulate(loaded, Supposed(violation=rate), 0) for rate in (0.0, 0.4))
    assert (good.verdict, bad.verdict) == ("approve", "halt")
    assert max(good.trials, bad.trials) < 100


def test_labels_that_differ_from_the_scorer_make_the_draws_go_on(tmp_path: Path) -> None:
    from assay.judges import transcript_digest
    from assay.runs import LabelFile, RunFile, labels_path

    with answering(lambda body: "no") as target:
        plan = tool_plan(tmp_path, ["plain*200"], target)
        plan.write_text(plan.read_text().replace("exploration: {plain: 1}\n", ""))
        first = api.evaluate(plan, out=tmp_path / "run")
        with RunFile.read(tmp_path / "run" / "run.db") as file, LabelFile.open(labels_path(file.path), file.digest) as labels:
            for t in file.trials():
                verdict = "violation" if t.slot == 30 else "acceptable"
                digest = transcript_digest(t.answer, t.turns)
                labels.add(slot=t.slot, item=t.item, transcript=digest, labeller="Aisyah", verdict=verdict)
        after = api.evaluate(out=tmp_path / "run", resume=True)
    assert after.target_calls > first.target_calls
    assert api.verify(tmp_path / "run" / "evidence.jsonl").findings == []


def test_a_replay_needs_neither_tool_nor_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda body: "no") as target:
        first = api.evaluate(tool_plan(tmp_path, [f"plain-{i}" for i in range(8)], target), out=tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(TargetError, match="unknown source"):
        find_adapter("tool")
    again = api.evaluate(replay=tmp_path / "run", out=tmp_path / "again")
    assert again.decision.verdict == first.decision.verdict
    assert [t.said for t in trials_of(tmp_path / "again").values()] == [t.said for t in trials_of(tmp_path / "run").values()]
    assert api.verify(tmp_path / "again" / "evidence.jsonl").findings == []


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"edition": "1"', '"edition": "2"', "samples are others"),
        ('"version": "1.0"', '"version": "1.1"', "pinned to tool 1.0, here is 1.1"),
    ],
)
def test_other_samples_or_versions_than_the_plans_are_not_played(tmp_path: Path, old: str, new: str, match: str) -> None:
    plan = tool_plan(tmp_path, ["plain-1", "plain-2"], NOBODY, options={"edition": "1", "version": "1.0"})
    listed = tmp_path / "in" / "mine.source.json"
    changed = listed.read_text().replace(old, new)
    assert changed != listed.read_text()
    listed.write_text(changed)
    plan.write_text("\n".join(line for line in plan.read_text().splitlines() if "digest:" not in line) + "\n")
    with answering(lambda body: "no") as target, pytest.raises(TargetError, match=match):
        api.evaluate(plan, target=target, out=tmp_path / "run")


def test_a_changed_list_of_samples_is_not_the_plans(tmp_path: Path) -> None:
    plan = tool_plan(tmp_path, ["plain-1", "plain-2"], NOBODY)
    listed = tmp_path / "in" / "mine.source.json"
    listed.write_text(listed.read_text() + "\n")
    with answering(lambda body: "no") as target, pytest.raises(TargetError, match="pins sha256"):
        api.evaluate(plan, target=target, out=tmp_path / "run")


def test_a_verifier_finds_turns_without_a_source_and_scores_of_another(tmp_path: Path) -> None:
    with answering(lambda body: "no") as target:
        api.evaluate(tool_plan(tmp_path, [f"plain-{i}" for i in range(4)], target), out=tmp_path / "run")
    bundle = tmp_path / "run" / "evidence.jsonl"
    lines = bundle.read_bytes().splitlines(keepends=True)
    changed = [line.replace(b'\\"violation\\": false', b'\\"violation\\": true') for line in lines]
    assert changed != lines
    bundle.write_bytes(b"".join(changed))
    checks = {finding.check for finding in api.verify(bundle).findings}
    assert {"judgements", "evidence"} & checks


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("attacks: []", "attacks: [prefix-injection]", "plays its own samples"),
        ("content: [", "# [", "unknown hazard 'mine'|not named under|named"),
        ('model: "grade"', 'model: "mood"', "no scorer 'mood'"),
        ("options: {source", "options: {flavour: x, source", "unknown option 'flavour'"),
        ('source: "mine.source.json"', 'source: "../mine.source.json"', "no plain file name"),
    ],
)
def test_plans_that_cannot_be_played_say_so_in_one_message(tmp_path: Path, old: str, new: str, match: str) -> None:
    plan = tool_plan(tmp_path, ["plain-1", "plain-2"], NOBODY)
    assert old in plan.read_text()
    plan.write_text(plan.read_text().replace(old, new))
    with pytest.raises(AssayError, match=match):
        api.evaluate(plan, out=tmp_path / "run")


def test_a_source_is_no_target_and_judges_nothing_else(tmp_path: Path) -> None:
    plan = tool_plan(tmp_path, ["plain-1", "plain-2"], NOBODY)
    with pytest.raises(PlanError, match="named among the judges"):
        read_plan(str(plan), TargetSpec("source", "tool"))
    with answering(lambda body: "no") as target:
        api.evaluate(plan, target=target, out=tmp_path / "run")
        with pytest.raises(TargetError, match="a cache keeps no samples"):
            api.evaluate(plan, target=target, out=tmp_path / "other", cache=tmp_path / "cache.db")
        with pytest.raises(TargetError, match="workers on Ray play no samples"):
            api.evaluate(plan, target=target, out=tmp_path / "third", executor=OnRay())
        judges = read_plan(str(plan), target)[0].judges
        assert judges is not None
        with pytest.raises(TargetError, match="same run"):
            api.judge_again(tmp_path / "run", judges, tmp_path / "more.jsonl")


def test_what_the_tool_refuses_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    asked = Asked(source="tool", task="refused", name="mine", licence="CC0-1.0", language="en")
    with pytest.raises(TargetError, match="there is no such task") as refused:
        import_source(asked, tmp_path / "in")
    assert "\x1b" not in str(refused.value)
    assert not (tmp_path / "in").exists()
    with pytest.raises(TargetError, match="no option 'flavour'"):
        import_source(msgspec.structs.replace(asked, options={"flavour": "x"}), tmp_path / "in")
    with pytest.raises(TargetError, match="no Python"):
        import_source(msgspec.structs.replace(asked, python="/nowhere/python"), tmp_path / "in")
    with pytest.raises(AssayError, match="cannot be played in text"):
        import_source(msgspec.structs.replace(asked, task="plain-1,plain-2,empty"), tmp_path / "in")


def test_without_a_scorer_every_answer_is_flagged(tmp_path: Path) -> None:
    asked = Asked(source="tool", task="plain-1,plain-2", name="mine", licence="CC0-1.0", language="en")
    with answering(lambda body: "no") as target:
        import_source(asked, tmp_path / "in")
        api.evaluate(tmp_path / "in" / "plan.yaml", target=target, out=tmp_path / "run")
    assert {t.outcome for t in trials_of(tmp_path / "run").values()} == {"violation"}


def test_a_worker_sees_no_key_that_it_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hidden")
    monkeypatch.setenv("GRADER_KEY", "given")
    seen = surroundings(("GRADER_KEY",))
    assert "MY_API_KEY" not in seen
    assert (seen["GRADER_KEY"], seen["PATH"]) == ("given", os.environ["PATH"])
    for name in ("HF_TOKEN", "HF_ENDPOINT", "INSPECT_EVAL_MODEL_BASE_URL", "INSPECT_MY_API_KEY", "XDG_MY_SECRET", "LC_password"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("HF_HOME", "cache")
    seen = surroundings((), ("TZ", "HF_HUB_OFFLINE"))
    assert "hidden" not in seen.values()
    assert seen["HF_HOME"] == "cache"


@pytest.mark.parametrize("given", [(), ("LC_MINE",)])
def test_the_plans_own_key_is_seen_only_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]) -> None:
    monkeypatch.setenv("LC_MINE", "sk-1")
    monkeypatch.setenv("LC_OTHER", "C")
    with answering(lambda body: "no") as loop:
        target = msgspec.structs.replace(loop, api_key_env="LC_MINE")
        api.evaluate(tool_plan(tmp_path, ["seen-1", "plain-1"], target, environment=given), out=tmp_path / "run")
    told = trials_of(tmp_path / "run")["seen-1"].said[0].replies[0]
    assert "LC_OTHER" in told
    assert ("LC_MINE" in told) is bool(given)


@pytest.mark.parametrize("text", ["", "[]", '{"assay": "source/2"}', "{" * 100_000, '{"assay": "source/1", "samples": {}}'])
def test_a_list_of_samples_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.source.json").write_text(text)
    with pytest.raises(TargetError):
        read_source_file(tmp_path / "x.source.json")
