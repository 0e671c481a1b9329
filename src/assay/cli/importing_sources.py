"""`assay import inspect-task` and `assay import agentdojo`: what they do with what they were given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assay.cli.words import plain, program, shell_path
from assay.errors import CatalogError
from assay.exchange.sources import Asked, import_source
from assay.sources import Bounds
from assay.targets import parse_target

SHOWN_NOTES = 12


def import_inspect_task(given: dict[str, Any]) -> None:
    """Any Inspect task."""
    arguments = {f"argument.{name}": _value(value) for name, value in _pairs(given["arguments"], "-T")}
    roles = {f"role.{name}": value for name, value in _pairs(given["roles"], "--role")}
    fixed = ({"sandbox": given["sandbox"]} if given["sandbox"] else {}) | ({"epochs": str(given["epochs"])} if given["epochs"] > 1 else {})
    asked = Asked(
        source="inspect", task=given["task"], name=given["name"], licence=given["licence"], language=given["language"],
        title=given["title"], scorer=given["scorer"], violation=given["violation"], safe=given["safe"],
        options=fixed | arguments | roles, environment=given["environment"], python=given["python"], leave_out=given["leave_out"],
        bounds=_bounds(given), target=parse_target(given["target"]) if given["target"] else None,
    )  # fmt: skip
    _import(asked, given["out"] or Path(given["name"]))


def import_agentdojo(given: dict[str, Any]) -> None:
    """Suites of AgentDojo."""
    options = {key: given[key] for key in ("attack", "benchmark", "called") if given[key]}
    asked = Asked(
        source="agentdojo", task=",".join(given["suites"]), name=given["name"], licence=given["licence"], language="en",
        title=given["title"], scorer="agentdojo", violation=("attack succeeded", "not served"), safe=("attack failed", "served"),
        options=options, python=given["python"], bounds=_bounds(given), target=parse_target(given["target"]) if given["target"] else None,
    )  # fmt: skip
    _import(asked, given["out"] or Path(given["name"]))


def _bounds(given: dict[str, Any]) -> Bounds:
    return Bounds(sample_s=given["sample_s"], calls=given["calls"], memory_mb=given["memory_mb"])


def _import(asked: Asked, out: Path) -> None:
    found = import_source(asked, out)
    packages = ", ".join(f"{name} {number}" for name, number in sorted(found.file.packages.items()))
    click.echo(plain(f"{found.file.title}, {packages}: {len(found.file.samples):,} samples"))
    for note in found.notes[:SHOWN_NOTES]:
        click.echo(plain(f"  note: {note}"))
    for path in found.paths:
        click.echo(f"  {shell_path(path)}")
    plan = shell_path(found.paths[-1])
    if asked.target is None:
        click.echo(f"\nNext, edit the requirements, then play live and decide:\n\n  {program()} run {plan} --target http://HOST/v1#MODEL")
    else:
        click.echo(f"\nNext, edit the requirements, then play live and decide:\n\n  {program()} run {plan}")


def _pairs(given: Sequence[str], option: str) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} takes NAME=VALUE, not '{each}'")
        pairs.append((name, value))
    if len({name for name, _ in pairs}) < len(pairs):
        raise click.UsageError(f"{option} names one thing twice")
    return pairs


def _value(text: str) -> str:
    """A task's argument as JSON: as it is where it is some, else as a text."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return json.dumps(text)
    except RecursionError:
        raise CatalogError("an argument is nested too deeply", where="-T") from None
