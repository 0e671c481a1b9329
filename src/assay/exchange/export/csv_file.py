"""CSV (RFC 4180) for spreadsheets: one line a trial, every cell quoted, no cell a formula.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, whatever the quotes around it (CWE-1236), so such a text gets an apostrophe
in front, and so does one that begins with white space or an apostrophe: taking one away gives the text back. Control characters that CSV
has no place for are shown as U+FFFD. Whoever needs every text as it is takes `jsonl`.
"""

from __future__ import annotations

import csv
import io
import re
from typing import BinaryIO

import msgspec

from assay.exchange.export.rows import TEXTS, ExportedRun, Row
from assay.exchange.export.spelling import iso

COLUMNS = Row.__struct_fields__
_RISKY = re.compile(r"[\s=+\-@\uff0b\uff0d\uff1d\uff20']")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def cell(value: object) -> str:
    """A value as the text of a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = _CONTROLS.sub("\ufffd", value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return "'" + text if _RISKY.match(text) else text


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the trials; without the columns of texts where transcripts are withheld."""
    columns = [c for c in COLUMNS if run.heading.transcripts or c not in TEXTS]
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    lines = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    lines.writerow(columns)
    for row in run.rows():
        lines.writerow([iso(row.at) if c == "at" else cell(getattr(row, c)) for c in columns])
    text.flush()
    text.detach()
