"""`assay report RUN`, `assay report RUN --framework ID`, `assay report RUN --interactive`, `assay report RUN... --paper`."""

from __future__ import annotations

from pathlib import Path

import click

from assay import api
from assay.cli.kinds import require_run
from assay.cli.words import program, shell_path
from assay.errors import RunFileError
from assay.evidence import read_summary
from assay.runs import folder_of, is_judged, read_run, run_path
from assay.web.languages import INTERFACE

EXPLORER = "explorer.html"
PAPER = "paper.pdf"


@click.command()
@click.argument("runs", metavar="RUN...", type=click.Path(path_type=Path), nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; RUN/report.html unless given, paper.pdf with --paper.")
@click.option("--interactive", is_flag=True, help="Write the page on which every number leads to its transcripts instead.")
@click.option("--paper", is_flag=True, help="Write the white paper of all RUNs, as PDF and as a page beside it.")
@click.option("--about", type=click.Path(path_type=Path), metavar="FILE", help="With --paper: the authors' file (docs/paper.md).")
@click.option("--full", is_flag=True, help="With --paper: recompute every item and judgement first, as assay verify does.")
@click.option("--force", is_flag=True, help="With --paper: replace what is there; a paper of the same RUNs is replaced without.")
@click.option("--figures", is_flag=True, help="With --paper: list the figures that prose may name; write nothing.")
@click.option("--language", type=click.Choice(list(INTERFACE)), default="en", show_default=True, help="Of paper or interactive page.")
@click.option("--framework", metavar="ID", help="Print the clause table of a governance framework instead; `list` names them all.")
@click.option("--json", "as_json", is_flag=True, help="The clause table as JSON.")
def command(
    runs: tuple[Path, ...], out: Path | None, about: Path | None, framework: str | None, language: str,
    *, interactive: bool, paper: bool, full: bool, force: bool, figures: bool, as_json: bool,
) -> int:  # fmt: skip
    """Write the HTML report of RUN (a run folder or file, a bundle, or imported trajectories): one file, no network, for any browser.

    With --interactive, the page with filters, search and all transcripts. With --paper, the white paper of one or more signed RUNs: it is
    not made from a run whose bytes are not what was signed, nor with a number that no run shows. With --framework, print what RUN has for
    each clause of a governance framework, and what is missing (docs/frameworks.md).

    \b
    Examples:
      assay report runs/first
      assay report runs/first --interactive
      assay report runs/ours theirs/evidence.jsonl --paper --out paper.pdf
      assay report runs/first --framework nist-ai-rmf
    """
    if framework == "list":
        from assay.cli.framework import list_frameworks

        list_frameworks()
        return 0
    if not runs:
        raise click.UsageError("Missing argument 'RUN'.")
    if not paper and (about or full or force or figures):
        raise click.UsageError("--about, --full, --force and --figures go with --paper.")
    if language != "en" and not (paper or interactive):
        raise click.UsageError("--language goes with --paper or --interactive; the plain report is in English.")
    for run in runs:
        require_run(run)
    if paper:
        _paper(runs, out or Path(PAPER), about, language, full=full, force=force, figures=figures)
        return 0
    if len(runs) > 1:
        raise click.UsageError(f"one RUN at a time; several go with --paper, or: {program()} compare")
    run = runs[0]
    if framework is not None:
        from assay.cli.framework import print_framework

        if run.is_file() and is_judged(run):
            raise RunFileError("imported trajectories have no plan and no decision, so no clause table", where=str(run))
        print_framework(run, framework, as_json=as_json)
        return 0
    if as_json:
        raise click.UsageError("--json goes with --framework.")
    if interactive:
        _interactive(run, out, language)
        return 0
    _report(run, out)
    return 0


def _report(run: Path, out: Path | None) -> None:
    if run.is_file() and run.suffix == ".jsonl":
        out = out or run.with_name(api.REPORT_NAME)
        api.write_bundle_report(run, out)
    elif run.is_file() and is_judged(run):
        out = out or run.with_suffix(".html")
        api.write_judged_report(run, out)
    else:
        path = run_path(run)
        out = out or folder_of(run) / api.REPORT_NAME
        with read_run(path) as file:
            summary = read_summary(path.parent / api.BUNDLE_NAME)
            api.write_report(file, out, summary, summary.ended if summary else "interrupted")
    click.echo(f"Report: {shell_path(out)}")


def _interactive(run: Path, out: Path | None, language: str) -> None:
    out = out or (run if run.is_dir() else run.parent) / EXPLORER
    api.write_explorer(run, out, language)
    click.echo(f"Interactive report: {shell_path(out)}\n\nNext, open it in a browser; it needs no network.")


def _paper(runs: tuple[Path, ...], out: Path, about: Path | None, language: str, *, full: bool, force: bool, figures: bool) -> None:
    if figures:
        for name, text in api.paper_figures(runs, language).items():
            click.echo(f"{name:<48} {text}")
        return
    page = out.with_suffix(".html")
    if page == out:
        raise click.UsageError("--out names the PDF: paper.pdf; the page is written beside it.")
    document = api.write_paper(
        runs, out, page, about=about, language=language, full=full, force=force, progress=lambda line: click.echo(line, err=True)
    )
    for letter, model, bundle in ((r.letter, r.model, r.bundle) for r in document.runs):
        click.echo(f"  {letter}  {bundle[:23]}...  {model}")
    again = " ".join(shell_path(r) for r in runs)
    click.echo(f"Paper: {shell_path(out)}\nPage:  {shell_path(page)}")
    click.echo(f"\nNext, write beside the figures (docs/paper.md); their names:\n\n  {program()} report {again} --paper --figures")
