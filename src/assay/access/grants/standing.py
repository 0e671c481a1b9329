"""How every grant of a store stands, and what is used of it: for those who administer.

for s in standings(snapshot, config.admins, now): s.grant.id, s.state, s.why
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from assay.access.config import Admins
from assay.access.grants.grant import open_all
from assay.access.grants.orders import open_halts
from assay.access.model import Grant, covers
from assay.access.store.base import Snapshot
from assay.errors import AssayError

State = Literal["live", "halted", "pending", "not begun", "expired", "revoked", "parent gone", "refused"]


class Standing(Struct, frozen=True):
    """A grant in the version that counts (the newest, where none does), its state, why, who approved it, and a newer pending version.

    `grant` is None where what is kept cannot be read.
    """

    id: str
    state: State
    grant: Grant | None
    why: str = ""
    approvals: tuple[str, ...] = ()
    newer: int = 0


def standings(snapshot: Snapshot, admins: Admins, now: int) -> list[Standing]:
    """All grants by id, at this time (Unix ms)."""
    grants, refused = open_all(snapshot, admins, now)
    halts = open_halts(snapshot, admins.public())
    out = []
    for grant_id in sorted({*snapshot.versions, *snapshot.damaged, *snapshot.revoked}):
        versions = snapshot.versions.get(grant_id, ())
        grant = grants.get(grant_id) or (versions[0].grant if versions else None)
        signed = next((v for v in versions if v.grant == grant), None)
        approvals: tuple[str, ...] = ()
        if signed is not None and signed.holder is None:
            try:
                approvals = tuple(signed.signers(admins.public()))
            except AssayError as e:
                refused.setdefault(grant_id, e.what)
        newer = versions[0].grant.version if grant and versions and versions[0].grant.version > grant.version else 0
        state, why = _state(grant_id, grant, grants, refused, snapshot, len(approvals) < admins.threshold, now)
        if state == "live" and grant is not None:
            stops = [h.id for h in halts if any(covers(h, grant, p.name) for p in grant.persons)]
            state, why = ("halted", ", ".join(stops)) if stops else (state, why)
        out.append(Standing(grant_id, state, grant, why, approvals, newer))
    return out


def _state(
    grant_id: str, grant: Grant | None, grants: dict[str, Grant], refused: dict[str, str], snapshot: Snapshot, few: bool, now: int
) -> tuple[State, str]:
    if grant_id in snapshot.revoked:
        revoked = snapshot.revoked[grant_id]
        return "revoked", f"by {revoked.by}: {revoked.reason}"
    why = refused.get(grant_id, "")
    if grant is None:
        return "refused", why
    if grant_id in grants:
        return ("not begun", "") if now < grant.starts else ("live", "")
    if grant.parent and grant.parent not in grants:
        return "parent gone", why
    if now >= grant.expires:
        return "expired", ""
    if not grant.parent and few and grant_id not in snapshot.damaged:
        return "pending", why
    return "refused", why
