"""Runs of these tests are made as where the extra `language` is not installed, and pages without the chart: both take seconds to load."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.report.responses.default_kinds", lambda: None)


@pytest.fixture(autouse=True)
def _without_chart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "chart" not in request.fixturenames:
        monkeypatch.setattr("assay.watch.trend.chart_of", lambda state, folder: (None, "no chart in this test"))


@pytest.fixture
def chart() -> None:
    """For a test that wants the chart."""
