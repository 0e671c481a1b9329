"""What can be read of a run, wherever it lies, and what can be written to one that goes on.

def collect(run: ReadRun) -> Tally: ...        # takes a run file, a run in a store and a bundle alike
def note(run: RunStore) -> None: ...           # takes a run file and a run in a store
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct, structs

from assay.catalog import Catalog
from assay.errors import RunFileError
from assay.judges import Label, Taken, shrunk
from assay.plan import Calibrated, Calibration, Judges, Plan, Sealed, Source, in_force, revived, run_seed
from assay.plan.policy import Policy
from assay.runs.trial import Trial

FORMAT = "assay-run/4"
NO_JUDGES = Judges(())
AWAY = "the store: "
"""How the reason of an outage begins if it is the store's, and not the endpoint's."""


class Opening(Struct, frozen=True, forbid_unknown_fields=True):
    """What is fixed before the first trial: plan, content, nonce (with the seals that it was tossed from, if any), target identity,
    the policy that the plan must meet, if any, and the signed statement over them.
    """

    plan: Plan
    catalog: Catalog
    nonce: str
    target: dict[str, str]
    opened: dict[str, Any]
    public_key: dict[str, str]
    seals: tuple[Sealed, ...] = ()
    policy: Policy | None = None

    @property
    def nonce_bytes(self) -> bytes:
        """The nonce as bytes."""
        return bytes.fromhex(self.nonce)

    @property
    def seed(self) -> bytes:
        """The run's seed, from the plan's digest and the nonce."""
        return run_seed(self.plan.digest, self.nonce_bytes)


class ReadRun(Protocol):
    """A run that is read. Every method raises an `AssayError` for what is damaged."""

    @property
    def digest(self) -> str:
        """The digest of the signed registration: the identity of this run."""
        ...

    def opening(self) -> Opening:
        """What was fixed before the first trial."""
        ...

    def leaves(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Slot and leaf bytes, by slot, from slot `start` on."""
        ...

    def trials(self, start: int = 0) -> Iterator[Trial]:
        """Trials from slot `start` on, by slot."""
        ...

    def trial(self, slot: int) -> Trial:
        """One trial."""
        ...

    def taken(self) -> list[Taken]:
        """All labels that were taken in, each time by itself, oldest first."""
        ...

    def incidents(self) -> list[dict[str, str | int]]:
        """What happened beside the trials, oldest first."""
        ...


class RunStore(ReadRun, Protocol):
    """A run where it is kept: a run file, or a run in a PostgreSQL store. Use as a context manager. What writes returns when it is durable;
    every method raises `RunFileError`.
    """

    @property
    def path(self) -> Path:
        """The run file, or the reference to where the run lies; labels and evidence are beside it."""
        ...

    def append(self, trials: Iterable[Trial], checkpoint: dict[str, Any] | None = None) -> None:
        """Write trials, all or none, and the engine's state over a committed prefix in the place of the one before."""
        ...

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint; None if there is none or it is damaged, since everything can be had from the trials again."""
        ...

    def note_incident(self, incident: dict[str, str | int]) -> None:
        """Keep what happened beside the trials: an outage, an interruption, a resumption."""
        ...

    def take(self, labels: Sequence[Label], calibration: Calibration | None = None) -> Taken | None:
        """Take in the labels of judged hazards that were not taken in before, and a calibration, from behind the last trial on; None if
        there is nothing new.
        """
        ...

    def count(self, start: int = 0) -> int:
        """How many trials are acknowledged, from slot `start` on."""
        ...

    def unbroken(self) -> int:
        """How many trials there are before the first gap."""
        ...

    def watch(self, told: Callable[[str, float], object]) -> None:
        """Have `told` hear, from any thread, why and for how many seconds the store has not answered. A file always answers."""
        ...

    def hasten(self) -> None:
        """Somebody wants to stop: wait a few seconds more at most for a store that does not answer."""
        ...

    def close(self) -> None:
        """Close it, and let others write."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class New(Struct, frozen=True):
    """Labels and a calibration that a run has not taken in yet."""

    labels: tuple[Label, ...]
    calibrated: tuple[Calibrated, ...]
    sources: tuple[Source, ...]

    def at(self, slot: int) -> Taken:
        """As taken in before this slot."""
        return Taken(slot, self.labels, self.calibrated, self.sources)


def to_take(run: RunStore, where: str, labels: Sequence[Label], calibration: Calibration | None) -> New | None:
    """What of these a run has not taken in; None if nothing. Raises `RunFileError` for a calibration with fewer labels than one before it,
    on this very run, or that may count again what is void.
    """
    before = run.taken()
    newer = _numbered(before, _settling(run, untaken(before, labels)))
    calibrated, counted = (calibration.rows, calibration.sources) if calibration else ((), ())
    rows = [row for taken in before for row in taken.calibrated]
    if calibration:
        _check_calibration(run, where, calibration, rows)
    return New(newer, calibrated, counted) if newer or set(calibrated) - set(rows) else None


def untaken(before: Iterable[Taken], labels: Iterable[Label]) -> list[Label]:
    """The acts that a run has not taken in. An act is known by what it says: label files on two machines both number from 1."""
    known = Counter(_act(label) for taken in before for label in taken.labels)
    out = []
    for label in labels:
        if known[_act(label)]:
            known[_act(label)] -= 1
        else:
            out.append(label)
    return out


def every_label(before: Sequence[Taken], labels: Iterable[Label]) -> list[Label]:
    """All acts that were taken in, then those that were not."""
    return [*(label for taken in before for label in taken.labels), *_numbered(before, untaken(before, labels))]


def _act(label: Label) -> Label:
    return structs.replace(label, number=1)


def _numbered(before: Iterable[Taken], newer: Iterable[Label]) -> tuple[Label, ...]:
    """Numbered behind all that were taken in."""
    last = sum(len(taken.labels) for taken in before)
    return tuple(structs.replace(label, number=n) for n, label in enumerate(newer, last + 1))


def _settling(run: RunStore, labels: Sequence[Label]) -> list[Label]:
    """Those on trials that people settle: of judged hazards, and before the first gap, since what lies beyond one may never count."""
    plan = run.opening().plan
    judged = frozenset((plan.judges or NO_JUDGES).hazards)
    if not judged or not labels:
        return []
    there = run.unbroken()
    slots = {label.slot for label in labels if label.slot < there}
    if not judged.issuperset(plan.matrix.hazards):
        slots = {slot for slot in slots if run.trial(slot).hazard in judged}
    return [label for label in labels if label.slot in slots]


def _check_calibration(run: ReadRun, where: str, calibration: Calibration, rows: Sequence[Calibrated]) -> None:
    if any(source.run == run.digest for source in calibration.sources):
        raise RunFileError(
            "this calibration was counted on this very run, whose labels count already", where=where, fix="Calibrate on another run."
        )
    judges = run.opening().plan.judges or NO_JUDGES
    if again := revived(judges, calibration.rows):
        places = ", ".join(f"{row.hazard} in {row.language} ({row.arm})" for row in again)
        raise RunFileError(
            f"the run's calibration is void, and this one may count the same labels again for {places}", where=where,
            fix="Start a new run with a calibration of the judges as they are now.",
        )  # fmt: skip
    fewer = shrunk([*in_force(judges), *rows], calibration.rows)
    if fewer:
        raise RunFileError(f"the calibration has fewer labels than the one before for {', '.join(fewer)}", where=where)


def opening_values(opening: Opening) -> dict[str, Any]:
    """An opening as it is kept, field by field."""
    return {field: msgspec.to_builtins(getattr(opening, field)) for field in Opening.__struct_fields__}
