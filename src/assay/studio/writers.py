"""Who is writing a run file, and whether a process is still the one that was started. Looks only: it takes no lock, not even for a moment,
since a run that is about to begin would find the file taken.

writer_of(folder / "run.db")             # the id of the process that holds the run's lock, or None
is_alive(pid, born)                      # whether that process lives, and is no later one with the same number
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOCKS = Path("/proc/locks")
PROCESSES = Path("/proc")
FRESH_S = 15.0


def writer_of(run: Path) -> int | None:
    """The process that is writing a run file; 0 where this system does not tell which, but somebody wrote in the last 15 seconds."""
    lock = run.with_name(run.name + ".lock")
    try:
        found = lock.stat()
    except OSError:
        return None
    try:
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return _fresh(run)
    for line in lines:
        words = line.split()
        if len(words) < 6 or "FLOCK" not in words or "->" in words:
            continue
        device, _, inode = words[-3].rpartition(":")
        if inode != str(found.st_ino) or not words[-4].isdigit():
            continue
        pid = int(words[-4])
        if device == f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}" or _has_open(pid, lock):
            return pid
    return None


def _has_open(pid: int, lock: Path) -> bool:
    """Where a file system gives its files and its locks different devices, the process's open files tell."""
    try:
        return any(os.path.realpath(fd) == os.path.realpath(lock) for fd in (PROCESSES / str(pid) / "fd").iterdir())
    except OSError:
        return False


def _fresh(run: Path) -> int | None:
    try:
        found = [p.stat() for p in (run, run.with_name(run.name + "-wal")) if p.exists()]
        written = max(f.st_mtime for f in found if f.st_size)  # an empty log beside the run file is a reader's
    except (OSError, ValueError):
        return None
    return 0 if time.time() - written < FRESH_S else None


def born(pid: int) -> str:
    """When a process began, in the system's own words; empty where that cannot be told."""
    try:
        return (PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_alive(pid: int, when: str) -> bool:
    """Whether a process lives that began then. False where its beginning cannot be told."""
    if not when or born(pid) != when:
        return False
    try:
        state = (PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")
