"""What a verification makes of sealed banks: opened if it is given what opens them, else committed to and not rebuilt, counted, and said.

held = HeldOut(report, catalog, openers)
item = held.item(builder, trial, where)         # rebuilt, or what is public of it
held.judged(item, trial, found, judges)
held.close(count); held.counted(incidents)
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from assay.catalog import Catalog, Opened, Openers, open_banks
from assay.catalog.exposures import OPENED
from assay.catalog.sealed import CANNOT, check_registered
from assay.errors import CommitmentError
from assay.judges import Answer, is_read
from assay.plan import Judges, Plan
from assay.runs import Trial
from assay.scenarios import Item, ItemBuilder, WithheldItem

if TYPE_CHECKING:
    from assay.evidence.verify import Report

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class HeldOut:
    """The sealed banks of one bundle. Nothing happens where there are none."""

    def __init__(self, report: Report, plan: Plan, catalog: Catalog, openers: Openers, where: str) -> None:
        """Raises `SealedBankError` where what was given does not open them; that they are other texts than registered is a finding."""
        self._report = report
        self._catalog = catalog
        self._withheld: Counter[str] = Counter()
        self._unread = self._blind = 0
        self.opened: Opened | None = None
        if not catalog.sealed:
            return
        before = len(report.findings)
        for problem in check_registered(catalog):
            report.failed("sealed banks", where, problem)
        for name in catalog.sealed:
            if plan.sizes.get(name) != len(catalog.hazards[name].scenarios) if name in catalog.hazards else False:
                report.failed("sealed banks", where, f"'{name}': the plan's number of items is not that of the live ones")
        if len(report.findings) > before:
            return
        banks = ", ".join(f"{name} ({bank.tier}, {len(bank.leaves)} items)" for name, bank in catalog.sealed.items())
        report.passed("commitments of sealed banks", banks)
        if not openers:
            return
        try:
            self.opened = open_banks(catalog, openers)
            report.passed("sealed banks opened, every text fits its commitment", banks)
        except CommitmentError as e:
            report.failed("sealed banks", e.where or where, e.what)

    def item(self, builder: ItemBuilder, trial: Trial, where: str) -> Item:
        """The trial's item, rebuilt; of a bank that is not opened, what is public of it."""
        item = builder.shown(trial.stream, trial.index, trial.item)
        if isinstance(item, WithheldItem):
            self._withheld[trial.hazard] += 1
            if not _DIGEST.fullmatch(trial.item):
                self._report.failed("items", where, f"{trial.item[:80]!r} is no digest of an item")
        return item

    def judged(self, item: Item, trial: Trial, found: Answer, judges: Judges | None) -> None:
        """Note what of the judgement takes the sealed text: that it was short enough for a judge; all of it where no judge was asked."""
        if isinstance(item, WithheldItem) and is_read(item, found, judges):
            self._blind += bool(trial.said)
            self._unread += not trial.said

    def close(self, trials: int) -> None:
        """After the last trial: what was not rebuilt or not judged again is a line of its own, and is left to trust."""
        report, withheld = self._report, self._withheld.total()
        report.passed("items rebuilt from the seed", f"{trials - withheld}")
        report.passed("judgements recomputed", f"{trials - self._unread}")
        if withheld:
            report.passed("items of sealed banks: committed to, not rebuilt", f"{withheld}")
        if self._unread:
            report.passed("judgements that take a sealed text: not recomputed", f"{self._unread}")

    def trust(self) -> None:
        """Add to what is left to trust."""
        report = self._report
        for name, count in self._withheld.items():
            report.trusted += (f"that {count} trials asked what the sealed bank '{name}' commits to (who can open it can rebuild them)",)
        if self._unread:
            report.trusted += (f"that {self._unread} transcripts with a sealed prompt were too large for a judge, as their trials say",)
        if self._blind:
            report.trusted += (f"that {self._blind} transcripts with a sealed prompt were not too large for the judges that read them",)
        for name, bank in self._catalog.sealed.items():
            left = f"that nobody made use of what a {bank.tier} bank leaves open ({name})"
            report.trusted += tuple(f"{left}: {words}" for words in CANNOT[bank.tier])

    def counted(self, incidents: Any, where: str, *, replayed: bool) -> None:
        """That the run has reserved every live item in the bank's ledger of exposures before its first trial."""
        if replayed:
            return
        noted = [i for i in incidents if isinstance(i, dict) and i.get("what") == OPENED] if isinstance(incidents, list) else []
        for name, bank in self._catalog.sealed.items():
            live = len(self._catalog.hazards[name].scenarios)
            mine = [i for i in noted if i.get("bank") == name]
            right = {"tier": bank.tier, "items": live, "of": len(bank.leaves)}
            if not mine or any(i.get(field) != value for i in mine for field, value in right.items()):
                self._report.failed("exposures", where, f"'{name}': the run does not say that it counted its {live} items as exposed")
            else:
                self._report.passed("exposures counted before the first trial", f"{name}, ledger line {mine[0].get('ledger')}")
