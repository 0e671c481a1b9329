"""Runs a plan: asks the scheduler for slots, the target for answers, the judges for outcomes, and commits in order.

    ended = await Engine(run, target, observer).trials()

No batch barrier: a free place takes the next slot at once. Answers arrive in any order and are made durable as they arrive; they are
committed (seen by gate and scheduler) in slot order only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from assay.attacks import ATTACKS
from assay.decision import Gate, Scheduler, Slot
from assay.errors import AssayError, RunFileError, TargetError
from assay.judges import Answer, Outcome, judge
from assay.plan import Stream, run_seed
from assay.runs import Opening, RunFile, Trial
from assay.scenarios import Item, ItemBuilder
from assay.targets import Attempt, ItemTarget, Reply, Target

Ended = Literal["complete", "deadline", "interrupted"]
MAX_OUTAGE_PAUSE_S = 5.0
_FIRST_OUTAGE_PAUSE_S = 0.5
_STRIKES = 2


class Observer(Protocol):
    """Told of everything that a person may want to see. Must be quick."""

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """A trial entered its stream."""
        ...

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint has not answered for so long."""
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """What gate and scheduler see of a trial."""

    slot: int
    stream: Stream
    index: int
    outcome: Outcome
    resumed: bool


class _Outage:
    """How long the endpoint has not been answering anyone."""

    def __init__(self) -> None:
        self._since: float | None = None

    def over(self) -> None:
        self._since = None

    def last(self) -> float:
        """Seconds since it began; it begins with the first call of this after `over`."""
        now = time.monotonic()
        self._since = self._since or now
        return now - self._since


class Engine:
    """One execution of a plan against an open target."""

    def __init__(self, run: RunFile, target: Target, observer: Observer) -> None:
        self._run = run
        self._target = target
        self._observer = observer
        opening = run.opening()
        _same_target(opening, target)
        self._plan = opening.plan
        self._languages = opening.catalog.languages
        seed = run_seed(self._plan.digest, opening.nonce_bytes)
        self._builder = ItemBuilder(opening.catalog, seed, ATTACKS)
        self._scheduler = Scheduler(self._plan, seed)
        self.gate = Gate(self._plan)
        self._done: dict[int, tuple[Slot, Outcome, bool]] = {}
        self._kept: dict[int, tuple[Stream, int, Outcome]] = {t.slot: (t.stream, t.index, t.outcome) for t in run.trials()}
        self.resumed = len(self._kept)
        self._next_commit = 0
        self._tasks: set[asyncio.Task[Trial]] = set()
        self._finished: list[asyncio.Task[Trial]] = []
        self._wake = asyncio.Event()
        self._outage = _Outage()
        self._stop: Ended | None = None
        self._ask: Callable[[Item], Awaitable[Reply]] = (
            target.ask_item if isinstance(target, ItemTarget) else lambda item: target.ask(item.messages)
        )

    def interrupt(self) -> None:
        """Stop as soon as possible: what is under way is dropped, what is done is kept."""
        self._stop = "interrupted"
        for task in list(self._tasks):
            task.cancel()

    async def trials(self) -> Ended:
        """Run until complete, out of time, or interrupted. Raises `TargetError` when the endpoint is down for too long."""
        minutes = self._plan.budget.minutes
        deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
        writer = ThreadPoolExecutor(1, thread_name_prefix="run-file")
        try:
            while True:
                exhausted = self._fill(deadline)
                if not self._tasks and not self._finished:
                    return self._stop or ("complete" if exhausted else "interrupted")
                await self._wake.wait()
                self._wake.clear()
                finished, self._finished = self._finished, []
                await self._keep(finished, writer)
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            writer.shutdown()

    def _fill(self, deadline: float) -> bool:
        """Start trials while there are places. Returns whether the schedule is exhausted."""
        if self._stop is None and time.monotonic() >= deadline:
            self._stop = "deadline"
        while self._stop is None and len(self._tasks) < self._plan.limits.concurrency and not self._scheduler.waiting:
            slot = self._scheduler.next_slot()
            if slot is None:
                return True
            kept = self._kept.pop(slot.number, None)
            if kept is None:
                task = asyncio.create_task(self._trial(slot))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                continue
            stream, index, outcome = kept
            if (stream, index) != (slot.stream, slot.index):
                raise RunFileError(
                    f"trial {slot.number} in the run file is {stream.key} item {index}, "
                    f"where the plan's schedule has {slot.stream.key} item {slot.index}",
                    where=str(self._run.path),
                )
            self._done[slot.number] = (slot, outcome, True)
            self._commit_ready()
        return False

    def _ended(self, task: asyncio.Task[Trial]) -> None:
        self._tasks.discard(task)
        self._finished.append(task)
        self._wake.set()

    async def _keep(self, finished: list[asyncio.Task[Trial]], writer: ThreadPoolExecutor) -> None:
        """Make finished trials durable in one transaction, then commit what is next in order."""
        trials: list[Trial] = []
        error: BaseException | None = None
        for task in finished:
            if task.cancelled():
                continue
            error = task.exception() or error
            if task.exception() is None:
                trials.append(task.result())
        if trials:
            await asyncio.get_running_loop().run_in_executor(writer, self._run.append, trials)
            for trial in trials:
                self._done[trial.slot] = (Slot(trial.slot, trial.stream, trial.index), trial.outcome, False)
            self._commit_ready()
        if error is not None:
            raise error

    def _commit_ready(self) -> None:
        while self._next_commit in self._done:
            slot, outcome, resumed = self._done.pop(self._next_commit)
            self._next_commit += 1
            self._scheduler.commit(slot.stream, slot.index, outcome)
            self.gate.add(slot.stream, slot.index, outcome)
            committed = Committed(slot.number, slot.stream, slot.index, outcome, resumed)
            self._observer.committed(committed, self.gate, self._scheduler.phase)

    async def _trial(self, slot: Slot) -> Trial:
        item = self._builder.build(slot.stream, slot.index)
        reply = await self._reply(item)
        answer = Answer(reply.text, reply.failure, reply.truncated)
        verdict = judge(item, answer, self._languages[slot.stream.language])
        s = slot.stream
        return Trial(
            slot=slot.number, hazard=s.hazard, language=s.language, attack=s.attack, arm=s.arm, index=slot.index,
            item=item.digest, answer=reply.text, finish=reply.finish, model=reply.model,
            tokens=(reply.prompt_tokens, reply.answer_tokens), attempts=tuple((a.status, a.ms) for a in reply.attempts),
            judge=verdict.judge, outcome=verdict.outcome, reason=verdict.reason, kind=verdict.kind, useful=verdict.useful, how=verdict.how,
            failure=reply.failure, truncated=reply.truncated, at=time.time_ns() // 1_000_000,
        )  # fmt: skip

    async def _reply(self, item: Item) -> Reply:
        """The target's reply.

        A failure of the endpoint is taken for the item's own only if the endpoint is alive to a harmless request, twice running, and
        did not turn the call away unread (then only after the plan's patience). Otherwise the item is asked again; if nothing is
        answered for as long as the plan's patience, the run stops.
        """
        attempts: tuple[Attempt, ...] = ()
        pause = _FIRST_OUTAGE_PAUSE_S
        began = time.monotonic()
        strikes = 0
        while True:
            reply = await self._ask(item)
            attempts += reply.attempts
            if not reply.outage:
                self._outage.over()
                return msgspec.structs.replace(reply, attempts=attempts)
            if await self._target.alive():
                self._outage.over()
                strikes += 1
                impatient = time.monotonic() - began > self._plan.limits.outage_s
                if impatient if reply.busy else strikes >= _STRIKES:
                    return msgspec.structs.replace(reply, attempts=attempts)
            else:
                strikes = 0
                self._patience(reply.failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_OUTAGE_PAUSE_S)

    def _patience(self, failure: str) -> None:
        seconds = self._outage.last()
        if seconds >= self._plan.limits.outage_s:
            raise TargetError(
                f"the endpoint has given no answer for {seconds:.0f} s ({failure}); everything so far is kept",
                where=self._target.identity.get("url", self._target.identity.get("model", "")),
            )
        self._observer.outage(failure, seconds)


def _same_target(opening: Opening, target: Target) -> None:
    if dict(target.identity) != opening.target:
        raise AssayError(
            f"the run was opened against {opening.target}, this target is {dict(target.identity)}",
            fix="Start a new run for another target.",
        )
