"""Whether the target changed within the run: the same few items asked at the start, again and again, and at the end.

Each window of answers is compared with the first, item by item (`stats.trend.drift_within_run`). A run whose plan asks for this approves
only if at least two windows are whole, most anchors were scored in both the first and the last of them, and nothing moved.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from assay.decision.codes import UNSCORABLE
from assay.plan import Drift, Plan, Stream, anchors
from assay.stats.trend import drift_within_run


class Anchors:
    """Takes the anchors' outcomes as they are committed."""

    def __init__(self, plan: Plan) -> None:
        drift = plan.drift or Drift()
        self._level = drift.level
        self._each = anchors(plan)
        self._windows = 2 + plan.budget.calls // drift.every  # registered: as many as there can be
        self._codes: dict[Stream, bytearray] = {s: bytearray() for s in self._each}

    def add(self, stream: Stream, code: int) -> None:
        """The next outcome of an anchor stream."""
        self._codes[stream].append(code)
        self.__dict__.pop("_seen", None)

    @cached_property
    def _seen(self) -> tuple[int, int, bool]:
        """Whole windows, anchors that were scored in the first and in the last of them, and whether there was drift."""
        whole = min(len(self._codes[s]) // each for s, each in self._each.items())
        if whole < 2:
            return whole, 0, False
        table = np.full((max(self._windows, whole), sum(self._each.values())), np.nan)
        column = 0
        for stream, each in self._each.items():
            codes = self._codes[stream]
            for i in range(each):
                answers = np.array([c if c != UNSCORABLE else math.nan for c in codes[i::each]], dtype=np.float64)
                table[: len(answers), column] = answers
                column += 1
        compared = int((~np.isnan(table[0]) & ~np.isnan(table[whole - 1])).sum())
        return whole, compared, drift_within_run(list(table), self._level).drifted

    @property
    def steady(self) -> bool:
        """Whether it was tested, on most anchors, and nothing moved."""
        whole, compared, drifted = self._seen
        return whole >= 2 and 2 * compared > sum(self._each.values()) and not drifted

    @property
    def reason(self) -> str:
        """In words."""
        whole, compared, drifted = self._seen
        count = sum(self._each.values())
        if drifted:
            return f"the target changed within the run: {count} anchors, asked {whole} times, are not answered as at the start"
        if whole < 2:
            return f"not tested: {count} anchors were asked {whole} times, and it takes two"
        if not self.steady:
            return f"not tested: {count - compared} of {count} anchors could not be scored both at the start and at the end"
        return f"no drift shown: {count} anchors, asked {whole} times"

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [codes.hex() for codes in self._codes.values()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        for stream, codes in zip(self._codes, state, strict=True):
            self._codes[stream] = bytearray.fromhex(codes)
        self.__dict__.pop("_seen", None)
