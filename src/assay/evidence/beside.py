"""Whether the run that lies beside its bundle still says what was signed: it may have gone on since, or have taken in other labels.

    hold_beside(BundleRun.read(bundle))       # raises StaleError

A bundle alone is as true as it was; this is for who names a run by its folder, and means the run.
"""

from __future__ import annotations

from msgspec import to_builtins

from assay.errors import EvidenceError
from assay.evidence.bundlerun import BundleRun
from assay.evidence.logsource import BUNDLE_NAME
from assay.evidence.statements import opened_leaf
from assay.ledger import MerkleTree, digest
from assay.runs import ReadRun, read_run, run_path


class StaleError(EvidenceError):
    """A bundle that is older than the run beside it, or a run too old for what is made of it: a check that failed."""

    exit_code = 1


def hold_beside(run: BundleRun, root: str = "") -> None:
    """Raises `StaleError` where the run that lies beside its bundle has other trials, or has taken in other labels, than were signed.
    `root` is the bundle's Merkle root, where it is known.
    """
    folder = run.path.parent
    beside = run_path(folder)
    if not beside.is_file():
        return
    with read_run(beside) as file:
        if run.path.name != BUNDLE_NAME and file.digest != run.digest:
            return  # another run's bundle, that only lies here
        same = file.digest == run.digest and labels_of(file) == labels_of(run) and root_of(file) == (root or root_of(run))
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
