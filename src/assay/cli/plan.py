"""`assay plan new|check|cost|list|seal`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from assay.cli.keyplace import KEY_PLACE, usual_key
from assay.cli.kinds import require_plan
from assay.cli.words import program, shell_path
from assay.errors import PlanError
from assay.plan import builtin_plans, plan_path, read_plan, streams

if TYPE_CHECKING:
    from assay.ledger import KeyPlace


@click.group()
def command() -> None:
    """Start, check and list plans. docs/plan.md describes the file.

    \b
    Examples:
      assay plan new my-plan.yaml
      assay plan check my-plan.yaml
      assay plan cost my-plan.yaml --rate 1%
      assay plan seal my-plan.yaml --party institute --out institute.seal
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
    require_plan(plan)
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

    require_plan(plan)
    supposed = Supposed(
        rate_of(rate, f"--rate {rate}"), rate_of(refusal, f"--refusal {refusal}"), rate_of(unscorable, f"--unscorable {unscorable}"),
        rate_of(clustering, f"--clustering {clustering}"), cells_of(cell),
    )  # fmt: skip
    print_cost(plan, supposed, runs=max(1, runs), seconds=seconds, latency_s=latency, answer_tokens=answer_tokens, as_json=as_json)


@command.command()
@click.argument("plan")
@click.option("--party", required=True, help="Your name, as it will stand in the evidence.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where the seal goes; the secret goes beside it, with .nonce.")
@click.option("--key", type=KEY_PLACE, help="Your signing key: a PEM file, made if it is not there, or a PKCS#11 URI.")
@click.option("--target", "target_text", default="", help="The target, if it is not the plan's own.")
def seal(plan: str, party: str, out: Path, key: KeyPlace | None, target_text: str) -> None:
    """Seal PLAN: draw a nonce, commit to it, and sign the commitment.

    Give the seal to the other parties, and keep the secret. When everybody has everybody's seal, tell your secret to whoever runs the plan;
    the runner tells its own when the run is over. The items come from all nonces together, so nobody chose them.
    """
    from assay.plan import make_seal
    from assay.targets import parse_target

    require_plan(plan)
    loaded, _ = read_plan(plan, parse_target(target_text) if target_text else None)
    secret_path = out.with_name(out.name + ".nonce")
    signing = usual_key(key, click.echo)
    made, secret = make_seal(loaded, party, signing, time.time_ns() // 1_000_000)
    _write_new(secret_path, msgspec.json.encode(secret) + b"\n", mode=0o600)
    _write_new(out, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n", mode=0o644)
    click.echo(f"Sealed {made.terms} as {party}, key {signing.public.keyid}.")
    click.echo(f"\n  Give to the others  {shell_path(out)}\n  Keep secret         {shell_path(secret_path)}")
    click.echo("\nWhen you have all seals and nonces, run it:\n")
    click.echo(
        f"  {program()} run {plan} --seal {shell_path(out)} --seal OTHER.seal --nonce {shell_path(secret_path)} --nonce OTHER.seal.nonce"
    )


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    """A file that was not there before. Raises `PlanError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError:
        raise PlanError("there is a file already", where=str(path), fix="Choose another --out.") from None
    except OSError as e:
        raise PlanError(f"cannot write here: {e.strerror}", where=str(path)) from None


def _name(path: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem).strip("-._")
    return kept[:64] or "plan"
