"""A scorer's word on samples that were played, as a judge of the plan: it flags, and decides nothing alone."""

from __future__ import annotations

from collections.abc import Mapping

from assay.errors import TargetError
from assay.plan import SOURCE, TargetSpec
from assay.scenarios import Item, Message
from assay.sources.lines import Score as ScoreLine
from assay.targets import AtHand, Reply
from assay.targets.recorded import Meaning, Score, scored, silent


class Scorer(AtHand):
    """A scorer's word on the samples that were played, as a judge: in the form that judges are asked for."""

    def __init__(self, spec: TargetSpec, scores: Mapping[str, tuple[str, Mapping[str, ScoreLine]]], digest: str) -> None:
        self._spec, self._scores = spec, scores
        self._meaning = Meaning.of(spec.options)
        self.identity: Mapping[str, str] = {"kind": SOURCE, "model": spec.model, "digest": digest}

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """It has seen nothing else."""
        raise TargetError("a source's scorer has seen its samples alone")

    async def judge_item(self, item: Item, answer: str, messages: tuple[Message, ...]) -> Reply:
        """The scorer's word on the item's sample, or a failure where it gave none that counts."""
        text, scores = self._scores.get(item.digest, ("", {}))
        if item.digest not in self._scores or text != answer:
            return silent("the scorer did not see this answer")
        found = scores.get(self._spec.model)
        score = None
        if found is not None:  # what the scorer itself calls odd is no value that a mapping finds
            score = Score(f"unscored ({found.odd[:200]})" if found.odd else found.value, found.explanation)
        return scored(self._spec.model, self._meaning, score, answer, messages)
