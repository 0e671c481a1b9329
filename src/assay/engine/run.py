"""Runs a plan: asks the scheduler for slots, the target for answers, the judges for outcomes, and commits in order.

    ended = await Engine(run, target, observer).trials()

No batch barrier: a free place takes the next slot at once. Answers arrive in any order and are made durable as they arrive; they are
committed (seen by gate and scheduler) in slot order only. Who does the asking is an executor's affair (`engine/executors`): places in this
process, or workers elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Opened
from assay.decision import Decision, Gate, Scheduler, Slot, registered_first
from assay.engine.asking import Asker
from assay.engine.executors.base import Executor, Task
from assay.engine.executors.local import LocalExecutor
from assay.engine.replay import NoTranscriptError
from assay.engine.spending import Spending
from assay.engine.writer import Answered, Writer
from assay.errors import AssayError, RunFileError, TargetError
from assay.judges import Answer, Outcome, Said, told, verdict_on
from assay.plan import Stream
from assay.runs import Ended, Opening, RunStore, Trial
from assay.scenarios import Item, ItemBuilder
from assay.targets import Reply, Target
from assay.version import __version__

CHECKPOINT = 2
CHECKPOINT_EVERY = 5_000
PREPARED = 32
STATED = frozenset({"providerKey", "providerStatement", "providerVersion", "providerWeights"})
"""What a target's record may have beside what the target says of itself: what its provider has signed."""


class Observer(Protocol):
    """Told of everything that a person may want to see. Must be quick."""

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """A trial entered its stream. `gate` sees it when the scheduler does, a window later."""
        ...

    def restored(self, counts: dict[Stream, list[int]]) -> None:
        """The run goes on from a checkpoint: trials, violations and unscorable per stream so far."""
        ...

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint has not answered for so long."""
        ...


class Committed(Struct, frozen=True):
    """What gate and scheduler see of a trial, and what it took: tokens, calls (status and milliseconds), its end (Unix ms)."""

    slot: int
    stream: Stream
    index: int
    outcome: Outcome
    resumed: bool
    tokens: tuple[int, int] = (0, 0)
    attempts: tuple[tuple[str, int], ...] = ()
    at: int = 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Engine:
    """One execution of a plan against an open target. Sealed banks must be `opened`; `asked` counts what was sent of their items.

    An `executor` has the items asked elsewhere; then attacker and judges are its own. `clock` gives the time of an answer, in Unix
    milliseconds: the only clock that enters the evidence of a trial.
    """

    def __init__(
        self, run: RunStore, target: Target, observer: Observer, attacker: Target | None = None, judges: Sequence[Target] = (),
        opened: Opened | None = None, executor: Executor | None = None, clock: Callable[[], int] = _now_ms,
    ) -> None:  # fmt: skip
        self._run = run
        self.asked: dict[str, Counter[str]] = {}
        self._clock = clock
        self._observer = observer
        self.opening = opening = run.opening()
        _same_target(opening, target)
        self._plan = opening.plan
        self._catalog = opening.catalog
        seed = opening.seed
        self._builder = ItemBuilder.for_plan(self._plan, opening.catalog, seed, ATTACKS, opened)
        registration = registered_first(self._plan, opening.target, opening.seals)
        self._scheduler = Scheduler(self._plan, seed, told(run.taken(), self._plan.labels.people), registration)
        self._spending = Spending(self._plan)
        self._next_commit = 0
        self._restore()
        self.resumed = self._next_commit + run.count(self._next_commit)
        self._kept = run.trials(self._next_commit)
        self._next_kept = next(self._kept, None)
        self._done: dict[int, tuple[Slot, Trial, bool]] = {}
        self._ready: deque[tuple[Slot, Item]] = deque()
        self._writer = Writer(run, self._judged, self._durable)
        self._room = asyncio.Event()
        self._exhausted = False
        self._stop: Ended | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._asker: Asker | None = None
        self._elsewhere = executor is not None
        if executor is None:
            self._asker = Asker(self._plan, opening.catalog, self._builder, seed, target, attacker, judges, observer.outage)
            executor = LocalExecutor(self._asker, self._plan.limits.concurrency)
        self._executor = executor

    def interrupt(self) -> None:
        """Stop as soon as possible: what is under way is dropped, what is done is kept."""
        self._stop = "interrupted"
        self._run.hasten()
        for worker in self._workers:
            worker.cancel()

    def decision(self) -> Decision:
        """The decision on everything committed; when the run is over."""
        return self._scheduler.finish().decision()

    async def trials(self) -> Ended:
        """Run until complete, out of a budget, or interrupted. Raises `TargetError` when the endpoint is down for too long."""
        async with AsyncExitStack() as stack:
            if self._asker is not None:
                await stack.enter_async_context(self._asker)
            return await self._trials()

    async def _trials(self) -> Ended:
        loop = asyncio.get_running_loop()
        self._run.watch(lambda reason, seconds: loop.call_soon_threadsafe(self._observer.outage, reason, seconds))
        if self._next_commit:
            self._observer.restored(self._scheduler.counts())
        timers = []
        if self._plan.budget.minutes:
            seconds = 60 * self._plan.budget.minutes
            timers = [loop.call_later(seconds, self._late), loop.call_later(seconds + self._plan.limits.timeout_s, self._too_late)]
        self._writer.open(self._executor.places)
        self._workers = [asyncio.create_task(self._work(place)) for place in self._executor.work(self)]
        try:
            await asyncio.wait({*self._workers, self._writer.task}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for timer in timers:
                timer.cancel()
            for worker in self._workers:
                worker.cancel()
            ended = await asyncio.gather(*self._workers, return_exceptions=True)
            await self._writer.close(self._checkpoint if self._plan.judges is None else None)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        return "complete" if self._is_complete() else self._stop or "interrupted"

    def _is_complete(self) -> bool:
        """Whether the schedule has no further slot and all are committed, whatever else was at its end by then."""
        if self._ready or self._done or self._spending.under_way:
            return False
        return not self._prepare() and self._exhausted

    def _late(self) -> None:
        """The plan's minutes are over: no further trial begins."""
        self._stop = self._stop or "deadline"
        self._room.set()

    def _too_late(self) -> None:
        """What is under way had as long again as one call may take: it is dropped."""
        for worker in self._workers:
            worker.cancel()

    async def _work(self, place: Coroutine[Any, Any, None]) -> None:
        """One coroutine of the executor, until it has no more to do."""
        try:
            await place
        except NoTranscriptError:
            self._stop = self._stop or "transcripts"
            self._room.set()
        finally:
            self._writer.place_ended()

    @property
    def stopped(self) -> bool:
        """Whether no further trial may begin."""
        return self._stop is not None

    async def next(self) -> Task | None:
        """The next item to ask; None when there is none, or no more may be asked."""
        while self._stop is None:
            some, over = bool(self._ready or self._prepare()), self._spending.over()
            if self._exhausted and not some:
                break  # no further trial, so none that a budget could forbid
            if some and not over:
                return self._handed()
            if over and not self._spending.under_way:
                self._stop = over
            else:
                await self._commits()
        self._room.set()
        return None

    def take(self) -> Task | None:
        """The next item, if one may be asked right now."""
        if self._stop is not None or self._spending.over() or not (self._ready or self._prepare()):
            return None
        return self._handed()

    def _handed(self) -> Task:
        task = self._ready.popleft()
        self._spending.under_way += 1
        item = task[1]
        if item.salt:
            self.asked.setdefault(item.stream.hazard, Counter())[item.scenario] += 1
        return task

    def answered(self, slot: Slot, item: Item, reply: Reply, said: tuple[Said, ...], asked: str = "") -> None:
        """An answer has come; it is dated now."""
        self._writer.put(Answered(slot, item, reply, self._clock(), said, asked))

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint has not answered for so long."""
        self._observer.outage(reason, seconds)

    def _prepare(self) -> bool:
        """Build the items of the next few slots at once: the same code over and over is quicker than a little of everything in turn."""
        while len(self._ready) < PREPARED and not self._exhausted and not self._scheduler.waiting:
            slot = self._scheduler.next_slot()
            if slot is None:
                self._exhausted = True
            elif not self._kept_already(slot):
                self._ready.append((slot, self._builder.build(slot.stream, slot.index)))
        return bool(self._ready)

    async def _commits(self) -> None:
        """Wait until something was committed, or the run is to stop."""
        self._room.clear()
        self._writer.idle += 1
        self._writer.hurry()
        try:
            await self._room.wait()
        finally:
            self._writer.idle -= 1

    def _kept_already(self, slot: Slot) -> bool:
        """Whether the run file has this slot's trial: it is committed, not asked again."""
        trial = self._next_kept
        if trial is None or trial.slot != slot.number:
            return False
        if (trial.stream, trial.index) != (slot.stream, slot.index):
            raise RunFileError(
                f"trial {slot.number} in the run file is {trial.stream.key} item {trial.index}, "
                f"where the plan's schedule has {slot.stream.key} item {slot.index}",
                where=str(self._run.path),
            )
        self._next_kept = next(self._kept, None)
        self._done[slot.number] = (slot, trial, True)
        self._commit_ready()
        return True

    def _durable(self, trials: list[Trial]) -> None:
        """Trials are on disk: commit what is next in order."""
        for trial in trials:
            self._done[trial.slot] = (Slot(trial.slot, trial.stream, trial.index), trial, False)
        self._commit_ready()
        self._room.set()

    def _commit_ready(self) -> None:
        while self._next_commit in self._done:
            slot, trial, resumed = self._done.pop(self._next_commit)
            self._next_commit += 1
            self._scheduler.commit(slot.stream, slot.index, trial.outcome)
            self._spending.add(trial)
            self._spending.under_way -= not resumed
            self._observer.committed(
                Committed(slot.number, slot.stream, slot.index, trial.outcome, resumed, trial.tokens, trial.attempts, trial.at),
                self._scheduler.gate, self._scheduler.phase,
            )  # fmt: skip
            if self._next_commit % CHECKPOINT_EVERY == 0 and self._plan.judges is None:  # labels change what lies behind
                self._writer.checkpoint = self._checkpoint()

    def _checkpoint(self) -> dict[str, Any]:
        """The state after the committed prefix, so that a resumed run need not replay it."""
        return {
            "code": f"{__version__}/{CHECKPOINT}",
            "committed": self._next_commit,
            "scheduler": self._scheduler.state(),
            "spent": self._spending.state(),
        }

    def _restore(self) -> None:
        """Start from the run file's checkpoint, if there is one that this version wrote. It holds nothing that its trials do not."""
        state = self._run.checkpoint()
        if state is None or state.get("code") != f"{__version__}/{CHECKPOINT}":
            return
        self._scheduler.restore(state["scheduler"])
        self._spending.restore(state["spent"])
        self._next_commit = state["committed"]

    def _judged(self, answered: Answered) -> Trial:
        slot, item, reply = answered.slot, answered.item, answered.reply
        found = Answer(reply.text, reply.failure, reply.truncated)
        verdict, decided = verdict_on(item, found, reply.turns, self._catalog, answered.said, self._plan.judges)
        text, truncated = reply.text, reply.truncated
        if reply.turns:
            text, truncated = reply.turns[decided].answer, reply.turns[decided].truncated
        s, item_digest = slot.stream, item.digest
        if answered.asked != item_digest and (answered.asked or self._elsewhere):
            raise TargetError(f"a worker built another item for trial {slot.number} than the schedule has: other code, or a fault there")
        return Trial(
            slot=slot.number, hazard=s.hazard, language=s.language, attack=s.attack, arm=s.arm, index=slot.index,
            item=item_digest, answer=text, finish=reply.finish, model=reply.model,
            tokens=(reply.prompt_tokens, reply.answer_tokens), attempts=tuple([(a.status, a.ms) for a in reply.attempts]),
            judge=verdict.judge, outcome=verdict.outcome, reason=verdict.reason, kind=verdict.kind, useful=verdict.useful, how=verdict.how,
            failure=reply.failure, truncated=truncated, at=answered.at, turns=reply.turns, modes=verdict.modes, said=answered.said,
        )  # fmt: skip


def _same_target(opening: Opening, target: Target) -> None:
    own = {key: value for key, value in opening.target.items() if key not in STATED or key in target.identity}
    if dict(target.identity) != own:
        raise AssayError(
            f"the run was opened against {opening.target}, this target is {dict(target.identity)}",
            fix="Start a new run for another target.",
        )
