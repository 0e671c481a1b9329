"""Whose signature counts for what: the keys of an authority, by role, in a signed file that its owners agree on.

    roles = read_roles(Path("roles.yaml"))
    signed = sign_roles(roles, owner_key)                       # once by each owner; `cosign_roles` adds the next
    roles = open_roles(signed, owners=["3f2a..."], now_ms=now)  # the first time, by key ids told by another channel
    roles = open_roles(signed, before=roles, now_ms=now)        # later: the old owners agree to the new file

Owners say who holds which role. Evaluators sign evidence; approvers sign releases, two at least, and no key is in both roles. A version is
followed by a later one only; a key that is revoked counts for nothing from then on, whatever date its signature bears, since who stole it
chooses the date.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog import Located
from assay.errors import AssayError, EvidenceError
from assay.ledger import Cosigned, PrivateKey, PublicKey, digest
from assay.ledger.dsse import SignatureError

PREDICATE = "urn:assay:predicate:roles:v1"
FORMAT = "signed-roles/1"
MAX_BYTES = 1 << 20
DAY_MS = 86_400_000
LEAST_APPROVERS = 2
SHORTEST_KEY_ID = 16
FIELD = 2**255 - 19
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER = (0, 1, FIELD - 1, ORDER_8, FIELD - ORDER_8)
"""The y of the points whose order divides 8 (RFC 8032's curve, -x^2 + y^2 = 1 + d x^2 y^2): under such a key anybody can sign anything."""

# Patterns end in \Z: where Python's $ stands, a line's end may follow.
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Authority = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,120}(/[A-Za-z0-9._-]{1,60}){0,4}\Z")]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RoleName = Literal["owner", "evaluator", "approver"]
ROLES: tuple[RoleName, ...] = ("owner", "evaluator", "approver")


class RolesError(EvidenceError):
    """A roles file cannot be read, or is not valid."""


class UntrustedRolesError(RolesError):
    """A roles file that those who must have signed it have not signed, or that is not the one to follow: a check that failed."""

    exit_code = 1


class Holder(Struct, frozen=True, forbid_unknown_fields=True):
    """A key: the 32 bytes of an Ed25519 public key in base64, and the last day on which it counts (UTC), if not for ever."""

    public: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=\Z")]
    expires: Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z")] = ""


class Role(Struct, frozen=True, forbid_unknown_fields=True):
    """Names of keys, and how many of them must sign."""

    keys: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=50)]
    threshold: Annotated[int, Meta(ge=1, le=50)] = 1


class Roles(Struct, frozen=True, forbid_unknown_fields=True):
    """The roles of one authority. `revoked` has ids of keys that count no more, each with the reason in words."""

    assay: Literal["roles/1"]
    authority: Authority
    version: Annotated[int, Meta(ge=1, le=10**9)]
    expires: Day
    keys: Annotated[dict[Name, Holder], Meta(min_length=1, max_length=200)]
    owner: Role
    evaluator: Role
    approver: Role
    revoked: Annotated[dict[KeyId, Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=1000)] = {}

    def to_json(self) -> dict[str, Any]:
        """Every field, defaults included: what is digested and signed."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest(self.to_json())

    @property
    def expires_ms(self) -> int:
        """The end of its last day, Unix time in milliseconds."""
        return end_of_day_ms(self.expires)

    def role(self, name: RoleName) -> Role:
        """One of the roles."""
        return {"owner": self.owner, "evaluator": self.evaluator, "approver": self.approver}[name]

    def counting(self, name: RoleName, now_ms: int) -> dict[str, PublicKey]:
        """The keys of a role that count at this time (Unix ms), by name: neither revoked nor expired."""
        out = {}
        for key in self.role(name).keys:
            holder = self.keys[key]
            public = public_key(holder.public)
            if public.keyid not in self.revoked and not (holder.expires and now_ms > end_of_day_ms(holder.expires)):
                out[key] = public
        return out

    def found(self, keyid: str) -> str:
        """The name of a key of this id, revoked or not; empty if there is none."""
        return next((name for name, holder in self.keys.items() if public_key(holder.public).keyid == keyid), "")


def public_key(text: str) -> PublicKey:
    """A public key from the base64 of its 32 bytes. Raises `RolesError`, also for one under which anybody can sign."""
    try:
        key = PublicKey(base64.b64decode(text, validate=True))
    except ValueError:
        key = PublicKey(b"")
    if len(key.raw) != 32:
        raise RolesError("a public key is 32 bytes in base64", fix="Print one with: assay key show PATH --public")
    if int.from_bytes(key.raw, "little") % 2**255 % FIELD in SMALL_ORDER:
        raise RolesError(f"with the key {text} anybody can sign", fix="Ask its holder for another: assay key show PATH --public")
    return key


def end_of_day_ms(day: str) -> int:
    """The last millisecond of a day, UTC. Raises ValueError for a day that does not exist."""
    return int(datetime.combine(date.fromisoformat(day), time.min, UTC).timestamp()) * 1000 + DAY_MS - 1


def problems(roles: Roles) -> Iterator[tuple[str, str]]:
    """What the types cannot say: (what is wrong, the path of the field)."""
    seen: dict[str, str] = {}
    for name, holder in roles.keys.items():
        keyid = public_key(holder.public).keyid
        if keyid in seen:
            yield f"the same key as '{seen[keyid]}'", f".keys.{name}"
        seen[keyid] = name
    for role in ROLES:
        names = roles.role(role).keys
        unknown = [n for n in names if n not in roles.keys]
        if unknown:
            yield f"'{unknown[0]}' is not among the keys", f".{role}.keys"
            return
        if len(set(names)) < len(names):
            yield "a key stands twice", f".{role}.keys"
        if roles.role(role).threshold > len(names):
            yield f"{roles.role(role).threshold} signatures of {len(names)} keys", f".{role}.threshold"
        for name in names:
            if public_key(roles.keys[name].public).keyid in roles.revoked:
                yield f"'{name}' is revoked and still has a role", f".{role}.keys"
    if roles.approver.threshold < LEAST_APPROVERS:
        yield f"a release takes {LEAST_APPROVERS} approvers or more", ".approver.threshold"
    both = sorted(set(roles.evaluator.keys) & set(roles.approver.keys))
    if both:
        yield f"'{both[0]}' would approve its own evidence: no key is both evaluator and approver", ".approver.keys"
    days = [(".expires", roles.expires), *((f".keys.{n}.expires", h.expires) for n, h in roles.keys.items() if h.expires)]
    for path, day in days:
        try:
            end_of_day_ms(day)
        except ValueError:
            yield f"there is no such day: {day}", path


def read_roles(path: Path) -> Roles:
    """A roles file (YAML), checked, unsigned. Raises `RolesError`."""
    return parse_roles(_bounded(path).decode("utf-8", errors="replace"), where=str(path))


def parse_roles(text: str, where: str) -> Roles:
    """The text of a roles file, checked. Raises `RolesError` with the line."""
    located = Located(text, where=where, error=RolesError)
    roles = located.convert(Roles)
    for what, at in problems(roles):
        raise located.fail(what, at)
    return roles


def unsigned(roles: Roles) -> dict[str, Any]:
    """The form that owners sign, without a signature yet."""
    return {"assay": FORMAT, "envelope": Cosigned.of(_subject(roles), PREDICATE, roles.to_json()).to_json()}


def sign_roles(roles: Roles, *keys: PrivateKey) -> dict[str, Any]:
    """The signed form, with owners' signatures. Raises `RolesError` if a key is no owner's."""
    value = unsigned(roles)
    for key in keys:
        value = cosign_roles(value, key)
    return value


def roles_of(value: Any) -> Roles:
    """What a signed form says, whoever has signed it. Raises `RolesError`."""
    return _parsed(value)[0]


def cosign_roles(value: Any, key: PrivateKey, before: Roles | None = None) -> dict[str, Any]:
    """The signed form with one more signature, of an owner or of an owner of the version before. Raises `RolesError`."""
    roles, envelope = _parsed(value)
    owners = {public_key(r.keys[n].public).keyid for r in (roles, before) if r for n in r.owner.keys}
    if key.public.keyid not in owners:
        raise RolesError(
            f"the key {key.public.keyid[:16]}... is no owner's", fix="Name the version before, if it was an owner then: --previous."
        )
    return {"assay": FORMAT, "envelope": envelope.signed(key).to_json()}


def read_signed(path: Path) -> Any:
    """The JSON of a signed file, unchecked. Raises `RolesError`."""
    try:
        return msgspec.json.decode(_bounded(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RolesError("not JSON", where=str(path), fix="Sign the roles: assay roles sign ROLES --key OWNER") from None


def open_roles(value: Any, *, owners: Sequence[str] = (), before: Roles | None = None, now_ms: int) -> Roles:
    """The roles of a signed form that enough owners have signed, with keys that count at this time (Unix ms): all whose key ids (or the
    first 16 characters or more) are given, or those of the version `before` and its own.

    Raises `UntrustedRolesError` if they have not, or it does not follow on the version before; `RolesError` if it is no roles file.
    """
    roles, envelope = _parsed(value)
    own = {name: public_key(roles.keys[name].public) for name in roles.owner.keys}
    signed = _need(envelope, roles.counting("owner", now_ms), roles.owner.threshold, "its owners")
    if before is not None:
        _follows(roles, before, envelope, now_ms)
        return roles
    if not owners:
        raise UntrustedRolesError("nobody has said whose these roles are", fix="Give the key ids of owners: --owner KEYID")
    for given in owners:
        if len(given) < SHORTEST_KEY_ID or not any(k.keyid.startswith(given.lower()) for k in own.values()):
            fix = f"Give {SHORTEST_KEY_ID} characters of it or more, as `assay key show KEY --id` prints it."
            raise UntrustedRolesError(f"no owner of '{roles.authority}' has the key id {given[:64]!r}", fix=fix)
    known = {n: k for n, k in own.items() if any(k.keyid.startswith(g.lower()) for g in owners)}
    for name in known:
        if name not in signed:  # the file says itself how many must sign: whom you name must have, so that nobody else has lowered it
            raise UntrustedRolesError(f"'{name}', whom you name, has not signed", fix="Ask them why, or name the owners who have.")
    if len(known) < roles.owner.threshold:
        what = f"signed by {len(known)} of the owners that you know ({', '.join(known)}); it takes {roles.owner.threshold}"
        raise UntrustedRolesError(what, fix="Name as many owners as must sign: --owner KEYID, once for each.")
    return roles


def _follows(roles: Roles, before: Roles, envelope: Cosigned, now_ms: int) -> None:
    if roles.authority != before.authority:
        raise UntrustedRolesError(f"these are the roles of '{roles.authority}', not of '{before.authority}'")
    if roles.version < before.version:
        raise UntrustedRolesError(f"rolled back: version {roles.version}, where {before.version} was seen")
    if roles.version == before.version:
        if roles.digest != before.digest:
            raise UntrustedRolesError(f"another file under the same version {roles.version}")
        return
    _need(envelope, before.counting("owner", now_ms), before.owner.threshold, f"those of version {before.version}")
    for keyid in before.revoked.keys() - roles.revoked.keys():
        raise UntrustedRolesError(f"the key {keyid[:16]}... was revoked and is so no more")


def _need(envelope: Cosigned, keys: Mapping[str, PublicKey], threshold: int, who: str) -> list[str]:
    try:
        signed = envelope.signers(keys)
    except SignatureError as e:
        raise UntrustedRolesError(e.what) from None
    if len(signed) < threshold:
        raise UntrustedRolesError(f"signed by {len(signed)} of {who} ({', '.join(signed) or 'nobody'}); it takes {threshold}")
    return signed


def _parsed(value: Any) -> tuple[Roles, Cosigned]:
    if not isinstance(value, dict) or set(value) != {"assay", "envelope"} or value["assay"] != FORMAT:
        raise RolesError("this is not a signed roles file", fix="Sign the roles: assay roles sign ROLES --key OWNER")
    envelope = Cosigned.from_json(value["envelope"])
    statement = envelope.statement()
    if statement.get("predicateType") != PREDICATE:
        raise RolesError("what was signed are not roles")
    try:
        roles = msgspec.convert(statement.get("predicate"), Roles)
        for what, path in problems(roles):
            raise RolesError(f"what was signed are no valid roles: {what}", where=path.lstrip("."))
    except (msgspec.ValidationError, AssayError) as e:
        raise e if isinstance(e, RolesError) else RolesError(f"what was signed are no valid roles: {e}") from None
    if roles.to_json() != statement["predicate"] or statement.get("subject") != _subject(roles):
        raise RolesError("the signed statement names other roles than it holds")
    return roles, envelope


def _subject(roles: Roles) -> list[dict[str, Any]]:
    return [{"name": f"roles of {roles.authority}, version {roles.version}", "digest": {"sha256": roles.digest.removeprefix("sha256:")}}]


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise RolesError(f"cannot read the roles: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise RolesError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return data
