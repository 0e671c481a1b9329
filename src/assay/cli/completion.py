"""`assay completion bash|zsh|fish`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from assay.errors import AssayError

VARIABLE = "_ASSAY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands, options, plans, runs, hazards, languages and attacks.

    \b
    Examples:
      echo 'eval "$(assay completion bash)"' >> ~/.bashrc
      echo 'eval "$(assay completion zsh)"' >> ~/.zshrc           after compinit
      assay completion fish > ~/.config/fish/completions/assay.fish
    """
    from assay.cli import app

    kind = get_completion_class(shell)
    if kind is None:
        raise AssayError(f"no completion for {shell} is known here")
    click.echo(kind(app, {}, "assay", VARIABLE).source())
