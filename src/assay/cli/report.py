"""`assay report RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from assay import api
from assay.cli.words import shell_path
from assay.evidence import read_summary
from assay.runs import RunFile, is_judged, run_path


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; RUN/report.html unless given.")
def command(run: Path, out: Path | None) -> int:
    """Write the HTML report of RUN (a run folder or file, or imported trajectories): one file, no network, for any browser."""
    if run.is_file() and is_judged(run):
        out = out or run.with_suffix(".html")
        api.write_judged_report(run, out)
        click.echo(f"Report: {shell_path(out)}")
        return 0
    path = run_path(run)
    out = out or path.parent / api.REPORT_NAME
    with RunFile.read(path) as file:
        summary = read_summary(path.parent / api.BUNDLE_NAME)
        api.write_report(file, out, summary, summary.ended if summary else "interrupted")
    click.echo(f"Report: {shell_path(out)}")
    return 0
