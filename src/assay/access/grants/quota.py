"""Quotas: reserved before a request goes upstream, settled after it, never over-spent, whatever is killed when.

quotas = Quotas(store)
quotas.follow(view.grants)                                     # after every change, so that a sub-grant's use counts against its parent
reservation = quotas.reserve(grant, person, Amounts(1, 5000, 120), now)   # raises DeniedError("quota", 429, ...)
quotas.settle(reservation, Amounts(1, 3127, 80))               # the rest is free again
quotas.tick(now)                                               # once a second: what lies idle goes back to the store

A worker leases blocks from the store and spends them in memory. What is leased counts as used, so a worker that is killed loses its block
and nobody gains one. Blocks follow the demand of about a second, and near the end are what is asked for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from assay.access.model import DeniedError, Grant
from assay.access.store.base import MOST, Amounts, LeaseKey, Store, StoreError

WINDOWS_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "total": 0}
FIRST = 8
"""The first block is for so many requests like the one that asked for it."""
SOON_MS = 1_000
LATE_MS = 8_000
IDLE_MS = 3_000
DRY_MS = 200
TRIES = 16
NAMES = {"minute": "this minute", "hour": "this hour", "day": "today", "total": "the whole grant"}


class Block:
    """What a worker holds of one quota, for one window."""

    __slots__ = ("dry", "ends", "filling", "key", "leased_at", "low", "money", "requests", "tokens", "used_at", "want")

    def __init__(self, key: LeaseKey, ends: int) -> None:
        self.key = key
        self.ends = ends
        self.requests = self.tokens = self.money = 0
        self.low = Amounts()
        self.want = Amounts()
        self.leased_at = self.used_at = 0
        self.dry = (0, Amounts())
        self.filling = False

    def lacks(self, amounts: Amounts) -> bool:
        """Whether it holds less than that."""
        return self.requests < amounts[0] or self.tokens < amounts[1] or self.money < amounts[2]

    def short(self, amounts: Amounts) -> Amounts:
        """How much it lacks of that."""
        return Amounts(max(0, amounts[0] - self.requests), max(0, amounts[1] - self.tokens), max(0, amounts[2] - self.money))

    def add(self, amounts: Amounts) -> None:
        """Put more into it."""
        self.requests += amounts[0]
        self.tokens += amounts[1]
        self.money += amounts[2]

    def asked(self, amounts: Amounts, now: int) -> Amounts:
        """What to lease for a request like this: more where the last block went fast, less where it lasted."""
        least = Amounts(*(FIRST * a for a in amounts))
        since = now - self.leased_at
        factor = (2, 1) if since < SOON_MS else (1, 2) if since > LATE_MS else (1, 1)
        self.want = Amounts(*(max(a, min(w * factor[0] // factor[1], 2**53)) for a, w in zip(least, self.want, strict=True)))
        return self.want


class Reservation:
    """What was set aside for one request, until it is settled."""

    __slots__ = ("amounts", "blocks", "settled")

    def __init__(self, amounts: Amounts, blocks: tuple[Block, ...]) -> None:
        self.amounts = amounts
        self.blocks = blocks
        self.settled = False


class _Path:
    """The blocks that a person's requests under a grant are taken from, while all their windows last."""

    __slots__ = ("blocks", "ends", "grant", "parent", "starts")

    def __init__(self, grant: Grant, parent: Grant | None, blocks: tuple[Block, ...], starts: int, ends: int) -> None:
        self.grant, self.parent, self.blocks, self.starts, self.ends = grant, parent, blocks, starts, ends


class Quotas:
    """A worker's quotas. Safe among threads; only where a block is empty does a call wait for the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._grants: Mapping[str, Grant] = {}
        self._paths: dict[tuple[str, str], _Path] = {}
        self._blocks: dict[str, Block] = {}
        self._lock = threading.Lock()
        self._fills = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def follow(self, grants: Mapping[str, Grant]) -> None:
        """The grants in force, among which the parents of sub-grants are looked for."""
        with self._lock:
            self._grants = grants
            self._paths.clear()

    def reserve(self, grant: Grant, person: str, amounts: Amounts, now: int) -> Reservation:
        """Set this aside in every window of the grant, its parent and the person's minute. Raises `DeniedError`.

        Memory only, unless a block is empty: then it waits for the store (an event loop calls `reserve_soon`).
        """
        for _ in range(TRIES):
            reservation = self.try_reserve(grant, person, amounts, now)
            if reservation is not None:
                return reservation
            self._fill(grant, person, amounts, now)
        raise DeniedError("quota", 429, "the grant's quotas are wanted by too many at once")

    async def reserve_soon(self, grant: Grant, person: str, amounts: Amounts, now: int) -> Reservation:
        """As `reserve`; what waits for the store waits in a thread."""
        reservation = self.try_reserve(grant, person, amounts, now)
        return await asyncio.to_thread(self.reserve, grant, person, amounts, now) if reservation is None else reservation

    def try_reserve(self, grant: Grant, person: str, amounts: Amounts, now: int) -> Reservation | None:
        """From memory; None if a block holds too little. Raises `DeniedError` for what is spent, or was refused a moment ago."""
        requests, tokens, money = amounts
        if requests < 0 or tokens < 0 or money < 0:
            raise DeniedError("quota", 400, "an amount below nothing")
        low = None
        with self._lock:
            path = self._paths.get((grant.id, person))
            if path is None or path.grant is not grant or not path.starts <= now < path.ends:
                path = self._path(grant, person, now)
            blocks = path.blocks
            for b in blocks:
                if b.requests < requests or b.tokens < tokens or b.money < money:
                    if 0 <= now - b.dry[0] < DRY_MS and any(a >= d > 0 for a, d in zip(amounts, b.dry[1], strict=True)):
                        raise _spent(b, b.dry[1])
                    return None
            for b in blocks:
                b.requests -= requests
                b.tokens -= tokens
                b.money -= money
                b.used_at = now
                if not b.filling and (b.requests < b.low[0] or b.tokens < b.low[1] or b.money < b.low[2]):
                    low = [b] if low is None else [*low, b]
                    b.filling = True
        if low is not None:
            self._soon(low, amounts, now)
        return Reservation(amounts, blocks)

    def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Give back what was reserved and not used (or take what was used beyond it). Once: a second time changes nothing."""
        back = Amounts(*(a - u for a, u in zip(reservation.amounts, used, strict=True)))
        with self._lock:
            if not reservation.settled:
                reservation.settled = True
                for b in reservation.blocks:
                    b.add(back)

    def tick(self, now: int) -> None:
        """Give back what has lain idle, count what was used beyond a block, forget windows that have ended. Call it from a thread."""
        with self._lock:
            for name in [name for name, b in self._blocks.items() if b.ends and now >= b.ends + LATE_MS]:
                del self._blocks[name]
            self._paths = {key: path for key, path in self._paths.items() if now < path.ends}
            idle = [b for b in self._blocks.values() if not b.filling and (now - b.used_at > IDLE_MS or b.lacks(Amounts()))]
        self._give_back(idle)

    def close(self) -> None:
        """Give everything back; reserve nothing more. What is not settled by then stays used."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)
        with self._fills, self._lock:
            blocks = list(self._blocks.values())
            self._paths.clear()
        self._give_back(blocks)

    def _path(self, grant: Grant, person: str, now: int) -> _Path:
        """Under the lock. Raises `DeniedError` for a sub-grant whose parent is not in force."""
        if self._closed:
            raise DeniedError("quota", 503, "the gate is closing")
        parent = None
        if grant.parent:
            parent = self._grants.get(grant.parent)
            if parent is None:
                raise DeniedError("grant", 403, f"the grant's parent '{grant.parent}' is gone")
        starts, ends, blocks = 0, MOST, []
        keys = [*quota_keys(grant, now), *(quota_keys(parent, now) if parent is not None else ())]
        keys.append(_key(grant.id, person, "minute", Amounts(grant.per_person_a_minute, MOST, MOST), now))
        for key in keys:
            size = WINDOWS_MS[key.window]
            starts, ends = max(starts, key.starts), min(ends, key.starts + size if size else MOST)
            block = self._blocks.get(key.text)
            if block is None:
                block = self._blocks[key.text] = Block(key, key.starts + size if size else 0)
                if key.person:
                    block.tokens = block.money = MOST  # its requests are counted, nothing else
            block.key = key  # the limit of the grant's present version
            blocks.append(block)
        path = self._paths[(grant.id, person)] = _Path(grant, parent, tuple(blocks), starts, ends)
        return path

    def _fill(self, grant: Grant, person: str, amounts: Amounts, now: int) -> None:
        """Lease what a request lacks. Raises `DeniedError`."""
        with self._fills:
            with self._lock:
                lacking = [b for b in self._path(grant, person, now).blocks if b.lacks(amounts)]
            spent = self._lease(lacking, amounts, now, least=True)
        if spent is not None:
            raise _spent(spent, amounts)

    def _lease(self, blocks: list[Block], amounts: Amounts, now: int, *, least: bool) -> Block | None:
        """Lease for these blocks; one for which the store has not enough, if there is such a one. Raises `DeniedError`."""
        if not blocks:
            return None
        with self._lock:
            need = [b.short(amounts) if least else Amounts() for b in blocks]
            want = [b.short(b.asked(amounts, now)) for b in blocks]
            keys = [b.key for b in blocks]
        try:
            got = self._store.lease(keys, need, want, now)
        except StoreError:
            raise DeniedError("quota", 503, "the gate cannot know what is left, so it serves nothing") from None
        spent = None
        with self._lock:
            for b, asked, g in zip(blocks, need, got, strict=True):
                if g is None:
                    b.dry, spent = (now, asked), b
                    continue
                b.add(g)
                b.leased_at = b.used_at = now
                b.low = Amounts(*(x // 4 if x >= 4 * a else 0 for x, a in zip(g, amounts, strict=True)))
        return spent

    def _soon(self, blocks: list[Block], amounts: Amounts, now: int) -> None:
        """Lease ahead in a thread, before these blocks are empty."""
        with self._lock:
            if self._closed:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="assay-quota")
            self._pool.submit(self._ahead, blocks, amounts, now)

    def _ahead(self, blocks: list[Block], amounts: Amounts, now: int) -> None:
        try:
            with self._fills:
                self._lease(blocks, amounts, now, least=False)
        except DeniedError:
            return  # whoever finds a block empty asks again, and is told
        finally:
            with self._lock:
                for b in blocks:
                    b.filling = False

    def _give_back(self, blocks: list[Block]) -> None:
        with self._lock:
            items = []
            for b in blocks:
                unlimited = bool(b.key.person)
                left = Amounts(b.requests, 0 if unlimited else b.tokens, 0 if unlimited else b.money)
                if any(left):
                    items.append((b, left))
                    b.add(Amounts(*(-x for x in left)))
                    b.low = Amounts()
        if not items:
            return
        try:
            self._store.give_back([(b.key, left) for b, left in items])
        except StoreError:
            with self._lock:  # what a block owes is not forgotten; what it had stays counted as used
                for b, left in items:
                    b.add(Amounts(*(min(0, x) for x in left)))


def quota_keys(grant: Grant, now: int) -> list[LeaseKey]:
    """What a grant's quotas count in the windows of this time (Unix ms), one for each quota: for `Store.used`."""
    return [_key(grant.id, "", q.window, Amounts(q.requests, q.tokens, q.money), now) for q in grant.quotas]


def _key(grant_id: str, person: str, window: str, limit: Amounts, now: int) -> LeaseKey:
    size = WINDOWS_MS[window]
    return LeaseKey(grant_id, person, window, now - now % size if size else 0, limit)


def _spent(block: Block, asked: Amounts) -> DeniedError:
    key = block.key
    if key.person:
        return DeniedError("rate", 429, "this person's requests for this minute are spent")
    names = [name for name, a in zip(("requests", "tokens", "money"), asked, strict=True) if a > 0]
    return DeniedError("quota", 429, f"the quota of '{key.grant}' for {NAMES[key.window]} has too little left ({', '.join(names)})")


__all__ = ["Amounts", "Quotas", "Reservation", "quota_keys"]
