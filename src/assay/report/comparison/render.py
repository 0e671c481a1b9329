"""A comparison as one HTML page: no script, its style allowed by hash, in seven interface languages.

html = render_comparison(view, "ta")

Every expression of the template passes `visible` and Jinja's escape, so no name that a signer chose becomes markup or stays hidden.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from assay.decision import percent
from assay.errors import AssayError
from assay.plan import Stream
from assay.report.comparison.changes import Change, Kind
from assay.report.comparison.identity import name
from assay.report.comparison.sentences import agreement_sentence, control, place, points, sentences, word
from assay.report.comparison.view import CellRow, ComparisonView
from assay.report.pages import content_policy, page_environment
from assay.report.pieces import Figure, Piece, say
from assay.report.words import SYMBOL, attack_words, iso_day, range_text, rate_text
from assay.version import __version__
from assay.web.languages import direction, read_words

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
SIGN: dict[Kind, str] = {"worse": "▲▲", "rose": "▲", "better": "▼▼", "fell": "▼", "same": "=", "not worse": "≤", "open": "?"}
MOST_SIDES = 4
MOST_ROWS = 60
MOST_REASON = 400


class CellShown(Struct, frozen=True):
    """One cell of the matrix: each run's count and rate, and how it changed; `kind` is empty where only one run has it."""

    sides: tuple[tuple[str, str, str], ...]
    kind: str
    sign: str
    words: str
    difference: str
    interval: str
    paired: str


class CellTable(Struct, frozen=True):
    """One attack and arm: languages down, hazards across; None where no run has a trial."""

    id: str
    title: tuple[Piece, ...]
    hazards: tuple[str, ...]
    rows: tuple[tuple[str, tuple[CellShown | None, ...]], ...]


class CourseShown(Struct, frozen=True):
    """One cell over all runs."""

    place: tuple[Piece, ...]
    counts: tuple[str, ...]
    alarm: str
    band: str
    saturated: bool


def words_in(language: str) -> dict[str, str]:
    """The words of an interface language. Raises `AssayError` for one that there is not."""
    known = read_words(HERE / "words")
    if language not in known:
        raise AssayError(f"the page is not in {language[:40]!r}", fix=f"It is in {', '.join(known)}.")
    return known[language]


def render_comparison(view: ComparisonView, language: str = "en") -> str:
    """The page. The same view and language, the same bytes."""
    from markupsafe import Markup

    words = words_in(language)
    css = (HERE.parent / "report.css").read_text(encoding="utf-8") + (HERE / "comparison.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("template.html")
        .render(
            view=view, words=words, language=language, direction=direction(language), foreign="" if language == "en" else "en",
            css=Markup(css),  # noqa: S704 (our own file)
            policy=content_policy(css), said=sentences(view, words), sure=control(view, words), tables=cell_tables(view, words),
            courses=_courses(view, words), agreed=[(a, agreement_sentence(a, view, words)) for a in view.agreements],
            signs=[(SIGN[kind], kind.replace(" ", "_"), words[f"kind_{kind.replace(' ', '_')}"]) for kind in SIGN],
            margin=percent(view.margin).removesuffix("%"), error=percent(view.error), symbol=SYMBOL, most_rows=MOST_ROWS,
            version=__version__, command=_command(view, language),
        )
    )  # fmt: skip


def cell_tables(view: ComparisonView, words: Mapping[str, str]) -> tuple[CellTable, ...]:
    """The matrix, a table for each attack and arm, in the newest plan's order."""
    manners = dict.fromkeys((row.stream.attack, row.stream.arm) for row in view.cells)
    out = []
    for number, (attack, arm) in enumerate(sorted(manners, key=lambda m: _ARM_ORDER.index(m[1]))):
        rows = {row.stream: row for row in view.cells if (row.stream.attack, row.stream.arm) == (attack, arm)}
        hazards = tuple(dict.fromkeys(s.hazard for s in rows))
        languages = tuple(dict.fromkeys(s.language for s in rows))
        foreign = "" if words["tag"] == "en" else "en"
        title = say(words[f"table_{arm}"], attack=word(name(attack_words(attack)), view.evidence, foreign))
        found = tuple(
            (tag, tuple(_cell(rows.get(Stream(h, tag, attack, arm)), view, words) for h in hazards)) for tag in languages
        )  # fmt: skip
        out.append(CellTable(f"cells-{number}", title, hazards, found))
    return tuple(out)


_ARM_ORDER = ("plain", "attack", "placebo", "benign", "adapted", "literal")


def _cell(row: CellRow | None, view: ComparisonView, words: Mapping[str, str]) -> CellShown | None:
    if row is None:
        return None
    shown = range(len(view.runs)) if len(view.runs) <= MOST_SIDES else view.pair
    sides = tuple((view.runs[i].letter, _count(row.sides[i]), _rate(row.sides[i])) for i in shown)
    change = row.change
    if change is None:
        return CellShown(sides, "", "", words["only_one"], "", "", "")
    kind = change.kind.replace(" ", "_")
    paired = words["paired"].replace("{count}", f"{change.paired:,}") if change.paired else ""
    return CellShown(sides, kind, SIGN[change.kind], words[f"kind_{kind}"], _difference(change), _interval(change), paired)


def _count(side: tuple[int, int] | None) -> str:
    return f"{side[0]:,}/{side[1]:,}" if side else "–"


def _rate(side: tuple[int, int] | None) -> str:
    return rate_text(side[0] / side[1]) if side else ""


def _difference(change: Change) -> str:
    difference = change.newer[0] / change.newer[1] - change.older[0] / change.older[1]
    return f"{100 * difference:+.1f}".replace("-", "−") if abs(difference) >= 0.0005 else "0.0" if difference == 0 else "≈0"


def _interval(change: Change) -> str:
    low, high = points(change.low, up=change.low < 0), points(change.high, up=change.high > 0)
    return f"{low} … {high}"


def _courses(view: ComparisonView, words: Mapping[str, str]) -> tuple[CourseShown, ...]:
    if view.history is None:
        return ()
    ordered = sorted(view.history.courses, key=lambda c: (not c.alarm, c.saturated, -c.band[1]))
    return tuple(
        CourseShown(
            place(c.stream, view, words), tuple(_count(h) for h in c.history),
            words["alarm_in"].replace("{run}", c.alarm) if c.alarm else "", range_text(*c.band).replace(" to ", "–"), c.saturated,
        )
        for c in ordered[:MOST_ROWS]
    )  # fmt: skip


def _command(view: ComparisonView, language: str) -> str:
    rates = f"--margin {percent(view.margin)} --error {percent(view.error)} --floor {percent(view.floor)}"
    which = " --first" if view.pair[0] != len(view.runs) - 2 else ""
    runs = " ".join(shlex.quote(run.name) for run in view.runs)
    spoken = "" if language == "en" else f" --language {language}"
    return f"assay verify {shlex.quote(view.newer.name)}/evidence.jsonl\nassay compare {runs} {rates}{which} --html comparison.html{spoken}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = page_environment(HERE)
    environment.filters.update(
        fill=_fill, day=iso_day, figure=lambda piece: isinstance(piece, Figure), reason=bounded_reason
    )  # fmt: skip
    return environment


def bounded_reason(text: str) -> str:
    """A signed reason, bounded."""
    return text if len(text) <= MOST_REASON else text[: MOST_REASON - 1] + "…"


def _fill(template: str, **values: str) -> str:
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    return template
