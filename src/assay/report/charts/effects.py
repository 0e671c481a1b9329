"""What do attacks change? Each attack against its placebo in each language, as paired differences with intervals.

    rows = effects(source)                    # the numbers
    chart = effects_chart(source, setting)

Where the plan has no placebo the plain item stands in its place; where it renders texts literally and adapted, that pair is a panel too.
How many rows are shown to be worse is a statement about all of them, so the error is shared over the rows.
"""

from __future__ import annotations

from msgspec import Struct

from assay.plan import NO_ATTACK, Arm, Stream
from assay.report.charts.chart import Absent, Chart
from assay.report.charts.drawing import WIDTH, ZERO, Spec, legend_columns, text_width, title_lines
from assay.report.charts.intervals import LEVEL, Pairs, gaps, paired
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, INK, ORANGE, QUIET
from assay.report.charts.wording import Words, attack_name, tongue
from assay.report.sources import Source

ROW, GAP = 19, 14
ADAPTED = "adapted"


class Effect(Struct, frozen=True):
    """One attack in one language, over all hazards; `attack` is `adapted` for the adapted rendering against the literal one."""

    attack: str
    language: str
    pairs: Pairs
    low: float
    high: float

    @property
    def shown(self) -> str:
        """`worse` or `better` where the interval leaves out zero, else `open`."""
        return "worse" if self.low > 0 else "better" if self.high < 0 else "open"


def effects(source: Source) -> tuple[Effect, ...]:
    """Every attack in every language that has a pair, in the plan's order; all intervals hold together (Bonferroni)."""
    m = source.tally.opening.plan.matrix
    base: tuple[bool, Arm] = (True, "placebo") if m.placebo else (False, "plain")
    wanted = [
        (a, t, [(Stream(h, t, a, "attack"), Stream(h, t, a if base[0] else NO_ATTACK, base[1])) for h in m.hazards])
        for a in m.attacks
        for t in m.languages
    ]
    wanted += [
        (ADAPTED, t, [(Stream(h, t, NO_ATTACK, "adapted"), Stream(h, t, NO_ATTACK, "literal")) for h in m.hazards]) for t in m.renderings
    ]
    found = [(attack, tag, pairs) for attack, tag, streams in wanted if (pairs := paired(source.tally, streams)).n]
    ends = gaps([pairs for _, _, pairs in found], LEVEL / max(1, len(found)))
    return tuple(Effect(attack, tag, pairs, *end) for (attack, tag, pairs), end in zip(found, ends, strict=True))


def effects_chart(source: Source, setting: Setting) -> Chart | Absent:
    """Small multiples: a panel for each attack, languages down."""
    rows = effects(source)
    if not rows:
        return setting.absent("effects", "effects_absent", source)
    words, catalog = setting.words, source.tally.opening.catalog
    base = words.say("base_placebo" if source.tally.opening.plan.matrix.placebo else "base_plain")
    most = max(rows, key=lambda r: (r.pairs.difference, r.low))
    alt = words.say(
        "effects_alt", attack=_name(most.attack, words), language=tongue(catalog, most.language), gap=words.gap(most.pairs.difference),
        span=words.gap_span(most.low, most.high), worse=sum(r.shown == "worse" for r in rows), rows=len(rows),
    )  # fmt: skip
    return setting.chart(
        "effects", _spec(source, rows, words), source=source, alt=alt,
        caption=f"{words.say('effects_caption', base=base)} {words.say('sequence_note_all')}",
        columns=("attack", "language", "pairs", "worse", "better", "unscorable", "difference", "low", "high"),
        rows=[
            (
                _name(r.attack, words), tongue(catalog, r.language), r.pairs.n, r.pairs.worse, r.pairs.better, r.pairs.unscorable,
                r.pairs.difference, r.low, r.high,
            )
            for r in rows
        ],
    )  # fmt: skip


def _name(attack: str, words: Words) -> str:
    return words.say("adapted") if attack == ADAPTED else attack_name(attack)


def _spec(source: Source, rows: tuple[Effect, ...], words: Words) -> Spec:
    catalog = source.tally.opening.catalog
    labels = list(dict.fromkeys(tongue(catalog, r.language) for r in rows))
    names = list(dict.fromkeys(_name(r.attack, words) for r in rows))
    reach = 105 * max(0.01, *(abs(end) for r in rows for end in (r.low, r.high)))
    across = min(3, len(names))
    width = round((WIDTH - max(map(text_width, labels)) - 14) / across - GAP)
    shown = {"worse": words.say("shown_worse"), "open": words.say("shown_open"), "better": words.say("shown_better")}
    look = {
        "field": "shown",
        "type": "nominal",
        "legend": {"title": None, "columns": legend_columns(list(shown.values()), across * (width + GAP))},
    }
    colour = {**look, "scale": {"domain": list(shown.values()), "range": [ORANGE, QUIET, BLUE]}}
    shape = {**look, "scale": {"domain": list(shown.values()), "range": ["triangle-right", "circle", "triangle-left"]}}
    x = {
        "field": "difference", "type": "quantitative", "scale": {"domain": [-reach, reach], "nice": False},
        "axis": {"title": words.say("axis_points"), "tickCount": 4, "format": "+.0f" if reach > 4 else "+.1f", "labelExpr": ZERO},
    }  # fmt: skip
    panels = [
        {
            "title": {
                "text": title_lines(name, width + GAP / 2), "anchor": "start", "frame": "bounds" if i % across else "group", "offset": 4,
            },
            "width": width, "height": ROW * len(labels),
            "data": {
                "values": [
                    {
                        "language": tongue(catalog, r.language), "difference": 100 * r.pairs.difference,
                        "low": 100 * r.low, "high": 100 * r.high, "shown": shown[r.shown],
                    }
                    for r in rows if _name(r.attack, words) == name
                ]
            },
            "encoding": {
                "y": {
                    "field": "language", "type": "nominal", "scale": {"domain": labels},
                    "axis": {"title": None, "domain": False, "ticks": False, "labels": i % across == 0, "grid": True},
                }
            },
            "layer": [
                {
                    "mark": {"type": "rule", "color": INK, "strokeWidth": 1}, "data": {"values": [{"at": 0}]},
                    "encoding": {"x": {"field": "at", "type": "quantitative"}, "y": None},
                },
                {
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "color": colour},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                    "encoding": {"x": x, "color": colour, "shape": shape},
                },
            ],
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"concat": panels, "columns": across, "spacing": {"row": 14, "column": GAP}}
