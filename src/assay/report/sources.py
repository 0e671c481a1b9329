"""Signed runs that a paper, a chart or a comparison is made from: every byte held against its signatures before a number is taken from it.

for source in read_sources([Path("runs/v1"), Path("theirs/evidence.jsonl")]):
    source.letter, source.model, source.signed.decision.verdict, source.tally.streams
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import to_builtins

from assay.errors import AssayError, EvidenceError
from assay.evidence import BundleRun
from assay.evidence.closing import AlteredError, Closed, closed
from assay.evidence.statements import opened_leaf
from assay.ledger import MerkleTree, digest
from assay.report.tally import Tally, collect
from assay.runs import ReadRun, read_run, run_path

BUNDLE = "evidence.jsonl"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class StaleError(EvidenceError):
    """A bundle that is older than the run beside it, or a run too old for what is made of it: a check that failed."""

    exit_code = 1


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
        return self.tally.opening.target.get("model", "target")

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
    bundle = path / BUNDLE if path.is_dir() else path
    if not bundle.is_file():
        raise EvidenceError("there is no signed evidence here", where=str(bundle), fix="Finish the run: assay run --resume --out FOLDER")
    run = BundleRun.read(bundle)
    try:
        tally = collect(run)
    except (AssayError, LookupError, ValueError) as e:  # whoever signed also chose what stands in it
        what = e.what if isinstance(e, AssayError) else type(e).__name__
        raise AlteredError(f"its trials cannot be counted: {what}", where=str(bundle), fix="Run: assay verify") from None
    signed = closed(run, tally.recount)
    _hold_beside(run, signed.root)
    return Source(letter, bundle.parent.name or bundle.name, run, tally, signed)


def _hold_beside(run: BundleRun, root: str) -> None:
    """Raises `StaleError` where the run that lies beside its bundle has other trials, or has taken in other labels, than were signed."""
    folder = run.path.parent
    beside = run_path(folder)
    if not beside.is_file():
        return
    with read_run(beside) as file:
        if run.path.name != BUNDLE and file.digest != run.digest:
            return  # another run's bundle, that only lies here
        same = file.digest == run.digest and labels_of(file) == labels_of(run) and root_of(file) == root
    if not same:
        what = "the run says something else than the signed bundle: it went on, or was changed"
        raise StaleError(what, where=str(beside), fix=f"Go on with it and sign anew: assay run --resume --out {folder}")


def labels_of(run: ReadRun) -> str:
    """The digest of all labels that a run has taken in, as the closing statements have it."""
    return digest(to_builtins(run.taken()))


def root_of(run: ReadRun) -> str:
    """The Merkle root over a run's registration and trials up to the first gap."""
    tree = MerkleTree()
    tree.append(opened_leaf(run.opening().opened))
    for expected, (slot, leaf) in enumerate(run.leaves()):
        if slot != expected:
            break
        tree.append(leaf)
    return f"sha256:{tree.root().hex()}"
