"""What can be read of a run, wherever it lies, and what can be written to one that goes on.

def collect(run: ReadRun) -> Tally: ...        # takes a run file, a run in a store and a bundle alike
def note(run: RunStore) -> None: ...           # takes a run file and a run in a store
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct

from assay.catalog import Catalog
from assay.errors import RunFileError
from assay.judges import Label, Taken, shrunk
from assay.plan import Calibrated, Calibration, Judges, Plan, Sealed, Source, run_seed
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
        """Take in the labels that are newer than those taken before, and a calibration, from behind the last trial on; None if there is
        nothing new.
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


def to_take(run: ReadRun, where: str, labels: Sequence[Label], calibration: Calibration | None) -> New | None:
    """What of these a run has not taken in; None if nothing. Raises `RunFileError` for a calibration with fewer labels than one before it,
    or on this very run.
    """
    calibrated, counted = (calibration.rows, calibration.sources) if calibration else ((), ())
    if any(source.run == run.digest for source in counted):
        raise RunFileError(
            "this calibration was counted on this very run, whose labels count already", where=where, fix="Calibrate on another run."
        )
    before = run.taken()
    last = max((label.number for taken in before for label in taken.labels), default=0)
    newer = tuple(label for label in labels if label.number > last)
    rows = [row for taken in before for row in taken.calibrated]
    fewer = shrunk([*(run.opening().plan.judges or NO_JUDGES).calibrated, *rows], calibrated)
    if fewer:
        raise RunFileError(f"the calibration has fewer labels than the one before for {', '.join(fewer)}", where=where)
    return New(newer, calibrated, counted) if newer or set(calibrated) - set(rows) else None


def opening_values(opening: Opening) -> dict[str, Any]:
    """An opening as it is kept, field by field."""
    return {field: msgspec.to_builtins(getattr(opening, field)) for field in Opening.__struct_fields__}
