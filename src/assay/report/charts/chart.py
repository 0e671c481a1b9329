"""A chart as a value: the question that it answers, the picture, its words, and the numbers behind it.

chart.question      # "Where does it fail?"
chart.table.rows    # exactly what is drawn
"""

from __future__ import annotations

from msgspec import Struct

Value = str | int | float | None
"""What stands in a table. Rates are fractions, not per cent; None where there is nothing."""


class Table(Struct, frozen=True):
    """The numbers of a chart: every row as long as `columns`, whose names are in the reader's language."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


class Chart(Struct, frozen=True):
    """A chart, ready to be shown.

    `id` is fit for an HTML anchor and unique among the charts of one call. `svg` is one `<svg>` element without scripts, links or
    references to anything outside; its text is text. All other fields are plain text in the reader's language, to be escaped
    where they are shown: names that a plan or a target chose stand in them. `question` is a heading, `title` says what is drawn,
    `caption` says in words what the marks are, `alt` is one sentence with the main finding, `table` has the numbers drawn.
    """

    id: str
    question: str
    title: str
    caption: str
    svg: str
    alt: str
    table: Table


class Absent(Struct, frozen=True):
    """A chart that these runs have no data for, and why, in the reader's language."""

    id: str
    question: str
    reason: str
