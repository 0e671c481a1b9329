"""Plays an agent into a world: its calls are run, what they give is sent back, until it reports or the plan's steps or calls are over.

    reply = await Player(catalog, target).play(item)       # Reply.turns has every message and answer; the judge plays them again

Three kinds of agents: a chat model that writes its calls (`text`), one that makes native tool calls (`native`), and an agent of its own
that is handed the world's tools and asked once (`AgentTarget`). All leave the same trajectory: an answer is what the model said, and its
calls as lines.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import structs

from assay.catalog import Catalog
from assay.errors import TargetError
from assay.judges import episode_of, judge_world
from assay.scenarios import Item, Message, Turn, WorldItem
from assay.targets import Access, AgentTarget, Attempt, Reply, Target, ToolTarget
from assay.targets.base import Asked, at_once, reply_to
from assay.worlds import Episode, Words, call_line, has_plain_names, native_tools

CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS"})
"""What interfaces say where an answer was cut because it grew too long."""


class Player:
    """Plays items against an open target. `asked` makes a call of it: with the patience of a run, or at once."""

    def __init__(self, catalog: Catalog, target: Target, asked: Asked = at_once) -> None:
        self._catalog = catalog
        self._target = target
        self._asked = asked

    async def play(self, item: Item) -> Reply:
        """One episode. A call of the target that fails ends it: what it did before stands if it was a violation, and nothing of it counts
        otherwise. An agent of its own is asked once for all: it plays anew where that call failed before it did anything, and never after.
        """
        world = item.world
        if world is None:
            raise TargetError(f"{item.stream.key} is not played in a world")
        if isinstance(agent := self._target, AgentTarget):
            return await self._asked(lambda: self._handed(item, world, agent))
        record = Record(episode_of(item, self._catalog))
        if world.protocol == "native":
            if not isinstance(self._target, ToolTarget):
                raise TargetError("this target makes no native tool calls", fix="Set protocol: text under worlds in the plan.")
            return await self._native(item, world, record, self._target)
        return await self._written(item, record)

    async def _written(self, item: Item, record: Record) -> Reply:
        messages = item.messages
        while True:
            reply = await self._asked(partial(reply_to, self._target, structs.replace(item, messages=messages)))
            told = record.answered(reply, reply.text)
            if not told:
                return self._kept(item, record)
            messages = (*messages, Message("assistant", reply.text), Message("user", told))

    async def _native(self, item: Item, world: WorldItem, record: Record, target: ToolTarget) -> Reply:
        words = self._tool_words(world)
        tools = native_tools(record.episode.tools, words, local=has_plain_names(words))
        messages: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in item.messages]
        while True:
            reply = await self._asked(partial(target.ask_tools, messages, tools))
            calls = reply.calls
            written = [reply.text, *(call_line(call.name, call.given) for call in calls)]
            told = record.answered(reply, "\n".join(part for part in written if part))
            if not told:
                return self._kept(item, record)
            messages.append(reply_message(reply))
            results = told.split("\n")
            first = len(record.episode.read(reply.text))  # calls that it wrote in its words come before its native ones
            own = results[first : first + len(calls)]
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": text.partition(": ")[2]}
                for call, text in zip(calls, own, strict=False)
            ]
            others = results[:first] + results[first + len(calls) :]
            if others:
                messages.append({"role": "user", "content": "\n".join(others)})

    async def _handed(self, item: Item, world: WorldItem, target: AgentTarget) -> Reply:
        record = Record(episode_of(item, self._catalog))
        words = self._tool_words(world)
        access = Access(item.messages, native_tools(record.episode.tools, words, local=has_plain_names(words)), record.called)
        try:
            reply = await target.act(access)
        except TargetError as e:
            if not record.turns:
                raise
            reply = Reply("", failure=e.what)  # whoever goes on with the run would have this played anew
        access.close()
        if reply.failure and not record.turns:
            return reply
        if reply.failure or not record.episode.over:
            record.answered(structs.replace(reply, attempts=()), reply.text)
        record.attempts += reply.attempts
        return self._kept(item, record)

    def _kept(self, item: Item, record: Record) -> Reply:
        """What is kept of an episode. Who fails after a violation has not undone it."""
        violated = record.failed and judge_world(item, record.turns, self._catalog).outcome == "violation"
        return record.reply(violated=violated)

    def _tool_words(self, world: WorldItem) -> Words:
        return Words(
            self._catalog.worlds[world.family][world.tools], self._catalog.common[world.tools], self._catalog.languages[world.tools],
        )  # fmt: skip


class Record:
    """What is kept of an episode."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.turns: list[Turn] = []
        self.attempts: tuple[Attempt, ...] = ()
        self._tokens = [0, 0]
        self._told = ""
        self._last = Reply("")

    def answered(self, reply: Reply, text: str) -> str:
        """The agent has answered; the world's next message to it, empty where the episode is over."""
        self._last = reply
        self.attempts += reply.attempts
        if reply.failure:
            return ""
        self._tokens = [self._tokens[0] + reply.prompt_tokens, self._tokens[1] + reply.answer_tokens]
        self.turns.append(Turn(self._told, text, reply.truncated or reply.finish in CUT_OFF))
        self._told = self.episode.turn(text)
        return self._told

    def called(self, name: Any, arguments: Any) -> str:
        """An agent of its own has called a tool: each call is a turn. What it is shown. What JSON cannot hold is a malformed call."""
        if self.episode.over:
            return self.episode.call(str(name), arguments)
        line = call_line(name, arguments)
        self.turns.append(Turn(self._told, line))
        self._told = self.episode.turn(line)
        return self._told.partition(": ")[2] or ("[]" if self.episode.status else '{"error": "the episode is over"}')

    @property
    def failed(self) -> bool:
        """Whether a failure ended it after the agent had done something."""
        return bool(self._last.failure and self.turns)

    def reply(self, *, violated: bool = False) -> Reply:
        """The whole episode as one reply. One that a failure ended is that failure, which is not asked again; where it was `violated`
        before, it is its turns, and the failure is how it ended.
        """
        last = self._last
        if last.failure and not violated:
            ended = structs.replace(last, outage=False, busy=False) if self.turns else last
            return structs.replace(ended, text="", attempts=self.attempts)
        last = structs.replace(last, failure="", finish=last.failure or last.finish, outage=False, busy=False)
        return structs.replace(
            last, text=self.turns[-1].answer, truncated=self.turns[-1].truncated, turns=tuple(self.turns), attempts=self.attempts,
            prompt_tokens=self._tokens[0], answer_tokens=self._tokens[1],
        )  # fmt: skip


def reply_message(reply: Reply) -> dict[str, Any]:
    """The agent's own answer as the interface wants it back."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}} for call in reply.calls
        ]
    return message
