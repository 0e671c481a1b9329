"""Both error rates through the real pipeline: 500 runs of one setting a side, fewer of the others (`make simulate` runs 2,000 of all)."""

from __future__ import annotations

import pytest

from tests.simulation.error_rates import SETTINGS, Setting, simulate
from tests.support import sampled

RUNS = {"approve_one_cell": sampled(2000, 500), "halt_all_at_threshold": sampled(2000, 500)}
SAMPLE = sampled(300, 200)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_the_registered_error_rate_holds(setting: Setting) -> None:
    row = simulate(setting, RUNS.get(setting.name, SAMPLE), workers=1)
    assert row["holds"], row


def test_the_simulation_can_fail() -> None:
    """At half of the threshold the 'wrong' verdict is the right one and is common: the harness does see verdicts."""
    easy = Setting("easy", "", "approve", 0.05, {**SETTINGS[0].changes, "target": {"kind": "scripted", "model": "0.02"}})
    assert not simulate(easy, 40, workers=1)["holds"]
