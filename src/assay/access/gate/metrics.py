"""What the gateway counts of itself, cheap enough for every request, summed over workers when somebody asks.

    metrics = Metrics(folder, models=("m7",))
    metrics.decided("m7", "operator", "chat.completions", "allow", "")
    metrics.first_token(0.21, "m7")
    metricstext.exposition(folder)            # Prometheus text of all workers

Every worker counts in a file of its own, mapped into memory: an act costs an addition there, no lock, no system call. The files are
numbered; a worker takes the first that nobody holds and goes on counting there, so that sums never fall. What it holds now (streams,
queue) begins at nothing. Labels are of bounded number and
never name a person, a grant or anything that was said: a model that is not served and a rule beyond `MAX_RULES` count as `other`.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from assay.access.model import Route, Tier
from assay.errors import AssayError

if TYPE_CHECKING:
    Numbers = memoryview[float]

SLOTS = 16_384
MAX_RULES = 100
MAX_WORKERS = 256
OTHER = "other"
ADDED_S = (0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
FIRST_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
ANSWER_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
FSYNC_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)

_RULE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,63}\Z")
COUNTERS = {
    "assay_gate_requests": ("Requests, by what was decided and by which rule.", ("model", "tier", "route", "decision", "rule")),
    "assay_gate_answers": ("Answers that were begun, by how they ended.", ("model", "tier", "route", "outcome")),
    "assay_gate_tokens": ("Tokens that were settled.", ("model", "kind")),
    "assay_gate_streams_cut": ("Streams that were cut off by a halt, a revocation or an administrator.", ("model",)),
    "assay_gate_quota_denials": ("Requests for which no quota was left.", ("model", "tier")),
    "assay_gate_upstream_failures": ("Requests that the upstream did not answer.", ("model",)),
}
HISTOGRAMS = {
    "assay_gate_added_seconds": ("Time that the gateway itself took before the upstream was asked.", ("model",), ADDED_S),
    "assay_gate_first_token_seconds": ("Time until the first part of an answer.", ("model",), FIRST_S),
    "assay_gate_answer_seconds": ("Time until an answer ended.", ("model",), ANSWER_S),
    "assay_gate_audit_fsync_seconds": ("Time of one write of audit records to the disk.", (), FSYNC_S),
}
GAUGES = {
    "assay_gate_streams": ("Streams under way.", ("model",), "sum"),
    "assay_gate_audit_queue": ("Audit records that wait for the disk.", (), "sum"),
    "assay_gate_epoch": ("The store's epoch that the slowest worker acts on.", (), "least"),
    "assay_gate_store_heard_timestamp_seconds": ("When the worker that waits longest last heard of the store.", (), "least"),
    "assay_gate_release_expiry_timestamp_seconds": ("When the release of a model ends; 0 where there is none.", ("model",), "least"),
}
Key = tuple[str, ...]
LAYOUT = hashlib.sha256(repr((SLOTS, COUNTERS, HISTOGRAMS, GAUGES)).encode()).hexdigest()[:12]
"""In the files' names: another release of Assay that counts otherwise begins anew."""


class MetricsError(AssayError):
    """The file in which a worker counts cannot be made or read."""


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """The line that says what a slot counts: name of the metric, values of its labels, the bucket's bound if it is one, the slot."""

    name: str
    labels: tuple[str, ...]
    part: str
    slot: int


class Metrics:
    """What one worker counts. Every method takes one or two microseconds; `fsync` and `audit_queue` may come from one other thread.

    Raises `MetricsError` when the files cannot be made; counting itself raises nothing.
    """

    def __init__(self, folder: Path, *, models: Collection[str] = ()) -> None:
        self._names, self._slots = _open(folder)
        self._models = frozenset(models)
        self._rules: set[str] = {""}
        self._at: dict[Key, int] = {}
        self._free = 1
        for named in read_names(self._names.path):
            self._at[(named.name, *named.labels, named.part)] = named.slot
            self._free = max(self._free, named.slot + 1)
            if named.name in GAUGES:
                self._slots[named.slot] = 0.0
            if named.name == "assay_gate_requests":
                self._rules.add(named.labels[4])
        self._answers: dict[tuple[str, str, str, str], int] = {}
        self._requests: dict[tuple[str, str, str, str, str], int] = {}
        self._histograms = {name: {m: self._histogram(name, (m,)) for m in (*models, OTHER)} for name in list(HISTOGRAMS)[:3]}
        self._fsync = self._histogram("assay_gate_audit_fsync_seconds", ())
        self._streams = {m: self._slot("assay_gate_streams", (m,)) for m in (*models, OTHER)}
        self._expiry = {m: self._slot("assay_gate_release_expiry_timestamp_seconds", (m,)) for m in models}
        self._queue = self._slot("assay_gate_audit_queue", ())
        self._epoch = self._slot("assay_gate_epoch", ())
        self._heard = self._slot("assay_gate_store_heard_timestamp_seconds", ())

    def decided(self, model: str, tier: Tier | str, route: Route | str, decision: str, rule: str) -> None:
        """A request was decided: `decision` is `allow` or `deny`, `rule` what denied it, empty where nothing did."""
        at = self._requests.get((model, tier, route, decision, rule))
        if at is None:
            at = self._request(model, tier, route, decision, rule)
        self._slots[at] += 1.0

    def denied(self, rule: str) -> None:
        """A request was turned away by this rule before it was known which model it was for."""
        self.decided(OTHER, OTHER, OTHER, "deny", rule)

    def added(self, seconds: float, model: str = OTHER) -> None:
        """What the gateway took for itself before the upstream was asked."""
        known = self._histograms["assay_gate_added_seconds"]
        self._observe(known.get(model) or known[OTHER], ADDED_S, seconds)

    def first_token(self, seconds: float, model: str = OTHER) -> None:
        """From the request to the first part of the answer."""
        known = self._histograms["assay_gate_first_token_seconds"]
        self._observe(known.get(model) or known[OTHER], FIRST_S, seconds)

    def ended(self, model: str, tier: Tier | str, route: Route | str, outcome: str, seconds: float) -> None:
        """An answer ended after so long: `complete`, `client gone`, `upstream...`; any other word counts as cut."""
        at = self._answers.get((model, tier, route, outcome))
        if at is None:
            how = outcome if outcome in ("complete", "client gone") else "upstream" if outcome.startswith("upstream") else "cut"
            at = self._slot("assay_gate_answers", (self._known(model), _tier(tier), _route(route), how))
            if len(self._answers) < 1000:
                self._answers[(model, tier, route, outcome)] = at
        self._slots[at] += 1.0
        known = self._histograms["assay_gate_answer_seconds"]
        self._observe(known.get(model) or known[OTHER], ANSWER_S, seconds)

    def fsync(self, seconds: float) -> None:
        """One write of audit records to the disk took so long."""
        self._observe(self._fsync, FSYNC_S, seconds)

    def stream_opened(self, model: str) -> None:
        """A stream began."""
        self._slots[self._streams.get(model) or self._streams[OTHER]] += 1.0

    def stream_closed(self, model: str) -> None:
        """A stream ended, however."""
        self._slots[self._streams.get(model) or self._streams[OTHER]] -= 1.0

    def cut(self, model: str, streams: int = 1) -> None:
        """So many streams were cut off."""
        self._slots[self._slot("assay_gate_streams_cut", (self._known(model),))] += streams

    def quota_denied(self, model: str, tier: Tier | str) -> None:
        """No quota was left."""
        self._slots[self._slot("assay_gate_quota_denials", (self._known(model), _tier(tier)))] += 1.0

    def upstream_failed(self, model: str) -> None:
        """The upstream did not answer, or answered nonsense."""
        self._slots[self._slot("assay_gate_upstream_failures", (self._known(model),))] += 1.0

    def tokens(self, model: str, prompt: int, answer: int) -> None:
        """What was settled for a request."""
        model = self._known(model)
        self._slots[self._slot("assay_gate_tokens", (model, "prompt"))] += prompt
        self._slots[self._slot("assay_gate_tokens", (model, "answer"))] += answer

    def audit_queue(self, records: int) -> None:
        """So many audit records wait for the disk."""
        self._slots[self._queue] = float(records)

    def heard(self, epoch: int, at: float) -> None:
        """The store was heard of at this Unix time in seconds, and had this epoch (microseconds)."""
        self._slots[self._epoch] = float(epoch)
        self._slots[self._heard] = at

    def view(self, epoch: int, age: float) -> None:
        """The store was heard of `age` seconds ago, and had this epoch."""
        self.heard(epoch, time.time() - age)

    def release(self, model: str, expires_ms: int) -> None:
        """The release that a served model has ends then (Unix milliseconds); 0 where it has none that holds."""
        at = self._expiry.get(model)
        if at is not None:
            self._slots[at] = expires_ms / 1000

    def close(self) -> None:
        """Counts no more; what was counted stays."""
        self._names.close()

    def _known(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _request(self, model: str, tier: str, route: str, decision: str, rule: str) -> int:
        given = (model, tier, route, decision, rule)
        if rule not in self._rules:
            if len(self._rules) > MAX_RULES or not _RULE.match(rule):
                rule = OTHER
            self._rules.add(rule)
        decision = decision if decision in ("allow", "deny") else OTHER
        at = self._slot("assay_gate_requests", (self._known(model), _tier(tier), _route(route), decision, rule))
        if len(self._requests) < SLOTS:  # names that callers invent are not kept
            self._requests[given] = at
        return at

    def _slot(self, name: str, labels: Key, part: str = "") -> int:
        at = self._at.get((name, *labels, part))
        if at is None:
            if self._free >= SLOTS:
                return SLOTS - 1  # never read: nothing bounded comes here, and nothing is worth failing a request
            at, self._free = self._free, self._free + 1
            self._names.write(msgspec.json.encode(Named(name, labels, part, at)) + b"\n")
            self._at[(name, *labels, part)] = at
        return at

    def _histogram(self, name: str, labels: Key) -> int:
        """The first of the slots of a histogram that lie side by side: one for each bucket, one for what is above, one for the sum."""
        bounds = HISTOGRAMS[name][2]
        first = self._slot(name, labels, str(bounds[0]))
        for part in (*map(str, bounds[1:]), "+Inf", "sum"):
            self._slot(name, labels, part)
        return first

    def _observe(self, first: int, bounds: tuple[float, ...], seconds: float) -> None:
        slots = self._slots
        slots[first + bisect_left(bounds, seconds)] += 1.0
        slots[first + len(bounds) + 1] += seconds


def _tier(tier: str) -> str:
    return tier if tier in ("assessor", "operator", "general") else OTHER


def _route(route: str) -> str:
    return route if route in ("chat.completions", "responses", "embeddings", "models") else OTHER


def _open(folder: Path) -> tuple[_Lines, Numbers]:
    """The first numbered file that nobody holds, and its numbers."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = next((n for i in range(MAX_WORKERS) if (n := _Lines.taken(folder / f"{i}-{LAYOUT}.names"))), None)
        if names is None:
            raise MetricsError(f"more than {MAX_WORKERS} processes count here", where=str(folder))
        descriptor = os.open(names.path.with_suffix(".slots"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * 8)
            mapped = mmap.mmap(descriptor, SLOTS * 8)
        finally:
            os.close(descriptor)
    except OSError as e:
        raise MetricsError(f"cannot count here: {e.strerror}", where=str(folder)) from None
    return names, memoryview(mapped).cast("d")


class _Lines:
    """A file to which whole lines are appended, by the one process that holds it; a line that a crash left half is cut off first."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    @classmethod
    def taken(cls, path: Path) -> _Lines | None:
        """The file, held from now on; None if another holds it. (Who reads holds it for a moment, too: then the next one is taken.)"""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if not lock(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, path.read_bytes().rfind(b"\n") + 1)
        return cls(path, descriptor)

    def write(self, line: bytes) -> None:
        os.write(self._descriptor, line)

    def close(self) -> None:
        os.close(self._descriptor)


def lock(descriptor: int, how: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_names(path: Path) -> Iterator[Named]:
    """What the slots of a worker's file count. Raises `MetricsError`."""
    decoder = msgspec.json.Decoder(Named)
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        for line in lines:
            named = decoder.decode(line)
            if 0 < named.slot < SLOTS - 1 and named.name in {**COUNTERS, **HISTOGRAMS, **GAUGES}:
                yield named
    except (OSError, msgspec.MsgspecError) as e:
        raise MetricsError(f"cannot read what is counted: {e}", where=str(path), fix="Remove the folder: counting begins anew.") from None
