"""How far do adversaries of an agent come? Episodes, exposed, attempted, completed, family by family.

    rows = funnel(reading)                    # the numbers
    chart = funnel_chart(reading, setting)

Harmless episodes and placebos are left out: nothing is planted in them. What a guard of the world blocked was attempted.
"""

from __future__ import annotations

import json
from collections import Counter

from msgspec import Struct

from assay.plan import NO_ATTACK
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import STRETCHED_AXIS, WIDTH, Spec, stretched, text_width, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, INK, PAPER
from assay.report.charts.reading import Reading
from assay.report.charts.wording import Words, attack_name, hazard_name, wrapped
from assay.stats.exact import clopper_pearson

ROW = 44
STAGES = ("exposed", "attempted", "completed")
HALF = 0.5
MOST, TOGETHER = 2, "all"
"""Attacks that have bars of their own; more are taken together."""
LOOKS = ((BLUE, PAPER), ("#f2a65a", INK), (INK, PAPER))
"""Of no attack and of up to two attacks: bar and text on it."""


class FunnelRow(Struct, frozen=True):
    """One family with no attack (`attack` is `none`), under one, or under `all`. Those `exposed` met what was planted."""

    hazard: str
    attack: str
    episodes: int
    exposed: int
    blocked: int
    completed: int
    unscorable: int

    @property
    def attempted(self) -> int:
        """Episodes in which the agent tried."""
        return self.blocked + self.completed

    def share(self, stage: str) -> float:
        """A stage's share of the episodes."""
        return float(getattr(self, stage)) / self.episodes


def funnel(reading: Reading) -> tuple[FunnelRow, ...]:
    """Every family under every attack that has an episode, in the plan's order."""
    plan = reading.source.tally.opening.plan
    if plan.worlds is None:
        return ()
    counts: dict[tuple[str, str], Counter[str]] = {}
    for seen in reading.trials:
        if seen.hazard in plan.worlds.hazards and seen.arm in ("plain", "attack"):
            c = counts.setdefault((seen.hazard, seen.attack), Counter())
            c["n"] += 1
            c[seen.how] += 1
            c["unscorable"] += seen.outcome == "unscorable"
    attacks = plan.matrix.attacks
    groups = [(NO_ATTACK, (NO_ATTACK,)), *([(a, (a,)) for a in attacks] if len(attacks) <= MOST else [(TOGETHER, attacks)])]
    rows = []
    for hazard in plan.matrix.hazards:
        for attack, members in groups:
            c = sum((counts.get((hazard, a), Counter[str]()) for a in members), Counter[str]())
            if c["n"]:
                met = c["exposed"] + c["blocked"] + c["completed"]
                rows.append(FunnelRow(hazard, attack, c["n"], met, c["blocked"], c["completed"], c["unscorable"]))
    return tuple(rows)


def funnel_chart(reading: Reading, setting: Setting) -> Chart | Absent:
    """A panel for each family; three bars for each attack."""
    source, words = reading.source, setting.words
    rows = funnel(reading)
    if not rows:
        return setting.absent("funnel", "funnel_absent", source)
    catalog = source.tally.opening.catalog
    total = Counter[str]()
    for r in rows:
        total.update(episodes=r.episodes, exposed=r.exposed, attempted=r.attempted, blocked=r.blocked, completed=r.completed)
    most = max(rows, key=lambda r: r.share("completed"))
    table: list[tuple[Value, ...]] = [
        (
            hazard_name(catalog, r.hazard), _attack(r, words), r.episodes, r.exposed, r.attempted, r.blocked, r.completed, r.unscorable,
            *clopper_pearson(r.completed, r.episodes),
        )
        for r in rows
    ]  # fmt: skip
    return setting.chart(
        "funnel", _spec(reading, rows, words), source=source, caption=words.say("funnel_caption"),
        alt=words.say(
            "funnel_alt", episodes=total["episodes"], exposed=total["exposed"], attempted=total["attempted"], blocked=total["blocked"],
            completed=total["completed"], hazard=hazard_name(catalog, most.hazard), rate=words.rate(most.share("completed")),
        ),
        columns=("hazard", "attack", "episodes", "exposed", "attempted", "blocked", "completed", "unscorable", "low", "high"), rows=table,
    )  # fmt: skip


def _attack(row: FunnelRow, words: Words) -> str:
    known = {NO_ATTACK: "panel_plain", TOGETHER: "panel_attacks"}
    return words.say(known[row.attack]) if row.attack in known else attack_name(row.attack)


def _spec(reading: Reading, rows: tuple[FunnelRow, ...], words: Words) -> Spec:
    """Columns are stages; the episodes themselves stand in the label, as every bar is a share of them."""
    catalog = reading.source.tally.opening.catalog
    attacks = list(dict.fromkeys(_attack(r, words) for r in rows))
    hazards = list(dict.fromkeys(hazard_name(catalog, r.hazard) for r in rows))
    lines = {h: wrapped(h, 20) for h in hazards}
    labels = 14 + max(text_width(line) for each in lines.values() for line in each)
    width = round((WIDTH - labels) / len(STAGES) - 12)
    step = max(13.0, min(20.0, ROW / len(attacks)))
    fill = {
        "field": "attack", "type": "nominal", "scale": {"domain": attacks, "range": [bar for bar, _ in LOOKS[: len(attacks)]]},
        "legend": {"title": None, "symbolType": "square", "symbolStrokeColor": INK, "symbolStrokeWidth": 0.7, "columns": 3},
    }  # fmt: skip
    panels = []
    for i, stage in enumerate(STAGES):
        values = [
            {
                "hazard": hazard_name(catalog, r.hazard), "attack": _attack(r, words), "share": stretched(r.share(stage)),
                "ink": LOOKS[attacks.index(_attack(r, words))][1] if stretched(r.share(stage)) > HALF else INK,
                "text": f"{getattr(r, stage):,}/{r.episodes:,}",
            }
            for r in rows
        ]  # fmt: skip
        panels.append(
            {
                "title": {"text": title_lines(words.say(f"stage_{stage}"), width + 8), "offset": 4, "frame": "bounds" if i else "group"},
                "data": {"values": values}, "width": width, "height": {"step": step},
                "encoding": {
                    "y": {
                        "field": "hazard", "type": "nominal", "scale": {"domain": hazards, "paddingInner": 0.25, "paddingOuter": 0.1},
                        "axis": {
                            "title": None, "domain": False, "ticks": False, "labels": i == 0,
                            "labelExpr": _lookup(lines), "labelLineHeight": 14, "labelBaseline": "middle",
                        },
                    },
                    "yOffset": {"field": "attack", "type": "nominal", "scale": {"domain": attacks}},
                },
                "layer": [
                    {
                        "mark": {"type": "bar", "stroke": INK, "strokeWidth": 0.7},
                        "encoding": {
                            "x": {
                                "field": "share", "type": "quantitative", "scale": {"domain": [0, 1]},
                                "axis": STRETCHED_AXIS,
                            },
                            "fill": fill,
                        },
                    },
                    {
                        "mark": {"type": "text", "align": {"expr": "datum.share > 0.5 ? 'right' : 'left'"},
                                 "dx": {"expr": "datum.share > 0.5 ? -4 : 4"}, "fontSize": 11 if step > 13 else 10.5},
                        "encoding": {
                            "x": {"field": "share", "type": "quantitative"}, "text": {"field": "text"},
                            "color": {"field": "ink", "type": "nominal", "scale": None, "legend": None},
                        },
                    },
                ],
            }
        )  # fmt: skip
    return {"hconcat": panels, "spacing": 12}


def _lookup(lines: dict[str, list[str]]) -> str:
    return f"{json.dumps(lines, ensure_ascii=True)}[datum.value]"
