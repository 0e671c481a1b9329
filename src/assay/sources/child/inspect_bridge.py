"""Between a running Inspect task and Assay: the target as a model of Inspect, and the feed that gives the task the samples asked for.

    bridge = Bridge(wire)
    feed = Feed(wire, bridge, samples, orders)      # a SampleSource; `begin(feed)` and `over()` go around the task's solvers

Used by `inspect_task.py`, in the interpreter that has Inspect. Only what Inspect documents is used.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from copy import deepcopy
from typing import Any

from inspect_ai import SampleSource, enqueue_sample
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

if __package__:
    from assay.sources.child.assaywire import Wire, score, short
else:
    from assaywire import Wire, score, short  # type: ignore[import-not-found, no-redef]

AGAIN = 1_000_000
STOPS = {"stop": "stop", "length": "max_tokens", "tool_calls": "tool_calls", "content_filter": "content_filter"}
_playing: ContextVar[int] = ContextVar("playing", default=0)
_scoring: ContextVar[bool] = ContextVar("scoring", default=False)


class RefusedError(Exception):
    """The task is not played, in words."""


class Bridge:
    """Asks Assay what the target says."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._calls = 0

    async def ask(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The target's answer in the sample that is being played here."""
        self._calls += 1
        call = self._calls
        future = self._waiting[call] = asyncio.get_running_loop().create_future()
        try:
            self._wire.send("ask", key=_playing.get(), call=call, messages=messages, tools=tools)
            said: dict[str, Any] = await future
            return said
        finally:
            self._waiting.pop(call, None)

    def answered(self, order: dict[str, Any]) -> None:
        """An answer has come."""
        future = self._waiting.get(order["call"])
        if future is not None and not future.done():
            future.set_result(order)


bridges: list[Bridge] = []


@modelapi(name="assay")
class TargetAPI(ModelAPI):
    """The target that Assay tests, as a model of Inspect."""

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig  # noqa: A002
    ) -> ModelOutput:  # fmt: skip
        """One answer. Decoding is the plan's; what the task asks for in `config` is not passed on."""
        if _scoring.get() or not _playing.get():  # what is no solver's context is a scorer's
            raise RefusedError("the scorer asks the model under test to grade itself: name a grader with --role grader=MODEL")
        said = await bridges[0].ask([_message(m) for m in input], [_tool(t) for t in tools])
        if said["failure"]:
            raise RefusedError("the target gave no answer")
        calls = [_call(c) for c in said["calls"]]
        message = ChatMessageAssistant(content=said["text"], tool_calls=calls or None, model="assay/target", source="generate")
        stop: Any = STOPS.get(said["finish"], "tool_calls" if calls else "stop")
        prompt, answer = said["tokens"]
        return ModelOutput(
            model="assay/target",
            choices=[ChatCompletionChoice(message=message, stop_reason=stop)],
            usage=ModelUsage(input_tokens=prompt, output_tokens=answer, total_tokens=prompt + answer),
        )

    def max_connections(self) -> int:
        """Assay bounds the calls."""
        return 4096

    def connection_key(self) -> str:
        """One pool."""
        return "assay"


def _message(message: ChatMessage) -> dict[str, Any]:
    """As chat completion interfaces have it. Raises `RefusedError` for content that is no text."""
    if isinstance(message, ChatMessageTool):
        text = f"Error: {message.error.message}" if message.error else text_of(message)
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": text}
    out: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        out["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.function, "arguments": json.dumps(c.arguments, default=str)}}
            for c in message.tool_calls
        ]
    return out


def text_of(message: ChatMessage) -> str:
    """A message's text, reasoning left out. Raises `RefusedError` for content that is no text."""
    if isinstance(message.content, str):
        return short(message.content, sys.maxsize)
    odd = next((c.type for c in message.content if c.type not in ("text", "reasoning")), "")
    if odd:
        raise RefusedError(f"content that is no text ({odd})")
    return short("\n".join(c.text for c in message.content if c.type == "text"), sys.maxsize)


def _tool(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(mode="json", exclude_none=True)
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def _call(call: dict[str, str]) -> ToolCall:
    try:
        given = json.loads(call["text"] or "{}")
    except (ValueError, RecursionError):
        given = None
    wrong = None if isinstance(given, dict) else "the arguments are no JSON object"
    return ToolCall(id=call["id"], function=call["name"], arguments=given if isinstance(given, dict) else {}, parse_error=wrong)


class Feed(SampleSource):
    """Gives the task the samples that Assay asks for, when it asks."""

    def __init__(
        self, wire: Wire, bridge: Bridge, samples: dict[str, tuple[Sample, int]], orders: asyncio.Queue[dict[str, Any] | None]
    ) -> None:
        self._wire, self._bridge, self._samples, self._orders = wire, bridge, samples, orders
        self._times: dict[str, int] = {}
        self._reader: asyncio.Task[None] | None = None
        self._idle: asyncio.Event = asyncio.Event()
        self._over = False
        self.keys: dict[tuple[str, int], int] = {}

    async def next_samples(self) -> list[Sample] | None:
        """Called when nothing is under way: waits for an order. The samples themselves are put in by `_take`."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())  # made here, where `enqueue_sample` knows the task
        await self._idle.wait()
        self._idle.clear()
        return None if self._over else []

    async def sample_complete(self, sample: EvalSample) -> None:
        """Tell Assay what came of it."""
        key = self.keys.pop((str(sample.id), sample.epoch), 0)
        self._wire.send("played", key=key, failure=short(_failure(sample)), scores=dict(_scores(sample)))

    async def sample_abandoned(self, sample: Sample, epoch: int) -> None:
        """It never ran."""
        self._wire.send("played", key=self.keys.pop((str(sample.id), epoch), 0), failure="abandoned by Inspect", scores={})

    async def _read(self) -> None:
        while (order := await self._orders.get()) is not None and order["do"] != "end":
            if order["do"] == "answer":
                self._bridge.answered(order)
            else:
                self._take(order)
        self._over = True
        self._idle.set()

    def _take(self, order: dict[str, Any]) -> None:
        name = order["sample"]
        sample, epoch = self._samples[name]
        epoch += self._times.get(name, 0) * AGAIN  # Inspect takes a sample once in an epoch
        self._times[name] = self._times.get(name, 0) + 1
        self.keys[str(sample.id), epoch] = order["key"]
        enqueue_sample(deepcopy(sample), epoch=epoch)
        self._idle.set()


def _failure(s: EvalSample) -> str:
    """Why a sample has no score that counts."""
    if s.error is not None:
        return f"errored: {s.error.message}"
    if s.limit is not None:
        return f"stopped by a limit ({s.limit.type})"
    if s.invalidation is not None:
        return "invalidated"
    return f"the model's call failed: {s.output.error}" if s.output.error else ""


def _scores(s: EvalSample) -> Iterator[tuple[str, dict[str, str]]]:
    """Every score by its scorer's name; of a score with several values each, by `scorer.value`."""
    for name, found in list((s.scores or {}).items())[:50]:
        values: list[tuple[str, Any]] = [("", found.value)]
        if isinstance(found.value, dict):
            values = [(f".{k}", v) for k, v in found.value.items()]
        elif isinstance(found.value, list):
            values = [(f".{i}", v) for i, v in enumerate(found.value)]
        for key, value in values[:50]:
            yield short(name + key, 200), score(value, found.explanation or "", found.reason or "")


@solver
def begin(feed: Feed) -> Solver:
    """Before everything else of a sample: know for whom the model is asked."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        _playing.set(feed.keys.get((str(state.sample_id), state.epoch), 0))
        return state

    return solve


@solver
def over() -> Solver:
    """After everything else: what asks the model now is a scorer."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        _scoring.set(True)
        return state

    return solve
