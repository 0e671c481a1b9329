"""Group commit: trials that end close together share one transaction, and the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from assay.decision import Slot
from assay.judges import Said
from assay.runs import RunStore, Trial
from assay.scenarios import Item
from assay.targets import Reply

GROUP_S = 0.01


class Answered(Struct, frozen=True):
    """A slot whose answer is there; `at` is the Unix time in milliseconds, `said` what the plan's judges replied, `asked` the digest of the
    item as a worker elsewhere built it.
    """

    slot: Slot
    item: Item
    reply: Reply
    at: int
    said: tuple[Said, ...] = ()
    asked: str = ""


class Writer:
    """Takes answers, has them judged, tells when the trials are on disk.

    A batch is written when every place is idle, or `GROUP_S` after its first trial.
    """

    def __init__(self, run: RunStore, judged: Callable[[Answered], Trial], durable: Callable[[list[Trial]], None]) -> None:
        self._run = run
        self._judged = judged
        self._durable = durable
        self._batch: list[Answered] = []
        self._some = asyncio.Event()
        self._now = asyncio.Event()
        self._places = 0
        self.idle = 0
        self.checkpoint: dict[str, Any] | None = None
        self.task: asyncio.Task[None]

    def open(self, places: int) -> None:
        """Begin, for so many places."""
        self._places = places
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run-file")
        self.task = asyncio.create_task(self._loop())

    def put(self, answered: Answered) -> None:
        """An answer that came in."""
        self._batch.append(answered)
        self._some.set()

    def hurry(self) -> None:
        """A place has nothing to do; when none has, nothing is gained by waiting for more."""
        if self.idle >= self._places:
            self._now.set()

    def place_ended(self) -> None:
        """A place has done its last trial; when all have, the loop ends after what is left."""
        self._places -= 1
        self._some.set()
        self.hurry()

    async def _loop(self) -> None:
        while True:
            await self._some.wait()
            if self._places and not self._now.is_set():
                try:
                    async with asyncio.timeout(GROUP_S):
                        await self._now.wait()
                except TimeoutError:
                    pass
            self._some.clear()
            self._now.clear()
            await self._flush()
            if not self._places and not self._batch:
                return

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        checkpoint, self.checkpoint = self.checkpoint, None
        if batch or checkpoint:
            loop = asyncio.get_running_loop()
            trials = [self._judged(answered) for answered in batch]
            await loop.run_in_executor(self._thread, self._run.append, trials, checkpoint)
            self._durable(trials)

    async def close(self, checkpoint: Callable[[], dict[str, Any]] | None) -> None:
        """Write what is left and a last checkpoint, if there is to be one. Raises what went wrong in writing."""
        try:
            await self.task
            await self._flush()
            self.checkpoint = checkpoint() if checkpoint else None
            await self._flush()
        finally:
            self._thread.shutdown()
