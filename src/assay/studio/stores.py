"""What runs that lie in a store say, for the list: asked again after a moment only, and a store that is away not more than now and then.

stores = Stores()
found = stores.look(folder / "run.ref")
found.opening, found.trials, found.unbroken, found.written
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from assay.errors import RunFileError
from assay.evidence.beside import labels_of
from assay.runs import Opening
from assay.runs.opening import postgres_run, read_reference
from assay.runs.pgsession import StoreAwayError

FRESH_S = 2.0
AWAY_S = 15.0
MOST_AWAY = 3
"""So many stores that do not answer are waited for; then others are not asked, so that dead references do not hold up a list."""


class Stored(Struct, frozen=True):
    """A run in a store at one moment; `written` if some process on whatever machine has it open for writing; `labels` is the digest
    of those taken in.
    """

    opening: Opening
    trials: int
    unbroken: int
    written: bool
    labels: str


class Stores:
    """All stores that the references of one folder lead to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, Stored]] = {}
        self._away: dict[str, tuple[float, str]] = {}

    def look(self, reference: Path) -> Stored:
        """What the run says, at most `FRESH_S` old. Raises `RunFileError`; at once where its store did not answer in the last `AWAY_S`."""
        address, now = read_reference(reference), self._clock()
        at, seen = self._seen.get(address.text, (0.0, None))
        if seen is not None and now - at < FRESH_S:
            return seen
        self._away = {store: away for store, away in self._away.items() if now - away[0] < AWAY_S}
        if address.store.text in self._away:
            raise RunFileError(self._away[address.store.text][1], where=address.store.text)
        if len(self._away) >= MOST_AWAY and seen is None:
            raise RunFileError("the store was not asked, since others do not answer", where=address.store.text)
        try:
            with postgres_run().read(address, reference) as run:
                found = Stored(run.opening(), run.count(), run.unbroken(), run.written_elsewhere(), labels_of(run))
        except StoreAwayError as e:
            self._away[address.store.text] = (self._clock(), e.what)
            raise
        self._seen[address.text] = (self._clock(), found)
        return found
