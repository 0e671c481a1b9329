"""What a newcomer meets: mistyped names, the wrong file, nobody's target in a plan, an interrupt at a bad moment, a narrow terminal."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assay import api
from assay.cli import forecast, main
from assay.cli.live import MEASURED_S, View
from assay.cli.matrix import MatrixView
from assay.cli.words import hanging
from assay.decision import Gate
from assay.engine import Committed
from assay.errors import ModelError
from assay.plan import read_plan, streams
from assay.targets import embedded, models
from tests.support import make_bundle, make_plan, plan_text

USER = "user.yaml"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "ASSAY_KEY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class Called:
    """The command in this process: its code, and what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str]:
        self._patch.setattr(sys, "argv", ["assay", *map(str, words)])
        self._capture.readouterr()
        code = main()
        found = self._capture.readouterr()
        assert "Traceback" not in found.err
        return code, found.out + found.err


@pytest.fixture
def assay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    return Called(monkeypatch, capsys)


@pytest.fixture
def plan() -> Path:
    path = Path("plan.yaml")
    path.write_text(plan_text(budget={"calls": 10}))
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("one", "two"):
        (folder / "runs" / name).mkdir(parents=True)
        make_bundle(folder / "runs" / name, budget={"calls": 10})
    return folder


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("rn", "'assay run'"), ("reprot runs/x", "'assay report'"), ("access lst", "'assay access list'"), ("version", "'assay --version'"),
        ("help", "'assay --help'"), ("access help", "'assay access --help'"),
    ],
)  # fmt: skip
def test_a_mistyped_command_is_answered_with_the_nearest(assay: Called, words: str, meant: str) -> None:
    code, said = assay(*words.split())
    assert code == 2
    assert f"Did you mean {meant}?" in said


def test_a_mistyped_hazard_is_answered_with_the_nearest_and_not_with_all(assay: Called) -> None:
    code, said = assay("catalog", "show", "secret-leak")
    assert (code, "Did you mean 'secret-leakage'?" in said, "agent-banking" in said) == (2, True, False)
    code, said = assay("catalog", "show", "gossip")
    assert (code, "catalog list" in said, "agent-banking" in said) == (2, True, False)


def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the small model is at hand."""

    def weights(name: str, _: object) -> Path:
        if name == models.DEFAULT:
            raise ModelError(f"could not fetch {name}")
        return Path("there")

    for module in (models, embedded):
        monkeypatch.setattr(module, "weights", weights)


def test_a_model_that_a_plan_or_a_flag_names_is_never_swapped(assay: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    without_weights(monkeypatch)
    Path(USER).write_text(plan_text(target={"kind": "embedded", "model": models.DEFAULT}))
    for words in ((USER,), ("quick", "--target", f"embedded:{models.DEFAULT}")):
        code, said = assay("run", *words, "--out", "run")
        assert (code, models.FALLBACK in said) == (2, False), said
        assert f"could not fetch {models.DEFAULT}" in said
        assert not Path("run/run.db").exists()


@pytest.mark.parametrize("words", [(), ("quick",)])
def test_the_first_look_falls_back_and_says_so_with_its_decision(
    assay: Called, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    without_weights(monkeypatch)
    asked = []

    def evaluate(ready: Any, *, target: Any, **_: Any) -> api.Result:
        asked.append(target.model)
        return api.Result(Gate(ready[0], bytes(32)).decision(), "complete", Path("run"), None, None, 0)

    monkeypatch.setattr(api, "evaluate", evaluate)
    code, said = assay("run", *words, "--quiet", "--out", "run")
    assert (code, asked) == (10, [models.FALLBACK])
    assert f"The verdict is on {models.FALLBACK}, since the plan's {models.DEFAULT} could not be had." in said
    _, said = assay("run", *words, "--json", "--out", "again")
    (decision,) = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert models.FALLBACK in decision["note"]


def test_what_a_simulation_did_not_decide_is_no_verdict(assay: Called, monkeypatch: pytest.MonkeyPatch, plan: Path) -> None:
    monkeypatch.setattr(forecast, "MOST_TRIALS", 8)
    monkeypatch.setattr(forecast, "SILENT_S", -1.0)
    code, said = assay("run", plan, "--dry-run")
    assert code == 0
    assert "not decided within 8 (every rate at a tenth" in said
    assert "or more" not in said
    assert "Simulating a weak model (3 of 3)" in said
    (facts,) = [line for line in assay("run", plan, "--dry-run", "--json")[1].splitlines() if line.startswith("{")]
    assert json.loads(facts)["expected"][0]["verdicts"] == "not decided"


@pytest.mark.parametrize("name", ["sea", "agents", "harms", "standard"])
def test_built_in_plans_for_a_model_of_ones_own_name_the_placeholder(name: str) -> None:
    assert forecast.is_placeholder(read_plan(name)[0].target)


def test_a_placeholder_is_said_to_be_one_in_the_dry_run_and_in_the_error(assay: Called) -> None:
    kind, model, url = forecast.PLACEHOLDER
    target = {"kind": kind, "model": model, "url": url}
    Path("p.yaml").write_text(plan_text(target=target, limits={"outage_s": 0.1}))
    _, said = assay("run", "p.yaml", "--dry-run")
    assert "names a placeholder: give --target" in said
    assert "without --dry-run" not in said
    _, named = assay("run", "p.yaml", "--dry-run", "--target", f"{url}#{model}")
    assert "placeholder" not in named
    assert "without --dry-run" in named


def test_a_connection_that_fails_to_a_placeholder_says_what_to_do(assay: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = ("http", "my-model", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(forecast, "PLACEHOLDER", nobody)
    target = dict(zip(("kind", "model", "url"), nobody, strict=True))
    Path("p.yaml").write_text(plan_text(target=target, limits={"outage_s": 0.1}))
    code, said = assay("run", "p.yaml", "--out", "run")
    assert (code, "names a placeholder: give --target" in said) == (2, True), said
    code, said = assay("run", "p.yaml", "--out", "run", "--target", f"{nobody[2]}#my-model")
    assert (code, "placeholder" in said) == (2, False), said


def test_a_host_name_that_is_not_found_is_said_so(assay: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setitem(sys.modules, "uvloop", None)  # it asks the system itself
    code, said = assay("run", "quick", "--target", "http://no-such-host.example/v1#m", "--out", "run")
    assert (code, "the host name 'no-such-host.example' was not found" in said) == (2, True), said
    assert "Connector" not in said


def test_an_unsigned_key_is_asked_for_by_the_option_that_the_command_has(assay: Called, plan: Path) -> None:
    signed = Path("p.signed.json")
    signed.write_text(json.dumps({"assay": "signed-policy/1", "envelope": {}, "key": {}}))
    for words, option in (
        (("run", plan, "--policy", signed), "--policy-key."),
        (("policy", "check", plan, "--policy", signed), "--key-id."),
        (("policy", "diff", signed, "consumer-chat"), "--old-key-id."),
        (("policy", "diff", "consumer-chat", signed), "--key-id."),
    ):
        code, said = assay(*words)
        assert (code, f"must have signed it: {option}" in said) == (2, True), said


@pytest.mark.parametrize("moment", ["before the first trial", "after the last"])
def test_an_interrupt_at_any_time_of_an_open_run_says_how_to_go_on(
    assay: Called, monkeypatch: pytest.MonkeyPatch, plan: Path, moment: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api, "make_attacker" if moment.startswith("before") else "write_bundle", interrupted)
        code, said = assay("run", plan, "--out", "run", "--key", "my key.pem")
    assert code == 130
    again = "run --resume --out run --key 'my key.pem'"
    assert again in said
    code, said = assay("verify", "run")
    assert (code, "this run is not finished" in said, "run --resume --out run" in said) == (2, True, True), said
    code, said = assay("verify", "run/evidence.jsonl")
    assert (code, "this run is not finished" in said) == (2, True), said
    code, said = assay("run", "--resume", "--out", "run", "--key", "my key.pem", "--quiet")
    assert code in (0, 10, 20), said
    assert assay("verify", "run")[0] == 0


def test_an_interrupt_before_a_run_is_open_says_that_nothing_is_kept(assay: Called, monkeypatch: pytest.MonkeyPatch, plan: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "open_run", interrupted)
    code, said = assay("run", plan, "--out", "run")
    assert (code, "nothing is kept" in said, "--resume" in said) == (130, True, False), said


def test_a_key_that_is_made_unasked_is_said_once(assay: Called, plan: Path, here: Path) -> None:
    _, said = assay("run", plan, "--out", "one")
    assert "Made a signing key: .config/assay/key.pem, id " in said
    assert "assay key protect" in said.replace("-m assay", "assay")
    _, said = assay("run", plan, "--out", "two")
    assert "Made a signing key" not in said
    _, said = assay("key", "new", "owner.pem")
    assert said.startswith("Wrote owner.pem, not protected by a passphrase.\nkey id ")
    assert "run --key owner.pem" in said
    _, said = assay("plan", "seal", plan, "--party", "institute", "--out", "i.seal", "--key", "other.pem")
    assert "Made a signing key: other.pem" in said


def test_another_file_than_the_command_takes_is_called_what_it_is(
    assay: Called, plan: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan.absolute()
    monkeypatch.chdir(two)
    policy = Path("ours.yaml")
    policy.write_text("# a comment\nassay: policy/1\nid: ours\n")
    Path("page.html").write_text("<!doctype html>")
    for words, code, parts in (
        (("report", plan), 2, ("this is a plan, and no run", f"run {plan}")),
        (("decide", plan), 2, ("this is a plan, and no run",)),
        (("compare", plan, "runs/one"), 2, ("this is a plan, and no run",)),
        (("plan", "check", policy), 2, ("this is a policy, and no plan", "policy show ours.yaml")),
        (("run", policy), 2, ("this is a policy, and no plan",)),
        (("plan", "cost", "runs/one/run.db"), 2, ("this is a run file, and no plan",)),
        (("verify", plan), 2, ("this is a plan, and no bundle",)),
        (("verify", "runs/one/run.db"), 2, ("this is a run file, and no bundle",)),
        (("verify", "page.html"), 2, ("this is no bundle",)),
        (("decide", "runs"), 2, ("this is a folder of runs", "runs/one", "runs/two")),
        (("verify", "runs"), 2, ("this is a folder of runs",)),
        (("verify", "runs/one"), 0, ()),
    ):
        found, said = assay(*words)
        assert found == code, said
        assert all(part in said for part in parts), said
        assert "damaged" not in said


def test_the_studio_says_that_its_folder_is_not_there_yet(assay: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette", reason="the extra label is not installed")
    monkeypatch.setattr("assay.web.serving.serve", lambda *_: None)
    assert "There is no folder nosuch yet" in assay("studio", "nosuch", "--no-open", "--port", "0")[1]
    Path("there").mkdir()
    assert "no folder" not in assay("studio", "there", "--no-open", "--port", "0")[1]


def test_lists_wrap_where_somebody_looks_and_names_stay_whole(assay: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [line for words in (("catalog", "list"), ("world", "list")) for line in assay(*words)[1].splitlines()]
    assert max(map(len, wide)) > 100, "in a pipe, a line stays a line"
    monkeypatch.setenv("COLUMNS", "60")
    for words in (("catalog", "list"), ("world", "list")):
        lines = assay(*words)[1].splitlines()
        assert max(len(line) for line in lines if "sha256" not in line and "assay" not in line) <= 60
        assert not [line for line in lines if line.startswith("  child-sexual-exploitation0")]
    assert hanging("  name  ", "one two-three " * 8).splitlines()[1].startswith("        ")


def test_streams_are_named_whole_on_a_narrow_terminal(assay: Called, monkeypatch: pytest.MonkeyPatch, two: Path) -> None:
    monkeypatch.chdir(two / "runs")
    monkeypatch.setenv("COLUMNS", "60")
    _, said = assay("compare", "one", "two")
    assert f"\n{streams(make_plan()[0])[0].key}\n" in said
    assert "…" not in said.split("\n", 1)[1].replace("… ", "")
    assert max(map(len, said.splitlines()[1:-2])) <= 60


def committed(plan: Any, number: int) -> Committed:
    return Committed(slot=number, stream=streams(plan)[0], index=number, outcome="safe", resumed=False)


def test_no_pace_is_said_of_the_first_answers_and_the_time_left_ends_with_the_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = make_plan(budget={"calls": 2000, "minutes": 1})
    gate, now = Gate(plan, bytes(32)), [1000.0]
    monkeypatch.setattr("assay.cli.live.time.monotonic", lambda: now[0])
    view = View(plan)
    for number in range(40):  # a batch
        view.committed(committed(plan, number), gate, "gate")
        now[0] += 1e-5
    assert view.rate == 0.0
    assert "... | deciding" in view.status(gate)
    assert "left" not in view.status(gate)
    now[0] += MEASURED_S
    view.committed(committed(plan, 40), gate, "gate")
    assert view.rate == pytest.approx(40 / MEASURED_S, rel=0.01)
    assert "at most 56 s left" in view.status(gate)  # 1,959 trials would take 147 s


def test_the_matrix_keeps_its_heads_whole_and_explains_no_column_that_is_not_there() -> None:
    plan, _ = read_plan("quick")
    view = MatrixView(plan)
    view._gate = Gate(plan, bytes(32))
    for width, harmless in ((60, False), (140, True)):
        view._console = Console(width=width)
        lines = [str(text) for text in view._picture().renderables]
        assert any("instructions" in line for line in lines)
        assert ("harmless: refused" in lines[-1]) is harmless
