"""Runs side by side: what got worse since the last one, what has changed over all of them, and what no longer tells them apart.

    comparison = compare(older, newer, margin=0.05, errors=ErrorRates())
    history = over_time([first, second, third], floor=0.01)

Outcomes are those of streams, one per item (the first sample where there are several). Where both runs asked the same items, they are
paired by item; else the two rates are bounded apart. All bounds hold at every number of trials, so runs that stopped early may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.decision.gate import Verdict
from assay.plan import ErrorRates, Stream
from assay.stats import bank_sequence, difference_sequence
from assay.stats.saturation import ItemFit, Rotation, fit_2pl, is_saturated, rotation
from assay.stats.sequences import rate_lower, rate_upper
from assay.stats.trend import ChangeDetector, forecast_band

Status = Literal["not worse", "worse", "open"]
MIN_RUNS_FOR_ITEMS = 3


class Observed(Struct, frozen=True):
    """One run's outcomes per stream, as `decision.codes`, with each item's digest in the same order.

    `sizes` are those of finite banks, `scenarios` give the scenario of items that are known.
    """

    name: str
    codes: dict[Stream, list[int]]
    items: dict[Stream, list[str]]
    sizes: dict[Stream, int] = {}
    scenarios: dict[str, str] = {}

    def counts(self, stream: Stream) -> tuple[int, int]:
        """Violations and scored or unscorable trials of a stream."""
        codes = self.codes.get(stream, [])
        return codes.count(VIOLATION), len(codes)


class Difference(Struct, frozen=True):
    """One stream in two runs. `low` and `high` bound newer minus older, each at its own level; `paired` counts the items in both."""

    stream: Stream
    older: tuple[int, int]
    newer: tuple[int, int]
    paired: int
    low: float
    high: float
    status: Status


class Comparison(Struct, frozen=True):
    """`approve` if every stream of the older run is shown not to be worse by more than the margin, `halt` if any is shown to be worse; else
    `delay`.
    """

    verdict: Verdict
    margin: float
    differences: tuple[Difference, ...]
    only_older: tuple[str, ...]
    only_newer: tuple[str, ...]

    @property
    def worse(self) -> list[Difference]:
        """What got worse, worst first."""
        return sorted((d for d in self.differences if d.status == "worse"), key=lambda d: -d.low)


def compare(older: Observed, newer: Observed, margin: float, errors: ErrorRates) -> Comparison:
    """Two runs, stream by stream, anchors left out.

    'Not worse' of all streams is an intersection-union test at the full approving level; 'worse' of any shares the halting level over the
    streams compared (Bonferroni).
    """
    streams = [s for s in newer.codes if s in older.codes and s.arm != "anchor"]
    halt_level = errors.halt / max(1, len(streams))
    paired = {s: pairs for s in streams if (pairs := _pairs(s, older, newer))}
    fresh = [s for s in streams if s not in paired]
    bounds = dict(zip(fresh, _unpaired([(older.codes[s], newer.codes[s]) for s in fresh], errors.approve, halt_level), strict=True))
    for stream, pairs in paired.items():
        bounds[stream] = _paired(pairs, older.sizes.get(stream, 0), errors.approve, halt_level)
    differences = tuple(
        Difference(s, older.counts(s), newer.counts(s), len(paired.get(s, ())), *bounds[s], _status(*bounds[s], margin)) for s in streams
    )
    statuses = {d.status for d in differences}
    only_older = tuple(s.key for s in older.codes if s not in newer.codes and s.arm != "anchor")
    not_worse = statuses == {"not worse"} and not only_older
    verdict: Verdict = "halt" if "worse" in statuses else "approve" if not_worse else "delay"
    return Comparison(
        verdict=verdict, margin=margin, differences=differences, only_older=only_older,
        only_newer=tuple(s.key for s in newer.codes if s not in older.codes and s.arm != "anchor"),
    )  # fmt: skip


def _pairs(stream: Stream, older: Observed, newer: Observed) -> list[tuple[int, int]]:
    """Outcomes of the items that both runs asked: the newer's and the older's."""
    place = {item: i for i, item in enumerate(older.items[stream])}
    return [(code, older.codes[stream][place[i]]) for code, i in zip(newer.codes[stream], newer.items[stream], strict=True) if i in place]


def _paired(pairs: list[tuple[int, int]], size: int, approve_level: float, halt_level: float) -> tuple[float, float]:
    """Over all pairs as they stand. What could not be scored is held against the newer run for `high`, and for it for `low`."""
    cautious = [(new != SAFE) - (old == VIOLATION) for new, old in pairs]
    lenient = [(new == VIOLATION) - (old != SAFE) for new, old in pairs]
    if size:
        halves = [[(d + 1) / 2 for d in each] for each in (lenient, cautious)]
        low, high = (2 * end - 1 for end in bank_sequence(size, halves[0], halves[1], halt_level, approve_level))
    else:
        low = float(difference_sequence(lenient.count(1), lenient.count(0), lenient.count(-1), halt_level)[0])
        high = float(difference_sequence(cautious.count(1), cautious.count(0), cautious.count(-1), approve_level)[1])
    return low, high


def _status(low: float, high: float, margin: float) -> Status:
    return "worse" if low > margin else "not worse" if high <= margin else "open"


def _unpaired(streams: Sequence[tuple[list[int], list[int]]], approve_level: float, halt_level: float) -> list[tuple[float, float]]:
    """Each rate bounded at half the level; what could not be scored is held against 'not worse', and against 'worse'.

    All streams at once: the same few counts come again and again, and each distinct one is bounded once.
    """
    if not streams:
        return []
    counts = [[v for c in pair for v in (c.count(VIOLATION), c.count(VIOLATION) + c.count(UNSCORABLE), len(c))] for pair in streams]
    each, place = np.unique(np.array(counts), axis=0, return_inverse=True)
    old, old_most, old_n, new, new_most, new_n = each.T
    low = rate_lower(new, new_n, halt_level / 2) - rate_upper(old_most, old_n, halt_level / 2)
    high = rate_upper(new_most, new_n, approve_level / 2) - rate_lower(old, old_n, approve_level / 2)
    return [(float(low[i]), float(high[i])) for i in place.ravel()]


class Course(Struct, frozen=True):
    """One stream over all runs: (violations, trials) of each; the first run that raised the alarm; the band for a next one like the last.

    `base` is the rate that the alarm takes as unchanged: the upper bound of the first run.
    """

    stream: Stream
    history: tuple[tuple[int, int], ...]
    base: float
    alarm: str
    band: tuple[float, float]
    saturated: bool
    why: str


class History(Struct, frozen=True):
    """Every stream that all runs have; and which items to retire, by item, where the runs shared enough of them."""

    courses: tuple[Course, ...]
    items: tuple[str, ...]
    rotation: Rotation | None
    run_length: float

    @property
    def separates(self) -> bool:
        """Whether any stream still tells these runs apart, or may."""
        return not self.courses or not all(c.saturated for c in self.courses)


def over_time(runs: Sequence[Observed], *, floor: float, run_length: float = 200.0, level: float = 0.05, exposures: int = 500) -> History:
    """Change, forecast and saturation over two runs or more, oldest first.

    Each stream is watched by itself: streams of one hazard share their items, so their trials are not added up.
    """
    shared = [s for s in runs[0].codes if s.arm != "anchor" and all(s in run.codes for run in runs)]
    courses = tuple(_course(s, runs, floor, run_length, level) for s in shared)
    items, found = _rotation(runs, shared, exposures) if len(runs) >= MIN_RUNS_FOR_ITEMS else ((), None)
    return History(courses, items, found, run_length)


def _course(stream: Stream, runs: Sequence[Observed], floor: float, run_length: float, level: float) -> Course:
    history = [run.counts(stream) for run in runs]
    base = min(float(rate_upper(*history[0], level)), 0.95)
    detector = ChangeDetector(base, "worse", run_length)
    alarm = ""
    for run, (s, n) in zip(runs[1:], history[1:], strict=True):
        if detector.add(s, n) and not alarm:
            alarm = run.name
    low, high = forecast_band(history, [max(1, history[-1][1])], level)
    last = is_saturated(history, floor, min(len(history), 3) if len(history) >= 2 else 2, level=level)
    return Course(stream, tuple(history), base, alarm, (float(low[0]), float(high[0])), bool(last), last.reason)


def _rotation(runs: Sequence[Observed], streams: list[Stream], exposures: int) -> tuple[tuple[str, ...], Rotation | None]:
    """Items that at least three runs asked, fitted; 1 is safe, 0 a violation."""
    answers: dict[str, dict[int, float]] = {}
    place: dict[str, Stream] = {}
    for number, run in enumerate(runs):
        for stream in streams:
            for item, code in zip(run.items[stream], run.codes[stream], strict=True):
                if code != UNSCORABLE:
                    answers.setdefault(item, {})[number] = float(code == SAFE)
                    place[item] = stream
    items = tuple(i for i, given in answers.items() if len(given) >= MIN_RUNS_FOR_ITEMS)
    if not items:
        return (), None
    table = np.full((len(runs), len(items)), np.nan)
    for j, item in enumerate(items):
        for number, value in answers[item].items():
            table[number, j] = value
    fit: ItemFit = fit_2pl(table)
    cells = [place[i] for i in items]
    parameters = {"hazard": [s.hazard for s in cells], "language": [s.language for s in cells], "attack": [s.attack for s in cells]}
    if all(i in runs[0].scenarios for i in items):
        parameters["scenario"] = [runs[0].scenarios[i] for i in items]
    return items, rotation(fit, (~np.isnan(table)).sum(axis=0), exposures, parameters=parameters)
