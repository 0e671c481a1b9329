"""`assay access grant|approve|sub-grant`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.access_record import recorded_first
from assay.cli.accessopen import admin, config_option, key_option, now_ms, opened, terms
from assay.cli.words import program, shell_path

if TYPE_CHECKING:
    from assay.access.audit.records import Did
    from assay.access.config import Config
    from assay.access.model import Grant
    from assay.ledger import KeyPlace

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=FILE)
@config_option
@key_option("The first administrator's signing key.")
def command(file: Path, config_path: Path, key_place: KeyPlace) -> None:
    """Propose the grant in FILE (YAML): it is checked, signed by a first administrator, and pending until others approve.

    The same id again is a new version, which needs new approvals; until it has them, the version before holds.

    \b
    Examples:
      assay access grant power.yaml --config gate.yaml --key ada.pem
    """
    from assay.access.grants.grant import sign_grant
    from assay.access.grants.grantfile import read_grant

    with opened(config_path) as (config, store):
        name, key = admin(config, key_place)
        known = store.snapshot().grants
        grant = read_grant(file, version=1, now=now_ms())
        if grant.id in known:
            grant = read_grant(file, version=known[grant.id].grant.version + 1, now=now_ms())
        _served(config, grant, str(file))
        signed = sign_grant(grant, key)
        recorded_first(config, store, _told("grant", grant, name))
        store.put_grant(signed)
    click.echo(f"Grant {grant.id}, version {grant.version}: signed by {name}, pending.\n")
    click.echo("\n".join(f"  {line}" for line in terms(grant)))
    click.echo(
        f"\nNext, {config.admins.threshold - 1} more of {_others(config, [name])}:\n\n"
        f"  {program()} access approve {grant.id} --config {shell_path(config_path)} --key KEY"
    )


@click.command()
@click.argument("grant_id", metavar="ID")
@click.option("--version", type=click.IntRange(1), help="The version that you have read, if another must not be approved in its place.")
@click.option("--terms", "expected", help="The digest of the terms that you have read (sha256:...), if others must not be approved.")
@config_option
@key_option("Another administrator's signing key.")
def approve(grant_id: str, version: int | None, expected: str | None, config_path: Path, key_place: KeyPlace) -> None:
    """Approve the newest version of a grant.

    \b
    Examples:
      assay access show power --config gate.yaml
      assay access approve power --config gate.yaml --key bea.pem
    """
    from assay.access.grants.grant import GrantError

    with opened(config_path) as (config, store):
        name, key = admin(config, key_place)
        signed = store.snapshot().grants.get(grant_id)
        if signed is None:
            raise GrantError("there is no such grant", where=grant_id, fix=f"List them: {program()} access list")
        grant = signed.grant
        if grant.parent:
            raise GrantError("a sub-grant holds by its holder's signature alone", where=grant_id, fix="Revoke it if it must not hold.")
        if version not in (None, grant.version):
            raise GrantError(f"the newest version is {grant.version}", where=grant_id, fix="Read it before you approve it.")
        if expected not in (None, grant.digest_of_terms):
            raise GrantError(f"its terms are {grant.digest_of_terms}", where=grant_id, fix="Read them before you approve them.")
        if name in signed.signers(config.admins.public()):
            raise GrantError(f"'{name}' has approved it already", where=grant_id, fix=f"It takes another of {_others(config, [name])}.")
        _served(config, grant, grant_id)
        recorded_first(config, store, _told("approve", grant, name))
        names = store.put_grant(signed.approved(key)).signers(config.admins.public())
    click.echo("\n".join(f"  {line}" for line in terms(grant)))
    missing = config.admins.threshold - len(names)
    if missing > 0:
        click.echo(f"\nApproved by {', '.join(names)}; it takes {missing} more of {_others(config, names)}.")
    else:
        click.echo(f"\nApproved by {', '.join(names)}: grant {grant.id}, version {grant.version}, holds.")
    click.echo(f"\nNext: {program()} access show {grant.id} --config {shell_path(config_path)}")


@click.command("sub-grant")
@click.argument("parent_id", metavar="PARENT")
@click.argument("file", type=FILE)
@config_option
@key_option("The signing key of a person of the parent.")
def sub_grant(parent_id: str, file: Path, config_path: Path, key_place: KeyPlace) -> None:
    """Give a part of a grant to a contractor: only narrower, for keys of their own; it ends with its parent.

    FILE (YAML) says the id, the persons and what is narrower; the rest is the parent's. A holder of the parent signs it.

    \b
    Examples:
      assay access sub-grant power relays.yaml --config gate.yaml --key holder.pem
    """
    from assay.access.grants.grant import GrantError, open_all, sign_sub_grant, thumbprint
    from assay.access.grants.grantfile import read_grant
    from assay.ledger import load_key

    key = load_key(key_place)
    with opened(config_path) as (config, store):
        now = now_ms()
        snapshot = store.snapshot()
        parent = open_all(snapshot, config.admins, now)[0].get(parent_id)
        if parent is None:
            raise GrantError("there is no such grant in force", where=parent_id, fix=f"List them: {program()} access list")
        child = read_grant(file, version=1, now=now, parent=parent)
        if child.id in snapshot.grants:
            before = snapshot.grants[child.id].grant
            if before.parent != parent_id:
                raise GrantError(f"'{child.id}' is another grant", where=str(file), fix="Give the sub-grant an id of its own.")
            child = read_grant(file, version=before.version + 1, now=now, parent=parent)
        signed = sign_sub_grant(child, parent, key)
        by = next(p.name for p in parent.persons if p.key == thumbprint(key.public))
        recorded_first(config, store, _told("grant", child, by))
        store.put_grant(signed)
    click.echo(f"Sub-grant {child.id}, version {child.version}, of {parent_id}: holds while {parent_id} does.\n")
    click.echo("\n".join(f"  {line}" for line in terms(child)))
    click.echo(f"\nNext: {program()} access show {child.id} --config {shell_path(config_path)}")


def _told(did: Did, grant: Grant, by: str) -> dict[str, Any]:
    from assay.access.audit.records import control

    what = f"version {grant.version}" + (f", sub-grant of {grant.parent}" if grant.parent else "")
    return control(now_ms(), did, grant.id, [by], what, grant.digest_of_terms)


def _served(config: Config, grant: Grant, where: str) -> None:
    from assay.access.grants.grant import GrantError

    served = config.models.get(grant.model)
    if served is None:
        raise GrantError(f"the gate serves no model '{grant.model}'", where=where, fix=f"It serves: {', '.join(config.models)}")
    if served.digest != grant.digest:
        fix = "Write the digest of the model that is meant."
        raise GrantError(f"the gate serves '{grant.model}' as {served.digest}", where=where, fix=fix)


def _others(config: Config, names: list[str]) -> str:
    return ", ".join(name for name in config.admins.keys if name not in names)
