"""What can be read of a run, whether it lies in a run file or in a bundle.

def collect(run: ReadRun) -> Tally: ...        # takes RunFile and BundleRun alike
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from assay.judges import Taken
from assay.runs.file import Opening
from assay.runs.trial import Trial


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
