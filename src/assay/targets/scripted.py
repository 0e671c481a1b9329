"""A target whose rates are known: it answers from a rule and a seed. For tests and simulations of the whole pipeline.

    --target scripted:0.03                               violates in 3% of the items
    options: {violation: "0.02", violation.ta: "0.3", refusal: "0.01", failure: "0", delay_ms: "0"}

The answer is a pure function of the messages and the seed, so a resumed run gets the same answers. It violates by repeating
every value it was told and the marker it was asked for; it serves by quoting the context.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

from msgspec import structs

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Check, Item, Message, WorldItem
from assay.targets.base import AtHand, Attempt, Progress, Reply
from assay.worlds import Call, call_line, draw_case, load_family

REFUSAL = "I cannot help with that."


class ScriptedTarget(AtHand):
    """Knows the item, unlike every real target: the engine hands it over through `ask_item`."""

    def __init__(self, spec: TargetSpec, generation: Generation) -> None:
        self._rates = _rates(spec)
        self._settled = generation.temperature == 0
        self._seed = f"{spec.options.get('seed', '0')}/{generation.seed}".encode()
        self._delay_s = float(spec.options.get("delay_ms", "0")) / 1000
        self.identity: Mapping[str, str] = {"kind": "scripted", "model": spec.model, **spec.options}

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Without an item there is nothing to script."""
        raise TargetError("a scripted target answers items, not bare messages")

    async def ask_item(self, item: Item) -> Reply:
        """The scripted answer to an item; slower for answers that comply, as with real models. At temperature 0 always the same."""
        if item.sample and self._settled:
            item = structs.replace(item, sample=0)
        text = self.answer(item)
        if self._delay_s:
            await asyncio.sleep(self._delay_s * (0.2 if text == REFUSAL else 0.5 + self._unit(item, "delay")))
        attempts = (Attempt("200", 0),)
        if self._unit(item, "failure") < self._rate("failure", item):
            return Reply("", failure="scripted failure", attempts=attempts)
        return Reply(text, finish="stop", model="scripted", answer_tokens=len(text.split()), attempts=attempts)

    def answer(self, item: Item) -> str:
        """What the script says to this item."""
        if item.world is not None:
            return self._in_world(item, item.world)
        check, benign = item.check, item.stream.arm == "benign"
        what = "refusal" if benign else "violation"
        happens = self._unit(item, what) < self._rate(what, item)
        if benign or check.kind == "benign":  # a harmless request: the twin of another, or one that only sounds alarming
            return REFUSAL if happens else _serving("Here you are", check, check.expected)
        return _serving("Certainly", check, (*check.forbidden, *check.expected)) if happens else REFUSAL

    def _in_world(self, item: Item, world: WorldItem) -> str:
        """One call an answer: those of the tasks, in a violation then those of the adversary; and the report."""
        step = sum(m.role == "assistant" for m in item.messages)
        benign = item.stream.arm == "benign"
        start = structs.replace(item, messages=item.messages[: len(item.messages) - 2 * step])
        happens = self._unit(start, "refusal" if benign else "violation") < self._rate("refusal" if benign else "violation", start)
        calls, found = _script(world.family, world.key, world.goal, benign)
        done = [] if benign and happens else calls
        if happens and not benign:
            done = [*calls, *_oracle(world.family, world.key, world.goal)]
        if step < len(done):
            return call_line(*done[step])
        status = "completed" if done else "declined"
        return call_line("finish", {"status": status, "message": "" if done else REFUSAL, "answer": found})

    def _rate(self, what: str, item: Item) -> float:
        s = item.stream
        for key in (
            f"{what}.{s.hazard}.{s.language}.{s.attack}",
            f"{what}.{s.hazard}.{s.language}",
            f"{what}.{s.hazard}",
            f"{what}.{s.language}",
        ):
            if key in self._rates:
                return self._rates[key]
        return self._rates.get(what, 0.0)

    def _unit(self, item: Item, what: str) -> float:
        """Uniform in [0, 1), from the item's own stream and index."""
        h = blake2b(f"{what}/{item.stream.key}/{item.index}".encode() + item.digest.encode(), key=self._seed[:64], digest_size=8)
        return int.from_bytes(h.digest(), "big") / 2**64


@lru_cache(maxsize=1024)
def _script(family: str, key: str, goal: str, benign: bool) -> tuple[list[Call], str]:
    """The calls of somebody who does what was asked, and what has to be found out."""
    case = draw_case(load_family(family), bytes.fromhex(key), goal)
    world, asked = case.world(), case.asked(benign=benign)
    found = " ".join(task.answer(world, params) for task, params in asked if task.answer)
    return [call for task, params in asked for call in task.gold(world, params)], found


def _oracle(family: str, key: str, goal: str) -> list[Call]:
    """The calls of somebody who does the adversary's work."""
    case = draw_case(load_family(family), bytes.fromhex(key), goal)
    return case.goal.oracle(case.world(), case.aims) if case.goal else []


def _serving(opening: str, check: Check, values: tuple[str, ...]) -> str:
    """Every value in the answer, or in the arguments of the call that it was told to make."""
    if not check.tool:
        return f"{opening}: {', '.join(values)}."
    return f"{opening}.\nCALL {json.dumps({'tool': check.tool, 'arguments': dict(enumerate(values))})}"


def _rates(spec: TargetSpec) -> dict[str, float]:
    rates: dict[str, float] = {}
    options = dict(spec.options)
    if spec.model:
        options.setdefault("violation", spec.model)
    for key, value in options.items():
        if key in ("seed", "delay_ms"):
            continue
        if key.split(".")[0] not in ("violation", "refusal", "failure"):
            raise TargetError(f"unknown option '{key}'", where="target.options")
        try:
            rates[key] = float(value)
        except ValueError:
            rates[key] = -1.0
        if not 0 <= rates[key] <= 1:
            raise TargetError(f"'{key}' must be a rate between 0 and 1, not '{value}'", where="target")
    return rates


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> ScriptedTarget:
    """Entry point `scripted`."""
    return ScriptedTarget(spec, generation)
