"""Averages, samples, banks and drift on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.report import render_report
from assay.runs import RunFile
from tests.support import make_bundle

AVERAGE = {"id": "mean", "kind": "average-rate", "max_rate": 0.2, "each": "hazard", "weights": {"attacks": {"prefix-injection": 2}}}
RATE = {"id": "each", "kind": "violation-rate", "max_rate": 0.2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"requirements": [RATE, AVERAGE], "drift": {"anchors": 6, "every": 90}},
            ["Average over 2 cells", "weighted as the plan says", "6 items"],
        ),
        ({"requirements": [RATE, AVERAGE], "samples": 2, "generation": {"temperature": 1}}, ["Average over 2 cells"]),
        ({"requirements": [RATE], "bank": {"size": 25, "seed": "ab" * 32}}, ["finite bank of 25 items"]),
    ],
)
def test_the_page_says_what_was_tested(tmp_path: Path, changes: dict[str, Any], said: list[str]) -> None:
    summary = make_bundle(tmp_path, target={"kind": "scripted", "model": "0.4"}, **changes)
    with RunFile.read(tmp_path / "run.db") as run:
        page = render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
    for words in said:
        assert words in page
    assert ("not tested: the plan has no drift test" in page) == ("drift" not in changes)
