"""What somebody who acts on releases has seen: the roles of every authority, and the newest epoch of every target. It never goes back.

    seen = read_seen(path)
    roles = follow(seen, signed, owners=["3f2a..."], now_ms=now)      # owners are needed the first time only
    write_seen(path, seen)

Keep the file: without it an old release of a target, or an old roles file, cannot be told from the newest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import AssayError
from assay.evidence.log import lock_file
from assay.evidence.release import MAX_EPOCH, Hex
from assay.evidence.roles import Roles, RolesError, open_roles
from assay.runs import whole_file

MAX_BYTES = 64 << 20
RESTORE = "Restore the file; without it stale releases are not known as such."


class SeenRelease(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest release of a target: its epoch, and SHA-256 (hex) over the decision's payload."""

    epoch: Annotated[int, Meta(ge=1, le=MAX_EPOCH)]
    digest: Hex


class SeenAuthority(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest roles as they were signed, and the newest release of every target."""

    roles: Roles
    signed: dict[str, Any]
    releases: dict[str, SeenRelease] = {}


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything, by authority."""

    assay: Literal["seen/1"] = "seen/1"
    authorities: dict[str, SeenAuthority] = {}

    def release(self, authority: str, target: str) -> SeenRelease | None:
        """The newest release of a target."""
        known = self.authorities.get(authority)
        return known.releases.get(target) if known else None

    def followed(self, roles: Roles, signed: Any) -> Seen:
        """With these roles, which `follow` has opened."""
        known = self.authorities.get(roles.authority)
        return Seen(authorities={**self.authorities, roles.authority: SeenAuthority(roles, signed, known.releases if known else {})})

    def with_release(self, authority: str, target: str, release: SeenRelease) -> Seen:
        """With this release of a target of an authority whose roles were seen."""
        known = self.authorities[authority]
        now = msgspec.structs.replace(known, releases={**known.releases, target: release})
        return Seen(authorities={**self.authorities, authority: now})


def newest(one: Seen, other: Seen) -> Seen:
    """What two have seen of the same authorities: the later roles, and of every target the larger epoch."""
    out = dict(one.authorities)
    for authority, theirs in other.authorities.items():
        mine = out.get(authority)
        if mine is None:
            out[authority] = theirs
            continue
        later = theirs if theirs.roles.version > mine.roles.version else mine
        releases = dict(mine.releases)
        for target, release in theirs.releases.items():
            if target not in releases or release.epoch > releases[target].epoch:
                releases[target] = release
        out[authority] = SeenAuthority(later.roles, later.signed, releases)
    return Seen(authorities=out)


def follow(seen: Seen | None, signed: Any, owners: Sequence[str] = (), *, now_ms: int) -> Roles:
    """The roles of a signed file: those that follow on what was seen of that authority or, the first time, whose owners are named.

    Raises `UntrustedRolesError` for any other.
    """
    if seen is not None:
        for known in seen.authorities.values():
            if _authority(signed) == known.roles.authority:
                return open_roles(signed, before=known.roles, now_ms=now_ms)
    return open_roles(signed, owners=owners, now_ms=now_ms)


def read_seen(path: Path) -> Seen:
    """What was seen; nothing where there is no file yet. One that cannot be read raises `RolesError`: nothing is begun afresh silently."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise RolesError("cannot read what was seen: a link that leads nowhere", where=str(path), fix=RESTORE) from None
        return Seen()
    except OSError as e:
        raise RolesError(f"cannot read what was seen: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise RolesError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        seen = msgspec.json.decode(data, type=Seen)
        if msgspec.json.decode(_written(seen)) != msgspec.json.decode(data):  # what is left out would stand for nothing seen
            raise RolesError("a part is missing")
        for authority, known in seen.authorities.items():
            if authority != known.roles.authority:
                raise RolesError(f"the roles of '{known.roles.authority}' under the name of another")
            open_roles(known.signed, before=known.roles, now_ms=0)  # signed then; whether the keys count now is asked when they are used
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AssayError) as e:
        raise RolesError(f"what was seen is damaged: {getattr(e, 'what', e)}", where=str(path), fix=RESTORE) from None
    return seen


@contextmanager
def lock_seen(path: Path) -> Iterator[None]:
    """One process at a time reads what was seen and writes what is newer, by whatever name. Raises `AssayError`."""
    real = _real(path)
    with lock_file(real.with_name(f".{real.name}.lock")):
        yield


def write_seen(path: Path, seen: Seen) -> None:
    """Keep what was seen, whole or not at all; a link stays one. Raises `RolesError`."""
    try:
        with whole_file(_real(path)) as out:
            out.write(_written(seen))
    except OSError as e:
        raise RolesError(f"cannot write what was seen: {e.strerror}", where=str(path)) from None


def _written(seen: Seen) -> bytes:
    return msgspec.json.format(msgspec.json.encode(seen, order="sorted"), indent=1) + b"\n"


def _real(path: Path) -> Path:
    """Where a link leads, so that everybody who uses the file uses the same. (`Path.resolve` raises at a loop of links.)"""
    return Path(os.path.realpath(path))


def _authority(signed: Any) -> str:
    """The authority that a signed file says it is of, unverified; which roles it must follow on depends on that alone."""
    from assay.ledger import Cosigned

    predicate = Cosigned.from_json(signed.get("envelope") if isinstance(signed, dict) else None).statement().get("predicate")
    return str(predicate.get("authority")) if isinstance(predicate, dict) else ""
