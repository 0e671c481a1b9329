"""`assay access break-glass open|review|list`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.access_record import recorder
from assay.cli.accessopen import recalled
from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.safety.breakglass import Glass, Lifted
    from assay.ledger import KeyPlace

CONFIG = click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The gate's file.")


@click.group()
def command() -> None:
    """An exception in an emergency: one administrator lifts a grant's hours or quota for an hour at most; another reviews it afterwards.

    It passes no halt and needs a valid decision like everything else. docs/access-safety.md tells it in order.

    \b
    Examples:
      assay access break-glass open power --lift hours --reason "turbine trip at night" --config gate.yaml --key admin-1.pem
      assay access break-glass review bg-0123456789abcdef --justified --note "in the plant's log" --config gate.yaml --key admin-2.pem
      assay access break-glass list --config gate.yaml
    """


@command.command("open")
@click.argument("grant")
@CONFIG
@click.option("--lift", "lifts", multiple=True, required=True, type=click.Choice(["hours", "quota"]), help="What is lifted; once or twice.")
@click.option("--reason", required=True, help="Why, in ten characters or more.")
@click.option("--minutes", type=click.IntRange(1, 60), default=30, show_default=True, help="How long.")
@click.option("--key", required=True, type=KEY_PLACE, help="An administrator's signing key.")
def open_(grant: str, config: Path, lifts: tuple[Lifted, ...], reason: str, minutes: int, key: KeyPlace) -> None:
    """Lift GRANT's hours or quota now. It alerts at once, and must be reviewed by another administrator when it has ended."""
    from assay.access.config import read_config
    from assay.access.grants.grant import open_all
    from assay.access.grants.orders import open_halts
    from assay.access.safety.breakglass import BreakGlassError, open_glass
    from assay.access.store.base import open_store
    from assay.ledger import load_key

    read = read_config(config)
    now = time.time_ns() // 1_000_000
    store = open_store(read.store, Path(read.folder))
    try:
        snapshot = recalled(read, store.snapshot())
        grants, refused = open_all(snapshot, read.admins, now)
        if grant not in grants:
            why = refused.get(grant, "there is no such grant")
            raise BreakGlassError(f"'{plain(grant[:64])}' does not hold: {why}", fix="See them: assay access list")
        admins = read.admins.public()
        halts = open_halts(snapshot, admins)
        opened = open_glass(
            store, admins, load_key(key), grant=grants[grant], lifts=lifts, reason=reason, minutes=minutes, now=now, halts=halts,
            record=recorder(read, store),
        )  # fmt: skip
    finally:
        store.close()
    click.echo(f"{opened.id}: {' and '.join(opened.lifts)} of {plain(grant)} lifted until {_when(opened.until)}, by {opened.by}.")
    click.echo("\nWhen it has ended, another administrator reviews it:\n")
    click.echo(f"  {program()} access break-glass review {opened.id} --justified --note TEXT --config {shell_path(config)} --key ADMIN")


@command.command()
@click.argument("glass")
@CONFIG
@click.option("--justified/--not-justified", required=True, default=None, help="What the review found.")
@click.option("--note", required=True, help="How you know, in ten characters or more.")
@click.option("--key", required=True, type=KEY_PLACE, help="The signing key of an administrator who has not opened it.")
def review(glass: str, config: Path, justified: bool, note: str, key: KeyPlace) -> None:
    """Review GLASS, an exception that has ended, and that another administrator opened."""
    from assay.access.config import read_config
    from assay.access.safety.breakglass import review
    from assay.access.store.base import open_store
    from assay.ledger import load_key

    read = read_config(config)
    store = open_store(read.store, Path(read.folder))
    try:
        made = review(
            store, read.admins.public(), load_key(key), glass, justified=justified, note=note, now=time.time_ns() // 1_000_000,
            record=recorder(read, store),
        )  # fmt: skip
    finally:
        store.close()
    click.echo(f"{made.id}: {'justified' if made.justified else 'not justified'}, by {made.by}.")
    click.echo(f"\nNext:\n\n  {program()} access break-glass list --config {shell_path(config)}")


@command.command("list")
@CONFIG
def list_(config: Path) -> None:
    """All exceptions, what is still to review first."""
    from assay.access.config import read_config
    from assay.access.safety.breakglass import read_all
    from assay.access.store.base import open_store

    read = read_config(config)
    now = time.time_ns() // 1_000_000
    store = open_store(read.store, Path(read.folder))
    try:
        glasses = read_all(store, read.admins.public())
    finally:
        store.close()
    order = ("overdue", "unreviewed", "open", "reviewed")
    rows = sorted(glasses.values(), key=lambda g: (order.index(g.state(now)), -g.opened.at))
    for one in rows:
        opened = one.opened
        what = f"{plain(opened.grant)}: {' and '.join(opened.lifts)}, by {_who(opened.by, one)}, {_when(opened.at)}"
        click.echo(f"{opened.id}  {one.state(now):<10}  {what}")
        click.echo(f"    {plain(opened.reason)}")
        if one.review is not None:
            found = "justified" if one.review.justified else "not justified"
            click.echo(f"    {found}, by {_who(one.review.by, one)}: {plain(one.review.note)}")
    if not rows:
        click.echo("No exception was ever opened.")
    waiting = next((g for g in rows if g.state(now) in ("overdue", "unreviewed")), None)
    next_ = f"break-glass review {waiting.opened.id} --justified --note TEXT --key ADMIN" if waiting else "alerts list"
    click.echo(f"\nNext:\n\n  {program()} access {next_} --config {shell_path(config)}")


def _who(name: str, one: Glass) -> str:
    return f"{name} (no administrator now)" if name in one.gone else name


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="minutes")
