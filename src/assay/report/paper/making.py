"""Signed runs and the authors' file -> the document, checked: no number without evidence, no run that is stale or of a stranger.

document = make_paper(read_sources(paths), read_about(path), today_ms=now)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time
from pathlib import Path

from msgspec.structs import replace

from assay.evidence.beside import StaleError
from assay.report.charts import Chart, charts_of
from assay.report.facts import Basis
from assay.report.frameworks import basis_of
from assay.report.paper import annex, body
from assay.report.paper.about import DAY_MS, About
from assay.report.paper.compared import compared
from assay.report.paper.document import Block, Break, Cell, Document, Heading, Paragraph, Picture, Run, Table, check, statements
from assay.report.paper.front import executive
from assay.report.paper.live import live_figures
from assay.report.paper.numbers import Numbers
from assay.report.paper.programme import Programme, programme_blocks, read_programme
from assay.report.paper.prose import read_prose
from assay.report.paper.sides import demand_side, facts_annex, supply_side
from assay.report.pieces import Figure, PaperError, Text, numeral
from assay.report.sources import Source
from assay.report.text import visible
from assay.report.words import iso_day
from assay.web.languages import INTERFACE, read_words

WORDS = Path(__file__).parent / "words"
PLACES = {
    "results": ("matrix", "parity"), "agents": ("effects", "funnel"), "judges": ("reliability",), "cost": ("growth", "cost", "design"),
    "change": ("checkpoints", "headroom"),
}  # fmt: skip
"""Which charts a chapter shows, in order, by the first part of their ids; the rest of an id is the letter of the run, if it is of one."""
MOST_ROWS = 60
"""A longer table behind a chart is on the page, and not on paper."""
CHAPTERS = (
    "executive", "scope", "systems", "process", "methods", "results", "agents", "judges", "cost", "change", "supply", "demand", "access",
    "limits", "independence",
)  # fmt: skip
"""Chapters that authors may write beside."""
TABLES = "annex-tables"
GATE = "Z"
"""The letter of the gate's statistics."""


def make_paper(sources: Sequence[Source], about: About, *, language: str = "en", today_ms: int, full: bool = False) -> Document:
    """The document; `full` says that every bundle was verified. Raises `PaperError`, `StaleError`."""
    if language not in INTERFACE:
        raise PaperError(f"there are no words in '{language[:40]}'", fix=f"Languages: {', '.join(INTERFACE)}.")
    words = read_words(WORDS)[language]
    day = about.date.isoformat() if about.date else iso_day(today_ms)
    _fresh(sources, about, today_ms)
    _known(sources, about)
    _no_numbers(sources, about, day)
    runs = [Numbers(source, words) for source in sources]
    programme = read_programme(about.path(about.access), about.access_key) if about.access else None
    blocks = list(_blocks(runs, about, words, language, programme, full=full))
    document = Document(
        title=visible(about.title) or _title(runs, words),
        subtitle=visible(about.subtitle) or words["subtitle"],
        authors=tuple(visible(a) for a in about.authors),
        date=day,
        language=language,
        blocks=(),
        runs=(
            *(Run(s.letter, s.bundle, visible(s.model), visible(s.name), s.run.digest) for s in sources),
            *((Run(GATE, programme.digest, words["access"], ""),) if programme else ()),
        ),
        words=words,
    )
    document = replace(document, blocks=tuple(blocks))
    tables = next((i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.id == TABLES), len(blocks))
    # before the tables, so that one sentence of it does not make a last page
    document = replace(document, blocks=(*blocks[:tables], *annex.stated(statements(document), words), *blocks[tables:]))
    check(document)
    return document


def figures_of(sources: Sequence[Source], language: str = "en") -> dict[str, str]:
    """Every figure that prose may name, as it is printed."""
    words = read_words(WORDS)[language]
    return {name: piece.text for name, piece in live_figures([Numbers(source, words) for source in sources]).items()}


def _title(runs: Sequence[Numbers], words: dict[str, str]) -> str:
    models = list(dict.fromkeys(visible(n.source.model) for n in runs))
    return words["title_one" if len(models) == 1 else "title_many"].replace("{model}", models[0]).replace("{models}", ", ".join(models))


def _fresh(sources: Sequence[Source], about: About, today_ms: int) -> None:
    """No run older than the authors allow, at the paper's date; none that is younger than the paper, nor signed in the future."""
    at = today_ms
    if about.date:
        at = int(datetime.combine(about.date, time(), UTC).timestamp() * 1000) + DAY_MS
    latest = min(at, today_ms) + DAY_MS  # clocks and time zones differ
    for s in sources:
        if s.signed.closed_at > latest:
            what = f"run {s.letter} was signed after the paper's date, or after today"
            raise StaleError(what, where=str(s.run.path), fix="Correct the date in the paper's file, or the clock of whoever signs.")
        age = (at - s.signed.closed_at) / DAY_MS
        if age > about.stale_after_days:
            what = f"run {s.letter} was signed {age:.0f} days before the paper; at most {about.stale_after_days} are allowed"
            raise StaleError(what, where=str(s.run.path), fix="Run the plan anew, or say stale_after_days in the paper's file.")


def _known(sources: Sequence[Source], about: About) -> None:
    """Where the authors name parties, every run is one of theirs."""
    for s in sources if about.parties else ():
        if not any(s.signed.keyid.startswith(key) for key in about.parties.values()):
            what = f"run {s.letter} is signed by {s.signed.keyid[:16]}..., the key of none of the parties"
            raise PaperError(what, where=str(s.run.path), fix="Name the party with its key id, or leave the run out.")


def _no_numbers(sources: Sequence[Source], about: About, day: str) -> None:
    """Authors' lines have no numbers; the title may name the runs' models and plans, and the paper's year."""
    names = {visible(name) for s in sources for name in (s.model, s.tally.opening.plan.name)}
    title = visible(about.title)
    for name in sorted((*names, day[:4]), key=len, reverse=True):
        title = re.sub(rf"(?<![\w.,]){re.escape(name)}(?![\w%]|[.,]\w)", " ", title)
    lines = [("title", title), ("subtitle", about.subtitle), *(("authors", a) for a in about.authors)]
    for key, line in (*lines, *(("parties", party) for party in about.parties)):
        if found := numeral(line):
            what = f"a figure without evidence in {key}: “{found}”"
            fix = "Say it in a chapter, with its source; a title may name models, plans and the paper's year."
            raise PaperError(what, where=str(about.path("")), fix=fix)


def _blocks(
    runs: Sequence[Numbers], about: About, words: dict[str, str], language: str, programme: Programme | None, *, full: bool
) -> Iterator[Block]:  # fmt: skip
    sources = [n.source for n in runs]
    placed = _Charts(sources, language, words)
    bases: dict[str, Basis] = {n.source.letter: basis_of(n.source.run, n.tally, closed=True) for n in runs}
    figures, changed = live_figures(runs), compared(sources, language)
    chapters = {
        "executive": executive(runs, words), "scope": body.scope(runs, words), "systems": body.systems(runs, words),
        "process": body.process(runs, words), "methods": body.methods(runs, words), "results": body.results(runs, words, placed),
        "agents": body.agents(runs, words, placed), "judges": body.judges(runs, words, placed), "cost": body.cost(runs, words, placed),
        "change": body.change(runs, words, changed, placed), "supply": supply_side(runs, bases, words),
        "demand": demand_side(runs, bases, words, about.chosen), "access": programme_blocks(words, programme),
        "limits": annex.limits(runs, words),
        "independence": annex.independence(runs, words, about, told=_prose_path(about, "independence") is not None),
    }  # fmt: skip
    for name in CHAPTERS:
        yield from chapters[name]
        path = _prose_path(about, name)
        if path is not None:
            yield from read_prose(path, figures)
        if name == "executive":
            yield Break()
    _no_strays(about)
    yield Break()
    yield from annex.crosswalk(runs, bases, words, about)
    yield from facts_annex(runs, bases, words, about.chosen)
    yield from annex.evidence(runs, words)
    yield from annex.verify(runs, words, full=full)
    yield from placed.tables()


def _prose_path(about: About, chapter: str) -> Path | None:
    path = about.path(about.prose) / f"{chapter}.md" if about.prose else None
    return path if path is not None and path.exists() else None


def _no_strays(about: About) -> None:
    """A file of prose that no chapter takes would be left out unseen."""
    if not about.prose:
        return
    folder = about.path(about.prose)
    if not folder.is_dir():
        raise PaperError("there is no such folder", where=str(folder), fix="Make it (mkdir), or leave `prose` out of the paper's file.")
    for path in sorted(folder.glob("*.md")):
        if path.stem not in CHAPTERS:
            raise PaperError("there is no chapter of this name", where=str(path), fix=f"Chapters: {', '.join(CHAPTERS)}.")


class _Charts:
    """The charts by chapter, and the tables behind them. They are drawn while the rest is written."""

    def __init__(self, sources: Sequence[Source], language: str, words: dict[str, str]) -> None:
        self._words = words
        pool = ThreadPoolExecutor(1)
        self._drawn = pool.submit(charts_of, sources, language)
        pool.shutdown(wait=False)  # it ends by itself, once they are drawn
        self._of = {s.letter: (s.bundle,) for s in sources}
        self._all = tuple(s.bundle for s in sources)

    @property
    def _charts(self) -> tuple[Chart, ...]:
        return self._drawn.result()

    def __call__(self, chapter: str) -> Iterator[Block]:
        for kind in PLACES[chapter]:
            shown = [chart for chart in self._charts if chart.id.split("-", 1)[0] == kind]
            if shown:
                yield Heading(2, shown[0].question, f"charts-{kind}")
            for chart in shown:
                evidence = self._evidence(chart)
                caption = (Figure(f"{chart.title}. {chart.caption}", evidence),)
                yield Picture(chart.id, chart.svg, chart.alt, caption, evidence, f"behind-{chart.id}")

    def _evidence(self, chart: Chart) -> tuple[str, ...]:
        """The run that an id names by its letter, or all of them."""
        return next((self._of[part] for part in chart.id.split("-")[1:] if part in self._of), self._all)

    def tables(self) -> Iterator[Block]:
        """An annex with what every chart draws."""
        shown = [c for kinds in PLACES.values() for kind in kinds for c in self._charts if c.id.split("-", 1)[0] == kind]
        if shown:
            yield Heading(1, self._words["annex_tables"], TABLES)
            yield Paragraph((Text(self._words["annex_tables_text"]),))
        for chart in shown:
            yield _behind(chart, self._evidence(chart))


def _behind(chart: Chart, evidence: tuple[str, ...]) -> Table:
    def shown(value: str | int | float | None) -> Cell:
        if value is None:
            return Cell((Text("–"),))
        text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else visible(value)
        return Cell((Figure(text, evidence),), not isinstance(value, str))

    rows = tuple(tuple(shown(v) for v in row) for row in chart.table.rows)
    return Table((Figure(chart.title, evidence),), chart.table.columns, rows, (), f"behind-{chart.id}", folded=len(rows) > MOST_ROWS)
