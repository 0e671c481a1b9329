"""Solvers: an answer, an episode in a world by Assay's own loop, and a world handed to an agent of Inspect. Imports Inspect.

A call that failed is kept in words and scored `unscorable`, so that it is in every rate; a refused key ends the evaluation, as it should.
What an episode needs to be judged, the agent's answers and what the world gave, stands in the sample's store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from inspect_ai.model import get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import Tool, ToolDef, ToolParams
from inspect_ai.util import LimitExceededError

from assay.engine.worlds import Player, Record
from assay.errors import CatalogError
from assay.exchange.inspect_tasks.items import Chosen, Items, items_of
from assay.judges import episode_of
from assay.plan import Limits
from assay.scenarios import Item, Message
from assay.targets import AtHand, Reply
from assay.targets.inspect_messages import Conversations, tools_of
from assay.targets.inspect_reading import read_error, read_output
from assay.worlds import Words, has_plain_names, native_tools

MOST = Limits().max_answer_bytes
FAILURE, TURNS = "assay_failure", "assay_turns"


@solver
def answered() -> Solver:
    """One answer."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await _kept(state, lambda: generate(state, tool_calls="none"))

    return solve


async def _kept(state: TaskState, generate: Callable[[], Awaitable[TaskState]]) -> TaskState:
    """What was generated; where that failed, the state with the failure in its store."""
    try:
        return await generate()
    except LimitExceededError:
        raise
    except Exception as e:
        found = read_error(0, e, get_model())
        if found.fatal:
            raise
        state.store.set(FAILURE, found.failure)
        return state


@solver
def played(chosen: Chosen) -> Solver:
    """One episode, by the very loop that a run of Assay has."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        items = items_of(chosen)
        model = Playing(state)
        reply = await Player(items.catalog, model).play(items.item(str(state.sample_id)))
        state.store.set(FAILURE, reply.failure)
        state.store.set(TURNS, msgspec.to_builtins(reply.turns))
        state.completed = True
        return state

    return solve


class Playing(AtHand):
    """The model under evaluation, as the player of worlds wants a target; its conversation is the sample's."""

    def __init__(self, state: TaskState) -> None:
        self.identity: Mapping[str, str] = {"kind": "inspect", "model": str(get_model())}
        self._state = state
        self._talk = Conversations()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """One answer, with calls in writing."""
        return await self._asked([{"role": m.role, "content": m.content} for m in messages], [])

    async def ask_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """One answer, with native calls."""
        return await self._asked(messages, tools)

    async def _asked(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        model, asked, given = get_model(), self._talk.messages(messages), tools_of(tools)
        self._state.messages = asked
        try:
            output = await model.generate(asked, tools=given)
        except LimitExceededError:
            raise
        except Exception as e:
            found = read_error(0, e, model)
            if found.fatal:
                raise
            return found.reply()
        answer = read_output(0, output, MOST)
        self._talk.remember(messages, answer, output)
        self._state.output = output
        self._state.messages = [*asked, *([] if output.empty else [output.message])]
        return answer.reply()


@solver
def handed(chosen: Chosen) -> Solver:
    """Setup: the world's tools become the sample's, each call a turn of the episode, as an agent behind HTTP has it."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        items = items_of(chosen)
        item = items.item(str(state.sample_id))
        record = Record(episode_of(item, items.catalog))
        state.store.set(TURNS, [])
        for spec in tools_for(record, items, item):
            state.tools.append(_tool(spec["function"], record, state))
        return state

    return solve


def tools_for(record: Record, items: Items, item: Item) -> list[dict[str, Any]]:
    """The world's tools, in the item's language of tools."""
    if item.world is None:
        raise CatalogError(f"{item.stream.key} is not played in a world")
    family, tools = item.world.family, item.world.tools
    words = Words(items.catalog.worlds[family][tools], items.catalog.common[tools], items.catalog.languages[tools])
    return native_tools(record.episode.tools, words, local=has_plain_names(words))


def _tool(spec: dict[str, Any], record: Record, state: TaskState) -> Tool:
    name = spec["name"]

    async def execute(**arguments: Any) -> str:
        shown = record.called(name, arguments)
        state.store.set(TURNS, msgspec.to_builtins(tuple(record.turns)))
        state.completed = state.completed or bool(record.episode.over)
        return shown

    parameters = ToolParams.model_validate(spec["parameters"])
    return ToolDef(execute, name, spec["description"], parameters, parallel=False, max_output=0).as_tool()


@solver
def in_hand() -> Solver:
    """The plainest agent of Inspect: it calls tools until it calls none. --solver puts another in its place."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await _kept(state, lambda: generate(state, tool_calls="loop"))

    return solve
