"""`assay compare`: releases paired by item, errors within their levels, and every kind of input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.decision import Observed, compare, over_time
from assay.plan import ErrorRates, Stream
from tests.support import make_bundle

BANK = {"bank": {"size": 60, "seed": "ab" * 32}, "exploration": {"plain": 60, "attack": 60, "benign": 60}, "budget": {"calls": 2000}}
STREAMS = [Stream("h", "en", "none", "plain"), Stream("h", "ms", "none", "plain")]


def release(folder: Path, name: str, rate: str, seed: str, **changes: Any) -> Path:
    path = folder / name
    path.mkdir()
    make_bundle(path, target={"kind": "scripted", "model": rate, "options": {"seed": name}}, seed=seed * 32, **changes)
    return path


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("releases")
    return {
        "v1": release(folder, "v1", "0.02", "11", **BANK),
        "v2": release(folder, "v2", "0.0", "22", **BANK),
        "v3": release(folder, "v3", "0.6", "33", **BANK),
        "fresh1": release(folder, "fresh1", "0.02", "44", exploration={"plain": 80, "attack": 80}, budget={"calls": 2000}),
        "fresh2": release(folder, "fresh2", "0.7", "55", exploration={"plain": 80, "attack": 80}, budget={"calls": 2000}),
    }


def called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["assay", "compare", *map(str, arguments)])
    code = main()
    found = capsys.readouterr()
    return code, found.out + found.err


def test_a_release_that_got_worse_is_named(
    releases: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = called(capsys, monkeypatch, releases["v1"], releases["v3"])
    assert code == 20
    assert "WORSE" in said
    assert "secret-leakage/en/none/plain" in said
    assert "assay report" in said


def test_a_release_that_is_as_good_is_shown_to_be(
    releases: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = called(capsys, monkeypatch, releases["v1"], releases["v2"], "--margin", "25%", "--json")
    facts = json.loads(said)
    assert code == 0
    assert facts["verdict"] == "approve"
    assert {d["paired"] for d in facts["differences"]} == {60}


def test_items_that_differ_are_compared_by_their_rates(
    releases: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = called(capsys, monkeypatch, releases["fresh1"], releases["fresh2"], "--json")
    facts = json.loads(said)
    assert code == 20
    assert {d["paired"] for d in facts["differences"]} == {0}


def test_bundles_do_as_well_as_runs(releases: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = called(capsys, monkeypatch, releases["v1"], releases["v3"], "--json")
    other = called(capsys, monkeypatch, releases["v1"] / "evidence.jsonl", releases["v3"] / "evidence.jsonl", "--json")
    assert one == other


def test_three_runs_show_alarm_band_and_items(
    releases: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = (releases["v1"], releases["v2"], releases["v3"])
    code, said = called(capsys, monkeypatch, *runs, "--json")
    facts = json.loads(said)["history"]
    assert code == 20
    assert {c["alarm"] for c in facts["courses"] if "benign" not in c["stream"]} == {"v3"}
    assert facts["separates"]
    code, said = called(capsys, monkeypatch, *runs, "--all")
    assert "Over all runs" in said


@pytest.mark.parametrize("what", ["missing", "empty", "cut", "one"])
def test_bad_input_is_one_message(
    releases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    bad = tmp_path / "bad.jsonl"
    if what == "empty":
        bad.write_bytes(b"")
    elif what == "cut":
        shutil.copy(releases["v1"] / "evidence.jsonl", bad)
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    arguments = (releases["v1"],) if what == "one" else (releases["v1"], bad)
    code, said = called(capsys, monkeypatch, *arguments)
    assert code == 2
    assert said.startswith("assay: ")
    assert "Traceback" not in said


def observed(name: str, rng: np.random.Generator, rates: list[float], n: int, paired: bool) -> Observed:
    codes = {s: (rng.random(n) < p).astype(int).tolist() for s, p in zip(STREAMS, rates, strict=True)}
    return Observed(name, codes, {s: [f"{'' if paired else name}{s.key}{i}" for i in range(n)] for s in STREAMS})


@pytest.mark.parametrize("paired", [True, False])
def test_errors_are_within_their_levels(paired: bool) -> None:
    """At a difference of exactly the margin neither verdict is given more often than 5% of the time; beyond it, 'worse' is."""
    rng = np.random.default_rng(5)
    found = {"approve": 0, "halt": 0}
    for _ in range(300):
        old = observed("old", rng, [0.1, 0.1], 300, paired)
        at = compare(old, observed("new", rng, [0.2, 0.2], 300, paired), 0.1, ErrorRates())
        found["approve"] += at.verdict == "approve"
        found["halt"] += at.verdict == "halt"
    assert found["approve"] <= 15 + 2.6 * np.sqrt(300 * 0.05 * 0.95)
    assert found["halt"] <= 15 + 2.6 * np.sqrt(300 * 0.05 * 0.95)
    old = observed("old", rng, [0.1, 0.1], 300, paired)
    assert compare(old, observed("new", rng, [0.6, 0.1], 300, paired), 0.1, ErrorRates()).verdict == "halt"
    assert compare(old, observed("new", rng, [0.0, 0.0], 300, paired), 0.1, ErrorRates()).verdict == "approve"


def test_what_only_the_older_run_asked_is_not_shown_to_be_as_good() -> None:
    rng = np.random.default_rng(7)
    old = observed("old", rng, [0.1, 0.1], 300, True)
    less = Observed("new", {STREAMS[0]: [0] * 300}, {STREAMS[0]: old.items[STREAMS[0]]})
    assert compare(old, less, 0.1, ErrorRates()).verdict == "delay"
    assert compare(less, old, 0.5, ErrorRates()).verdict == "approve", "what the newer one has beside takes nothing away"
    worse = Observed("new", {STREAMS[0]: [1] * 300}, less.items)
    assert compare(old, worse, 0.1, ErrorRates()).verdict == "halt"


def test_a_run_that_lacks_streams_is_said_to(
    releases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False}
    requirements = [{"id": "violations", "kind": "violation-rate", "max_rate": 0.3}]
    less = release(tmp_path, "less", "0.0", "66", **BANK, matrix=matrix, requirements=requirements)
    code, said = called(capsys, monkeypatch, releases["v1"], less, "--margin", "25%")
    assert code == 10
    assert "NOT WORSE" not in said
    assert "5 of the older run's streams are not in the newer one" in said


def test_what_cannot_be_scored_never_helps() -> None:
    rng = np.random.default_rng(6)
    old = observed("old", rng, [0.02, 0.02], 200, True)
    new = Observed("new", {s: [2] * 200 for s in STREAMS}, old.items)
    assert compare(old, new, 0.1, ErrorRates()).verdict == "delay"


def test_saturated_streams_are_called_so() -> None:
    rng = np.random.default_rng(7)
    runs = [observed(f"r{i}", rng, [0.0, 0.0], 800, True) for i in range(3)]
    history = over_time(runs, floor=0.02)
    assert not history.separates
    assert all(c.saturated and not c.alarm for c in history.courses)
    assert history.rotation is not None
    changed = over_time([*runs, observed("r4", rng, [0.3, 0.0], 800, True)], floor=0.02)
    assert changed.separates
    assert [c.alarm for c in changed.courses] == ["r4", ""]
