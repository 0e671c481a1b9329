"""What a gate remembers beside its store, so that rows that vanish from the store open nothing.

    remembered = Remembered(config.path("gate.seen"))
    opened = remembered.open(store.snapshot(), config.admins, now)
    opened.grants, opened.refused, opened.halts

A store that was tampered with, or restored from before, may have lost a halt, a revocation, or the newest version of a grant. Signatures
do not show what is missing. A halt that was seen stays in force, as it was seen, until its signed lift is; a revocation for ever; and of a
grant no version counts that is older than one that was seen to count.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from assay.access.config import Admins
from assay.access.grants.grant import open_all
from assay.access.grants.orders import Lift, Revoked, open_halts
from assay.access.model import Grant, Halt
from assay.access.store.base import Snapshot, Store, StoreError
from assay.evidence.log import lock_file
from assay.runs import whole_file

REMEMBERED = "gate.seen"
"""The file's name beside the gate's file."""
MAX_BYTES = 64 << 20


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """Halts in force, revocations, and the newest version of every grant that was seen to count."""

    assay: Literal["gate-seen/1"] = "gate-seen/1"
    halts: dict[str, Halt] = {}
    revoked: dict[str, Revoked] = {}
    versions: dict[str, int] = {}


class Opened(Struct, frozen=True):
    """What opens of a snapshot: grants by id, why others do not, and halts (`lifted` only where the lift holds)."""

    grants: dict[str, Grant]
    refused: dict[str, str]
    halts: tuple[Halt, ...]


class Remembered:
    """The memory in the file at `path`, which all workers of a machine share. A missing file is an empty memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._memory = Memory()
        self._stamp: tuple[int, int] | None = None

    def open(self, snapshot: Snapshot, admins: Admins, now: int) -> Opened:
        """What opens at this time (Unix ms), given what was seen before; and remember it. Raises `StoreError` for a damaged memory."""
        with self._lock:
            self._read()
            opened, memory = _open(snapshot, self._memory, admins, now)
            if memory != self._memory:
                try:
                    with lock_file(self._path.with_name(f".{self._path.name}.lock")):
                        self._read()
                        opened, self._memory = _open(snapshot, self._memory, admins, now)
                        with whole_file(self._path) as out:
                            out.write(msgspec.json.encode(self._memory, order="deterministic"))
                        self._stamp = self._stamped()
                except OSError as e:
                    raise StoreError(f"cannot remember what was seen: {e.strerror}", where=str(self._path)) from None
            return opened

    def recall(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot as the gate takes it: with the halts and revocations that the store has lost, without versions that were rolled back.
        For those who look; nothing is written. Raises `StoreError` for a damaged memory.
        """
        with self._lock:
            self._read()
            return _recalled(snapshot, self._memory)

    def _stamped(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> None:
        """What other workers have remembered meanwhile, with what this one has."""
        try:
            stamp = self._stamped()
            if stamp is None or stamp == self._stamp:
                return
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            self._memory = msgspec.json.decode(data, type=Memory)
            self._stamp = stamp
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as e:
            fix = "Restore it; without it nothing shows what the store has lost."
            raise StoreError(f"the memory of what was seen is damaged: {e}", where=str(self._path), fix=fix) from None


def put_lift(store: Store, stored: Snapshot, halt: Halt, lift: Lift, signed: bytes) -> None:
    """Keep the lift of a halt; one that the store has lost (`stored` is a snapshot of it) is put back first. Raises `StoreError`."""
    if halt.id not in stored.halts:
        store.put_halt(halt)
    store.lift(halt.id, lift.by, lift.at, signed)


def _recalled(snapshot: Snapshot, memory: Memory) -> Snapshot:
    versions = {
        grant_id: tuple(s for s in found if s.grant.version >= memory.versions.get(grant_id, 0))
        for grant_id, found in snapshot.versions.items()
    }
    rolled_back = {g: "rolled back: a newer version was seen" for g, found in versions.items() if not found}
    return msgspec.structs.replace(
        snapshot,
        versions={g: found for g, found in versions.items() if found},
        damaged={**rolled_back, **snapshot.damaged},
        revoked={**snapshot.revoked, **memory.revoked},
        halts={**snapshot.halts, **memory.halts},  # as they were first seen: a lift names the digest of that
    )


def _open(snapshot: Snapshot, memory: Memory, admins: Admins, now: int) -> tuple[Opened, Memory]:
    """What opens, and what is to be remembered from now on."""
    seen = _recalled(snapshot, memory)
    grants, refused = open_all(seen, admins, now)
    halts = open_halts(seen, admins.public())
    newest = {g: max(grant.version, memory.versions.get(g, 0)) for g, grant in grants.items()}
    kept = Memory(halts={h.id: h for h in halts if not h.lifted}, revoked=dict(seen.revoked), versions={**memory.versions, **newest})
    return Opened(grants, refused, halts), kept
