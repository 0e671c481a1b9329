"""The document as a tagged PDF (PDF/UA-1), set by typst.

pdf = typeset(document)                     # bytes
pages = typeset_pages(document, ppi=100)    # PNG, one a page

The template is our own file; everything of the document reaches it as data, so nothing that a model, a plan or an author says can become
code. A glyph that no font has ends the build, and so does what PDF/UA forbids.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from assay.report.charts import Lettering, lifted
from assay.report.paper.document import Document, Picture, Table, pieces_of
from assay.report.pieces import PaperError, evidence_in

if TYPE_CHECKING:
    import typst

VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
TEMPLATE = Path(__file__).parent / "paper.typ"
FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts", Path.home() / ".local/share/fonts")
FAMILY = "Noto Sans"
FIX = "Install the Noto fonts (Debian: fonts-noto-core, fonts-noto-cjk)."


class TypesetError(PaperError):
    """The paper cannot be set: a font, a glyph, or a library is missing, or PDF/UA does not allow it."""


def typeset(document: Document) -> bytes:
    """The PDF. Raises `TypesetError`."""
    made = _compiled(document, format="pdf", pdf_standards=["ua-1"], timestamp=0)
    if not isinstance(made, bytes):
        raise TypesetError("the typesetter gave no PDF")
    return made


def typeset_pages(document: Document, ppi: int = 100) -> list[bytes]:
    """Every page as a PNG. Raises `TypesetError`."""
    pages = _compiled(document, format="png", ppi=ppi)
    return pages if isinstance(pages, list) else [pages]


def _compiled(document: Document, **how: Any) -> Any:
    try:
        import typst
    except ModuleNotFoundError:
        raise TypesetError("the PDF needs typst, which is not installed", fix="pip install 'assay[report]'") from None
    compiler = _compiler()
    drawings = {block.id: _drawing(block) for block in document.blocks if isinstance(block, Picture)}
    tables = [block for block in document.blocks if isinstance(block, Table)]
    rests = {table.id: evidence_in(pieces_of(table)) for table in tables}
    data = msgspec.json.encode({"document": document, "drawings": drawings, "rests": rests}).decode()
    try:
        made, warnings = compiler.compile_with_warnings(input=TEMPLATE.read_bytes(), sys_inputs={"paper": data}, **how)
    except typst.TypstError as e:
        raise TypesetError(_said(e), fix=FIX if "could not be displayed" in str(e.message) else "") from None
    except RuntimeError as e:
        raise TypesetError(str(e)[:500]) from None
    for warning in warnings:
        if not str(warning.message).startswith("unknown font family"):  # the others have the glyphs, or the build has ended
            raise TypesetError(_said(warning))
    return made


class _Drawing(Struct, frozen=True):
    """A chart without its words, its size in units, and the words, which the template sets."""

    svg: str
    width: float
    height: float
    labels: tuple[Lettering, ...]


def _drawing(picture: Picture) -> _Drawing:
    box = VIEW_BOX.search(picture.svg)
    if box is None:
        raise TypesetError(f"the chart '{picture.id}' has no size")
    bare, labels = lifted(picture.svg)
    return _Drawing(bare, float(box[1]), float(box[2]), labels)


def _said(problem: Any) -> str:
    """What typst says, in one line."""
    message = " ".join(str(problem.message).split())
    hints = " ".join(" ".join(str(h).split()) for h in problem.hints)
    return f"the paper cannot be set: {message[:400]}" + (f" ({hints[:200]})" if hints else "")


@cache
def _compiler() -> typst.Compiler:
    """One for this process, with the machine's Noto fonts and no others. Raises `TypesetError` where they are missing."""
    import typst

    folders = [str(folder) for folder in FONT_FOLDERS if folder.is_dir()]
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=folders)
    if FAMILY not in fonts.families():
        raise TypesetError(f"the font {FAMILY} is not on this machine", fix=FIX)
    return typst.Compiler(font_paths=fonts, ignore_system_fonts=True)
