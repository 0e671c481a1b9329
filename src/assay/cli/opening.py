"""The options by which a command opens sealed banks: their files, identities, and other parties' shares.

    @click.command()
    @opening_options
    def command(..., banks, identities, shares): openers = openers_of(banks, identities, shares)

Files only: a secret never stands on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from assay.catalog import Openers

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def opening_options(command: F) -> F:
    """Adds `--bank`, `--identity` and `--share`."""
    for option in (
        click.option("--share", "shares", multiple=True, type=_FILE, help="A party's share of a fully sealed bank (assay bank share)."),
        click.option("--identity", "identities", multiple=True, type=_FILE, help="An age identity file that opens sealed banks."),
        click.option("--bank", "banks", multiple=True, type=_FILE, help="Where a sealed bank is, if not where the run found it."),
    ):
        command = option(command)
    return command


def openers_of(banks: tuple[Path, ...], identities: tuple[Path, ...], shares: tuple[Path, ...]) -> Openers:
    """What was given, as one value."""
    from assay.catalog import Openers

    return Openers(banks, identities, shares)
