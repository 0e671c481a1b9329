"""Every statistical figure as one command, with the lower bound beside it: `make bench-statistics`.

Simulates the real scheduler and gate over 600 cells, computes both errors exactly, and tabulates coverage. Writes
bench/results/statistics.json (flat) and bench/results/statistics-tables.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from assay.stats import RateTest, clopper_pearson, crossing_probability
from bench.measure import ROOT
from bench.statistics import gate
from bench.statistics.judge_error import coverage_table, label_cost
from bench.statistics.methods import methods_table
from bench.statistics.trend import trend_table

RESULTS = ROOT / "bench" / "results"
EXACT_TRIALS = 4_000


def gate_rows(replicates: int, seed: int) -> tuple[list[dict[str, float | str]], dict[str, float]]:
    """Calls and errors of the gate in every setting; and the figures that the goals name."""
    rows: list[dict[str, float | str]] = []
    figures: dict[str, float] = {}
    for name, (rates_of, most) in gate.settings().items():
        rng = np.random.default_rng([seed, len(rows)])
        count = max(5, replicates // 10) if name == "good" else replicates
        verdicts: list[str] = []
        calls: list[int] = []
        bounds: list[float] = []
        began = time.process_time()
        for _ in range(count):
            rates = rates_of(rng)
            verdict, n = gate.play(rates, rng, most)
            verdicts.append(verdict)
            calls.append(n)
            bounds.append(gate.lower_bound(rates) if name == "good" else float("nan"))
        microseconds = 1e6 * (time.process_time() - began) / sum(calls)
        wrong = sum(
            v == {"good": "halt", "one_bad": "approve", "broken": "approve", "just_over": "approve"}.get(name, "halt") for v in verdicts
        )
        low, high = clopper_pearson(wrong, count)
        rows.append(
            {
                "setting": name, "replicates": count, "mean_calls": float(np.mean(calls)), "p95_calls": float(np.percentile(calls, 95)),
                "approve": verdicts.count("approve") / count, "halt": verdicts.count("halt") / count, "wrong": wrong / count,
                "wrong_low": low, "wrong_high": high, "update_us": microseconds,
            }
        )  # fmt: skip
        print(f"{name:13} {rows[-1]}", flush=True)
        if name == "good":
            figures["approve_calls_over_bound"] = float(np.mean(np.array(calls) / np.array(bounds)))
            figures["approve_calls"] = float(np.mean(calls))
            figures["approve_lower_bound_calls"] = float(np.mean(bounds))
            figures["fixed_design_over_bound"] = gate.fixed_design() / float(np.mean(bounds))
            figures["update_us_600_cells"] = microseconds
        elif name in ("one_bad", "broken"):
            figures[f"{name}_halt_calls"] = float(np.mean(calls))
        elif name == "just_over":
            figures["false_approve_simulated"] = wrong / count
            figures["false_approve_simulated_high"] = high
        else:
            figures["false_halt_simulated"] = wrong / count
            figures["false_halt_simulated_high"] = high
    return rows, figures


def exact_errors() -> dict[str, float]:
    """Both errors by dynamic programming: one cell just above its threshold, and 600 independent cells exactly at theirs."""
    approve = crossing_probability(1.002 * gate.TAU, RateTest(gate.TAU, "approve", gate.ALPHA), EXACT_TRIALS)[-1]
    halt = crossing_probability(gate.TAU, RateTest(gate.TAU, "halt", gate.ALPHA / gate.CELLS), EXACT_TRIALS)[-1]
    return {"false_approve_exact": float(approve), "false_halt_exact": float(1 - (1 - halt) ** gate.CELLS)}


def coverage_figures(table: list[dict[str, float | str]]) -> dict[str, float]:
    """The least coverage of each interval over judges, rates and numbers of labels."""
    least: dict[str, float] = {}
    for row in table:
        name = f"coverage_least_{_key(str(row['method']))}"
        least[name] = min(least.get(name, 1.0), float(row["coverage"]))
    return least


def _key(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", words.lower().replace("++", " plus plus")).strip("_")


def show(name: str, table: list[dict[str, float | str]]) -> None:
    """A table on the terminal."""
    grid = Table(title=name.replace("_", " "), title_justify="left")
    for column in table[0]:
        grid.add_column(column, justify="right" if isinstance(table[0][column], int | float) else "left")
    for row in table:
        grid.add_row(*(f"{v:,.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=200).print(grid)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261123)
    args = parser.parse_args()
    figures = exact_errors()
    print(figures, flush=True)
    rows, more = gate_rows(args.replicates, args.seed)
    figures |= more
    tables: dict[str, list[dict[str, float | str]]] = {"gate": rows}
    tables["methods"] = methods_table(max(5, args.replicates // 5), args.seed)
    figures |= {f"{_key(str(r['method']))}_calls_over_bound": float(r["calls_over_bound"]) for r in tables["methods"]}
    tables["coverage"] = coverage_table(2 * args.replicates, args.seed)
    figures |= coverage_figures(tables["coverage"])
    tables["label_cost"] = label_cost(args.replicates, args.seed)
    tables["trend"] = trend_table(args.replicates, args.seed)
    for name, table in tables.items():
        show(name, table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "statistics.json").write_text(json.dumps({k: round(v, 5) for k, v in figures.items()}, indent=2, sort_keys=True) + "\n")
    (RESULTS / "statistics-tables.json").write_text(json.dumps(tables, indent=1) + "\n")
    for name, value in sorted(figures.items()):
        print(f"{name:32} {value:.5g}")


if __name__ == "__main__":
    main()
