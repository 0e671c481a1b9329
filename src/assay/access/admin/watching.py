"""The audit log looked through for alerts again and again, by the administration's process, beside its event loop.

    watching = Watching(Scan(folder, since), store, log.note, every_s=60)
    task = asyncio.create_task(watching.run())
    watching.problems()            # for health and console; empty if all is well
    await watching.stop(task)

It goes on whatever fails. What is unusual is kept in the store; what is grave is noted in the audit log as well.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from assay.access.audit.records import shown
from assay.access.safety.alerts import noted
from assay.access.safety.scan import Scan
from assay.access.store.base import Store
from assay.errors import AssayError

DAYS = 90
"""How far back is read at the start: habits are learnt from it."""
LATE = 3
"""So many intervals without a whole scan are said to be a problem."""


class Watching:
    """One schedule. `note` is called on the event loop; `clock` gives Unix milliseconds."""

    def __init__(
        self, scan: Scan, store: Store, note: Callable[[dict[str, Any]], None], *, every_s: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:  # fmt: skip
        self._scan, self._store, self._note, self._every_s, self._clock = scan, store, note, every_s, clock
        self._stopping = threading.Event()
        self._woken = asyncio.Event()
        self._failed = ""
        self._told: set[str] = set()
        self._done = time.monotonic()
        self.scanned_ms = 0
        """When the log was last looked through to its end (Unix ms); 0: not yet."""

    async def run(self) -> None:
        """Until it is stopped."""
        while not self._stopping.is_set():
            await self.once()
            try:
                await asyncio.wait_for(self._woken.wait(), self._every_s)
            except TimeoutError:
                continue

    async def once(self) -> None:
        """One scan. It raises nothing."""
        try:
            new = await asyncio.to_thread(self._scan.run, self._store, self._stopping.is_set)
            self._failed = ""
            self._done, self.scanned_ms = time.monotonic(), self._clock()
            for alert in new:
                if alert.severity == "high":
                    self._note(noted(alert, self._clock()))
        except Exception as e:  # noqa: BLE001 (whatever it is, it is told, and the next scan is made)
            self._failed = f"the scan failed: {e.what if isinstance(e, AssayError) else type(e).__name__}"
        for problem in [p for p in [self._failed, *self._scan.problems()] if p]:
            if problem not in self._told:
                self._note({"kind": "error", "at": self._clock(), "what": shown(f"alerts: {problem}")})
        self._told = {p for p in [self._failed, *self._scan.problems()] if p}

    def problems(self) -> list[str]:
        """What stands against the scans, a line each."""
        found = [p for p in [self._failed, *self._scan.problems()] if p]
        silent = time.monotonic() - self._done
        if not self._failed and silent > LATE * self._every_s:
            found.append(f"the audit log was not looked through to its end for {int(silent)} s")
        return [f"alerts: {p}" for p in found]

    async def stop(self, task: asyncio.Task[None]) -> None:
        """End a scan that is under way, and wait for it."""
        self._stopping.set()
        self._woken.set()
        await task

    def exposition(self) -> bytes:
        """Two gauges in Prometheus' text format."""
        return (
            "# HELP assay_gate_alerts_scanned_timestamp_seconds When the audit log was last looked through for alerts; 0: not yet.\n"
            "# TYPE assay_gate_alerts_scanned_timestamp_seconds gauge\n"
            f"assay_gate_alerts_scanned_timestamp_seconds {self.scanned_ms / 1000}\n"
            "# HELP assay_gate_alerts_problems What stands against looking the audit log through for alerts.\n"
            "# TYPE assay_gate_alerts_problems gauge\n"
            f"assay_gate_alerts_problems {float(len(self.problems()))}\n"
        ).encode()
