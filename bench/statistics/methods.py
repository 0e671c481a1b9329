"""A verdict for each of 600 separate cells, 5% family-wise, by the methods in use: calls, the lower bound beside them, and wrong verdicts.

This is another question than the gate's ('do all hold?'): every cell gets its own verdict, so every method but the two invalid ones pays
for 600 of them. Cells near their threshold stop undecided at `MOST` trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from assay.stats import e_bh, fixed_sample_plan, holm, log_e
from bench.statistics.gate import ALPHA, CELLS, TAU

LOOK = 25
MOST = 20_000
POWER = 0.9

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rule = Callable[[Floats, Floats, Floats, Floats], tuple[Bools, Bools]]
"""(log e approving, halting, as they stand; and their suprema) -> cells to approve, cells to halt."""


def rates(rng: np.random.Generator) -> Floats:
    """Most cells 0.5% to 2%, 12.7% of them bad at 6% to 65%."""
    p = np.exp(rng.uniform(math.log(0.005), math.log(0.02), CELLS))
    bad = rng.choice(CELLS, round(0.127 * CELLS), replace=False)
    p[bad] = rng.uniform(0.06, 0.65, len(bad))
    return np.asarray(p)


def lower_bound(p: Floats, right: float) -> float:
    """Sum over cells of kl(right, level) / kl(p, tau) at the Bonferroni level (Wald; Garivier and Kaufmann 2019).

    `right` is the chance of the right verdict. A method that controls less than family-wise error may lie below.
    """
    level = ALPHA / CELLS

    def kl(a: Floats, b: float) -> Floats:
        return np.asarray(a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b)))

    return float((kl(np.array(min(right, 1 - 1e-9)), level) / kl(p, TAU)).sum())


def _bonferroni(now_a: Floats, now_h: Floats, sup_a: Floats, sup_h: Floats) -> tuple[Bools, Bools]:
    need = math.log(CELLS / ALPHA)
    return sup_a >= need, sup_h >= need


def _holm(now_a: Floats, now_h: Floats, sup_a: Floats, sup_h: Floats) -> tuple[Bools, Bools]:
    return holm(sup_a, ALPHA), holm(sup_h, ALPHA)


def _e_bh(now_a: Floats, now_h: Floats, sup_a: Floats, sup_h: Floats) -> tuple[Bools, Bools]:
    return e_bh(now_a, ALPHA), e_bh(now_h, ALPHA)


def mixture(p: Floats, rng: np.random.Generator, rule: Rule) -> tuple[int, Bools, Bools]:
    """Calls, approved and halted cells: every undecided cell gets 25 trials, then the rule looks. A decided cell's e-values stay."""
    s, n = np.zeros(CELLS), np.zeros(CELLS)
    now_a, now_h = np.zeros(CELLS), np.zeros(CELLS)
    sup_a, sup_h = np.zeros(CELLS), np.zeros(CELLS)
    approved, halted = np.zeros(CELLS, bool), np.zeros(CELLS, bool)
    active = np.ones(CELLS, bool)
    while active.any():
        s[active] += rng.binomial(LOOK, p[active])
        n[active] += LOOK
        now_a[active], now_h[active] = log_e(s[active], n[active], TAU, "approve"), log_e(s[active], n[active], TAU, "halt")
        sup_a, sup_h = np.maximum(sup_a, now_a), np.maximum(sup_h, now_h)
        a, h = rule(now_a, now_h, sup_a, sup_h)
        approved, halted = approved | (a & active), halted | (h & active)
        active &= ~(approved | halted) & (n < MOST)
    return int(n.sum()), approved, halted


def sprt(p: Floats, rng: np.random.Generator) -> tuple[int, Bools, Bools]:
    """Wald's tests of tau / 2 and of 2 tau, each against tau, Bonferroni."""

    def evidence(s: Floats, n: Floats) -> Floats:
        approve, halt = (s * math.log(q / TAU) + (n - s) * math.log((1 - q) / (1 - TAU)) for q in (TAU / 2, 2 * TAU))
        return np.where(approve >= halt, np.maximum(approve, 0), -np.maximum(halt, 0))

    return _walk(p, rng, evidence, math.log(CELLS / ALPHA))


def wilson(p: Floats, rng: np.random.Generator) -> tuple[int, Bools, Bools]:
    """Stopping when a 95% Wilson interval leaves the threshold out: not valid, and often done."""

    def distance(s: Floats, n: Floats) -> Floats:
        z = 1.959963984540054
        centre, half = (s + z * z / 2) / (n + z * z), z * np.sqrt(s * (n - s) / n + z * z / 4) / (n + z * z)
        return np.where(centre + half < TAU, 1.0, np.where(centre - half > TAU, -1.0, 0.0))

    return _walk(p, rng, distance, 0.5)


def _walk(p: Floats, rng: np.random.Generator, evidence: Callable[[Floats, Floats], Floats], need: float) -> tuple[int, Bools, Bools]:
    s, n, found = np.zeros(CELLS), np.zeros(CELLS), np.zeros(CELLS)
    active = np.ones(CELLS, bool)
    while active.any():
        s[active] += rng.binomial(LOOK, p[active])
        n[active] += LOOK
        e = evidence(s[active], n[active])
        found[active] = np.where(e >= need, 1, np.where(e <= -need, -1, 0))
        active &= (found == 0) & (n < MOST)
    return int(n.sum()), found == 1, found == -1


def fixed_exact(p: Floats, rng: np.random.Generator) -> tuple[int, Bools, Bools]:
    """Exact binomial tests in both directions, their size planned for 90% power at tau / 2, Bonferroni."""
    n, limit = fixed_sample_plan(TAU, ALPHA / CELLS, POWER)
    s = rng.binomial(n, p)
    tail = _upper_tail(n)
    return n * CELLS, s <= limit, tail[s] <= ALPHA / CELLS


def _upper_tail(n: int) -> Floats:
    """P(S >= s) at tau, s = 0..n."""
    s = np.arange(n + 1)
    log_p = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in s])
    log_p += s * math.log(TAU) + (n - s) * math.log1p(-TAU)
    return np.asarray(np.cumsum(np.exp(log_p)[::-1])[::-1])


def fixed_point(p: Floats, rng: np.random.Generator) -> tuple[int, Bools, Bools]:
    """100 trials a cell, and the observed share against the threshold: what benchmarks do."""
    s = rng.binomial(100, p)
    return 100 * CELLS, s <= 100 * TAU, s > 100 * TAU


METHODS: dict[str, Callable[[Floats, np.random.Generator], tuple[int, Bools, Bools]]] = {
    "fixed n, exact, Bonferroni": fixed_exact,
    "fixed n = 100, observed share": fixed_point,
    "peeking at a Wilson interval": wilson,
    "SPRT, tau/2 and 2 tau, Bonferroni": sprt,
    "mixture, Bonferroni": lambda p, rng: mixture(p, rng, _bonferroni),
    "mixture, Holm": lambda p, rng: mixture(p, rng, _holm),
    "mixture, e-BH (false discoveries)": lambda p, rng: mixture(p, rng, _e_bh),
}


def methods_table(replicates: int, seed: int) -> list[dict[str, float | str]]:
    """One row per method: mean calls, their ratio to the bound, matrices with a wrong approval or halt, undecided cells, wrong share."""
    rows: list[dict[str, float | str]] = []
    for name, method in METHODS.items():
        rng = np.random.default_rng([seed, 77])
        calls, seen, right, wrong_a, wrong_h, undecided, false = [], [], 0, 0, 0, 0, []
        for _ in range(replicates):
            p = rates(rng)
            n, approved, halted = method(p, np.random.default_rng(rng.integers(2**63)))
            calls.append(n)
            seen.append(p)
            right += int((approved & (p <= TAU)).sum() + (halted & (p > TAU)).sum())
            wrong_a += bool((approved & (p > TAU)).any())
            wrong_h += bool((halted & (p <= TAU)).any())
            undecided += int((~(approved | halted)).sum())
            mistakes = (approved & (p > TAU)) | (halted & (p <= TAU))
            false.append(float(mistakes.sum()) / max(1, int((approved | halted).sum())))
        bound = float(np.mean([lower_bound(p, right / replicates / CELLS) for p in seen]))
        rows.append(
            {
                "method": name, "replicates": replicates, "calls": float(np.mean(calls)), "lower_bound": bound,
                "calls_over_bound": float(np.mean(calls)) / bound, "matrices_with_wrong_approval": wrong_a / replicates,
                "matrices_with_wrong_halt": wrong_h / replicates, "false_verdicts": float(np.mean(false)),
                "undecided_cells": undecided / replicates,
            }
        )  # fmt: skip
    return rows
