"""What a path that was given is, where it is not what the command takes: said with its name and with the command that takes it.

require_run(Path("first.yaml"))      # raises: this is a plan, and no run
"""

from __future__ import annotations

import re
from pathlib import Path

from assay.cli.words import plain, program, shell_path
from assay.errors import AssayError, EvidenceError, PlanError, RunFileError
from assay.runs import REFERENCE_NAME, RUN_NAME, is_address

HEAD_BYTES = 1 << 16
MOST_NAMED = 5
_FORMAT = re.compile(rb"""^[{\s]*["']?assay["']?\s*:\s*["']?([a-z-]{1,40})/[0-9]+""", re.MULTILINE)
WHAT = {
    "plan": ("a plan", "To run it: {assay} run {path}"),
    "policy": ("a policy", "To see it: {assay} policy show {path}; to hold a plan against it: {assay} policy check PLAN --policy {path}"),
    "signed-policy": ("a signed policy", "To check it: {assay} policy verify {path} --key-id KEYID"),
    "run": ("a run file", "To see its decision: {assay} decide {path}"),
    "bundle": ("a run's bundle", "To check it: {assay} verify {path}"),
}
RUNS = ("run", "bundle")


def kind_of(path: Path) -> str:
    """A key of `WHAT`, or what else stands after `assay:`; empty for what is none of these, or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if head.startswith(b"SQLite format 3\0"):
        return "run"
    if head.startswith(b'{"kind":'):
        return "bundle"
    found = _FORMAT.search(head)
    return found[1].decode() if found else ""


def require_run(path: Path) -> None:
    """Not a plan or the like, and not a folder of several runs; what is none of these is for others to say. Raises `RunFileError`."""
    if is_address(path):
        return
    if path.is_dir():
        _require_one(path)
    elif (kind := kind_of(path)) not in RUNS:
        _refuse(path, kind, "no run", RunFileError)


def require_plan(name: str) -> None:
    """Not a policy, a run or the like; what is not there is for others to say. Raises `PlanError`."""
    kind = kind_of(Path(name))
    if kind != "plan":
        _refuse(Path(name), kind, "no plan", PlanError)


def require_bundle(path: Path) -> None:
    """A file that is there begins as a bundle does, and what is not there is said for what it is. Raises `EvidenceError`."""
    again = going_on(path.parent)
    if path.exists():
        kind = kind_of(path)
        _refuse(path, "" if kind == "bundle" else kind, "no bundle", EvidenceError)
        if path.is_file() and kind != "bundle":
            raise EvidenceError("this is no bundle", where=str(path), fix="A run's bundle is the file evidence.jsonl in its folder.")
    elif again:
        raise EvidenceError("this run is not finished, so it has no bundle yet", where=str(path.parent), fix=f"To go on: {again}")
    elif path.parent.is_dir():
        _require_one(path.parent)


def going_on(folder: Path) -> str:
    """The command by which the run of this folder goes on; empty where there is none."""
    there = (folder / RUN_NAME).exists() or (folder / REFERENCE_NAME).exists()
    return f"{program()} run --resume --out {shell_path(folder)}" if there else ""


def _refuse(path: Path, kind: str, wanted: str, error: type[AssayError]) -> None:
    if kind in WHAT:
        what, fix = WHAT[kind]
        raise error(f"this is {what}, and {wanted}", where=str(path), fix=fix.format(assay=program(), path=shell_path(path)))


def _require_one(folder: Path) -> None:
    if going_on(folder):
        return
    runs = [p for p in folder.iterdir() if p.is_dir() and going_on(p)]
    if runs:
        latest = sorted(runs, key=lambda p: p.stat().st_mtime, reverse=True)
        names = ", ".join(plain(shell_path(p)) for p in latest[:MOST_NAMED])
        more = f", and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
        raise RunFileError("this is a folder of runs: name one of them", where=str(folder), fix=f"The latest: {names}{more}.")
