"""Nothing that the audit log has acknowledged is lost: processes are killed at random times, and power fails after every system call."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyrage
import pytest

from assay.access.audit.segment import seal, segments
from assay.access.audit.verify import verify
from tests.access.audited import KEY, ROOT, child, fill
from tests.runs.test_power_loss import replayed
from tests.support import sampled


@pytest.fixture(scope="module")
def auditor() -> Any:
    return pyrage.x25519.Identity.generate()


WRITER = """
import asyncio, os, sys
from pathlib import Path
from assay.access.audit.log import AuditLog
from assay.ledger import load_key
from tests.access.audited import decided, ended, fresh
async def main():
    folder, worker, base = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    key, most = load_key(folder.parent / "key.pem"), int(sys.argv[4])
    log = AuditLog(folder, worker, key, sys.argv[5:], spend=fresh, checkpoint_s=0.05, roll_bytes=most)
    await log.start()
    os.write(1, b"ready\\n")
    turn = iter(range(base, base + 10**6))
    async def one():
        for i in turn:
            digest = log.content("request", "", b"content %d" % i)
            await log.write(decided(i, request_digest=digest), nonce=(b"n", 1))
            os.write(1, b"ack %d\\n" % i)
            log.note(ended(i))
    await asyncio.gather(*(one() for _ in range(16)))
asyncio.run(main())
"""


def acknowledged(out: str) -> set[str]:
    whole = out[: out.rfind("\n") + 1]
    return {f"req_{int(line.split()[1]):024x}" for line in whole.splitlines() if line.startswith("ack ")}


@pytest.mark.parametrize("roll_bytes", [1 << 28, 20_000])
def test_killed_at_any_time_no_acknowledged_record_is_lost(tmp_path: Path, auditor: Any, roll_bytes: int) -> None:
    folder, rng = tmp_path / "audit", random.Random(4)
    (tmp_path / "key.pem").write_bytes(KEY.to_pem())
    told: set[str] = set()
    for turn in range(4):
        base = (turn + 1) * 10**7
        two = [child(WRITER, folder, f"w{i}", base + i * 10**6, roll_bytes, auditor.to_public()) for i in range(2)]
        for process in two:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.stderr.read() if process.stderr else ""
        time.sleep(rng.uniform(0.0, 0.4))
        for process in two:
            process.send_signal(signal.SIGKILL)
            told |= acknowledged(process.communicate(timeout=30)[0])
    assert len(told) > 100
    there = [r["id"] for r in records_that_hold(folder)]
    assert told <= set(there)
    assert len(there) == len(set(there))
    sealed = seal(folder, KEY, int(time.time() * 1000))
    assert len(sealed) == 2 if roll_bytes > 10**6 else 2 <= len(sealed) <= 4  # one may have been begun and not taken yet
    assert roll_bytes > 10**6 or len(segments(folder)) > 8  # a writer each turn begins one; more are rolls
    found = verify(folder, identities=[auditor])
    assert found.ok, found.findings
    assert found.signed == found.records
    assert found.living == 0


def records_that_hold(folder: Path) -> list[dict[str, Any]]:
    return [
        r
        for r in (json.loads(line)["record"] for p in segments(folder) for line in p.read_bytes().split(b"\n")[:-1])
        if r["kind"] == "decided"
    ]


LOSING = """
import asyncio, os, sys
from pathlib import Path
from assay.access.audit.log import AuditLog
from assay.ledger import load_key
from tests.access.audited import decided, fresh
async def main():
    folder = Path(sys.argv[1])
    log = AuditLog(folder, "w0", load_key(folder.parent / "key.pem"), sys.argv[2:], spend=fresh, checkpoint_s=0.02)
    await log.start()
    os.write(1, b"ready")
    done = 0
    for group in (1, 7, 64, 3, 200, 1, 1, 40, 2):
        digests = [log.content("request", "", b"content" * (i % 50)) for i in range(group)]
        await asyncio.gather(*(log.write(decided(done + i, request_digest=d)) for i, d in enumerate(digests)))
        done += group
        os.write(1, b"ack %d" % done)
        await asyncio.sleep(0.03)
asyncio.run(main())
os._exit(0)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_every_acknowledged_record_survives_power_loss_after_any_system_call(tmp_path: Path, auditor: Any) -> None:
    folder, trace = tmp_path / "audit", tmp_path / "trace"
    folder.mkdir()
    (tmp_path / "key.pem").write_bytes(KEY.to_pem())
    calls = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2"
    run = subprocess.run(
        ["strace", "-f", "-yy", "-xx", "-s", "10000000", "-e", f"trace={calls}", "-o", trace, sys.executable, "-c", LOSING, folder,
         str(auditor.to_public())],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if run.returncode and "ptrace" in run.stderr:
        pytest.skip("tracing is not permitted here")
    assert run.returncode == 0, run.stderr[-2000:]
    name = segments(folder)[0].stem
    synced_writes(trace, folder, name)
    rng, disk, cuts, torn = random.Random(9), tmp_path / "disk", 0, 0
    for told, files in replayed(trace, folder):
        cuts += 1
        if cuts % 3 and told == 0:
            continue
        states = {n: f.states(rng) for n, f in files.items()}
        for _ in range(sampled(5, 3)):
            shutil.rmtree(disk, ignore_errors=True)
            (disk / "ends" / "checkpoints").mkdir(parents=True)
            for n, state in states.items():
                at = disk / "ends" / n if n in ("entries.jsonl", "log.json", "log.vkey") else disk / n
                at = disk / "ends" / "checkpoints" / n if n.endswith(".note") else at
                at.write_bytes(next(state))
            if not (disk / f"{name}.jsonl").exists() or not (disk / "ends" / "log.json").exists():
                assert told == 0
                continue
            fill(disk, "w1", n=1, first=10**6)
            found = verify(disk, identities=[auditor])
            assert found.ok, (cuts, found.findings)
            torn += bool(found.torn)
            ids = [r["id"] for r in records_that_hold(disk)]
            assert ids[:-1] == [f"req_{i:024x}" for i in range(len(ids) - 1)]
            assert len(ids) - 1 >= told, f"cut {cuts}: {told} acknowledged, {len(ids) - 1} there"
    assert cuts > 40
    assert torn


def synced_writes(trace: Path, folder: Path, name: str) -> None:
    """What `replayed` does not know of, in its words: appends are writes at an offset, and one to a segment is on disk when it returns
    (O_DSYNC). Folders are left out.
    """
    begun = "".join(f"\\x{b:02x}" for b in f".{name}.partial".encode())
    assert any("openat(" in line and "O_DSYNC" in line and begun in line for line in trace.read_text().splitlines())
    lengths: dict[str, int] = {}
    done = []
    for line in joined(trace.read_text().splitlines()):
        hexed = next((part.split(">")[0] for part in line.split("<")[1:] if part.startswith("\\x")), "")
        path = bytes.fromhex(hexed.replace("\\x", "")).decode(errors="replace") if hexed else ""
        if "sync(" in line and Path(path).is_dir():
            continue
        size = line.rpartition("= ")[2].split(" ")[0]
        if " write(" not in line or not path.startswith(str(folder)) or not size.isdecimal():
            done.append(line)
            continue
        own = path.endswith((f"/{name}.jsonl", f"/.{name}.partial"))
        key = name if own else path
        at = 0 if path.endswith(".partial") and not own else lengths.get(key, 0)
        lengths[key] = at + int(size)
        call = line.rpartition(", ")[0].replace(" write(", " pwrite64(")
        done.append(f"{call}, {size}, {at}) = {size}")
        if own:
            pid, _, rest = line.partition(" write(")
            done.append(f"{pid} fdatasync({rest.split(',')[0]}) = 0")
    trace.write_text("\n".join(done) + "\n")


def joined(lines: list[str]) -> list[str]:
    """strace breaks a call in two where another thread comes in between: put them together at their end."""
    begun: dict[str, str] = {}
    out = []
    for line in lines:
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif "resumed>" in line and pid in begun:
            out.append(begun.pop(pid) + line.split("resumed>", 1)[1])
        else:
            out.append(line)
    return out
