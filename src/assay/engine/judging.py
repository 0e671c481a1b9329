"""Asks the plan's judges: every judge of the panel reads the transcript, and is asked again where its reply cannot be used.

    panel = Panel(plan, catalog, targets, outage)
    said = await panel.read(item, reply)           # what each judge replied; `judges.reading` says what that is worth

A judge that is down holds the trial back, as a target does: its silence never becomes a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from msgspec import structs

from assay.attacks import ATTACKS
from assay.catalog import Anchor, Catalog, Opened
from assay.engine.patience import Patience
from assay.errors import PlanError, TargetError
from assay.judges import Answer, Outcome, Said, is_read
from assay.judges.reading import FORM, MAX_REPLY, MAX_TRANSCRIPT, Reading, ask, ask_again, judge_read, read, rubric_language, size
from assay.judges.steering import Case
from assay.plan import Judges, JudgeSpec, Plan
from assay.runs import Again, JudgementFile, RunStore
from assay.scenarios import Item, ItemBuilder, Message
from assay.targets import FormTarget, ItemJudge, Reply, Target


class Panel:
    """The judges of a plan. `targets` are those of the panel, in its order."""

    def __init__(self, plan: Plan, catalog: Catalog, targets: Sequence[Target], outage: Callable[[str, float], None]) -> None:
        if plan.judges is None or len(targets) != len(plan.judges.panel):
            raise TargetError("the plan's judges are not there")
        self._plan = plan
        self._judges = plan.judges
        self._catalog = catalog
        self._targets = targets
        seconds = plan.limits.outage_s
        self._patience = [
            Patience(target, seconds, outage, f"the judge '{spec.name}'") for spec, target in zip(plan.judges.panel, targets, strict=True)
        ]

    async def read(self, item: Item, reply: Reply) -> tuple[Said, ...]:
        """What each judge says of a reply; nothing where no judge is needed. Raises `TargetError` when a judge is down for too long."""
        answer = Answer(reply.text, reply.failure, reply.truncated)
        if not is_read(item, answer, self._judges) or size(item, reply.text, reply.turns) > MAX_TRANSCRIPT:
            return ()
        panel = zip(self._judges.panel, self._targets, self._patience, strict=True)
        asked = [self._one(spec, target, patience, item, reply) for spec, target, patience in panel]
        return tuple(await asyncio.gather(*asked))

    async def _one(self, spec: JudgeSpec, target: Target, patience: Patience, item: Item, reply: Reply) -> Said:
        rubric = rubric_language(spec, item.stream.language)
        messages = ask(item, reply.text, reply.turns, self._catalog, rubric, modes=item.world is not None)
        replies: list[str] = []
        tokens = [0, 0]
        for _ in range(self._judges.tries):
            if isinstance(target, ItemJudge):
                found = await target.judge_item(item, reply.text, messages)
            else:
                found = await patience.asked(partial(_asked, spec, target, messages))
            tokens = [tokens[0] + found.prompt_tokens, tokens[1] + found.answer_tokens]
            if found.failure:
                return Said(tuple(replies), found.failure, (tokens[0], tokens[1]))
            replies.append(found.text[:MAX_REPLY])
            verdict = read(item, reply.text, reply.turns, replies[-1])
            if isinstance(verdict, Reading):
                break
            messages = ask_again(messages, replies[-1], verdict, self._catalog, rubric)
        return Said(tuple(replies), "", (tokens[0], tokens[1]))


async def _asked(spec: JudgeSpec, target: Target, messages: tuple[Message, ...]) -> Reply:
    if spec.structured and isinstance(target, FormTarget):
        return await target.ask_form(messages, FORM)
    return await target.ask(messages)


async def read_again(
    run: RunStore, catalog: Catalog, judges: Judges, targets: Sequence[Target], file: JudgementFile, told: Callable[[int], None],
    opened: Opened | None = None,
) -> None:  # fmt: skip
    """Have another panel read every answer of a run that needs a judge, without calling the run's target. `told` hears how many are done.

    `judges.hazards` says which hazards, and `judges.tries` how often; the panel reads as many at once as the plan's concurrency allows.
    """
    opening = run.opening()
    plan = structs.replace(opening.plan, judges=judges)
    panel = Panel(plan, catalog, targets, lambda reason, seconds: None)
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS, opened)
    waiting = (trial for trial in run.trials() if trial.hazard in judges.hazards and trial.slot not in file.done)
    done = 0

    async def work() -> None:
        nonlocal done
        for trial in waiting:
            item = builder.build(trial.stream, trial.index)
            said = await panel.read(item, Reply(trial.answer, failure=trial.failure, truncated=trial.truncated, turns=trial.turns))
            if said:
                file.add(Again(trial.slot, said))
            done += 1
            told(done)

    await asyncio.gather(*(work() for _ in range(plan.limits.concurrency)))


async def anchors_changed(plan: Plan, catalog: Catalog, targets: Sequence[Target]) -> tuple[int, int]:
    """How many of the calibration's anchors the panel was asked, and how many it reads otherwise than when it was calibrated."""
    if plan.judges is None or not catalog.anchors or any(isinstance(target, ItemJudge) for target in targets):
        return 0, 0  # what is recorded has not changed, and cannot be asked about anything else
    panel = Panel(plan, catalog, targets, lambda reason, seconds: None)
    places = asyncio.Semaphore(plan.limits.concurrency)
    judges = plan.judges

    async def changed(anchor: Anchor) -> bool | None:
        try:
            item = msgspec.convert(anchor.item, Item)
        except msgspec.ValidationError as e:
            raise PlanError(f"an anchor of the calibration is no item: {e}") from None
        if item.stream.hazard not in judges.hazards or item.stream.language not in plan.matrix.languages:
            return None
        async with places:
            said = await panel.read(item, Reply(anchor.answer))
        return (judge_read(item, Answer(anchor.answer), (), said, judges).outcome != "safe") != anchor.flagged

    results = [r for r in await asyncio.gather(*(changed(a) for a in catalog.anchors)) if r is not None]
    return len(results), sum(results)


async def steer(
    plan: Plan, catalog: Catalog, targets: Sequence[Target], cases: Sequence[Case], told: Callable[[int], None]
) -> list[Outcome]:
    """The panel's verdict on every case of the steering set, in order."""
    if plan.judges is None:
        raise TargetError("the plan has no judges")
    judges, panel = plan.judges, Panel(plan, catalog, targets, lambda reason, seconds: None)
    outcomes: dict[int, Outcome] = {}
    waiting = iter(enumerate(cases))

    async def work() -> None:
        for number, case in waiting:
            said = await panel.read(case.item, Reply(case.answer))
            outcomes[number] = judge_read(case.item, Answer(case.answer), (), said, judges).outcome
            told(len(outcomes))

    await asyncio.gather(*(work() for _ in range(plan.limits.concurrency)))
    return [outcomes[i] for i in range(len(cases))]
