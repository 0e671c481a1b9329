"""A log of Inspect AI as values, read by a child process: needs the extra `inspect`, and does not import it here.

log = read_log(Path("logs/2026-11-02.eval"))
log.header.model, len(log.samples), log.digest
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from assay.errors import CatalogError
from assay.exchange.inspect_log.samples import LogHeader, LogSample, read_samples

CHILD = "assay.exchange.inspect_log.child"
MAX_BYTES = 2 * 1024**3
PATIENCE_S = 2 * 3600
_PIECE = 1024 * 1024


class Log(Struct, frozen=True):
    """One log: its file's name and digest, what it says of itself, its samples as they stand in it."""

    name: str
    digest: str
    header: LogHeader
    samples: list[LogSample]


def read_log(path: Path) -> Log:
    """Read a log. Raises `CatalogError` in one line for what cannot be read, is too large, or changes while it is read."""
    if find_spec("inspect_ai") is None:
        raise CatalogError("an Inspect log needs inspect_ai, which is not installed", where=str(path), fix="Install assay[inspect].")
    before = _digest(path)
    with tempfile.TemporaryDirectory(prefix="assay-import-") as folder:
        out = Path(folder) / "samples.jsonl"
        command = [sys.executable, "-P", "-m", CHILD, str(path.resolve()), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, cwd=folder)  # noqa: S603 - our own module
        except subprocess.TimeoutExpired:
            raise CatalogError(f"reading it takes longer than {PATIENCE_S // 3600} hours", where=str(path)) from None
        if done.returncode or not out.is_file():
            raise CatalogError(_why(done.stderr.decode(errors="replace"), done.returncode), where=str(path))
        header, samples = read_samples(out, str(path))
    if _digest(path) != before:
        raise CatalogError("it changed while it was read", where=str(path))
    return Log(path.name[:200], before, header, samples)


def _why(said: str, code: int) -> str:
    """The child's last words, with nothing in them that steers a terminal."""
    lines = said.strip().splitlines()
    words = "".join(c if c.isprintable() else "?" for c in lines[-1])[:400] if lines else ""
    return words or f"reading it ended without a word (code {code}): too much memory, or too much time"


def _digest(path: Path) -> str:
    h = hashlib.sha256()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogError(f"larger than {MAX_BYTES >> 30} GiB", where=str(path))
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                h.update(piece)
    except OSError as e:
        raise CatalogError(f"cannot read it: {e.strerror}", where=str(path)) from None
    return "sha256:" + h.hexdigest()
