"""Sealed banks in a plan: which of their items are live, and what a plan with one must not have. Pure, but for reading the files.

    banks = [read_content(path, registered) for path in paths]        # plain banks as they are, sealed ones with their live items
    check_held_out(plan, catalog, located)

Whatever would put a prompt into the run file or the bundle is refused: the turns of a strategy hold what it asked, and anchors of a
calibration hold whole items.
"""

from __future__ import annotations

from pathlib import Path

from assay.catalog import BankFile, Catalog, LiveBank, Located, read_bank
from assay.catalog.exposures import read_exposures
from assay.catalog.sealed import is_sealed, read_sealed
from assay.errors import SealedBankError
from assay.plan.model import Plan, TargetSpec

LEAST = 2
RECORDED = "recorded"
"""The kind of targets and judges whose answers somebody recorded, with plain digests of the requests."""
SOURCE = "source"
"""The kind of judges whose tool plays the items: the turns hold what it asked."""


def read_content(path: Path, registered: Catalog | None = None) -> BankFile | LiveBank:
    """A bank that a plan names. Of a sealed one the live items are those that its ledger of exposures leaves, or, where a run has
    `registered` this very bank already, those of the run. Raises `CatalogError`.
    """
    if not is_sealed(path):
        return read_bank(path)
    file = read_sealed(path)
    if registered is not None and (found := registered.sealed.get(file.name)) is not None and found.root == file.root:
        return LiveBank(file, tuple(s.id for s in registered.hazards[file.name].scenarios))
    live = read_exposures(path, file).live(file)
    if len(live) < LEAST:
        what = f"{len(live)} of the {len(file.leaves)} items of this bank are live: all others had {file.retire_after} exposures or more"
        raise SealedBankError(what, where=str(path), fix="Seal a new bank. `assay bank show` has the counts.")
    return LiveBank(file, live)


def check_held_out(plan: Plan, catalog: Catalog, target: TargetSpec, at: Located) -> None:
    """What a plan with sealed banks must not have, and that enough of their items are live. Raises `PlanError`."""
    if not catalog.sealed:
        return
    names = ", ".join(catalog.sealed)
    for i, attack in enumerate(plan.matrix.attacks):
        if any(part in catalog.kinds and catalog.kinds[part].family == "strategy" for part in attack.split("+")):
            what = f"'{attack}' adapts to the answers, and its turns would put the prompts of the sealed bank {names} into the evidence"
            raise at.fail(what, f".matrix.attacks[{i}]", fix="Give other hazards a plan of their own for it.")
    judges = [spec.target.kind for spec in (plan.judges.panel if plan.judges else ())]
    if SOURCE in judges:
        raise at.fail(f"what a source plays is in the evidence, and the bank {names} is sealed", ".judges")
    if RECORDED in (target.kind, *judges):
        raise at.fail(f"recorded answers come with digests of the requests, and the bank {names} is sealed", ".target")
    if plan.worlds:
        what = f"episodes keep all that was said, and the bank {names} is sealed"
        raise at.fail(what, ".worlds", fix="Give the worlds a plan of their own.")
    if any(anchor.item.get("stream", {}).get("hazard") in catalog.sealed for anchor in catalog.anchors):
        what = f"the calibration has anchors of the sealed bank {names}, which would put its prompts into the evidence"
        raise at.fail(what, ".judges.calibration", fix="Make it without anchors: assay judge measure --anchors 0.")
    arms = ["plain", *(["attack"] if plan.matrix.attacks else []), *(["placebo"] if plan.matrix.placebo else [])]
    least = max(int(getattr(plan.exploration, arm)) for arm in arms)
    for name in catalog.sealed:
        live, of = len(catalog.hazards[name].scenarios), len(catalog.sealed[name].leaves)
        if live < min(least, of):
            what = f"the plan asks {least} items a cell, and {live} of the {of} items of the sealed bank '{name}' are live"
            raise at.fail(what, ".exploration", fix="Ask fewer, or seal a new bank. `assay bank show` has the counts.")
