"""An error rate over a sequence of tests that has no end.

Test j = 1, 2, ... is made at the level

    alpha_j = alpha / (j (j + 1)),        sum over j of alpha_j = alpha,

since 1 / (j (j + 1)) = 1/j - 1/(j + 1) telescopes. By the union bound (Boole) the chance that any of all the tests ever rejects wrongly is
at most alpha: however many there will be, whenever one stops, and whatever the tests depend on, for instance one reference that all share.
It is alpha spending (Lan and DeMets 1983, 'Discrete sequential boundaries for clinical trials', Biometrika 70) with infinitely many looks;
sequences of this kind are those of Javanmard and Montanari (2018, 'Online rules for control of false discovery rate', Annals of Statistics
46), used here for the family-wise error. The price is log(j (j + 1)) nats of evidence at test j: 9.3 at the hundredth, beside 3.0 for alpha
= 5%.

    level_of(1, 0.05), level_of(2, 0.05)        # 0.025, 0.00833...
    evidence_needed(100, 0.05)                  # 12.2 nats

Where test j itself chooses among c hypotheses by what was seen, each of them is tested at alpha_j / c.
"""

from __future__ import annotations

import math


def level_of(number: int, level: float, among: int = 1) -> float:
    """The level of test `number` (from 1) for each of `among` hypotheses. ValueError for a number below 1, or a level not in (0, 1)."""
    if number < 1 or among < 1:
        raise ValueError(f"tests and hypotheses are counted from 1, not {min(number, among)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    return level / (number * (number + 1)) / among


def evidence_needed(number: int, level: float, among: int = 1) -> float:
    """log e that test `number` must reach: log(1 / level_of(...)), in nats."""
    return -math.log(level_of(number, level, among))
