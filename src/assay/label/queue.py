"""What to label next. Values in, list out: every flagged trial of a judged hazard, and those that the run's own coin draws.

    found = candidates(trials, catalog, plan, Prf(seed))
    book = Book(people=plan.labels.people); book.extend(labels)
    next(waiting(order(found, seed, "Aisyah"), person, book))

Everybody has an order of their own, a keyed shuffle that mixes the reasons, so that a trial's place tells nothing about the judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from msgspec import Struct

from assay.catalog import Catalog
from assay.judges import READER
from assay.judges.labels import Label, Settled, Why, audited, current, settle, transcript_digest
from assay.plan import Arm, Plan
from assay.runs import Trial
from assay.scenarios import Prf
from assay.web.signin import Person


class Candidate(Struct, frozen=True):
    """A trial that people label. `why` is never shown to a labeller."""

    slot: int
    hazard: str
    language: str
    arm: Arm
    why: Why
    item: str
    transcript: str


class Book:
    """What the acts so far come to, kept up act by act: `labels` in force by slot, `disputed` slots, who skipped what, and who did what."""

    def __init__(self, people: int) -> None:
        self.people = people
        self.last = 0
        self.labels: dict[int, dict[str, Label]] = {}
        self.settled: dict[int, Settled] = {}
        self.skipped: dict[str, set[int]] = {}
        self.stamps: set[tuple[str, int]] = set()
        self._acts: dict[int, list[Label]] = {}
        self._done: dict[str, list[int]] = {}

    def extend(self, acts: Iterable[Label]) -> None:
        """Take up further acts, in order."""
        for act in acts:
            self._take(act)

    def _take(self, act: Label) -> None:
        self.last = max(self.last, act.number)
        self.stamps.add((act.labeller, act.at))
        acts = self._acts.setdefault(act.slot, [])
        acts.append(act)
        self.labels[act.slot] = current(acts).get(act.slot, {})
        self.settled[act.slot] = settle(acts, self.people)
        done = self._done.setdefault(act.labeller, [])
        if act.slot in done:
            done.remove(act.slot)
        if act.act != "undo":
            done.append(act.slot)
        mine = self.skipped.setdefault(act.labeller, set())
        (mine.add if act.act == "skip" else mine.discard)(act.slot)

    def disputed(self, slot: int) -> bool:
        """Whether people disagree on it and nobody has decided."""
        return slot in self.settled and slot in self.settled[slot].disputed

    def on(self, slot: int) -> Mapping[str, Label]:
        """The labels in force on a trial, by labeller."""
        return self.labels.get(slot, {})

    def has_part(self, slot: int, labeller: str) -> bool:
        """Whether somebody has labelled a trial for themselves, so that they decide no dispute about it."""
        label = self.on(slot).get(labeller)
        return label is not None and not label.adjudicates

    def history(self, labeller: str) -> Sequence[int]:
        """The trials that somebody labelled or skipped and has not undone, the latest last."""
        return self._done.get(labeller, [])

    def last_act(self, labeller: str, slot: int) -> Label | None:
        """Somebody's latest act on a trial."""
        return next((a for a in reversed(self._acts.get(slot, [])) if a.labeller == labeller), None)


def candidates(
    trials: Iterable[Trial], catalog: Catalog, plan: Plan, prf: Prf, *, everything: bool = False,
    hazards: Collection[str] = (), languages: Collection[str] = (),
) -> list[Candidate]:  # fmt: skip
    """The trials that people label, by slot. `everything` takes all of them whatever the judge says, and of verifiable hazards too."""
    judged = {name for name, hazard in catalog.hazards.items() if hazard.check == "none"}
    out = []
    for trial in trials:
        if (hazards and trial.hazard not in hazards) or (languages and trial.language not in languages):
            continue
        why = _why(trial, judged, prf, plan.labels.audit, everything=everything)
        if why is not None:
            digest = transcript_digest(trial.answer, trial.turns)
            out.append(Candidate(trial.slot, trial.hazard, trial.language, trial.arm, why, trial.item, digest))
    return out


def _why(trial: Trial, judged: Collection[str], prf: Prf, share: float, *, everything: bool) -> Why | None:
    if trial.hazard in judged:
        if trial.outcome == "violation" or (trial.outcome == "unscorable" and trial.judge.startswith(READER)):
            return "flagged"  # what a judge could not read, people settle
        if audited(prf, trial.stream, trial.index, share):
            return "audit"
    return "all" if everything else None


def order(found: Iterable[Candidate], seed: bytes, labeller: str) -> list[Candidate]:
    """The candidates in this labeller's own order: by a hash of seed, labeller and slot, and by nothing else."""
    keyed = blake2b(labeller.encode(), key=seed, digest_size=16, person=b"assay/label/1")

    def place(candidate: Candidate) -> bytes:
        h = keyed.copy()
        h.update(b"\x1f%d" % candidate.slot)
        return h.digest()

    return sorted(found, key=place)


def open_to(candidate: Candidate, person: Person, book: Book) -> bool:
    """Whether this person may label a trial now: in their languages, not by them already, and not by enough others; or, for an
    adjudicator, a dispute in which they have no part.
    """
    labels = book.on(candidate.slot)
    if not person.reads(candidate.language) or person.name in labels:
        return False
    if "adjudicator" in person.roles and book.disputed(candidate.slot):
        return True
    return "labeller" in person.roles and len(labels) < book.people and not any(label.adjudicates for label in labels.values())


def waiting(
    ordered: Iterable[Candidate], person: Person, book: Book, busy: Collection[int] = (), *, skipped: bool = False
) -> Iterator[Candidate]:
    """What this person labels next, in the order given. Trials in `busy`, which enough others are at, come last; those that the person
    skipped come only where `skipped` asks for them.
    """
    passed = book.skipped.get(person.name, set())
    later = []
    for candidate in ordered:
        if not open_to(candidate, person, book) or (candidate.slot in passed) != skipped:
            continue
        if candidate.slot in busy:
            later.append(candidate)
        else:
            yield candidate
    yield from later


class Share(Struct, frozen=True):
    """How far something is: `done` of `total` labels that are asked for."""

    done: int
    total: int


def by_language(found: Iterable[Candidate], book: Book) -> dict[str, Share]:
    """How many of the labels asked for there are, by language; labels beyond them do not count."""
    counted: dict[str, list[int]] = {}
    for candidate in found:
        tally = counted.setdefault(candidate.language, [0, 0])
        labels = book.on(candidate.slot)
        tally[0] += book.people if any(label.adjudicates for label in labels.values()) else min(len(labels), book.people)
        tally[1] += book.people
    return {language: Share(*tally) for language, tally in sorted(counted.items())}


def own(found: Iterable[Candidate], person: Person, book: Book) -> tuple[int, int, int]:
    """This person's own: labelled, still open to them, and of those skipped."""
    passed = book.skipped.get(person.name, set())
    done = left = skipped = 0
    for candidate in found:
        if person.name in book.on(candidate.slot):
            done += 1
        elif open_to(candidate, person, book):
            left += 1
            skipped += candidate.slot in passed
    return done, left, skipped
