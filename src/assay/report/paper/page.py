"""The document as one HTML page: no script, no network, the same pieces as the PDF, every figure with a link to its evidence.

html = render_paper(document)
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from assay.report.pages import content_policy, page_environment
from assay.report.paper.document import Document
from assay.report.pieces import evidence_in
from assay.web.languages import direction

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
SIGNS = {"approve": "✓", "delay": "…", "halt": "✕", "open": "·"}


def render_paper(document: Document) -> str:
    """The page. The same document, the same bytes."""
    from markupsafe import Markup

    css = (HERE / "paper.css").read_text(encoding="utf-8")
    marks = document.marks

    def mark(digests: tuple[str, ...]) -> str:
        return ", ".join(f"{marks[d]} {d.rpartition(':')[2][:8]}" for d in digests)

    return (
        _environment()
        .get_template("paper.html")
        .render(
            doc=document, words=document.words, css=Markup(css), policy=content_policy(css), mark=mark, evidence=evidence_in, signs=SIGNS,  # noqa: S704
            direction=direction(document.language), svg=Markup,
        )
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return page_environment(HERE, shown=False)  # `make_paper` made its texts visible
