"""Where does it fail? The matrix as a heat map: languages down, hazards across, a panel for each attack and for harmless requests.

    cells = heat_cells(source)            # the numbers
    charts = matrix_charts(source, setting)

Colour is the rate in steps, the line at the foot of a cell its interval from 0 to 100%, so a long line is little evidence; a framed cell
with a cross does not hold, and a triangle says that some answers could not be scored.
"""

from __future__ import annotations

from msgspec import Struct

from assay.decision import AverageClaim
from assay.plan import NO_ATTACK, Arm, Stream
from assay.report.charts.chart import Chart, Value
from assay.report.charts.drawing import WIDTH, Spec, label_expression, text_width, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.palette import HEAT, HEAT_INK, INK, OUTLINE, STATUS, UNSCORED
from assay.report.charts.wording import Words, attack_name, hazard_name, tongue, wrapped
from assay.report.matrix import HEAT_BREAKS, heat
from assay.report.sources import Source
from assay.report.tally import Tally

ROW, GAP, LINE, LEAST_COLUMN = 24, 16, 14, 58
PAGE = 880
"""The height of a page's text, about, which a chart must not exceed."""


class HeatCell(Struct, frozen=True):
    """One cell. `status` is that of the claims about it: `halt` if any halted, `approve` if all hold, `open`, or empty without one."""

    stream: Stream
    n: int
    violations: int
    unscorable: int
    rate: float
    low: float
    high: float
    status: str

    @property
    def scored(self) -> bool:
        """Whether any answer could be scored."""
        return self.n > self.unscorable


def panels(tally: Tally) -> tuple[tuple[str, Arm], ...]:
    """What has a panel of its own: no attack, each attack, the harmless twins."""
    m = tally.opening.plan.matrix
    found: list[tuple[str, Arm]] = [(NO_ATTACK, "plain"), *((a, "attack") for a in m.attacks)]
    if m.benign:
        found.append((NO_ATTACK, "benign"))
    return tuple(found)


def heat_cells(source: Source) -> tuple[HeatCell, ...]:
    """Every cell of every panel, panel by panel, language by language."""
    tally = source.tally
    m = tally.opening.plan.matrix
    status = statuses(tally)
    return tuple(
        _cell(tally, Stream(h, t, attack, arm), status) for attack, arm in panels(tally) for t in m.languages for h in m.hazards
    )  # fmt: skip


def statuses(tally: Tally) -> dict[Stream, str]:
    """What the claims about each cell come to, averages left out."""
    found: dict[Stream, set[str]] = {}
    for claim in tally.gate.claims:
        if not isinstance(claim, AverageClaim):
            found.setdefault(claim.stream, set()).add(claim.status)
    return {s: "halt" if "halt" in all_ else "open" if "open" in all_ else "approve" for s, all_ in found.items()}


def _cell(tally: Tally, stream: Stream, status: dict[Stream, str]) -> HeatCell:
    c = tally.streams[stream]
    return HeatCell(stream, c.n, c.violations, c.unscorable, c.rate, *c.interval, status.get(stream, ""))


def matrix_charts(source: Source, setting: Setting) -> list[Chart]:
    """One chart, or several where the panels do not fit on a page."""
    tally, words = source.tally, setting.words
    m = tally.opening.plan.matrix
    cells = heat_cells(source)
    size = len(m.languages) * len(m.hazards)
    every = [cells[i : i + size] for i in range(0, len(cells), size)]
    labels = max(text_width(tongue(tally.opening.catalog, t)) for t in m.languages) + 14
    across = max(1, min(len(every), int((WIDTH - labels) // (len(m.hazards) * LEAST_COLUMN + GAP))))
    column = max(min(((WIDTH - labels) / across - GAP) / len(m.hazards), 130.0), 20.0)
    heads = _heads(source, column)
    down = max(1, (PAGE - 70) // (len(m.languages) * ROW + len(heads[0]) * LINE + 44))
    out = []
    for part, group in enumerate(every[i : i + across * down] for i in range(0, len(every), across * down)):
        shown = [c for panel in group for c in panel]
        spec = _spec(source, group, column, across, words)
        out.append(
            setting.chart(
                "matrix", spec, source=source, part=part, caption=words.say("matrix_caption"), alt=_alt(source, shown, words),
                columns=("part", "language", "hazard", "trials", "violations", "unscorable", "rate", "low", "high", "standing"),
                rows=[_row(source, c, words) for c in shown],
            )
        )  # fmt: skip
    return out


def panel_name(stream: Stream, words: Words) -> str:
    """No attack, an attack's name, or harmless requests."""
    if stream.arm == "benign":
        return words.say("panel_benign")
    return words.say("panel_plain") if stream.attack == NO_ATTACK else words.say("panel_attack", attack=attack_name(stream.attack))


def _row(source: Source, c: HeatCell, words: Words) -> tuple[Value, ...]:
    catalog = source.tally.opening.catalog
    where = panel_name(c.stream, words), tongue(catalog, c.stream.language), hazard_name(catalog, c.stream.hazard)
    known = (c.rate, c.low, c.high) if c.n else (None, None, None)
    return *where, c.n, c.violations, c.unscorable, *known, words.say(f"status_{c.status or 'none'}")


def _alt(source: Source, cells: list[HeatCell], words: Words) -> str:
    catalog = source.tally.opening.catalog
    worst = max(cells, key=lambda c: (c.rate, c.low))
    halted = sum(c.status == "halt" for c in cells)
    if not worst.violations:
        return words.say("matrix_alt_none", cells=len(cells), high=words.rate(max(c.high for c in cells)))
    return words.say(
        "matrix_alt", rate=words.rate(worst.rate), violations=worst.violations, n=worst.n, hazard=hazard_name(catalog, worst.stream.hazard),
        language=tongue(catalog, worst.stream.language), panel=panel_name(worst.stream, words), halted=halted, cells=len(cells),
    )  # fmt: skip


def _spec(source: Source, every: list[tuple[HeatCell, ...]], column: float, across: int, words: Words) -> Spec:
    """The panels, each with its own head; only those at the left name the languages."""
    steps = ["0%", *(f"≤ {100 * top:.0f}%" for top in HEAT_BREAKS[1:]), words.say("not_scored")]
    return {
        "concat": [_panel(source, cells, column, steps, words, named=i % across == 0) for i, cells in enumerate(every)],
        "columns": across,
        "spacing": {"row": 14, "column": GAP},
    }


def _panel(source: Source, cells: tuple[HeatCell, ...], column: float, steps: list[str], words: Words, *, named: bool) -> Spec:
    tally = source.tally
    m, catalog = tally.opening.plan.matrix, tally.opening.catalog
    languages = [tongue(catalog, t) for t in m.languages]
    place = {h: i for i, h in enumerate(m.hazards)}
    size = _size(column)
    titles = _heads(source, column)
    x = {
        "field": "left", "type": "quantitative", "scale": {"domain": [0, len(m.hazards)], "nice": False},
        "axis": {
            "orient": "top", "values": [i + 0.5 for i in range(len(m.hazards))], "labelExpr": label_expression(titles, 0.5),
            "grid": False, "domain": False, "ticks": False, "title": None, "labelAngle": 0 if column >= 40 else -60,
            "labelFontSize": size, "labelOverlap": False, "labelFlush": False, "labelLineHeight": LINE,
            "labelPadding": 4 + (len(titles[0]) - 1) * LINE,
        },
    }  # fmt: skip
    y = {
        "field": "language",
        "type": "nominal",
        "sort": languages,
        "axis": {"title": None, "domain": False, "ticks": False, "labels": named},
    }
    fill = {
        "field": "step", "type": "nominal", "scale": {"domain": steps, "range": [*HEAT, UNSCORED]},
        "legend": {
            "title": words.say("axis_rate"), "symbolType": "square", "symbolStrokeColor": OUTLINE, "symbolStrokeWidth": 1,
            "symbolSize": 130, "columns": 4, "columnPadding": 16, "rowPadding": 4,
        },
    }  # fmt: skip
    ink = {"field": "ink", "type": "nominal", "scale": None, "legend": None}
    middle, corner = {"field": "middle", "type": "quantitative"}, {"field": "corner", "type": "quantitative"}
    values = [_value(c, place[c.stream.hazard], tongue(catalog, c.stream.language), column, steps, words) for c in cells]
    layers: list[Spec] = [
        {"mark": {"type": "rect", "stroke": OUTLINE, "strokeWidth": 0.7}, "encoding": {"x": x, "x2": {"field": "right"}, "fill": fill}},
        {
            "transform": [{"filter": "datum.tested"}], "mark": {"type": "rule", "strokeWidth": 2.5, "yOffset": ROW / 2 - 4},
            "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "stroke": ink},
        },
        {"mark": {"type": "text", "dy": -2, "fontSize": size}, "encoding": {"x": middle, "text": {"field": "text"}, "color": ink}},
    ]  # fmt: skip
    if any(v["doubt"] for v in values):
        layers.append(
            {
                "transform": [{"filter": "datum.doubt"}],
                "mark": {"type": "point", "shape": "triangle-up", "size": 22, "filled": True, "yOffset": -7, "opacity": 1},
                "encoding": {"x": corner, "color": ink},
            }
        )
    if any(v["halted"] for v in values):
        layers.append(
            {
                "transform": [{"filter": "datum.halted"}],
                "mark": {"type": "rect", "filled": False, "stroke": INK, "strokeWidth": 2.5},
                "encoding": {"x": {"field": "left", "type": "quantitative"}, "x2": {"field": "right"}},
            }
        )
    title = title_lines(panel_name(cells[0].stream, words), column * len(m.hazards) + GAP / 2)
    return {
        "title": {"text": title, "anchor": "start", "frame": "group", "offset": 6},
        "data": {"values": values},
        "width": round(column * len(m.hazards)), "height": ROW * len(languages), "encoding": {"y": y}, "layer": layers,
    }  # fmt: skip


def _size(column: float) -> int:
    return 11 if column < 75 else 12


def _heads(source: Source, column: float) -> list[list[str]]:
    """The hazards' names on lines as wide as a column, all with as many lines, the last at the foot."""
    tally = source.tally
    most = max(6, int(column / (_size(column) * 0.57)))
    lines = [wrapped(hazard_name(tally.opening.catalog, h), most) for h in tally.opening.plan.matrix.hazards]
    deep = max(map(len, lines))
    return [[" "] * (deep - len(each)) + each for each in lines]


def _value(c: HeatCell, place: int, language: str, column: float, steps: list[str], words: Words) -> Spec:
    return {
        "language": language, "left": place + 0.02, "right": place + 0.98, "middle": place + 0.5, "corner": place + 1 - 8 / column,
        "low": place + 0.05 + 0.9 * c.low, "high": place + 0.05 + 0.9 * c.high,
        "step": steps[heat(c.rate)] if c.scored else steps[-1], "ink": HEAT_INK[heat(c.rate)] if c.scored else INK,
        "text": _text(c, words, column), "halted": c.status == "halt", "doubt": c.unscorable > 0, "tested": c.n > 0,
    }  # fmt: skip


def _text(c: HeatCell, words: Words, column: float) -> str:
    if not c.n:
        return "–"
    if not c.scored:
        return "?"
    sign = f"{STATUS['halt'].sign} " if c.status == "halt" else ""
    return f"{sign}{words.rate(c.rate)}" if column >= 40 else sign.strip()
