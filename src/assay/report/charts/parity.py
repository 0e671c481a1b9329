"""Is it as safe in every language? Each language against the reference, as paired differences with intervals, largest first.

    rows = parity_rows(source)                # the numbers; None without a second language
    chart = parity_chart(source, setting)

Pairs are one item in both languages, over the cells that the plan's parity requirement covers; without one, over all cells without
attack. The pairs of an item under several attacks are one observation (`charts.intervals`).
"""

from __future__ import annotations

from msgspec import Struct

from assay.decision import ParityClaim, percent
from assay.plan import NO_ATTACK, LanguageParity, Stream
from assay.report.charts.chart import Absent, Chart
from assay.report.charts.drawing import WIDTH, ZERO, Spec, text_width
from assay.report.charts.intervals import Pairs, gaps, paired
from assay.report.charts.making import Setting
from assay.report.charts.palette import INK, ORANGE, STATUS
from assay.report.charts.wording import Words, tongue
from assay.report.sources import Source

ROW = 24


class ParityRow(Struct, frozen=True):
    """One language. `status` is that of its claims, empty without a requirement."""

    language: str
    pairs: Pairs
    low: float
    high: float
    status: str


class Parity(Struct, frozen=True):
    """All languages against `reference`, largest difference first. `margin` is what the plan allows, None without a requirement."""

    reference: str
    margin: float | None
    rows: tuple[ParityRow, ...]


def parity_rows(source: Source) -> Parity | None:
    """The numbers of the chart; None where no two languages have an item in common."""
    plan = source.tally.opening.plan
    wanted = next((r for r in plan.requirements if isinstance(r, LanguageParity)), None)
    streams: dict[str, list[tuple[Stream, Stream]]] = {}
    status: dict[str, set[str]] = {}
    if wanted:
        reference = wanted.reference
        for claim in source.tally.gate.claims:
            if isinstance(claim, ParityClaim) and claim.requirement == wanted.id:
                streams.setdefault(claim.stream.language, []).append((claim.stream, claim.reference))
                status.setdefault(claim.stream.language, set()).add(claim.status)
    else:
        m = plan.matrix
        reference = "en" if "en" in m.languages else m.languages[0]
        for tag in m.languages:
            if tag != reference:
                streams[tag] = [(Stream(h, tag, NO_ATTACK, "plain"), Stream(h, reference, NO_ATTACK, "plain")) for h in m.hazards]
    found = {tag: paired(source.tally, mine) for tag, mine in streams.items()}
    found = {tag: pairs for tag, pairs in found.items() if pairs.n}
    if not found:
        return None
    rows = [
        ParityRow(tag, pairs, low, high, _status(status.get(tag, set())))
        for (tag, pairs), (low, high) in zip(found.items(), gaps(list(found.values())), strict=True)
    ]
    rows.sort(key=lambda r: (-r.pairs.difference, -r.high, r.language))
    return Parity(reference, wanted.margin if wanted else None, tuple(rows))


def _status(all_: set[str]) -> str:
    return "" if not all_ else "halt" if "halt" in all_ else "open" if "open" in all_ else "approve"


def parity_chart(source: Source, setting: Setting) -> Chart | Absent:
    """The forest plot."""
    found = parity_rows(source)
    if found is None:
        return setting.absent("parity", "parity_absent", source)
    words, catalog = setting.words, source.tally.opening.catalog
    reference = tongue(catalog, found.reference)
    first = found.rows[0]
    margin = "" if found.margin is None else words.say("parity_margin", margin=percent(found.margin))
    alt = words.say(
        "parity_alt", language=tongue(catalog, first.language), reference=reference, gap=words.gap(first.pairs.difference),
        span=words.gap_span(first.low, first.high), over=sum(r.status == "halt" for r in found.rows), languages=len(found.rows),
    )  # fmt: skip
    return setting.chart(
        "parity", _spec(source, found, words), source=source, alt=alt,
        caption=" ".join(part for part in (words.say("parity_caption", reference=reference), margin, words.say("sequence_note")) if part),
        columns=("language", "items", "pairs", "worse", "better", "unscorable", "difference", "low", "high", "standing"),
        rows=[
            (
                tongue(catalog, r.language), r.pairs.items, r.pairs.n, r.pairs.worse, r.pairs.better, r.pairs.unscorable,
                r.pairs.difference, r.low, r.high, words.say(f"status_{r.status or 'none'}"),
            )
            for r in found.rows
        ],
    )  # fmt: skip


def _spec(source: Source, found: Parity, words: Words) -> Spec:
    catalog = source.tally.opening.catalog
    labels = [tongue(catalog, r.language) for r in found.rows]
    texts = [f"{words.gap(r.pairs.difference)} ({words.gap_span(r.low, r.high)})" for r in found.rows]
    kinds = [k for k in STATUS if any(r.status == k for r in found.rows)]
    names = {k: f"{STATUS[k].sign} {words.say(f'status_{k}')}" for k in kinds}
    values = [
        {
            "language": label, "difference": 100 * r.pairs.difference, "low": 100 * r.low, "high": 100 * r.high, "text": text,
            "status": names.get(r.status, ""),
        }
        for r, label, text in zip(found.rows, labels, texts, strict=True)
    ]  # fmt: skip
    reach = max([abs(v) for r in found.rows for v in (r.low, r.high)] + [1.2 * (found.margin or 0.0), 0.01])
    side = max(map(text_width, texts)) + 10
    width = round(WIDTH - max(map(text_width, labels)) - side - 22)
    x = {
        "field": "difference", "type": "quantitative", "scale": {"domain": [-105 * reach, 105 * reach], "nice": False},
        "axis": {"title": words.say("axis_gap"), "tickCount": 6, "format": "+.0f" if reach > 0.04 else "+.1f", "labelExpr": ZERO},
    }  # fmt: skip
    y = {"field": "language", "type": "nominal", "sort": labels, "axis": {"title": None, "domain": False, "ticks": False}}
    look = {
        "field": "status", "type": "nominal",
        "legend": {"title": words.say("col_standing"), "columns": 3} if kinds else None,
    }  # fmt: skip
    domain = [names[k] for k in kinds] or [""]
    looks = [STATUS[k] for k in kinds] or [STATUS["approve"]]
    colour = {**look, "scale": {"domain": domain, "range": [k.colour for k in looks]}}
    shape = {**look, "scale": {"domain": domain, "range": [k.shape for k in looks]}}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "color": INK, "strokeWidth": 1}, "data": {"values": [{"at": 0}]}, "encoding": {"x": _at()}},
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"y": y, "x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 75, "opacity": 1},
            "encoding": {"y": y, "x": x, "color": colour, "shape": shape},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 10},
            "encoding": {"y": {**y}, "x": {"value": width}, "text": {"field": "text"}},
        },
    ]  # fmt: skip
    if found.margin is not None:
        layers.insert(
            1, {
                "mark": {"type": "rule", "color": ORANGE, "strokeDash": [5, 3], "strokeWidth": 2},
                "data": {"values": [{"at": 100 * found.margin}]}, "encoding": {"x": _at()},
            },
        )  # fmt: skip
    return {
        "data": {"values": values}, "width": width, "height": ROW * len(labels), "layer": layers,
    }  # fmt: skip


def _at() -> Spec:
    return {"field": "at", "type": "quantitative"}
