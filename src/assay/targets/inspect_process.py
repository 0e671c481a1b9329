"""The process that runs Inspect, from outside: started when needed, many calls at once, gone without a trace.

child = InspectProcess(settings)
ready = await child.start()
answer = await child.call(messages, seed=0, max_tokens=256)     # EndedError: it died under the call; the next call starts it again
await child.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from typing import Any

import msgspec

from assay.errors import TargetError
from assay.targets.apikey import is_own
from assay.targets.inspect_wire import Answer, Ask, Cancel, Ready, Refused, Settings, answer_line, line

CHILD = "assay.targets.inspect_child"
START_S = 120.0
STOP_S = 10.0


class EndedError(Exception):
    """The process ended, or said something that is no answer, while a call was under way."""


class InspectProcess:
    """One process at a time. Not started until `start`, or the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._starting = asyncio.Lock()
        self._number = 0
        self._ready: Ready | None = None
        self.starts = 0

    async def start(self) -> None:
        """Have it up. Raises `TargetError` where no call can succeed, `EndedError` where it does not come up."""
        if self._up():
            return
        async with self._starting:
            if not self._up():
                await self._stop()
                self._ready = await self._begin()

    def _up(self) -> bool:
        return self._ready is not None and self._child is not None and self._child.returncode is None

    async def _begin(self) -> Ready:
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="assay-inspect-")
        self.starts += 1
        child = self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", CHILD,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not is_own(k)}, cwd=self._folder.name, start_new_session=True,
            limit=answer_line(self._settings.most_characters),
        )  # fmt: skip
        try:
            self._write(line(self._settings))
            async with asyncio.timeout(START_S):
                said = await child.stdout.readline() if child.stdout else b""
            found = msgspec.json.decode(said, type=Ready | Refused)
        except (TimeoutError, msgspec.MsgspecError, ValueError, OSError):
            await self._stop()
            raise EndedError("the process that runs Inspect did not start") from None
        except BaseException:
            await self._stop()
            raise
        if isinstance(found, Refused):
            await self._stop()
            raise TargetError(found.what, where=f"inspect:{self._settings.model}", fix=found.fix)
        self._reading = asyncio.create_task(self._read(child))
        return found

    async def call(
        self, messages: list[dict[str, Any]], *, seed: int, max_tokens: int, tools: list[dict[str, Any]] | None = None,
        form: dict[str, Any] | None = None,
    ) -> Answer:  # fmt: skip
        """One call. Raises `EndedError`; a call that is cancelled is cancelled there too."""
        await self.start()
        self._number += 1
        number = self._number
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._write(line(Ask(number, messages, seed, max_tokens, tools or [], form or {})))
            return await answer
        except asyncio.CancelledError:
            with contextlib.suppress(EndedError):
                self._write(line(Cancel(number)))
            raise
        finally:
            self._waiting.pop(number, None)

    def _write(self, data: bytes) -> None:
        child = self._child
        if child is None or child.stdin is None or child.stdin.is_closing() or child.returncode is not None:
            raise EndedError("the process that runs Inspect ended")
        child.stdin.write(data)

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        """Hand out answers until there are no more. A line that is no answer ends the process: nothing after it can be believed."""
        decode = msgspec.json.Decoder(Answer).decode
        stream = child.stdout
        try:
            while stream is not None and (said := await stream.readline()):
                answer = decode(said)
                waiting = self._waiting.get(answer.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except (msgspec.MsgspecError, ValueError, OSError):
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        finally:
            self._ready = None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(EndedError("the process that runs Inspect ended"))

    async def stop(self) -> None:
        """End the process; it gets ten seconds. What is under way fails."""
        async with self._starting:
            await self._stop()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    async def _stop(self) -> None:
        child, self._child, self._ready = self._child, None, None
        if child is not None:
            if child.stdin is not None:
                child.stdin.close()
            try:
                async with asyncio.timeout(STOP_S if child.returncode is None else 1.0):
                    await child.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
