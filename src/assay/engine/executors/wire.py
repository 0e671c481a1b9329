"""What goes between the engine and its workers: MessagePack of typed values, checked where it arrives.

A lease is a number of (slot, stream, index), some ten bytes an item; the worker builds the items itself, which is a pure function. Sending
them would cost the scheduler's process two to four kilobytes each. The digest of the item that was asked comes back with the answer, so a
worker whose code builds other items is found out at its first answer.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from assay.catalog import Catalog
from assay.errors import AssayError, CatalogError, ModelError, PlanError, TargetError
from assay.judges import Said
from assay.plan import Generation, Limits, Plan, TargetSpec
from assay.targets import Reply

T = TypeVar("T")


class Errand(Struct, frozen=True, array_like=True):
    """The target that a worker is to open; `limits` are the worker's share."""

    target: TargetSpec
    generation: Generation
    limits: Limits


class Hello(Struct, frozen=True, array_like=True):
    """A worker that has opened its target."""

    version: str
    identity: dict[str, str]
    pid: int
    node: str


class Setup(Struct, frozen=True, array_like=True):
    """All that items and answers follow from."""

    plan: Plan
    catalog: Catalog
    seed: bytes
    limits: Limits


class Leased(Struct, frozen=True, array_like=True):
    """One trial to be made: `stream` counts in the plan's order of streams."""

    slot: int
    stream: int
    index: int


class Back(Struct, frozen=True, array_like=True):
    """One answer. `asked` is the item's digest."""

    slot: int
    asked: str
    reply: Reply
    said: tuple[Said, ...]


class Failure(Struct, frozen=True, array_like=True):
    """An error of the tree that ends the run, as it is shown."""

    kind: str
    what: str
    where: str = ""
    fix: str = ""


class Batch(Struct, frozen=True, array_like=True):
    """What a worker has to tell: answers (each a `Back`), outages that it waits out (reason, seconds), and what ends the run."""

    backs: tuple[bytes, ...] = ()
    outages: tuple[tuple[str, float], ...] = ()
    failure: Failure | None = None


encode = msgspec.msgpack.Encoder().encode


def decode(data: object, kind: type[T]) -> T:
    """Typed, or a `TargetError`."""
    try:
        if not isinstance(data, bytes):
            raise TypeError
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, TypeError):
        raise TargetError("a worker's message cannot be read", fix="Is the same version of Assay installed on every node?") from None


_KINDS: dict[str, type[AssayError]] = {kind.__name__: kind for kind in (CatalogError, ModelError, PlanError, TargetError)}


def failure_of(error: AssayError) -> Failure:
    """An error, to be told."""
    return Failure(type(error).__name__, error.what, error.where, error.fix)


def error_of(failure: Failure) -> AssayError:
    """The error again; a `TargetError` where its kind is none that a target raises."""
    return _KINDS.get(failure.kind, TargetError)(failure.what, where=failure.where, fix=failure.fix)
