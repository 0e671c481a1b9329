"""`assay roles new|sign|verify|show`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.evidence.roles import Roles
    from assay.ledger import KeyPlace

DAYS = 365


@click.group()
def command() -> None:
    """Whose signature counts for what. docs/release.md tells it in order.

    Owners say who evaluates and who approves; a release takes evaluators and two approvers or more, with different keys.

    \b
    Examples:
      assay roles new roles.yaml --authority example.org/gate --owner a=KEY --evaluator e=KEY --approver b=KEY --approver c=KEY
      assay roles sign roles.yaml --key owner.pem
      assay roles verify roles-1.signed.json --owner KEYID
    """


def _holders(role: str, help_: str) -> Callable[[Any], Any]:
    return click.option(f"--{role}", f"{role}s", multiple=True, required=True, metavar="NAME=KEY", help=help_)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--authority", required=True, help="Whose roles these are: a host name in lower case, parts may follow: example.org/gate.")
@_holders("owner", "Who may change the roles; KEY is a public key in base64 (assay key show --public), or a file with it.")
@_holders("evaluator", "Who signs evidence.")
@_holders("approver", "Who signs releases: two or more.")
@click.option("--days", type=click.IntRange(1, 3650), default=DAYS, show_default=True, help="How long the roles hold.")
def new(path: Path, authority: str, owners: tuple[str, ...], evaluators: tuple[str, ...], approvers: tuple[str, ...], days: int) -> None:
    """Write a roles file to PATH, ready to edit and to sign. Each role takes the signatures of all owners, one evaluator, two approvers."""
    import msgspec

    from assay.evidence.roles import Authority, Name, RolesError, parse_roles, public_key
    from assay.runs import whole_file

    def fits(value: str, kind: Any, what: str) -> None:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            raise click.UsageError(what) from None

    fits(authority, Authority, f"'{plain(authority)}' is no name of an authority: a host name in lower case, like example.org/gate")

    keys: dict[str, str] = {}
    roles = {"owner": (owners, len(owners)), "evaluator": (evaluators, 1), "approver": (approvers, 2)}
    for given, _ in roles.values():
        for name, key in (named_key(text) for text in given):
            fits(name, Name, f"'{plain(name)}' is no name of a key: lower-case letters, digits, and . _ - between them, 64 at most")
            try:
                public_key(key)
            except RolesError as e:
                raise RolesError(e.what, where=f"{name}={plain(key[:80])}", fix=e.fix) from None
            if keys.setdefault(name, key) != key:
                raise RolesError(f"'{name}' has two keys", fix="Give each key a name of its own.")
    until = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    lines = [
        "# Whose signature counts for what. Raise the version with every change; owners of both versions sign the new one.",
        "assay: roles/1",
        f"authority: {json.dumps(authority)}",
        "version: 1",
        f'expires: "{until}"',
        "keys:",
        *(f"  {json.dumps(name)}: {{public: {json.dumps(key)}}}" for name, key in keys.items()),
        *(
            f"{role}: {{keys: [{', '.join(json.dumps(named_key(text)[0]) for text in given)}], threshold: {threshold}}}"
            for role, (given, threshold) in roles.items()
        ),
        "revoked: {}          # key id: reason; takes a key out at once, whatever it has signed",
    ]
    text = "\n".join(lines) + "\n"
    parse_roles(text, where=str(path))
    try:
        if path.exists() or path.is_symlink():
            raise RolesError("there is a file already", where=str(path), fix="Choose another path.")
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as e:
        raise RolesError(f"cannot write the roles: {e.strerror}", where=str(path)) from None
    click.echo(f"Wrote {shell_path(path)}. Next, every owner signs it:\n\n  {program()} roles sign {shell_path(path)} --key OWNER")


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--key", required=True, type=KEY_PLACE, help="An owner's signing key: a PEM file or a PKCS#11 URI.")
@click.option("--previous", type=click.Path(exists=True, path_type=Path), help="The signed version before, if the key was an owner's then.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; roles-VERSION.signed.json beside PATH unless given.")
def sign(path: Path, key: KeyPlace, previous: Path | None, out: Path | None) -> None:
    """Add an owner's signature to PATH: a roles file, or a signed one that another owner has begun."""
    from assay.evidence.roles import RolesError, cosign_roles, read_roles, read_signed, roles_of, unsigned
    from assay.ledger import load_key
    from assay.runs import whole_file

    begun = path.suffix == ".json"
    value = read_signed(path) if begun else unsigned(read_roles(path))
    roles = roles_of(value)
    out = out or (path if begun else path.with_name(f"roles-{roles.version}.signed.json"))
    if begun and out != path and out.exists():
        raise RolesError("there is a file already", where=str(out), fix="Choose another path, or leave --out away to add to PATH.")
    if not begun and out.exists():
        value = read_signed(out)
        if roles_of(value) != roles:
            raise RolesError(
                f"other roles were signed as version {roles.version}", where=str(out), fix="Raise the version, or remove the file."
            )
    signed = cosign_roles(value, load_key(key), roles_of(read_signed(previous)) if previous else None)
    try:
        with whole_file(out) as file:
            file.write(json.dumps(signed, indent=1).encode() + b"\n")
    except OSError as e:
        raise RolesError(f"cannot write the signed roles: {e.strerror}", where=str(out)) from None
    count = len(signed["envelope"]["signatures"])
    click.echo(f"{roles.authority}, version {roles.version}, {roles.digest}\nSigned by {count} key(s): {shell_path(out)}")
    click.echo(f"\nOthers check it with the owners' key ids:\n\n  {program()} roles verify {shell_path(out)} --owner KEYID")


@command.command()
@click.argument("signed", type=click.Path(exists=True, path_type=Path))
@click.option("--owner", "owners", multiple=True, metavar="KEYID", help="Key id of an owner who must have signed, told by another channel.")
@click.option("--previous", type=click.Path(exists=True, path_type=Path), help="The signed version that you trust already.")
def verify(signed: Path, owners: tuple[str, ...], previous: Path | None) -> int:
    """Check that enough owners have signed SIGNED, and those of the version before it.

    Exit code: 0 if so, 1 if not or if it has expired, 2 if it cannot be read.
    """
    from assay.evidence.roles import open_roles, read_signed

    now = time.time_ns() // 1_000_000
    before = open_roles(read_signed(previous), owners=owners, now_ms=now) if previous else None
    roles = open_roles(read_signed(signed), owners=owners, before=before, now_ms=now)
    _print(roles)
    if now > roles.expires_ms:
        click.echo(f"\nThe owners' signatures hold, and the roles expired on {roles.expires}: ask the owners for the next version.")
        return 1
    click.echo("\nThe owners' signatures hold. Next, check a release:\n")
    known = "".join(f" --owner {owner}" for owner in owners)
    click.echo(f"  {program()} release verify RELEASE --roles {shell_path(signed)}{known}")
    return 0


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def show(path: Path) -> None:
    """What PATH, a roles file or a signed one, says. Signatures are not checked."""
    from assay.evidence.roles import read_roles, read_signed, roles_of

    _print(roles_of(read_signed(path)) if path.suffix == ".json" else read_roles(path))


def _print(roles: Roles) -> None:
    from assay.evidence.roles import ROLES, public_key

    now = time.time_ns() // 1_000_000
    click.echo(f"{roles.authority}, version {roles.version}, until {roles.expires}{' (expired)' if now > roles.expires_ms else ''}")
    for role in ROLES:
        held, counting = roles.role(role), roles.counting(role, now)
        click.echo(f"  {role}: {held.threshold} of {len(held.keys)}")
        for name in held.keys:
            holder = roles.keys[name]
            note = f", until {holder.expires}" if holder.expires else ""
            click.echo(f"      {name:<20} {public_key(holder.public).keyid}{note}{'' if name in counting else '  counts no more'}")
    for keyid, reason in roles.revoked.items():
        click.echo(f"  revoked: {keyid}  {plain(json.dumps(reason, ensure_ascii=False))}")


def named_key(text: str) -> tuple[str, str]:
    """NAME=KEY, KEY being a public key or a file with one. Raises `click.UsageError`."""
    name, equals, key = text.partition("=")
    if not equals or not name or not key:
        raise click.UsageError("a key is given as NAME=KEY")
    path = Path(key)
    if len(key) < 200 and path.is_file() and path.stat().st_size < 4096:
        key = path.read_text(encoding="utf-8", errors="replace").strip()
    return name, key
