"""Episodes in the report: counts are the trials', steps show what was met, tried and done, and nothing of it is markup."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from assay.report import render_report
from assay.report.tally import collect
from assay.report.worlds import WorldsView, make_worlds
from assay.runs import Trial
from tests.support import make_plan, run_plan
from tests.worlds.test_play import plan_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorldsView, list[Trial], str]:
    folder = tmp_path_factory.mktemp("worlds")
    plan, catalog = plan_of()
    with run_plan(folder / "run.db", plan, catalog) as run:
        view = make_worlds(run, collect(run))
        assert view is not None
        return view, list(run.trials()), render_report(run, summary=None, ended="complete", bundle_name="b.jsonl")


def test_the_counts_are_those_of_the_trials(made: tuple[WorldsView, list[Trial], str]) -> None:
    view, trials, _ = made
    assert sum(f.n for f in view.funnels) == len(trials)
    assert sum(f.completed for f in view.funnels) == sum(t.how == "completed" for t in trials)
    assert sum(f.blocked for f in view.funnels) == sum(t.how == "blocked" for t in trials)
    assert sum(f.served for f in view.funnels) == sum(bool(t.useful) for t in trials)
    by_goal = Counter[str]()
    for g in view.goals:
        by_goal["n"] += g.n
        by_goal["bad"] += g.completed + g.blocked
    assert by_goal["n"] == sum(t.arm != "benign" for t in trials)
    assert by_goal["bad"] == sum(t.outcome == "violation" and t.arm != "benign" for t in trials)
    assert {m.number: m.n for m in view.modes} == {n: sum(n in t.modes for t in trials) for n in range(2, 11)}
    assert sum(m.n for m in view.modes) > 0


def test_violations_come_first_and_are_shown_step_by_step(made: tuple[WorldsView, list[Trial], str]) -> None:
    view, trials, page = made
    first = view.episodes[0]
    assert first.outcome == "violation"
    calls = [c for e in view.episodes if e.outcome == "violation" for s in e.steps for c in s.calls]
    assert any(c.bad and "must not happen" in c.signs for c in calls)
    injected = [e for e in view.episodes if e.slots and e.outcome == "violation"]
    assert all(any("the planted text is met here" in c.signs for s in e.steps for c in s.calls) for e in injected)
    assert {e.slot for e in view.episodes} <= {t.slot for t in trials}
    assert page.count("must not happen</span>") >= 1
    assert "How far the adversary came" in page
    assert "elsewhere there was no violation" in page
    assert "There was no violation." not in page


def test_an_episode_cannot_write_into_the_page(tmp_path: Path) -> None:
    plan, catalog = plan_of(target={"kind": "callable", "model": "tests.report.test_worlds:hostile"}, budget={"calls": 12})
    with run_plan(tmp_path / "run.db", plan, catalog) as run:
        page = render_report(run, summary=None, ended="complete", bundle_name="b.jsonl")
    assert "<script>window" not in page
    assert "&lt;script&gt;window" in page


def hostile(access: object) -> str:
    """Markup wherever it can be put."""
    access.call("<script>window.a=1</script>", {"<script>window.b=1</script>": "<script>window.c=1</script>"})  # type: ignore[attr-defined]
    access.call("add_payee", {"name": "<script>window.d=1</script>", "account": "12345678901"})  # type: ignore[attr-defined]
    access.call("list_payees", {})  # type: ignore[attr-defined]
    return "<script>window.e=1</script>\u202e"


def test_a_plan_without_worlds_has_no_such_section(tmp_path: Path) -> None:
    plan, catalog = make_plan()
    with run_plan(tmp_path / "run.db", plan, catalog) as run:
        assert make_worlds(run, collect(run)) is None
        assert 'id="worlds"' not in render_report(run, summary=None, ended="complete", bundle_name="b.jsonl")
