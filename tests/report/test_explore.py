"""Exploratory flags and power curves: right by an independent way, and told apart from what decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.decision.codes import VIOLATION
from assay.plan import streams
from assay.report import render_report
from assay.report.explore import FALSE_DISCOVERY, covered, flags
from assay.report.power import power_curves
from assay.report.tally import Tally, collect
from assay.runs import RunFile
from assay.stats import RateTest, crossing_probability, e_bh, log_e
from assay.stats.power import verdict_chances
from tests.support import make_bundle

MATRIX = {"hazards": ["secret-leakage", "personal-data"], "languages": ["en", "ms", "ta", "th"], "attacks": ["base64"], "benign": False}
REQUIREMENTS = [{"id": "each", "kind": "violation-rate", "max_rate": 0.1}]


def tally_of(folder: Path, model: str, floor: int) -> tuple[Tally, str]:
    summary = make_bundle(
        folder, target={"kind": "scripted", "model": model, "options": {"violation.ta": "0.6"}}, matrix=MATRIX,
        requirements=REQUIREMENTS, budget={"calls": 2000}, exploration={"plain": floor, "attack": floor},
    )  # fmt: skip
    with RunFile.read(folder / "run.db") as run:
        return collect(run), render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")


def test_flags_are_e_bh_on_the_floor_of_every_cell(tmp_path: Path) -> None:
    tally, page = tally_of(tmp_path, "0.02", 30)
    found = flags(tally)
    cells = streams(tally.opening.plan)
    s = np.array([tally.streams[c].outcomes[:30].count(VIOLATION) for c in cells])
    high = e_bh(log_e(s, np.full(len(cells), 30), 0.1, "halt"), FALSE_DISCOVERY)
    assert {c for c, f in found.items() if f == "above"} == {c for c, h in zip(cells, high, strict=True) if h}
    assert {c.language for c, f in found.items() if f == "above"} == {"ta"}
    assert page.count('<span class="flag">▲ above') == 1 + high.sum()  # the legend's, and one in every flagged cell
    assert "exploratory" in page


def test_a_plan_without_a_floor_has_no_flags(tmp_path: Path) -> None:
    tally, page = tally_of(tmp_path, "0.02", 0)
    assert covered(tally) == {}
    assert flags(tally) == {}
    assert 'class="flag"' not in page


def test_false_flags_are_within_their_share() -> None:
    """All cells exactly at the threshold, every language failing together: at most one family in ten has any flag, which is then false."""
    rng = np.random.default_rng(3)
    families = 2000
    s = rng.binomial(40, 0.1, (families, 1)) + np.zeros((1, 24), dtype=int)
    flagged = e_bh(log_e(s, np.full(s.shape, 40), 0.1, "halt"), FALSE_DISCOVERY).any(axis=1).mean()
    assert flagged <= FALSE_DISCOVERY


@pytest.mark.parametrize("trials", [1, 59, 400])
def test_chances_are_those_of_each_test_alone_where_the_other_cannot_come_first(trials: int) -> None:
    approve, halt = RateTest(0.05, "approve", 0.05), RateTest(0.05, "halt", 0.01)
    rates = [0.0, 0.02, 0.05, 0.2, 1.0]
    found = verdict_chances(rates, approve, halt, trials)
    for i, p in enumerate(rates):
        alone = crossing_probability(p, approve, trials)[-1], crossing_probability(p, halt, trials)[-1]
        assert found[0][i] <= alone[0] + 1e-12
        assert found[1][i] <= alone[1] + 1e-12
        assert found[0][i] + found[1][i] >= max(alone) - 1e-12
    assert found[0][2] <= 0.05
    assert found[1][2] <= 0.01
    assert np.all(np.diff(found[0]) <= 1e-12)
    assert np.all(np.diff(found[1]) >= -1e-12)


def test_chances_agree_with_simulation() -> None:
    approve, halt = RateTest(0.1, "approve", 0.05), RateTest(0.1, "halt", 0.02)
    rng = np.random.default_rng(4)
    runs, p, trials = 2000, 0.15, 300
    counts = np.cumsum(rng.random((runs, trials)) < p, axis=1)
    first = []
    for row in counts:
        verdict = 0
        for n, s in enumerate(row, 1):
            if s <= approve.limit(n) or s >= halt.limit(n):
                verdict = 1 if s <= approve.limit(n) else 2
                break
        first.append(verdict)
    found = verdict_chances([p], approve, halt, trials)
    for verdict, chance in ((1, found[0][0]), (2, found[1][0])):
        assert first.count(verdict) / runs == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / runs) + 1e-3)


def test_the_page_shows_what_the_plan_could_have_told(tmp_path: Path) -> None:
    tally, page = tally_of(tmp_path, "0.02", 30)
    curves = power_curves(tally)
    assert {c.threshold for c in curves} == {"10%"}
    assert 2000 // 16 in {c.trials for c in curves}
    for curve in curves:
        assert curve.caption in page
        assert len(curve.approve.split()) == len(curve.halt.split()) == 41
    assert "What the tests could tell" in page
