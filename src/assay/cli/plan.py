"""`assay plan new|check|list`."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.words import program, shell_path
from assay.errors import PlanError
from assay.plan import builtin_plans, plan_path, read_plan, streams


@click.group()
def command() -> None:
    """Start, check and list plans. docs/plan.md describes the file.

    \b
    Examples:
      assay plan new my-plan.yaml
      assay plan check my-plan.yaml
    """


@command.command("list")
def list_() -> None:
    """The built-in plans."""
    for name in builtin_plans():
        plan, _ = read_plan(name)
        first = plan.about.strip().split(". ")[0].rstrip(".")
        click.echo(f"{name:<10} {len(streams(plan)):>4} streams, {plan.budget.calls:>7,} calls  {first}")


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--from", "source", default="quick", show_default=True, help="The built-in plan to start from.")
def new(path: Path, source: str) -> None:
    """Write a new plan file to PATH, ready to edit."""
    text = plan_path(source).read_text(encoding="utf-8").replace(f"name: {source}\n", f"name: {_name(path)}\n")
    try:
        with path.open("x", encoding="utf-8") as f:
            f.write(text)
    except FileExistsError:
        raise PlanError("there is a file already", where=str(path)) from None
    except OSError as e:
        raise PlanError(f"cannot write the plan: {e.strerror}", where=str(path)) from None
    click.echo(f"Wrote {shell_path(path)}. Edit it, then:\n\n  {program()} plan check {shell_path(path)}")


@command.command()
@click.argument("plan")
def check(plan: str) -> None:
    """Check PLAN (a file or a built-in name): every key, name and number, with the line of what is wrong."""
    loaded, _ = read_plan(plan)
    click.echo(f"{plan} is valid: {len(streams(loaded))} streams, {len(loaded.requirements)} requirements, {loaded.digest}")
    click.echo(f"\nNext, see what it would cost:\n\n  {program()} run {plan} --dry-run")


def _name(path: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem).strip("-._")
    return kept[:64] or "plan"
