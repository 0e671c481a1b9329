"""`assay access list|show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.accessopen import config_option, day, now_ms, opened, recalled, terms
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.grants.standing import Standing
    from assay.access.model import Halt, Scope
    from assay.access.store.base import Store


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@config_option
def command(as_json: bool, config_path: Path) -> None:
    """Every grant: state, who, what, until when, how much is used; and the halts in force, also those that the store has lost and this
    machine's gate has seen.

    \b
    Examples:
      assay access list --config gate.yaml
      assay access list --json
    """
    from assay.access.grants.orders import open_halts
    from assay.access.grants.standing import standings

    with opened(config_path) as (config, store):
        now = now_ms()
        stored = store.snapshot()
        snapshot = recalled(config, stored)
        found = standings(snapshot, config.admins, now)
        halts = [h for h in open_halts(snapshot, config.admins.public()) if not h.lifted]
        lost = {h.id for h in halts} - set(stored.halts)
        used = {s.id: _used(store, s, now) for s in found}
    if as_json:
        value = {"epoch": snapshot.epoch, "grants": [_said(s, used[s.id]) for s in found], "halts": [_halt(h, h.id in lost) for h in halts]}
        click.echo(json.dumps(value, indent=1, ensure_ascii=False))
        return
    rows: list[tuple[str, ...]] = [("ID", "STATE", "WHO", "MODEL", "UNTIL", "USED")]
    for s in found:
        state = s.state + (f" (version {s.newer} pending)" if s.newer else "")
        rest = (s.grant.organisation, s.grant.model, day(s.grant.expires), used[s.id][0]) if s.grant else ("", "", "", "")
        rows.append((s.id, state, *rest))
    _table(rows)
    for h in halts:
        click.echo("\n" + plain(f"Halt {h.id} by {h.by}, {day(h.at)}: {scope_words(h.scope)}{_spares(h)}. {h.reason}"))
        if h.id in lost:
            click.echo("  The store has lost it; the gate has seen it, so it stops all the same until it is lifted.")
    waiting = next((s.id for s in found if s.state == "pending" or s.newer), "")
    config_words = f"--config {shell_path(config_path)}"
    if waiting:
        click.echo(f"\nNext: {program()} access approve {waiting} {config_words} --key KEY")
    elif found:
        click.echo(f"\nNext: {program()} access show {found[0].id} {config_words}")
    else:
        click.echo(f"\nNo grant yet. Next: {program()} access grant FILE {config_words} --key KEY")


@click.command()
@click.argument("grant_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@config_option
def show(grant_id: str, as_json: bool, config_path: Path) -> None:
    """All of a grant: its terms, who approved it, what is used of it, its sub-grants.

    \b
    Examples:
      assay access show power --config gate.yaml
    """
    from assay.access.grants.grant import GrantError
    from assay.access.grants.standing import standings

    with opened(config_path) as (config, store):
        now = now_ms()
        found = {s.id: s for s in standings(recalled(config, store.snapshot()), config.admins, now)}
        if grant_id not in found:
            raise GrantError("there is no such grant", where=plain(grant_id), fix=f"List them: {program()} access list")
        s = found[grant_id]
        used = _used(store, s, now)
    if as_json:
        click.echo(json.dumps(_said(s, used), indent=1, ensure_ascii=False))
        return
    version = f", version {s.grant.version}" if s.grant else ""
    click.echo(plain(f"{s.id}{version}: {s.state}{': ' + s.why if s.why else ''}"))
    if s.grant is not None:
        lines = [*terms(s.grant), *(f"used      {text}" for text in used)]
        if not s.grant.parent:
            lines.append(f"approved  {', '.join(s.approvals) or 'by nobody'} (it takes {config.admins.threshold})")
        subs = [o.id for o in found.values() if o.grant and o.grant.parent == s.id]
        if subs:
            lines.append(f"narrowed  {', '.join(subs)}")
        if s.newer:
            lines.append(f"pending   version {s.newer}")
        click.echo("\n".join(f"  {plain(line)}" for line in lines))
    config_words = f"--config {shell_path(config_path)}"
    if s.state == "pending" or s.newer:
        click.echo(f"\nNext: {program()} access approve {s.id} {config_words} --key KEY")
    else:
        click.echo(f"\nTo end it: {program()} access revoke {s.id} --reason WHY {config_words} --key KEY")


def scope_words(scope: Scope) -> str:
    """What a halt is about, in words."""
    parts = [f"{name} {getattr(scope, name)}" for name in scope.__struct_fields__ if getattr(scope, name)]
    return ", ".join(parts) or "everything"


def _used(store: Store, s: Standing, now: int) -> list[str]:
    if s.grant is None:
        return []
    from assay.access.grants.quota import quota_keys

    keys = quota_keys(s.grant, now)
    return [
        f"{u.requests:,}/{k.limit.requests:,} requests, {u.tokens:,}/{k.limit.tokens:,} tokens, "
        f"{u.money / 1e6:,.2f}/{k.limit.money / 1e6:,.2f} money ({k.window})"
        for k, u in zip(keys, store.used(keys), strict=True)
    ]


def _said(s: Standing, used: list[str]) -> dict[str, Any]:
    return {
        "id": s.id, "state": s.state, "why": s.why, "approvals": list(s.approvals), "pending_version": s.newer, "used": used,
        "grant": s.grant.to_json() if s.grant else None,
    }  # fmt: skip


def _halt(halt: Halt, lost: bool) -> dict[str, Any]:
    import msgspec

    value: dict[str, Any] = msgspec.to_builtins(halt)
    return value | {"lost": lost}


def _spares(halt: Halt) -> str:
    return f", spared: {', '.join(halt.spares)}" if halt.spares else ""


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(plain(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{plain(cell):<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
