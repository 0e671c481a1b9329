"""The nearest known name to one that was mistyped, and groups of commands that say it.

nearest("quite", ["quiet", "out"])      # "Did you mean 'quiet'?"
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import click

OPTIONS = {"help": "--help", "version": "--version"}
"""Words that others take as commands, and that are options here."""


def nearest(name: str, known: Collection[str]) -> str:
    """A question with the nearest known name; all of them where none is near."""
    near = closest(name, known)
    return f"Did you mean '{near}'?" if near else f"Known: {', '.join(sorted(known))}." if known else ""


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one; empty where none is like it."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), 1, 0.5)), "")


def require_command(ctx: click.Context, group: click.Group, name: str) -> None:
    """Refuse a name that is no command of a group whose commands are loaded when they are used. Raises `click.UsageError`."""
    known = group.list_commands(ctx)
    if ctx.resilient_parsing or name.startswith("-") or name in known:
        return
    option = next((o for o in [OPTIONS.get(name)] for p in group.get_params(ctx) if o in p.opts), "")
    near = f"{ctx.command_path} {option or closest(name, known)}".rstrip()
    raise click.UsageError(f"No such command '{name}'." + (f" Did you mean '{near}'?" if near != ctx.command_path else ""), ctx)
