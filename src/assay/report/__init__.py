"""Run file -> one self-contained HTML file that a minister reads on page one and a statistician checks on the last.

html = render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
"""

from assay.report.render import render_judged, render_report
from assay.report.tally import Tally
from assay.report.view import View, make_view

__all__ = ["Tally", "View", "make_view", "render_judged", "render_report"]
