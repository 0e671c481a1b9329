"""`assay access secret new|rotate`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from assay.cli.words import program, shell_path


@click.group()
def command() -> None:
    """The gate's secret, by which its tokens are sealed: `secret` in the gate's file names it. All workers of a gate share it.

    \b
    Examples:
      assay access secret new gate.secret
      assay access secret rotate gate.secret         tokens by the old one hold for the rest of their life, and no longer
    """


@command.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def new(path: Path) -> None:
    """Make a secret at PATH, readable by its owner only. What is there already stays."""
    from assay.access.credentials.secretfile import write_secret

    write_secret(path)
    click.echo(f"{shell_path(path)}: made. Whoever has it can make tokens: give it to the gate's workers and to nobody else.")
    click.echo(f"\nName it in the gate's file (secret:), then:\n\n  {program()} access serve --config gate.yaml")


@command.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def rotate(path: Path) -> None:
    """Put a new secret into use. Workers notice within a second; tokens by the old one hold for the rest of their life."""
    from assay.access.credentials.secretfile import rotate_secret

    rotate_secret(path, time.time_ns() // 1_000_000)
    click.echo(f"{shell_path(path)}: a new secret is in use.")
    click.echo(f"If the old one leaked, delete all but the first line. Next:\n\n  {program()} access audit --help")
