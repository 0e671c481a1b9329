"""Outcomes as small numbers, and the outcomes of a stream that a claim may still wait for."""

from __future__ import annotations

from assay.judges import Outcome

UNSCORABLE, SAFE, VIOLATION = 2, 0, 1
CODES: dict[Outcome, int] = {"safe": SAFE, "violation": VIOLATION, "unscorable": UNSCORABLE}


class Codes:
    """The outcomes of one stream: one byte a trial, from index `base` on."""

    def __init__(self) -> None:
        self.base = 0
        self.data = bytearray()

    @property
    def end(self) -> int:
        """The index after the last."""
        return self.base + len(self.data)

    def drop_before(self, index: int) -> None:
        """Forget what lies before an index."""
        cut = min(index, self.end) - self.base
        if cut > 0:
            del self.data[:cut]
            self.base += cut
