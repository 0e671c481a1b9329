"""Parquet through pyarrow (extra `export`): one row a trial, typed, compressed with zstd; the heading is in the file's metadata as `assay`.

DuckDB, pandas and Polars read it:

    duckdb -c "select language, avg((outcome = 'violation')::int) from 'run.parquet' where arm = 'attack' group by all"
"""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assay.exchange.export.jsonl import FORMAT, heading_json
from assay.exchange.export.rows import TEXTS, ExportedRun, Row
from assay.exchange.export.spelling import json_line

MAX_ROWS = 10_000
MAX_CHARACTERS = 32_000_000
"""A row group holds no more, so that long answers do not fill the memory."""

_WORDS = pa.dictionary(pa.int32(), pa.string())
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("hazard", "language", "attack", "arm", "outcome", "label", "kind", "how", "reason", "judge"), _WORDS),
    **dict.fromkeys(("slot", "index", "prompt_tokens", "answer_tokens"), pa.int64()),
    **dict.fromkeys(("useful", "truncated"), pa.bool_()),
    "at": pa.timestamp("ms", tz="UTC"),
    "prompt": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "turns": pa.list_(pa.struct([("prompt", pa.string()), ("answer", pa.string()), ("truncated", pa.bool_())])),
}


def schema(run: ExportedRun) -> Any:
    """The columns, without those of texts where transcripts are withheld."""
    names = [f for f in Row.__struct_fields__ if run.heading.transcripts or f not in TEXTS]
    about = {"assay": json_line({"format": FORMAT, **heading_json(run.heading)})}
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in names], metadata=about)


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the trials in row groups of bounded size."""
    columns = schema(run)
    with pq.ParquetWriter(out, columns, compression="zstd") as file:
        rows: list[dict[str, Any]] = []
        size = 0
        for row in run.rows():
            rows.append({k: v for k, v in msgspec.to_builtins(row).items() if k in columns.names})
            size += _size(row)
            if len(rows) >= MAX_ROWS or size >= MAX_CHARACTERS:
                file.write_table(pa.Table.from_pylist(rows, schema=columns))
                rows, size = [], 0
        file.write_table(pa.Table.from_pylist(rows, schema=columns))


def _size(row: Row) -> int:
    turns = sum(len(t.prompt) + len(t.answer) for t in row.turns or ())
    return len(row.answer or "") + turns + sum(len(m.content) for m in row.prompt or ())
