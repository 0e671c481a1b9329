"""What a panel said of a run's answers, beside what people say: for comparing and measuring judges.

opinions = read_opinions(path)                       # the run's own judges
opinions = read_opinions(path, Path("judgements-x.jsonl"))
opinions.of[41].outcome, opinions.of[41].truth
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Anchor, with_rubrics
from assay.errors import RunFileError
from assay.judges import Answer, Outcome, Truth, audited, panel_digests, settle
from assay.judges.calibration import Seen
from assay.judges.reading import judge_read
from assay.plan import Source, Stream
from assay.runs import read_judgements, read_labels, read_run
from assay.scenarios import Item, ItemBuilder, Prf, WithheldItem


class Opinion(Struct, frozen=True):
    """One answer: what the panel says, what people say (None if nothing is settled), and whether it was drawn whatever the judge says."""

    slot: int
    stream: Stream
    item: Item
    answer: str
    single: bool
    outcome: Outcome
    truth: Truth | None
    drawn: bool


class Opinions(Struct, frozen=True):
    """All answers of a run that a panel read."""

    name: str
    of: dict[int, Opinion]
    digests: dict[str, str]
    source: Source

    def seen(self) -> Iterator[Seen]:
        """The answers that count for sensitivity and specificity: those that the run drew, and all of a stream that is labelled whole.

        What is flagged gets labels anyway, and people are unsure of what is hard. So a stream's drawn answers count up to the first one
        that the panel passed and nobody settled: till there they are a sample.
        """
        open_in = {o.stream for o in self.of.values() if o.truth is None}
        ended: set[Stream] = set()
        for o in self.of.values():
            if o.stream in ended or not (o.drawn or o.stream not in open_in):
                continue
            if o.truth is not None:
                panel = self.digests[f"{o.stream.hazard}/{o.stream.language}"]
                yield Seen(panel, o.stream.hazard, o.stream.language, o.stream.arm, o.outcome != "safe", o.truth)
            elif o.outcome == "safe":
                ended.add(o.stream)

    def anchors(self, most: int) -> Iterator[Anchor]:
        """Labelled answers to keep with a calibration: hazards and languages take turns, violations and acceptable ones too. None of a
        sealed bank: an anchor holds its item.
        """
        queues: dict[tuple[str, str, str], list[Opinion]] = {}
        for o in self.of.values():
            if o.truth is not None and o.single and not isinstance(o.item, WithheldItem):
                queues.setdefault((o.stream.hazard, o.stream.language, o.truth), []).append(o)
        for _ in range(most):
            for key in sorted(queues, key=lambda k: -len(queues[k]))[:1]:
                o = queues[key].pop(0)
                yield Anchor(msgspec.to_builtins(o.item), o.answer, o.truth == "violation", o.outcome != "safe")
                if not queues[key]:
                    del queues[key]


def read_opinions(path: Path, judgements: Path | None = None) -> Opinions:
    """A run's own judges, or those of a file of judgements. Raises `RunFileError`."""
    with read_run(path) as run:
        opening, digest = run.opening(), run.digest
        catalog = with_rubrics(opening.catalog)
        labels = read_labels(run)
        if judgements is None:
            judges = opening.plan.judges
            if judges is None:
                raise RunFileError("the run's plan has no judges", where=str(path), fix="Read it with some: assay judge again.")
            said = {t.slot: t.said for t in run.trials() if t.said}
            name = "the run's judges"
        else:
            heading, again = read_judgements(judgements)
            if heading.run != digest:
                raise RunFileError("these judgements are of another run", where=str(judgements))
            judges, said, name = heading.judges, {a.slot: a.said for a in again}, judgements.stem
        truth = settle(labels, opening.plan.labels.people).truth
        prf, share = Prf(opening.seed), opening.plan.labels.audit
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        of: dict[int, Opinion] = {}
        for trial in run.trials():
            if trial.hazard not in judges.hazards or trial.slot not in said:
                continue
            item = builder.shown(trial.stream, trial.index, trial.item)
            answer = Answer(trial.answer, trial.failure, trial.truncated)
            outcome = judge_read(item, answer, trial.turns, said[trial.slot], judges).outcome
            drawn = audited(prf, trial.stream, trial.index, share)
            of[trial.slot] = Opinion(
                trial.slot, trial.stream, item, trial.answer, not trial.turns, outcome, truth.get(trial.slot), drawn
            )  # fmt: skip
        plan = msgspec.structs.replace(opening.plan, judges=judges)
        people = len({label.labeller for label in labels})
        return Opinions(name, of, panel_digests(plan, catalog), Source(digest, len(labels), people))


def sources(path: Path, judgements: Sequence[Path]) -> tuple[Opinions, Opinions]:
    """The two readings to compare: the run's own judges come first where only one file is given."""
    if len(judgements) == 2:
        return read_opinions(path, judgements[0]), read_opinions(path, judgements[1])
    return read_opinions(path), read_opinions(path, judgements[0])


def agreement(pairs: Sequence[tuple[Opinion, Opinion]]) -> dict[str, int]:
    """Who flags what, what neither could use, and who agrees with people where they labelled."""
    labelled = [(a, b) for a, b in pairs if a.truth is not None]
    return {
        "n": len(pairs),
        "both": sum(a.outcome == b.outcome == "violation" for a, b in pairs),
        "only_first": sum(a.outcome == "violation" != b.outcome for a, b in pairs),
        "only_second": sum(b.outcome == "violation" != a.outcome for a, b in pairs),
        "unusable_first": sum(a.outcome == "unscorable" for a, _ in pairs),
        "unusable_second": sum(b.outcome == "unscorable" for _, b in pairs),
        "labelled": len(labelled),
        "right_first": sum(_right(a) for a, _ in labelled),
        "right_second": sum(_right(b) for _, b in labelled),
    }


def _right(opinion: Opinion) -> bool:
    return (opinion.outcome == "violation") == (opinion.truth == "violation") and opinion.outcome != "unscorable"
