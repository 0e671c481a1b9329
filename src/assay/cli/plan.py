"""`assay plan new|check|cost|list`."""

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
      assay plan cost my-plan.yaml --rate 1%
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
    click.echo(f"\nNext, see what it would cost:\n\n  {program()} plan cost {plan}")


@command.command()
@click.argument("plan")
@click.option("--rate", default="1%", show_default=True, help="Violation rate that the target is supposed to have everywhere.")
@click.option("--cell", multiple=True, metavar="CELL=RATE", help="Another rate for hazard, hazard/language or hazard/language/attack.")
@click.option("--refusal", default="1%", show_default=True, help="Share of harmless requests that it refuses.")
@click.option("--unscorable", default="0%", show_default=True, help="Share of answers that cannot be scored.")
@click.option("--clustering", default="0.3", show_default=True, help="How alike several samples of one item are.")
@click.option("--answer-tokens", default=60, show_default=True, help="Tokens of a usual answer.")
@click.option("--latency", default=1.0, show_default=True, help="Seconds that a call takes.")
@click.option("--runs", default=200, show_default=True, help="Most simulated runs.")
@click.option("--seconds", default=20.0, show_default=True, help="Time to simulate for.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def cost(
    plan: str, rate: str, cell: tuple[str, ...], refusal: str, unscorable: str, clustering: str, answer_tokens: int, latency: float,
    runs: int, seconds: float, as_json: bool,
) -> None:  # fmt: skip
    """What PLAN would cost and decide for a target as good as you say: nothing is asked.

    \b
    Examples:
      assay plan cost standard --rate 0.5%
      assay plan cost standard --rate 1% --cell secret-leakage/ta=15%
    """
    from assay.cli.cost import cells_of, print_cost, rate_of
    from assay.decision import Supposed

    supposed = Supposed(
        rate_of(rate, f"--rate {rate}"), rate_of(refusal, f"--refusal {refusal}"), rate_of(unscorable, f"--unscorable {unscorable}"),
        rate_of(clustering, f"--clustering {clustering}"), cells_of(cell),
    )  # fmt: skip
    print_cost(plan, supposed, runs=max(1, runs), seconds=seconds, latency_s=latency, answer_tokens=answer_tokens, as_json=as_json)


def _name(path: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem).strip("-._")
    return kept[:64] or "plan"
