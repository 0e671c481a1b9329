"""What all workers of the gate share: grants, revocations, halts, releases, quotas, nonces. SQLite, or PostgreSQL by its address.

store = open_store("gate.db", folder)
if store.epoch() != known: snapshot = store.snapshot()

Synchronous, for threads and processes. Whatever fails raises `StoreError`, at which the gate denies. What opens access is signed and proves
itself (`grants.open_all`, `orders.open_halts`); the store is believed about nothing but what has closed and what was used.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from assay.access.grants.grant import SignedGrant, parse_grant
from assay.access.grants.orders import Revoked
from assay.access.model import Halt
from assay.errors import AssayError

T = TypeVar("T")
PROOF_MS = 70_000
"""The longest from when any proof may first be taken to its `expiry` in `spend`: a minute, and as far as its time may lie ahead."""
CLOCKS_MS = 60_000
"""Spent nonces are kept for so long beyond their expiry: clocks of machines differ, and go back, and one that is ahead forgets for all."""
SHARE = 16
"""Of what is left of a quota, a block takes at most this part, unless one request needs more."""
KEPT_MS = 3 * 86_400_000
KEPT_LONG_MS = 35 * 86_400_000
"""For so long used quotas of minutes, and of hours and days, are kept: a clock that is days ahead must not give anew what is spent."""
TIDY_S = 600.0
MOST = 2**62


class StoreError(AssayError):
    """The store cannot be reached, read or written, or would not take this."""


class ConflictError(StoreError):
    """Another has written the record meanwhile: read it again."""


class Amounts(NamedTuple):
    """Requests, tokens, and money in millionths."""

    requests: int = 0
    tokens: int = 0
    money: int = 0


class LeaseKey(NamedTuple):
    """What a quota counts: a grant's (or a person's under it), in a window that starts then (Unix ms; 0: for ever), up to a limit."""

    grant: str
    person: str
    window: str
    starts: int
    limit: Amounts

    @property
    def text(self) -> str:
        """Its name in the store."""
        return f"{self.grant}|{self.window}|{self.starts}|{self.person}"


class Snapshot(Struct, frozen=True):
    """Everything at one epoch, nothing of it checked against signatures. `versions` are all of a grant, newest first; `grants` the newest.

    `halts` are as they were ordered; `lifts` and `orders` (of halts and revocations, by id) are the signed statements.
    """

    epoch: int
    grants: dict[str, SignedGrant]
    versions: dict[str, tuple[SignedGrant, ...]]
    damaged: dict[str, str]
    revoked: dict[str, Revoked]
    halts: dict[str, Halt]
    lifts: dict[str, bytes]
    orders: dict[str, bytes]
    releases: dict[str, bytes]
    roles: bytes


class Rows(ABC):
    """A transaction: statements with `?` for values."""

    @abstractmethod
    def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""

    @abstractmethod
    def count(self, sql: str, *values: object) -> int:
        """How many rows a statement changed."""


class Store(ABC):
    """See the module. `quick`: `epoch` takes microseconds, so that it may be called on an event loop."""

    quick = False
    for_update = ""
    _tidied = float("-inf")

    @abstractmethod
    def transaction(self, *, write: bool) -> AbstractContextManager[Rows]:
        """One transaction, durable when it ends if it writes. Raises `StoreError`."""

    @abstractmethod
    def spend(self, nonces: Sequence[tuple[bytes, int]], now: int) -> list[bool]:
        """True for each (nonce, expiry in Unix ms) that is new. Those that have expired, and those that may have been taken (`PROOF_MS`
        before they expire) before this memory of nonces began, are not. The memory of a new store begins with nothing before it.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection of this process."""

    def epoch(self) -> int:
        """A number that grows with every change of grants, revocations, halts, releases, policies."""
        with self.transaction(write=False) as rows:
            return _epoch(rows)

    def snapshot(self) -> Snapshot:
        """Everything at one epoch. A grant that cannot be read is among the `damaged`; a halt that cannot raises `StoreError`."""
        with self.transaction(write=False) as rows:
            epoch = _epoch(rows)
            grants = rows.run("SELECT id, version, data FROM grants ORDER BY id, version DESC")
            revoked = rows.run("SELECT id, data, signed FROM revoked ORDER BY id")
            halts = rows.run("SELECT id, data, signed, lift FROM halts ORDER BY id")
            releases = rows.run("SELECT target, data FROM releases")
            roles = rows.run("SELECT value FROM settings WHERE name = 'roles'")
        versions: dict[str, tuple[SignedGrant, ...]] = {}
        damaged: dict[str, str] = {}
        for grant_id, version, data in grants:
            try:
                signed = parse_grant(bytes(data))
                if (signed.grant.id, signed.grant.version) != (grant_id, version):
                    raise StoreError("kept under the name of another")
                versions[grant_id] = (*versions.get(grant_id, ()), signed)
            except (AssayError, TypeError) as e:
                damaged[str(grant_id)] = f"damaged: {e.what if isinstance(e, AssayError) else 'no bytes'}"
        return Snapshot(
            epoch=epoch,
            grants={grant_id: found[0] for grant_id, found in versions.items()},
            versions=versions,
            damaged=damaged,
            revoked={r[0]: _revoked(r[0], r[1]) for r in revoked},
            halts={r[0]: _halt(r[0], r[1]) for r in halts},
            lifts={r[0]: bytes(r[3]) for r in halts if r[3]},
            orders={r[0]: bytes(r[2]) for r in (*revoked, *halts) if r[2]},
            releases={r[0]: bytes(r[1]) for r in releases},
            roles=bytes(roles[0][0]) if roles else b"",
        )

    def put_grant(self, signed: SignedGrant) -> SignedGrant:
        """Keep a grant, or add its signatures to those of the same version. A version that is not the newest, or another grant under the
        same version, or a revoked id raises `AssayError`. What is now kept is returned.
        """
        grant = signed.grant
        with self.transaction(write=True) as rows:
            _touch(rows)
            if rows.run("SELECT 1 FROM revoked WHERE id = ?", grant.id):
                raise StoreError(f"the grant '{grant.id}' is revoked, for ever", fix="Give the new one another id.")
            known = rows.run("SELECT version, data FROM grants WHERE id = ? ORDER BY version DESC LIMIT 1", grant.id)
            if known and known[0][0] > grant.version:
                raise StoreError(f"'{grant.id}' has version {known[0][0]} already", fix=f"Write version: {known[0][0] + 1}")
            if known:
                before = parse_grant(bytes(known[0][1]))
                if before.grant.parent != grant.parent:
                    raise StoreError(f"'{grant.id}' is another grant", fix="Give this one an id of its own.")
                if before.grant.version == grant.version:
                    signed = before.merged(signed)
            rows.run(
                "INSERT INTO grants (id, version, data) VALUES (?, ?, ?) ON CONFLICT (id, version) DO UPDATE SET data = excluded.data",
                grant.id, grant.version, signed.encoded(),
            )  # fmt: skip
        return signed

    def revoke(self, id: str, by: str, reason: str, at: int, signed: bytes = b"") -> None:  # noqa: A002
        """End a grant, for ever; its sub-grants end with it. The first revocation stays."""
        data = msgspec.json.encode(Revoked(id, by, reason, at))
        self._change("INSERT INTO revoked (id, data, signed) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", id, data, signed)

    def put_halt(self, halt: Halt, signed: bytes = b"") -> None:
        """Halt at once. Raises `StoreError` if there was a halt of this id."""
        with self.transaction(write=True) as rows:
            _touch(rows)
            data = msgspec.json.encode(msgspec.structs.replace(halt, lifted=0))
            sql = "INSERT INTO halts (id, data, signed, lift) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
            if not rows.count(sql, halt.id, data, signed, b""):
                raise StoreError(f"there was a halt '{halt.id}' already", fix="Give it another id.")

    def lift(self, id: str, by: str, at: int, signed: bytes) -> None:  # noqa: A002
        """Keep the lift of a halt, which counts by its signature alone (`orders.sign_lift`). Raises `StoreError` without such a halt."""
        with self.transaction(write=True) as rows:
            _touch(rows)
            if not rows.count("UPDATE halts SET lift = ? WHERE id = ?", signed, id):
                raise StoreError(f"there is no halt '{id}' that {by} could lift at {at}", fix="List them: assay access list")

    def put_release(self, target: str, data: bytes) -> None:
        """Keep a target's newest release."""
        sql = "INSERT INTO releases (target, data) VALUES (?, ?) ON CONFLICT (target) DO UPDATE SET data = excluded.data"
        self._change(sql, target, data)

    def put_roles(self, data: bytes) -> None:
        """Keep the signed roles."""
        sql = "INSERT INTO settings (name, value) VALUES ('roles', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        self._change(sql, data)

    def touch(self) -> int:
        """A new epoch, since something changed that is not kept here (policies); which one."""
        with self.transaction(write=True) as rows:
            return _touch(rows)

    def lease(self, keys: Sequence[LeaseKey], least: Sequence[Amounts], want: Sequence[Amounts], now: int) -> list[Amounts | None]:
        """For every key a block of its quota, counted as used from now on: what is wanted, but no more than a part of what is left, and at
        least `least`; None where even that is more than is left. What is leased and never given back stays used.
        """
        out: list[Amounts | None] = [None] * len(keys)
        with self.transaction(write=True) as rows:
            self._tidy(rows, now)
            for i in sorted(range(len(keys)), key=lambda i: keys[i].text):  # in one order, so that no two wait for each other
                name, limit = keys[i].text, keys[i].limit
                rows.run("INSERT INTO quotas (name, starts) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, keys[i].starts)
                used = rows.run(f"SELECT requests, tokens, money FROM quotas WHERE name = ?{self.for_update}", name)[0]  # noqa: S608
                left = [max(0, cap - spent) for cap, spent in zip(limit, used, strict=True)]
                if any(need > rest for need, rest in zip(least[i], left, strict=True)):
                    continue
                got = Amounts(*(max(need, min(w, rest // SHARE)) for need, w, rest in zip(least[i], want[i], left, strict=True)))
                rows.run("UPDATE quotas SET requests = requests + ?, tokens = tokens + ?, money = money + ? WHERE name = ?", *got, name)
                out[i] = got
        return out

    def _tidy(self, rows: Rows, now: int) -> None:
        """Forget windows that ended long ago, now and then."""
        if time.monotonic() - self._tidied < TIDY_S:
            return
        rows.run("DELETE FROM quotas WHERE starts > 0 AND starts < ?", now - KEPT_LONG_MS)
        rows.run("DELETE FROM quotas WHERE starts > 0 AND starts < ? AND starts <> starts / 3600000 * 3600000", now - KEPT_MS)
        self._tidied = time.monotonic()

    def give_back(self, items: Sequence[tuple[LeaseKey, Amounts]]) -> None:
        """Count these amounts as unused again; negative ones as used."""
        with self.transaction(write=True) as rows:
            for key, amounts in sorted(items, key=lambda item: item[0].text):
                rows.run(
                    "UPDATE quotas SET requests = requests - ?, tokens = tokens - ?, money = money - ? WHERE name = ?", *amounts, key.text
                )

    def used(self, keys: Sequence[LeaseKey]) -> list[Amounts]:
        """Of every key, what is used or held by a worker."""
        with self.transaction(write=False) as rows:
            found = [rows.run("SELECT requests, tokens, money FROM quotas WHERE name = ?", key.text) for key in keys]
        return [Amounts(*f[0]) if f else Amounts() for f in found]

    def _begin(self, rows: Rows) -> int:
        """When a memory of nonces that is empty now begins (Unix ms): 0 if it is the store's first, so that nothing can have been spent."""
        sql = "INSERT INTO settings (name, value) VALUES ('nonces', ?) ON CONFLICT (name) DO NOTHING"
        return 0 if rows.count(sql, b"begun") else time.time_ns() // 1_000_000

    def put_record(self, kind: str, id: str, value: dict[str, Any], expected: int) -> int:  # noqa: A002
        """Write a record whose version was `expected` (0: none yet); its new version. Raises `ConflictError` if another has written it."""
        data = msgspec.json.encode(value)
        with self.transaction(write=True) as rows:
            if expected == 0:
                sql = "INSERT INTO records (kind, id, version, data) VALUES (?, ?, 1, ?) ON CONFLICT (kind, id) DO NOTHING"
                done = rows.count(sql, kind, id, data)
            else:
                sql = "UPDATE records SET version = version + 1, data = ? WHERE kind = ? AND id = ? AND version = ?"
                done = rows.count(sql, data, kind, id, expected)
            if done != 1:
                raise ConflictError(f"{kind} '{id}' is no more of version {expected}", fix="Read it again.")
        return expected + 1

    def records(self, kind: str) -> dict[str, tuple[int, dict[str, Any]]]:
        """All records of a kind, by id: version and value."""
        with self.transaction(write=False) as rows:
            found = rows.run("SELECT id, version, data FROM records WHERE kind = ? ORDER BY id", kind)
        return {r[0]: (r[1], _decoded(r[2], dict[str, Any], f"{kind} '{r[0]}'")) for r in found}

    def _change(self, sql: str, *values: object) -> None:
        with self.transaction(write=True) as rows:
            _touch(rows)
            rows.run(sql, *values)


def open_store(url_or_path: str | Path, folder: Path) -> Store:
    """A store: a path (from the folder), or a postgresql:// address. Raises `StoreError`."""
    text = str(url_or_path)
    if text.startswith(("postgresql://", "postgres://")):
        from assay.access.store.postgres import PostgresStore

        return PostgresStore(text)
    if "://" in text:
        raise StoreError("a store is a path or a postgresql:// address")
    from assay.access.store.sqlite import SqliteStore

    return SqliteStore(folder / text)


def _epoch(rows: Rows) -> int:
    found = rows.run("SELECT epoch FROM epochs WHERE one = 1")
    if not found or not isinstance(found[0][0], int):
        raise StoreError("the store has lost its epoch")
    return found[0][0]


def _touch(rows: Rows) -> int:
    """First in every change: in PostgreSQL it also puts the changes in a row."""
    return int(rows.run("UPDATE epochs SET epoch = epoch + 1 WHERE one = 1 RETURNING epoch")[0][0])


def _halt(halt_id: str, data: bytes) -> Halt:
    halt = _decoded(data, Halt, f"halt '{halt_id}'")
    if halt.id != halt_id:
        raise StoreError(f"the halt '{halt_id}' is damaged")
    return msgspec.structs.replace(halt, lifted=0)


def _revoked(grant_id: str, data: bytes) -> Revoked:
    try:
        return msgspec.json.decode(bytes(data), type=Revoked)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError):
        return Revoked(grant_id, "unknown", "the revocation is damaged; it counts", 0)


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as e:
        raise StoreError(f"the store is damaged: {what}: {e}") from None
