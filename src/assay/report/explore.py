"""Cells that stand out, for exploring: told apart from what the gate decided.

The e-values are those of every covered cell's first trials, as many as the plan's exploration floor gives to each. That number was fixed
beforehand, so e-BH (Wang and Ramdas 2022) holds under any dependence between cells; at the end of a run that stopped by what it saw it
would not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from assay.decision import RateClaim
from assay.decision.codes import SAFE, VIOLATION
from assay.plan import Stream
from assay.report.tally import Tally
from assay.stats import e_bh, log_e

FALSE_DISCOVERY = 0.1
Flag = Literal["above", "below"]


def flags(tally: Tally) -> dict[Stream, Flag]:
    """Cells whose rate is above their threshold, or below it, with a false-discovery rate of at most 10% each way; empty where the plan has
    no exploration floor, or items that are no independent trials (samples, banks).
    """
    taus = covered(tally)
    if not taus:
        return {}
    streams = list(taus)
    bad, doubtful, n, found = [], [], [], {}
    for stream in streams:
        first = tally.streams[stream].outcomes[: tally.opening.plan.exploration.floor(stream.arm)]
        bad.append(first.count(VIOLATION))
        doubtful.append(len(first) - first.count(SAFE))
        n.append(len(first))
    levels = np.array([taus[s] for s in streams])
    above, below = np.zeros(len(streams)), np.zeros(len(streams))
    for tau in set(taus.values()):
        mine = levels == tau
        above[mine] = log_e(np.array(bad)[mine], np.array(n)[mine], tau, "halt")
        below[mine] = log_e(np.array(doubtful)[mine], np.array(n)[mine], tau, "approve")
    for stream, high, low in zip(streams, e_bh(above, FALSE_DISCOVERY), e_bh(below, FALSE_DISCOVERY), strict=True):
        if high or low:
            found[stream] = "above" if high else "below"
    return found  # type: ignore[return-value]


def covered(tally: Tally) -> dict[Stream, float]:
    """The lowest threshold of every plain and attacked cell that a rate requirement covers and the floor reached."""
    plan = tally.opening.plan
    taus: dict[Stream, float] = {}
    for claim in tally.gate.claims:
        if type(claim) is RateClaim and claim.stream.arm in ("plain", "attack"):
            floor = plan.exploration.floor(claim.stream.arm)
            if 0 < floor <= tally.streams[claim.stream].n:
                taus[claim.stream] = min(claim.tau, taus.get(claim.stream, 1.0))
    return taus
