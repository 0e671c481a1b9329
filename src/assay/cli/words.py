"""How decisions are said on a terminal: plain words, aligned."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

from assay.decision import Decision
from assay.decision.card import MEANING
from assay.runs.address import address_text, is_address

MARK = {"approve": "✓", "open": "·", "halt": "✕"}
SYMBOL = {"approve": "✓ APPROVE", "delay": "… DELAY", "halt": "✕ HALT"}
ONE_LINE = 100_000
STYLE = {"approve": "green", "delay": "yellow", "halt": "red"}


def decision_lines(decision: Decision) -> list[str]:
    """The verdict, when it was reached, and the reason of every requirement."""
    when = f", after {decision.decided_at} of {decision.trials} trials" if decision.decided_at >= 0 else f", {decision.trials} trials"
    lines = [f"{SYMBOL[decision.verdict]}: {MEANING[decision.verdict]}{when}."]
    width = max((len(r.id) for r in decision.requirements), default=0)
    room = max(30, min(100, shutil.get_terminal_size((100, 24)).columns) - width - 6)
    for r in decision.requirements:
        first, *rest = textwrap.wrap(r.reason, room) or [""]
        lines.append(f"  {MARK[r.status]} {r.id:<{width}}  {first}")
        lines += [f"    {'':<{width}}  {more}" for more in rest]
    return lines


def hanging(lead: str, text: str) -> str:
    """`lead` and `text`, which is wrapped under itself where somebody looks: in the terminal's width, or COLUMNS; else one line."""
    room = shutil.get_terminal_size((ONE_LINE, 24)).columns
    indent = " " * (len(lead) if len(lead) <= room // 2 else 6)
    lines = textwrap.wrap(
        lead + text, max(room, 30), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return "\n".join(lines)


def shell_path(path: Path) -> str:
    """A path as one would type it where the command was called: relative below that folder, else absolute."""
    if is_address(path):
        return shlex.quote(address_text(path))
    called_from = Path(os.environ.get("ASSAY_CALLED_FROM") or Path.cwd())
    try:
        return shlex.quote(str(path.resolve().relative_to(called_from.resolve())))
    except ValueError:
        return shlex.quote(str(path.resolve()))


def plain(text: str) -> str:
    """Text of others made safe for a terminal: what cannot be printed is shown by its number."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)


def program() -> str:
    """How this command is called from where the user stands: `assay` if the shell finds it, else its path."""
    found, this = shutil.which("assay"), Path(sys.argv[0])
    if this.name != "assay" or not this.is_file():
        return "assay" if found else f"{shlex.quote(sys.executable)} -m assay"
    if found and Path(found).samefile(this):
        return "assay"
    return shell_path(this)
