"""Each requirement's claims with their intervals, and what a design of fixed size would have needed.

for table in claim_tables(tally): table.rows[0].interval
fixed_design(tally).total
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from assay.decision import Claim, ParityClaim, RateClaim, percent
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.judged_claims import JudgedRateClaim
from assay.plan import Requirement, Stream
from assay.report.tally import Tally
from assay.report.words import STATUS_WORD, SYMBOL, claim_words, range_text, requirement_words
from assay.stats.exact import clopper_pearson, fixed_sample_plan
from assay.stats.sequences import difference_sequence, rate_lower, rate_upper

PLOT_WIDTH = 92
FIXED_POWER = 0.9
_MARGIN = 6
_SCALES = (0.1, 0.2, 0.3, 0.5, 1.0)


class Plot(Struct, frozen=True):
    """Places on a line of `PLOT_WIDTH` units: the interval's ends, the observed value, the threshold; and zero where it is inside."""

    low: float
    high: float
    value: float
    threshold: float
    zero: float


class ClaimRow(Struct, frozen=True):
    """One claim as it stood when it was decided, or at the end. `at` is empty where it is undecided."""

    label: str
    words: str
    n: int
    counts: str
    unscorable: int
    interval: str
    status: str
    symbol: str
    status_word: str
    at: str
    plot: Plot


class ClaimTable(Struct, frozen=True):
    """One requirement. `unit` says what n counts; `scale` are the texts at both ends of the plot; `rows` begin with what was
    decided, `untested` are the claims without a single trial or pair.
    """

    id: str
    words: str
    threshold: str
    unit: str
    counted: str
    interval_note: str
    scale: tuple[str, str]
    rows: tuple[ClaimRow, ...]
    untested: tuple[str, ...]


class FixedRow(Struct, frozen=True):
    """What one requirement's rate claims need in a fixed design: trials a claim and in all, jointly or with a verdict each."""

    requirement: str
    claims: int
    rate: str
    each: int
    total: int
    each_separate: int
    total_separate: int


class FixedDesign(Struct, frozen=True):
    """The comparison. `total` counts a stream once, though several requirements may use it."""

    rows: tuple[FixedRow, ...]
    total: int
    total_separate: int
    level: str
    power: str
    decided_at: int
    trials: int
    ratio: str
    halted: bool
    parity_claims: int


def claim_tables(tally: Tally) -> tuple[ClaimTable, ...]:
    """One table per requirement, in the plan's order."""
    return tuple(_table(tally, r) for r in tally.opening.plan.requirements)


def parity_interval(n: int, worse: int, better: int, unscorable: int) -> tuple[float, float]:
    """A conservative 95% interval for a paired difference of rates: exact intervals at 97.5% for the shares of worse and of better
    pairs, subtracted (Bonferroni); pairs with something unscorable are read both ways. (-1, 1) without pairs.
    """
    worst, best = min(worse + unscorable, n), min(better + unscorable, n)
    low = clopper_pearson(worse, n, 0.975)[0] - clopper_pearson(best, n, 0.975)[1]
    return low, clopper_pearson(worst, n, 0.975)[1] - clopper_pearson(better, n, 0.975)[0]


def _table(tally: Tally, requirement: Requirement) -> ClaimTable:
    mine = [c for c in tally.gate.claims if c.requirement == requirement.id]
    paired = any(isinstance(c, ParityClaim) for c in mine)
    benign = any(c.streams[0].arm == "benign" for c in mine)
    threshold = max((_threshold(c) for c in mine), default=0.0)
    tested = sorted((c for c in mine if c.n), key=_order)
    intervals = _sequences(tested)
    ends = [abs(end) for interval in intervals for end in interval]
    top = next(s for s in _SCALES if s >= max([1.2 * threshold if threshold < 0.8 else 1.0, *ends]) or s == 1.0)
    bottom = -top if paired else 0.0
    pair_note = "The difference is that of two rates, worse minus better, in percentage points. "
    return ClaimTable(
        id=requirement.id,
        words=requirement_words(requirement, tally.opening.catalog),
        threshold=percent(threshold),
        unit="pairs" if paired else "trials",
        counted="worse / better" if paired else "refused" if benign else "violations",
        interval_note=(pair_note if paired else "") + _sequence_note(mine),
        scale=(percent(bottom).replace("-", "−"), percent(top)),
        rows=tuple(_row(c, tally, interval, bottom, top) for c, interval in zip(tested, intervals, strict=True)),
        untested=tuple(claim_words(c, tally.opening.catalog) for c in mine if not c.n),
    )


def _order(claim: Claim) -> tuple[int, int]:
    """What halted first, then what holds, each as decided; then the undecided, most trials first."""
    rank = ("halt", "approve", "open").index(claim.status)
    return rank, claim.at if claim.status != "open" else -claim.n


def _sequence_note(mine: list[Claim]) -> str:
    """What the intervals of a table are."""
    if not mine:
        return ""
    below, above = percent(float(f"{mine[0].halt_level:.2g}")), percent(mine[0].approve_level)
    return (
        f"Confidence sequences, valid at every number of trials: the true value lies below with a chance of at most {below} a claim, above "
        f"with one of at most {above}. So an interval ends below the threshold exactly when the claim holds, and begins above it exactly "
        f"when it does not. What could not be scored widens it."
    )


def _sequences(claims: list[Claim]) -> list[tuple[float, float]]:
    """Each claim's confidence sequence at its own two levels; plain ones all at once: claims of one table share levels."""
    if not claims or type(claims[0]) not in (RateClaim, ParityClaim):
        return [c.interval() for c in claims]
    approve, halt = claims[0].approve_level, claims[0].halt_level
    counts = [(*c.lenient, *c.cautious) if isinstance(c, ParityClaim) else (c.violations, c.violations + c.unscorable, c.n) for c in claims]
    each, place = np.unique(np.array(counts), axis=0, return_inverse=True)  # most claims of a big plan have the same few counts
    columns = each.T
    if len(columns) == 3:
        low, high = rate_lower(columns[0], columns[2], halt), rate_upper(columns[1], columns[2], approve)
    else:
        low = difference_sequence(columns[0], columns[1], columns[2], halt)[0]
        high = difference_sequence(columns[3], columns[4], columns[5], approve)[1]
    return [(float(low[i]), float(high[i])) for i in place.ravel()]


def _row(claim: Claim, tally: Tally, interval: tuple[float, float], bottom: float, top: float) -> ClaimRow:
    low, high = interval
    counts = f"{claim.worse} / {claim.better}" if isinstance(claim, ParityClaim) else f"{claim.violations}"
    if isinstance(claim, JudgedRateClaim):
        counts = f"{claim.violations} flagged, {claim.confirmed} confirmed"
    if isinstance(claim, AuditedRateClaim):
        counts = f"{claim.violations} flagged, {claim.flagged} confirmed, {claim.audited} found among the drawn"
    return ClaimRow(
        label=claim.label,
        words=claim_words(claim, tally.opening.catalog),
        n=claim.n,
        counts=counts,
        unscorable=claim.unscorable,
        interval=range_text(low, high),
        status=claim.status,
        symbol=SYMBOL[claim.status],
        status_word=STATUS_WORD[claim.status],
        at=f"{claim.at:,}" if claim.at >= 0 else "",
        plot=_plot(claim, low, high, bottom, top),
    )


def _threshold(claim: Claim) -> float:
    return claim.margin if isinstance(claim, ParityClaim) else claim.tau


def _plot(claim: Claim, low: float, high: float, bottom: float, top: float) -> Plot:
    events = claim.worse - claim.better if isinstance(claim, ParityClaim) else claim.violations
    if isinstance(claim, JudgedRateClaim):
        events = claim.confirmed + claim.awaiting
    if isinstance(claim, AuditedRateClaim):
        events = claim.flagged + claim.awaiting + round(claim.audited / claim.share)

    def place(value: float) -> float:
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return round(_MARGIN + share * (PLOT_WIDTH - 2 * _MARGIN), 1)

    return Plot(place(low), place(high), place(events / claim.n), place(_threshold(claim)), place(0.0))


def fixed_design(tally: Tally) -> FixedDesign:
    """Trials that exact binomial tests of fixed size would need to approve the plan's rate claims, at `FIXED_POWER` if every true
    rate is half its threshold: at the full level, since approving needs every claim (an intersection-union test); and shared
    over the claims (Bonferroni), if every cell is to have a verdict of its own.
    """
    errors = tally.opening.plan.errors
    rates = [c for c in tally.gate.claims if isinstance(c, RateClaim)]
    joint: dict[Stream, int] = {}
    separate: dict[Stream, int] = {}
    rows = []
    for requirement in tally.opening.plan.requirements:
        mine = [c for c in rates if c.requirement == requirement.id]
        if not mine:
            continue
        tau = mine[0].tau
        each = fixed_sample_plan(tau, errors.approve, FIXED_POWER)[0]
        each_separate = fixed_sample_plan(tau, errors.approve / len(rates), FIXED_POWER)[0]
        for claim in mine:
            joint[claim.stream] = max(each, joint.get(claim.stream, 0))
            separate[claim.stream] = max(each_separate, separate.get(claim.stream, 0))
        count = len(mine)
        row = FixedRow(requirement.id, count, percent(tau), each, each * count, each_separate, each_separate * count)
        rows.append(row)
    total, decided_at = sum(joint.values()), tally.gate.decided_at
    return FixedDesign(
        rows=tuple(rows),
        total=total,
        total_separate=sum(separate.values()),
        level=percent(errors.approve),
        power=percent(FIXED_POWER),
        decided_at=decided_at,
        trials=tally.trials,
        ratio=_ratio(total, decided_at),
        halted=tally.gate.verdict == "halt",
        parity_claims=len(tally.gate.claims) - len(rates),
    )


def _ratio(total: int, decided_at: int) -> str:
    """`total` as a multiple of `decided_at`; empty where there is nothing to compare."""
    if decided_at <= 0 or total <= 0:
        return ""
    ratio = total / decided_at
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
