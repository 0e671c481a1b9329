"""`assay access halt|lift|revoke`: one administrator's key is enough to close; a lift is signed too."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from assay.cli.access_list import scope_words
from assay.cli.access_record import recorded_after, recorded_first
from assay.cli.accessopen import admin, config_option, key_option, now_ms, opened, recalled
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.grants.grant import SignedGrant
    from assay.access.model import Halt
    from assay.access.store.base import Snapshot
    from assay.ledger import KeyPlace

KEY_HELP = "An administrator's signing key."


@click.command()
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--model", default="", help="A model's name.")
@click.option("--digest", default="", help="A model's digest.")
@click.option("--grant", default="", help="A grant, and its sub-grants.")
@click.option("--organisation", default="", help="As its grants name it.")
@click.option("--person", default="", help="As grants name them.")
@click.option("--sector", default="", help="power, water, health and so on.")
@click.option("--jurisdiction", default="", help="Two capital letters.")
@click.option("--tier", default="", help="assessor, operator or general.")
@click.option("--reason", required=True, help="Why.")
@click.option("--spare", "spares", multiple=True, metavar="ID", help="A grant that goes on, with its sub-grants.")
@config_option
@key_option(KEY_HELP)
def command(everything: bool, reason: str, spares: tuple[str, ...], config_path: Path, key_place: KeyPlace, **scope: str) -> None:
    """Halt at once whatever fits every attribute that is given: live streams are cut, and nothing new begins, until it is lifted.

    \b
    Examples:
      assay access halt --all --reason "leak" --config gate.yaml --key ada.pem
      assay access halt --jurisdiction SG --tier operator --spare power --reason "directive 7" --config gate.yaml --key ada.pem
    """
    from assay.access.audit.records import control
    from assay.access.grants.orders import halt_digest, sign_halt
    from assay.access.model import Halt, Scope, covers

    if everything == any(scope.values()):
        raise click.UsageError("say what to halt: --all, or one or more of --model, --grant, --organisation, --person, --sector and so on")
    with opened(config_path) as (config, store):
        name, key = admin(config, key_place)
        at = now_ms()
        stamp = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y%m%d-%H%M%S")
        halt = _checked(Halt(f"halt-{stamp}-{secrets.token_hex(3)}", Scope(**scope), reason, name, at, tuple(spares)))  # type: ignore[arg-type]
        _known(halt, config, store.snapshot())
        store.put_halt(halt, sign_halt(halt, key))
        click.echo(plain(f"Halt {halt.id}: {scope_words(halt.scope)}. It holds now."))
        kept = [s for versions in store.snapshot().versions.values() for s in versions]
        stopped = {s.grant.id for s in kept if any(covers(halt, s.grant, p.name) for p in s.grant.persons)}
        click.echo(f"Grants that it stops: {', '.join(sorted(stopped)) or 'none that is kept here: look at what was given'}.")
        if given := _given(halt.scope.person, kept) - stopped:
            click.echo(plain(f"Sub-grants that {halt.scope.person} has given go on: {', '.join(sorted(given))}. To stop one: --grant ID."))
        recorded_after(config, store, control(at, "halt", halt.id, [name], reason, halt_digest(halt)))
    click.echo(f"\nTo lift it: {program()} access lift {halt.id} --config {shell_path(config_path)} --key KEY")


@click.command()
@click.argument("halt_id", metavar="HALT")
@config_option
@key_option(KEY_HELP)
def lift(halt_id: str, config_path: Path, key_place: KeyPlace) -> None:
    """Lift a halt, by its id; also one that the store has lost and this machine's gate has seen, which is put back first.

    \b
    Examples:
      assay access lift halt-20270131-101500-3fa9c1 --config gate.yaml --key ada.pem
    """
    from assay.access.audit.records import control
    from assay.access.grants.orders import Lift, halt_digest, open_halts, sign_lift
    from assay.access.grants.remembered import put_lift
    from assay.access.store.base import StoreError

    with opened(config_path) as (config, store):
        name, key = admin(config, key_place)
        stored = store.snapshot()
        found = {h.id: h for h in open_halts(recalled(config, stored), config.admins.public())}.get(halt_id)
        if found is None:
            raise StoreError("there is no such halt", where=plain(halt_id), fix=f"List them: {program()} access list")
        if not found.lifted:
            at = now_ms()
            recorded_first(config, store, control(at, "lift", halt_id, [name], found.reason, halt_digest(found)))
            put_lift(store, stored, found, Lift(halt_id, halt_digest(found), name, at), sign_lift(found, name, at, key))
    click.echo(f"Halt {halt_id} is lifted.\n\nNext: {program()} access list --config {shell_path(config_path)}")


@click.command()
@click.argument("grant_id", metavar="ID")
@click.option("--reason", required=True, help="Why.")
@config_option
@key_option(KEY_HELP)
def revoke(grant_id: str, reason: str, config_path: Path, key_place: KeyPlace) -> None:
    """Revoke a grant, for ever and in every version; its sub-grants end with it.

    \b
    Examples:
      assay access revoke power --reason "contract ended" --config gate.yaml --key ada.pem
    """
    from assay.access.audit.records import control
    from assay.access.grants.grant import GrantError
    from assay.access.grants.orders import Revoked, sign_revocation

    with opened(config_path) as (config, store):
        name, key = admin(config, key_place)
        snapshot = store.snapshot()
        if grant_id not in snapshot.versions and grant_id not in snapshot.damaged:
            raise GrantError("there is no such grant", where=plain(grant_id), fix=f"List them: {program()} access list")
        revoked = _checked(Revoked(grant_id, name, reason, now_ms()))
        store.revoke(grant_id, name, reason, revoked.at, sign_revocation(revoked, key))
        ended = [s.grant.id for s in snapshot.grants.values() if s.grant.parent == grant_id]
        click.echo(f"Grant {grant_id} is revoked{', and with it ' + ', '.join(ended) if ended else ''}.")
        recorded_after(config, store, control(revoked.at, "revoke", grant_id, [name], reason))
    click.echo(f"\nNext: {program()} access list --config {shell_path(config_path)}")


def _given(person: str, kept: list[SignedGrant]) -> set[str]:
    """The sub-grants that a person has signed, for others."""
    from assay.access.grants.grant import thumbprint

    keys = {p.key for s in kept for p in s.grant.persons if person and p.name == person}
    return {s.grant.id for s in kept if s.holder is not None and thumbprint(s.holder) in keys}


def _checked(value: Any) -> Any:
    """The same value, if it is one that the store can read again. Raises `OrderError`."""
    import msgspec

    from assay.access.grants.orders import OrderError

    try:
        return msgspec.convert(msgspec.to_builtins(value), type(value), strict=True)
    except msgspec.ValidationError as e:
        raise OrderError(str(e)) from None


def _known(halt: Halt, config: Config, snapshot: Snapshot) -> None:
    """A name with a slip in it would halt nothing, or spare nobody. Raises `OrderError`."""
    from assay.access.grants.orders import OrderError
    from assay.access.model import Tier

    scope = halt.scope
    grants = [s.grant for versions in snapshot.versions.values() for s in versions]
    checks: list[tuple[str, str, set[str]]] = [
        ("model", scope.model, {*config.models, *(g.model for g in grants)}),
        ("grant", scope.grant, set(snapshot.versions) | set(snapshot.damaged)),
        ("organisation", scope.organisation, {g.organisation for g in grants}),
        ("person", scope.person, {p.name for g in grants for p in g.persons}),
        ("tier", scope.tier, set(get_args(Tier))),
        *(("grant", spare, set(snapshot.versions)) for spare in halt.spares),
    ]
    for what, name, known in checks:
        if name and name not in known:
            raise OrderError(f"there is no {what} '{plain(name)}'", fix=f"Known: {plain(', '.join(sorted(known)[:20])) or 'none'}")
