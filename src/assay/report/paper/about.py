"""What the authors give beside the runs: title, parties, prose, sectors, and how old a run may be. Everything is optional.

    assay: paper/1
    title: Joint evaluation of two preview models
    authors: [An institute, A developer]
    parties: {An institute: 3f9c1e0a5b7d2c48}       # key ids that must have signed the runs
    prose: prose                                    # a folder with executive.md, results.md, ... (the chapters' names)
    sectors: [energy, health]
    frameworks: [nist-ai-rmf]
    stale_after_days: 180

about = read_about(Path("paper.yaml"))
"""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 (a field has that name)
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog.yamlfile import Located
from assay.report.paper.sides import Sector, demand_conditions
from assay.report.pieces import PaperError

Line = Annotated[str, Meta(min_length=1, max_length=300)]
KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}\Z")]
MAX_BYTES = 1 << 20
DAY_MS = 86_400_000


class About(Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `date` is the paper's, as an ISO 8601 date: today unless given; `access` is what `assay access audit statistics`
    wrote, `access_key` the id of the key that must have signed it.
    """

    assay: Literal["paper/1"] = "paper/1"
    title: Annotated[str, Meta(max_length=200)] = ""
    subtitle: Annotated[str, Meta(max_length=200)] = ""
    authors: Annotated[tuple[Line, ...], Meta(max_length=30)] = ()
    date: Date | None = None
    parties: Annotated[dict[Line, KeyId], Meta(max_length=20)] = {}
    prose: Annotated[str, Meta(max_length=300)] = ""
    sectors: Annotated[tuple[Sector, ...], Meta(max_length=7)] = ()
    frameworks: Annotated[tuple[Line, ...], Meta(max_length=20)] = ()
    stale_after_days: Annotated[int, Meta(ge=1, le=3650)] = 180
    access: Annotated[str, Meta(max_length=300)] = ""
    access_key: Annotated[str, Meta(pattern=r"^([0-9a-f]{16,64})?\Z")] = ""
    folder: Annotated[str, Meta(max_length=4096)] = ""

    def path(self, name: str) -> Path:
        """A path of the file, seen from the file's folder."""
        return Path(self.folder) / name

    @property
    def chosen(self) -> tuple[Sector, ...]:
        """The sectors that the paper speaks to: all of them unless some were chosen."""
        return self.sectors or tuple(demand_conditions())


def read_about(path: Path) -> About:
    """The file, checked. Raises `PaperError` with the line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise PaperError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise PaperError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    located = Located(data.decode("utf-8", errors="replace"), where=str(path), error=PaperError)
    return msgspec.structs.replace(located.convert(About), folder=str(path.resolve().parent))
