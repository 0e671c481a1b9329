"""The chapter on what changed: the comparison's sentences, and what they rest on.

    for block in compared(sources, "ta"): ...

What judges read, what a bank stands for and what the plans ask is part of every such sentence, so it is said here as on the comparison's
own page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from assay.report.comparison import ComparisonView, comparison_view, control, sentences, words_in
from assay.report.paper.body import cell
from assay.report.paper.document import Block, Bullets, Cell, Paragraph, Table
from assay.report.pieces import Figure, Reference, Text
from assay.report.sources import Source

MARGIN, ERROR, FLOOR = 0.05, 0.05, 0.01
"""How runs are compared: how much worse is too much, how often that may be wrong, and the rate below which nothing is left to show."""


def compared(sources: Sequence[Source], language: str) -> tuple[Block, ...]:
    """What got better or worse between the last two runs that can be compared; nothing for a single run."""
    if len(sources) < 2:
        return ()
    view = comparison_view(sources, margin=MARGIN, error=ERROR, floor=FLOOR)
    return tuple(_blocks(view, words_in(language)))


def _blocks(view: ComparisonView, words: Mapping[str, str]) -> Iterator[Block]:
    yield Bullets(tuple(sentences(view, words)))
    if view.changes:
        yield Paragraph(control(view, words))
    if view.banked:
        yield Paragraph((Text(words["bank_note"]),), "note")
    if view.judged:
        yield Paragraph((Text(words["judged_note"]),), "note")
    yield from _plans(view, words)


def _plans(view: ComparisonView, words: Mapping[str, str]) -> Iterator[Block]:
    """In what the plans differ, and what that touches."""
    evidence = tuple(run.bundle for run in view.runs)
    if not view.differences:
        yield Paragraph((Figure(words["plans_same"], evidence),), "note")
        return
    rows = tuple(
        (Cell((Reference(d.field, code=True),)), cell(Figure(", ".join(d.letters), evidence)), cell(words[f"effect_{d.effect}"]))
        for d in view.differences
    )
    head = (words["part"], words["which_runs"].replace("{first}", view.runs[0].letter), words["touches"])
    yield Table((Text(words["plans_differ"]),), head, rows, (1.6, 1.8, 6), "table-plans")
