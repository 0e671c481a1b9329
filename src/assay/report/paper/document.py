"""What a white paper consists of, before it is set: blocks of pieces, where every number is a figure that is bound to evidence.

paragraph = Paragraph(say("{n} of {of} answers", n=Figure("3", (bundle,)), of=Figure("120", (bundle,))))
check(document)          # raises PaperError for a number without evidence

A number that nobody can check has no way in: a text with a number in it is refused, unless it stands in a `Figure` (bound to the
digests of signed bundles), a `Reference` (the name of a standard, a clause, a digest) or a `Stated` (an author's word, printed as such,
with its source).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from assay.report.pieces import Figure, PaperError, Piece, Reference, Stated, Text, numeral


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
    """A signed run as the paper's evidence: the letter by which figures name it. `opened` is its registration's digest, which stays when
    it goes on and is signed anew.
    """

    letter: str
    bundle: str
    model: str
    name: str
    opened: str = ""


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
                    if numeral(piece.text):
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
            if numeral(head):
                raise PaperError(f"a figure without evidence: the heading “{head[:80]}”")
