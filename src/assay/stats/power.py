"""What a claim's two tests would do at any true rate, exactly.

approve, halt = verdict_chances([0.01, 0.05, 0.1], RateTest(0.05, "approve", 0.05), RateTest(0.05, "halt", 0.01), trials=500)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.stats.rates import RateTest

Floats = NDArray[np.float64]


def verdict_chances(rates: Sequence[float], approve: RateTest, halt: RateTest, trials: int) -> tuple[Floats, Floats]:
    """P(approved) and P(halted) within `trials` independent trials at each true rate, both of shape (len(rates),).

    Dynamic programming over (n, S) with absorption at the first boundary that is reached, for all rates at once. Only counts between the
    two boundaries are still undecided, so the work is that of the strip between them. ValueError for a rate outside [0, 1].
    """
    p = np.asarray(rates, dtype=np.float64)[:, None]
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("every rate must lie in [0, 1]")
    approved, halted = np.zeros(len(p)), np.zeros(len(p))
    alive, low = np.ones((len(p), 1)), 0  # chances of S = low, low + 1, ... among what is undecided
    for n in range(1, trials + 1):
        grown = np.zeros((len(p), alive.shape[1] + 1))
        grown[:, :-1] = alive * (1 - p)
        grown[:, 1:] += alive * p
        cut = max(0, approve.limit(n) + 1 - low)
        end = max(cut, min(grown.shape[1], halt.limit(n) - low))
        approved += grown[:, :cut].sum(axis=1)
        halted += grown[:, end:].sum(axis=1)
        alive, low = grown[:, cut:end], low + cut
        if alive.shape[1] == 0:
            break
    return approved, halted
