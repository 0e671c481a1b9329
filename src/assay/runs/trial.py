"""One trial as it is kept: the row of the run file and the leaf of the Merkle tree are the same bytes.

The item itself is not stored: it is rebuilt from the seed, and `item` is its digest.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from assay.errors import RunFileError
from assay.judges import Kind, Outcome, Said
from assay.plan import Arm, Stream
from assay.scenarios import Turn

Ended = Literal["complete", "deadline", "tokens", "money", "transcripts", "interrupted"]
"""How a run ended: its schedule, minutes, tokens, money or replayed transcripts were at their end, or somebody stopped it."""


class Trial(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row. `slot` is the place in the run's schedule, from 0; `index` the place in the stream.

    `tokens` are those of prompt and answer as the target reported them; `attempts` pairs of status and milliseconds; `at` is the Unix
    time of completion in milliseconds. `turns` are those of a strategy, and `answer` the one that decided; `modes` the failure modes of an
    episode, and `said` what each judge of the plan's panel replied. No floats, so the canonical form is quick to write.
    """

    slot: int
    hazard: str
    language: str
    attack: str
    arm: Arm
    index: int
    item: str
    answer: str
    finish: str
    model: str
    tokens: tuple[int, int]
    attempts: tuple[tuple[str, int], ...]
    judge: str
    outcome: Outcome
    reason: str
    kind: Kind
    useful: bool | None
    how: str
    failure: str
    truncated: bool
    at: int
    turns: tuple[Turn, ...] = ()
    modes: tuple[int, ...] = ()
    said: tuple[Said, ...] = ()

    @property
    def stream(self) -> Stream:
        """The stream that this trial belongs to."""
        return Stream(self.hazard, self.language, self.attack, self.arm)

    def to_leaf(self) -> bytes:
        """Canonical JSON (RFC 8785: sorted ASCII keys, no floats)."""
        return _encode(self)


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Trial).decode


def read_leaf(leaf: bytes) -> Trial:
    """Inverse of `Trial.to_leaf`. Raises `RunFileError`."""
    try:
        return _decode(leaf)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise RunFileError(f"not a trial: {e}") from None
