"""Asks on Ray: workers, each with a target of its own, take leases of items; scheduler, gate, streams and run file stay in this process.

    async with Crew(OnRay(workers=4), plan, progress) as crew:       # crew.identity is what every worker's target says of itself
        await Engine(run, crew, observer, executor=crew).trials()

A worker that dies loses nothing: what had not come back of its leases goes to the others, and another worker is started. What comes back
passes the one desk in the order of slots, so decision and Merkle root are those of a run in one process on the same answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.catalog import Catalog
from assay.engine.executors.base import Desk, OnRay, Task
from assay.engine.executors.cluster import PLACE_S, Hand, NoPlaceError, WorkerDiedError, cluster
from assay.engine.executors.leases import LEASE, MOST_DEATHS, Leases, lease_size, wanted_size
from assay.engine.executors.wire import Back, Batch, Errand, Hello, Leased, Setup, decode, encode, error_of
from assay.errors import AssayError, SealedBankError, TargetError, TargetGoneError
from assay.plan import RECORDED, Limits, Plan, streams
from assay.scenarios import Message
from assay.targets import Progress, Reply

MOST_LIVES = 5
MAX_PAUSE_S = 8.0
MOST_LOOKAHEAD = 65_536


class Crew:
    """The target as its workers have it, and the executor. Refuses what cannot be distributed: `TargetError`, `SealedBankError`."""

    places = 1

    def __init__(self, how: OnRay, plan: Plan, catalog: Catalog, progress: Progress) -> None:
        _refuse(how, plan, catalog)
        self._how = how
        self._plan = plan
        self._say = progress
        self._limits = share(plan.limits, how.workers)
        self._errand = Errand(plan.target, plan.generation, self._limits)
        self._hands = [Hand(number, how) for number in range(how.workers)]
        self._opening: dict[int, asyncio.Task[Hello]] = {}
        size = lease_size(plan.limits.window, how.workers, plan.limits.concurrency)
        self._leases = Leases(size, 2 * plan.limits.concurrency)
        self._size = size
        self._tasks: dict[int, Task] = {}
        self._numbers = {stream: number for number, stream in enumerate(streams(plan))}
        self._up: set[int] = set()
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self.identity: Mapping[str, str] = {}
        self.deaths = self.leased_again = 0

    @property
    def pids(self) -> dict[int, int]:
        """The process of every worker that is up, by the worker's number."""
        return {hand.number: hand.hello.pid for hand in self._hands if hand.number in self._up}

    async def __aenter__(self) -> Self:
        n, places = self._how.workers, self._plan.limits.concurrency
        self._say(f"Starting {n} worker{'s' * (n > 1)} on {self._how.address or 'a Ray cluster of this run'}.")
        self._stack = ExitStack()
        self._stack.enter_context(cluster(self._how))
        try:
            self.identity = (await self._first()).identity
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._say(f"{places} places in each worker: {n * places} calls at once, at most; leases of {self._size}.")
        if self._size < LEASE:
            wanted = min(MOST_LOOKAHEAD, 2 * n * wanted_size(places))
            self._say(f"The plan's look-ahead has no room for leases of {LEASE}: limits.lookahead of {wanted} or more would keep {n} busy.")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for opening in self._opening.values():
            opening.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        try:
            await asyncio.gather(*(hand.close() for hand in self._hands))
        finally:
            self._stack.close()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Workers ask; this process does not."""
        raise TargetError("the target is open in the workers only")

    async def alive(self) -> bool:
        """Whether a worker is up."""
        return bool(self._up)

    async def _first(self) -> Hello:
        """The first worker whose target is open; the others go on opening theirs."""
        self._opening = {hand.number: asyncio.create_task(hand.up(self._errand)) for hand in self._hands}
        waiting = set(self._opening.values())
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for opened in done:
                with suppress(WorkerDiedError, NoPlaceError):
                    return opened.result()
        raise TargetError(
            f"none of {self._how.workers} workers came up: each found no place within {PLACE_S:.0f} s, or died as it opened its target",
            where=self._how.address, fix="Are there enough CPUs, GPUs and memory for a worker?",
        )  # fmt: skip

    async def all_up(self) -> None:
        """Returns when every worker's target is open; a run need not wait for that. Raises what a target raises."""
        for opened in await asyncio.gather(*self._opening.values(), return_exceptions=True):
            if isinstance(opened, AssayError):
                raise opened

    def work(self, desk: Desk) -> Sequence[Coroutine[Any, Any, None]]:
        """One coroutine: it hands out leases and takes in answers."""
        return [self._work(desk)]

    async def _work(self, desk: Desk) -> None:
        import ray

        self._desk = desk
        opening = desk.opening
        self._setup = ray.put(encode(Setup(opening.plan, opening.catalog, opening.seed, self._limits)))
        dealing = asyncio.create_task(self._deal())
        lives = [asyncio.create_task(self._lives(hand)) for hand in self._hands]
        changed: asyncio.Task[Any] | None = None
        recalled = False
        try:
            while not dealing.done() or self._leases.out:
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                done, _ = await asyncio.wait({changed, *lives, *([] if dealing.done() else [dealing])}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                for task in done - {changed}:
                    task.result()  # raises what went wrong; the lives end in no other way
                if dealing.done() and desk.stopped and not recalled:
                    recalled = True
                    await self._recall()
        finally:
            for task in (dealing, *lives, *([changed] if changed else [])):
                task.cancel()
            await asyncio.gather(dealing, *lives, return_exceptions=True)

    async def _deal(self) -> None:
        """Take slots from the desk as there is room, until there are no more."""
        while True:
            while not self._leases.room and not self._desk.stopped:
                self._room.clear()
                await self._room.wait()
            task = await self._desk.next()
            if task is None:
                return
            while task is not None:
                self._tasks[task[0].number] = task
                self._leases.add(task[0].number)
                task = self._desk.take() if self._leases.room else None
            self._grant()

    async def _recall(self) -> None:
        """The run ends before its schedule does: what was not begun is not asked."""
        self._leases.withdraw()
        for number in sorted(self._up):
            with suppress(WorkerDiedError):  # its life sees it too
                self._leases.recalled(number, await self._hands[number].recall())

    def _grant(self) -> None:
        """Hand out what may go out, and say that there is room again."""
        while not self._desk.stopped and (grant := self._leases.grant()) is not None:
            slots = [self._tasks[number][0] for number in grant.slots]
            self._hands[grant.worker].send(encode([Leased(s.number, self._numbers[s.stream], s.index) for s in slots]))
        self._room.set()
        self._changed.set()

    async def _lives(self, hand: Hand) -> None:
        """One worker after the other in the same place, until the run is over. Raises when too many have died there to no purpose."""
        fruitless = 0
        while True:
            answers = 0
            try:
                opening = self._opening.pop(hand.number, None)
                self._same(await (opening or hand.up(self._errand)))
                await hand.begin(self._setup)
                self._up.add(hand.number)
                self._leases.join(hand.number)
                self._grant()
                while True:
                    await hand.busy.wait()
                    answers += self._take(hand, await hand.collect())
            except NoPlaceError:
                if not self._up:
                    raise TargetError(f"there was no place for a worker for {PLACE_S:.0f} s; everything so far is kept") from None
                self._say(f"The cluster has no place for worker {hand.number}; the others go on.")
            except WorkerDiedError as e:
                hand.down()
                self._lost(hand, str(e))
                fruitless = 0 if answers else fruitless + 1
                if fruitless >= MOST_LIVES:
                    raise TargetError(
                        f"worker {hand.number} has died {fruitless} times running without an answer ({e}); everything so far is kept"
                    ) from None
                if fruitless:
                    await asyncio.sleep(min(MAX_PAUSE_S, 2.0**fruitless / 4))

    def _same(self, hello: Hello) -> None:
        if hello.identity != self.identity:
            raise TargetError(
                f"the target of a worker on {hello.node} is not the one that the run was opened with: {hello.identity}, not {self.identity}"
            )

    def _take(self, hand: Hand, batch: Batch) -> int:
        """Take in what a worker tells; how many answers counted. Raises the error that it met."""
        for reason, seconds in batch.outages:
            self._desk.outage(reason, seconds)
        counted = 0
        for raw in batch.backs:
            back = decode(raw, Back)
            if self._leases.back(hand.number, back.slot):
                slot, item = self._tasks.pop(back.slot)
                self._desk.answered(slot, item, back.reply, back.said, back.asked)
                counted += 1
        if batch.failure is not None:
            if batch.failure.kind == TargetGoneError.__name__:
                raise WorkerDiedError(batch.failure.what)
            raise error_of(batch.failure)
        if not self._leases.with_worker(hand.number):
            hand.busy.clear()
        self._grant()
        return counted

    def _lost(self, hand: Hand, why: str) -> None:
        """A worker has died: what it had goes to the others. Raises `TargetError` where one item is to blame."""
        self._up.discard(hand.number)
        lost = self._leases.lost(hand.number)
        self.deaths += 1
        self.leased_again += len(lost.slots)
        self._say(f"Worker {hand.number} has died ({why}); {len(lost.slots)} trials that had not come back go out again.")
        if lost.culprit is not None:
            slot = self._tasks[lost.culprit][0]
            raise TargetError(
                f"trial {slot.number} ({slot.stream.key} item {slot.index}) has killed {MOST_DEATHS} workers, the last two alone with it; "
                "it has no outcome, and everything else so far is kept"
            )
        if self._desk.stopped:
            self._leases.withdraw()
        self._grant()


def share(limits: Limits, workers: int) -> Limits:
    """A worker's share of what the plan allows an endpoint: requests and tokens a minute are divided, all else is each worker's own."""
    return msgspec.structs.replace(
        limits, requests_per_minute=limits.requests_per_minute // workers, tokens_per_minute=limits.tokens_per_minute // workers
    )


def _refuse(how: OnRay, plan: Plan, catalog: Catalog) -> None:
    """Raises where a plan cannot be asked by workers."""
    local = "Leave --executor ray out."
    if catalog.sealed:
        what = "the texts of a sealed bank stay in the memory of one process, and are not sent to workers"
        raise SealedBankError(what, where=", ".join(catalog.sealed), fix=local)
    for where, spec in (("target", plan.target), *((f"judge {j.name}", j.target) for j in (plan.judges.panel if plan.judges else ()))):
        if spec.kind == RECORDED:
            raise TargetError("recorded answers lie beside the run; workers have nothing to ask", where=where, fix=local)
        if spec.kind == "vllm" and where != "target":
            what = "this process opens the judges too, to pin them, and would load the model as well"
            raise TargetError(what, where=where, fix="Serve it (vllm serve) and give the judge the kind http.")
    for name in ("requests_per_minute", "tokens_per_minute"):
        if 0 < getattr(plan.limits, name) < how.workers:
            raise TargetError(f"{getattr(plan.limits, name)} cannot be divided among {how.workers} workers", where=f"limits.{name}")
