"""`assay access release` and `assay access roles`."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.access_record import recorded_after, recorded_first
from assay.cli.words import STYLE, SYMBOL, plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.store.base import Snapshot
    from assay.evidence.roles import Roles

_CONFIG = click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The gate's file.")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("release", type=_FILE)
@_CONFIG
def command(release: Path, config: Path) -> int:
    """Give RELEASE to the gate: an approval, a delay or a halt of a model that it serves. All workers act on it at once.

    Exit code: 0 if the gate took it, 1 if it does not hold, 2 if it cannot be read.
    """
    from assay.access.audit.records import control
    from assay.access.config import read_config
    from assay.access.store.base import open_store
    from assay.evidence.release import MAX_BYTES, ReleaseError, parse_release
    from assay.evidence.releasecheck import check_release
    from assay.evidence.seen import SeenRelease, lock_seen, read_seen, write_seen

    loaded = read_config(config)
    with release.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    parsed, now = parse_release(data, str(release)), time.time_ns() // 1_000_000
    served = [name for name, model in loaded.models.items() if model.digest == parsed.target]
    if not served:
        raise ReleaseError(f"no model that this gate serves has the digest {parsed.target}", where=str(release))
    state = loaded.path(loaded.authority.state)
    store = open_store(loaded.store, Path(loaded.folder))
    try:
        with lock_seen(state):
            seen = read_seen(state)
            roles, signed = _roles(loaded, store.snapshot(), now)
            seen = seen.followed(roles, signed)
            found = check_release(parsed, roles, now, target=parsed.target, seen=seen)
            if not found.ok:
                for finding in found.findings:
                    click.echo(click.style("  ✕ ", fg="red") + plain(str(finding)))
                click.echo("\nThe gate does not take it.")
                return 1
            digest = hashlib.sha256(parsed.decision.payload).hexdigest()
            what, by = f"{found.verdict} for {', '.join(served)}, epoch {parsed.terms.epoch}", sorted({*found.evaluators, *found.approvers})
            record = control(now, "release", parsed.target, by, what, f"sha256:{digest}")
            if found.verdict != "halt":
                recorded_first(loaded, store, record)
            store.put_release(parsed.target, data)
            write_seen(state, seen.with_release(roles.authority, parsed.target, SeenRelease(parsed.terms.epoch, digest)))
        if found.verdict == "halt":
            recorded_after(loaded, store, record)
    finally:
        store.close()
    click.echo(click.style(SYMBOL[found.verdict], fg=STYLE[found.verdict]) + f"  {', '.join(served)}, epoch {parsed.terms.epoch}")
    click.echo(f"The gate has it. Next, see who is let in:\n\n  {program()} access list --config {shell_path(config)}")
    return 0


@click.command()
@click.argument("signed", type=_FILE)
@_CONFIG
def roles(signed: Path, config: Path) -> None:
    """Give the gate a later version of the authority's roles: rotated or revoked keys take effect at once."""
    from assay.access.audit.records import control
    from assay.access.config import read_config
    from assay.access.store.base import open_store
    from assay.evidence.roles import read_signed
    from assay.evidence.seen import follow, lock_seen, read_seen, write_seen

    loaded, now = read_config(config), time.time_ns() // 1_000_000
    value, data = read_signed(signed), signed.read_bytes()
    store = open_store(loaded.store, Path(loaded.folder))
    state = loaded.path(loaded.authority.state)
    try:
        with lock_seen(state):
            seen = read_seen(state)
            before, old = _roles(loaded, store.snapshot(), now)
            seen = seen.followed(before, old)
            opened = follow(seen, value, now_ms=now)
            store.put_roles(data)
            write_seen(state, seen.followed(opened, value))
        digest = hashlib.sha256(data).hexdigest()
        recorded_after(loaded, store, control(now, "roles", opened.authority, [], f"version {opened.version}", f"sha256:{digest}"))
    finally:
        store.close()
    click.echo(f"The gate follows version {opened.version} of the roles of {plain(opened.authority)}, until {opened.expires}.")


def _roles(config: Config, snapshot: Snapshot, now: int) -> tuple[Roles, object]:
    """The roles that the gate follows now, and their signed form. Raises `AssayError`."""
    import msgspec

    from assay.evidence.roles import RolesError, read_signed
    from assay.evidence.seen import follow, read_seen

    try:
        value = msgspec.json.decode(snapshot.roles) if snapshot.roles else read_signed(config.path(config.authority.roles))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RolesError("the gate's roles cannot be read", fix="Give them again: assay access roles SIGNED") from None
    return follow(read_seen(config.path(config.authority.state)), value, config.authority.owners, now_ms=now), value
