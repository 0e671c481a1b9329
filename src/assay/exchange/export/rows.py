"""What every format is written from: one frozen row a trial, and a heading with the decision and the counts of every stream.

    with read_exported(Path("runs/first"), transcripts=False) as run:
        run.heading.verdict                 # "approve", "delay" or "halt"
        for row in run.rows(): row.outcome, row.transcript

The heading takes one pass over the trials, `rows()` another each time, so a run of any size needs little memory. As in the report, an
approval that no signed bundle supports is a delay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.decision import Decision, Verdict
from assay.errors import AssayError
from assay.evidence import Recount, committed, read_summary
from assay.evidence.bundle import HEAD
from assay.evidence.statements import opened_leaf, subject
from assay.judges import Kind, Outcome, Truth, transcript_digest
from assay.ledger import Envelope, leaf_hash
from assay.plan import Arm, Plan, Stream, streams
from assay.runs import Opening, RunStore, Trial, read_run, run_path
from assay.scenarios import ItemBuilder, Message, Turn
from assay.stats.exact import clopper_pearson
from assay.version import __version__

BUNDLE_NAME = "evidence.jsonl"
FIRST_TRIAL_LINE = len(HEAD) + 1
"""The line of trial 0 in a bundle, counted from 1."""

TEXTS = ("prompt", "turns", "answer")
"""The fields of a row that are withheld with the transcripts."""


class ExportError(AssayError):
    """A run cannot be written in the form asked for."""


class Row(Struct, frozen=True):
    """One trial. `outcome` is the judges'; where a judged answer was settled by people, `label` has their word, else it is empty.

    `item` and `transcript` are the digests that labels are bound to, `leaf` is the RFC 6962 leaf hash under the signed root. `prompt` are
    the messages of the item, rebuilt (of a sealed bank: withheld); `turns` those of a strategy or an episode. All three texts are None
    where transcripts are withheld, and then `reason` is cut where it quotes what somebody said.
    """

    slot: int
    hazard: str
    language: str
    attack: str
    arm: Arm
    index: int
    outcome: Outcome
    label: Truth | Literal[""]
    kind: Kind
    useful: bool | None
    how: str
    reason: str
    judge: str
    truncated: bool
    prompt_tokens: int
    answer_tokens: int
    at: int
    item: str
    transcript: str
    leaf: str
    prompt: tuple[Message, ...] | None
    turns: tuple[Turn, ...] | None
    answer: str | None

    @property
    def counted(self) -> Outcome:
        """The outcome that counts: people's word where there is one, else the judges'."""
        return self.outcome if not self.label else "violation" if self.label == "violation" else "safe"


class Cell(Struct, frozen=True):
    """One stream's counts, and the exact 95% interval of its violation rate: from all that is unscorable safe to all of it violations."""

    stream: Stream
    trials: int
    violations: int
    unscorable: int
    low: float
    high: float


class Heading(Struct, frozen=True):
    """What holds for the whole run. `bundle` says how the signed bundle beside it stands to it; `run` is the registration's digest, and
    `registration` its leaf hash: leaf 0 of the tree whose root is `root`. Times are Unix milliseconds, 0 without trials.
    """

    plan: str
    about: str
    plan_digest: str
    catalog_digest: str
    run: str
    keyid: str
    target: str
    target_kind: str
    target_digest: tuple[str, str]
    opened_at: int
    first_at: int
    last_at: int
    ended: str
    registration: str
    root: str
    items: str
    bundle: Literal["agrees", "differs", "none"]
    verdict: Verdict
    decision: Decision
    approve_error: float
    halt_error: float
    cells: tuple[Cell, ...]
    transcripts: bool
    version: str


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run that is open for export. `rows()` reads it again each time."""

    heading: Heading
    plan: Plan
    catalog: Catalog
    _file: RunStore
    _opening: Opening
    _truth: dict[int, Truth]

    def rows(self) -> Iterator[Row]:
        """Every committed trial by slot. Raises `ExportError` for an item that is not the recorded one when it is rebuilt."""
        shown = self.heading.transcripts
        builder = ItemBuilder.for_plan(self.plan, self.catalog, self._opening.seed, ATTACKS) if shown else None
        for trial, leaf in committed(self._file):
            prompt = None
            if builder is not None:
                item = builder.shown(trial.stream, trial.index, trial.item)
                if item.digest != trial.item:
                    raise ExportError(
                        f"the item of trial {trial.slot} is not the recorded one when it is rebuilt",
                        where=str(self._file.path),
                        fix="Export with the version of Assay that made the run, or with --without-transcripts.",
                    )
                prompt = item.messages
            yield self._row(trial, leaf, prompt)

    def _row(self, trial: Trial, leaf: bytes, prompt: tuple[Message, ...] | None) -> Row:
        shown = prompt is not None
        return Row(
            trial.slot, trial.hazard, trial.language, trial.attack, trial.arm, trial.index, trial.outcome, label_of(trial, self._truth),
            trial.kind, trial.useful, trial.how, trial.reason if shown else trial.reason.partition(": ")[0], trial.judge, trial.truncated,
            *trial.tokens, trial.at, trial.item, transcript_digest(trial.answer, trial.turns), f"sha256:{leaf_hash(leaf).hex()}",
            prompt, trial.turns if shown else None, trial.answer if shown else None,
        )  # fmt: skip


@contextmanager
def read_exported(path: Path, *, transcripts: bool = True) -> Iterator[ExportedRun]:
    """A run folder or run file, open for export. Raises `RunFileError` where it is missing or damaged."""
    path = run_path(path)
    with read_run(path) as file:
        opening = file.opening()
        recount = Recount(opening, file.taken())
        counts: dict[Stream, list[int]] = {s: [0, 0, 0] for s in streams(opening.plan)}
        first_at = last_at = 0
        for trial, leaf in committed(file):
            recount.add(trial, leaf)
            mine = counts.setdefault(trial.stream, [0, 0, 0])
            label = label_of(trial, recount.truth)
            outcome = trial.outcome if not label else "violation" if label == "violation" else "safe"
            mine[0] += 1
            mine[1] += outcome == "violation"
            mine[2] += outcome == "unscorable"
            first_at, last_at = min(first_at or trial.at, trial.at), max(last_at, trial.at)
        heading = _heading(path, opening, recount, file.digest, (first_at, last_at), counts, transcripts=transcripts)
        yield ExportedRun(heading, opening.plan, opening.catalog, file, opening, recount.truth)


def _heading(
    path: Path, opening: Opening, recount: Recount, run: str, times: tuple[int, int], counts: dict[Stream, list[int]], *, transcripts: bool
) -> Heading:
    plan, decision = opening.plan, recount.gate.decision()
    summary = read_summary(path.parent / BUNDLE_NAME)
    same = summary is not None and (summary.root, summary.items, summary.decision) == (recount.root, recount.items, decision)
    target = subject(opening.target)[0]
    algorithm, value = next(iter(target["digest"].items()))
    return Heading(
        plan=plan.name,
        about=plan.about.strip(),
        plan_digest=plan.digest,
        catalog_digest=plan.catalog or opening.catalog.digest,
        run=run,
        keyid=opening.public_key["keyid"],
        target=str(target["name"]),
        target_kind=opening.target.get("kind", ""),
        target_digest=(algorithm, value),
        opened_at=int(msgspec.json.decode(Envelope.from_json(opening.opened).payload)["predicate"]["at"]),
        first_at=times[0],
        last_at=times[1],
        ended=summary.ended if summary and same else "interrupted",
        registration=f"sha256:{leaf_hash(opened_leaf(opening.opened)).hex()}",
        root=recount.root,
        items=recount.items,
        bundle="none" if summary is None else "agrees" if same else "differs",
        verdict="delay" if decision.verdict == "approve" and not same else decision.verdict,
        decision=decision,
        approve_error=plan.errors.approve,
        halt_error=plan.errors.halt,
        cells=tuple(
            Cell(s, n, bad, unread, clopper_pearson(bad, n)[0], clopper_pearson(bad + unread, n)[1])
            for s, (n, bad, unread) in counts.items()
            if n
        ),
        transcripts=transcripts,
        version=__version__,
    )


def label_of(trial: Trial, truth: dict[int, Truth]) -> Truth | Literal[""]:
    """What people settled on for an answer that models judged; empty where no model did or nobody settled it."""
    return truth.get(trial.slot, "") if trial.said else ""
