"""`assay access alerts list|scan|close`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.access_record import recorded_first
from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.safety.alerts import Alert
    from assay.ledger import KeyPlace

CONFIG = click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The gate's file.")
DAY_MS = 86_400_000


@click.group()
def command() -> None:
    """What is unusual in the audit log: new networks, hours, volume, denials, prompts that look like distillation, content, break-glass.

    \b
    Examples:
      assay access alerts scan --config gate.yaml              look at the audit log now
      assay access alerts list --config gate.yaml
      assay access alerts close network-3f2a9c0d1e2f3a4b5c6d --why "travelled, asked by telephone" --config gate.yaml --key admin-1.pem
    """


@command.command("list")
@CONFIG
@click.option("--all", "every", is_flag=True, help="Closed ones too.")
@click.option("--json", "as_json", is_flag=True, help="For machines: one JSON list.")
def list_(config: Path, every: bool, as_json: bool) -> None:
    """Alerts, the open and the gravest first."""
    import msgspec

    from assay.access.config import read_config
    from assay.access.safety.alerts import listed
    from assay.access.store.base import open_store

    read = read_config(config)
    store = open_store(read.store, Path(read.folder))
    damaged: list[str] = []
    try:
        alerts = listed(store, None if every else "open", damaged)
    finally:
        store.close()
    for what in damaged:
        click.echo(f"Left out: {plain(what)}", err=True)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(a) for a in alerts], ensure_ascii=False, indent=1))
        return
    for alert in alerts:
        click.echo("\n".join(_lines(alert)))
    if not alerts:
        click.echo("No open alert.")
    at = shell_path(config)
    click.echo(f"\nNext:\n\n  {program()} access alerts {'close ID --why TEXT --key ADMIN' if alerts else 'scan'} --config {at}")


@command.command()
@CONFIG
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How far back: habits are learnt from it.")
def scan(config: Path, days: int) -> None:
    """Read the audit log of the last days, and keep what is unusual as alerts. What was found before is not found again.

    The administration's process does the same by itself (`administration.alerts_every_s`). Exit code 1 if a segment does not hold.
    """
    from assay.access.audit.records import AuditTamperedError
    from assay.access.config import read_config
    from assay.access.safety.scan import Scan
    from assay.access.store.base import open_store

    read = read_config(config)
    scan = Scan(read.path(read.audit.folder), time.time_ns() // 1_000_000 - days * DAY_MS)
    store = open_store(read.store, Path(read.folder))
    try:
        new = scan.run(store)
    finally:
        store.close()
    for alert in new:
        click.echo("\n".join(_lines(alert)))
    click.echo(f"{len(new)} new alert(s).\n\nNext:\n\n  {program()} access alerts list --config {shell_path(config)}")
    if problems := scan.problems():
        what = f"the rest was looked through, but {'; '.join(plain(p) for p in problems)}"
        raise AuditTamperedError(what, where=str(read.path(read.audit.folder)), fix=f"Run: {program()} access audit verify")


@command.command()
@click.argument("alert")
@CONFIG
@click.option("--why", required=True, help="What was found out.")
@click.option("--key", required=True, type=KEY_PLACE, help="An administrator's key: says who closes it.")
def close(alert: str, config: Path, why: str, key: KeyPlace) -> None:
    """Close ALERT, by whom and why. It stays in the store, closed."""
    from assay.access.audit.records import control
    from assay.access.config import read_config
    from assay.access.safety.alerts import AlertError, close
    from assay.access.store.base import open_store
    from assay.ledger import load_key

    read = read_config(config)
    keyid = load_key(key).public.keyid
    by = next((name for name, public in read.admins.public().items() if public.keyid == keyid), "")
    if not by:
        raise AlertError("this key is no administrator's", fix="Use a key that stands under admins in the gate's file.")
    store = open_store(read.store, Path(read.folder))
    now = time.time_ns() // 1_000_000
    try:
        recorded_first(read, store, control(now, "alert", alert[:60], [by], f"closed: {why}"))
        closed = close(store, alert, by, why, now)
    finally:
        store.close()
    click.echo(f"{closed.id}: closed by {by}.\n\nNext:\n\n  {program()} access alerts list --config {shell_path(config)}")


def _lines(alert: Alert) -> list[str]:
    when = datetime.fromtimestamp(alert.at / 1000, UTC).isoformat(timespec="seconds")
    who = ", ".join(plain(part) for part in (alert.person, alert.grant, alert.organisation) if part)
    lines = [f"{alert.id}  {alert.severity:<6}  {when}  {who}", f"    {plain(alert.what)}"]
    if alert.others:
        lines.append(f"    with {', '.join(plain(o) for o in alert.others[:10])}")
    if alert.evidence:
        lines.append(f"    requests: {', '.join(plain(e) for e in alert.evidence[:3])}{' ...' if len(alert.evidence) > 3 else ''}")
    if alert.state == "closed":
        lines.append(f"    closed by {plain(alert.closed_by)}: {plain(alert.why)}")
    return lines
