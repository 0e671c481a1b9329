"""View -> HTML. No script at all; the style is inline and allowed by its hash; everything else is forbidden by the page's own policy.

Every expression of the template passes `visible` and then Jinja's escape, so nothing that a target, a plan or a text says can become
markup, and nothing invisible stays invisible.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from assay.evidence import Summary
from assay.report.intervals import PLOT_WIDTH
from assay.report.judged import make_judged_view
from assay.report.pages import content_policy, page_environment
from assay.report.responses import RESPONSE_KINDS
from assay.report.tally import HEARD, Tally
from assay.report.transcripts import SHOWN
from assay.report.view import make_view
from assay.report.words import KIND_ORDER, count_text
from assay.runs import Judged, ReadRun
from assay.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def render_report(run: ReadRun, *, summary: Summary | None, ended: str, bundle_name: str, tally: Tally | None = None) -> str:
    """The report of a run as one HTML document. The same run and arguments, the same bytes (and the extra
    `language`, which adds the kinds of answer by embedding).

    `summary` is what the bundle says of itself, None if there is no bundle; `ended` is how the run ended; `bundle_name` is the
    bundle's file name. Raises `RunFileError` if the run file is damaged, `CatalogError` if its content cannot rebuild its items.
    """
    from markupsafe import Markup

    view = make_view(run, summary=summary, ended=ended, bundle_name=bundle_name, tally=tally)
    css = (HERE / "report.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("template.html")
        .render(
            view=view,
            css=Markup(css),  # noqa: S704 (our own file)
            policy=content_policy(css),
            kind_order=KIND_ORDER,
            response_kinds=RESPONSE_KINDS,
            heard_most=HEARD,
            plot_width=PLOT_WIDTH,
            most_transcripts=SHOWN,
        )
    )


def render_judged(judged: Judged) -> str:
    """The report of imported trajectories as one HTML document."""
    from markupsafe import Markup

    css = (HERE / "report.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("judged.html")
        .render(
            view=make_judged_view(judged),
            css=Markup(css),  # noqa: S704 (our own file)
            policy=content_policy(css),
            version=__version__,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import FileSystemBytecodeCache

    compiled = HERE / "__pycache__"  # beside Python's own, and of the same trust
    kept = FileSystemBytecodeCache(str(compiled)) if os.access(compiled, os.W_OK) and not sys.dont_write_bytecode else None
    environment = page_environment(HERE, compiled=kept)
    environment.globals["count"] = count_text
    return environment
