"""Judge an earlier run's transcripts again, without calling any target.

with read_run(path) as earlier:
    target = ReplayTarget(earlier)          # answers what the earlier run was answered
    changed = rejudged(earlier)             # what today's judges say otherwise
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.errors import AssayError, TargetError
from assay.judges import Answer, Judgement, Said, verdict_on
from assay.runs import RunStore, Trial
from assay.scenarios import Item, ItemBuilder, Message
from assay.targets import AtHand, Attempt, Reply


class NoTranscriptError(AssayError):
    """The earlier run has no transcript of an item that is asked for now: its judgements led elsewhere."""


class ReplayTarget(AtHand):
    """Gives the stored answer of every item."""

    def __init__(self, run: RunStore) -> None:
        self._run = run
        self.identity: Mapping[str, str] = run.opening().target
        self._slots: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        for trial in self._run.trials():
            self._slots[trial.item] = trial.slot
        return self

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Without an item there is nothing to replay."""
        raise TargetError("a replay answers items, not bare messages")

    async def ask_item(self, item: Item) -> Reply:
        """The stored answer to this very item. Raises `NoTranscriptError`."""
        slot = self._slots.get(item.digest)
        if slot is None:
            raise NoTranscriptError(f"the replayed run has no transcript of {item.stream.key} item {item.index}")
        trial = self._run.trial(slot)
        return Reply(
            trial.answer, finish=trial.finish, model=trial.model, prompt_tokens=trial.tokens[0], answer_tokens=trial.tokens[1],
            attempts=tuple(Attempt(status, ms) for status, ms in trial.attempts), failure=trial.failure, truncated=trial.truncated,
            turns=trial.turns,
        )  # fmt: skip

    def said(self, item: Item) -> tuple[Said, ...]:
        """What the judges replied then."""
        return self._run.trial(self._slots[item.digest]).said


class Rejudged(Struct, frozen=True):
    """A transcript on which the judges have changed their mind."""

    trial: Trial
    now: Judgement


def rejudged(run: RunStore) -> Iterator[Rejudged]:
    """Every transcript whose outcome or response kind is another today; items of sealed banks need not be opened for it."""
    opening = run.opening()
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    for trial in run.trials():
        item = builder.shown(trial.stream, trial.index, trial.item)
        found = Answer(trial.answer, trial.failure, trial.truncated)
        now, _ = verdict_on(item, found, trial.turns, opening.catalog, trial.said, opening.plan.judges)
        if (now.outcome, now.kind, now.useful) != (trial.outcome, trial.kind, trial.useful):
            yield Rejudged(trial, now)
