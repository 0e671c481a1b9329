"""Following the audit log for what is unusual: once from the command line, or again and again in the administration's process.

    scan = Scan(Path("audit"), since=now_ms - 90 * DAY_MS)
    new = scan.run(store)          # the log's last weeks
    new = scan.run(store)          # only what was written meanwhile
    scan.problems()                # segments that cannot be read, and why

Each segment is read from where it was left, up to its last whole line; records of all of them are fed to one `Watch` in order of time. A
damaged line is told and passed over. What the store could not keep is kept the next time: nothing found is lost while the process lives.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from assay.access.audit.ends import MAX_BATCH
from assay.access.audit.read import record_in, time_in, whole_lines
from assay.access.audit.records import MAX_LINE, AnyRecord, AuditError, AuditTamperedError
from assay.access.audit.segment import segments
from assay.access.model import Ms
from assay.access.safety.alerts import Alert, Watch, WatchSettings, keep
from assay.access.store.base import Store

MOST_TOLD = 20
"""So many segments are named where more are damaged."""
SLACK_MS = 60_000
KEEP_EVERY = 500
_KIND = re.compile(rb'"kind":"([a-z-]{1,20})"')
_LOOKED_AT = frozenset({b"decided", b"denied", b"ended", b"alert"})
_PASSED_OVER = frozenset({b"token", b"control", b"break-glass", b"error", b"segment"})
"""A line of a kind that is neither is damaged."""


@dataclass(slots=True)
class _Next:
    """The next record of a segment that nobody was fed with, and where its line ends."""

    record: AnyRecord
    path: Path
    end: int


class Scan:
    """One reader of one audit log. Not for two threads at once. What is older than `since` (Unix ms) is passed over."""

    def __init__(self, folder: Path, since: Ms, settings: WatchSettings | None = None) -> None:
        self._folder, self._since = folder, since
        self._watch = Watch(settings)
        self._read: dict[str, int] = {}
        self._damaged: dict[str, str] = {}
        self._unread: dict[str, str] = {}
        self._found: list[Alert] = []
        self._new: list[Alert] = []

    def run(self, store: Store, stopping: Callable[[], bool] = lambda: False) -> list[Alert]:
        """Read what is new, until the end or until `stopping`; the alerts that the store had not got. Raises `AuditError` where the folder
        cannot be read, `StoreError`; what was found until then comes with the next run.
        """
        self._keep(store)
        self._unread = {}
        for following in self._merged():
            self._read[following.path.stem] = following.end
            self._found += self._watch.feed(following.record)
            if len(self._found) >= KEEP_EVERY:
                self._keep(store)
            if stopping():
                break
        self._keep(store)
        new, self._new = self._new, []
        return new

    def problems(self) -> list[str]:
        """What could not be read, a line each."""
        found = [f"the segment {name} {what}" for name, what in sorted({**self._damaged, **self._unread}.items())]
        more = len(found) - MOST_TOLD
        return [*found[:MOST_TOLD], f"and {more:,} more segments"] if more > 0 else found

    def _keep(self, store: Store) -> None:
        while self._found:
            self._new += keep(store, self._found[:1])
            del self._found[0]

    def _merged(self) -> Iterator[_Next]:
        """What is new in all segments by time; a segment is opened when its time has come, so that few are open at once."""
        paths = segments(self._folder)
        names = {path.stem for path in paths}
        self._read = {name: end for name, end in self._read.items() if name in names}
        self._damaged = {name: what for name, what in self._damaged.items() if name in names}
        waiting = deque(sorted((int(path.stem.rpartition("-")[2]), path) for path in paths))
        heap: list[tuple[int, int, _Next, Iterator[_Next]]] = []
        ticket = count()

        def push(more: Iterator[_Next]) -> None:
            following = next(more, None)
            if following is not None:
                heapq.heappush(heap, (following.record.at, next(ticket), following, more))

        while heap or waiting:
            while waiting and (not heap or waiting[0][0] <= heap[0][0]):
                push(self._rest(waiting.popleft()[1]))
            if heap:
                _, _, following, more = heapq.heappop(heap)
                yield following
                push(more)

    def _rest(self, path: Path) -> Iterator[_Next]:
        """What is new in a segment. A segment that cannot be read is told of, and tried again the next time."""
        name = path.stem
        try:
            status = path.stat()
            begin = self._read.get(name, 0)
            if name not in self._read and status.st_mtime_ns // 1_000_000 < self._since - SLACK_MS:
                self._read[name] = begin = status.st_size
            if status.st_size < begin:
                self._damaged[name] = "is shorter than it was"
                return
            if status.st_size == begin:
                return
            end = begin
            for line in whole_lines(path, begin):
                end += len(line) + 1
                record = self._record(line, path)
                if record is not None:
                    yield _Next(record, path, end)
            if end == begin and status.st_size - begin > MAX_BATCH + MAX_LINE:
                self._damaged[name] = f"goes on after {begin:,} bytes with what is no line"
            self._read[name] = max(end, self._read.get(name, 0))
        except (AuditError, OSError) as e:
            self._unread[name] = f"cannot be read: {e.what if isinstance(e, AuditError) else e.strerror}"

    def _record(self, line: bytes, path: Path) -> AnyRecord | None:
        """What a line says, if something is looked for in it."""
        kind = _KIND.search(line)
        at = time_in(line)
        if kind is not None and (kind[1] in _PASSED_OVER or (kind[1] in _LOOKED_AT and 0 < at < self._since)):
            return None
        try:
            return record_in(line, path, 0)
        except AuditTamperedError as e:
            self._damaged.setdefault(path.stem, f"does not hold: {e.what}")
            return None
