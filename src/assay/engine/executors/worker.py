"""A worker: opens its own target, takes leases of items, asks them with its own places, and keeps the answers until they are fetched.

    hello = await worker.open(errand)        # its target is open: which is it?
    await worker.begin(setup)                # plan, content, seed: items can be built
    await worker.lease(slots)                # more to do
    batch = await worker.collect()           # what is done, after a moment's wait for more

It knows nothing of Ray, which makes an actor of it. What is waiting for it and what it holds is at most two leases, so nothing piles up.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections import deque
from contextlib import AsyncExitStack

from assay.attacks import ATTACKS
from assay.engine.asking import Asker, make_attacker, make_judges
from assay.engine.executors.wire import Back, Batch, Errand, Failure, Hello, Leased, Setup, decode, encode, failure_of
from assay.errors import AssayError, TargetError
from assay.plan import streams
from assay.scenarios import ItemBuilder
from assay.targets import make_target
from assay.version import __version__

LINGER_S = 0.05
HEARTBEAT_S = 5.0
MOST_BACKS = 500
MOST_BYTES = 4_000_000


class Worker:
    """One target, `limits.concurrency` places."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._queue: asyncio.PriorityQueue[tuple[int, int, int]] = asyncio.PriorityQueue()
        self._done: deque[bytes] = deque()
        self._some = asyncio.Event()
        self._places: list[asyncio.Task[None]] = []
        self._outages: dict[str, float] = {}
        self._failure: Failure | None = None
        self._left = 0

    async def ready(self) -> str:
        """Answered as soon as there is a place for the worker: its version."""
        return __version__

    async def open(self, errand: bytes) -> bytes:
        """Open the target. A `Hello`, or the `Failure` that it cannot be opened."""
        try:
            given = decode(errand, Errand)
            self._target = await self._stack.enter_async_context(
                make_target(given.target, given.generation, given.limits, lambda _: None)
            )  # fmt: skip
        except AssayError as e:
            return encode(failure_of(e))
        return encode(Hello(__version__, dict(self._target.identity), os.getpid(), platform.node()))

    async def begin(self, setup: bytes) -> bytes:
        """Open judges and attacker, and be ready for leases. A `Failure`, or nothing."""
        try:
            given = decode(setup, Setup)
            plan = given.plan
            judges = [
                await self._stack.enter_async_context(judge) for judge in make_judges(plan, given.limits, lambda _: None)
            ]  # fmt: skip
            for spec, judge in zip(plan.judges.panel if plan.judges else (), judges, strict=True):
                if judge.identity.get("digest", "") != spec.target.digest:
                    raise TargetError(f"the judge '{spec.name}' of a worker is not the one that the run was opened with")
            self._builder = ItemBuilder.for_plan(plan, given.catalog, given.seed, ATTACKS)
            self._streams = streams(plan)
            asker = Asker(
                plan, given.catalog, self._builder, given.seed, self._target, make_attacker(plan, given.limits, lambda _: None), judges,
                self._outage,
            )  # fmt: skip
            self._asker = await self._stack.enter_async_context(asker)
        except AssayError as e:
            return encode(failure_of(e))
        self._places = [asyncio.create_task(self._place()) for _ in range(plan.limits.concurrency)]
        for place in self._places:
            place.add_done_callback(self._ended)
        return b""

    async def lease(self, slots: bytes) -> None:
        """More to do; the lowest slots are asked first."""
        try:
            for leased in decode(slots, list[Leased]):
                self._queue.put_nowait((leased.slot, leased.stream, leased.index))
                self._left += 1
        except AssayError as e:
            self._fail(e)

    async def recall(self) -> bytes:
        """Ask nothing more: the slots that were not begun, which are dropped."""
        dropped = []
        while not self._queue.empty():
            dropped.append(self._queue.get_nowait()[0])
        self._left -= len(dropped)
        self._some.set()
        return encode(dropped)

    async def collect(self) -> bytes:
        """A `Batch`: at once when all is done, else shortly after the first answer; an empty one after a while without any.

        Raises what went wrong in the code itself.
        """
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._some.wait()
            until = time.monotonic() + LINGER_S
            while self._failure is None and len(self._done) < min(self._left, MOST_BACKS):
                self._some.clear()
                async with asyncio.timeout(until - time.monotonic()):
                    await self._some.wait()
        except TimeoutError:
            pass
        for place in self._places:
            if place.done() and not place.cancelled() and self._failure is None:
                place.result()
        return encode(self._batch())

    def _batch(self) -> Batch:
        backs: list[bytes] = []
        size = 0
        while self._done and len(backs) < MOST_BACKS and size < MOST_BYTES:
            backs.append(self._done.popleft())
            size += len(backs[-1])
        self._left -= len(backs)
        if not self._done and self._failure is None:
            self._some.clear()
        outages, self._outages = tuple(self._outages.items()), {}
        return Batch(tuple(backs), outages, self._failure)

    async def close(self) -> None:
        """Close the target, the judges and the attacker."""
        for place in self._places:
            place.cancel()
        await asyncio.gather(*self._places, return_exceptions=True)
        await self._stack.aclose()

    async def _place(self) -> None:
        while True:
            slot, stream, index = await self._queue.get()
            item = self._builder.build(self._streams[stream], index)
            reply, said = await self._asker.answer(item)
            self._done.append(encode(Back(slot, item.digest, reply, said)))
            self._some.set()

    def _ended(self, place: asyncio.Task[None]) -> None:
        """A place has ended, which it does only with an error."""
        if not place.cancelled() and isinstance(error := place.exception(), AssayError):
            self._fail(error)
        self._some.set()

    def _fail(self, error: AssayError) -> None:
        self._failure = self._failure or failure_of(error)
        self._some.set()

    def _outage(self, reason: str, seconds: float) -> None:
        self._outages[reason] = seconds
