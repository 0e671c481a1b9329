"""The formats by name, and the file that is written whole or not at all.

with read_exported(run) as exported:
    write_export("sarif", exported, Path("run.sarif"))
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from assay.exchange.export.rows import ExportedRun, ExportError
from assay.runs import sync_folder


class Format(Struct, frozen=True):
    """One format: its module here, what it is for, which extra it needs, if any, and whether transcripts are in it at all."""

    module: str
    about: str
    extra: str = ""
    texts: bool = True


FORMATS = {
    "csv": Format("csv_file", "One line a trial, for spreadsheets; no cell is a formula."),
    "jsonl": Format("jsonl", "The heading with the decision, then one object a trial, texts as they are."),
    "junit": Format("junit", "A claim is a test case: CI is green only on approve.", texts=False),
    "sarif": Format("sarif", "SARIF 2.1.0: every violation, with its line in the bundle."),
    "parquet": Format("parquet", "One row a trial, typed, for DuckDB and data frames.", "export"),
    "cyclonedx": Format("cyclonedx", "CycloneDX 1.6 ML-BOM: the model card with every rate.", texts=False),
    "oscal": Format("oscal", "OSCAL 1.2.1 assessment results: a requirement is a finding.", texts=False),
    "eee": Format("eee", "Every Eval Ever 0.3: every rate with its interval.", texts=False),
    "inspect": Format("inspect_log", "Inspect AI's .eval, for its viewer and its API.", "inspect"),
}


class Writer(Protocol):
    """What the module of a format offers."""

    def write(self, run: ExportedRun, out: BinaryIO) -> None:
        """Write the whole file."""
        ...


def writer(name: str) -> Writer:
    """The module of a format. Raises `ExportError` where its extra is not installed."""
    chosen = FORMATS[name]
    try:
        module: Writer = import_module(f"assay.exchange.export.{chosen.module}")
    except ModuleNotFoundError as e:
        if not chosen.extra or (e.name or "").startswith("assay"):
            raise
        raise ExportError(
            f"this format needs {e.name}, which is not installed", where=name, fix=f"Install assay[{chosen.extra}]."
        ) from None
    return module


def write_export(name: str, run: ExportedRun, path: Path, *, force: bool = False) -> None:
    """Write a run in a format; the file appears whole or not at all. Another is replaced only with `force`. Raises `ExportError`."""
    if path.is_dir() or (path.exists() and not force):
        raise ExportError("there is such a file already", where=str(path), fix="Choose another --out, or replace it with --force.")
    module = writer(name)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as out:
            module.write(run, out)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as e:
        raise ExportError(f"cannot write here: {e.strerror or e}", where=str(path)) from None
    finally:
        with suppress(OSError):  # a folder that takes nothing gives nothing back either, and the error that says so is on its way
            partial.unlink(missing_ok=True)
