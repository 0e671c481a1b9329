"""Any model that Inspect AI has a provider for: OpenAI, Anthropic, Google, Bedrock, Azure, Mistral, Groq, Hugging Face, vLLM and more.

    --target inspect:anthropic/MODEL             the key from the variable that Inspect reads it from (ANTHROPIC_API_KEY)

    spec = TargetSpec(kind="inspect", model="openai-api/local/my-model", url="http://127.0.0.1:8080/v1", api_key_env="MY_KEY")
    async with InspectTarget(spec, Generation(), Limits()) as target:
        reply = await target.ask((Message("user", "Hello"),))

Needs the extra `inspect` and the provider's own client. Inspect runs in a process of its own; retries, pace, time limits and the cache are
Assay's, and Inspect's are off. `options` are the provider's model arguments, as `inspect eval -M` takes them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.apikey import api_key
from assay.targets.base import Attempt, Progress, Reply
from assay.targets.inspect_process import EndedError, InspectProcess
from assay.targets.inspect_wire import NO_OPTIONS, Answer, Settings
from assay.targets.pace import Pace
from assay.targets.retries import Retries

BYTES_PER_TOKEN = 3
HELLO: tuple[dict[str, Any], ...] = ({"role": "user", "content": "Hello"},)
HELLO_TOKENS = 16
"""Fewer are refused by some interfaces."""


class InspectTarget:
    """One process with one model for the whole run."""

    def __init__(self, spec: TargetSpec, generation: Generation, limits: Limits) -> None:
        found = _installed()
        provider, _, name = spec.model.partition("/")
        if not provider or not name:
            raise TargetError(f"'{spec.model}' names no provider and model", where="target.model", fix="For example openai/MODEL.")
        if taken := NO_OPTIONS & set(spec.options):
            raise TargetError(f"'{min(taken)}' is no option of a target", where="target.options", fix="Use url and api_key_env.")
        self._model, self._generation, self._limits = spec.model, generation, limits
        self._process = InspectProcess(
            Settings(
                spec.model, spec.url, api_key(spec.api_key_env, spec.url), spec.options, connections=limits.concurrency + 1,
                max_tokens=generation.max_tokens, temperature=generation.temperature, most_characters=limits.max_answer_bytes,
            )
        )  # fmt: skip
        self.pace = Pace(limits)
        self._retries = Retries(limits, self.pace)
        self.identity: Mapping[str, str] = {
            "kind": "inspect", "model": spec.model, "provider": provider, "inspect": found, **({"url": spec.url} if spec.url else {})
        }  # fmt: skip

    async def __aenter__(self) -> Self:
        try:
            await self._process.start()
            await self._greet()
        except EndedError as e:
            await self._process.stop()
            raise TargetError(str(e), where=f"inspect:{self._model}", fix="Does python -c 'import inspect_ai' work?") from None
        except BaseException:
            await self._process.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._process.stop()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """One trial, with retries. Raises `TargetError` for a refused key and for an unknown model."""
        return await self._asked(_plain(messages))

    async def ask_item(self, item: Item) -> Reply:
        """`ask`, with a decoding seed of its own for every sample of an item; anchors are asked the same way every time."""
        sample = 0 if item.stream.arm == "anchor" else item.sample
        return await self._asked(_plain(item.messages), seed=self._generation.seed + sample)

    async def ask_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """One answer of a conversation in which the model may call tools; `Reply.calls` has its calls."""
        return await self._asked(messages, tools=tools)

    async def ask_form(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Reply:
        """One answer that the provider holds to a JSON schema, where it can."""
        return await self._asked(_plain(messages), form=schema)

    async def alive(self) -> bool:
        """Whether a greeting is answered."""
        return not (await self._try(list(HELLO), {"max_tokens": HELLO_TOKENS}, [], math.inf)).failure

    async def _asked(self, messages: list[dict[str, Any]], **given: Any) -> Reply:
        return await self._retries.asked(lambda attempts, deadline: self._try(messages, given, attempts, deadline))

    async def _try(self, messages: list[dict[str, Any]], given: dict[str, Any], attempts: list[Attempt], deadline: float) -> Reply:
        given = {"seed": self._generation.seed, "max_tokens": self._generation.max_tokens, **given}
        tokens = sum(len(str(m.get("content", ""))) for m in messages) // BYTES_PER_TOKEN + self._generation.max_tokens
        if not self.pace.enter_at_once(tokens):
            await self.pace.enter(tokens)
        began, status, reply = time.monotonic(), "cancelled", None
        try:
            await self._process.start()  # after a death: its seconds are not the call's
            began = time.monotonic()
            async with asyncio.timeout(max(0.0, min(deadline - began, self._limits.timeout_s))):
                answer = await self._process.call(messages, **given)
            status = answer.status
            reply = self._understand(answer)
        except TimeoutError:
            status, reply = "timeout", Reply("", failure="timed out", outage=True)
        except EndedError as e:
            status, reply = "ended", Reply("", failure=str(e), outage=True)
        finally:
            attempts.append(Attempt(status, int((time.monotonic() - began) * 1000)))
            self.pace.leave(began, tokens, reply)
        return reply

    def _understand(self, answer: Answer) -> Reply:
        if answer.fatal:
            raise TargetError(
                f"the provider knows no such model, or refused the key ({answer.failure})",
                where=f"inspect:{self._model}",
                fix="Check the model's name and the key in the provider's environment variable.",
            )
        return answer.reply()

    async def _greet(self) -> None:
        """One call before the first trial, so that a wrong key or name is said at once. Raises `TargetError`."""
        deadline = time.monotonic() + min(self._limits.outage_s, max(10.0, self._limits.timeout_s))
        number = 0
        while True:
            reply = await self._try(list(HELLO), {"max_tokens": HELLO_TOKENS}, [], math.inf)
            if not reply.outage:
                return
            wait = max(self._retries.backoff(number, 0.1), reply.retry_after_s)
            if time.monotonic() + wait > deadline or (number >= 2 and not reply.busy):
                raise TargetError(f"the provider gave no usable answer: {reply.failure}", where=f"inspect:{self._model}")
            await asyncio.sleep(wait)
            number += 1


def _installed() -> str:
    """Inspect's version. Raises `TargetError` where it is not installed."""
    try:
        return version("inspect_ai")
    except PackageNotFoundError:
        raise TargetError("Inspect is not installed", where="target.kind", fix="pip install 'assay[inspect]'") from None


def _plain(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> InspectTarget:
    """Entry point `inspect`."""
    return InspectTarget(spec, generation, limits)
