"""Answers one item: the target's reply, by one call, a strategy or an episode, and what the plan's judges say of it.

    async with Asker(plan, catalog, builder, seed, target, attacker, judges, outage) as asker:
        reply, said = await asker.answer(item)

It knows nothing of slots, streams or the run file, so it works beside the scheduler or on another machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from assay.catalog import Catalog
from assay.engine.judging import Panel
from assay.engine.patience import Patience
from assay.engine.replay import ReplayTarget
from assay.engine.strategies import STRATEGIES, Strategies
from assay.engine.worlds import Player
from assay.judges import Said
from assay.plan import SOURCE, Generation, Limits, Plan
from assay.scenarios import Item, ItemBuilder
from assay.sources import Played, scorer_of
from assay.targets import ItemTarget, Progress, Reply, Target, make_target
from assay.targets.base import at_once
from assay.targets.recorded import found_in


class Asker:
    """Asks an open target, and the plan's judges. Use as an async context manager: it opens the attacker."""

    def __init__(
        self, plan: Plan, catalog: Catalog, builder: ItemBuilder, seed: bytes, target: Target, attacker: Target | None,
        judges: Sequence[Target], outage: Callable[[str, float], None],
    ) -> None:  # fmt: skip
        self._plan = plan
        self._target = target
        self._patience = Patience(target, plan.limits.outage_s, outage)
        self._ask: Callable[[Item], Awaitable[Reply]] = (
            target.ask_item if isinstance(target, ItemTarget) else lambda item: target.ask(item.messages)
        )
        if isinstance(target, Played):
            target.patient = self._patience.asked
        replayed = isinstance(target, ReplayTarget)
        self._panel = Panel(plan, catalog, judges, outage) if plan.judges is not None and not replayed else None
        self._player = Player(catalog, target, self._patience.asked) if plan.worlds and not replayed else None
        self._strategies: Strategies | None = None
        if not replayed and set(STRATEGIES) & set(plan.matrix.attacks):
            attacker_asked = Patience(attacker, plan.limits.outage_s, outage, "the attacker").asked if attacker else at_once
            self._strategies = Strategies(plan, builder, catalog, seed, target, attacker, self._patience.asked, attacker_asked)

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
        """One trial's reply: of an episode in a world, of a strategy, or of one call. Each call is asked with patience."""
        if item.world is not None and self._player:
            return await self._player.play(item)
        if self._strategies and item.stream.attack in STRATEGIES and item.stream.arm == "attack":
            return await self._strategies.ask(item)
        return await self._patience.asked(lambda: self._ask(item))


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
