"""Runs with judges, from plan to verified bundle: replies are kept, a judge that is down holds the run back, labels go in and on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from assay import api
from assay.cli import main
from assay.errors import PlanError, RunFileError, TargetError
from assay.evidence import verify_bundle
from assay.judges.labels import told
from assay.judges.reading import code_of
from assay.plan import parse_plan, read_calibration
from assay.runs import LabelFile, RunFile, labels_path, read_labels
from assay.scenarios import Item
from tests.support import label_all, plan_text
from tests.targets.endpoint import completion, serve

MATRIX = {"hazards": ["hate"], "languages": ["en", "ms"], "attacks": [], "benign": True}
JUDGED = {
    "matrix": MATRIX,
    "target": {"kind": "scripted", "model": "0.01"},
    "judges": {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}}]},
    "labels": {"audit": 0.05},
    "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.1}],
    "budget": {"calls": 3000},
    "exploration": {"plain": 20, "benign": 20},
}
CALIBRATING = {
    **JUDGED,
    "name": "calibration",
    "target": {"kind": "scripted", "model": "0.5", "options": {"refusal": "0.5"}},
    "labels": {"audit": 1.0},
    "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.99}],
    "exploration": {"plain": 150, "benign": 60},
    "budget": {"calls": 420},
}


def plan_file(folder: Path, name: str = "plan.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(plan_text(**{**JUDGED, **changes}))
    return path


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "key.pem"))


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    plan = plan_file(folder, **CALIBRATING)
    api.evaluate(plan, out=folder / "run", key=folder / "key.pem")
    with RunFile.read(folder / "run" / "run.db") as run:
        assert label_all(run) == 420
    assert main_with("judge", "measure", str(folder / "run"), "--write", str(folder / "calibration.json")) == 0
    return folder / "calibration.json"


def main_with(*arguments: str) -> int:
    import sys

    before = sys.argv
    sys.argv = ["assay", *arguments]
    try:
        return main()
    finally:
        sys.argv = before


def go_on(out: Path, **more: Any) -> api.Result:
    """Label, and go on, until nothing more waits."""
    result = api.evaluate(out=out, resume=True, **more)
    for _ in range(20):
        with RunFile.read(out / "run.db") as run:
            if not label_all(run):
                return result
        result = api.evaluate(out=out, resume=True)
    raise AssertionError


def test_without_calibration_a_run_waits_for_labels_and_never_approves(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = api.evaluate(plan_file(tmp_path), out=out)
    assert result.decision.verdict == "delay"
    assert result.decision.trials < 1500  # it waits, and does not spend its budget
    reason = result.decision.requirements[0].reason
    assert "flagged answers await labels" in reason
    assert "more labelled violations would settle it" in reason
    result = go_on(out)
    assert result.decision.verdict == "delay"
    assert "await" not in result.decision.requirements[0].reason
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok


def test_with_calibration_and_labels_it_approves_and_anybody_can_check(tmp_path: Path, calibration: Path) -> None:
    out = tmp_path / "run"
    plan = plan_file(tmp_path, judges={**JUDGED["judges"], "calibration": str(calibration)})  # type: ignore[dict-item]
    assert api.evaluate(plan, out=out).decision.verdict == "delay"
    result = go_on(out)
    assert result.decision.verdict == "approve"
    assert api.decide(out).to_json() == result.decision.to_json()
    assert result.bundle is not None
    report = verify_bundle(result.bundle)
    assert report.ok, report.findings
    assert "labels belong to their answers" in dict(report.checks)
    assert any("what people said" in t for t in report.trusted)
    with RunFile.read(out / "run.db") as run:
        assert len(run.taken()) >= 1
        assert all(t.said for t in run.trials())


def test_a_calibration_that_comes_after_the_run_settles_it_and_may_only_grow(tmp_path: Path, calibration: Path) -> None:
    out = tmp_path / "run"
    api.evaluate(plan_file(tmp_path), out=out)
    go_on(out)
    result = go_on(out, calibration=calibration)
    assert result.decision.verdict == "approve", result.decision.requirements[0]
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok
    value = json.loads(calibration.read_bytes())
    for row in value["rows"]:
        row["missed"] = max(0, row["missed"] - 10)
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(value))
    with pytest.raises(RunFileError, match="fewer labels"):
        api.evaluate(out=out, resume=True, calibration=fewer)
    assert main_with("judge", "measure", str(out), "--write", str(tmp_path / "own.json")) == 0
    with pytest.raises(RunFileError, match="on this very run"):
        api.evaluate(out=out, resume=True, calibration=tmp_path / "own.json")


def test_a_bad_model_is_halted_by_what_people_confirm(tmp_path: Path) -> None:
    out = tmp_path / "run"
    api.evaluate(plan_file(tmp_path, target={"kind": "scripted", "model": "0.4"}), out=out)
    assert api.decide(out).verdict == "delay"  # flagged alone halts nothing
    assert go_on(out).decision.verdict == "halt"


@pytest.mark.parametrize(("rate", "verdict"), [("0.0", "approve"), ("0.5", "halt")])
def test_an_audit_of_what_the_judge_passes_needs_no_calibration(tmp_path: Path, rate: str, verdict: str) -> None:
    out = tmp_path / "run"
    blind = {"panel": [{"name": "blind", "target": {"kind": "scripted-judge", "model": "0/1"}}]}
    matrix = {"hazards": ["hate"], "languages": ["ms"], "attacks": [], "benign": False}
    target = {"kind": "scripted", "model": rate}
    plan = plan_file(tmp_path, judges=blind, matrix=matrix, target=target, labels={"method": "audit", "audit": 0.3})
    assert "drawn from those that the judge passed await labels" in api.evaluate(plan, out=out).decision.requirements[0].reason
    result = go_on(out)
    assert result.decision.verdict == verdict
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok


def test_a_calibration_of_another_panel_is_expired(tmp_path: Path, calibration: Path) -> None:
    out = tmp_path / "run"
    judges = {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}, "temperature": 0.5}]}
    api.evaluate(plan_file(tmp_path, judges={**judges, "calibration": str(calibration)}), out=out)
    assert go_on(out).decision.verdict == "delay"


def test_a_judge_that_has_changed_loses_its_calibration(tmp_path: Path, calibration: Path) -> None:
    told_lines: list[str] = []
    value = json.loads(calibration.read_bytes())
    assert 30 <= len(value["anchors"]) <= 40
    for anchor in value["anchors"]:
        anchor["flagged"] = not anchor["flagged"]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(value))
    plan = plan_file(tmp_path, judges={**JUDGED["judges"], "calibration": str(changed)})  # type: ignore[dict-item]
    api.evaluate(plan, out=tmp_path / "run", progress=told_lines.append)
    assert any("the calibration is void" in line for line in told_lines)
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert run.opening().plan.judges.void  # type: ignore[union-attr]
    assert "more labelled violations would settle it" in go_on(tmp_path / "run").decision.requirements[0].reason


def test_what_is_void_does_not_come_back_with_the_same_file(tmp_path: Path, calibration: Path) -> None:
    """A calibration that comes after the plan has its anchors read as well; and labels that were void once stay so."""
    value = json.loads(calibration.read_bytes())

    def changed(name: str, *, flip: bool = False, anchors: bool = True, fewer: int = 0) -> Path:
        made = json.loads(json.dumps(value))
        made["anchors"] = [{**a, "flagged": a["flagged"] != flip} for a in made["anchors"] if anchors]
        for row in made["rows"]:
            row["caught"] -= fewer
        (tmp_path / name).write_text(json.dumps(made))
        return tmp_path / name

    void = changed("void.json", flip=True)
    judges = {**JUDGED["judges"], "calibration": str(void)}  # type: ignore[dict-item]
    api.evaluate(plan_file(tmp_path, judges=judges, budget={"calls": 40}), out=tmp_path / "run")
    for path, message in (
        (void, "the judges have changed since"),
        (changed("bare.json", anchors=False, fewer=2), "no anchors that show it"),
        (calibration, "may count the same labels again"),
    ):
        with pytest.raises(RunFileError, match=message):
            api.evaluate(out=tmp_path / "run", resume=True, calibration=path)
    result = api.evaluate(out=tmp_path / "run", resume=True, calibration=changed("new.json", fewer=2))
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert len(run.taken()) == 1
    api.evaluate(plan_file(tmp_path, budget={"calls": 40}), out=tmp_path / "plain")
    with pytest.raises(RunFileError, match="the judges have changed since"):
        api.evaluate(out=tmp_path / "plain", resume=True, calibration=void)


def test_a_panel_keeps_every_reply_and_retries_what_cannot_be_used(tmp_path: Path) -> None:
    judges = {
        "panel": [
            {"name": "one", "target": {"kind": "scripted-judge", "model": "1/1"}},
            {"name": "two", "target": {"kind": "scripted-judge", "model": "1/1", "options": {"broken": "0.5"}}},
        ],
        "tries": 3,
    }
    result = api.evaluate(plan_file(tmp_path, judges=judges, budget={"calls": 80}), out=tmp_path / "run")
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        trials = list(run.trials())
    assert all(len(t.said) == 2 and len(t.said[0].replies) == 1 for t in trials)
    assert {len(t.said[1].replies) for t in trials} >= {1, 2}
    unusable = [t for t in trials if t.outcome == "unscorable"]
    assert all(len(t.said[1].replies) == 3 for t in unusable)
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok


def test_a_replayed_run_keeps_what_the_judges_said(tmp_path: Path) -> None:
    api.evaluate(plan_file(tmp_path, budget={"calls": 60}), out=tmp_path / "run")
    result = api.evaluate(replay=tmp_path / "run", out=tmp_path / "again")
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok
    with RunFile.read(tmp_path / "run" / "run.db") as one, RunFile.read(tmp_path / "again" / "run.db") as other:
        assert [t.said for t in one.trials()] == [t.said for t in other.trials()]


def test_judges_that_read_episodes_add_failure_modes_and_decide_nothing(tmp_path: Path) -> None:
    def modes(of: dict[str, Any]) -> str:
        value = json.loads(verdict_of(of))
        return json.dumps(value | {"violation": True, "refusal": "none", "modes": [1, 9]})

    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion(modes(body) if len(body["messages"]) > 1 else "Hello!"))

    with serve(behave) as endpoint:
        judges = {"panel": [{"name": "r", "target": {"kind": "http", "url": endpoint.url, "model": "loop"}}], "episodes": True}
        matrix = {"hazards": ["agent-banking"], "languages": ["ms"], "attacks": [], "benign": False}
        plan = plan_file(tmp_path, judges=judges, matrix=matrix, budget={"calls": 30}, target={"kind": "scripted", "model": "0.0"})
        result = api.evaluate(plan, out=tmp_path / "run")
        asked = [b for b in endpoint.bodies if len(b["messages"]) > 1]
    assert any("RESULT 1" in b["messages"][1]["content"] and "CALL {" in b["messages"][1]["content"] for b in asked)
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        trials = list(run.trials())
    assert {t.outcome for t in trials} == {"safe"}  # the ledger's word, whatever the judge says
    assert all({1, 9} <= set(t.modes) and t.judge.startswith("checks/") for t in trials)
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok


# Judges behind HTTP


def verdict_of(body: dict[str, Any]) -> str:
    """A verdict in form: safe, with the last line as its quote."""
    lines = body["messages"][1]["content"].split("\n")
    said = [line[2:] for line in lines[: lines.index(lines[0], 1)] if line.startswith("| ") and len(line) > 2]
    return json.dumps({"case": lines[0], "violation": False, "refusal": "full", "quotes": [said[-1][:60]], "reason": "."})


def test_a_judge_behind_http_is_asked_with_its_schema(tmp_path: Path) -> None:
    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion("" if body["messages"][0]["content"] == "Hello" else _or_hello(body)))

    with serve(behave) as endpoint:
        spec = {"kind": "http", "url": endpoint.url, "model": "loop"}
        judges = {"panel": [{"name": "remote", "target": spec, "structured": True, "rubric": "item"}]}
        api.evaluate(plan_file(tmp_path, judges=judges, budget={"calls": 40}), out=tmp_path / "run")
        asked = [b for b in endpoint.bodies if "response_format" in b]
    assert len(asked) >= 40
    assert asked[0]["response_format"]["json_schema"]["schema"]["required"][0] == "case"
    assert any("sebuah" in b["messages"][0]["content"] or "pembantu" in b["messages"][0]["content"].lower() for b in asked)
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert {t.outcome for t in run.trials() if t.arm == "plain"} == {"safe"}


def _or_hello(body: dict[str, Any]) -> str:
    return verdict_of(body) if len(body["messages"]) > 1 else "Hello!"


def test_a_judge_that_is_down_stops_the_run_and_nothing_counts_as_judged(tmp_path: Path) -> None:
    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if number > 12:
            return web.Response(status=503)
        return web.json_response(completion(_or_hello(body)))

    with serve(behave) as endpoint:
        spec = {"kind": "http", "url": endpoint.url, "model": "loop"}
        limits = {"concurrency": 2, "outage_s": 2, "retries": 0, "timeout_s": 2}
        plan = plan_file(tmp_path, judges={"panel": [{"name": "remote", "target": spec}]}, budget={"calls": 40}, limits=limits)
        with pytest.raises(TargetError, match="judge 'remote' has given no answer"):
            api.evaluate(plan, out=tmp_path / "run")
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert 0 < run.count() < 40
        assert all(t.outcome != "unscorable" for t in run.trials())


# What an outsider finds


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, calibration: Path) -> Path:
    folder = tmp_path_factory.mktemp("settled")
    plan = plan_file(folder, judges={**JUDGED["judges"], "calibration": str(calibration)})  # type: ignore[dict-item]
    api.evaluate(plan, out=folder / "run", key=folder / "key.pem")
    for _ in range(20):
        with RunFile.read(folder / "run" / "run.db") as run:
            if not label_all(run):
                break
        api.evaluate(out=folder / "run", resume=True, key=folder / "key.pem")
    return folder / "run" / "evidence.jsonl"


def _flip_label(rows: list[dict[str, Any]]) -> None:
    label = next(r for r in rows if r.get("kind") == "labels")["value"][0]["labels"][0]
    label["verdict"] = "acceptable" if label["verdict"] == "violation" else "violation"


def _drop_label(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "labels")["value"][0]["labels"].pop(0)


def _move_label(rows: list[dict[str, Any]]) -> None:
    labels = next(r for r in rows if r.get("kind") == "labels")["value"][0]["labels"]
    labels[0]["slot"], labels[1]["slot"] = labels[1]["slot"], labels[0]["slot"]


def _take_later(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "labels")["value"][0]["slot"] += 1


def _change_reply(rows: list[dict[str, Any]]) -> None:
    trial = next(r for r in rows if r.get("outcome") == "violation")
    trial["said"][0]["replies"][0] = trial["said"][0]["replies"][0].replace("true", "false")


def _more_replies(rows: list[dict[str, Any]]) -> None:
    trial = next(r for r in rows if r.get("said"))
    trial["said"][0]["replies"] *= 4


def _forget_judge(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("said")).pop("said")


def _better_judge(rows: list[dict[str, Any]]) -> None:
    for row in next(r for r in rows if r.get("kind") == "plan")["value"]["judges"]["calibrated"]:
        row["missed"] = 0


def _other_digests(rows: list[dict[str, Any]]) -> None:
    digests = next(r for r in rows if r.get("kind") == "plan")["value"]["judges"]["digests"]
    digests["hate/en"] = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (_flip_label, {"evidence", "decision", "schedule"}), (_drop_label, {"labels"}), (_move_label, {"labels"}),
        (_take_later, {"schedule", "evidence"}), (_change_reply, {"judgements"}), (_more_replies, {"judgements"}),
        (_forget_judge, {"judgements"}), (_better_judge, {"registration"}), (_other_digests, {"judges"}),
    ],
)  # fmt: skip
def test_whatever_is_altered_in_judgements_and_labels_is_found(
    settled: Path, tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], checks: set[str]
) -> None:
    rows = [json.loads(line) for line in settled.read_text().splitlines()]
    change(rows)
    path = tmp_path / "altered.jsonl"
    from assay.ledger import canonical

    path.write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    assert {f.check for f in verify_bundle(path).findings} & checks


# Files


def test_plans_with_judges_that_cannot_be(tmp_path: Path, calibration: Path) -> None:
    def fails(message: str, **changes: Any) -> None:
        with pytest.raises(PlanError, match=message):
            parse_plan(plan_text(**{**JUDGED, **changes}), where=str(tmp_path / "p.yaml"))

    fails("none of the matrix's hazards needs a judge", matrix={**MATRIX, "hazards": ["secret-leakage"]})
    fails("filled in by Assay", judges={**JUDGED["judges"], "hazards": ["hate"]})  # type: ignore[dict-item]
    fails("only violation rates and over-refusal", requirements=[{"id": "p", "kind": "language-parity", "reference": "en", "margin": 0.1}])
    fails("cannot read the calibration", judges={**JUDGED["judges"], "calibration": "none.json"})  # type: ignore[dict-item]
    (tmp_path / "bad.json").write_text('{"assay": "calibration/1", "rows": [{"panel": "x"}]}')
    fails("not a calibration", judges={**JUDGED["judges"], "calibration": "bad.json"})  # type: ignore[dict-item]
    fails("needs a share of answers to audit", labels={"method": "audit"})
    fails("two judges have the same name", judges={"panel": [json.loads(json.dumps(JUDGED["judges"]["panel"][0])) for _ in range(2)]})  # type: ignore[index]
    assert read_calibration(calibration).sources[0].labels == 420


def test_labels_are_of_one_run_and_survive(tmp_path: Path) -> None:
    api.evaluate(plan_file(tmp_path, budget={"calls": 60}), out=tmp_path / "run")
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert read_labels(run) == []
        count = label_all(run)
        labels = read_labels(run)
        assert [label.number for label in labels] == list(range(1, count + 1))
        with LabelFile.open(labels_path(run.path), run.digest) as file, pytest.raises(RunFileError, match="not a label"):
            file.add(slot=-1, item="x", transcript="y", labeller="A")
    with pytest.raises(RunFileError, match="another run"):
        LabelFile.open(tmp_path / "run" / "labels.db", "sha256:" + "0" * 64)
    with RunFile.open(tmp_path / "run" / "run.db") as run:
        assert run.take(labels) is not None
        assert run.take(labels) is None
        ((slot, known),) = told(run.taken(), 1)
        assert slot == run.count()
        assert set(known.truth) == {label.slot for label in labels}


# The command


def test_reading_again_goes_on_where_it_was_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = {"kind": "scripted", "model": "0.5"}
    api.evaluate(plan_file(tmp_path, budget={"calls": 80}, target=target, labels={"audit": 1.0}), out=tmp_path / "run")
    out = tmp_path / "again.jsonl"
    arguments = ("judge", "again", str(tmp_path / "run"), "--judge", "scripted-judge:1/1", "--out", str(out))
    assert main_with(*arguments) == 0
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:20]) + lines[20][:10])
    assert main_with(*arguments) == 0
    assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert main_with("judge", "again", str(tmp_path / "run"), "--judge", "scripted-judge:0.5/1", "--out", str(out)) == 2
    capsys.readouterr()
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        label_all(run)
    assert main_with("judge", "compare", str(tmp_path / "run"), str(out), "--json") == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    plain = [g for g in groups if g["arm"] == "plain"]
    assert sum(g["n"] for g in groups) == len(lines) - 1
    assert all(g["right_second"] == g["labelled"] for g in groups)
    assert sum(g["right_first"] for g in groups) < sum(g["labelled"] for g in groups)
    assert all(-1 <= g["kappa"] <= 1 for g in plain)


def test_measuring_needs_answers_that_were_drawn_whatever_the_judge_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.evaluate(plan_file(tmp_path, budget={"calls": 80}, labels={"audit": 0.0}), out=tmp_path / "run")
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        assert label_all(run)
        assert main_with("judge", "measure", str(tmp_path / "run")) == 2
        assert "drawn whatever the judge said" in capsys.readouterr().err
        label_all(run, everything=True)
    assert main_with("judge", "measure", str(tmp_path / "run")) == 0  # streams that are labelled whole


def test_measured_rates_are_those_of_the_judge(calibration: Path) -> None:
    rows = read_calibration(calibration).rows
    plain = [r for r in rows if r.arm == "plain"]
    caught, missed = sum(r.caught for r in plain), sum(r.missed for r in plain)
    assert abs(caught / (caught + missed) - 0.8) < 0.1
    alarms, passed = sum(r.alarms for r in rows), sum(r.passed for r in rows)
    assert passed / (alarms + passed) > 0.93
    anchor = read_calibration(calibration)
    assert anchor.sources[0].people == 1


def test_a_code_word_is_not_in_what_the_target_is_sent() -> None:
    from assay.attacks import ATTACKS
    from assay.catalog import load_catalog
    from assay.plan import Stream
    from assay.scenarios import ItemBuilder

    built: Item = ItemBuilder(load_catalog(["hate"], ["en"]), bytes(32), ATTACKS).build(Stream("hate", "en", "none", "plain"), 0)
    assert code_of(built) not in msgspec.json.encode(built).decode()
