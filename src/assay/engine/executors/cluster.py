"""Ray, as far as it is used: a cluster to work on, and one worker on it.

    with cluster(how):
        hand = Hand(0, how)
        hello = await hand.up(errand)            # placed, of this version, its target open
        hand.send(slots); batch = await hand.collect()
        hand.down()

Nothing but bytes goes through Ray, so nothing is unpickled that Ray did not pickle itself. A worker that dies is not started again by Ray
but by whoever knows what it had.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from assay.engine.executors.base import OnRay
from assay.engine.executors.wire import Batch, Errand, Failure, Hello, decode, encode, error_of
from assay.engine.executors.worker import Worker
from assay.errors import TargetError
from assay.version import __version__

T = TypeVar("T")
PLACE_S = 300.0
SILENT_S = 60.0
CLOSE_S = 10.0
_STORE_BYTES = 150_000_000


class WorkerDiedError(Exception):
    """A worker is gone, or does not answer any more."""


class NoPlaceError(Exception):
    """The cluster has had no place for a worker for `PLACE_S`."""


@contextmanager
def cluster(how: OnRay) -> Iterator[None]:
    """Connected to Ray. A connection that is there already is used, and left. Raises `TargetError`.

    To be entered in the main thread: the processes of a cluster of its own end with the thread that started them.
    """
    if importlib.util.find_spec("ray") is None:
        raise TargetError("Ray is not installed", fix="pip install 'assay[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        _connect(how)
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)  # Ray puts its own in the place
    try:
        with _hushed():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _hushed() -> Iterator[None]:
    """Ray writes what its processes report to standard output, whatever it is told of logs: into `--json`, and over the matrix."""
    from ray._private import worker

    said = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *args, **kwargs: None
    try:
        yield
    finally:
        worker.print_to_stdstream = said


def _connect(how: OnRay) -> None:
    """Raises `TargetError`. A cluster of its own is tried twice: Ray gives its processes 30 s, which a busy machine may not have."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    own: dict[str, Any] = {"num_cpus": how.workers, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    for last in (bool(how.address), True):
        try:
            ray.init(address=how.address or "local", **quiet, **({} if how.address else own))
            return
        except Exception as e:  # noqa: BLE001 (Ray raises the bare class too)
            ray.shutdown()
            if last:
                why = str(e).splitlines()[0] if str(e) else type(e).__name__
                fix = (
                    "Does a cluster run there, of this version of Ray?"
                    if how.address
                    else ("On a busy machine start one beforehand: ray start --head, and give --ray-address auto.")
                )
                raise TargetError(f"cannot work on Ray: {why}", where=how.address or "a Ray cluster of this run", fix=fix) from None


class Hand:
    """One worker's place: an actor, and after its death another."""

    def __init__(self, number: int, how: OnRay) -> None:
        self.number = number
        self._how = how
        self._actor: Any = None
        self._sent: set[asyncio.Future[Any]] = set()
        self.hello = Hello("", {}, 0, "")
        self.busy = asyncio.Event()

    async def up(self, errand: Errand) -> Hello:
        """Start the worker and have it open its target. Raises what the target raises, `NoPlaceError`, and `WorkerDiedError`."""
        import ray

        options = {"num_cpus": 1, "num_gpus": self._how.gpus_per_worker, "max_restarts": 0, "max_task_retries": 0}
        self._sent = set()
        self.busy.clear()
        self._actor = ray.remote(Worker).options(**options, scheduling_strategy="SPREAD").remote()
        try:
            version = await self._got(self._actor.ready.remote(), PLACE_S)
        except TimeoutError:
            self.down()
            raise NoPlaceError from None
        if version != __version__:
            raise TargetError(f"a node has Assay {version}, this one {__version__}", fix="Install the same version on every node.")
        said = await self._got(self._actor.open.remote(encode(errand)))
        self.hello = _or_error(said, Hello)
        return self.hello

    async def begin(self, setup: Any) -> None:
        """Give it plan, content and seed: a reference to the bytes of a `Setup`. Raises what judges and attacker raise."""
        said = await self._got(self._actor.begin.remote(setup))
        if said:
            raise error_of(decode(said, Failure))

    def send(self, slots: bytes) -> None:
        """A lease; that it could not be given shows at the next `collect`."""
        self._sent.add(asyncio.ensure_future(_quietly(self._actor.lease.remote(slots))))
        self.busy.set()

    async def collect(self) -> Batch:
        """What it has to tell. Raises `WorkerDiedError`, also where it says nothing for `SILENT_S`."""
        try:
            batch = decode(await self._got(self._actor.collect.remote(), SILENT_S), Batch)
        except TimeoutError:
            raise WorkerDiedError(f"no word for {SILENT_S:.0f} s") from None
        over = {sent for sent in self._sent if sent.done()}
        self._sent -= over
        if any(sent.result() is not None for sent in over):
            raise WorkerDiedError("a lease did not reach it")
        return batch

    async def recall(self) -> tuple[int, ...]:
        """Ask nothing more: the slots that it had not begun. Raises `WorkerDiedError`."""
        try:
            return tuple(decode(await self._got(self._actor.recall.remote(), SILENT_S), list[int]))
        except TimeoutError:
            raise WorkerDiedError(f"no word for {SILENT_S:.0f} s") from None

    async def close(self) -> None:
        """Have it close what it opened, as far as it can."""
        if self._actor is not None:
            with suppress(WorkerDiedError, TimeoutError):
                await self._got(self._actor.close.remote(), CLOSE_S)
        self.down()

    def down(self) -> None:
        """End it."""
        import ray

        if self._actor is not None:
            with suppress(ray.exceptions.RayError):
                ray.kill(self._actor)
            self._actor = None
        for sent in self._sent:
            sent.cancel()

    async def _got(self, ref: Any, seconds: float | None = None) -> Any:
        """What a call gives. Raises `TimeoutError`, `WorkerDiedError`; an error in the worker's code is raised as it is."""
        import ray

        try:
            async with asyncio.timeout(seconds):
                return await ref
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as e:
            raise WorkerDiedError(_why(e)) from None


async def _quietly(ref: Any) -> Exception | None:
    """The error of a call whose result does not matter."""
    try:
        await ref
    except Exception as e:  # noqa: BLE001 (told at the next collect)
        return e
    return None


def _or_error(said: Any, kind: type[T]) -> T:
    """Typed, or the error that was told instead."""
    try:
        return decode(said, kind)
    except TargetError:
        raise error_of(decode(said, Failure)) from None


def _why(error: Exception) -> str:
    name = type(error).__name__
    return {"OutOfMemoryError": "out of memory", "NodeDiedError": "its node is gone"}.get(name, "its process is gone")
