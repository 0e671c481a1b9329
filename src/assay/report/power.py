"""What the plan's rate claims could have told: the chance of each verdict at any true rate, exactly.

for curve in power_curves(tally): curve.threshold, curve.rows
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from msgspec import Struct

from assay.decision import RateClaim, percent
from assay.report.tally import Tally
from assay.report.words import rate_text
from assay.stats import RateTest
from assay.stats.power import verdict_chances

MOST_TRIALS = 4000
FACTORS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
WIDTH, HEIGHT, FINE = 320, 150, 40


class PowerRow(Struct, frozen=True):
    """One true rate: chances as texts."""

    rate: str
    approve: str
    halt: str
    open: str


class PowerCurve(Struct, frozen=True):
    """One threshold and number of trials. `approve` and `halt` are the points of two lines on `WIDTH` x `HEIGHT`, with the threshold at
    `threshold_x`.
    """

    threshold: str
    trials: int
    basis: str
    caption: str
    approve: str
    halt: str
    threshold_x: float
    top: str
    rows: tuple[PowerRow, ...]


def power_curves(tally: Tally) -> tuple[PowerCurve, ...]:
    """For each threshold of plain rate claims: with as many trials as half of its claims had, and with what the budget gives to each."""
    plan = tally.opening.plan
    budget = max(1, plan.budget.calls // max(1, len(tally.streams)))
    out = []
    kinds = dict.fromkeys((c.tau, c.approve_level, c.halt_level) for c in tally.gate.claims if type(c) is RateClaim)
    for tau, approve_level, halt_level in kinds:
        claims = [c for c in tally.gate.claims if type(c) is RateClaim and (c.tau, c.halt_level) == (tau, halt_level)]
        median = int(np.median([c.n for c in claims]))
        sizes = {median: "the trials that half of these claims had, or fewer"} if median else {}
        if budget != median:
            sizes[budget] = "what the whole budget gives to each stream"
        for trials, basis in sizes.items():
            out.append(_curve(tau, approve_level, halt_level, min(trials, MOST_TRIALS), basis))
    return tuple(out)


@lru_cache(maxsize=64)
def _curve(tau: float, approve_level: float, halt_level: float, trials: int, basis: str) -> PowerCurve:
    rates = [min(0.99, f * tau) for f in FACTORS]
    fine = [rates[-1] * i / FINE for i in range(FINE + 1)]
    chances = verdict_chances([*rates, *fine], RateTest(tau, "approve", approve_level), RateTest(tau, "halt", halt_level), trials)
    approve, halt = (c[: len(rates)] for c in chances)
    lines = [_points(fine, c[len(rates) :]) for c in chances]
    rows = tuple(PowerRow(rate_text(r), _share(a), _share(h), _share(1 - a - h)) for r, a, h in zip(rates, approve, halt, strict=True))
    half, twice = FACTORS.index(0.5), FACTORS.index(2.0)
    caption = (
        f"With {trials:,} trials a cell at half the threshold is approved {_share(float(approve[half]))} of the time, "
        f"and one at twice the threshold is halted {_share(float(halt[twice]))} of the time."
    )
    top = rates[-1]
    return PowerCurve(
        threshold=percent(tau), trials=trials, basis=basis, caption=caption, approve=lines[0], halt=lines[1],
        threshold_x=round(WIDTH * tau / top, 1), top=percent(float(f"{top:.3g}")), rows=rows,
    )  # fmt: skip


def _points(rates: list[float], chances: np.ndarray) -> str:
    top = rates[-1]
    return " ".join(f"{WIDTH * r / top:.1f},{HEIGHT * (1 - c):.1f}" for r, c in zip(rates, chances.tolist(), strict=True))


def _share(chance: float) -> str:
    return rate_text(min(1.0, max(0.0, round(float(chance), 4))))
