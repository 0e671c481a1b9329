"""What a judge's errors do to an interval, and what deciding in spite of them costs: `python -m bench.statistics.judge_error`.

Coverage: every method sees the same 2,000 outputs of a model, and as many labels as it may have. Intervals from labels of the outputs
themselves take them at random (PPI) or by verdict (stratified: up to half for the flagged, the rest for the unflagged); intervals from a
calibration set take half known violations, half known safe outputs.

Cost: calls and labels of one cell until it is decided, at the level of one of 600 cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assay.stats.judge_error import (
    AuditTest,
    ConfirmedRateTest,
    JudgeTable,
    Stratum,
    naive_interval,
    plug_in_interval,
    ppi_interval,
    ppi_plus_plus_interval,
    rogan_gladen_exact_interval,
    rogan_gladen_interval,
    stratified_interval,
)
from assay.stats.rates import RateTest, Side

JUDGES = {"English": (0.97, 0.99), "low-resource": (0.80, 0.97)}  # sensitivity, specificity
RATES = (0.005, 0.02, 0.05, 0.3)
LABELS = (100, 300)
OUTPUTS = 2_000
NOMINAL = 0.95
RECOMMENDED = ("stratified", "rogan-gladen exact")

TAU = 0.05
TEST_LEVEL = 0.04 / 600
LEVEL = 0.05 / 600  # of which a fifth is for the sensitivity
CALIBRATION = (200, 300)
AUDIT_RATE = 0.1
AUDIT_LOOK = 25
SETTINGS: tuple[tuple[Side, float], ...] = (("approve", 0.01), ("halt", 0.15))
MOST_TRIALS = 4_000
MOST_AUDITED_TRIALS = 12_000

Ints = NDArray[np.int64]
Interval = tuple[float, float]


def coverage_table(replicates: int, seed: int) -> list[dict[str, float | str]]:
    """One row per judge, rate, number of labels and method: how often the interval holds the rate, its mean width, what is nominal."""
    rows: list[dict[str, float | str]] = []
    for judge, (se, sp) in JUDGES.items():
        for p in RATES:
            for labels in LABELS:
                rng = np.random.default_rng([seed, len(rows)])
                for method, (function, counts) in _samples(rng, replicates, se, sp, p, labels).items():
                    low, high = _intervals(function, counts)
                    rows.append(
                        {
                            "judge": judge, "p": p, "labels": labels, "method": method,
                            "coverage": float(np.mean((low <= p) & (p <= high))), "width": float(np.mean(high - low)), "nominal": NOMINAL,
                        }
                    )  # fmt: skip
    return rows


def _samples(
    rng: np.random.Generator, replicates: int, se: float, sp: float, p: float, labels: int
) -> dict[str, tuple[Callable[..., Interval], Ints]]:
    """Method -> its function of whole numbers, and these numbers for every replicate, shape (replicates, how many)."""
    cells = np.array([p * se, p * (1 - se), (1 - p) * sp, (1 - p) * (1 - sp)])  # caught, missed, cleared, alarms
    drawn = rng.multinomial(labels, cells, replicates)
    rest = rng.multinomial(OUTPUTS - labels, cells, replicates)
    whole = drawn + rest
    flagged, flagged_rest = whole[:, 0] + whole[:, 3], rest[:, 0] + rest[:, 3]

    of_flagged = np.minimum(flagged, labels // 2)
    of_unflagged = labels - of_flagged
    found = rng.hypergeometric(whole[:, 0], whole[:, 3], of_flagged)
    slipped = rng.hypergeometric(whole[:, 1], whole[:, 2], of_unflagged)

    known = labels // 2
    caught, cleared = rng.binomial(known, se, replicates), rng.binomial(known, sp, replicates)
    elsewhere = np.column_stack((flagged, caught, known - caught, cleared, known - cleared))
    powered = np.column_stack((flagged_rest, drawn))

    def on_outputs(method: Callable[[int, int, JudgeTable], Interval], outputs: int) -> Callable[..., Interval]:
        return lambda count, *table: method(count, outputs, JudgeTable(*table))

    return {
        "stratified": (
            lambda flags, m1, k1, m0, k0: stratified_interval(Stratum(flags, m1, k1), Stratum(OUTPUTS - flags, m0, k0)),
            np.column_stack((flagged, of_flagged, found, of_unflagged, slipped)),
        ),
        "rogan-gladen exact": (on_outputs(rogan_gladen_exact_interval, OUTPUTS), elsewhere),
        "lang-reiczigel": (on_outputs(rogan_gladen_interval, OUTPUTS), elsewhere),
        "plug-in": (on_outputs(plug_in_interval, OUTPUTS), elsewhere),
        "ppi": (on_outputs(ppi_interval, OUTPUTS - labels), powered),
        "ppi++": (on_outputs(ppi_plus_plus_interval, OUTPUTS - labels), powered),
        "naive": (lambda flags: naive_interval(flags, OUTPUTS), flagged[:, None]),
    }


def _intervals(function: Callable[..., Interval], counts: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends for every row of counts; equal rows are computed once."""
    distinct, place = np.unique(counts, axis=0, return_inverse=True)
    ends = np.array([function(*row) for row in distinct.tolist()])[place.ravel()]
    return ends[:, 0], ends[:, 1]


def label_cost(replicates: int, seed: int) -> list[dict[str, float | str]]:
    """One row per judge, rate and method: calls and people's labels until one cell is decided, tau 5%, test level 0.04/600.

    "confirm" looks after every trial; its labels are those of flagged outputs. Approving, its sensitivity bound at level 0.01/600 comes
    from `calibration` known violations, which serve every cell of that judge and language and are not counted again. "audit" draws a tenth
    of the unflagged outputs, looks every 25 trials, and gets a tenth of the replicates. "naive" takes flagged outputs for violations.
    Undecided replicates count with the most trials that a replicate may take.
    """
    rows: list[dict[str, float | str]] = []
    for judge, (se, sp) in ({"perfect": (1.0, 1.0)} | JUDGES).items():
        for side, p in SETTINGS:
            rng = np.random.default_rng([seed, len(rows)])
            for calibration in CALIBRATION if side == "approve" and se < 1 else (0,):
                found = [_confirm(rng, se, sp, p, side, calibration) for _ in range(replicates)]
                rows.append(_cost_row(judge, "confirm", p, side, calibration, found, MOST_TRIALS))
            if se < 1:
                audited = [_audit(rng, se, sp, p, side) for _ in range(max(10, replicates // 10))]
                rows.append(_cost_row(judge, "audit", p, side, 0, audited, MOST_AUDITED_TRIALS))
                naive = [_naive(rng, se, sp, p, side) for _ in range(replicates)]
                rows.append(_cost_row(judge, "naive", p, side, 0, naive, MOST_TRIALS))
    return rows


def _cost_row(
    judge: str, method: str, p: float, side: Side, calibration: int, found: list[tuple[int | None, int]], most: int
) -> dict[str, float | str]:
    return {
        "judge": judge, "method": method, "p": p, "side": side, "calibration": calibration,
        "decided": float(np.mean([calls is not None for calls, _ in found])),
        "calls": float(np.mean([most if calls is None else calls for calls, _ in found])),
        "labels": float(np.mean([labels for _, labels in found])),
    }  # fmt: skip


def _stream(rng: np.random.Generator, se: float, sp: float, p: float, trials: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each output is a violation and whether it is flagged, shape (trials,) each."""
    violation = rng.random(trials) < p
    return violation, rng.random(trials) < np.where(violation, se, 1 - sp)


def _confirm(rng: np.random.Generator, se: float, sp: float, p: float, side: Side, calibration: int) -> tuple[int | None, int]:
    """Calls until it is decided, or None, and labels."""
    violation, flagged = _stream(rng, se, sp, p, MOST_TRIALS)
    caught = int(rng.binomial(calibration, se))
    calls = _first(violation & flagged, _limits(side, caught, calibration - caught), side)
    return calls, int(flagged[:calls].sum())


@lru_cache(maxsize=256)
def _limits(side: Side, caught: int, missed: int) -> NDArray[np.int64]:
    """The boundary at 1, 2, ... trials, shape (MOST_TRIALS,); a perfect judge (no calibration) is tested against tau itself."""
    if side == "approve" and caught + missed:
        test = ConfirmedRateTest(TAU, side, LEVEL)
        assert test.sensitivity is not None
        test.sensitivity.add(caught, missed)
        return np.array([test.limit(n) for n in range(1, MOST_TRIALS + 1)])
    plain = RateTest(TAU, side, TEST_LEVEL)
    return np.array([plain.limit(n) for n in range(1, MOST_TRIALS + 1)])


def _first(found: NDArray[np.bool_], limits: NDArray[np.int64], side: Side) -> int | None:
    """The first trial at which the boundary is reached."""
    sums = np.cumsum(found)
    reached = np.flatnonzero(sums <= limits if side == "approve" else sums >= limits)
    return int(reached[0]) + 1 if reached.size else None


def _audit(rng: np.random.Generator, se: float, sp: float, p: float, side: Side) -> tuple[int | None, int]:
    violation, flagged = _stream(rng, se, sp, p, MOST_AUDITED_TRIALS)
    drawn = ~flagged & (rng.random(MOST_AUDITED_TRIALS) < AUDIT_RATE)
    confirmed, slipped, labels = (np.cumsum(v) for v in (violation & flagged, violation & drawn, flagged | drawn))
    test = AuditTest(TAU, side, TEST_LEVEL, AUDIT_RATE)
    for n in range(AUDIT_LOOK, MOST_AUDITED_TRIALS + 1, AUDIT_LOOK):
        if test.rejects(n, int(confirmed[n - 1]), int(slipped[n - 1])):
            return n, int(labels[n - 1])
    return None, int(labels[-1])


def _naive(rng: np.random.Generator, se: float, sp: float, p: float, side: Side) -> tuple[int | None, int]:
    return _first(_stream(rng, se, sp, p, MOST_TRIALS)[1], _limits(side, 0, 0), side), 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261123)
    args = parser.parse_args()
    print(f"{'judge':13} {'p':>6} {'labels':>6} {'method':20} {'coverage':>8} {'width':>7}  nominal {NOMINAL}")
    for row in coverage_table(args.replicates, args.seed):
        line = f"{row['judge']:13} {row['p']:6.3f} {row['labels']:6} {row['method']:20} {row['coverage']:8.3f} {row['width']:7.4f}"
        print(line + ("  recommended" if row["method"] in RECOMMENDED else ""), flush=True)
    print()
    print(f"{'judge':13} {'method':8} {'p':>5} {'side':8} {'calibration':>11} {'decided':>8} {'calls':>7} {'labels':>7}")
    for row in label_cost(args.replicates, args.seed):
        line = f"{row['judge']:13} {row['method']:8} {row['p']:5.2f} {row['side']:8} {row['calibration']:11} {row['decided']:8.3f}"
        print(line + f" {row['calls']:7.0f} {row['labels']:7.1f}", flush=True)


if __name__ == "__main__":
    main()
