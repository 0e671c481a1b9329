"""A decision as a small piece of HTML for notebooks: verdict and reasons, styled in place, no scripts, nothing loaded from anywhere.

html = card(decision)
html = card(decision, "Next: assay verify runs/first/evidence.jsonl")

Text and ground are both set, so it reads the same on light and dark pages. Names may be anybody's: everything is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.decision.gate import Decision

SYMBOL = {"approve": "✓", "delay": "…", "halt": "✕", "open": "…"}
STATUS_WORD = {"approve": "holds", "open": "undecided", "halt": "does not hold"}
MEANING = {
    "approve": "every requirement was shown to hold",
    "delay": "the evidence does not suffice, either way",
    "halt": "at least one requirement was shown not to hold",
}
COLOURS = {"approve": ("#0a5f58", "#e3f2ef"), "delay": ("#7a4b00", "#fbf0da"), "halt": ("#9c1c25", "#fbe9e8")}
"""Ink and ground, as the report has them; 6:1 or more."""
FRAME = (
    "font-family:system-ui,sans-serif;font-size:14px;line-height:1.5;color:#1a1a1a;background-color:#ffffff;border:1px solid #757575;"
    "padding:12px 16px;max-width:52rem;overflow-x:auto"
)
CELL = "text-align:left;vertical-align:top;padding:4px 12px 4px 0;color:#1a1a1a;background-color:#ffffff;border:0"
_REASON = 400
_MOST = 50


def card(decision: Decision, *further: str) -> str:
    """The card. `further` are paragraphs of text below it, escaped here."""
    return framed(unframed(decision) + paragraphs(further))


def unframed(decision: Decision) -> str:
    """What stands in the frame of a card."""
    reached = f"after {decision.decided_at:,} of {decision.trials:,} trials"
    when = reached if decision.decided_at >= 0 else f"{decision.trials:,} trials"
    title = f"{SYMBOL[decision.verdict]} {decision.verdict.upper()}"
    head = headline(decision.verdict, title, f"{MEANING[decision.verdict].capitalize()}, {when}.")
    rows = "".join(_row(r.id, r.status, r.reason) for r in decision.requirements[:_MOST])
    if len(decision.requirements) > _MOST:
        rows += f'<tr><td style="{CELL}" colspan="3">and {len(decision.requirements) - _MOST} more</td></tr>'
    return f'{head}<table style="border-collapse:collapse">{rows}</table>'


def headline(verdict: str, title: str, below: str) -> str:
    """The coloured head of a card, in the colours of `approve`, `delay` or `halt`."""
    ink, ground = COLOURS[verdict]
    return (
        f'<div style="color:{ink};background-color:{ground};border-left:8px solid {ink};padding:8px 12px;margin-bottom:8px">'
        f'<strong style="font-size:20px">{escape(title)}</strong><br>{escape(below)}</div>'
    )


def paragraphs(texts: Iterable[str]) -> str:
    """Lines of plain text, escaped; empty ones are left out."""
    return "".join(f'<div style="margin-top:6px;overflow-wrap:anywhere">{escape(text)}</div>' for text in texts if text)


def framed(inner: str) -> str:
    """The frame that all pieces share; `inner` is HTML."""
    return f'<div style="{FRAME}">{inner}</div>'


def _row(name: str, status: str, reason: str) -> str:
    ink = COLOURS["delay" if status == "open" else status][0]
    said = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
    return (
        f'<tr><td style="{CELL};color:{ink};white-space:nowrap">{SYMBOL[status]} {STATUS_WORD[status]}</td>'
        f'<td style="{CELL};white-space:nowrap"><strong>{escape(name)}</strong></td><td style="{CELL}">{escape(said)}</td></tr>'
    )
