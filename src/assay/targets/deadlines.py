"""Deadlines for many calls at the price of one timer: a task that is late is cancelled by a sweep, and learns that it was late.

    deadlines.watch(task, until)
    try: ...
    except asyncio.CancelledError:
        if not deadlines.was_late(task): raise
    finally: deadlines.forget(task)

A timer for each call, as `asyncio.timeout` and aiohttp have it, costs a tenth of the whole call.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self

Task = asyncio.Task[Any]


class Deadlines:
    """Sweeps every `every_s` seconds while open; a call may be late by as much."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._until: dict[Task, float] = {}
        self._late: set[Task] = set()
        self._sweeper: Task | None = None

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._sweeper:
            self._sweeper.cancel()

    def watch(self, task: Task, until: float) -> None:
        """The task is to be done by then, on the monotonic clock."""
        self._until[task] = until

    def forget(self, task: Task) -> None:
        """The task is done with what was watched."""
        del self._until[task]

    def was_late(self, task: Task) -> bool:
        """Whether a cancellation that the task is handling was for being late, and for nothing else; it is then undone."""
        if task not in self._late:
            return False
        self._late.discard(task)
        return task.uncancel() == 0

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            now = time.monotonic()
            for task, until in self._until.items():
                if now >= until and task not in self._late:
                    self._late.add(task)
                    task.cancel()
