"""Is there anything left to see? The rate of each hazard between floor and ceiling, and what room is left on either side.

    rows = headroom(source)                   # the numbers
    chart = headroom_chart(source, setting)

A hazard whose interval ends below `FLOOR` cannot tell a better target from this one, and one whose interval begins above 1 - `FLOOR` cannot
tell a worse one.
"""

from __future__ import annotations

import json
from typing import Literal

from msgspec import Struct

from assay.plan import Stream
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import STRETCHED_AXIS, WIDTH, Spec, legend_columns, stretched, text_width, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.matrix import panels
from assay.report.charts.palette import INK, ORANGE, OUTLINE
from assay.report.charts.wording import Words, hazard_name, wrapped
from assay.report.sources import Source
from assay.report.tally import worst_case_interval

FLOOR = 0.01
ROW = 42
Group = Literal["plain", "attacks", "benign"]


class Room(Struct, frozen=True):
    """One hazard over all languages, without attack, under all attacks together, or its harmless twins. `floors` of its `cells` have an
    interval that ends below the floor, `ceilings` one that begins above the ceiling.
    """

    hazard: str
    group: Group
    n: int
    violations: int
    unscorable: int
    low: float
    high: float
    cells: int
    floors: int
    ceilings: int

    @property
    def standing(self) -> str:
        """`floor`, `ceiling` or `between`."""
        return "floor" if self.high <= FLOOR else "ceiling" if self.low >= 1 - FLOOR else "between"


def headroom(source: Source) -> tuple[Room, ...]:
    """Every hazard in every group that has a trial."""
    tally = source.tally
    m = tally.opening.plan.matrix
    groups: dict[Group, list[tuple[str, str]]] = {}
    for attack, arm in panels(tally):
        groups.setdefault("attacks" if arm == "attack" else "benign" if arm == "benign" else "plain", []).append((attack, arm))
    out = []
    for group, arms in groups.items():
        for hazard in m.hazards:
            counts = [tally.streams[Stream(hazard, t, attack, arm)] for attack, arm in arms for t in m.languages]  # type: ignore[arg-type]
            counts = [c for c in counts if c.n]
            n, bad, doubtful = (sum(getattr(c, k) for c in counts) for k in ("n", "violations", "unscorable"))
            if n:
                ends = [c.interval for c in counts]
                low, high = worst_case_interval(n, bad, doubtful)
                floors, ceilings = sum(e[1] <= FLOOR for e in ends), sum(e[0] >= 1 - FLOOR for e in ends)
                out.append(Room(hazard, group, n, bad, doubtful, low, high, len(counts), floors, ceilings))
    return tuple(out)


def headroom_chart(source: Source, setting: Setting) -> Chart | Absent:
    """A panel for each group, a bar for each hazard."""
    rows = headroom(source)
    if not rows:
        return setting.absent("headroom", "headroom_absent", source)
    words, catalog = setting.words, source.tally.opening.catalog
    table: list[tuple[Value, ...]] = [
        (
            hazard_name(catalog, r.hazard), _group(r.group, words), r.n, r.violations, r.unscorable, r.violations / r.n, r.low, r.high,
            r.low, 1 - r.high, r.cells, r.floors, r.ceilings, words.say(f"room_{r.standing}"),
        )
        for r in rows
    ]  # fmt: skip
    floors, ceilings = (sum(r.standing == s for r in rows) for s in ("floor", "ceiling"))
    return setting.chart(
        "headroom", _spec(source, rows, words), source=source, caption=words.say("headroom_caption", floor=words.rate(FLOOR)),
        alt=words.say("headroom_alt", floors=floors, ceilings=ceilings, rows=len(rows), floor=words.rate(FLOOR)),
        columns=(
            "hazard", "part", "trials", "violations", "unscorable", "rate", "low", "high", "better_room", "worse_room", "cells", "floors",
            "ceilings", "room",
        ),
        rows=table,
    )  # fmt: skip


def _group(group: Group, words: Words) -> str:
    return words.say({"plain": "panel_plain", "attacks": "panel_attacks", "benign": "panel_benign"}[group])


def _spec(source: Source, rows: tuple[Room, ...], words: Words) -> Spec:
    catalog = source.tally.opening.catalog
    hazards = list(dict.fromkeys(r.hazard for r in rows))
    lines = {h: wrapped(hazard_name(catalog, h), 20) for h in hazards}
    labels = 14 + max(text_width(line) for each in lines.values() for line in each)
    groups = list(dict.fromkeys(r.group for r in rows))
    width = round((WIDTH - labels) / len(groups) - 14)
    parts = {"better": words.say("room_better"), "unknown": words.say("room_unknown"), "worse": words.say("room_worse")}
    fill = {
        "field": "part", "type": "nominal", "scale": {"domain": list(parts.values()), "range": [ORANGE, "#9a9a9a", "#e8eef4"]},
        "legend": {"title": None, "symbolType": "square", "symbolStrokeColor": OUTLINE, "symbolStrokeWidth": 1,
            "columns": legend_columns(list(parts.values()), WIDTH - labels),
        },
    }  # fmt: skip
    panels_ = []
    for i, group in enumerate(groups):
        mine = [r for r in rows if r.group == group]
        bars = [
            {"hazard": r.hazard, "part": parts[part], "from": stretched(start), "to": stretched(stop)}
            for r in mine
            for part, start, stop in (("better", 0.0, r.low), ("unknown", r.low, r.high), ("worse", r.high, 1.0))
            if stop > start
        ]
        texts = [
            {"hazard": r.hazard, "text": f"{words.rate(r.violations / r.n)} ({words.span(r.low, r.high)}){_sign(r)}", "from": 0}
            for r in mine
        ]  # fmt: skip
        panels_.append(
            {
                "title": {"text": title_lines(_group(group, words), width + 8), "offset": 4, "frame": "bounds" if i else "group"},
                "width": width, "height": ROW * len(hazards),
                "encoding": {
                    "y": {
                        "field": "hazard", "type": "nominal", "scale": {"domain": hazards},
                        "axis": {
                            "title": None, "domain": False, "ticks": False, "labels": i == 0, "labelLineHeight": 14,
                            "labelExpr": f"{_lookup(lines)}[datum.value]",
                        },
                    }
                },
                "layer": [
                    {
                        "data": {"values": bars},
                        "mark": {"type": "bar", "height": 12, "yOffset": 8, "stroke": OUTLINE, "strokeWidth": 0.7},
                        "encoding": {
                            "x": {
                                "field": "from", "type": "quantitative", "scale": {"domain": [0, 1]},
                                "axis": {**STRETCHED_AXIS, "grid": False},
                            },
                            "x2": {"field": "to"}, "fill": fill,
                        },
                    },
                    {
                        "data": {"values": texts}, "mark": {"type": "text", "align": "left", "yOffset": -8, "fontSize": 11.5, "color": INK},
                        "encoding": {"x": {"field": "from", "type": "quantitative"}, "text": {"field": "text"}},
                    },
                ],
            }
        )  # fmt: skip
    return {"hconcat": panels_, "spacing": 14}


def _sign(row: Room) -> str:
    return {"floor": " ▾", "ceiling": " ▴", "between": ""}[row.standing]


def _lookup(lines: dict[str, list[str]]) -> str:
    return json.dumps(lines, ensure_ascii=True)
