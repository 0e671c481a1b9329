"""Judged trajectories of others -> one self-contained HTML file, with the figures by agent, scenario and risk.

html = render_judged(read_judged(path))

Correctness and safety are shown apart, and safety both ways: as strict as its rubric (what does not apply is no evidence of safety), and
with `not applicable` accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from assay.report.text import Piece, pieces
from assay.runs import Judged, Trajectory
from assay.stats.exact import clopper_pearson

MAX_TEXT = 6_000
MAX_RESULT = 2_000
MAX_SHOWN = 200


class Share(Struct, frozen=True):
    """So many of so many, with an exact 95% interval (Clopper-Pearson)."""

    n: int
    of: int
    low: float
    high: float


class FigureRow(Struct, frozen=True):
    """The trajectories of one group. `both` is correct and safe in the strict reading."""

    name: str
    correct: Share
    safe_strict: Share
    safe_accepting: Share
    both: Share
    both_accepting: Share
    undecided: int


class CriterionView(Struct, frozen=True):
    """One criterion as judged."""

    part: str
    asks: tuple[Piece, ...]
    met: str
    explanation: tuple[Piece, ...]


class CallView(Struct, frozen=True):
    """One call."""

    tool: str
    arguments: tuple[Piece, ...]
    result: tuple[Piece, ...]


class MessageView(Struct, frozen=True):
    """One message of a trajectory."""

    role: str
    text: tuple[Piece, ...]
    calls: tuple[CallView, ...]


class TrajectoryView(Struct, frozen=True):
    """One trajectory in full."""

    title: str
    agent: str
    correct: bool
    safe_strict: bool
    safe_accepting: bool
    criteria: tuple[CriterionView, ...]
    messages: tuple[MessageView, ...]


class JudgedView(Struct, frozen=True):
    """The whole report."""

    title: str
    licence: str
    figures: tuple[FigureRow, ...]
    by_exercise: tuple[FigureRow, ...]
    by_risk: tuple[FigureRow, ...]
    about: tuple[tuple[str, str, str], ...]
    trajectories: tuple[TrajectoryView, ...]
    all: int


def figures(name: str, rows: Iterable[Trajectory]) -> FigureRow:
    """The figures of a group of trajectories."""
    group = list(rows)

    def share(holds: Callable[[Trajectory], bool]) -> Share:
        n = sum(map(holds, group))
        low, high = clopper_pearson(n, len(group))
        return Share(n, len(group), low, high)

    return FigureRow(
        name=name,
        correct=share(lambda t: t.correct),
        safe_strict=share(lambda t: t.safe(strict=True)),
        safe_accepting=share(lambda t: t.safe(strict=False)),
        both=share(lambda t: t.correct and t.safe(strict=True)),
        both_accepting=share(lambda t: t.correct and t.safe(strict=False)),
        undecided=sum(any(c.met == "not decided" for c in (*t.correctness, *t.safety)) for t in group),
    )


def make_judged_view(judged: Judged) -> JudgedView:
    """Everything that is shown. What fails comes first; at most `MAX_SHOWN` trajectories are shown in full."""
    rows = judged.trajectories
    risks = {e.id: e.risks for e in judged.exercises}
    agents, exercises = dict.fromkeys(t.agent for t in rows), dict.fromkeys(e.id for e in judged.exercises)
    every_risk = sorted({r for each in risks.values() for r in each})
    shown = sorted(rows, key=lambda t: (t.safe(strict=True), t.correct, t.exercise, t.source))[:MAX_SHOWN]
    return JudgedView(
        title=judged.title,
        licence=judged.licence,
        figures=tuple(figures(agent, (t for t in rows if t.agent == agent)) for agent in agents),
        by_exercise=tuple(figures(e, (t for t in rows if t.exercise == e)) for e in exercises),
        by_risk=tuple(figures(r.replace("_", " "), (t for t in rows if r in risks.get(t.exercise, ()))) for r in every_risk),
        about=tuple((e.id, e.about, ", ".join(e.risks).replace("_", " ")) for e in judged.exercises),
        trajectories=tuple(_trajectory(t) for t in shown),
        all=len(rows),
    )


def _trajectory(t: Trajectory) -> TrajectoryView:
    return TrajectoryView(
        title=f"Scenario {t.exercise}, {t.source}",
        agent=t.agent,
        correct=t.correct,
        safe_strict=t.safe(strict=True),
        safe_accepting=t.safe(strict=False),
        criteria=tuple(
            CriterionView(part, pieces(c.asks, (), MAX_TEXT), c.met, pieces(c.explanation, (), MAX_TEXT))
            for part, each in (("Correctness", t.correctness), ("Safety", t.safety))
            for c in each
        ),
        messages=tuple(
            MessageView(
                s.role,
                pieces(s.text, (), MAX_TEXT),
                tuple(CallView(c.tool, pieces(c.arguments, (), MAX_TEXT), pieces(c.result, (), MAX_RESULT)) for c in s.calls),
            )
            for s in t.steps
        ),
    )
