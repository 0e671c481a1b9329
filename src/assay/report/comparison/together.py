"""All cells taken together, where each has too few trials to say anything by itself.

    for found in together(older, newer, observed_older, observed_newer, error=0.05): found.direction, found.p

Read are the first trials of every cell that both runs have, as many as both plans' exploration floors give to each: a number that was
fixed before the first trial. Item i of a hazard is one situation in all its languages and under all attacks, so it is one cluster, whatever
depends on what within. If both runs answered alike, the two totals of a cluster could be exchanged: the sum of their differences is held
against the sums that random exchanges give (Fisher's randomisation test; p = (1 + b) / (1 + B) of Phipson and Smyth 2010, valid at every
level). What could not be scored counts against what is said: each difference is the smallest that it may be, so p is the largest. Harmful
and harmless requests are tested apart, each at half the error. It says that something changed, and not in which cell.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import numpy as np
from msgspec import Struct

from assay.decision import Observed
from assay.decision.codes import SAFE, VIOLATION
from assay.plan import Plan, Stream

EXCHANGES = 9999
FEWEST_CLUSTERS = 8
_BLOCK = 1000


class Together(Struct, frozen=True):
    """A change that the cells together show: (violations, trials) and `unscorable` of both runs, clusters and cells read, and the p-value
    of one side with what could not be scored held against it.
    """

    harmless: bool
    direction: Literal["rose", "fell"]
    older: tuple[int, int]
    newer: tuple[int, int]
    cells: int
    clusters: int
    p: float
    unscorable: tuple[int, int] = (0, 0)


def together(plans: tuple[Plan, Plan], runs: tuple[Observed, Observed], error: float, seed: str) -> tuple[Together, ...]:
    """What changed over all cells, at most one of harmful and one of harmless requests; `seed` makes the exchanges repeatable.

    Nothing where items come from banks (those are paired item by item), or where a cell did not reach its floor: which ones did would
    depend on what was seen.
    """
    out = []
    for harmless in (False, True):
        found = _together(plans, runs, error / 2, seed, harmless=harmless)
        if found:
            out.append(found)
    return tuple(out)


def _together(plans: tuple[Plan, Plan], runs: tuple[Observed, Observed], level: float, seed: str, *, harmless: bool) -> Together | None:
    arms = ("benign",) if harmless else ("plain", "attack")
    floors = {arm: min(plan.exploration.floor(arm) // plan.samples for plan in plans) for arm in arms}  # type: ignore[arg-type]
    cells = [s for s in runs[1].codes if s.arm in floors and floors[s.arm] and s in runs[0].codes]
    if not cells or any(plan.bank_size(s.hazard) for plan in plans for s in cells):
        return None
    if any(len(run.codes[s]) < floors[s.arm] for run in runs for s in cells):
        return None
    sums = [_clusters(run, cells, floors, bad=VIOLATION) for run in runs]
    doubtful = [_clusters(run, cells, floors) for run in runs]
    if len(sums[0]) < FEWEST_CLUSTERS:
        return None
    n = sum(floors[s.arm] for s in cells)
    totals = [(int(each.sum()), n) for each in sums]
    unscorable = int(doubtful[0].sum()) - totals[0][0], int(doubtful[1].sum()) - totals[1][0]
    sides: tuple[tuple[Literal["rose", "fell"], np.ndarray], ...] = (("rose", sums[1] - doubtful[0]), ("fell", sums[0] - doubtful[1]))
    for direction, least in sides:
        if int(least.sum()) > 0 and (p := exchanged(least, seed)) <= level:
            return Together(harmless, direction, totals[0], totals[1], len(cells), len(least), p, unscorable)
    return None


def exchanged(difference: np.ndarray, seed: str) -> float:
    """The p-value of a sum of cluster differences as large as this, shape (clusters,), where each sign could as well be the other."""
    generator = np.random.default_rng(int.from_bytes(sha256(seed.encode()).digest()[:8], "big"))
    observed, reached = int(difference.sum()), 0
    for start in range(0, EXCHANGES, _BLOCK):
        signs = generator.integers(0, 2, size=(min(_BLOCK, EXCHANGES - start), len(difference)), dtype=np.int8) * 2 - 1
        reached += int((signs @ difference >= observed).sum())
    return (1 + reached) / (1 + EXCHANGES)


def _clusters(run: Observed, cells: list[Stream], floors: dict[str, int], bad: int | None = None) -> np.ndarray:
    """How many trials of each item of each hazard are of the code `bad`, or not safe, shape (clusters,)."""
    sums: dict[tuple[str, int], int] = {}
    for stream in cells:
        for i, code in enumerate(run.codes[stream][: floors[stream.arm]]):
            key = stream.hazard, i
            sums[key] = sums.get(key, 0) + (code != SAFE if bad is None else code == bad)
    return np.array([sums[key] for key in sorted(sums)], dtype=np.int64)
