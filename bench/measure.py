"""Run commands as their user would, and measure what they cost the machine: CPU, wall, peak memory, bytes left on disk.

with local_server(latency_ms=0) as url:
    cost = measure(["assay", "run", ...], cwd=folder)
    cost.cpu_s, cost.wall_s, cost.rss_mb, cost.bytes
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """What one command cost. CPU is user and system time of the process and all its waited-for children."""

    cpu_s: float
    wall_s: float
    rss_mb: float
    code: int
    bytes: int = 0


@contextmanager
def local_server(*, latency_ms: float = 0.0) -> Iterator[str]:
    """The benchmark's server in its own process (on the last core, where there are several); yields its base URL."""
    command = [sys.executable, "-m", "bench.server", "--latency-ms", str(latency_ms)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: pin_to(-1))
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def pin_to(core: int) -> None:
    """This process on one core, so that server and client do not share one; nothing on a machine with a single core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core]})


def measure(
    command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, log: Path | None = None, allowed: tuple[int, ...] = (0,)
) -> Cost:
    """Run a command to its end on the first core. Raises `RuntimeError` with the end of its output for an exit code not allowed.

    `rss_mb` is the peak of the command's own process, sampled; `bytes` counts what is in `cwd` afterwards and was not before.
    """
    before = disk_bytes(cwd)
    log = log or cwd.parent / f"{cwd.name}.log"
    with log.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=user_environment() | dict(env or {}), stdout=out, stderr=subprocess.STDOUT, preexec_fn=lambda: pin_to(0)
        )
        peak = Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"exit {process.returncode}: {' '.join(command)}\n{tail}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, wall, peak.stop(), process.returncode, disk_bytes(cwd) - before)


def user_environment() -> dict[str, str]:
    """The environment, without the setting that keeps Python from caching compiled modules: users' machines cache them."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


class Peak:
    """Samples a process's peak memory as the kernel keeps it; its rusage would count the memory of whoever started it."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            try:
                line = next(row for row in self._status.read_text().splitlines() if row.startswith("VmHWM"))
            except (OSError, StopIteration):
                return
            self._mb = max(self._mb, int(line.split()[1]) / 1024)

    def stop(self) -> float:
        """The peak so far, in MB; no more samples."""
        self._over.set()
        self._thread.join()
        return self._mb


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
