"""What is said when a run was interrupted, and the command by which it goes on: with the same key, log, cache and banks.

say_interrupted(view, asked, folder, executor)
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.words import program, shell_path
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.cli.live import View
    from assay.cli.run import Asked
    from assay.engine import OnRay


def say_interrupted(view: View, asked: Asked, folder: Path, executor: OnRay | None) -> None:
    """All that is kept, and how to go on. Raises `click.Abort` where the run was not opened yet, so that nothing is."""
    trials = _kept(folder)
    if trials is None:
        click.echo("\nThe run was not opened yet: nothing is kept.", err=True)
        raise click.Abort
    again = again_command(asked, folder, executor)
    if asked.as_json:
        view.event({"event": "interrupted", "trials": trials, "resume": again})
        return
    how = "To judge it anew" if asked.replay else "To go on"
    click.echo(f"\nInterrupted. All {trials} finished trials are kept. {how}:\n\n  {again}")


def again_command(asked: Asked, folder: Path, executor: OnRay | None) -> str:
    """Of a replay, which is not gone on with, the command that makes it anew."""
    if asked.replay is not None:
        return f"{program()} run --replay {shell_path(asked.replay)} --out FOLDER{_key(asked)}"
    words = [f"{program()} run --resume --out {shell_path(folder)}{_key(asked)}"]
    words += [f"--{name} {shell_path(path)}" for name, path in (("log", asked.log), ("cache", asked.cache)) if path is not None]
    words += [f"--witness-key {shlex.quote(key)}" for key in asked.witness_keys]
    given = (("bank", asked.banks), ("identity", asked.identities), ("share", asked.shares))
    words += [f"--{name} {shell_path(path)}" for name, paths in given for path in paths]
    return " ".join(words) + (executor.options if executor else "")


def _key(asked: Asked) -> str:
    if asked.key is None:
        return ""
    return f" --key {shell_path(asked.key) if isinstance(asked.key, Path) else shlex.quote(str(asked.key))}"


def _kept(folder: Path) -> int | None:
    """How many trials the run holds; None where none was opened."""
    from assay.runs import read_run

    try:
        with read_run(folder) as run:
            return run.count()
    except AssayError:
        return None
