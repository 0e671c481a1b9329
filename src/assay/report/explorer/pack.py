"""Trials as the page reads them: columns for what is filtered and counted, gzip blocks of some hundred transcripts for what is read.

    packed = pack(source)
    packed.columns              # base64 of gzip: the arrays of `Columns`, one after the other
    for block in packed.blocks(): ...        # base64 of gzip of JSON, in the order of `packed.first`

Trials are sorted by stream and then by their place in it, so that equal prompts lie side by side and the place of a trial in its stream is
its distance from the stream's first. What a bank seals stays withheld, as in the report.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.attacks import ATTACKS
from assay.decision.codes import CODES
from assay.judges import Reading, readings
from assay.plan import Stream
from assay.report.explorer.spoken import Line, planted_in, spoken_lines
from assay.report.sources import Source
from assay.report.words import KIND_ORDER
from assay.runs import Trial
from assay.scenarios import Item, ItemBuilder, WithheldItem

TRIALS_IN_BLOCK = 256
CHARACTERS_IN_BLOCK = 600_000
MAX_TEXT = 4_000_000  # of one text, in characters
MAX_OPINION = 2_000
MAX_FIELD = 500  # of what a target or an endpoint says beside its answer
NOT_ASKED = 2  # `useful` where no fact was expected
LEVEL = 6


@dataclass(frozen=True, slots=True)
class Columns:
    """One value a trial, sorted by stream. `outcome` is 0 safe, 1 violation, 2 unscorable, as people settled it; `useful` 0, 1 or 2."""

    slot: NDArray[np.uint32]
    characters: NDArray[np.uint32]
    stream: NDArray[np.uint32]
    reason: NDArray[np.uint32]
    outcome: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    useful: NDArray[np.uint8]

    def packed(self) -> str:
        """All of them, little-endian, the wide ones first, as base64 of gzip."""
        wide = [column.astype("<u4") for column in (self.slot, self.characters, self.stream, self.reason)]
        return _base64(b"".join(column.tobytes() for column in (*wide, self.outcome, self.kind, self.useful)))


@dataclass(frozen=True, slots=True)
class Packed:
    """A run's trials. `streams` and `reasons` are what the columns' numbers stand for; `first` is the first trial of each block."""

    source: Source
    streams: tuple[Stream, ...]
    reasons: tuple[str, ...]
    columns: Columns
    first: tuple[int, ...]

    def blocks(self) -> Iterator[str]:
        """The transcripts, block by block. Raises `CatalogError` if an item cannot be rebuilt from the run's own content."""
        opening = self.source.tally.opening
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        judges = tuple(spec.name for spec in opening.plan.judges.panel) if opening.plan.judges else ()
        ends = (*self.first[1:], len(self.columns.slot))
        for start, end in zip(self.first, ends, strict=False):  # without trials there is no block
            block = Block(judges, self.source.tally.truth)
            for slot in self.columns.slot[start:end].tolist():
                trial = self.source.run.trial(slot)
                block.add(trial, builder.shown(trial.stream, trial.index, trial.item))
            yield block.packed()


class Block:
    """Some transcripts: texts, each once, and per trial what refers to them."""

    def __init__(self, judges: Sequence[str], truth: Any) -> None:
        self._judges, self._truth = judges, truth
        self._places: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []

    def add(self, trial: Trial, item: Item) -> None:
        """The next trial, with its item as it may be shown."""
        withheld = isinstance(item, WithheldItem)
        violation = trial.outcome == "violation" or self._truth.get(trial.slot) == "violation"
        row: dict[str, Any] = {
            "m": [self._line(line) for line in spoken_lines(trial, item, violation=violation)],
            "i": trial.item,
            "s": item.scenario,
            "f": trial.finish[:MAX_FIELD],
            "t": trial.at,
            "n": trial.tokens,
            "a": [[status[:MAX_FIELD], ms] for status, ms in trial.attempts[:50]],
            "j": trial.judge,
        }
        optional: dict[str, Any] = {
            "x": int(withheld),
            "c": int(not withheld and item.digest != trial.item),
            "h": trial.how[:MAX_FIELD],
            "e": trial.failure[:MAX_FIELD],
            "k": int(trial.truncated),
            "o": trial.outcome if trial.slot in self._truth else "",
            "d": trial.modes,
            "v": self._values(trial, item),
            "p": [self._text(p) for p in planted_in(item)],
            "q": [self._opinion(name, r) for name, r in self._opinions(trial, item)],
            "mo": trial.model[:MAX_FIELD],
        }
        self._rows.append(row | {name: value for name, value in optional.items() if value})

    def packed(self) -> str:
        """The block as base64 of gzip of JSON. Lone surrogates survive as escapes."""
        value = {"s": list(self._places), "t": self._rows}
        try:
            encoded = msgspec.json.encode(value)
        except UnicodeEncodeError:
            encoded = json.dumps(value, separators=(",", ":")).encode("ascii")
        return _base64(encoded)

    def _text(self, text: str) -> int:
        return self._places.setdefault(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…", len(self._places))

    def _line(self, line: Line) -> list[Any]:
        return [line.role, self._text(line.text), line.cover]

    def _values(self, trial: Trial, item: Item) -> tuple[str, ...]:
        """What the check looked for, where it is worth a mark."""
        check = item.check
        return (check.expected if check.kind == "benign" else check.forbidden) if trial.outcome != "unscorable" else ()

    def _opinions(self, trial: Trial, item: Item) -> Iterator[tuple[str, Reading | str]]:
        if trial.said:
            yield from zip(self._judges, readings(item, trial.answer, trial.turns, trial.said), strict=False)

    def _opinion(self, name: str, reading: Reading | str) -> list[Any]:
        if isinstance(reading, str):
            return [name, -1, "", reading[:MAX_OPINION], []]
        return [name, int(reading.violation), reading.refusal, reading.reason[:MAX_OPINION], [q[:MAX_OPINION] for q in reading.quotes]]


def pack(source: Source) -> Packed:
    """The columns of a run's committed trials, and where its blocks begin."""
    tally = source.tally
    streams = tuple(tally.streams)
    number = {stream: i for i, stream in enumerate(streams)}
    reasons: dict[str, int] = {"": 0}
    kinds = {kind: i for i, kind in enumerate(KIND_ORDER)}
    rows = np.empty((tally.trials, 7), dtype=np.int64)
    sizes = np.empty(tally.trials, dtype=np.int64)
    for at, trial in zip(range(tally.trials), source.run.trials(), strict=False):
        known = tally.truth.get(trial.slot) if trial.said else None
        outcome = trial.outcome if known is None else "violation" if known == "violation" else "safe"
        useful = NOT_ASKED if trial.useful is None else int(trial.useful)
        reason = reasons.setdefault(trial.reason[:MAX_FIELD], len(reasons))
        rows[at] = trial.slot, len(trial.answer), number[trial.stream], reason, CODES[outcome], kinds[trial.kind], useful
        sizes[at] = len(trial.answer) + sum(len(t.prompt) + len(t.answer) for t in trial.turns)
    order = np.lexsort((rows[:, 0], rows[:, 2]))
    rows, sizes = rows[order], sizes[order]
    columns = Columns(
        slot=rows[:, 0].astype(np.uint32),
        characters=rows[:, 1].clip(max=2**32 - 1).astype(np.uint32),
        stream=rows[:, 2].astype(np.uint32),
        reason=rows[:, 3].astype(np.uint32),
        outcome=rows[:, 4].astype(np.uint8),
        kind=rows[:, 5].astype(np.uint8),
        useful=rows[:, 6].astype(np.uint8),
    )
    return Packed(source, streams, tuple(reasons), columns, _starts(sizes.tolist()))


def _starts(sizes: Sequence[int]) -> tuple[int, ...]:
    """Where blocks begin: at most so many trials and about so many characters of answers each, but never less than one trial."""
    starts: list[int] = []
    trials = characters = 0
    for at, size in enumerate(sizes):
        if not starts or trials >= TRIALS_IN_BLOCK or characters + size > CHARACTERS_IN_BLOCK:
            starts.append(at)
            trials = characters = 0
        trials += 1
        characters += size
    return tuple(starts)


def _base64(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, LEVEL, mtime=0)).decode("ascii")
