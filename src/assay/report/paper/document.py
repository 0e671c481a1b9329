"""What a white paper consists of, before it is set: blocks of pieces, where every number is a figure that is bound to evidence.

paragraph = Paragraph(say("{n} of {of} answers", n=Figure("3", (bundle,)), of=Figure("120", (bundle,))))
check(document)          # raises PaperError for a number without evidence

A number that nobody can check has no way in: a text with a digit in it is refused, unless the digit stands in a `Figure` (bound to the
digests of signed bundles), a `Reference` (the name of a standard, a clause, a digest) or a `Stated` (an author's word, printed as such,
with its source).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from assay.errors import AssayError

DIGIT = re.compile(r"\d")
PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class PaperError(AssayError):
    """The paper cannot be made: what is missing, stale or without evidence, and where."""


class Text(Struct, frozen=True, tag="text"):
    """Words; `lang` where they are in another language than the paper, `strong` where they stand out."""

    text: str
    lang: str = ""
    strong: bool = False


class Figure(Struct, frozen=True, tag="figure"):
    """A number or a name out of signed runs, as it is printed, and the digests of the bundles that it follows from."""

    text: str
    evidence: tuple[str, ...]
    strong: bool = False


class Reference(Struct, frozen=True, tag="reference"):
    """The name of something elsewhere, whose digits count nothing: a standard, a clause, a key, a version. `code` sets it as such."""

    text: str
    code: bool = False
    link: str = ""


class Stated(Struct, frozen=True, tag="stated"):
    """What the authors say with digits in it, and where they have it from; printed with a mark, and listed in an annex."""

    text: str
    source: str


Piece = Text | Figure | Reference | Stated


class Paragraph(Struct, frozen=True, tag="paragraph"):
    """`kind` note is set apart, lead is larger, verdict the word of a decision."""

    pieces: tuple[Piece, ...]
    kind: Literal["plain", "note", "lead", "approve", "delay", "halt"] = "plain"


class Heading(Struct, frozen=True, tag="heading"):
    """Level 1 is a chapter. `id` is what links point to."""

    level: int
    text: str
    id: str


class Bullets(Struct, frozen=True, tag="bullets"):
    """A list; each item is pieces."""

    items: tuple[tuple[Piece, ...], ...]
    numbered: bool = False


class Cell(Struct, frozen=True):
    """One cell of a table. `tone` is a status, told by its words as well; `number` aligns it to the right; `rows` is how many it spans."""

    pieces: tuple[Piece, ...]
    number: bool = False
    tone: Literal["", "approve", "delay", "halt", "open"] = ""
    rows: int = 1


class Table(Struct, frozen=True, tag="table"):
    """A table with a head. `widths` are shares of the line, one a column; a cell that spans rows is left out of the rows below. A `folded`
    table is folded on the page, and named on paper only.
    """

    caption: tuple[Piece, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    widths: tuple[float, ...] = ()
    id: str = ""
    folded: bool = False


class Picture(Struct, frozen=True, tag="picture"):
    """A chart: SVG, what it shows in a sentence, its caption, and where the table behind it stands."""

    id: str
    svg: str
    alt: str
    caption: tuple[Piece, ...]
    evidence: tuple[str, ...]
    behind: str = ""


class Break(Struct, frozen=True, tag="break"):
    """A new page on paper."""


class Quote(Struct, frozen=True, tag="quote"):
    """Code or commands, as they are."""

    text: str


Block = Paragraph | Heading | Bullets | Table | Picture | Break | Quote


class Run(Struct, frozen=True):
    """A signed run as the paper's evidence: the letter by which figures name it."""

    letter: str
    bundle: str
    model: str
    name: str


class Document(Struct, frozen=True):
    """The whole paper. `marks` gives the letter of every bundle's digest."""

    title: str
    subtitle: str
    authors: tuple[str, ...]
    date: str
    language: str
    blocks: tuple[Block, ...]
    runs: tuple[Run, ...]
    words: dict[str, str]

    @property
    def marks(self) -> dict[str, str]:
        """The letter of every bundle's digest."""
        return {run.bundle: run.letter for run in self.runs}


def say(template: str, **pieces: Piece | str | tuple[Piece, ...]) -> tuple[Piece, ...]:
    """A template's pieces: `{name}` gives way to a figure, a reference, or words. Raises `PaperError` for a place that nothing fills."""
    out: list[Piece] = []
    at = 0
    for place in PLACE.finditer(template):
        if place[1] not in pieces:
            raise PaperError(f"nothing fills {{{place[1]}}} in “{template[:80]}”")
        if place.start() > at:
            out.append(Text(template[at : place.start()]))
        given = pieces[place[1]]
        out += given if isinstance(given, tuple) else (Text(given) if isinstance(given, str) else given,)
        at = place.end()
    if at < len(template):
        out.append(Text(template[at:]))
    return tuple(out)


def pieces_of(block: Block) -> Iterator[Piece]:
    """Every piece of a block."""
    match block:
        case Paragraph():
            yield from block.pieces
        case Bullets():
            for item in block.items:
                yield from item
        case Table():
            yield from block.caption
            for row in block.rows:
                for cell in row:
                    yield from cell.pieces
        case Picture():
            yield from block.caption
        case Heading() | Break() | Quote():
            return


def evidence_in(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """The digests that pieces rest on, each once, in order."""
    return tuple(dict.fromkeys(d for piece in pieces if isinstance(piece, Figure) for d in piece.evidence))


def statements(document: Document) -> list[Stated]:
    """What the authors say that no run shows, in order."""
    return [piece for block in document.blocks for piece in pieces_of(block) if isinstance(piece, Stated)]


def check(document: Document) -> None:
    """Raise `PaperError` for a number without evidence, evidence of no run, or a statement without a source."""
    known = document.marks
    for block in document.blocks:
        for piece in pieces_of(block):
            where = f"“{piece.text[:80]}”"
            match piece:
                case Text():
                    if DIGIT.search(piece.text):
                        raise PaperError(f"a figure without evidence: {where}", fix="Take it from a run, or state it with its source.")
                case Figure():
                    if not piece.evidence:
                        raise PaperError(f"a figure without evidence: {where}")
                    if unknown := [d for d in piece.evidence if d not in known]:
                        raise PaperError(f"the figure {where} rests on {unknown[0][:23]}..., which is none of this paper's runs")
                case Stated():
                    if not piece.source.strip():
                        raise PaperError(f"a statement without a source: {where}")
                case Reference():
                    continue
        if isinstance(block, Picture) and not block.evidence:
            raise PaperError(f"a chart without evidence: {block.id}")
        heads = (block.text,) if isinstance(block, Heading) else block.head if isinstance(block, Table) else ()
        for head in heads:
            if DIGIT.search(head):
                raise PaperError(f"a figure without evidence: the heading “{head[:80]}”")
