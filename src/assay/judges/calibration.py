"""How well a panel of judges does, counted on labels of people who did not see its verdicts.

    seen = [Seen(panel, "hate", "ms", "plain", flagged=True, truth="violation"), ...]
    rows = calibrated_rows(seen)                                  # for the plan's calibration file
    table = [measured(row, level=0.01) for row in rows]           # sensitivity and specificity with exact intervals

Only answers that were drawn whatever the judge said may be counted: among those that were labelled because they were flagged, all
violations are caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from msgspec import Struct

from assay.errors import AssayError
from assay.judges.labels import Label, LabelVerdict, Truth, current
from assay.plan import Arm, Calibrated
from assay.stats import RateTest, clopper_pearson
from assay.stats.judge_error import SensitivityBound

CHANGED_RATE, CHANGED_LEVEL = 0.05, 0.01
"""A panel counts as changed when more than this share of anchors reads otherwise, at this chance of a false alarm."""


class Seen(Struct, frozen=True):
    """One labelled answer and whether the panel flagged it; what it could not read counts as flagged, since people see it."""

    panel: str
    hazard: str
    language: str
    arm: Arm
    flagged: bool
    truth: Truth


class Measured(Struct, frozen=True):
    """A row with its rates, exact 95% intervals (Clopper and Pearson 1934), and the bound that a decision uses at `level`."""

    row: Calibrated
    sensitivity: float | None
    sensitivity_interval: tuple[float, float]
    specificity: float | None
    specificity_interval: tuple[float, float]
    bound: float


def calibrated_rows(seen: Iterable[Seen]) -> tuple[Calibrated, ...]:
    """Counts by panel, hazard, language and arm."""
    counts: dict[tuple[str, str, str, Arm], Counter[str]] = {}
    for s in seen:
        name = ("caught" if s.flagged else "missed") if s.truth == "violation" else ("alarms" if s.flagged else "passed")
        counts.setdefault((s.panel, s.hazard, s.language, s.arm), Counter())[name] += 1
    return tuple(
        Calibrated(*key, caught=c["caught"], missed=c["missed"], alarms=c["alarms"], passed=c["passed"])
        for key, c in sorted(counts.items())
    )  # fmt: skip


def measured(row: Calibrated, level: float) -> Measured:
    """A row's rates. `level` is the error of the sensitivity's lower bound."""
    bound = SensitivityBound(level)
    bound.add(row.caught, row.missed)
    violations, acceptable = row.caught + row.missed, row.alarms + row.passed
    return Measured(
        row,
        row.caught / violations if violations else None,
        clopper_pearson(row.caught, violations) if violations else (0.0, 1.0),
        row.passed / acceptable if acceptable else None,
        clopper_pearson(row.passed, acceptable) if acceptable else (0.0, 1.0),
        bound.lower,
    )


def has_changed(asked: int, changed: int) -> bool:
    """Whether a panel that reads `changed` of `asked` anchors otherwise than when it was calibrated is another panel."""
    return changed >= RateTest(CHANGED_RATE, "halt", CHANGED_LEVEL).limit(asked)


def kept(module: str) -> Any:
    """A module of the extra `agreement`, imported when it is needed. Raises `AssayError` where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise AssayError("measures of agreement need the extra 'agreement'", fix="pip install 'assay[agreement]'") from None


def ratings(labels: Iterable[Label]) -> list[dict[str, LabelVerdict]]:
    """The verdicts of everybody but adjudicators, one mapping a trial, where two people or more gave one."""
    out = []
    for mine in current(labels).values():
        given = {who: label.verdict for who, label in mine.items() if label.verdict is not None and not label.adjudicates}
        if len(given) > 1:
            out.append(given)
    return out


def alpha(rated: Sequence[dict[str, LabelVerdict]]) -> float | None:
    """Krippendorff's alpha for nominal data (package `krippendorff`); None without two people and two different verdicts."""
    values: list[LabelVerdict] = ["violation", "acceptable", "unsure"]
    if len({v for given in rated for v in given.values()}) < 2:
        return None
    krippendorff = kept("krippendorff")
    import numpy as np

    people = sorted({who for given in rated for who in given})
    data = np.array([[float(values.index(given[who])) if who in given else np.nan for given in rated] for who in people])
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))


def fleiss(rated: Sequence[dict[str, LabelVerdict]]) -> float | None:
    """Fleiss' kappa over the trials that as many people rated as most trials (package `statsmodels`); None where it is not defined."""
    if not rated:
        return None
    many = Counter(len(given) for given in rated).most_common(1)[0][0]
    table = [
        [sum(v == verdict for v in given.values()) for verdict in ("violation", "acceptable", "unsure")]
        for given in rated
        if len(given) == many
    ]
    if sum(any(row[i] for row in table) for i in range(3)) < 2:
        return None
    import numpy as np

    return float(kept("statsmodels.stats.inter_rater").fleiss_kappa(np.array(table)))


def cohen(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters (package `statsmodels`); None where both always say one and the same."""
    names = sorted({name for pair in pairs for name in pair})
    if len(names) < 2:
        return None
    import numpy as np

    table = np.zeros((len(names), len(names)))
    for one, other in pairs:
        table[names.index(one), names.index(other)] += 1
    return float(kept("statsmodels.stats.inter_rater").cohens_kappa(table, return_results=False))
