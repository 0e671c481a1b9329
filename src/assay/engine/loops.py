"""Where a coroutine runs, and how it is asked to stop.

result = run_loop(main)                      # here; or in a thread of its own, where a loop runs in this one already: a notebook
result = await in_thread(partial(work, 1))      # blocking work that may run a loop itself, in a thread; cancelled, it is asked to stop
with on_interrupt(engine.interrupt): ...     # within `main`: what stops it so that all that is done is kept

A first request to stop calls what `on_interrupt` names, a second one cancels.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class Stop:
    """Asks what runs in another thread to stop. `request` may be called from any thread, more than once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: list[tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = []
        self._requests = 0

    @contextmanager
    def calls(self, act: Callable[[], object]) -> Iterator[None]:
        """While this lasts, the first request (or one that was made before) calls `act` on the loop that runs now, unless something
        within names another.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._acts.append((loop, act))
            if self._requests:
                loop.call_soon(act)
        try:
            yield
        finally:
            with self._lock:
                self._acts.pop()

    def request(self) -> None:
        """The innermost act, once; from then on the outermost. Nothing where nothing runs any more."""
        with self._lock:
            if self._acts:
                loop, act = self._acts[0 if self._requests else -1]
                loop.call_soon_threadsafe(act)
            self._requests += 1


_STOP: ContextVar[Stop | None] = ContextVar("stop", default=None)
HOME: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("home", default=None)
"""The loop of whoever awaits: their own coroutines belong there."""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of its own.

    Where a loop runs in this thread already it runs in another while this one waits. Ctrl-C is then a request to stop; the second one,
    or one that nothing can answer by keeping what is done, raises `KeyboardInterrupt`.
    """
    if not _loop_runs():
        return _run(main)
    stop = Stop()
    future = _started(lambda: _run(main), stop, None)
    interrupted = False
    while True:
        try:
            return future.result()
        except KeyboardInterrupt:
            stop.request()
            interrupted = True
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise


def _loop_runs() -> bool:
    """Whether one runs in this thread. Asked apart, so that what goes wrong later is not told as happening while this was."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_thread(work: Callable[[], T]) -> T:
    """The result of blocking work in a thread of its own. Cancelled, it asks the work to stop and waits until it has."""
    stop = Stop()
    future = asyncio.wrap_future(_started(work, stop, asyncio.get_running_loop()))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            stop.request()
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # what it came to is nobody's any more
        raise


def _started(work: Callable[[], T], stop: Stop, home: asyncio.AbstractEventLoop | None) -> Future[T]:
    future: Future[T] = Future()

    def go() -> None:
        _STOP.set(stop)
        HOME.set(home)
        try:
            future.set_result(work())
        except BaseException as e:  # noqa: BLE001 (whoever waits gets it)
            future.set_exception(e)

    threading.Thread(target=copy_context().run, args=(go,), name="assay").start()
    return future


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_stoppable(main))


async def _stoppable(main: Coroutine[Any, Any, T]) -> T:
    stop, task = _STOP.get(), asyncio.current_task()
    if stop is None or task is None:
        return await main
    with stop.calls(task.cancel):
        return await main


@contextmanager
def on_interrupt(handler: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT, SIGTERM or request to stop calls `handler`, the next does what it always does. Signals: main thread only."""
    stop = _STOP.get()
    if stop is not None:
        with stop.calls(handler):
            yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

    def once() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        handler()

    for number in numbers:
        loop.add_signal_handler(number, once)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
