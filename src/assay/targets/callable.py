"""An agent that is a Python function: named, or handed over (`assay.evaluate(plan, run)`).

    --target callable:my_agents.support:run

    def run(access):                                     # or `async def`
        for message in access.messages: ...              # role and request
        access.call("read_message", {"message": "M-01"}) # any of access.tools, as JSON
        return "Done."                                   # its last words

Outside agent worlds it has no tools and answers the messages. A function that raises, or takes longer than the plan's call may, has failed.
A function that is awaited runs on the loop of whoever awaits the evaluation, where there is one: what it holds belongs there.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Self

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets.base import Access, AtHand, Attempt, Progress, Reply, clean_text

AgentFunction = Callable[[Access], str | Awaitable[str]]
"""Given messages and tools, an agent's last words."""


def spec_of(function: object) -> TargetSpec:
    """The target that a function is: `module:name`, which is all that identifies it. Raises `TargetError` for what cannot be called."""
    if not callable(function):
        what = f"a {type(function).__name__} is no target"
        raise TargetError(what, fix="Give a function, a target such as 'embedded:MODEL', or a TargetSpec.")
    inner = function.func if isinstance(function, partial) else function
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return TargetSpec("callable", f"{named.__module__}:{named.__qualname__}")


class CallableTarget(AtHand):
    """Calls the function in a thread of its own, or awaits it: on `home` if that is given. It is loaded by its name unless handed over."""

    def __init__(
        self, spec: TargetSpec, limits: Limits, function: AgentFunction | None = None, home: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._name = spec.model
        self._limits = limits
        self._function = function
        self._home = home
        self.identity: Mapping[str, str] = {"kind": "callable", "model": spec.model}

    async def __aenter__(self) -> Self:
        self._run = self._function or _load(self._name)
        return self

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """The function without tools."""
        return await self.act(Access(messages, [], lambda name, arguments: '{"error": "no such tool"}'))

    async def act(self, access: Access) -> Reply:
        """The function with a world's tools."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.call_s or self._limits.timeout_s):
                said = await self._said(access)
        except TimeoutError:
            access.close()
            return Reply("", failure="the function took too long", attempts=(_attempt("timeout", began),))
        except Exception as e:  # noqa: BLE001 (an agent's errors are results)
            return Reply("", failure=f"the function raised {type(e).__name__}", attempts=(_attempt(type(e).__name__, began),))
        text, truncated = clean_text(said if isinstance(said, str) else "", self._limits.max_answer_bytes)
        return Reply(text, finish="stop", model=self._name, truncated=truncated, attempts=(_attempt("200", began),))

    async def _said(self, access: Access) -> object:
        run = self._run
        said = run(access) if inspect.iscoroutinefunction(run) else await asyncio.to_thread(run, access)
        if not inspect.isawaitable(said):
            return said
        if self._home is None:
            return await said
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(said), self._home))


async def _awaited(said: Awaitable[object]) -> object:
    return await said


def _attempt(status: str, began: float) -> Attempt:
    return Attempt(status, round(1000 * (time.monotonic() - began)))


def _load(name: str) -> Callable[[Access], Any]:
    module, _, function = name.rpartition(":")
    if not module:
        raise TargetError(f"'{name}' names no function", where="target.model", fix="Give module:function.")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as e:
        raise TargetError(f"cannot load '{name}': {e}", where="target.model", fix="Is the module on PYTHONPATH?") from None
    if not callable(found):
        raise TargetError(f"'{name}' is no function", where="target.model")
    return found  # type: ignore[no-any-return]


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> CallableTarget:
    """Entry point `callable`."""
    return CallableTarget(spec, limits)
