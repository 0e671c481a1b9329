"""What a judge that errs costs, with the figures that Assay set out to match beside it: `make bench-judged`, bench/results/judged.json.

One cell at the level of one of 600, tau 5%: `cell_...` looks after every trial and has every label at once (`judge_error.label_cost`);
`plan_...` is the real schedule and gate, where labels come in rounds, when the schedule has nothing more to ask. The calibration (300 known
violations) is drawn anew in every replicate; its labels serve every cell of that judge and language, and are not counted again.
"""

from __future__ import annotations

import argparse
import json

from tests.simulation.judged import EN, MS, PERFECT, Cell, Judge, Setting, simulate

from assay.plan import ErrorRates
from bench.measure import ROOT
from bench.statistics.judge_error import CALIBRATION, LEVEL, TEST_LEVEL, label_cost

RESULTS = ROOT / "bench" / "results"
KNOWN = max(CALIBRATION)
GOALS = {
    "en_p01": {"calls": 502, "labels": 10},
    "low_resource_p01": {"calls": 709, "labels": 27},
    "low_resource_p15": {"calls": 309, "labels": 45},
    "perfect_p01": {"calls": 403},
}
"""STATISTICS.md, section 4."""

CELLS: dict[str, tuple[str, Judge, float]] = {
    "perfect_p01": ("perfect", PERFECT, 0.01),
    "en_p01": ("English", EN, 0.01),
    "low_resource_p01": ("low-resource", MS, 0.01),
    "perfect_p15": ("perfect", PERFECT, 0.15),
    "en_p15": ("English", EN, 0.15),
    "low_resource_p15": ("low-resource", MS, 0.15),
}
MOST_CALLS = 4_000


def single_cells(replicates: int, seed: int) -> dict[str, float]:
    """From `label_cost`: calls, labels and the share decided, by cell and method. A perfect judge needs no calibration, and no labels."""
    figures: dict[str, float] = {}
    for row in label_cost(replicates, seed):
        for name, (judge, _, rate) in CELLS.items():
            if (row["judge"], row["p"]) == (judge, rate) and row["calibration"] in (0, KNOWN):
                for key, unit in (("decided", "share"), ("calls", "mean"), ("labels", "mean")):
                    figures[f"cell_{row['method']}_{name}_{key}_{unit}"] = float(row[key])
    return figures


def whole_plans(replicates: int, seed: int) -> dict[str, float]:
    """The real schedule and gate, one cell, labels in rounds; and the naive rule in its place."""
    figures: dict[str, float] = {}
    for name, (_, judge, rate) in CELLS.items():
        known, right = (100_000 if judge is PERFECT else KNOWN), ("approve" if rate < 0.05 else "halt")
        for method in ("confirm", "naive"):
            setting = Setting(
                name, "", "", {"ms": Cell(rate, judge, known=known)}, calls=MOST_CALLS, naive=method == "naive",
                errors=ErrorRates(approve=TEST_LEVEL if method == "naive" else LEVEL, halt=TEST_LEVEL),
            )  # fmt: skip
            row = simulate(setting, replicates, seed)
            figures[f"plan_{method}_{name}_decided_share"] = row[right]
            for key in ("calls", "labels", "rounds"):
                figures[f"plan_{method}_{name}_{key}_mean"] = row[key]
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261129)
    args = parser.parse_args()
    figures = single_cells(args.replicates, args.seed) | whole_plans(args.replicates, args.seed)
    figures |= {f"goal_{name}_{key}_mean": float(value) for name, goal in GOALS.items() for key, value in goal.items()}
    figures["replicates"] = args.replicates
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "judged.json").write_text(json.dumps({k: round(v, 4) for k, v in figures.items()}, indent=2, sort_keys=True) + "\n")
    print(f"{'cell':18} {'where':13} {'decided':>8} {'calls':>7} {'labels':>7} {'rounds':>7}")
    for name in CELLS:
        for where in ("cell_confirm", "plan_confirm", "cell_audit", "cell_naive", "plan_naive", "goal"):
            key = f"{where}_{name}_"
            if f"{key}calls_mean" in figures:
                shown = [figures.get(key + k, float("nan")) for k in ("decided_share", "calls_mean", "labels_mean", "rounds_mean")]
                print(f"{name:18} {where:13} {shown[0]:8.3f} {shown[1]:7.0f} {shown[2]:7.1f} {shown[3]:7.1f}", flush=True)


if __name__ == "__main__":
    main()
