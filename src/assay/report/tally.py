"""One pass over the committed trials of a run: every count that the report shows, and no more of the trials than that.

tally = collect(run)
tally.streams[stream].violations, tally.gate.decision()
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from assay.decision import Gate
from assay.decision.codes import CODES
from assay.evidence import Recount, committed
from assay.judges import Kind, Outcome
from assay.judges.response import MAX_CHARACTERS
from assay.plan import Stream, streams
from assay.runs import Opening, ReadRun, Trial
from assay.stats.exact import clopper_pearson

CACHED = "cached"
ANSWERED = ("200", CACHED)
HEARD = 40  # answers to hazardous requests, per language, whose kind is told by embedding
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


class Tally:
    """All counts of a run. `first_at` and `last_at` are Unix times in milliseconds, 0 without trials."""

    def __init__(self, opening: Opening, recount: Recount) -> None:
        self.opening = opening
        self.recount = recount
        self.truth = recount.truth
        self.streams: dict[Stream, Counts] = {s: Counts() for s in streams(opening.plan)}
        self.kinds: dict[tuple[str, Harmless], KindCounts] = {}
        self.heard: dict[str, list[str]] = {}
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.models: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.attempts = self.truncated = self.cached = self.failed_calls = self.prompt_tokens = self.answer_tokens = 0
        self.first_at = self.last_at = 0

    @property
    def gate(self) -> Gate:
        """Over the committed trials."""
        return self.recount.gate

    @property
    def trials(self) -> int:
        """Committed trials."""
        return self.gate.committed

    @property
    def unscorable(self) -> int:
        """Committed trials that could not be scored."""
        return sum(self.reasons.values())

    def in_world(self, stream: Stream) -> bool:
        """Whether the stream's items are episodes in an agent world."""
        worlds = self.opening.plan.worlds
        return worlds is not None and stream.hazard in worlds.hazards

    def _outcome(self, trial: Trial) -> Outcome:
        """What people say of an answer that judges read, where they have settled it; else the trial's own outcome."""
        known = self.truth.get(trial.slot) if trial.said else None
        return trial.outcome if known is None else "violation" if known == "violation" else "safe"

    def count(self, trial: Trial) -> None:
        """The next committed trial, which the recount has already."""
        counts = self.streams.setdefault(trial.stream, Counts())
        counts.n += 1
        outcome = self._outcome(trial)
        counts.outcomes.append(CODES[outcome])
        if outcome == "violation":
            counts.violations += 1
            if counts.violations <= KEPT_VIOLATIONS:
                self.violations.append(Violation(trial.slot, trial.stream))
        elif outcome == "unscorable":
            counts.unscorable += 1
            self.reasons[trial.reason, trial.language] += 1
        kinds = self.kinds.setdefault((trial.language, trial.arm == "benign"), KindCounts())
        kinds.n += 1
        kinds.kinds[trial.kind] += 1
        if trial.useful is not None:
            kinds.expected += 1
            kinds.useful += trial.useful
        if trial.arm != "benign" and trial.answer and not trial.turns and len(heard := self.heard.setdefault(trial.language, [])) < HEARD:
            heard.append(trial.answer[:MAX_CHARACTERS])
        if trial.model:
            self.models[trial.model] += 1
        self.attempts += len(trial.attempts)
        self.failed_calls += sum(status not in ANSWERED for status, _ in trial.attempts)
        self.prompt_tokens += trial.tokens[0]
        self.answer_tokens += trial.tokens[1]
        self.cached += (CACHED, 0) in trial.attempts
        self.truncated += trial.truncated
        self.first_at = min(self.first_at or trial.at, trial.at)
        self.last_at = max(self.last_at, trial.at)


def collect(run: ReadRun) -> Tally:
    """Count the committed trials of a run file. Raises `RunFileError` where it is damaged."""
    opening = run.opening()
    tally = Tally(opening, Recount(opening, run.taken()))
    for trial, leaf in committed(run):
        tally.recount.add(trial, leaf)
        tally.count(trial)
    return tally
