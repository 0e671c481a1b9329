"""JSON Lines: the first line is the run with its decision, every further one a trial, all texts as they are.

The leaf hashes of registration and trials give the signed root again, also where transcripts are withheld (RFC 6962, section 2.1).
"""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from assay.exchange.export.rows import TEXTS, ExportedRun, Heading
from assay.exchange.export.spelling import json_line

FORMAT = "assay-export/1"


def heading_json(heading: Heading) -> dict[str, Any]:
    """The heading as it is written: streams by their keys."""
    value: dict[str, Any] = msgspec.to_builtins(heading)
    for cell, given in zip(value["cells"], heading.cells, strict=True):
        cell["stream"] = given.stream.key
    return value


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the run."""
    out.write(json_line({"line": "run", "format": FORMAT, **heading_json(run.heading)}))
    shown = run.heading.transcripts
    for row in run.rows():
        value = msgspec.to_builtins(row)
        if not shown:
            value = {k: v for k, v in value.items() if k not in TEXTS}
        out.write(json_line({"line": "trial", **value}))
