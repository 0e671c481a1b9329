"""Which item a trial of a stream asks, and for which time.

    draw = Draw(plan, seed)
    draw(stream, 7)          # (number of the item, number of the sample)

Without samples or a bank, trial i asks item i. With `samples` k, trial i asks item i // k for the (i % k)-th time. With a bank, trial i
asks the item at place i of a random order of the bank, the same order for a whole hazard, so that languages and arms stay paired. Anchors
are the same few items in every window; their numbers lie beyond those of all others.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from assay.plan import Plan, Stream, anchors
from assay.scenarios.prf import Prf

FIRST_ANCHOR = 1 << 40


class Draw:
    """Pure: (plan, seed, stream, index) -> (item, sample)."""

    def __init__(self, plan: Plan, seed: bytes) -> None:
        self._plan = plan
        self._seed = seed
        self._orders: dict[str, list[int]] = {}

    @cached_property
    def _anchors(self) -> dict[Stream, int]:
        return anchors(self._plan)

    def __call__(self, stream: Stream, index: int) -> tuple[int, int]:
        """Item and sample of trial `index`. ValueError beyond the end of a bank."""
        if stream.arm == "anchor":
            each = self._anchors.get(stream, 1)
            return FIRST_ANCHOR + index % each, index // each
        size = self._plan.bank_size(stream.hazard)
        if not size:
            return divmod(index, self._plan.samples)
        if index >= size:
            raise ValueError(f"a bank of {size} items has no item {index}")
        return self._order(stream.hazard)[index], 0

    @property
    def item_seed(self) -> bytes:
        """What items are made from: the bank's seed where there is one, else the run's."""
        return bytes.fromhex(self._plan.bank.seed) if self._plan.bank else self._seed

    def _order(self, hazard: str) -> list[int]:
        if hazard not in self._orders:
            size = self._plan.bank_size(hazard)
            keys = np.array([v >> 64 for v in Prf(self._seed).integers(size, "bank", hazard)], dtype=np.uint64)
            self._orders[hazard] = [int(i) for i in np.argsort(keys, kind="stable")]
        return self._orders[hazard]
