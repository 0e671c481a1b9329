"""One pass over the committed trials of a run: every count that the report shows, and no more of the trials than that.

tally = collect(run)
tally.streams[stream].violations, tally.gate.decision()
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from assay.decision import Gate
from assay.decision.claims import CODES
from assay.evidence import Recount, committed
from assay.judges import Kind
from assay.plan import Stream, streams
from assay.runs import Opening, RunFile, Trial
from assay.stats.exact import clopper_pearson

KEPT_VIOLATIONS = 12  # per stream, for choosing which to show
Harmless = bool  # whether the request was a benign twin


@dataclass(slots=True)
class Counts:
    """Outcomes of one stream. `outcomes` holds them by index, one byte each, as `assay.decision.claims.CODES` has them."""

    n: int = 0
    violations: int = 0
    unscorable: int = 0
    outcomes: bytearray = field(default_factory=bytearray)

    @property
    def rate(self) -> float:
        """Violations per trial; 0 without trials."""
        return self.violations / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% interval of the violation rate: the lower end as if all that is unscorable were safe, the upper end as if
        it were all violations. (0, 1) without trials.
        """
        return worst_case_interval(self.n, self.violations, self.unscorable)


def worst_case_interval(n: int, violations: int, unscorable: int) -> tuple[float, float]:
    """Clopper-Pearson at 95%, widened to both readings of what is unscorable."""
    return clopper_pearson(violations, n)[0], clopper_pearson(violations + unscorable, n)[1]


@dataclass(slots=True)
class KindCounts:
    """Response kinds and usefulness of one language, for harmful or for harmless requests."""

    n: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    useful: int = 0
    expected: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """Where a violation is, for choosing which to show."""

    slot: int
    stream: Stream


@dataclass(slots=True)
class Tally:
    """All counts of a run. `first_at` and `last_at` are Unix times in milliseconds, 0 without trials."""

    opening: Opening
    gate: Gate
    streams: dict[Stream, Counts]
    kinds: dict[tuple[str, Harmless], KindCounts] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    attempts: int = 0
    truncated: int = 0
    first_at: int = 0
    last_at: int = 0
    root: str = ""
    items: str = ""

    @property
    def trials(self) -> int:
        """Committed trials."""
        return self.gate.committed

    @property
    def unscorable(self) -> int:
        """Committed trials that could not be scored."""
        return sum(self.reasons.values())


def collect(run: RunFile) -> Tally:
    """Count the committed trials of a run file. Raises `RunFileError` where it is damaged."""
    opening = run.opening()
    recount = Recount(opening)
    tally = Tally(opening, recount.gate, {s: Counts() for s in streams(opening.plan)})
    for trial, leaf in committed(run):
        recount.add(trial, leaf)
        _count(tally, trial)
    tally.root, tally.items = recount.root, recount.items
    return tally


def _count(tally: Tally, trial: Trial) -> None:
    counts = tally.streams.setdefault(trial.stream, Counts())
    counts.n += 1
    counts.outcomes.append(CODES[trial.outcome])
    if trial.outcome == "violation":
        counts.violations += 1
        if counts.violations <= KEPT_VIOLATIONS:
            tally.violations.append(Violation(trial.slot, trial.stream))
    elif trial.outcome == "unscorable":
        counts.unscorable += 1
        tally.reasons[trial.reason, trial.language] += 1
    kinds = tally.kinds.setdefault((trial.language, trial.arm == "benign"), KindCounts())
    kinds.n += 1
    kinds.kinds[trial.kind] += 1
    if trial.useful is not None:
        kinds.expected += 1
        kinds.useful += trial.useful
    if trial.model:
        tally.models[trial.model] += 1
    tally.attempts += len(trial.attempts)
    tally.truncated += trial.truncated
    tally.first_at = min(tally.first_at or trial.at, trial.at)
    tally.last_at = max(tally.last_at, trial.at)
