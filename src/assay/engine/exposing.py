"""Counts what a run shows of its sealed banks: every live item before the first trial, and what was really asked once it has ended.

    counted = Counted.of(opening.catalog, openers.banks, key)
    counted.reserve(run_digest, labels=0, at=...)          # before the first trial; refuses what is retired by now
    counted.note(run)                                       # says so in the evidence
    counted.settle(run, engine.asked, ended, opened, at=...)

A run that is killed, interrupted or loses its endpoint keeps its reservation, since it may be resumed. When it is complete, its trials tell
what was asked: the schedule is a pure function, so whatever an earlier session had under way has been asked again. Only where labels were
taken in between may the schedule have gone elsewhere; then that session's reservation stays, and so does its whole count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay.attacks import ATTACKS
from assay.catalog import Catalog, Opened
from assay.catalog.exposures import CLOSED, OPENED
from assay.catalog.sealed import SealedFile, read_sealed
from assay.errors import SealedBankError
from assay.ledger import PrivateKey
from assay.runs import RunStore
from assay.runs.exposures import Held, Reservation, Settlement, reserve, settle, unsettled
from assay.scenarios import ItemBuilder

SHINGLE = 32
"""Characters that an answer must share with a prompt, letter for letter, to count as quoting it."""


class Counted:
    """The ledgers of a run's sealed banks; of a run without any, nothing happens."""

    def __init__(self, catalog: Catalog, banks: Mapping[str, tuple[Path, SealedFile]], key: PrivateKey) -> None:
        self._catalog = catalog
        self._banks = banks
        self._key = key
        self._held: dict[str, Held] = {}

    @classmethod
    def of(cls, catalog: Catalog, paths: Sequence[Path], key: PrivateKey) -> Counted:
        """For a plan's content; `paths` are where its sealed banks may be. Raises `SealedBankError` for one that is not there."""
        there = {file.root: (path, file) for path, file in ((p, read_sealed(p)) for p in dict.fromkeys(paths))} if catalog.sealed else {}
        banks = {}
        for name, bank in catalog.sealed.items():
            if bank.root not in there:
                raise SealedBankError("the sealed bank is not here, so nothing can be counted", where=name, fix="Name it with --bank FILE.")
            banks[name] = there[bank.root]
        return cls(catalog, banks, key)

    @property
    def paths(self) -> dict[str, Path]:
        """The files of the banks, by name."""
        return {name: path for name, (path, _) in self._banks.items()}

    def reserve(self, run: str, labels: int, at: int, *, judges: bool = False) -> None:
        """Count every live item as exposed to the run. Raises `SealedBankError`; what was reserved before it stays reserved."""
        for name, (path, file) in self._banks.items():
            items = tuple(s.id for s in self._catalog.hazards[name].scenarios)
            wanted = Reservation(run, items, "judge" if judges else "run", labels)
            self._held[name] = reserve(path, file, self._key, wanted, at)

    def note(self, run: RunStore, at: int) -> None:
        """Put into the evidence that it is counted, and where."""
        for name, held in self._held.items():
            bank, live = self._catalog.sealed[name], len(self._catalog.hazards[name].scenarios)
            run.note_incident(
                {"what": OPENED, "at": at, "bank": name, "tier": bank.tier, "items": live, "of": len(bank.leaves),
                 "exposures before, at most": held.most, "ledger": held.line}
            )  # fmt: skip

    def settle(self, run: RunStore, asked: Mapping[str, Counter[str]], ended: str, opened: Opened, at: int) -> int:
        """The run has ended: count what was asked, by its trials and by what was under way. Returns how many answers (or what judges said
        of them) quote a prompt, which the evidence says too. Raises `SealedBankError`.
        """
        if not self._banks:
            return 0
        opening, labels, quoting = run.opening(), len(run.taken()), 0
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        counts: dict[str, Counter[str]] = {name: Counter() for name in self._banks}
        quotes: Counter[str] = Counter()
        for trial in run.trials():
            if trial.hazard in counts:
                item = builder.scenario(trial.stream, trial.index)
                counts[trial.hazard][item] += 1
                replies = (reply for said in trial.said for reply in said.replies)
                quotes[trial.hazard] += is_quoted(opened.prompts(trial.hazard, item).get(trial.language, ""), (trial.answer, *replies))
        digest = run.digest
        for name, (path, file) in self._banks.items():
            under_way = asked.get(name, Counter())
            total = {item: max(counts[name][item], under_way[item]) for item in counts[name].keys() | under_way.keys()}
            mine = self._held[name].line
            covers = tuple(
                line for line, entry in unsettled(path, file, digest).items()
                if line == mine or (ended == "complete" and entry.labels == labels)
            )  # fmt: skip
            line = settle(path, file, self._key, Settlement(digest, covers, total, ended), at)
            run.note_incident(
                {"what": CLOSED, "at": at, "bank": name, "items asked": len(total), "answers that quote a prompt": quotes[name],
                 "ledger": line}
            )  # fmt: skip
            quoting += quotes[name]
        return quoting

    def settle_judged(self, run: RunStore, reading: str, at: int) -> None:
        """Judges have read the whole of a run again, as the `reading` that was reserved: count the items that they were shown."""
        opening = run.opening()
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        shown: dict[str, Counter[str]] = {name: Counter() for name in self._banks}
        for trial in run.trials():
            if trial.hazard in shown:
                shown[trial.hazard][builder.scenario(trial.stream, trial.index)] += 1
        for name, (path, file) in self._banks.items():
            covers = tuple(unsettled(path, file, reading))
            settle(path, file, self._key, Settlement(reading, covers, shown[name], "complete"), at)


def is_quoted(prompt: str, texts: Iterable[str]) -> bool:
    """Whether one of the texts shares `SHINGLE` characters in a row with the prompt (all of it, where it is shorter), whatever the spacing
    and case. Attacked prompts are compared as they stand in the bank.
    """
    wanted = _squeezed(prompt)
    if not wanted:
        return False
    length = min(SHINGLE, len(wanted))
    pieces = {wanted[i : i + length] for i in range(len(wanted) - length + 1)}
    for text in texts:
        found = _squeezed(text)
        if any(found[i : i + length] in pieces for i in range(len(found) - length + 1)):
            return True
    return False


def _squeezed(text: str) -> str:
    return "".join(text.casefold().split())
