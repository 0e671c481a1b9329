"""When was it decided? For each requirement, what its weakest claim still allows against the number of trials.

    courses = growth(reading)                 # the numbers
    chart = growth_chart(reading, setting)

The trials go through the project's own gate again, in order. At some two hundred places between the first trial and the last one that
mattered, every claim's confidence sequence is taken: the highest upper end of those still open must come down to the threshold for the
requirement to hold; where any lower end rises above it, it is shown not to hold. Labels are those of the end.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from assay.decision import Claim, Gate, ParityClaim, RateClaim, percent
from assay.judges import Told, told
from assay.report.charts.chart import Absent, Chart, Value
from assay.report.charts.drawing import WIDTH, Spec, legend_columns, title_lines
from assay.report.charts.making import Setting
from assay.report.charts.palette import BLUE, INK, ORANGE, STATUS
from assay.report.charts.reading import Reading
from assay.report.charts.wording import Words, name
from assay.stats.sequences import difference_sequence, rate_lower, rate_upper

POINTS, POINTS_SLOW = 200, 40
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
Key = tuple[int, ...]
Snapshots = list[list[tuple[str, Key | tuple[float, float]]]]
Ends = dict[tuple[float, float, Key], tuple[float, float]]


class Place(Struct, frozen=True):
    """After `trials` trials: the highest upper end of the open claims (None where none is open), the highest lower end of all, and how
    many claims are open.
    """

    trials: int
    upper: float | None
    lower: float
    open: int


class Course(Struct, frozen=True):
    """One requirement. `status` and `at` say what it came to and after how many trials; -1 where it is undecided."""

    requirement: str
    threshold: float
    claims: int
    status: str
    at: int
    places: tuple[Place, ...]


def growth(reading: Reading) -> tuple[Course, ...]:
    """Every requirement with claims, in the plan's order."""
    opening = reading.source.tally.opening
    known = told(reading.source.run.taken(), opening.plan.labels.people)
    gate = Gate(opening.plan, opening.seed, known[-1][1] if known else Told())
    decided = reading.source.tally.gate.decided_at
    last = decided if decided > 0 else len(reading.trials)
    plain = all(type(c) in (RateClaim, ParityClaim) for c in gate.claims) and opening.plan.judges is None
    points = POINTS if plain else POINTS_SLOW
    wanted = sorted({1 + round(i * (last - 1) / (points - 1)) for i in range(points)}) if last > 0 else []
    snapshots = []
    trials = iter(reading.trials)
    for place in wanted:
        while gate.committed < place:
            seen = next(trials)
            gate.add(seen.stream, seen.index, seen.outcome)
        snapshots.append([_snapshot(c) for c in gate.claims])
    claims = gate.claims
    ends = _ends(claims, snapshots)
    return tuple(
        _course(requirement.id, [(i, c) for i, c in enumerate(claims) if c.requirement == requirement.id], wanted, snapshots, ends)
        for requirement in opening.plan.requirements
        if any(c.requirement == requirement.id for c in claims)
    )


def _snapshot(claim: Claim) -> tuple[str, Key | tuple[float, float]]:
    """A claim's status and its counts; its interval itself where it is not one of the two plain kinds."""
    if type(claim) is RateClaim:
        return claim.status, (claim.violations, claim.violations + claim.unscorable, claim.n)
    if type(claim) is ParityClaim:
        return claim.status, (*claim.lenient, *claim.cautious)
    return claim.status, claim.interval() if claim.n else (0.0, 1.0)


def _ends(claims: list[Claim], snapshots: Snapshots) -> Ends:
    """The interval of every combination of levels and counts that occurs, all of a kind at once."""
    found: dict[tuple[float, float], set[Key]] = {}
    for row in snapshots:
        for claim, (_, key) in zip(claims, row, strict=True):
            if type(claim) in (RateClaim, ParityClaim):
                found.setdefault((claim.approve_level, claim.halt_level), set()).add(key)  # type: ignore[arg-type]
    out: Ends = {}
    for (approve, halt), keys in found.items():
        for length in (3, 6):
            mine = sorted(k for k in keys if len(k) == length)
            if not mine:
                continue
            columns = np.array(mine).T
            if length == 3:
                low, high = rate_lower(columns[0], columns[2], halt), rate_upper(columns[1], columns[2], approve)
            else:
                low = difference_sequence(columns[0], columns[1], columns[2], halt)[0]
                high = difference_sequence(columns[3], columns[4], columns[5], approve)[1]
            out |= {(approve, halt, k): (float(a), float(b)) for k, a, b in zip(mine, low, high, strict=True)}
    return out


def _course(requirement: str, mine: list[tuple[int, Claim]], wanted: list[int], snapshots: Snapshots, ends: Ends) -> Course:
    """A confidence sequence holds at all times at once, so each claim keeps the narrowest that it had."""
    places = []
    lows, highs = dict.fromkeys((i for i, _ in mine), 0.0), dict.fromkeys((i for i, _ in mine), 1.0)
    for trials, row in zip(wanted, snapshots, strict=True):
        for i, claim in mine:
            low, high = ends.get((claim.approve_level, claim.halt_level, row[i][1]), row[i][1])  # type: ignore[arg-type]
            lows[i], highs[i] = max(lows[i], low), min(highs[i], high)
        still = [highs[i] for i, _ in mine if row[i][0] == "open"]
        places.append(Place(trials, max(still, default=None), max(lows.values()), len(still)))
    all_ = [c for _, c in mine]
    halted = [c.at for c in all_ if c.status == "halt"]
    status = "halt" if halted else "open" if any(c.status == "open" for c in all_) else "approve"
    at = min(halted) if halted else -1 if status == "open" else max(c.at for c in all_)
    threshold = all_[0].margin if isinstance(all_[0], ParityClaim) else all_[0].tau
    return Course(requirement, threshold, len(all_), status, at, tuple(places))


def growth_chart(reading: Reading, setting: Setting) -> Chart | Absent:
    """A panel for each requirement, one above the other."""
    source, words = reading.source, setting.words
    courses = growth(reading) if reading.trials else ()
    if not courses:
        return setting.absent("growth", "growth_absent", source)
    verdict = source.tally.gate.verdict
    trials = len(reading.trials)
    decided = source.tally.gate.decided_at
    alt = words.say("growth_alt", at=decided, trials=trials, verdict=words.say(f"verdict_{verdict}")) if decided > 0 else words.say(
        "growth_alt_open", trials=trials, open=sum(c.places[-1].open for c in courses), claims=sum(c.claims for c in courses)
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (name(c.requirement), p.trials, p.upper, p.lower, p.open, c.threshold) for c in courses for p in c.places
    ]  # fmt: skip
    return setting.chart(
        "growth", _spec(courses, words), source=source, caption=words.say("growth_caption"), alt=alt,
        columns=("requirement", "trials", "upper", "lower", "open", "threshold"), rows=rows,
    )  # fmt: skip


def _spec(courses: tuple[Course, ...], words: Words) -> Spec:
    last = max(p.trials for c in courses for p in c.places)
    kinds = {"upper": words.say("line_upper"), "lower": words.say("line_lower")}
    return {
        "vconcat": [_panel(c, last, kinds, words, foot=c is courses[-1]) for c in courses],
        "spacing": 12,
    }


def _panel(course: Course, last: int, kinds: dict[str, str], words: Words, *, foot: bool) -> Spec:
    values = [{"trials": p.trials, "value": p.upper, "kind": kinds["upper"]} for p in course.places if p.upper is not None]
    values += [{"trials": p.trials, "value": p.lower, "kind": kinds["lower"]} for p in course.places]
    ends = [] if course.at < 0 else [{"trials": course.at, "value": course.threshold}]
    sign = STATUS[course.status]
    x = {
        "field": "trials", "type": "quantitative", "scale": {"domain": [0, last], "nice": False},
        "axis": {"title": words.say("col_trials") if foot else None, "format": ",d", "tickCount": 6, "labelOverlap": True, "grid": False},
    }  # fmt: skip
    y = {
        "field": "value", "type": "quantitative", "scale": {"type": "sqrt", "domain": [0, 1], "nice": False},
        "axis": {"title": None, "values": [0, *_ticks(course.threshold)], "format": "~%", "labelOverlap": False, "tickCount": 20},
    }  # fmt: skip
    columns = legend_columns(list(kinds.values()), WIDTH - 40)
    legend = {"title": None, "symbolType": "stroke", "symbolStrokeWidth": 2.5, "symbolSize": 200, "columns": columns}
    kind = {"field": "kind", "type": "nominal", "legend": legend}
    colour = {**kind, "scale": {"domain": list(kinds.values()), "range": [BLUE, ORANGE]}}
    dash = {**kind, "scale": {"domain": list(kinds.values()), "range": [[1, 0], [6, 3]]}}
    title = words.say("growth_panel", requirement=name(course.requirement), threshold=percent(course.threshold), claims=course.claims)
    return {
        "title": {"text": [*title_lines(title, WIDTH - 20), *title_lines(_end(course, words), WIDTH - 20)], "offset": 4},
        "width": WIDTH - 60, "height": 112,
        "layer": [
            {
                "data": {"values": [{"value": course.threshold}]},
                "mark": {"type": "rule", "color": INK, "strokeDash": [2, 2], "strokeWidth": 1.5},
                "encoding": {"y": {"field": "value", "type": "quantitative"}},
            },
            {
                "data": {"values": values}, "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash},
            },
            {
                "data": {"values": ends},
                "mark": {"type": "point", "size": 110, "filled": True, "color": sign.colour, "shape": sign.shape, "opacity": 1},
                "encoding": {"x": {"field": "trials", "type": "quantitative"}, "y": {"field": "value", "type": "quantitative"}},
            },
        ],
    }  # fmt: skip


def _end(course: Course, words: Words) -> str:
    if course.at < 0:
        return f"{STATUS['open'].sign} {words.say('status_open')}"
    return f"{STATUS[course.status].sign} {words.say('growth_end', status=words.say(f'status_{course.status}'), at=course.at)}"


def _ticks(threshold: float) -> list[float]:
    """A few round rates that leave room for each other on a root scale."""
    return [t for t in _TICKS if t in (0.05, 0.2, 0.5, 1.0) or (t == 0.01 and threshold < 0.03)]
