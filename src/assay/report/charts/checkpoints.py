"""Is it getting better? Rates of each hazard over several runs, in the order given, and what got worse from each to the next.

    points = checkpoints(readings)            # the numbers
    chart = checkpoints_chart(readings, setting)

Only streams that all runs have are counted. Items are paired where two runs asked the same ones (`decision.compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from msgspec import Struct

from assay.decision import Observed, compare
from assay.decision.codes import UNSCORABLE, VIOLATION
from assay.plan import ErrorRates, Stream
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import WIDTH, Spec, legend_columns, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, INK, ORANGE, QUIET
from assay.report.charts.reading import Reading
from assay.report.charts.wording import Words, hazard_name, name
from assay.report.observed import observed_trials
from assay.report.tally import worst_case_interval
from assay.stats.saturation import is_saturated
from assay.stats.sequences import rate_upper

MARGIN, FLOOR, LEVEL = 0.05, 0.01, 0.05
Move = Literal["first", "worse", "not worse", "open"]


class Point(Struct, frozen=True):
    """One hazard in one run, over the streams that all runs have. `move` says how it stands to the run before: `worse` if any of its
    streams got worse by more than `MARGIN`, `not worse` if all are shown not to have.
    """

    hazard: str
    letter: str
    verdict: str
    n: int
    violations: int
    unscorable: int
    low: float
    high: float
    move: Move


class Checkpoints(Struct, frozen=True):
    """`saturated` counts, by hazard, streams in which these runs can no longer be told apart, of `streams`."""

    points: tuple[Point, ...]
    streams: dict[str, int]
    saturated: dict[str, int]


def checkpoints(readings: Sequence[Reading]) -> Checkpoints | None:
    """Hazards with a plain or attacked stream that all runs have, in the first plan's order; None without one."""
    runs = [observed_trials(r.source.letter, r.source.tally.opening, r.trials, r.source.tally.truth) for r in readings]
    shared = [s for s in runs[0].codes if s.arm in ("plain", "attack") and all(s in run.codes for run in runs)]
    if len(runs) < 2 or not shared:
        return None
    runs = [Observed(r.name, {s: r.codes[s] for s in shared}, {s: r.items[s] for s in shared}, r.sizes) for r in runs]
    moves: list[dict[str, set[str]]] = [{}]
    for older, newer in pairwise(runs):
        found: dict[str, set[str]] = {}
        for difference in compare(older, newer, MARGIN, ErrorRates()).differences:
            found.setdefault(difference.stream.hazard, set()).add(difference.status)
        moves.append(found)
    saturated = _saturated(shared, runs)
    hazards = [h for h in readings[0].source.tally.opening.plan.matrix.hazards if any(s.hazard == h for s in shared)]
    points = [
        _point(h, run, reading, moved.get(h, set()), first=i == 0)
        for h in hazards for i, (run, reading, moved) in enumerate(zip(runs, readings, moves, strict=True))
    ]  # fmt: skip
    return Checkpoints(
        tuple(points), {h: sum(s.hazard == h for s in shared) for h in hazards},
        {h: sum(saturated[s] for s in shared if s.hazard == h) for h in hazards},
    )  # fmt: skip


def _saturated(shared: Sequence[Stream], runs: Sequence[Observed]) -> dict[Stream, bool]:
    """As `decision.over_time` has it, without the fit of items, which takes seconds and is not shown; all bounds at once."""
    histories = {s: tuple(run.counts(s) for run in runs) for s in shared}
    models = min(len(runs), 3)
    pairs = sorted({pair for history in histories.values() for pair in history})
    bad, trials = np.array(pairs, dtype=np.float64).T
    upper = dict(zip(pairs, rate_upper(bad, trials, LEVEL).tolist(), strict=True))
    return {
        s: bool(is_saturated(history, FLOOR, models, level=LEVEL, uppers=tuple(upper[pair] for pair in history[-models:])))
        for s, history in histories.items()
    }


def _point(hazard: str, run: Observed, reading: Reading, moved: set[str], *, first: bool) -> Point:
    codes = [code for s, each in run.codes.items() if s.hazard == hazard for code in each]
    bad, doubtful = codes.count(VIOLATION), codes.count(UNSCORABLE)
    move: Move = "first" if first else "worse" if "worse" in moved else "not worse" if moved == {"not worse"} else "open"
    verdict = reading.source.signed.decision.verdict
    return Point(hazard, run.name, verdict, len(codes), bad, doubtful, *worst_case_interval(len(codes), bad, doubtful), move)


def checkpoints_chart(readings: Sequence[Reading], setting: Setting) -> Chart | Absent:
    """A panel for each hazard, runs across."""
    words = setting.words
    if len(readings) < 2:
        return setting.absent("checkpoints", "checkpoints_absent_one")
    found = checkpoints(readings)
    if found is None:
        return setting.absent("checkpoints", "checkpoints_absent")
    catalog = readings[0].source.tally.opening.catalog
    table: list[tuple[Value, ...]] = [
        (
            hazard_name(catalog, p.hazard), f"{p.letter}: {name(_model(readings, p), 40)}", words.say(f"verdict_{p.verdict}"), p.n,
            p.violations, p.unscorable, p.violations / p.n, p.low, p.high, words.say(f"move_{p.move.replace(' ', '_')}"),
            found.streams[p.hazard], found.saturated[p.hazard],
        )
        for p in found.points
    ]  # fmt: skip
    hazards = len(found.streams)
    last = [p for p in found.points if p.letter == readings[-1].source.letter]
    runs = ", ".join(
        f"{r.source.letter}: {name(r.source.model, 40)} ({words.say(f'verdict_{r.source.signed.decision.verdict}')})" for r in readings
    )
    return setting.chart(
        "checkpoints", _spec(readings, found, words), caption=words.say("checkpoints_caption", runs=runs, margin=words.rate(MARGIN)),
        alt=words.say(
            "checkpoints_alt", hazards=hazards, worse=sum(p.move == "worse" for p in last), same=sum(p.move == "not worse" for p in last),
            letter=readings[-1].source.letter, before=readings[-2].source.letter,
        ),
        columns=(
            "hazard", "run", "verdict", "trials", "violations", "unscorable", "rate", "low", "high", "move", "streams", "saturated",
        ),
        rows=table,
    )  # fmt: skip


def _model(readings: Sequence[Reading], point: Point) -> str:
    return next(r.source.model for r in readings if r.source.letter == point.letter)


_SIGNS = {"approve": "✓", "delay": "…", "halt": "✕"}


def _spec(readings: Sequence[Reading], found: Checkpoints, words: Words) -> Spec:
    catalog = readings[0].source.tally.opening.catalog
    letters = [f"{r.source.letter} {_SIGNS[r.source.signed.decision.verdict]}" for r in readings]
    hazards = list(found.streams)
    across = min(4, len(hazards), max(1, int((WIDTH - 40) // max(110, 26 * len(letters)))))
    width = round((WIDTH - 44) / across - 12)
    top = max(p.high for p in found.points)
    moves = {m: words.say(f"move_{m.replace(' ', '_')}") for m in ("first", "worse", "not worse", "open")}
    look = {"field": "move", "type": "nominal", "legend": {"title": None, "columns": legend_columns(list(moves.values()), WIDTH - 60)}}
    colour = {**look, "scale": {"domain": list(moves.values()), "range": [INK, ORANGE, BLUE, QUIET]}}
    shape = {**look, "scale": {"domain": list(moves.values()), "range": ["diamond", "triangle-up", "circle", "square"]}}
    panels = []
    for i, hazard in enumerate(hazards):
        mine = [p for p in found.points if p.hazard == hazard]
        values = [
            {"run": letter, "rate": p.violations / p.n, "low": p.low, "high": p.high, "move": moves[p.move]}
            for p, letter in zip(mine, letters, strict=True)
        ]
        panels.append(
            {
                "title": {
                    "text": title_lines(hazard_name(catalog, hazard), width + 6), "offset": 6,
                    "frame": "bounds" if i % across else "group",
                },
                "data": {"values": values}, "width": width, "height": 130,
                "encoding": {
                    "x": {
                        "field": "run", "type": "nominal", "scale": {"domain": letters, "padding": 0.5},
                        "axis": {"title": None, "labelAngle": 0},
                    }
                },
                "layer": [
                    {
                        "mark": {"type": "line", "color": QUIET, "strokeWidth": 1},
                        "encoding": {"y": {"field": "rate", "type": "quantitative", "scale": {"domain": [0, top]}}},
                    },
                    {
                        "mark": {"type": "rule", "strokeWidth": 2},
                        "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": colour},
                    },
                    {
                        "mark": {"type": "point", "filled": True, "size": 75, "opacity": 1},
                        "encoding": {
                            "y": {
                                "field": "rate", "type": "quantitative",
                                "axis": {"title": None, "format": "~%", "tickCount": 5, "labels": i % across == 0},
                            },
                            "color": colour, "shape": shape,
                        },
                    },
                ],
            }
        )  # fmt: skip
    return {"concat": panels, "columns": across, "spacing": {"row": 14, "column": 12}}
