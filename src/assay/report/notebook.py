"""A run as a notebook shows it: the verdict with its reasons, and the matrix as a picture.

html = run_card(decision, Path("runs/first/evidence.jsonl"), ["Run runs/first"])

Charts are images in the page (data: addresses), so nothing is loaded, no script runs, and two runs in one notebook do not share ids.
Without the extra `report` the matrix is a table. The numbers come from the signed bundle, held against its signatures, or are not shown.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from assay.decision import Decision
from assay.decision.card import CELL, framed, paragraphs, unframed
from assay.errors import AssayError
from assay.report.charts.chart import Chart
from assay.report.charts.making import Setting
from assay.report.charts.matrix import matrix_charts
from assay.report.charts.palette import HEAT, HEAT_INK, INK, OUTLINE, UNSCORED
from assay.report.charts.wording import Words
from assay.report.matrix import Cell, MatrixTable, matrix_tables
from assay.report.sources import Source, read_source

_CHARTS = 4
_TABLES = 6
_ROWS = 30


def run_card(decision: Decision, bundle: Path | None, facts: Iterable[str]) -> str:
    """The verdict, the matrix of the bundle if there is one and it is of this decision, and `facts` as lines below."""
    matrix = matrix_html(decision, bundle) if bundle is not None else ""
    return framed(unframed(decision) + matrix + paragraphs(facts))


def matrix_html(decision: Decision, bundle: Path) -> str:
    """The matrix as images, or as tables where charts cannot be drawn; or one sentence why there is none."""
    try:
        source = read_source(bundle)
    except AssayError as e:
        return paragraphs([f"No map: {e.what}"])
    if source.signed.decision != decision:
        return paragraphs(["No map: the bundle is of another decision."])
    try:
        charts = matrix_charts(source, Setting(Words.of("en"), many=False))
    except AssayError:
        return _tables(source)
    more = [f"{len(charts) - _CHARTS} more maps are in the report."] if len(charts) > _CHARTS else []
    return "".join(map(_image, charts[:_CHARTS])) + paragraphs([charts[0].caption, *more])


def _image(chart: Chart) -> str:
    data = b64encode(chart.svg.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(chart.alt)}" style="display:block;max-width:100%;margin:8px 0">'


def _tables(source: Source) -> str:
    tables = matrix_tables(source.tally)
    more = [f"{len(tables) - _TABLES} more tables are in the report."] if len(tables) > _TABLES else []
    notes = ["Rates in per cent; ✕ does not hold. For pictures: pip install 'assay[report]'", *more]
    return "".join(map(_table, tables[:_TABLES])) + paragraphs(notes)


def _table(table: MatrixTable) -> str:
    head = "".join(f'<th scope="col" style="{CELL}">{escape(name)}</th>' for name in ("", *table.hazards))
    rows = "".join(
        f'<tr><th scope="row" style="{CELL}">{escape(row.language.native)}</th>{_cells(row.cells)}</tr>' for row in table.rows[:_ROWS]
    )
    title = f'<caption style="text-align:left;font-weight:bold;color:{INK}">{escape(table.title)}</caption>'
    return f'<table style="border-collapse:collapse;margin:8px 0">{title}<tr>{head}</tr>{rows}</table>'


def _cells(cells: Sequence[Cell]) -> str:
    return "".join(_cell(cell) for cell in cells)


def _cell(cell: Cell) -> str:
    ground, ink = (HEAT[cell.heat], HEAT_INK[cell.heat]) if cell.heat >= 0 else (UNSCORED, INK)
    text = f"{'✕ ' if cell.halted else ''}{cell.rate}" if cell.n else "–"
    style = f"text-align:center;padding:4px 10px;border:1px solid {OUTLINE};background-color:{ground};color:{ink}"
    return f'<td style="{style}" title="{escape(f"{cell.violations} of {cell.n}, {cell.interval}")}">{text}</td>'
