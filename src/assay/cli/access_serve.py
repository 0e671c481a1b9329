"""`assay access serve`."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.words import program, shell_path


@click.command()
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The gate's file.")
@click.option("--check", is_flag=True, help="Only read the file and what it names; serve nothing.")
def command(config: Path, check: bool) -> None:
    """Serve the models that the gate's file names, to those who have grants, as decisions and halts allow.

    It opens only if store, roles, rules and audit log can be had. Ctrl-C stops it: what is under way is cut and recorded.
    """
    from assay.access.config import read_config
    from assay.access.gate.serve import serve

    loaded = read_config(config)
    for name in loaded.models:
        loaded.upstream_key(name)
    if check:
        click.echo(f"{shell_path(config)} is in order. Next:\n\n  {program()} access serve --config {shell_path(config)}")
        return
    scheme = "https" if loaded.tls else "http"
    click.echo(f"Serving {', '.join(loaded.models)} at {scheme}://{loaded.listen}/v1, {loaded.workers} worker(s). Ctrl-C stops it.")
    click.echo(
        f"\nOperators connect with:\n\n  {program()} access connect --gate {scheme}://{loaded.hosts[0]} --grant ID --person NAME --key KEY"
    )
    serve(config)
