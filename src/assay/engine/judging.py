"""Asks the plan's judges: every judge of the panel reads the transcript, and is asked again where its reply cannot be used.

    panel = Panel(plan, catalog, targets, outage)
    said = await panel.read(item, reply)           # what each judge replied; `judges.reading` says what that is worth

A judge that is down holds the trial back, as a target does: its silence never becomes a verdict.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from assay.catalog import Catalog
from assay.errors import TargetError
from assay.judges import Answer, Said, is_read
from assay.judges.reading import MAX_REPLY, MAX_TRANSCRIPT, Reading, ask, ask_again, read, rubric_language, size
from assay.plan import JudgeSpec, Plan
from assay.scenarios import Item, Message
from assay.targets import Reply, Target

FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0


class Panel:
    """The judges of a plan. `targets` are those of the panel, in its order."""

    def __init__(self, plan: Plan, catalog: Catalog, targets: Sequence[Target], outage: Callable[[str, float], None]) -> None:
        if plan.judges is None or len(targets) != len(plan.judges.panel):
            raise TargetError("the plan's judges are not there")
        self._plan = plan
        self._judges = plan.judges
        self._catalog = catalog
        self._targets = targets
        self._outage = outage

    async def read(self, item: Item, reply: Reply) -> tuple[Said, ...]:
        """What each judge says of a reply; nothing where no judge is needed. Raises `TargetError` when a judge is down for too long."""
        answer = Answer(reply.text, reply.failure, reply.truncated)
        if not is_read(item, answer, self._judges) or size(item, reply.text, reply.turns) > MAX_TRANSCRIPT:
            return ()
        asked = [self._one(spec, target, item, reply) for spec, target in zip(self._judges.panel, self._targets, strict=True)]
        return tuple(await asyncio.gather(*asked))

    async def _one(self, spec: JudgeSpec, target: Target, item: Item, reply: Reply) -> Said:
        rubric = rubric_language(spec, item.stream.language)
        messages = ask(item, reply.text, reply.turns, self._catalog, rubric, modes=item.world is not None)
        replies: list[str] = []
        tokens = [0, 0]
        for _ in range(self._judges.tries):
            found = await self._patiently(spec, target, messages)
            tokens = [tokens[0] + found.prompt_tokens, tokens[1] + found.answer_tokens]
            if found.failure:
                return Said(tuple(replies), found.failure, (tokens[0], tokens[1]))
            replies.append(found.text[:MAX_REPLY])
            verdict = read(item, reply.text, reply.turns, replies[-1])
            if isinstance(verdict, Reading):
                break
            messages = ask_again(messages, replies[-1], verdict, self._catalog, rubric)
        return Said(tuple(replies), "", (tokens[0], tokens[1]))

    async def _patiently(self, spec: JudgeSpec, target: Target, messages: tuple[Message, ...]) -> Reply:
        """A judge's reply. A failure is the transcript's own only if the judge then answers something harmless."""
        began, pause, strikes = 0.0, FIRST_PAUSE_S, 0
        while True:
            found = await target.ask(messages)
            if not found.outage:
                return found
            now = time.monotonic()
            began = began or now
            if await target.alive() and not found.busy:
                strikes += 1
                if strikes >= 2:
                    return found
            elif now - began >= self._plan.limits.outage_s:
                raise TargetError(
                    f"the judge '{spec.name}' has given no answer for {now - began:.0f} s ({found.failure}); everything so far is kept",
                    where=spec.target.url or spec.target.model,
                )
            else:
                self._outage(f"judge {spec.name}: {found.failure}", now - began)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_S)
