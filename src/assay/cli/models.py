"""`assay models list|fetch|add`."""

from __future__ import annotations

from pathlib import Path

import click

from assay.targets import models


@click.group()
def command() -> None:
    """The embedded models: real ones, small, known by the digest of their weights.

    \b
    Examples:
      assay models list
      assay models fetch qwen2.5-coder-0.5b-instruct
      assay models add model.gguf
    """


@command.command("list")
def list_() -> None:
    """Every embedded model, and whether it is here."""
    for m in models.MODELS.values():
        here = "here" if models.weights_path(m).is_file() else "not fetched"
        click.echo(f"{m.name:<30} {m.size / 1e6:>5.0f} MB  {m.license}  {here:<11}  {m.note}")


@command.command()
@click.argument("name", default=models.DEFAULT)
def fetch(name: str) -> None:
    """Fetch a model's weights into the cache and check their digest."""
    path = models.weights(name, lambda line: click.echo(line, err=True))
    click.echo(str(path))


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
def add(path: Path) -> None:
    """Take a GGUF file that you have into the cache, if its digest is a known model's."""
    m = models.add_weights(path)
    click.echo(f"{m.name} is ready: assay run --target embedded:{m.name}")
