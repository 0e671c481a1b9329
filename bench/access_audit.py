"""The audit log's cost: two records a request at a concurrency of 64, each decision on disk before its request goes on; and reading it.

    python -m bench.access_audit [--requests 50000] [--folder DIR]

Prints one JSON object: requests and records a second, CPU of the event loop and of all threads (microseconds a request), how long a write
takes, with digests only and with contents encrypted to an auditor; seconds to search, sum up and verify what was written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyrage
import uvloop

from assay.access.audit.log import AuditLog
from assay.access.audit.read import Query, search
from assay.access.audit.verify import verify
from assay.access.audit.who import who
from assay.ledger import PrivateKey

CONCURRENCY = 64
BODY = b"x" * 2000


def decided(i: int) -> dict[str, Any]:
    return {
        "kind": "decided", "at": time.time_ns() // 1_000_000, "id": f"req_{i:024x}", "grant": f"power-{i % 100}", "version": 3,
        "person": "Ada Tan", "organisation": "Grid of Singapore", "purpose": "harden the control room's assistants", "model": "m7",
        "digest": "sha256:" + "a" * 64, "route": "chat.completions", "network": "192.0.2.7", "system": "scada-lab", "tools": ["read_file"],
        "stream": True, "tier": "operator", "decision": "delay", "epoch": 123456789, "rules": ["operators-under-delay"],
        "reserved": [1, 4500, 120000],
    }  # fmt: skip


def ended(i: int) -> dict[str, Any]:
    at = time.time_ns() // 1_000_000
    return {"kind": "ended", "at": at, "id": f"req_{i:024x}", "how": "complete", "tokens": 512, "money": 1200, "ms": 700, "first_ms": 90}


async def written(folder: Path, requests: int, auditors: tuple[str, ...]) -> dict[str, float]:
    log = AuditLog(folder, "w0", PrivateKey.generate(), auditors, spend=lambda nonces, now: [True] * len(nonces))
    await log.start()
    took: list[float] = []
    handing = 0.0
    turn = iter(range(requests))

    async def one() -> None:
        nonlocal handing
        for i in turn:
            began = time.perf_counter()
            record, end = decided(i), ended(i)
            given = time.perf_counter()
            record["request_digest"] = log.content("request", record["id"], BODY)
            handing += time.perf_counter() - given
            await log.write(record, nonce=(b"nonce", 1))
            took.append(time.perf_counter() - began)
            end["answer_digest"] = log.content("answer", record["id"], BODY)
            log.note(end)

    wall, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
    await asyncio.gather(*(one() for _ in range(CONCURRENCY)))
    wall, cpu, loop = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - loop
    await log.stop()
    took.sort()
    return {
        "requests_per_s": round(requests / wall),
        "records_per_s": round(2 * requests / wall),
        "loop_us": round(loop / requests * 1e6, 1),
        "all_threads_us": round(cpu / requests * 1e6, 1),
        "content_us": round(handing / requests * 1e6, 1),
        "write_ms_p50": round(took[len(took) // 2] * 1e3, 2),
        "write_ms_p99": round(took[len(took) * 99 // 100] * 1e3, 2),
    }


async def paced(folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """At a steady rate: how long a write takes where nothing else holds it up."""
    log = AuditLog(folder, "w0", PrivateKey.generate(), spend=lambda nonces, now: [True] * len(nonces))
    await log.start()
    took: list[float] = []

    async def one(i: int) -> None:
        began = time.perf_counter()
        await log.write(decided(i), nonce=(b"nonce", 1))
        took.append(time.perf_counter() - began)
        log.note(ended(i))

    began, tasks = time.perf_counter(), set()
    for i in range(int(rate * seconds)):
        wait = began + i / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(i))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    await log.stop()
    took.sort()
    return {"rate": rate, "write_ms_p50": round(took[len(took) // 2] * 1e3, 2), "write_ms_p99": round(took[len(took) * 99 // 100] * 1e3, 2)}


def reading(folder: Path) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, act in (
        ("search_one_grant_s", lambda: sum(1 for _ in search(folder, Query(grant="power-7")))),
        ("search_all_s", lambda: sum(1 for _ in search(folder, Query()))),
        ("who_s", lambda: len(who(folder, "m7"))),
        ("verify_s", lambda: len(verify(folder).findings)),
    ):
        began = time.perf_counter()
        out[name.replace("_s", "_found")] = act()
        out[name] = round(time.perf_counter() - began, 2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where: what is measured is this disk")
    chosen = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=chosen.folder))
    auditor = str(pyrage.x25519.Identity.generate().to_public())
    try:
        result = {
            "digests_only": uvloop.run(written(place / "a", chosen.requests, ())),
            "contents": uvloop.run(written(place / "b", min(chosen.requests, 50_000), (auditor,))),
            "paced": uvloop.run(paced(place / "c", 2500, 4.0)),
            "reading": {"records": 2 * chosen.requests, **reading(place / "a")},
        }
    finally:
        shutil.rmtree(place)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
