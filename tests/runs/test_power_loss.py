"""An acknowledged trial survives power loss at any moment.

A child appends trials in groups and acknowledges each group on standard output. strace records its every write and sync, in order. From
the record, the disk is rebuilt as power loss would leave it after each system call: what was synced is there; of what was written since,
all, nothing, any part, or half a sector. Every such disk must open, hold every acknowledged trial whole, and hold no torn one.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assay.runs import RunFile
from tests.support import sampled

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")

SECTOR = 512
STATES_PER_CUT = sampled(4, 3)
CHILD = """
import os
import sys
from pathlib import Path
from assay.evidence import open_run
from assay.runs import RunFile
from tests.runs.test_run_file import trial
from tests.support import KEY, NONCE, make_plan
folder = Path(sys.argv[1])
plan, catalog = make_plan()
with RunFile.create(folder / "run.db", open_run(plan, catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)) as run:
    os.write(1, b"ready")
    slot = 0
    for group in (1, 7, 64, 3, 120, 1, 1, 200, 40, 90, 2):
        run.append([trial(slot + i) for i in range(group)], {"committed": slot})
        slot += group
        os.write(1, b"ack %d" % slot)
"""


@dataclass
class File:
    """One file's bytes that are surely on disk, and the writes since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)  # (offset, data), or a truncation to a length

    def sync(self) -> None:
        self.durable = self.after(self.pending)
        self.pending = []

    def after(self, writes: list[tuple[int, bytes] | int]) -> bytearray:
        content = bytearray(self.durable)
        for write in writes:
            if isinstance(write, int):
                content = content[:write].ljust(write, b"\0")
            else:
                offset, data = write
                content = content.ljust(offset, b"\0")
                content[offset : offset + len(data)] = data
        return content

    def states(self, rng: random.Random) -> Iterator[bytearray]:
        """All writes, none, then random parts of them in order, the last of them torn at a sector."""
        yield self.after(self.pending)
        yield self.after([])
        while True:
            some = [w for w in self.pending if rng.random() < 0.6]
            if some and not isinstance(some[-1], int):
                offset, data = some[-1]
                some[-1] = (offset, data[: SECTOR * rng.randrange(len(data) // SECTOR + 1)])
            yield self.after(some)


_CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_DATA = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def unhex(text: str) -> bytes:
    match = _DATA.search(text)
    assert match is not None, text[:200]
    return bytes.fromhex(match.group(1).replace("\\x", ""))


def plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode()


def replayed(trace: Path, folder: Path) -> Iterator[tuple[int, dict[str, File]]]:
    """After every system call that matters: how many trials are acknowledged, and the files."""
    files: dict[str, File] = {}
    acknowledged, ready = 0, False
    for line in trace.read_text().splitlines():
        call = _CALL.match(line)
        if call is None or int(call.group(3)) < 0:
            continue
        name, arguments = call.group(1), call.group(2)
        if name == "write" and arguments.startswith("1<"):
            said = unhex(arguments).decode().split()
            ready = ready or said[:1] == ["ready"]
            acknowledged = int(said[1]) if said[:1] == ["ack"] else acknowledged
            continue
        path = re.search(r"<((?:\\x[0-9a-f]{2})+)>", arguments)
        where = plain(path.group(1)) if path else ""
        key = where.rsplit("/", 1)[-1] if where.startswith(str(folder)) else ""
        if name in ("rename", "renameat", "renameat2"):
            old, new = re.findall(r'"([^"]+)"', arguments)[:2]
            names = [plain(n).rsplit("/", 1)[-1] for n in (old, new)]
            if names[0] in files:  # others are not the run's: compiled modules, for instance
                files[names[1]] = files.pop(names[0])
        elif not key or key.endswith((".lock", "-shm")):
            continue
        elif name == "pwrite64":
            offset = int(arguments.rsplit(",", 1)[1])
            files.setdefault(key, File()).pending.append((offset, unhex(arguments)))
        elif name == "ftruncate":
            files.setdefault(key, File()).pending.append(int(arguments.rsplit(",", 1)[1]))
        elif name in ("fsync", "fdatasync"):
            files.setdefault(key, File()).sync()
        if ready:
            yield acknowledged, files


def test_every_acknowledged_trial_survives_power_loss_after_any_system_call(tmp_path: Path) -> None:
    folder, trace = tmp_path / "run", tmp_path / "trace"
    folder.mkdir()
    calls = "write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2"
    child = subprocess.run(
        ["strace", "-f", "-yy", "-xx", "-s", "10000000", "-e", f"trace={calls}", "-o", trace, sys.executable, "-c", CHILD, folder],
        capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    if child.returncode and "ptrace" in child.stderr:
        pytest.skip("tracing is not permitted here")
    assert child.returncode == 0, child.stderr[-2000:]
    rng, cuts, states = random.Random(9), 0, 0
    disk = tmp_path / "disk"
    for acknowledged, files in replayed(trace, folder):
        cuts += 1
        contents = {name: file.states(rng) for name, file in files.items()}
        for _ in range(STATES_PER_CUT):
            shutil.rmtree(disk, ignore_errors=True)
            disk.mkdir()
            for name, state in contents.items():
                (disk / name).write_bytes(next(state))
            with RunFile.open(disk / "run.db") as run:
                slots = [t.slot for t in run.trials()]
                assert len(slots) >= acknowledged, f"cut {cuts}: {acknowledged} acknowledged, {len(slots)} there"
                assert slots == list(range(len(slots)))
                assert run.opening().plan.name == "small"
                kept = run.checkpoint()
                assert kept is None or kept["committed"] <= len(slots)
            states += 1
    assert cuts > 40
    assert states == STATES_PER_CUT * cuts
