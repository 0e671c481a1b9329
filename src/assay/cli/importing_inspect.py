"""`assay import inspect`: what it does with what it was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from assay.cli.words import program, shell_path
from assay.exchange.inspect_log import Chosen, Gathered, Meant, add_answers, gather, make, read_log, write


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, read."""

    logs: tuple[Path, ...]
    name: str
    title: str
    licence: str
    language: str
    language_field: str
    fields: tuple[str, ...]
    scorer: str
    violation: tuple[str, ...]
    safe: tuple[str, ...]
    leave_out: bool
    bank_only: bool
    plan_file: Path | None
    out: Path | None


def import_logs(asked: Asked) -> None:
    """Read, write, and say what came of it and what is next."""
    if bool(asked.language) == bool(asked.language_field):
        raise click.UsageError("give --language or --language-field")
    if not all("=" in each for each in asked.fields):
        raise click.UsageError("--where takes FIELD=VALUE")
    where = {name: value for name, _, value in (each.partition("=") for each in asked.fields)}
    if asked.plan_file is not None:
        fixed = (asked.name, asked.licence, asked.title, asked.scorer, asked.violation, asked.safe, asked.out, asked.bank_only)
        if any(fixed):
            raise click.UsageError("with --plan, name, licence, scorer and mapping are the plan's")
    elif not (asked.name and asked.licence):
        raise click.UsageError("--name and --licence are needed")
    found = gather(
        [read_log(path) for path in asked.logs], Chosen(asked.language, asked.language_field, where, asked.leave_out)
    )  # fmt: skip
    if asked.plan_file is not None:
        path, notes = add_answers(found, asked.plan_file)
        _told(found, [path], notes)
        what = "seals that are older than these answers, of two parties or more, let the run approve"
        click.echo(f"\nNext, decide on it ({what}: --seal and --nonce):\n\n  {program()} run {shell_path(asked.plan_file)}")
        return
    meant = Meant(asked.name, asked.licence, asked.title, asked.scorer, asked.violation, asked.safe)
    made = make(found, meant, bank_only=asked.bank_only)
    out = asked.out or Path(asked.name)
    written = write(made, out)
    _told(found, written, made.notes)
    plan = shell_path(written[-1])
    if asked.bank_only:
        click.echo(f"\nNext, edit the requirements, let every party seal the plan, and only then run the evaluation:\n\n"
                   f"  {program()} plan seal {plan} --party NAME --out NAME.seal\n"
                   f"  {program()} import inspect LOG --plan {plan} --language {asked.language or '...'}")  # fmt: skip
        return
    click.echo("\nThe plan is younger than the answers: its run can halt or delay, and never approves.")
    click.echo(f"\nNext, edit the requirements, then decide:\n\n  {program()} run {plan}")


def _told(found: Gathered, written: list[Path], notes: tuple[str, ...]) -> None:
    answered = sum(not s.failure for s in found.samples.values())
    asked = len(found.samples) + len(found.missing)
    click.echo(f"{found.model}, {found.task}: {answered:,} answers to {asked:,} requests")
    for note in notes:
        click.echo(f"  note: {note}")
    for path in written:
        click.echo(f"  {shell_path(path)}")
