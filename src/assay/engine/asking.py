"""Answers one item: the target's reply, by one call, a strategy or an episode, and what the plan's judges say of it.

    async with Asker(plan, catalog, builder, seed, target, attacker, judges, outage) as asker:
        reply, said = await asker.answer(item)

It knows nothing of slots, streams or the run file, so it works beside the scheduler or on another machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from assay.catalog import Catalog
from assay.engine.judging import Panel
from assay.engine.replay import ReplayTarget
from assay.engine.strategies import STRATEGIES, Strategies
from assay.engine.worlds import Player
from assay.errors import TargetError
from assay.judges import Said
from assay.plan import SOURCE, Generation, Limits, Plan
from assay.scenarios import Item, ItemBuilder
from assay.sources import scorer_of
from assay.targets import Attempt, ItemTarget, Progress, Reply, Target, make_target
from assay.targets.recorded import found_in

MAX_OUTAGE_PAUSE_S = 5.0
_FIRST_OUTAGE_PAUSE_S = 0.5
_STRIKES = 2


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


class Asker:
    """Asks an open target, and the plan's judges. Use as an async context manager: it opens the attacker."""

    def __init__(
        self, plan: Plan, catalog: Catalog, builder: ItemBuilder, seed: bytes, target: Target, attacker: Target | None,
        judges: Sequence[Target], outage: Callable[[str, float], None],
    ) -> None:  # fmt: skip
        self._plan = plan
        self._target = target
        self._told = outage
        self._outage = _Outage()
        self._ask: Callable[[Item], Awaitable[Reply]] = (
            target.ask_item if isinstance(target, ItemTarget) else lambda item: target.ask(item.messages)
        )
        replayed = isinstance(target, ReplayTarget)
        self._panel = Panel(plan, catalog, judges, outage) if plan.judges is not None and not replayed else None
        self._player = Player(catalog, target) if plan.worlds and not replayed else None
        self._strategies: Strategies | None = None
        if not replayed and set(STRATEGIES) & set(plan.matrix.attacks):
            self._strategies = Strategies(plan, builder, catalog, seed, target, attacker)

    async def __aenter__(self) -> Self:
        if self._strategies:
            await self._strategies.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._strategies:
            await self._strategies.__aexit__(kind, error, trace)

    async def answer(self, item: Item) -> tuple[Reply, tuple[Said, ...]]:
        """The reply, and what each judge said. Raises `TargetError` when target or judge are silent for as long as the plan's patience."""
        reply = await self._reply(item)
        if isinstance(self._target, ReplayTarget):
            return reply, self._target.said(item)
        return reply, await self._panel.read(item, reply) if self._panel else ()

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
        self._told(failure, seconds)


def make_attacker(plan: Plan, limits: Limits, progress: Progress) -> Target | None:
    """The plan's attacker model, not open yet; None where it has none."""
    if plan.attacker is None:
        return None
    settings = Generation(max_tokens=plan.attacker.max_tokens, temperature=plan.attacker.temperature)
    return make_target(plan.attacker.target, settings, limits, progress)


def make_judges(
    plan: Plan, limits: Limits, progress: Progress, folder: Path = Path(), target: Target | None = None
) -> Iterator[Target]:  # fmt: skip
    """The plan's judges, not open yet, in the panel's order; what some have recorded lies in `folder`. The scorers of a source are those of
    the `target` that it plays.
    """
    for spec in plan.judges.panel if plan.judges else ():
        if spec.target.kind == SOURCE:
            yield scorer_of(target, spec.target)
            continue
        decoding = Generation(max_tokens=spec.max_tokens, temperature=spec.temperature, seed=plan.generation.seed)
        yield make_target(found_in(spec.target, folder), decoding, limits, progress)
