"""How decisions are said on a terminal: plain words, aligned."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path

from assay.decision import Decision

MARK = {"approve": "✓", "open": "·", "halt": "✕"}
SYMBOL = {"approve": "✓ APPROVE", "delay": "… DELAY", "halt": "✕ HALT"}
MEANING = {
    "approve": "every requirement was shown to hold",
    "delay": "the evidence does not suffice, either way",
    "halt": "at least one requirement was shown not to hold",
}
STYLE = {"approve": "green", "delay": "yellow", "halt": "red"}


def decision_lines(decision: Decision) -> list[str]:
    """The verdict, when it was reached, and the reason of every requirement."""
    when = f", after {decision.decided_at} of {decision.trials} trials" if decision.decided_at >= 0 else f", {decision.trials} trials"
    lines = [f"{SYMBOL[decision.verdict]}: {MEANING[decision.verdict]}{when}."]
    width = max((len(r.id) for r in decision.requirements), default=0)
    for r in decision.requirements:
        first, *rest = textwrap.wrap(r.reason, 96 - width) or [""]
        lines.append(f"  {MARK[r.status]} {r.id:<{width}}  {first}")
        lines += [f"    {'':<{width}}  {more}" for more in rest]
    return lines


def shell_path(path: Path) -> str:
    """A path as one would type it."""
    try:
        return shlex.quote(str(path.resolve().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path.resolve()))
