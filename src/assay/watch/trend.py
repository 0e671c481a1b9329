"""The page over all checkpoints: `trend.html`, one file without a script, nothing loaded.

write_trend(Path("watched"), Path("watched/trend.html"), state)

It shows what `watch.json` says, and, where the extra `report` is installed, the chart of rates over the reference and the latest runs,
whose bundles are held against their signatures first.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from assay.decision import percent
from assay.errors import AssayError
from assay.runs import whole_file
from assay.stats import clopper_pearson
from assay.version import __version__
from assay.watch.state import Checkpoint, WatchState
from assay.watch.telling import outcome_of, said, words_of

if TYPE_CHECKING:
    from assay.report.charts import Chart

HERE = Path(__file__).parent
CHARTED = 12
MOST_ROWS = 500
SIGN = {
    "worse": "✕", "better": "✓", "no change": "=", "unclear": "?", "failed": "!", "same": "≡", "reference": "◆", "waiting": "…",
}  # fmt: skip
LOOK = {"worse": "halt", "failed": "halt", "better": "approve"}


class Row(Struct, frozen=True):
    """One checkpoint as it is shown."""

    number: int
    name: str
    when_ms: int
    verdict: str
    sign: str
    look: str
    decision: str
    trials: int
    harmful: str
    harmless: str
    moves: tuple[str, ...]
    report: str


def rows_of(state: WatchState, folder: Path) -> list[Row]:
    """The latest first."""
    return [_row(c, folder, state) for c in reversed(state.checkpoints[-MOST_ROWS:])]


def _row(c: Checkpoint, folder: Path, state: WatchState) -> Row:
    verdict, of = outcome_of(state, c), state.resolved(c)
    report = f"{c.run}/report.html" if c.run and (folder / c.run / "report.html").is_file() else ""
    moves = tuple(said(m) for m in c.change.moves[:6]) if c.change else ((words_of(state, c),) if c.reason or c is not of else ())
    return Row(
        c.number, c.name, c.found_ms, verdict, SIGN[verdict], LOOK.get(verdict, "open"), of.verdict, c.trials,
        _rate(c, state, "harmful requests"), _rate(c, state, "harmless requests"), moves, report,
    )  # fmt: skip


def _rate(c: Checkpoint, state: WatchState, what: str) -> str:
    """Violations of all trials and their share, with the exact 95% interval; of a reference, as the next comparison counted it."""
    change, side = c.change, 1
    if change is None:
        change, side = next((o.change for o in state.checkpoints if o.change and o.change.reference == c.name), None), 0
    bad, n = change.pooled.get(what, ((0, 0), (0, 0)))[side] if change else (0, 0)
    if not n or c.status != "done":
        return ""
    low, high = clopper_pearson(bad, n)
    return f"{bad}/{n}, {percent(round(bad / n, 3))} ({100 * low:.0f} to {100 * high:.0f}%)"


def chart_of(state: WatchState, folder: Path) -> tuple[Chart | None, str]:
    """Rates over the reference and the latest runs; or why there is no chart."""
    from assay.report.charts.chart import Chart
    from assay.report.charts.checkpoints import checkpoints_chart
    from assay.report.charts.making import Setting
    from assay.report.charts.reading import read_all
    from assay.report.charts.wording import Words
    from assay.report.sources import read_source

    whole = [c for c in state.checkpoints if c.status == "done" and c.ended == "complete"]
    chosen = [*whole[:1], *whole[1:][-(CHARTED - 1) :]]
    if len(chosen) < 2:
        return None, "A chart needs two checkpoints that were evaluated."
    if importlib.util.find_spec("vl_convert") is None:
        return None, "The chart needs the extra `report`."
    try:
        sources = [read_source(folder / c.run, str(c.number)) for c in chosen]
        made = checkpoints_chart(read_all(sources), Setting(Words.of("en"), many=True))
    except (AssayError, ImportError) as e:
        return None, f"There is no chart: {e}"
    return (made, "") if isinstance(made, Chart) else (None, "These runs have nothing in common to draw.")


def render_trend(state: WatchState, folder: Path) -> str:
    """The page."""
    from markupsafe import Markup

    from assay.report.pages import content_policy, page_environment
    from assay.report.words import iso_day

    report_css = (Path(importlib.util.find_spec("assay.report").origin or "").parent / "report.css").read_text(encoding="utf-8")  # type: ignore[union-attr]
    css = report_css + (HERE / "trend.css").read_text(encoding="utf-8")
    environment = page_environment(HERE)
    environment.filters["day"] = iso_day
    chart, why = chart_of(state, folder)
    rows = rows_of(state, folder)
    latest = next((r for r in rows if r.verdict not in ("waiting", "same")), None)
    return environment.get_template("trend.template.html").render(
        state=state, rows=rows, latest=latest, said=_headline(state), chart=chart, svg=Markup(chart.svg) if chart else "", why=why,  # noqa: S704
        css=Markup(css), policy=content_policy(css), margin=percent(state.margin), level=percent(state.level), version=__version__,  # noqa: S704
        more=max(0, len(state.checkpoints) - MOST_ROWS),
    )  # fmt: skip


def _headline(state: WatchState) -> str:
    latest = next((c for c in reversed(state.checkpoints) if outcome_of(state, c) not in ("waiting", "same")), None)
    return words_of(state, latest) if latest else "Nothing was evaluated yet"


def write_trend(folder: Path, path: Path, state: WatchState) -> None:
    """Whole or not at all. Raises `AssayError`."""
    page = render_trend(state, folder).encode("utf-8", "replace")
    try:
        with whole_file(path) as out:
            out.write(page)
    except OSError as e:
        raise AssayError(f"cannot write the page: {e.strerror}", where=str(path)) from None
