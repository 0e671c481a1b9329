"""The work of all labellers on one run: hands out trials, files what comes back, keeps drafts. The page's whole logic, without the web.

    with Desk.open(run_folder, Scope(everything=True)) as desk:
        work = desk.work(person)
        desk.act(person, Sent(id="3f0c9a77", act="label", slot=41, transcript=work.trials[0].view.transcript, verdict="acceptable"))

Prompts of sealed banks are shown on the page where they are `opened`, and never written to a file.
Lives in one thread. Several processes may have the same run open: every act is filed with the label file to itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.catalog import Opened
from assay.errors import AssayError
from assay.judges.labels import Label
from assay.label.deskfile import DESK_NAME, DeskFile
from assay.label.queue import Book, Candidate, Share, by_language, candidates, open_to, order, own, waiting
from assay.label.rows import Row
from assay.label.values import Draft, Given, Handed, LanguageShare, Progress, RefusedError, Scope, Sent, Work
from assay.label.view import Rubric, View, Viewer
from assay.runs import LabelFile, RunStore, folder_of, labels_path, read_run, run_path
from assay.scenarios import Prf
from assay.web.languages import direction
from assay.web.signin import Person

STOCK = 4
"""Trials that a browser has at hand: the one on the screen, and those with which it goes on without a connection."""
HOLD_S = 900.0
RESCAN_S = 5.0


class Desk:
    """Made by `open`; use as a context manager."""

    def __init__(
        self, run: RunStore, labels: LabelFile, desk: DeskFile, scope: Scope, clock: Callable[[], float] = time.monotonic,
        opened: Opened | None = None,
    ) -> None:  # fmt: skip
        self._run, self._labels, self._desk = run, labels, desk
        self._clock = clock
        self.scope = scope
        opening = run.opening()
        self.plan, self.catalog, self._seed = opening.plan, opening.catalog, opening.seed
        self.digest = run.digest
        self._viewer = Viewer(opening, opened)
        self._outside = Viewer(opening)
        self.book = Book(opening.plan.labels.people)
        self.candidates: list[Candidate] = []
        self._by_slot: dict[int, Candidate] = {}
        self._orders: dict[str, list[Candidate]] = {}
        self._trials = -1
        self._scanned = 0.0
        self._held: dict[int, dict[str, tuple[float, bool]]] = {}
        self.broken: dict[int, str] = {}
        self.refresh()

    @classmethod
    def open(cls, run: Path, scope: Scope | None = None, opened: Opened | None = None) -> Self:
        """The desk of a run (its folder or file), which may still be running. Raises `RunFileError`."""
        folder_of(run)
        path = run_path(run)
        file = read_run(path)
        labels: LabelFile | None = None
        try:
            labels = LabelFile.open(labels_path(path), file.digest)
            return cls(file, labels, DeskFile.open(path.with_name(DESK_NAME)), scope or Scope(), opened=opened)
        except BaseException:
            file.close()
            if labels is not None:
                labels.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._desk.close()
        self._labels.close()
        self._run.close()

    def refresh(self) -> None:
        """Take up what others wrote: labels always, trials of a run that goes on now and then."""
        self.book.extend(self._labels.all(after=self.book.last))
        now = self._clock()
        if self._trials >= 0 and now - self._scanned < RESCAN_S:
            return
        self._scanned = now
        if (count := self._run.count()) == self._trials:
            return
        self._trials = count
        scope = self.scope
        self.candidates = candidates(
            self._run.trials(), self.catalog, self.plan, Prf(self._seed),
            everything=scope.everything, hazards=scope.hazards, languages=scope.languages,
        )  # fmt: skip
        self._by_slot = {c.slot: c for c in self.candidates}
        self._orders.clear()

    def order(self, labeller: str) -> list[Candidate]:
        """All candidates in this labeller's own order."""
        if labeller not in self._orders:
            self._orders[labeller] = order(self.candidates, self._seed, labeller)
        return self._orders[labeller]

    def work(self, person: Person, have: Sequence[int] = (), sent: Sequence[int] = (), *, skipped: bool = False) -> Work:
        """What this person's browser needs beside what it has: `have` are the trials in its stock, the one on the screen first, and `sent`
        those of acts on their way. `skipped` asks for what this person skipped.
        """
        self.refresh()
        drafts = self._desk.drafts(person.name)
        mine = [c for slot in drafts if (c := self._by_slot.get(slot)) is not None]
        kept = [slot for slot in have if (c := self._by_slot.get(slot)) is not None and open_to(c, person, self.book)]
        stolen = self._busy(person.name, firmly=True)
        kept = [slot for i, slot in enumerate(kept) if i == 0 or slot not in stolen]
        self._release(person.name)
        self._hold(person.name, kept, start=0)
        busy, firmly = self._busy(person.name), stolen
        handed: list[Handed] = []
        for candidate in waiting([*mine, *self.order(person.name)], person, self.book, busy, skipped=skipped):
            if len(kept) + len(handed) >= STOCK:
                break
            slot = candidate.slot
            if slot in have or slot in sent or slot in firmly or slot in self.broken or any(h.view.slot == slot for h in handed):
                continue
            found = self._handed(candidate, person, drafts)
            if found is not None:
                handed.append(found)
        self._hold(person.name, [h.view.slot for h in handed], start=len(kept))
        hazards = dict.fromkeys(h.view.hazard for h in handed)
        return Work(
            trials=tuple(handed),
            drafts=tuple(Draft(slot, *drafts[slot]) for slot in kept if slot in drafts),
            drop=tuple(slot for slot in have if slot not in kept),
            rubrics={hazard: self._viewer.rubrics(hazard) for hazard in hazards},
            progress=self.progress(person),
            last=next(reversed(self.book.history(person.name)), None),
        )

    def trial(self, person: Person, slot: int) -> Handed:
        """A trial that this person has labelled, skipped, undone or may label. Raises `RefusedError`."""
        self.refresh()
        candidate = self._candidate(person, slot)
        if not open_to(candidate, person, self.book) and self.book.last_act(person.name, slot) is None:
            raise RefusedError(f"trial {slot} is not open to you")
        found = self._handed(candidate, person, self._desk.drafts(person.name))
        if found is None:
            raise RefusedError(self.broken[slot])
        return found

    def rubrics(self, hazard: str) -> tuple[Rubric, ...]:
        """A hazard's rubric in all its languages."""
        return self._viewer.rubrics(hazard)

    def act(self, person: Person, sent: Sent) -> Progress:
        """File an act; on disk when this returns. The same `id` twice is filed once. Raises `RefusedError`."""
        candidate = self._candidate(person, sent.slot)
        if sent.transcript != candidate.transcript:
            raise RefusedError(f"trial {sent.slot}: this is a label on another transcript")
        if sent.act == "label" and sent.verdict is None:
            raise RefusedError(f"trial {sent.slot}: a label needs a verdict")
        at = self._desk.receipt(person.name, sent.id, time.time_ns() // 1_000_000)
        with self._desk.alone():
            self.refresh()
            if (person.name, at) not in self.book.stamps:
                self._file(person, candidate, sent, at)
        if sent.act == "label":
            self._desk.drop_draft(person.name, sent.slot)
        self._held.get(sent.slot, {}).pop(person.name, None)
        return self.progress(person)

    def _file(self, person: Person, candidate: Candidate, sent: Sent, at: int) -> None:
        before = self.book.last_act(person.name, sent.slot)
        if sent.act == "undo" and (before is None or before.act == "undo"):
            return
        values: dict[str, Any] = {"slot": candidate.slot, "item": candidate.item, "transcript": candidate.transcript}
        values |= {"labeller": person.name, "at": at, "act": sent.act}
        if sent.act == "label":
            others = self.book.on(sent.slot).keys() - {person.name}
            disputed = "adjudicator" in person.roles and self.book.disputed(sent.slot)
            if disputed and self.book.has_part(sent.slot, person.name):
                raise RefusedError(f"trial {sent.slot}: you have labelled it already")
            decides = disputed or ("adjudicator" in person.roles and before is not None and before.adjudicates)
            values |= {f: getattr(sent, f) for f in Given.__struct_fields__} | {"adjudicates": decides and bool(others)}
        self.book.extend([self._labels.add(**values)])
        if sent.act == "undo" and before is not None and before.act == "label":
            draft = {f: getattr(before, f) for f in Given.__struct_fields__}
            self._desk.put_draft(person.name, sent.slot, draft, time.time_ns() // 1_000_000)

    def view(self, candidate: Candidate) -> View:
        """A trial as a labeller sees it on the page. Raises `AssayError` where it cannot be shown."""
        return self._viewer.view(candidate, self._run.trial(candidate.slot))

    def outside(self, candidate: Candidate) -> View:
        """A trial as it may be written to a file: without the prompt, where its bank is sealed. Raises `AssayError`."""
        return self._outside.view(candidate, self._run.trial(candidate.slot))

    def file_rows(self, rows: Iterable[Row]) -> None:
        """File labels that were given elsewhere, all or none; those without a time are of now. Raises `RunFileError`."""
        acts = []
        for row in rows:
            values = {f: getattr(row.given, f) for f in Given.__struct_fields__} | ({"at": row.at} if row.at else {})
            values |= {"slot": row.candidate.slot, "item": row.candidate.item, "transcript": row.candidate.transcript}
            acts.append(values | {"labeller": row.labeller, "adjudicates": row.adjudicates})
        with self._desk.alone():
            self.refresh()
            self.book.extend(self._labels.add_all(acts))

    def draft(self, person: Person, slot: int, value: Given, at: int) -> None:
        """Keep a draft, on disk when this returns. One that comes in after its label is of no use and forgotten."""
        self._candidate(person, slot)
        self.refresh()
        if person.name not in self.book.on(slot):
            self._desk.put_draft(person.name, slot, msgspec.to_builtins(value), at)

    def progress(self, person: Person) -> Progress:
        """How far this person is, and everybody by language."""
        done, left, skipped = own(self.candidates, person, self.book)
        found: dict[str, Share] = by_language(self.candidates, self.book)
        return Progress(
            done, left, skipped,
            tuple(LanguageShare(t, self._viewer.native(t), direction(t), s.done, s.total) for t, s in found.items() if person.reads(t)),
        )  # fmt: skip

    def _candidate(self, person: Person, slot: int) -> Candidate:
        candidate = self._by_slot.get(slot)
        if candidate is None or not person.reads(candidate.language):
            raise RefusedError(f"trial {slot} is not among those that you label")
        return candidate

    def _handed(self, candidate: Candidate, person: Person, drafts: dict[int, tuple[int, dict[str, Any]]]) -> Handed | None:
        try:
            view = self.view(candidate)
        except AssayError as e:
            self.broken[candidate.slot] = str(e)
            return None
        at, draft = drafts.get(candidate.slot, (0, {}))
        others: list[Label] = []
        disputed = self.book.disputed(candidate.slot) and not self.book.has_part(candidate.slot, person.name)
        if disputed and "adjudicator" in person.roles:
            others = [label for name, label in self.book.on(candidate.slot).items() if name != person.name]
        others.sort(key=lambda label: (label.verdict or "", label.note))  # neither by name nor by time
        return Handed(view, draft, at, tuple(Given(*(getattr(label, f) for f in Given.__struct_fields__)) for label in others))

    def _hold(self, name: str, slots: Sequence[int], start: int) -> None:
        until = self._clock() + HOLD_S
        for i, slot in enumerate(slots, start):
            self._held.setdefault(slot, {})[name] = (until, i == 0)

    def _release(self, name: str) -> None:
        for holders in self._held.values():
            holders.pop(name, None)

    def _busy(self, name: str, *, firmly: bool = False) -> set[int]:
        """Trials that so many others have in hand that no more are needed; `firmly` counts what is on their screens only."""
        now, out = self._clock(), set()
        for slot, holders in self._held.items():
            held = sum(until > now and (first or not firmly) for who, (until, first) in holders.items() if who != name)
            if held and held + len(self.book.on(slot)) >= self.book.people:
                out.add(slot)
        return out
