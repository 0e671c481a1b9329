"""What every target offers: one coroutine. The engine knows nothing else of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from msgspec import Struct

from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message, Turn


class Attempt(Struct, frozen=True):
    """One try of a call: HTTP status or the kind of failure, and how long it took."""

    status: str
    ms: int


class ToolCall(Struct, frozen=True):
    """A native call, as the interface gave it: `text` are its arguments as the model wrote them."""

    id: str
    name: str
    text: str

    @property
    def given(self) -> Any:
        """The arguments; the text itself where it is no JSON, which no tool takes."""
        try:
            return json.loads(self.text or "{}")
        except (ValueError, RecursionError):
            return self.text


class Reply(Struct):
    """What came back for one trial.

    `failure` names why there is no answer to score. `outage` says that the failure is the endpoint's (down, limited, timed out), not
    the item's: the engine then holds the trial back until the endpoint answers something, or stops the run. `busy` says that the endpoint
    turned the call away unread (429, 503, no connection), which is never the item's doing. `model` and `system` (its fingerprint of the
    serving system) are what the endpoint says of itself.
    """

    text: str
    finish: str = ""
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    attempts: tuple[Attempt, ...] = ()
    failure: str = ""
    outage: bool = False
    busy: bool = False
    truncated: bool = False
    retry_after_s: float = 0.0
    turns: tuple[Turn, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    system: str = ""


class Target(Protocol):
    """The system under test, opened by `async with`."""

    identity: Mapping[str, str]

    async def __aenter__(self) -> Self:
        """Open connections, start servers, and make sure the target answers at all. Raises `TargetError` if it does not."""
        ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close whatever was opened."""
        ...

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """One trial. Raises `TargetError` only where no trial can succeed (wrong key, no such model)."""
        ...

    async def alive(self) -> bool:
        """Whether the target answers a harmless request now; asked only after a failure, to tell an outage from an item that breaks it."""
        ...


class AtHand:
    """The part of a target that has nothing to open and cannot be away: it is part of this program."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def alive(self) -> bool:
        """Always."""
        return True


@runtime_checkable
class ItemTarget(Protocol):
    """A target that must know the item, not only its messages: scripted ones."""

    async def ask_item(self, item: Item) -> Reply:
        """One trial."""
        ...


async def reply_to(target: Target, item: Item) -> Reply:
    """A target's reply to an item: by the item itself where it must know it, else by its messages."""
    return await (target.ask_item(item) if isinstance(target, ItemTarget) else target.ask(item.messages))


Call = Callable[[], Awaitable[Reply]]
Asked = Callable[[Call], Awaitable[Reply]]
"""Makes a call, and perhaps makes it again."""


async def at_once(ask: Call) -> Reply:
    """The reply to one call, whatever it is."""
    return await ask()


@runtime_checkable
class ToolTarget(Protocol):
    """A target that makes native tool calls."""

    async def ask_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """One answer, with the calls in it; messages and tools in the form of chat completion interfaces."""
        ...


@runtime_checkable
class FormTarget(Protocol):
    """A target whose answers can be held to a JSON schema."""

    async def ask_form(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Reply:
        """One answer."""
        ...


@runtime_checkable
class ItemJudge(Protocol):
    """A judge that cannot be asked, but knows what was said of the answer to an item: recorded ones."""

    async def judge_item(self, item: Item, answer: str, messages: tuple[Message, ...]) -> Reply:
        """What it said, in the form that `messages` ask for."""
        ...


class Access:
    """What an agent of its own is given: the messages, the tools, and how to call them (from any thread, one call at a time)."""

    def __init__(self, messages: tuple[Message, ...], tools: list[dict[str, Any]], call: Callable[[str, Any], str]) -> None:
        self.messages = messages
        self.tools = tools
        self._call = call
        self._lock = threading.Lock()
        self._closed = False

    def call(self, name: str, arguments: Any) -> str:
        """Call a tool; what it shows, as JSON."""
        with self._lock:
            return '{"error": "the episode is over"}' if self._closed else self._call(name, arguments)

    def close(self) -> None:
        """No further call is run: the agent's time is over."""
        with self._lock:
            self._closed = True


@runtime_checkable
class AgentTarget(Protocol):
    """An agent that is no bare model: it is handed a world once and acts by itself."""

    async def act(self, access: Access) -> Reply:
        """Its last words, after all that it did."""
        ...


Progress = Callable[[str], None]
"""Takes one line that tells a waiting person what is going on."""

TargetMaker = Callable[[TargetSpec, Generation, Limits, Progress], Target]
"""What an entry point of the group `assay.targets` gives."""


def clean_text(text: str, limit: int) -> tuple[str, bool]:
    """Model output made storable: lone surrogates replaced, at most `limit` characters; and whether it was cut."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text[:limit], len(text) > limit
