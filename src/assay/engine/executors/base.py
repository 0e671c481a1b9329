"""What the engine and whoever does its asking know of each other.

    for places in executor.work(desk): ...            # the engine runs these until the desk has nothing more
    task = await desk.next()                          # (slot, item), None when there is none
    desk.answered(slot, item, reply, said)

The desk is the scheduler's only counter: whatever the executor, slots are handed out by one sequential authority, results go through it
into the streams in order, and it alone reads the clock.
"""

from __future__ import annotations

import shlex
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct

from assay.decision import Slot
from assay.errors import TargetError
from assay.judges import Said
from assay.runs import Opening
from assay.scenarios import Item
from assay.targets import Reply

Task = tuple[Slot, Item]
MOST_WORKERS = 4096


class OnRay(Struct, frozen=True):
    """How to work on Ray: so many workers, on the cluster at `address` (host:port, or auto), or on one of its own on this machine.

    Raises `TargetError` for numbers out of range, and for a Ray client's address.
    """

    workers: int = 2
    address: str = ""
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MOST_WORKERS:
            raise TargetError(f"there can be 1 to {MOST_WORKERS} workers, not {self.workers}", where="workers")
        if not 0 <= self.gpus_per_worker <= 64:
            raise TargetError("a worker can have 0 to 64 GPUs", where="gpus_per_worker")
        if "://" in self.address:
            raise TargetError(
                "a Ray client's address cannot be used", where=self.address, fix="Run on a node of the cluster, and give auto or host:port."
            )

    @property
    def options(self) -> str:
        """The options of `assay run` that say so, with a space before them."""
        address = f" --ray-address {shlex.quote(self.address)}" if self.address else ""
        gpus = f" --gpus-per-worker {self.gpus_per_worker:g}" if self.gpus_per_worker else ""
        return f" --executor ray --workers {self.workers}{address}{gpus}"


class Desk(Protocol):
    """The engine, as an executor sees it."""

    @property
    def opening(self) -> Opening:
        """Plan, content and seed of the run."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether no further trial may begin: a budget is spent, or the run was interrupted."""
        ...

    async def next(self) -> Task | None:
        """The next item to ask, waited for; None when there is none, or no more may be asked."""
        ...

    def take(self) -> Task | None:
        """The next item if one may be asked right now."""
        ...

    def answered(self, slot: Slot, item: Item, reply: Reply, said: tuple[Said, ...], asked: str = "") -> None:
        """An answer has come. `asked` is the digest of the item as whoever asked it built it; an executor of another kind than the
        engine's own must give it.
        """
        ...

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint has not answered for so long."""
        ...


class Executor(Protocol):
    """Has items asked. `places` is how many of its coroutines wait at the desk at most."""

    @property
    def places(self) -> int:
        """How many coroutines `work` gives."""
        ...

    def work(self, desk: Desk) -> Sequence[Coroutine[Any, Any, None]]:
        """What is to run until the desk has nothing more; cancelled when the run is interrupted."""
        ...
