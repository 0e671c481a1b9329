"""What one sees while a run runs: a live matrix on a terminal, a line now and then in a pipe, JSON lines for machines.

A cell of the matrix shows violations of trials (benign arm: harmless requests refused of trials), with '?' for what could not be scored.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import click

from assay.cli.words import SYMBOL
from assay.decision import Gate
from assay.engine import Committed
from assay.plan import Plan, Stream, streams
from assay.runs.reading import AWAY

LINE_EVERY_S = 10.0
MARK_EVERY_S = 0.5
MEASURED_S = 3.0
MEASURED_TRIALS = 5
"""The least time and trials of which a pace is said: the first answers come all at once."""
OUTAGE_EVERY_S = 10.0


class View:
    """Counts, and says a line when asked; the base of the three views and the quiet one by itself."""

    def __init__(self, plan: Plan) -> None:
        self.retarget(plan)
        self._last_outage = 0.0

    def retarget(self, plan: Plan) -> None:
        """Start anew for a plan."""
        self.plan = plan
        self.counts: dict[Stream, list[int]] = {s: [0, 0, 0] for s in streams(plan)}
        self.total = self.fresh = 0
        self.phase = "gate"
        self.began = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque(maxlen=40)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def say(self, line: str) -> None:
        """A line for a waiting person."""
        click.echo(line, err=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """For machines only."""

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """A trial entered its stream."""
        count = self.counts[trial.stream]
        count[0] += 1
        count[1] += trial.outcome == "violation"
        count[2] += trial.outcome == "unscorable"
        self.total += 1
        self.phase = "map" if gate.final else phase
        if not trial.resumed:
            if not self.fresh:
                self.began = time.monotonic()
            self.fresh += 1
            now = time.monotonic()
            if not self._marks or now - self._marks[-1][0] >= MARK_EVERY_S:
                self._marks.append((now, self.fresh))
        self.shown(trial, gate)

    def restored(self, counts: dict[Stream, list[int]]) -> None:
        """Take up the counts of a run that goes on."""
        self.counts = counts
        self.total = sum(n for n, _, _ in counts.values())

    def shown(self, trial: Committed, gate: Gate) -> None:
        """Show what changed."""

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint is not answering; said now and then."""
        now = time.monotonic()
        if now - self._last_outage >= OUTAGE_EVERY_S:
            self._last_outage = now
            who, why = ("store", reason.removeprefix(AWAY)) if reason.startswith(AWAY) else ("endpoint", reason)
            self.say(f"The {who} does not answer ({why}, {seconds:.0f} s); waiting, at most {self.plan.limits.outage_s:.0f} s.")

    @property
    def rate(self) -> float:
        """Trials a second, lately; 0 before there were enough to say."""
        if not self._marks:
            return 0.0
        since, count = self._marks[0]
        seconds, trials = time.monotonic() - since, self.fresh - count
        return trials / seconds if seconds >= MEASURED_S and trials >= MEASURED_TRIALS else 0.0

    def _left_s(self, most: int, rate: float) -> float:
        """Seconds for so many trials at this pace, or to the plan's time limit where it has one."""
        minutes = self.plan.budget.minutes
        return min(most / rate, max(0.0, 60 * minutes - (time.monotonic() - self.began)) if minutes else math.inf)

    def status(self, gate: Gate) -> str:
        """One line: how far, how fast, what is decided."""
        rate = self.rate
        most = self.plan.budget.calls - self.total
        if gate.final:
            floor = self.plan.exploration
            most = min(most, sum(max(0, floor.floor(s.arm) - c[0]) for s, c in self.counts.items()))
        left = f", at most {_duration(self._left_s(most, rate))} left" if rate and most else ""
        speed = f"{rate:.1f}/s" if rate >= 0.1 else "..."
        doing = "deciding"
        if gate.final:
            doing = f"decided: {SYMBOL[gate.verdict]} after {gate.decided_at}" + ("; completing the map" if most else "")
        return f"{self.total} trials of at most {self.plan.budget.calls}, {speed}{left} | {doing}"


class LineView(View):
    """For pipes and logs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._said = 0.0
        self._was_final = False

    def shown(self, trial: Committed, gate: Gate) -> None:
        """A line every ten seconds, and when the decision falls."""
        now = time.monotonic()
        if now - self._said >= LINE_EVERY_S or gate.final != self._was_final:
            self._said, self._was_final = now, gate.final
            self.say(self.status(gate))


class JsonView(View):
    """One JSON object a line."""

    def shown(self, trial: Committed, gate: Gate) -> None:
        """Every committed trial."""
        s = trial.stream
        self.event(
            {
                "event": "trial", "slot": trial.slot, "hazard": s.hazard, "language": s.language, "attack": s.attack, "arm": s.arm,
                "index": trial.index, "outcome": trial.outcome, "resumed": trial.resumed, "verdict": gate.verdict if gate.final else None,
            }
        )  # fmt: skip

    def event(self, event: Mapping[str, Any]) -> None:
        """Write it at once."""
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class QuietView(View):
    """Says nothing while it goes well."""

    def say(self, line: str) -> None:
        """Not said."""


def make_view(plan: Plan, *, as_json: bool, quiet: bool) -> View:
    """The view that fits where the output goes."""
    if as_json:
        return JsonView(plan)
    if quiet:
        return QuietView(plan)
    if sys.stderr.isatty():
        from assay.cli.matrix import MatrixView

        return MatrixView(plan)
    return LineView(plan)


def _duration(seconds: float) -> str:
    seconds = int(seconds)
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min {seconds % 60:02d} s"
