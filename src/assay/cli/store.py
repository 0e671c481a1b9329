"""`assay store list|check|attach`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from assay.cli.words import plain, program, shell_path
from assay.runs.address import STORE_VARIABLE, StoreAddress, parse_run, parse_store

ADDRESS = "postgresql://USER@HOST/DATABASE"


@click.group(
    epilog="\b\nExamples:\n  assay store check postgresql://assay@db.example/assay\n  assay store list\n"
    "  assay store attach postgresql://assay@db.example/assay#3f0c9a77 --out runs/theirs"
)
def command() -> None:
    """Runs in PostgreSQL, for several machines: `assay run --store ADDRESS` keeps a run there (docs/store.md).

    ADDRESS is like postgresql://USER@HOST/DATABASE, never with a password: that comes from PGPASSFILE, PGPASSWORD or ASSAY_STORE_URL.
    """


@command.command("list")
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def list_(address: str | None, as_json: bool) -> int:
    """The runs of the store at ADDRESS (ASSAY_STORE_URL unless given), newest first, and who is writing."""
    _need_client()
    from assay.runs.stored import MOST_RUNS, stored_runs

    found = stored_runs(_address(address))
    for run in found:
        if as_json:
            row = {
                "run": run.address.run, "address": run.address.text, "opened_ms": run.opened, "plan": run.plan, "target": run.target,
                "trials": run.trials, "writing": run.written, "writer": run.writer, "epoch": run.epoch,
            }  # fmt: skip
            click.echo(json.dumps(row, ensure_ascii=False))
            continue
        opened = time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.opened // 1000))
        who = f"written by {plain(run.writer)}" if run.written else ""
        line = f"{run.address.run[:12]}  {opened}  {run.trials:>9,} trials  {plain(run.plan)[:40]:<24}  {plain(run.target)[:40]:<24}  {who}"
        click.echo(line.rstrip())
    if as_json:
        return 0
    if not found:
        click.echo("The store has no runs yet.")
        return 0
    if len(found) == MOST_RUNS:
        click.echo(f"The newest {MOST_RUNS:,} are shown.")
    example = shell_path(Path(found[0].address.text)).replace(found[0].address.run, found[0].address.run[:12])
    click.echo(f"\nNext, decide on one, or make a folder for it here:\n\n  {program()} decide {example}")
    click.echo(f"  {program()} store attach {example} --out runs/{found[0].address.run[:12]}")
    return 0


@command.command()
@click.argument("address", required=False)
def check(address: str | None) -> int:
    """See that runs can be kept at ADDRESS: make the tables if they are not there, and check that what is committed is on disk."""
    _need_client()
    from assay.runs.stored import prepare_store

    store = _address(address)
    prepare_store(store)
    click.echo(f"{store.text}: ready. Commits are durable (fsync and synchronous_commit are on), and the tables are there.")
    click.echo(f"\nNext:\n\n  {program()} run --store {shell_path(Path(store.text))}")
    return 0


@command.command()
@click.argument("address")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
def attach(address: str, out: Path) -> int:
    """Make a folder for the run at ADDRESS (with #RUN at its end), so that it can be labelled, reported on and gone on with from here.

    The folder has a reference to the run, and no password. People's labels and evidence lie in folders: copy them from the run's own.
    """
    _need_client()
    from assay.runs.opening import REFERENCE_NAME, check_free, write_reference
    from assay.runs.postgres import PostgresRun

    given = parse_run(address)
    _no_password(given.store)
    check_free(out)
    path = out / REFERENCE_NAME
    with PostgresRun.read(given, path, typed=True) as run:
        write_reference(path, run.address)
        click.echo(f"{shell_path(path)}: run {run.address.run[:12]}, {run.count():,} trials")
    click.echo(f"\nNext:\n\n  {program()} decide {shell_path(out)}\n  {program()} report {shell_path(out)}")
    return 0


def _address(given: str | None) -> StoreAddress:
    """The address on the command line, or that of the surroundings."""
    if given:
        return _no_password(parse_store(given))
    if os.environ.get(STORE_VARIABLE):
        return parse_store(os.environ[STORE_VARIABLE])
    raise click.UsageError(f"Missing argument 'ADDRESS': {ADDRESS}, or {STORE_VARIABLE}.")


def _no_password(store: StoreAddress) -> StoreAddress:
    if store.password:
        raise click.UsageError(f"the address holds a password, which others here can read; use PGPASSFILE, PGPASSWORD or {STORE_VARIABLE}")
    return store


def _need_client() -> None:
    from assay.runs.opening import postgres_run

    postgres_run()
