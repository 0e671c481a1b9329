"""The door: requests a second on one core, what it adds, how fast a halt cuts, memory over time; beside the bare upstream.

`make bench-access` (ARGS="--minutes 60" for the memory of an hour; "--peer" beside LiteLLM's proxy, in an environment of its own).

Streams of 64 parts at concurrency 64, with proof of possession, rules, quota and an audit record that is synced to disk before each request
goes upstream. The gate has one worker, on a core of its own where there are two or more; client and upstream are on the others. Where these
two are the slower ones, the wall clock says what they can do, not what the gate can: so its own processor time a request, by which
one core's requests a second are counted, stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from tests.access.gate import CHAT, Client, Gate, free_port, now_ms, wait_for

from assay.access.credentials.tokens import proof_header
from bench.access import peer
from bench.access.wire import PARTS, load

RESULTS = Path(__file__).parents[1] / "results" / "access.json"
ROOT = Path(__file__).parents[2]
BODY = msgspec.json.encode({**CHAT, "max_tokens": PARTS, "stream": True})
DIGEST = hashlib.sha256(BODY).digest()
PATH = "/v1/chat/completions"
TASKSET = "/usr/bin/taskset"


def request(host: str, headers: dict[str, str]) -> bytes:
    """A request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


def asking(client: Client) -> Callable[[], bytes]:
    """Requests by this client, each with a proof of its own."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Assay {client.token}\r\nContent-Type: application/json\r\n"
    tail = f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY

    def one() -> bytes:
        proof = proof_header(client.mac, "POST", client.host, PATH.encode(), DIGEST, now_ms())
        return f"{head}X-Assay-Proof: {proof}\r\n".encode() + tail

    return one


@contextlib.contextmanager
def fast_upstream(core: int) -> Iterator[int]:
    """The bench's own upstream."""
    port = free_port()
    process = subprocess.Popen([TASKSET, "-c", str(core), sys.executable, "-m", "bench.access.wire", "upstream", str(port)], cwd=ROOT)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """Processor seconds of a process, its threads and its children that are running."""
    total = 0.0
    for each in (pid, *children(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *children(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def children(pid: int) -> list[int]:
    """The processes that it started."""
    return [int(c) for task in Path(f"/proc/{pid}/task").glob("*") for c in (task / "children").read_text().split()]


@contextlib.contextmanager
def bare_proxy(core: int, upstream: int) -> Iterator[tuple[int, int]]:
    """The barest proxy on a core: its port and its process."""
    port = free_port()
    command = [TASKSET, "-c", str(core), sys.executable, "-m", "bench.access.proxy", str(port), str(upstream)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


async def measure_proxy(port: int, pid: int, given: argparse.Namespace) -> dict[str, float]:
    """The same load on the barest proxy."""
    plain = request(f"127.0.0.1:{port}", {"Content-Type": "application/json"})
    await load(port, lambda: plain, count=2000, concurrency=64)
    rates, cpus = [], []
    for _ in range(given.rounds):
        before = cpu_s(pid)
        seconds, _ = await load(port, lambda: plain, count=given.count, concurrency=64)
        cpus.append((cpu_s(pid) - before) / given.count)
        rates.append(given.count / seconds)
    return {"bare_proxy_requests_per_s": max(rates), "bare_proxy_cpu_us_per_request": 1e6 * min(cpus)}


async def measure_peer(port: int, pid: int, upstream: int, given: argparse.Namespace) -> dict[str, float]:
    """The same load on LiteLLM's proxy, with fewer requests."""
    bare = request(f"127.0.0.1:{upstream}", {"Content-Type": "application/json"})
    asked = request(f"127.0.0.1:{port}", {"Content-Type": "application/json", "Authorization": f"Bearer {peer.MASTER}"})
    await peer.answers(port, PATH, BODY)
    count = max(256, given.count // 8)
    await load(port, lambda: asked, count=128, concurrency=64)
    rates, cpus, slow, fast = [], [], [], []
    for _ in range(given.rounds):
        before = cpu_s(pid)
        seconds, _ = await load(port, lambda: asked, count=count, concurrency=64)
        cpus.append((cpu_s(pid) - before) / count)
        rates.append(count / seconds)
    for _ in range(given.singles):
        _, times = await load(port, lambda: asked, count=1, concurrency=1)
        slow += times
        _, times = await load(upstream, lambda: bare, count=1, concurrency=1)
        fast += times
    return {
        "litellm_requests_per_s": max(rates),
        "litellm_cpu_us_per_request": 1e6 * min(cpus),
        "litellm_added_ms_p50": 1000 * (statistics.median(slow) - statistics.median(fast)),
    }


async def measure(gate: Gate, upstream: int, given: argparse.Namespace) -> dict[str, float]:
    """Everything but memory over time."""
    assert gate.process is not None
    pid = gate.process.pid
    bare_request = request(f"127.0.0.1:{upstream}", {"Content-Type": "application/json"})
    out: dict[str, float] = {}
    async with gate.client() as client:
        ask = asking(client)
        await load(gate.port, ask, count=2000, concurrency=64)
        rates, each, cpus, bares, bare_each = [], [], [], [], []
        for _ in range(given.rounds):
            seconds, times = await load(upstream, lambda: bare_request, count=given.count, concurrency=64)
            bares.append(given.count / seconds)
            bare_each += times
            before = cpu_s(pid)
            seconds, times = await load(gate.port, ask, count=given.count, concurrency=64)
            cpus.append((cpu_s(pid) - before) / given.count)
            rates.append(given.count / seconds)
            each += times
        out["requests_per_s"] = max(rates)
        out["requests_per_s_by_cpu"] = 1 / min(cpus)
        out["gate_cpu_us_per_request"] = 1e6 * min(cpus)
        out["bare_upstream_requests_per_s"] = max(bares)
        out["loaded_ms_p50"] = 1000 * statistics.median(each)
        out["bare_loaded_ms_p50"] = 1000 * statistics.median(bare_each)
        slow, fast = [], []
        for _ in range(given.singles):
            _, times = await load(gate.port, ask, count=1, concurrency=1)
            slow += times
            _, times = await load(upstream, lambda: bare_request, count=1, concurrency=1)
            fast += times
        out["added_ms_p50"] = 1000 * (statistics.median(slow) - statistics.median(fast))
        out["added_ms_p99"] = 1000 * (statistics.quantiles(slow, n=100)[98] - statistics.median(fast))
    return out


async def cut(gate: Gate, streams: int) -> dict[str, float]:
    """How long after a halt was put into the store the last of so many live streams is closed."""
    async with gate.client() as client:
        body = msgspec.json.encode({**CHAT, "stream": True, "max_tokens": 4000, "user": "slow:20"})

        async def one() -> float:
            headers = client.headers("POST", PATH, body)
            async with client.session.post(PATH, data=body, headers=headers) as answer:
                assert answer.status == 200
                started.append(1)
                async for _ in answer.content.iter_any():
                    pass
                return time.perf_counter()

        started: list[int] = []
        tasks = [asyncio.create_task(one()) for _ in range(streams)]
        until = time.perf_counter() + 60
        while len(started) < streams:
            await asyncio.sleep(0.05)
            assert time.perf_counter() < until, len(started)
            assert not any(t.done() for t in tasks), next(t for t in tasks if t.done()).result()
        await asyncio.sleep(0.5)
        put = time.perf_counter()
        halt = await asyncio.to_thread(gate.stop_all, f"bench-{streams}")
        stored = time.perf_counter()
        ended = await asyncio.gather(*tasks)
        gate.lift(halt)
    return {"live_streams": streams, "halt_cut_ms": 1000 * (max(ended) - put), "halt_store_ms": 1000 * (stored - put)}


async def memory(gate: Gate, minutes: float) -> dict[str, float]:
    """Resident memory at the start and at the end of so many minutes of load, and how it grew over the second half of them."""
    assert gate.process is not None
    async with gate.client() as client:
        ask = asking(client)
        await load(gate.port, ask, count=3000, concurrency=64)
        first, began, served, seen = rss_mb(gate.process.pid), time.monotonic(), 3000, []
        while (now := time.monotonic() - began) < 60 * minutes:
            await client.sign_in("power", "Tan")
            ask = asking(client)
            await load(gate.port, ask, count=5000, concurrency=64)
            served += 5000
            seen.append((now, rss_mb(gate.process.pid)))
            if len(seen) % 20 == 1:
                print(f"  {now / 60:5.1f} min, {served:>10,} requests: {seen[-1][1]:.1f} MB", flush=True)
    late = [mb for at, mb in seen if at >= 30 * minutes] or [first]
    return {
        "rss_mb_at_start": first,
        "rss_mb_at_half": late[0],
        "rss_mb_at_end": rss_mb(gate.process.pid),
        "minutes": minutes,
        "requests_in_that_time": float(served),
    }


def main() -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=400)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--peer", action="store_true", help="LiteLLM's proxy as well: installed into bench/.peers/litellm if need be")
    given = parser.parse_args()
    version = peer.installed() if given.peer else None
    last = (os.cpu_count() or 1) - 1
    if last:
        os.sched_setaffinity(0, set(range(1, last + 1)))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, fast_upstream(last) as upstream, contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        with bare_proxy(0, upstream) as (port, pid):
            results |= runner.run(measure_proxy(port, pid, given))
        gate = stack.enter_context(on_core(Gate(Path(folder) / "fast", upstream_port=upstream), 0))
        results |= runner.run(measure(gate, upstream, given))
        with on_core(Gate(Path(folder) / "slow"), 0) as slow:
            results |= runner.run(cut(slow, given.streams))
        if version is not None:
            try:
                with peer.litellm(0, upstream, CHAT["model"], TASKSET) as (port, pid):
                    results |= runner.run(measure_peer(port, pid, upstream, given)) | peer.numbers(version)
            except AssertionError as error:
                print(f"LiteLLM {version} is left out: {error} ({peer.LOG})", flush=True)
        results |= runner.run(memory(gate, given.minutes))  # the last: an hour long, and nothing else of it needs a quiet machine
    if given.minutes >= 60:
        results["rss_mb_after_1h"] = results["rss_mb_at_end"]
    for name, value in results.items():
        print(f"{name:<32}{value:>14,.2f}")
    RESULTS.write_text(json.dumps({k: round(float(v), 4) for k, v in results.items()}, indent=1) + "\n")


@contextlib.contextmanager
def on_core(gate: Gate, core: int) -> Iterator[Gate]:
    """The gate open, all of it on one core."""
    with gate:
        gate.put(gate.grant())
        assert gate.process is not None
        for pid in (gate.process.pid, *children(gate.process.pid)):
            subprocess.run([TASKSET, "-acp", str(core), str(pid)], check=True, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        yield gate


if __name__ == "__main__":
    main()
