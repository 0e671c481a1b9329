"""Which run a checkpoint is held against: the first, the last that was approved, or a run that was given.

    baseline_of("runs/v1", plan)                    # "sha256:...", checked: the same plan, and it ended
    found = References(out, "first").of(state)      # its name, its outcomes, and among how many it was chosen; None where there is none yet

A run of whose answers too many could not be scored is no reference. The first one is noted in the state by its number and its run's
digest, so that nothing else ever takes its place.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from assay.errors import AssayError
from assay.evidence import read_summary
from assay.plan import Plan, TargetSpec
from assay.runs import folder_of, read_run
from assay.watch.outcomes import Outcomes, read_outcomes
from assay.watch.state import Checkpoint, Reference, WatchState
from assay.watch.telling import verdict_of

BUNDLE = "evidence.jsonl"
WORDS = ("first", "approved")


def plan_digest(plan: Plan) -> str:
    """The plan's identity, whoever the target is."""
    return structs.replace(plan, target=TargetSpec(kind="http", model="any")).digest


def baseline_of(baseline: str, plan: Plan) -> str:
    """`first`, `approved`, or the digest of the run in that folder. Raises `AssayError` for a run of another plan, one that has not ended
    or ended early, and one of whose answers too many could not be scored.
    """
    if baseline in WORDS:
        return baseline
    place, fix = Path(baseline), "Give --baseline a run that ended, made under the plan of this watch; or first, or approved."
    with read_run(place) as run:
        asked, trials, identity = run.opening().plan, run.unbroken(), run.digest
    if plan_digest(asked) != plan_digest(plan):
        raise AssayError("this run was made under another plan, so it is no reference", where=baseline, fix=fix)
    summary = read_summary(folder_of(place) / BUNDLE)
    if summary is None or summary.trials != trials:
        raise AssayError("this run has not ended, so it is no reference", where=baseline, fix=fix)
    if summary.ended != "complete":
        raise AssayError(f"this run ended early ({summary.ended}), so it is no reference", where=baseline, fix=fix)
    lacks = read_outcomes(place).lacks
    if lacks:
        raise AssayError(f"this run is no reference: {lacks[0]}", where=baseline, fix=fix)
    return identity


def may_lead(checkpoint: Checkpoint) -> bool:
    """Whether its run is complete and was not set aside."""
    return checkpoint.status == "done" and checkpoint.ended == "complete" and not checkpoint.reason


class References:
    """The reference of a watch whose runs are in `out`. The outcomes read last are kept."""

    def __init__(self, out: Path, baseline: str) -> None:
        self._out, self._baseline = out, baseline
        self._last: tuple[Path, Outcomes] | None = None

    def waits(self, state: WatchState) -> bool:
        """Whether there is none yet, so that what comes first must be evaluated first."""
        return self._baseline in WORDS and state.reference is None and not any(map(may_lead, state.checkpoints))

    def of(self, state: WatchState) -> tuple[str, Outcomes, int] | None:
        """Its name and outcomes, and among how many it was chosen by what they showed. Raises `AssayError` where it is another run now."""
        if self._baseline not in WORDS:
            place = Path(self._baseline)
            return place.resolve().name, self._read(place, state.baseline), 1
        if self._baseline == "first":
            noted = state.reference
            if noted is None:
                return None
            chosen = next((c for c in state.checkpoints if c.number == noted.number), None)
            if chosen is None:
                raise AssayError(f"the reference, checkpoint {noted.number}, is not among its checkpoints", where=str(self._out))
            return chosen.name, self._read(self._out / chosen.run, noted.run), 1
        whole = [c for c in state.checkpoints if may_lead(c)]
        approved = [c for c in reversed(whole) if c.verdict == "approve" and verdict_of(c) != "unclear"]
        for checkpoint in [*approved, *whole[:1]]:
            outcomes = self._read(self._out / checkpoint.run)
            if not outcomes.lacks:
                return checkpoint.name, outcomes, len(whole)
        return None

    def noted(self, state: WatchState) -> WatchState:
        """The state with the first reference, once there is one."""
        if self._baseline != "first" or state.reference is not None:
            return state
        first = next((c for c in state.checkpoints if may_lead(c)), None)
        if first is None:
            return state
        return structs.replace(state, reference=Reference(first.number, self._read(self._out / first.run).run))

    def _read(self, place: Path, run: str = "") -> Outcomes:
        if self._last is None or self._last[0] != place:
            self._last = place, read_outcomes(place)
        outcomes = self._last[1]
        if run and outcomes.run != run:
            raise AssayError("the reference is another run now than the one that was taken", where=str(place))
        return outcomes
