"""`assay report RUN`, and `assay report RUN --framework ID`."""

from __future__ import annotations

from pathlib import Path

import click

from assay import api
from assay.cli.words import shell_path
from assay.errors import RunFileError
from assay.evidence import read_summary
from assay.runs import RunFile, is_judged, run_path


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; RUN/report.html unless given.")
@click.option("--framework", metavar="ID", help="Print the clause table of a governance framework instead; `list` names them all.")
@click.option("--json", "as_json", is_flag=True, help="The clause table as JSON.")
def command(run: Path | None, out: Path | None, framework: str | None, as_json: bool) -> int:
    """Write the HTML report of RUN (a run folder or file, or imported trajectories): one file, no network, for any browser.

    With --framework, print what RUN has for each clause of a governance framework, and what is missing (docs/frameworks.md).

    \b
    Examples:
      assay report runs/first
      assay report --framework list
      assay report runs/first --framework nist-ai-rmf
    """
    if framework == "list":
        from assay.cli.framework import list_frameworks

        list_frameworks()
        return 0
    if run is None:
        raise click.UsageError("Missing argument 'RUN'.")
    if framework is not None:
        from assay.cli.framework import print_framework

        if run.is_file() and is_judged(run):
            raise RunFileError("imported trajectories have no plan and no decision, so no clause table", where=str(run))
        print_framework(run, framework, as_json=as_json)
        return 0
    if as_json:
        raise click.UsageError("--json goes with --framework.")
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
