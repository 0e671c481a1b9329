"""`assay export FORMAT RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.words import shell_path
from assay.exchange.export import FORMATS, read_exported, write_export

_LIST = "\n".join(f"  {name:<10} {form.about}" for name, form in FORMATS.items())


@click.command(epilog=f"\b\nFormats:\n{_LIST}\n\n\b\nExample:\n  assay export junit runs/first --out first.xml --without-transcripts")
@click.argument("form", metavar="FORMAT", type=click.Choice(list(FORMATS)))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write, whole or not at all.")
@click.option("--without-transcripts", is_flag=True, help="Withhold prompts and answers; their digests stay.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
def command(form: str, run: Path, out: Path, without_transcripts: bool, force: bool) -> int:
    """Write RUN (a run folder or file) in a format that others read."""
    with read_exported(run, transcripts=not without_transcripts) as exported:
        write_export(form, exported, out, force=force)
        heading = exported.heading
    kept = "with transcripts" if FORMATS[form].texts and not without_transcripts else "without transcripts"
    click.echo(f"{shell_path(out)}: {form}, {heading.decision.trials:,} trials, {kept}; {heading.verdict}")
    if heading.bundle != "agrees":
        click.echo("  note: no signed bundle beside the run agrees with it, so an approval counts as delay", err=True)
    return 0
