"""Inspect AI's log, `.eval`: every trial a sample, for its viewer and its API. Needs the extra `inspect`, in a process of its own.

Inspect's library costs 90 MB and more than a second to import, so a child process writes the file (`inspect_child.py`), from the lines that
`jsonl` writes. An outcome stays a word: `violation`, `safe` or `unscorable`, never right or wrong, so that nothing that could not be scored
is counted as either. Inspect's own metrics are not used; the rates in the log are ours.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from assay.exchange.export import jsonl
from assay.exchange.export.rows import ExportedRun, ExportError

if find_spec("inspect_ai") is None:
    raise ModuleNotFoundError("inspect_ai is not installed", name="inspect_ai")

CHILD = "assay.exchange.export.inspect_child"
MAX_TRIALS = 200_000
"""As many as an import takes."""


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the log. Raises `ExportError` with the child's last words if it fails, and for more than `MAX_TRIALS` trials."""
    if run.heading.decision.trials > MAX_TRIALS:
        raise ExportError(
            f"{run.heading.decision.trials:,} trials are too many for a log of Inspect, which takes {MAX_TRIALS:,}",
            where="inspect",
            fix="Export to jsonl or parquet.",
        )
    with tempfile.TemporaryDirectory(prefix="assay-export-") as folder:
        lines, log = Path(folder) / "run.jsonl", Path(folder) / "run.eval"
        with lines.open("wb") as file:
            jsonl.write(run, file)
        command = [sys.executable, "-P", "-m", CHILD, str(lines), str(log)]
        done = subprocess.run(command, capture_output=True, check=False, cwd=folder)  # noqa: S603 - our own module
        if done.returncode or not log.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise ExportError(f"Inspect could not write the log: {said[-1][:300] if said else 'no reason given'}", where="inspect")
        with log.open("rb") as file:
            copyfileobj(file, out)
