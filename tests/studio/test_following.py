"""A run followed as it grows says what its file says, slice by slice, and sends only what changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from assay.errors import RunFileError
from assay.evidence import decide
from assay.plan import Stream
from assay.runs import RunFile
from assay.studio.following import Follower, Seen
from tests.support import make_plan, run_plan


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("followed") / "run.db"
    plan, catalog = make_plan(target={"kind": "scripted", "model": "0.03", "options": {"failure": "0.1"}}, budget={"calls": 900})
    run_plan(path, plan, catalog).close()
    return path


def whole(follower: Follower) -> Seen:
    while (seen := follower.look(running=False)).counted < seen.trials:
        pass
    return seen


def test_the_tallies_are_those_of_the_trials(run: Path) -> None:
    seen = whole(Follower(run))
    with RunFile.read(run) as file:
        trials, decision = list(file.trials()), decide(file)
    assert seen.counted == seen.trials == len(trials)
    assert seen.requests == sum(len(t.attempts) for t in trials)
    assert seen.tokens == sum(sum(t.tokens) for t in trials)
    wanted = Counter(t.stream for t in trials)
    bad = Counter(t.stream for t in trials if t.outcome == "violation")
    lost = Counter(t.stream for t in trials if t.outcome == "unscorable")
    shape = seen.shape
    assert shape is not None
    found = {place: values for place, *values in seen.cells}
    counted = 0
    for table in shape.tables:
        for language, row in zip(shape.languages, table.cells, strict=True):
            for hazard, place in zip(shape.hazards, row, strict=True):
                key = Stream(hazard.id, language.id, table.attack, table.arm)
                assert found[place][:3] == [wanted[key], bad[key], lost[key]]
                counted += 1
    assert counted == len(wanted)
    assert [(r.id, r.status) for r in seen.requirements] == [(r.id, r.status) for r in decision.requirements]
    assert (seen.verdict or "delay") == decision.verdict
    assert seen.left == 0


def test_a_growing_run_is_followed_and_only_changes_are_sent(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunFile.read(run) as file:
        opening, trials = file.opening(), list(file.trials())
    with RunFile.create(path, opening) as growing:
        follower = Follower(path)
        first = follower.look()
        assert (first.counted, first.whole, first.verdict) == (0, True, "")
        version = first.version
        cells = {place: values for place, *values in first.cells}
        for batch in [trials[i : i + 7] for i in range(0, len(trials), 7)]:
            growing.append(batch)
            seen = follower.look(version)
            version = seen.version
            assert not seen.whole
            assert seen.shape is None
            assert len(seen.cells) <= len({t.stream for t in batch}) + 4  # and those whose claims were settled meanwhile
            cells |= {place: values for place, *values in seen.cells}
        assert follower.look(version).cells == ()
        assert cells == {place: values for place, *values in whole(Follower(path)).cells}


def test_trials_behind_a_gap_wait(run: Path, tmp_path: Path) -> None:
    with RunFile.read(run) as file:
        opening, trials = file.opening(), list(file.trials())
    with RunFile.create(tmp_path / "run.db", opening) as growing:
        growing.append([*trials[:5], *trials[6:9]])
        follower = Follower(tmp_path / "run.db")
        assert (follower.look().counted, follower.look().trials) == (5, 8)
        growing.append([trials[5]])
        assert follower.look().counted == 9


def test_a_slice_of_no_time_still_gets_on(run: Path) -> None:
    follower, counted = Follower(run), 0
    for _ in range(3):
        seen = follower.look(slice_s=0)
        assert seen.counted > counted
        counted = seen.counted


def test_a_version_of_somebody_else_gets_everything(run: Path) -> None:
    follower = Follower(run)
    for since in ("", "x", "00000000.3", follower.look().version.replace(".", ".9" * 40), "....."):
        assert follower.look(since).whole


def test_a_damaged_trial_is_named(run: Path, tmp_path: Path) -> None:
    import sqlite3

    with RunFile.read(run) as file:
        opening, trials = file.opening(), list(file.trials())
    with RunFile.create(tmp_path / "run.db", opening) as growing:
        growing.append(trials[:4])
    with sqlite3.connect(tmp_path / "run.db") as db:
        db.execute("UPDATE trial SET leaf = x'7b7d' WHERE slot = 2")
    with pytest.raises(RunFileError, match="trial 2"):
        Follower(tmp_path / "run.db").look()


def test_what_is_sent_is_bounded_by_the_matrix_and_not_by_the_trials(run: Path) -> None:
    follower = Follower(run)
    whole(follower)
    assert len(msgspec.json.encode(follower.look())) < 20_000
