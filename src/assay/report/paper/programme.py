"""The early-access programme in figures: what the gate signed of its own audit log (`assay access audit statistics`).

programme = read_programme(Path("access.json"))
for block in programme_blocks(words, programme): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.errors import EvidenceError
from assay.evidence.programme import Statistics, open_statistics
from assay.report.paper.body import Words, cell
from assay.report.paper.document import Block, Heading, Paragraph, Table
from assay.report.pieces import Figure, PaperError, Reference, Text, say
from assay.report.words import iso_day

MAX_BYTES = 4 << 20


class Programme(Struct, frozen=True):
    """Statistics that were signed, by which key, and the digest that figures of them are bound to."""

    statistics: Statistics
    keyid: str
    digest: str


def read_programme(path: Path, key_id: str = "") -> Programme:
    """The file, its signature checked; with `key_id`, by that key. Raises `PaperError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise PaperError(f"cannot read: {e.strerror}", where=str(path)) from None
    try:
        statistics, keyid, digest = open_statistics(msgspec.json.decode(data[:MAX_BYTES]))
    except (EvidenceError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        what = e.what if isinstance(e, EvidenceError) else f"not the statistics of an audit log: {str(e)[:200]}"
        raise PaperError(what, where=str(path), fix="Write it anew: assay access audit statistics") from None
    if key_id and not keyid.startswith(key_id):
        raise PaperError(f"signed by {keyid[:16]}..., not by {key_id[:16]}...", where=str(path))
    return Programme(statistics, keyid, digest)


def programme_blocks(words: Words, programme: Programme | None) -> Iterator[Block]:
    """The chapter; where nothing was given, that is said."""
    yield Heading(1, words["access"], "access")
    if programme is None:
        yield Paragraph(say(words["access_none"]))
        return
    s = programme.statistics

    def n(value: int | str) -> Figure:
        return Figure(f"{value:,}" if isinstance(value, int) else value, (programme.digest,))

    yield Paragraph(say(
        words["access_text"], key=Reference(f"{programme.keyid[:16]}…", code=True), first=n(iso_day(s.first)), last=n(iso_day(s.last)),
        organisations=n(s.organisations), persons=n(s.persons), requests=n(s.requests), grants=n(s.grants), denied=n(s.denied),
    ))  # fmt: skip
    yield Paragraph(say(words["access_events"], cut=n(s.cut), halts=n(s.halts), alerts=n(s.alerts), emergencies=n(s.emergencies)))
    head = ("system", "tier", "requests", "answered", "denied", "tokens")
    rows = tuple(
        (cell(n(r.model)), cell(n(r.tier)), *(cell(n(v), number=True) for v in (r.requests, r.answered, r.denied, r.tokens)))
        for r in s.rows
    )
    yield Table((Text(words["access_table"]),), tuple(words[f"col_{c}"] for c in head), rows, (3, 2, 1.5, 1.5, 1.5, 2), "table-access")
