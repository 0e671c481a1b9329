"""The model that comes with Assay: llama.cpp (through xllamacpp) in a child process on a loopback port.

spec = TargetSpec(kind="embedded", model="qwen2.5-coder-0.5b-instruct")
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Mapping
from importlib import metadata
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.errors import ModelError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.base import Progress, Reply
from assay.targets.http import HttpTarget
from assay.targets.models import model, weights

CONTEXT_TOKENS = 2048
START_TIMEOUT_S = 120.0


class EmbeddedTarget:
    """Starts the child, then speaks to it as to any other endpoint."""

    def __init__(self, spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ModelError("the embedded runtime is not installed", fix="pip install 'assay[local]'")
        self._spec, self._generation, self._limits = spec, generation, limits
        self._progress = progress
        self._model = model(spec.model)
        self._child: asyncio.subprocess.Process | None = None
        self._http: HttpTarget | None = None
        self.identity: Mapping[str, str] = {
            "kind": "embedded",
            "model": self._model.name.partition("@")[0],
            "digest": self._model.digest,
            "runtime": f"xllamacpp {metadata.version('xllamacpp')}",
        }

    async def __aenter__(self) -> Self:
        path = weights(self._model.name, self._progress)
        self._progress(f"Starting {self.identity['model']} on this machine.")
        key = secrets.token_urlsafe(24)
        context = max(CONTEXT_TOKENS, 2 * self._generation.max_tokens)
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "assay.targets.embedded_server", str(path), str(self._limits.concurrency), str(context),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"}, start_new_session=True,
        )  # fmt: skip
        try:
            url = await self._address(key)
            spec = msgspec.structs.replace(self._spec, url=url + "/v1")
            self._http = HttpTarget(spec, self._generation, self._limits, api_key=key, identity=self.identity)
            await self._http.__aenter__()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http:
            await self._http.__aexit__(kind, error, trace)
        await self._stop()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """One trial."""
        if self._http is None:
            raise ModelError("the embedded target is not open")
        return await self._http.ask(messages)

    async def ask_item(self, item: Item) -> Reply:
        """One trial, with a decoding seed of its own for every sample of an item."""
        if self._http is None:
            raise ModelError("the embedded target is not open")
        return await self._http.ask_item(item)

    async def ask_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """One answer of a conversation in which the model may call tools."""
        if self._http is None:
            raise ModelError("the embedded target is not open")
        return await self._http.ask_tools(messages, tools)

    async def ask_form(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Reply:
        """One answer, held to a JSON schema."""
        if self._http is None:
            raise ModelError("the embedded target is not open")
        return await self._http.ask_form(messages, schema)

    async def alive(self) -> bool:
        """Whether the child still answers."""
        return self._http is not None and await self._http.alive()

    async def _address(self, key: str) -> str:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise ModelError("the embedded server has no pipes")
        child.stdin.write(key.encode() + b"\n")
        try:
            await child.stdin.drain()
            line = await asyncio.wait_for(child.stdout.readline(), START_TIMEOUT_S)
            return str(json.loads(line)["url"])
        except (TimeoutError, ValueError, KeyError, ConnectionError):
            raise ModelError(
                f"the embedded server did not start (exit code {child.returncode})",
                fix="Is there enough memory? It needs about 1 GB.",
            ) from None

    async def _stop(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        if child.stdin:
            child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 10)
        except TimeoutError:
            child.kill()
            await child.wait()


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> EmbeddedTarget:
    """Entry point `embedded`."""
    return EmbeddedTarget(spec, generation, limits, progress)
