"""What one administrator orders alone: a halt, its lift, a grant's revocation. Signed statements; what is stored of them proves itself.

data = sign_halt(halt, key)                  # bytes for Store.put_halt; sign_lift and sign_revocation likewise
open_halts(snapshot, admins)                 # halts, with `lifted` set where an administrator's signed lift of that very halt is there

A halt and a revocation close, so they count even where their signature does not hold: a forged one can only close. A lift opens, so it
counts only with an administrator's signature, over the digest of the halt that it lifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from assay.access.model import Halt, Id, Ms, Plain
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey, PublicKey, digest

if TYPE_CHECKING:
    from assay.access.store.base import Snapshot

T = TypeVar("T")
HALT = "urn:assay:predicate:access-halt:v1"
LIFT = "urn:assay:predicate:access-lift:v1"
REVOCATION = "urn:assay:predicate:access-revocation:v1"


class OrderError(AssayError):
    """An order is not signed as it must be, says another thing than it is kept for, or is not valid."""


class Lift(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a halt: of the very one whose digest this is. `at` is Unix milliseconds."""

    id: Id
    halt: str
    by: Plain
    at: Ms


class Revoked(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant's end, for ever and in every version. `at` is Unix milliseconds."""

    id: Id
    by: Plain
    reason: Plain
    at: Ms


def halt_digest(halt: Halt) -> str:
    """What a lift names: the halt as it was ordered."""
    return digest(_json(msgspec.structs.replace(halt, lifted=0)))


def sign_halt(halt: Halt, key: PrivateKey) -> bytes:
    """The signed form, JSON."""
    return _signed(HALT, f"halt {halt.id}", _json(halt), key)


def sign_lift(halt: Halt, by: str, at: int, key: PrivateKey) -> bytes:
    """The signed lift of this halt, JSON."""
    return _signed(LIFT, f"lift of {halt.id}", _json(Lift(halt.id, halt_digest(halt), by, at)), key)


def sign_revocation(revoked: Revoked, key: PrivateKey) -> bytes:
    """The signed form, JSON."""
    return _signed(REVOCATION, f"revocation of {revoked.id}", _json(revoked), key)


def open_lift(data: bytes, halt: Halt, admins: Mapping[str, PublicKey]) -> Lift:
    """The lift of this halt, by one of these administrators. Raises `OrderError`."""
    lift = _opened(data, LIFT, Lift, admins)
    if lift.id != halt.id or lift.halt != halt_digest(halt):
        raise OrderError("the lift is of another halt", where=f"halt {halt.id}")
    return lift


def signer_of_halt(data: bytes, halt: Halt, admins: Mapping[str, PublicKey]) -> str:
    """Who signed this halt; empty if no administrator did. It counts all the same."""
    return _signer(data, HALT, halt, admins)


def signer_of_revocation(data: bytes, revoked: Revoked, admins: Mapping[str, PublicKey]) -> str:
    """Who signed this revocation; empty if no administrator did. It counts all the same."""
    return _signer(data, REVOCATION, revoked, admins)


def open_halts(snapshot: Snapshot, admins: Mapping[str, PublicKey]) -> tuple[Halt, ...]:
    """Every halt, `lifted` only where its lift holds."""
    out = []
    for halt in snapshot.halts.values():
        data = snapshot.lifts.get(halt.id)
        lifted = 0
        if data:
            try:
                lifted = open_lift(data, halt, admins).at
            except AssayError:
                lifted = 0
        out.append(msgspec.structs.replace(halt, lifted=lifted))
    return tuple(out)


def _signer(data: bytes, kind: str, value: Halt | Revoked, admins: Mapping[str, PublicKey]) -> str:
    try:
        if _opened(data, kind, type(value), admins) != value:
            return ""
        return ", ".join(_envelope(data).signers(admins))
    except AssayError:
        return ""


def _opened(data: bytes, kind: str, form: type[T], admins: Mapping[str, PublicKey]) -> T:
    envelope = _envelope(data)
    statement = envelope.statement()
    if statement.get("predicateType") != kind:
        raise OrderError("what was signed is another thing")
    if not envelope.signers(admins):
        raise OrderError("no administrator has signed it")
    try:
        return msgspec.convert(statement.get("predicate"), form)
    except msgspec.ValidationError as e:
        raise OrderError(f"what was signed is not valid: {e}") from None


def _envelope(data: bytes) -> Cosigned:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OrderError("it is not signed") from None
    return Cosigned.from_json(value)


def _signed(kind: str, name: str, predicate: dict[str, Any], key: PrivateKey) -> bytes:
    subject = [{"name": name, "digest": {"sha256": digest(predicate).removeprefix("sha256:")}}]
    return msgspec.json.encode(Cosigned.of(subject, kind, predicate).signed(key).to_json())


def _json(value: Struct) -> dict[str, Any]:
    out: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return out
