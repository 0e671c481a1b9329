"""The counts of all workers together, in Prometheus' text format.

    exposition(folder)        # bytes; what `/metrics` answers
    read_counts(folder)       # by metric, labels and part: what each worker counted

Counters and histograms are sums over all files, of workers that live and that lived; of what is now (streams, queue, epoch), only workers
that live count.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from assay.access.gate.metrics import COUNTERS, GAUGES, HISTOGRAMS, LAYOUT, SLOTS, Key, lock, read_names

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(folder: Path, now: float | None = None) -> bytes:
    """The sums of all workers that counted in this folder, in Prometheus' text format 0.0.4. Needs the extra `access`."""
    from prometheus_client import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    families = list(_families(folder, time.time() if now is None else now))

    class _All(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All())
    return generate_latest(registry)


def read_counts(folder: Path) -> dict[Key, list[float]]:
    """What each worker counted, by metric, labels and part; of gauges only workers that live."""
    out: dict[Key, list[float]] = {}
    for path in sorted(folder.glob(f"*-{LAYOUT}.names")):
        try:
            data = path.with_suffix(".slots").read_bytes()
        except OSError:
            continue
        slots = memoryview(data[: SLOTS * 8]).cast("d") if len(data) >= SLOTS * 8 else memoryview(b"").cast("d")
        if not len(slots):
            continue
        living = _held(path)
        for named in read_names(path):
            if living or named.name not in GAUGES:
                out.setdefault((named.name, *named.labels, named.part), []).append(slots[named.slot])
    return out


def _families(folder: Path, now: float) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    counts = read_counts(folder)
    for name, (text, labels) in COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=labels)
        for key, values in counts.items():
            if key[0] == name:
                counter.add_metric(key[1:-1], sum(values))
        yield counter
    for name, (text, labels, bounds) in HISTOGRAMS.items():
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for given in sorted({key[1:-1] for key in counts if key[0] == name}):
            buckets, total = [], 0.0
            for part in (*map(str, bounds), "+Inf"):
                total += sum(counts.get((name, *given, part), ()))
                buckets.append((part, total))
            histogram.add_metric(given, buckets, sum(counts.get((name, *given, "sum"), ())))
        yield histogram
    for name, (text, labels, how) in GAUGES.items():
        found = {key[1:-1]: sum(values) if how == "sum" else min(values) for key, values in counts.items() if key[0] == name}
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for given, value in found.items():
            gauge.add_metric(given, value)
        yield gauge
        if name == "assay_gate_store_heard_timestamp_seconds" and found:
            yield GaugeMetricFamily("assay_gate_lease_age_seconds", "Since the store was last heard of.", max(now - found[()], 0.0))
        if name == "assay_gate_release_expiry_timestamp_seconds":
            left = GaugeMetricFamily("assay_gate_release_expiry_seconds", "Until a model's release ends; negative after.", labels=labels)
            for given, value in found.items():
                left.add_metric(given, value - now)
            yield left


def _held(path: Path) -> bool:
    """Whether a process that lives counts here. (Its number would not say so: another may have it by now.)"""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
