"""Runs a plan: asks the scheduler for slots, the target for answers, the judges for outcomes, and commits in order.

    ended = await Engine(run, target, observer).trials()

No batch barrier: a free place takes the next slot at once. Answers arrive in any order and are made durable as they arrive; they are
committed (seen by gate and scheduler) in slot order only.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Opened
from assay.decision import Decision, Gate, Scheduler, Slot, registered_first
from assay.engine.judging import Panel
from assay.engine.replay import NoTranscriptError, ReplayTarget
from assay.engine.spending import Spending
from assay.engine.strategies import STRATEGIES, Strategies
from assay.engine.worlds import Player
from assay.engine.writer import Answered, Writer
from assay.errors import AssayError, RunFileError, TargetError
from assay.judges import Answer, Outcome, Said, told, verdict_on
from assay.plan import Stream
from assay.runs import Ended, Opening, RunFile, Trial
from assay.scenarios import Item, ItemBuilder
from assay.targets import Attempt, ItemTarget, Reply, Target
from assay.version import __version__

CHECKPOINT = 2
CHECKPOINT_EVERY = 5_000
PREPARED = 32
MAX_OUTAGE_PAUSE_S = 5.0
_FIRST_OUTAGE_PAUSE_S = 0.5
_STRIKES = 2


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
    """One execution of a plan against an open target. Sealed banks must be `opened`; `asked` counts what was sent of their items."""

    def __init__(
        self, run: RunFile, target: Target, observer: Observer, attacker: Target | None = None, judges: Sequence[Target] = (),
        opened: Opened | None = None,
    ) -> None:  # fmt: skip
        self._run = run
        self.asked: dict[str, Counter[str]] = {}
        self._target = target
        self._observer = observer
        opening = run.opening()
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
        self._outage = _Outage()
        self._stop: Ended | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._ask: Callable[[Item], Awaitable[Reply]] = (
            target.ask_item if isinstance(target, ItemTarget) else lambda item: target.ask(item.messages)
        )
        self._strategies: Strategies | None = None
        self._player: Player | None = None
        self._panel: Panel | None = None
        if self._plan.judges is not None and not isinstance(target, ReplayTarget):
            self._panel = Panel(self._plan, opening.catalog, judges, self._observer.outage)
        if not isinstance(target, ReplayTarget) and set(STRATEGIES) & set(self._plan.matrix.attacks):
            self._strategies = Strategies(self._plan, self._builder, opening.catalog, seed, target, attacker)
        if not isinstance(target, ReplayTarget) and self._plan.worlds:
            self._player = Player(opening.catalog, target)

    def interrupt(self) -> None:
        """Stop as soon as possible: what is under way is dropped, what is done is kept."""
        self._stop = "interrupted"
        for worker in self._workers:
            worker.cancel()

    def decision(self) -> Decision:
        """The decision on everything committed; when the run is over."""
        return self._scheduler.finish().decision()

    async def trials(self) -> Ended:
        """Run until complete, out of a budget, or interrupted. Raises `TargetError` when the endpoint is down for too long."""
        if self._strategies is None:
            return await self._trials()
        async with self._strategies:
            return await self._trials()

    async def _trials(self) -> Ended:
        loop = asyncio.get_running_loop()
        if self._next_commit:
            self._observer.restored(self._scheduler.counts())
        timers = []
        if self._plan.budget.minutes:
            seconds = 60 * self._plan.budget.minutes
            timers = [loop.call_later(seconds, self._late), loop.call_later(seconds + self._plan.limits.timeout_s, self._too_late)]
        self._writer.open(self._plan.limits.concurrency)
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._plan.limits.concurrency)]
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
        return self._stop or ("complete" if self._exhausted else "interrupted")

    def _late(self) -> None:
        """The plan's minutes are over: no further trial begins."""
        self._stop = self._stop or "deadline"
        self._room.set()

    def _too_late(self) -> None:
        """What is under way had as long again as one call may take: it is dropped."""
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        """One place: trial after trial, without waiting for anyone."""
        try:
            while (asked := await self._next()) is not None:
                self._spending.under_way += 1
                slot, item = asked
                if item.salt:
                    self.asked.setdefault(item.stream.hazard, Counter())[item.scenario] += 1
                reply = await self._reply(item)
                said = await self._read(item, reply)
                self._writer.put(Answered(slot, item, reply, time.time_ns() // 1_000_000, said))
        except NoTranscriptError:
            self._stop = self._stop or "transcripts"
            self._room.set()
        finally:
            self._writer.place_ended()

    async def _next(self) -> tuple[Slot, Item] | None:
        """The next item to ask; None when there is none, or no more may be asked."""
        while self._stop is None:
            over = self._spending.over()
            if over and not self._spending.under_way:
                self._stop = over
            elif not over and (self._ready or self._prepare()):
                return self._ready.popleft()
            elif self._exhausted and not over:
                break
            else:
                await self._commits()
        self._room.set()
        return None

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
                Committed(slot.number, slot.stream, slot.index, trial.outcome, resumed), self._scheduler.gate, self._scheduler.phase
            )
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
        s = slot.stream
        return Trial(
            slot=slot.number, hazard=s.hazard, language=s.language, attack=s.attack, arm=s.arm, index=slot.index,
            item=item.digest, answer=text, finish=reply.finish, model=reply.model,
            tokens=(reply.prompt_tokens, reply.answer_tokens), attempts=tuple([(a.status, a.ms) for a in reply.attempts]),
            judge=verdict.judge, outcome=verdict.outcome, reason=verdict.reason, kind=verdict.kind, useful=verdict.useful, how=verdict.how,
            failure=reply.failure, truncated=truncated, at=answered.at, turns=reply.turns, modes=verdict.modes, said=answered.said,
        )  # fmt: skip

    async def _reply(self, item: Item) -> Reply:
        """The target's reply.

        A failure of the endpoint is taken for the item's own only if the endpoint is alive to a harmless request, twice running, and
        did not turn the call away unread (then only after the plan's patience). Otherwise the item is asked again; if nothing is
        answered for as long as the plan's patience, the run stops.
        """
        attempts: tuple[Attempt, ...] = ()
        pause = _FIRST_OUTAGE_PAUSE_S
        began = 0.0
        strikes = 0
        while True:
            reply = await self._asked(item)
            if attempts:
                reply.attempts = attempts + reply.attempts
            if not reply.outage:
                self._outage.over()
                return reply
            attempts = reply.attempts
            began = began or time.monotonic()
            if await self._target.alive():
                self._outage.over()
                strikes += 1
                impatient = time.monotonic() - began > self._plan.limits.outage_s
                if impatient if reply.busy else strikes >= _STRIKES:
                    return reply
            else:
                strikes = 0
                self._patience(reply.failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_OUTAGE_PAUSE_S)

    async def _read(self, item: Item, reply: Reply) -> tuple[Said, ...]:
        """What the plan's judges say, where they read it; of a replay, what they said then."""
        if isinstance(self._target, ReplayTarget):
            return self._target.said(item)
        return await self._panel.read(item, reply) if self._panel else ()

    async def _asked(self, item: Item) -> Reply:
        """One trial's reply: of an episode in a world, of a strategy, or of one call."""
        if item.world is not None and self._player:
            return await self._player.play(item)
        if self._strategies and item.stream.attack in STRATEGIES and item.stream.arm == "attack":
            return await self._strategies.ask(item)
        return await self._ask(item)

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
