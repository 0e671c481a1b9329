"""`assay doctor`."""

from __future__ import annotations

import json
import sys

import click
import msgspec

from assay.cli.words import plain, program

MARK = {"ok": "✓", "missing": "·", "wrong": "✕"}
STYLE = {"ok": "green", "missing": "yellow", "wrong": "red"}


@click.command()
@click.option("--target", default="", metavar="T", help="Also greet this target, as a run would; as assay run takes it.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def command(target: str, as_json: bool) -> int:
    """Whether everything that a run may need is here: Python, packages, key, folders, disk, clock, models, fonts, programs, endpoint.

    Each line is ok, missing (what one may do without) or wrong, with what to do. Nothing is changed and no secret shown.
    Exit code: 0, or 1 if anything is wrong.

    \b
    Examples:
      assay doctor
      assay doctor --target http://127.0.0.1:8080/v1#my-model@MY_API_KEY
    """
    from assay.cli.checkup import Finding, findings

    found: list[Finding] = []
    for finding in findings(target):
        found.append(finding)
        if not as_json:
            mark = click.style(f"{MARK[finding.status]} {finding.status:<7}", fg=STYLE[finding.status])
            click.echo(f"{mark}  {finding.name:<18}  {plain(finding.what)}")
            if finding.fix:
                click.echo(f"{'':<29}  → {plain(finding.fix)}")
            sys.stdout.flush()
    wrong = sum(f.status == "wrong" for f in found)
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "findings": msgspec.to_builtins(found)}, ensure_ascii=False))
    elif wrong:
        click.echo(f"\n{wrong} wrong. When they are mended: {program()} doctor")
    else:
        click.echo(f"\nNothing is wrong. Next: {program()} run")
    return 1 if wrong else 0
