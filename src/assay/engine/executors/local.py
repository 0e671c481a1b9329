"""Asks in this process: so many free places, each taking the next item at once, without waiting for anyone."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from assay.engine.asking import Asker
from assay.engine.executors.base import Desk


class LocalExecutor:
    """`places` calls at once."""

    def __init__(self, asker: Asker, places: int) -> None:
        self._asker = asker
        self.places = places

    def work(self, desk: Desk) -> Sequence[Coroutine[Any, Any, None]]:
        """One coroutine a place."""
        return [self._place(desk) for _ in range(self.places)]

    async def _place(self, desk: Desk) -> None:
        while (asked := await desk.next()) is not None:
            slot, item = asked
            reply, said = await self._asker.answer(item)
            desk.answered(slot, item, reply, said)
