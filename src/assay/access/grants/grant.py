"""Signed grants: administrators' approvals, a sub-grant by its parent's holder, and what opens from the signatures alone.

signed = sign_grant(grant, admin_key)                     # pending; `signed.approved(other_key)` adds the second
grant = open_grant(signed, admins, 2, parents={}, now=now)   # raises DeniedError unless two administrators signed this very grant
child = sign_sub_grant(grant, holder_key)                 # a contractor's: narrower, its own keys, dies with its parent
grants, refused = open_all(snapshot, config.admins, now)     # everything that a store holds; a row that was tampered with opens nothing
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from assay.access.credentials.dpop import thumbprint
from assay.access.grants.narrow import LONGEST_MS, narrower, permits, zone
from assay.access.model import DeniedError, Grant
from assay.errors import AssayError
from assay.evidence.roles import public_key
from assay.ledger import Cosigned, PrivateKey, PublicKey

if TYPE_CHECKING:
    from assay.access.config import Admins
    from assay.access.store.base import Snapshot

PREDICATE = "urn:assay:predicate:access-grant:v1"
FORMAT = "signed-grant/1"
MAX_BYTES = 1 << 20
LATEST_MS = 16_725_225_600_000
"""The year 2500: later times are those of another unit."""


class GrantError(AssayError):
    """A grant is not valid, or is not signed as it must be."""


class SignedGrant(Struct, frozen=True):
    """A grant with signatures, which only `open_grant` checks. `holder` is the public key that signed a sub-grant."""

    grant: Grant
    envelope: Cosigned
    holder: PublicKey | None = None

    def to_json(self) -> dict[str, Any]:
        """The form that is kept."""
        holder = base64.b64encode(self.holder.raw).decode() if self.holder else ""
        return {"assay": FORMAT, "envelope": self.envelope.to_json(), "holder": holder}

    def encoded(self) -> bytes:
        """The form that is kept, JSON."""
        return msgspec.json.encode(self.to_json())

    def approved(self, key: PrivateKey) -> SignedGrant:
        """With the signature of this key too."""
        return msgspec.structs.replace(self, envelope=self.envelope.signed(key))

    def merged(self, other: SignedGrant) -> SignedGrant:
        """With the signatures of both. Raises `GrantError` if they are of different grants."""
        if other.envelope.payload != self.envelope.payload or other.holder != self.holder:
            what = f"there is another grant '{self.grant.id}' of version {self.grant.version}"
            raise GrantError(what, fix="A changed grant is a new version: raise it.")
        both = {**dict(self.envelope.signatures), **dict(other.envelope.signatures)}
        return msgspec.structs.replace(self, envelope=Cosigned(self.envelope.payload, tuple(both.items())))

    def signers(self, admins: Mapping[str, PublicKey]) -> list[str]:
        """The names of the administrators who have signed. Raises `AssayError` for a signature that does not hold."""
        return self.envelope.signers(admins)


def problems(grant: Grant) -> list[str]:
    """What the types cannot say."""
    times = {"starts": grant.starts, "expires": grant.expires}
    found = [f"{name}: a time after the year 2500: milliseconds are meant" for name, at in times.items() if at > LATEST_MS]
    if grant.expires <= grant.starts:
        found.append("expires: not after its start")
    elif grant.expires - grant.starts > LONGEST_MS:
        found.append("expires: more than 366 days after its start")
    for name, values in (
        ("persons: a name", [p.name for p in grant.persons]),
        ("persons: a key", [p.key for p in grant.persons]),
        ("quotas: a window", [q.window for q in grant.quotas]),
        ("routes: one", list(grant.routes)),
    ):
        if len(set(values)) < len(values):
            found.append(f"{name} stands twice")
    for block in grant.networks:
        try:
            ipaddress.ip_network(block)
        except ValueError:
            found.append(f"networks: {block!r} is no CIDR block (its bits beyond the length are zero)")
    for h in grant.hours:
        if h.end <= h.start or len(set(h.days)) < len(h.days):
            found.append("hours: not from an earlier to a later minute of a day, each day once")
        try:
            zone(h.zone)
        except ValueError as e:
            found.append(f"hours: {e}")
    if grant.parent == grant.id:
        found.append("parent: itself")
    return found


def sign_grant(grant: Grant, *keys: PrivateKey) -> SignedGrant:
    """With these administrators' signatures. Raises `GrantError` for what is not valid."""
    _valid(grant)
    if grant.parent:
        fix = "Use: assay access sub-grant PARENT FILE --key HOLDER"
        raise GrantError("a sub-grant is signed by its parent's holder", where=grant.id, fix=fix)
    signed = SignedGrant(grant, Cosigned.of(_subject(grant), PREDICATE, grant.to_json()))
    for key in keys:
        signed = signed.approved(key)
    return signed


def sign_sub_grant(child: Grant, parent: Grant, key: PrivateKey) -> SignedGrant:
    """With the signature of a holder of the parent. Raises `GrantError` where it is wider than its parent, or the key is no holder's."""
    _valid(child)
    wider = narrower(child, parent)
    if wider:
        raise GrantError(f"a sub-grant is narrower than its parent: {'; '.join(wider)}", where=child.id)
    if thumbprint(key.public) not in {p.key for p in parent.persons}:
        what = f"the key {thumbprint(key.public)} is no person's of '{parent.id}'"
        raise GrantError(what, fix="Print what a grant names: assay access thumbprint KEY")
    return SignedGrant(child, Cosigned.of(_subject(child), PREDICATE, child.to_json()).signed(key), key.public)


@lru_cache(4096)
def parse_grant(data: bytes) -> SignedGrant:
    """A signed grant from the form that is kept, signatures unchecked. Raises `AssayError`."""
    if len(data) > MAX_BYTES:
        raise GrantError(f"larger than {MAX_BYTES:,} bytes")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise GrantError("a signed grant is JSON") from None
    if not isinstance(value, dict) or set(value) != {"assay", "envelope", "holder"} or value["assay"] != FORMAT:
        raise GrantError("this is no signed grant")
    envelope = Cosigned.from_json(value["envelope"])
    statement = envelope.statement()
    if statement.get("predicateType") != PREDICATE:
        raise GrantError("what was signed is no grant")
    try:
        grant = msgspec.convert(statement.get("predicate"), Grant)
    except msgspec.ValidationError as e:
        raise GrantError(f"what was signed is no valid grant: {e}") from None
    if grant.to_json() != statement["predicate"] or statement.get("subject") != _subject(grant):
        raise GrantError("the signed statement names another grant than it holds")
    holder = value["holder"]
    if not isinstance(holder, str) or bool(holder) != bool(grant.parent):
        raise GrantError("a sub-grant names its holder's key, and no other does")
    return SignedGrant(grant, envelope, public_key(holder) if holder else None)


def open_grant(signed: SignedGrant, admins: Mapping[str, PublicKey], threshold: int, parents: Mapping[str, SignedGrant], now: int) -> Grant:
    """The grant, if it holds now (Unix ms): signed by `threshold` administrators, or by a holder of a wider parent that holds.

    `parents` are the grants in force by id. Raises `DeniedError`.
    """
    grant = _opened(signed, admins, threshold, parents)
    if now < grant.starts:
        raise DeniedError("grant", 403, f"the grant '{grant.id}' has not begun")
    if now >= grant.expires:
        raise DeniedError("grant", 403, f"the grant '{grant.id}' has expired")
    return grant


def open_all(snapshot: Snapshot, admins: Admins, now: int) -> tuple[dict[str, Grant], dict[str, str]]:
    """All grants of a store that are signed, unrevoked and not expired at this time (Unix ms), and why each other one is refused.

    Of every id the newest version that was approved counts; a newer one that is still pending changes nothing. A grant that has not begun
    is among them: whoever serves looks at the time of every request (`permits`).
    """
    keys, refused = admins.public(), dict(snapshot.damaged)
    top: dict[str, SignedGrant] = {}
    for sub in (False, True):
        for grant_id, versions in snapshot.versions.items():
            newest = versions[0]
            if bool(newest.grant.parent) is not sub:
                continue
            if grant_id in snapshot.revoked:
                refused[grant_id] = "revoked"
                continue
            for signed in versions:
                try:
                    grant = _opened(signed, keys, admins.threshold, {} if not sub else top)
                except DeniedError as e:
                    refused.setdefault(grant_id, e.what)
                    continue
                if bool(grant.parent) is not sub:
                    refused[grant_id] = "an earlier version was a sub-grant, or a later one is"
                elif now >= grant.expires:
                    refused[grant_id] = "expired"
                else:
                    top[grant_id] = signed
                    refused.pop(grant_id, None)
                break
    return {grant_id: signed.grant for grant_id, signed in top.items()}, refused


def _opened(signed: SignedGrant, admins: Mapping[str, PublicKey], threshold: int, parents: Mapping[str, SignedGrant]) -> Grant:
    grant = signed.grant
    try:
        _valid(grant)
        if grant.parent:
            _opened_child(signed, admins, threshold, parents)
        else:
            names = _signers(signed.envelope, tuple(admins.items()))
            if len(names) < threshold:
                who = ", ".join(names) or "nobody"
                raise DeniedError("grant", 403, f"approved by {len(names)} administrators ({who}); it takes {threshold}")
        if _payload_grant(signed.envelope.payload) != grant:
            raise DeniedError("grant", 403, "the signed statement holds another grant")
    except DeniedError:
        raise
    except AssayError as e:
        raise DeniedError("grant", 403, e.what) from None
    return grant


def _opened_child(signed: SignedGrant, admins: Mapping[str, PublicKey], threshold: int, parents: Mapping[str, SignedGrant]) -> None:
    grant, above = signed.grant, parents.get(signed.grant.parent)
    if above is None:
        raise DeniedError("grant", 403, f"its parent '{grant.parent}' is gone")
    parent = _opened(above, admins, threshold, {})
    wider = narrower(grant, parent)
    if wider:
        raise DeniedError("grant", 403, f"wider than its parent: {'; '.join(wider)}")
    if signed.holder is None or thumbprint(signed.holder) not in {p.key for p in parent.persons}:
        raise DeniedError("grant", 403, "signed by nobody whom its parent names")
    if _signers(signed.envelope, (("holder", signed.holder),)) != ["holder"]:
        raise DeniedError("grant", 403, "not signed by its holder")


@lru_cache(8192)
def _signers(envelope: Cosigned, keys: tuple[tuple[str, PublicKey], ...]) -> list[str]:
    return envelope.signers(dict(keys))


@lru_cache(4096)
def _payload_grant(payload: bytes) -> Grant:
    try:
        return msgspec.convert(Cosigned(payload).statement().get("predicate"), Grant)
    except msgspec.ValidationError as e:
        raise GrantError(f"what was signed is no valid grant: {e}") from None


def _valid(grant: Grant) -> None:
    found = problems(grant)
    if found:
        raise GrantError("; ".join(found), where=f"grant '{grant.id}'")


def _subject(grant: Grant) -> list[dict[str, Any]]:
    name = f"grant {grant.id}, version {grant.version}"
    return [{"name": name, "digest": {"sha256": grant.digest_of_terms.removeprefix("sha256:")}}]


__all__ = [
    "GrantError", "SignedGrant", "narrower", "open_all", "open_grant", "parse_grant", "permits", "problems", "sign_grant", "sign_sub_grant",
    "thumbprint",
]  # fmt: skip
