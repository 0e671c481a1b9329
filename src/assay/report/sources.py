"""Signed runs that a paper, a chart or a comparison is made from: every byte held against its signatures before a number is taken from it.

for source in read_sources([Path("runs/v1"), Path("theirs/evidence.jsonl")]):
    source.letter, source.model, source.signed.decision.verdict, source.tally.streams
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.errors import AssayError, EvidenceError
from assay.evidence import BundleRun
from assay.evidence.beside import hold_beside
from assay.evidence.closing import AlteredError, Closed, closed
from assay.evidence.logsource import BUNDLE_NAME
from assay.plan.title import title_of
from assay.report.tally import Tally, collect

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Source:
    """One signed run. `letter` is how figures refer to it; `name` is that of its folder."""

    letter: str
    name: str
    run: BundleRun
    tally: Tally
    signed: Closed

    @property
    def model(self) -> str:
        """The target's name."""
        return title_of(self.tally.opening.target)

    @property
    def bundle(self) -> str:
        """The digest of the bundle's bytes, to which every figure of this run is bound."""
        return self.run.bundle


def read_sources(paths: Sequence[Path]) -> tuple[Source, ...]:
    """The runs of these run folders or bundles, in order. Raises `EvidenceError` where anything is not what was signed, `StaleError`."""
    if len(paths) > len(LETTERS):
        raise EvidenceError(f"{len(paths)} runs; at most {len(LETTERS)} go side by side")
    found = tuple(read_source(path, letter) for path, letter in zip(paths, LETTERS, strict=False))
    for i, source in enumerate(found):
        for other in found[:i]:
            if source.bundle == other.bundle:
                raise EvidenceError("this run is given twice", where=str(source.run.path))
    return found


def read_source(path: Path, letter: str = "A") -> Source:
    """One run, from its folder or its bundle. The run beside the bundle, if it is there, must say the same: `StaleError`."""
    bundle = path / BUNDLE_NAME if path.is_dir() else path
    if not bundle.is_file():
        raise EvidenceError("there is no signed evidence here", where=str(bundle), fix="Finish the run: assay run --resume --out FOLDER")
    run = BundleRun.read(bundle)
    try:
        tally = collect(run)
    except (AssayError, LookupError, ValueError) as e:  # whoever signed also chose what stands in it
        what = e.what if isinstance(e, AssayError) else type(e).__name__
        raise AlteredError(f"its trials cannot be counted: {what}", where=str(bundle), fix="Run: assay verify") from None
    signed = closed(run, tally.recount)
    hold_beside(run, signed.root)
    return Source(letter, bundle.parent.name or bundle.name, run, tally, signed)
