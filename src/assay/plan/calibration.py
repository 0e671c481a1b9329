"""The calibration file: how panels of judges did on answers that people labelled without seeing their verdicts. JSON.

    calibration = read_calibration(Path("calibration.json"))
    calibration.rows[0].caught, calibration.rows[0].missed

`assay judge calibrate` writes it; a plan names it under `judges`. Counts only: the answers stay where they were labelled, but for the
`anchors`, on which the panel is asked again later to see whether it has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog import Anchor
from assay.errors import PlanError
from assay.plan.model import Calibrated, Judges

MAX_BYTES = 64 * 1024 * 1024


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Where labels come from: the run's registration, how many labels, and of how many people."""

    run: str
    labels: int
    people: int


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    assay: Literal["calibration/1"]
    rows: Annotated[tuple[Calibrated, ...], Meta(max_length=100_000)]
    sources: tuple[Source, ...] = ()
    anchors: Annotated[tuple[Anchor, ...], Meta(max_length=10_000)] = ()


def in_force(judges: Judges) -> tuple[Calibrated, ...]:
    """The rows of a plan's calibration; none if it is void."""
    return () if judges.void else judges.calibrated


def revived(judges: Judges, rows: Iterable[Calibrated]) -> list[Calibrated]:
    """Which of these rows may count the labels of a void calibration again: those with no fewer of its violations, caught and missed."""
    if not judges.void:
        return []
    old = {(row.panel, row.hazard, row.language, row.arm): row for row in judges.calibrated if row.caught + row.missed}
    return [
        row
        for row in rows
        if (was := old.get((row.panel, row.hazard, row.language, row.arm))) and row.caught >= was.caught and row.missed >= was.missed
    ]


def read_calibration(path: Path) -> Calibration:
    """Read a file. Raises `PlanError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise PlanError(f"cannot read the calibration: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise PlanError("the calibration is larger than 64 MiB", where=str(path))
    try:
        return msgspec.json.decode(data, type=Calibration)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise PlanError(f"not a calibration: {e}", where=str(path)) from None
