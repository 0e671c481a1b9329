"""A worker process: another tool plays samples in it, and asks Assay what the target says.

    async with Worker(adapter, opening, interpreter) as worker:
        worker.samples, worker.ready                       # what there is to play
        played = await worker.play("sample-7", ask)        # `ask` answers each call; several samples may be under way

The worker is not trusted: its lines are typed and bounded, its standard error is kept to the last few lines, its memory is limited. When
it dies, every sample under way raises `DiedError`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from msgspec import Struct

from assay.errors import TargetError
from assay.sources.adapters import Adapter, surroundings
from assay.sources.file import MAX_SAMPLES
from assay.sources.lines import MAX_LINE, AskLine, FailedLine, PlayedLine, ReadyLine, SampleLine, encode, plain, read_line

OPEN_S = 600
END_S = 10
MOST_CALLS = 64
"""How many calls of one sample may be under way at once."""
_LAST_LINES = 20


class Opening(Struct, frozen=True):
    """What a worker opens: task and options, how many samples at once, seconds for each, its memory, the variables that it sees and
    those that it must not (`keys`) unless they are among them; and whether it is to say what the samples ask (`listing`).
    """

    task: str
    options: dict[str, str]
    parallel: int
    sample_s: int
    memory_mb: int
    environment: tuple[str, ...] = ()
    listing: bool = False
    keys: tuple[str, ...] = ()


class Said(Struct, frozen=True):
    """What the target said to one call: in the form that goes over the wire. A `failure` ends the sample."""

    text: str
    calls: tuple[dict[str, str], ...] = ()
    finish: str = ""
    tokens: tuple[int, int] = (0, 0)
    failure: str = ""


Ask = Callable[[AskLine], Awaitable[Said]]


class DiedError(Exception):
    """The worker has ended, in words; those of Assay's own doing begin with `TOOK`."""


TOOK = "a sample took"


class _Playing:
    """A sample under way."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.over: asyncio.Future[PlayedLine] = asyncio.get_running_loop().create_future()
        self.calls: set[asyncio.Task[None]] = set()


class Worker:
    """One process. `dead` says why it has ended, empty while it lives."""

    def __init__(self, adapter: Adapter, opening: Opening, interpreter: str) -> None:
        self._adapter, self._opening, self._interpreter = adapter, opening, interpreter
        self._playing: dict[int, _Playing] = {}
        self._keys = itertools.count(1)
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self.samples: dict[str, SampleLine] = {}
        self.ready = ReadyLine({}, {}, ())
        self.dead = ""

    async def __aenter__(self) -> Self:
        """Start it and hear what there is to play. Raises `TargetError`."""
        self._folder = tempfile.TemporaryDirectory(prefix="assay-source-")
        self._process = await asyncio.create_subprocess_exec(
            self._interpreter, str(self._adapter.program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=MAX_LINE, cwd=self._folder.name,
            env=surroundings(self._opening.environment, self._opening.keys) | {"TMPDIR": self._folder.name},
            start_new_session=True,  # Ctrl-C is for the one who asks
        )  # fmt: skip
        if self._process.stdout is None or self._process.stderr is None:
            raise TargetError("the worker has no pipes")
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._errors = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open()
        except BaseException as e:
            await self.__aexit__(None, None, None)
            if isinstance(e, TimeoutError):
                raise TargetError(f"'{self._opening.task}' was not opened within {OPEN_S} s") from None
            raise
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it, by force if it does not."""
        self.dead = self.dead or "closed"
        process = self._process
        if process.returncode is None and process.stdin is not None:
            with suppress(ConnectionError, OSError):
                process.stdin.write(encode({"do": "end"}) + b"\n")
                process.stdin.close()
            try:
                async with asyncio.timeout(END_S if hasattr(self, "_reading") else 0.2):
                    await process.wait()
            except TimeoutError:
                pass
        self.kill()
        await process.wait()
        for task in (self._errors, getattr(self, "_reading", None)):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._folder.cleanup()

    def kill(self) -> None:
        """End it and whatever it has started, now."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def play(self, sample: str, ask: Ask) -> PlayedLine:
        """Play a sample. Raises `DiedError` when the worker ends meanwhile."""
        if self.dead:
            raise DiedError(self.dead)
        key, playing = next(self._keys), _Playing(ask)
        self._playing[key] = playing
        try:
            await self._send({"do": "play", "key": key, "sample": sample})
            return await playing.over
        finally:
            self._playing.pop(key, None)
            for call in playing.calls:
                call.cancel()

    async def _open(self) -> None:
        opening = self._opening
        order = {"task": opening.task, "options": opening.options, "parallel": min(opening.parallel, self._adapter.most_parallel)}
        bounds = {"sample_s": opening.sample_s, "memory_mb": opening.memory_mb, "listing": opening.listing}
        with suppress(DiedError):  # what it said says why
            await self._send({"do": "open", **order, **bounds})
        while True:
            line = await self._line()
            match line:
                case SampleLine():
                    if line.id in self.samples or len(self.samples) >= MAX_SAMPLES:
                        raise TargetError(f"'{opening.task}' has a sample {line.id!r} twice, or more than {MAX_SAMPLES:,}")
                    self.samples[line.id] = line
                case ReadyLine():
                    self.ready = line
                    return
                case FailedLine():
                    raise TargetError(plain(line.why, 1000), where=opening.task)
                case None:
                    raise TargetError(self._ended(), where=opening.task)
                case _:
                    raise TargetError("the worker asks before it has opened anything", where=opening.task)

    async def _line(self) -> SampleLine | ReadyLine | AskLine | PlayedLine | FailedLine | None:
        """The next line; None at the end. Raises `TargetError` for what is no line."""
        try:
            data = await self._stdout.readline()
        except ValueError:
            raise TargetError(f"the worker says more than {MAX_LINE:,} bytes in one line") from None
        return read_line(data) if data.endswith(b"\n") else None

    async def _read(self) -> None:
        """Until it ends: pass on what it asks, and what came of the samples."""
        try:
            while (line := await self._line()) is not None:
                if isinstance(line, AskLine):
                    self._asked(line)
                elif isinstance(line, PlayedLine):
                    playing = self._playing.get(line.key)
                    if playing is not None and not playing.over.done():
                        playing.over.set_result(line)
                elif isinstance(line, FailedLine):
                    self._died(plain(line.why, 300))
            self._died("")
        except TargetError as e:
            self._died(e.what)
        finally:
            self.kill()

    def _asked(self, line: AskLine) -> None:
        playing = self._playing.get(line.key)
        if playing is None or playing.over.done():
            return
        if len(playing.calls) >= MOST_CALLS:  # whoever asks on without reading the answers would have us keep ever more
            playing.over.set_result(PlayedLine(line.key, f"more than {MOST_CALLS} calls of the target at once", {}))
            self._died(f"{TOOK} too many calls at once")
            self.kill()
            return

        async def answer() -> None:
            said = await playing.ask(line)
            with suppress(DiedError):
                await self._send({"do": "answer", "call": line.call, **{f: getattr(said, f) for f in said.__struct_fields__}})

        task = asyncio.create_task(answer())
        playing.calls.add(task)
        task.add_done_callback(playing.calls.discard)
        task.add_done_callback(lambda done: self._broken(playing, done))

    def _broken(self, playing: _Playing, done: asyncio.Task[None]) -> None:
        """An error in asking is the sample's: it is raised where the sample is waited for."""
        if not done.cancelled() and (error := done.exception()) is not None and not playing.over.done():
            playing.over.set_exception(error)

    def _died(self, why: str) -> None:
        self.dead = self.dead or why or self._ended()
        for playing in self._playing.values():
            if not playing.over.done():
                playing.over.set_exception(DiedError(self.dead))

    def _ended(self) -> str:
        """Why it is gone, as far as it said."""
        last = next((text for line in reversed(self._last) if (text := plain(line, 300))), "")
        code = self._process.returncode
        how = "the worker ended" + (f" (code {code})" if code is not None else "")
        return f"{how}: {last}" if last else f"{how} without a word: too much memory, perhaps"

    async def _send(self, order: dict[str, object]) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing() or self._process.returncode is not None:
            raise DiedError(self.dead or self._ended())
        stdin.write(encode(order) + b"\n")
        try:
            await stdin.drain()
        except (ConnectionError, OSError):
            raise DiedError(self.dead or self._ended()) from None

    async def _listen(self) -> None:
        """Keep the last of what it writes to its standard error, line by line and bounded."""
        rest = b""
        while data := await self._stderr.read(1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            self._last.extend(line[-2000:].decode("utf-8", "replace") for line in whole)
            rest = rest[-2000:]
        if rest:
            self._last.append(rest.decode("utf-8", "replace"))
