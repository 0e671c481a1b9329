"""The outcome of a verification as a small piece of HTML for notebooks: whether it holds, what was recomputed, what is left to trust.

html = report_card(report)
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from assay.decision.card import CELL, framed, headline, paragraphs, unframed

if TYPE_CHECKING:
    from assay.evidence.verify import Report

_MOST = 40
_TEXT = 300


def report_card(report: Report) -> str:
    """The card; everything in it is escaped, and a bundle's own words are cut short."""
    if report.ok:
        head = headline(
            "approve", "✓ Everything holds", f"{len(report.checks)} checks. Bundle {report.bundle}, signed by key {report.keyid}."
        )
    else:
        head = headline("halt", "✕ Does not hold", f"{len(report.findings)} findings. Nothing in this bundle is to be relied on.")
    rows = "".join(_row("✕", str(f)) for f in report.findings[:_MOST]) + "".join(_row("✓", f"{c}: {d}") for c, d in report.checks[:_MOST])
    trusted = paragraphs(["Left to trust:", *(f"– {text}" for text in report.trusted)]) if report.ok else ""
    decision = unframed(report.decision) if report.ok and report.decision else ""
    return framed(f'{decision}{head}<table style="border-collapse:collapse">{rows}</table>{trusted}')


def _row(sign: str, text: str) -> str:
    said = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
    return f'<tr><td style="{CELL}">{sign}</td><td style="{CELL};overflow-wrap:anywhere">{escape(said)}</td></tr>'
