"""What did it cost? Calls and tokens by language and hazard, and trials against a design of fixed size.

    spent = cost(reading)                     # the numbers by language and hazard
    charts = cost_charts(reading, setting)

A call is one attempt at the target; what came out of the answer cache is no call. Money is named only where the plan has prices.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from assay.plan.model import Prices
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import WIDTH, Spec, text_width
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, INK
from assay.report.charts.reading import Reading
from assay.report.charts.wording import Words, hazard_name, tongue
from assay.report.intervals import fixed_design
from assay.report.tally import CACHED, Tally

ROW = 20
GOOD = "200"
PALE = "#9cc3dd"


class Spent(Struct, frozen=True):
    """One language and hazard. `failed` are the calls that did not bring an answer, each followed by another or by giving up."""

    language: str
    hazard: str
    trials: int
    calls: int
    failed: int
    cached: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens


def cost(reading: Reading) -> tuple[Spent, ...]:
    """Every language and hazard that has a trial, in the plan's order."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for seen in reading.trials:
        c = counts.setdefault((seen.language, seen.hazard), Counter())
        c["trials"] += 1
        for status, _ in seen.attempts:
            c["cached" if status == CACHED else "calls"] += 1
            c["failed"] += status not in (GOOD, CACHED)
        c["prompt"] += seen.tokens[0]
        c["answer"] += seen.tokens[1]
    m = reading.source.tally.opening.plan.matrix
    return tuple(
        Spent(t, h, c["trials"], c["calls"], c["failed"], c["cached"], c["prompt"], c["answer"])
        for (t, h), c in ((key, counts[key]) for key in ((t, h) for t in m.languages for h in m.hazards) if key in counts)
    )


class Sizes(Struct, frozen=True):
    """Trials: until the verdict was final (-1 where it is not), all that were made, and what fixed designs would have needed."""

    decided: int
    made: int
    fixed: int
    fixed_separate: int
    level: str
    power: str


def sizes(tally: Tally) -> Sizes:
    """The comparison of the report's fixed design."""
    f = fixed_design(tally)
    return Sizes(f.decided_at, f.trials, f.total, f.total_separate, f.level, f.power)


def cost_charts(reading: Reading, setting: Setting) -> list[Chart | Absent]:
    """What was spent, and the design."""
    return [_spent_chart(reading, setting), _design_chart(reading, setting)]


def _spent_chart(reading: Reading, setting: Setting) -> Chart | Absent:
    source, words = reading.source, setting.words
    rows = cost(reading)
    if not rows:
        return setting.absent("cost", "cost_absent", source)
    tally = source.tally
    catalog, prices = tally.opening.catalog, tally.opening.plan.budget.prices
    calls, failed, tokens = (sum(getattr(r, k) for r in rows) for k in ("calls", "failed", "tokens"))
    alt = words.say("cost_alt", trials=tally.trials, calls=calls, failed=failed, tokens=tokens)
    money = ""
    if prices:
        money = words.say("cost_money", money=f"{_money(rows, prices):,.2f}", currency=prices.currency)
    table: list[tuple[Value, ...]] = [
        (
            tongue(catalog, r.language), hazard_name(catalog, r.hazard), r.trials, r.calls, r.failed, r.cached, r.prompt_tokens,
            r.answer_tokens,
            *([round(prices.cost(r.prompt_tokens, r.answer_tokens), 6)] if prices else []),
        )
        for r in rows
    ]  # fmt: skip
    return setting.chart(
        "cost", _spec(reading, rows, words), source=source, alt=" ".join(part for part in (alt, money) if part),
        caption=words.say("cost_caption" if tokens else "cost_caption_calls"),
        columns=(
            "language", "hazard", "trials", "calls", "failed", "cached", "prompt_tokens", "answer_tokens", *(["money"] if prices else []),
        ),
        rows=table,
    )  # fmt: skip


def _money(rows: tuple[Spent, ...], prices: Prices) -> float:
    return prices.cost(sum(r.prompt_tokens for r in rows), sum(r.answer_tokens for r in rows))


def _spec(reading: Reading, rows: tuple[Spent, ...], words: Words) -> Spec:
    """Calls beside tokens, by language."""
    catalog = reading.source.tally.opening.catalog
    tags = list(dict.fromkeys(r.language for r in rows))
    labels = [tongue(catalog, t) for t in tags]
    total = {
        t: [sum(getattr(r, k) for r in rows if r.language == t) for k in ("calls", "failed", "prompt_tokens", "answer_tokens")]
        for t in tags
    }
    told = sum(sum(v[2:]) for v in total.values()) > 0
    across = 2 if told else 1
    width = round((WIDTH - 14 - max(map(text_width, labels))) / across - 70)
    kinds = [words.say("calls_answered"), words.say("col_failed"), words.say("col_prompt_tokens"), words.say("col_answer_tokens")]
    panels = [_bars(labels, [(v[0] - v[1], v[1]) for v in total.values()], kinds[:2], words.say("col_calls"), width, named=True)]
    if told:
        panels.append(_bars(labels, [(v[2], v[3]) for v in total.values()], kinds[2:], words.say("axis_tokens"), width, named=False))
    return {"hconcat": panels, "spacing": 44, "resolve": {"scale": {"fill": "independent"}, "legend": {"fill": "independent"}}}


def _bars(labels: list[str], values: list[tuple[int, int]], kinds: list[str], title: str, width: int, *, named: bool) -> Spec:
    data = [
        {"language": label, "kind": kind, "from": start, "to": stop}
        for label, (first, second) in zip(labels, values, strict=True)
        for kind, start, stop in ((kinds[0], 0, first), (kinds[1], first, first + second))
        if stop > start
    ]
    ends = [{"language": label, "to": sum(pair), "text": f"{sum(pair):,}"} for label, pair in zip(labels, values, strict=True)]
    return {
        "width": width, "height": ROW * len(labels),
        "encoding": {
            "y": {
                "field": "language", "type": "nominal", "scale": {"domain": labels},
                "axis": {"title": None, "domain": False, "ticks": False, "labels": named},
            }
        },
        "layer": [
            {
                "data": {"values": data}, "mark": {"type": "bar", "height": 13, "stroke": INK, "strokeWidth": 0.7},
                "encoding": {
                    "x": {
                        "field": "from", "type": "quantitative", "scale": {"domainMin": 0},
                        "axis": {"title": title, "tickCount": 4, "labelExpr": "datum.value == 0 ? '0' : format(datum.value, '~s')"},
                    },
                    "x2": {"field": "to"},
                    "fill": {
                        "field": "kind", "type": "nominal", "scale": {"domain": kinds, "range": [PALE, BLUE]},
                        "legend": {
                            "title": None, "symbolType": "square", "symbolStrokeColor": INK, "symbolStrokeWidth": 0.7,
                            "direction": "vertical",
                        },
                    },
                },
            },
            {
                "data": {"values": ends}, "mark": {"type": "text", "align": "left", "dx": 4},
                "encoding": {"x": {"field": "to", "type": "quantitative"}, "text": {"field": "text"}},
            },
        ],
    }  # fmt: skip


def _design_chart(reading: Reading, setting: Setting) -> Chart | Absent:
    source, words = reading.source, setting.words
    found = sizes(source.tally)
    if not found.made or not found.fixed:
        return setting.absent("design", "design_absent", source)
    bars = [("design_decided", found.decided)] if found.decided > 0 else []
    bars += [("design_made", found.made), ("design_fixed", found.fixed), ("design_separate", found.fixed_separate)]
    halted = source.tally.gate.verdict == "halt"
    alt = words.say(
        "design_alt" if found.decided > 0 else "design_alt_open", decided=found.decided, made=found.made, fixed=found.fixed,
        separate=found.fixed_separate,
    )  # fmt: skip
    notes = [words.say("design_caption", level=found.level, power=found.power), *([words.say("design_halted")] if halted else [])]
    rows: list[tuple[Value, ...]] = [(words.say(key), n) for key, n in bars]
    labels = [words.say(key) for key, _ in bars]
    spec = {
        "data": {"values": [{"what": label, "n": n, "text": f"{n:,}", "own": key in ("design_decided", "design_made")}
                            for label, (key, n) in zip(labels, bars, strict=True)]},
        "width": round(WIDTH - max(map(text_width, labels)) - 80), "height": 28 * len(bars),
        "encoding": {
            "y": {
                "field": "what", "type": "nominal", "scale": {"domain": labels}, "axis": {"title": None, "domain": False, "ticks": False},
            },
            "x": {
                "field": "n", "type": "quantitative", "scale": {"domainMin": 0},
                "axis": {"title": words.say("col_trials"), "format": ",d", "tickCount": 5, "labelOverlap": True},
            },
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": 16, "stroke": INK, "strokeWidth": 0.7},
                "encoding": {"fill": {"condition": {"test": "datum.own", "value": BLUE}, "value": "#d0d0d0"}},
            },
            {"mark": {"type": "text", "align": "left", "dx": 5}, "encoding": {"text": {"field": "text"}}},
        ],
    }  # fmt: skip
    return setting.chart("design", spec, source=source, caption=" ".join(notes), alt=alt, columns=("design", "trials"), rows=rows)
