"""What is under way: every request that was let through, so that a halt can cut it.

    with registry.entered(live):
        ... stream ...
    registry.cut(lambda live: covers(halt, live.grant, live.person), "halt stop-1")

A cut cancels the task that serves the request; whoever serves it sees `live.reason`, tells the caller, and closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from assay.access.model import Grant


@dataclass(slots=True, eq=False)
class Live:
    """One request under way. `since` is Unix milliseconds; `reason` says why it was cut, empty while it is not. `chunks` is what its
    stream has brought so far.
    """

    id: str
    grant: Grant
    person: str
    route: str
    since: int
    task: asyncio.Task[object]
    reason: str = ""
    cut_at: float = 0.0
    chunks: list[bytes] = field(default_factory=list)
    counted: tuple[int, int] = (0, 0)

    @property
    def events(self) -> int:
        """How many events its stream has brought so far: about one a token. Only what has come since it was last asked is counted."""
        seen, events = self.counted
        new = self.chunks[seen:]
        self.counted = seen + len(new), events + sum(chunk.count(b"data:") for chunk in new)
        return self.counted[1]


class Registry:
    """All requests of a worker that are under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._live: dict[str, Live] = {}
        self.cut_count = 0

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._live.values()))

    @property
    def full(self) -> bool:
        """Whether no more may begin."""
        return len(self._live) >= self._most

    @contextmanager
    def entered(self, live: Live) -> Iterator[Live]:
        """While it is under way."""
        self._live[live.id] = live
        try:
            yield live
        finally:
            self._live.pop(live.id, None)

    def cut(self, whether: Callable[[Live], str]) -> int:
        """Cut every request for which `whether` gives a reason; how many there were."""
        count = 0
        now = asyncio.get_running_loop().time()
        for live in list(self._live.values()):
            reason = "" if live.reason else whether(live)
            if reason:
                live.reason, live.cut_at = reason, now
                live.task.cancel()
                count += 1
        self.cut_count += count
        return count
