"""Signed runs -> a white paper, as a tagged PDF (PDF/UA-1) and as a page: every number in it is bound to the run that it comes from.

document = make_paper(sources, about)
pdf, html = typeset(document), render_paper(document)
"""

from assay.report.paper.about import About, read_about
from assay.report.paper.document import Document
from assay.report.paper.making import figures_of, make_paper
from assay.report.pieces import PaperError

__all__ = ["About", "Document", "PaperError", "figures_of", "make_paper", "read_about"]
