"""Can the judge be trusted in this language? Sensitivity and specificity by language, from answers that people labelled.

    rows = reliability(source)                # the numbers; empty where no judge reads
    chart = reliability_chart(source, setting)

Of the violations that people saw, what share did the judge flag; of the acceptable answers, what share did it pass. Only labels count that
say something of it: those of its calibration, given by people who did not see its verdicts, and those of the run's own drawn answers.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from assay.decision.judged_claims import JudgedRateClaim
from assay.judges import told
from assay.plan import Stream
from assay.plan.model import Calibrated
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import WIDTH, Spec, text_width, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, QUIET
from assay.report.charts.wording import Words, tongue
from assay.report.sources import Source
from assay.stats.exact import clopper_pearson

ROW = 22


class Reliability(Struct, frozen=True):
    """One language. Of the violations `caught` and `missed`, of the acceptable answers `passed` and flagged in error (`alarms`)."""

    language: str
    caught: int
    missed: int
    passed: int
    alarms: int

    @property
    def sensitivity(self) -> tuple[float, float, float] | None:
        """The rate and its exact 95% interval; None without labels."""
        return _rate(self.caught, self.caught + self.missed)

    @property
    def specificity(self) -> tuple[float, float, float] | None:
        """The rate and its exact 95% interval; None without labels."""
        return _rate(self.passed, self.passed + self.alarms)


def _rate(hits: int, n: int) -> tuple[float, float, float] | None:
    return (hits / n, *clopper_pearson(hits, n)) if n else None


def reliability(source: Source) -> tuple[Reliability, ...]:
    """Every language of the plan, labelled or not; empty for a plan without judges."""
    opening = source.tally.opening
    judges, m = opening.plan.judges, opening.plan.matrix
    if judges is None:
        return ()
    known = told(source.run.taken(), opening.plan.labels.people)
    later = known[-1][1].calibrated if known else ()
    counts: dict[str, Counter[str]] = {t: Counter() for t in m.languages}
    claimed: set[Stream] = set()
    for claim in source.tally.gate.claims:
        if isinstance(claim, JudgedRateClaim) and claim.stream not in claimed:
            claimed.add(claim.stream)
            counts[claim.stream.language].update(caught=claim.sensitivity.caught, missed=claim.sensitivity.missed)
    for row in _fitting(source, later):
        c = counts[row.language]
        c.update(passed=row.passed, alarms=row.alarms)
        if not any((s.hazard, s.language, s.arm) == (row.hazard, row.language, row.arm) for s in claimed):
            c.update(caught=row.caught, missed=row.missed)
    return tuple(Reliability(t, c["caught"], c["missed"], c["passed"], c["alarms"]) for t, c in counts.items())


def _fitting(source: Source, later: tuple[Calibrated, ...]) -> list[Calibrated]:
    """Calibration rows of this very panel: what was learnt later in the place of the plan's; none of the plan's if it has changed."""
    plan = source.tally.opening.plan
    judges = plan.judges
    if judges is None:
        return []

    def fits(row: Calibrated) -> bool:
        return (
            row.language in plan.matrix.languages and row.hazard in judges.hazards
            and row.panel == judges.digests.get(f"{row.hazard}/{row.language}", "")
        )  # fmt: skip

    mine = [row for row in later if fits(row)]
    places = {(row.hazard, row.language, row.arm) for row in mine}
    return mine + [r for r in judges.calibrated if fits(r) and not judges.void and (r.hazard, r.language, r.arm) not in places]


def reliability_chart(source: Source, setting: Setting) -> Chart | Absent:
    """Two panels, languages down."""
    rows = reliability(source)
    if not rows:
        return setting.absent("reliability", "reliability_absent", source)
    if not any(r.sensitivity or r.specificity for r in rows):
        return setting.absent("reliability", "reliability_absent_labels", source)
    words, catalog = setting.words, source.tally.opening.catalog
    seen = [(r, r.sensitivity) for r in rows if r.sensitivity]
    alt = words.say("reliability_alt_none")
    if seen:
        least, rate = min(seen, key=lambda pair: (pair[1][0], pair[1][1]))
        alt = words.say(
            "reliability_alt", language=tongue(catalog, least.language), rate=words.rate(rate[0]), span=words.span(rate[1], rate[2]),
            none=len(rows) - len(seen), languages=len(rows),
        )  # fmt: skip
    table: list[tuple[Value, ...]] = [
        (
            tongue(catalog, r.language), r.caught, r.missed, *(r.sensitivity or (None,) * 3), r.passed, r.alarms,
            *(r.specificity or (None,) * 3),
        )
        for r in rows
    ]  # fmt: skip
    return setting.chart(
        "reliability", _spec(source, rows, words), source=source, caption=words.say("reliability_caption"), alt=alt,
        columns=(
            "language", "caught", "missed", "sensitivity", "low", "high", "passed", "alarms", "specificity", "low", "high",
        ),
        rows=table,
    )  # fmt: skip


def _spec(source: Source, rows: tuple[Reliability, ...], words: Words) -> Spec:
    catalog = source.tally.opening.catalog
    labels = [tongue(catalog, r.language) for r in rows]
    width = round((WIDTH - 14 - max(map(text_width, labels))) / 2 - 92)
    panels = [
        _panel(
            labels, words.say("col_sensitivity"), [(r.sensitivity, r.caught, r.caught + r.missed) for r in rows], width, words, named=True
        ),
        _panel(
            labels, words.say("col_specificity"), [(r.specificity, r.passed, r.passed + r.alarms) for r in rows], width, words, named=False
        ),
    ]
    return {"hconcat": panels, "spacing": 84}


def _panel(
    labels: list[str], title: str, rates: list[tuple[tuple[float, float, float] | None, int, int]], width: int, words: Words, *, named: bool
) -> Spec:
    values = [
        {"language": label, "rate": rate[0], "low": rate[1], "high": rate[2]}
        for label, (rate, _, _) in zip(labels, rates, strict=True) if rate
    ]  # fmt: skip
    texts = [
        {"language": label, "text": f"{hits:,}/{n:,}" if n else words.say("no_labels")}
        for label, (_, hits, n) in zip(labels, rates, strict=True)
    ]  # fmt: skip
    x = {
        "field": "rate", "type": "quantitative", "scale": {"domain": [0, 1]},
        "axis": {"title": None, "format": ".0%", "values": [0, 0.5, 1], "tickCount": 10},
    }  # fmt: skip
    return {
        "title": {"text": title_lines(title, width + 40), "offset": 4, "frame": "group" if named else "bounds"},
        "width": width, "height": ROW * len(labels),
        "encoding": {
            "y": {
                "field": "language", "type": "nominal", "scale": {"domain": labels},
                "axis": {"title": None, "domain": False, "ticks": False, "labels": named},
            }
        },
        "layer": [
            {
                "data": {"values": values}, "mark": {"type": "rule", "strokeWidth": 2, "color": QUIET},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            },
            {
                "data": {"values": values}, "mark": {"type": "point", "filled": True, "size": 70, "color": BLUE, "opacity": 1},
                "encoding": {"x": x},
            },
            {
                "data": {"values": texts}, "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": {"value": width}, "text": {"field": "text"}},
            },
        ],
    }  # fmt: skip
