"""The document as one HTML page: no script, no network, the same pieces as the PDF, every figure with a link to its evidence.

html = render_paper(document)
"""

from __future__ import annotations

import re
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
HEAD = 16_384
"""Bytes of a page within which its runs are named."""
_RUNS = re.compile(rb'<meta name="assay-runs" content="([0-9a-z: ]*)">')
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


def is_of(page: Path, document: Document) -> bool:
    """Whether a page that is there already is a paper of the same runs, whatever was signed of them since."""
    try:
        with page.open("rb") as file:
            found = _RUNS.search(file.read(HEAD))
    except OSError:
        return False
    return found is not None and found[1].decode().split() == sorted(run.opened for run in document.runs if run.opened)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return page_environment(HERE, shown=False)  # `make_paper` made its texts visible
