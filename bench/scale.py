"""How the Ray executor scales, and what ten million trials would take: `make bench-scale`.

Three measurements, all on this machine:

- workers: 1, 2, 4 and 8 of them, against a target that only waits (98% of the answers after 0.2 s, the rest after 0.5 to 1.5 s). Efficiency
  is the time that these delays and the places allow, divided by the time from the first slot to the last answer. All share the machine's
  cores with the driver.
- driver: its CPU time per trial with two workers that do not wait, everything that Ray costs it included.
- sustained: the driver alone over very many trials, each answer coming as the bytes that a worker would send; rate, memory, file sizes.

    python -m bench.scale --trials 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import yaml

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.engine import Engine, OnRay
from assay.engine.executors import Desk
from assay.engine.executors.leases import LEASE, Leases
from assay.engine.executors.ray import Crew
from assay.engine.executors.wire import Back, Batch, Leased, decode, encode
from assay.engine.loops import run_loop
from assay.evidence import open_run, write_bundle
from assay.ledger import PrivateKey
from assay.plan import Plan, parse_plan, streams
from assay.runs import RunFile, Trial
from assay.scenarios import Item, ItemBuilder
from assay.targets import Attempt, Reply
from assay.targets.scripted import REFUSAL, ScriptedTarget, make
from bench.raycluster import local_cluster

RESULTS = Path(__file__).parent / "results" / "scale.json"
SEED = "cd" * 32
WORKERS = (1, 2, 4, 8)
PLACES = 16
EACH = 1_500
DELAY_MS = 1_000
RATE = 0.02
ANSWER = (REFUSAL + " ") * 30
TEN_MILLION = 10_000_000
KEY = PrivateKey.generate()


class Silent:
    """Shows nothing."""

    def committed(self, trial: Any, gate: Any, phase: str) -> None:
        pass

    def restored(self, counts: Any) -> None:
        pass

    def outage(self, reason: str, seconds: float) -> None:
        pass


def plan_of(calls: int, delay_ms: int, places: int, lookahead: int, rate: float = RATE) -> tuple[Plan, Catalog]:
    """A plan of so many trials whose decision stays open."""
    plan = {
        "assay": "plan/1",
        "name": "scale",
        "target": {"kind": "scripted", "model": f"{rate}", "options": {"delay_ms": f"{delay_ms}"}},
        "matrix": {
            "hazards": ["secret-leakage", "injected-instructions", "personal-data"],
            "languages": ["en", "ms", "ta"],
            "attacks": ["prefix-injection", "base64"],
        },
        "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": rate}],
        "budget": {"calls": calls},
        "exploration": {"plain": calls, "attack": calls, "benign": calls},
        "limits": {"concurrency": places, "lookahead": lookahead},
        "seed": SEED,
    }
    return parse_plan(yaml.safe_dump(plan), where="bench")


def opened(path: Path, plan: Plan, catalog: Catalog, identity: dict[str, str]) -> RunFile:
    """A run file for it."""
    return RunFile.create(path, open_run(plan, catalog, identity, bytes.fromhex(SEED), KEY))


def waits_s(target: ScriptedTarget, trial: Trial, item: Item) -> float:
    """How long the scripted target made that trial wait."""
    return DELAY_MS / 1000 * (0.2 if trial.answer == REFUSAL else 0.5 + target._unit(item, "delay"))


def workers(folder: Path, count: int) -> dict[str, float]:
    """So many workers and a target that waits."""
    plan, catalog = plan_of(EACH * count, DELAY_MS, PLACES, 3 * LEASE * count)

    async def go() -> dict[str, float]:
        async with Crew(OnRay(count), plan, catalog, print) as crew:
            await crew.all_up()
            with opened(folder / f"workers-{count}.db", plan, catalog, dict(crew.identity)) as run:
                engine = Engine(run, crew, Silent(), executor=crew)
                cpu, began = time.process_time(), time.monotonic()
                await engine.trials()
                seconds, cpu = time.monotonic() - began, time.process_time() - cpu
                builder = ItemBuilder.for_plan(plan, catalog, run.opening().seed, ATTACKS)
                target = make(plan.target, plan.generation, plan.limits, print)
                waited = [waits_s(target, t, builder.build(t.stream, t.index)) for t in run.trials()]
        ideal = sum(waited) / (count * PLACES)
        print(f"{count} workers: {len(waited):,} trials in {seconds:.1f} s, ideal {ideal:.1f} s", flush=True)
        return {
            f"efficiency_{count}_workers": ideal / seconds, f"trials_per_s_{count}_workers": len(waited) / seconds,
            f"driver_cpu_share_{count}_workers": cpu / seconds, f"ideal_s_{count}_workers": ideal,
        }  # fmt: skip

    return run_loop(go())


def driver(folder: Path, calls: int) -> dict[str, float]:
    """Two workers that do not wait: what a trial costs the driver, Ray included."""
    plan, catalog = plan_of(calls, 0, 64, 8 * LEASE)

    async def go() -> dict[str, float]:
        async with Crew(OnRay(2), plan, catalog, print) as crew:
            await crew.all_up()
            with opened(folder / "driver.db", plan, catalog, dict(crew.identity)) as run:
                engine = Engine(run, crew, Silent(), executor=crew)
                cpu, began = time.process_time(), time.monotonic()
                await engine.trials()
                cpu, seconds = time.process_time() - cpu, time.monotonic() - began
                count = run.count()
        print(f"driver: {count:,} trials, {1000 * cpu / count:.3f} ms CPU each, {count / seconds:,.0f}/s", flush=True)
        return {
            "driver_cpu_ms_per_trial": 1000 * cpu / count, "driver_ceiling_trials_per_s": count / cpu,
            "trials_per_s_two_workers_no_wait": count / seconds,
        }  # fmt: skip

    return run_loop(go())


class Simulated:
    """Answers leases as a worker's bytes, at once."""

    places = 1

    def __init__(self, plan: Plan, leases: int) -> None:
        self._numbers = {stream: number for number, stream in enumerate(streams(plan))}
        self._leases = Leases(LEASE, LEASE)
        for worker in range(leases):
            self._leases.join(worker)
        self.sent = self.received = 0

    def work(self, desk: Desk) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._work(desk)]

    async def _work(self, desk: Desk) -> None:
        tasks: dict[int, Any] = {}
        while (task := await desk.next()) is not None:
            while task is not None:
                tasks[task[0].number] = task
                self._leases.add(task[0].number)
                task = desk.take() if self._leases.room else None
            while (grant := self._leases.grant()) is not None:
                slots = [tasks[number][0] for number in grant.slots]
                lease = encode([Leased(s.number, self._numbers[s.stream], s.index) for s in slots])
                self.sent += len(lease)
                batch = self._answered(lease, tasks)
                self.received += len(batch)
                for raw in decode(batch, Batch).backs:
                    back = decode(raw, Back)
                    if self._leases.back(grant.worker, back.slot):
                        slot, item = tasks.pop(back.slot)
                        desk.answered(slot, item, back.reply, back.said, back.asked)
            await asyncio.sleep(0)

    def _answered(self, lease: bytes, tasks: dict[int, Any]) -> bytes:
        backs = []
        for leased in decode(lease, list[Leased]):
            reply = Reply(ANSWER, "stop", "model", 400, 256, (Attempt("200", 1900),))
            backs.append(encode(Back(leased.slot, tasks[leased.slot][1].digest, reply, ())))
        return encode(Batch(tuple(backs)))


def sustained(folder: Path, calls: int) -> dict[str, float]:
    """The driver over very many trials."""
    plan, catalog = plan_of(calls, 0, 64, 60 * LEASE, rate=0.001)
    path = folder / "sustained.db"

    async def go() -> dict[str, float]:
        target = make(plan.target, plan.generation, plan.limits, print)
        with opened(path, plan, catalog, dict(target.identity)) as run:
            simulated = Simulated(plan, 20)
            engine = Engine(run, target, Silent(), executor=simulated)
            before = rss_mb()
            cpu, began = time.process_time(), time.monotonic()
            running = asyncio.create_task(engine.trials())
            half = 0.0
            while not running.done():
                await asyncio.wait({running}, timeout=1)
                if not half and engine._next_commit > calls // 2:
                    half = rss_mb()
            await running
            cpu, seconds, peak = time.process_time() - cpu, time.monotonic() - began, rss_mb()
            count = run.count()
            began = time.monotonic()
            write_bundle(run, KEY, "complete", folder / "evidence.jsonl")
            bundled = time.monotonic() - began
            whole = rss_mb()
        size, bundle = path.stat().st_size, (folder / "evidence.jsonl").stat().st_size
        print(f"sustained: {count:,} trials in {seconds:.0f} s, {peak:.0f} MB", flush=True)
        return {
            "sustained_trials": count, "sustained_trials_per_s": count / seconds, "sustained_cpu_ms_per_trial": 1000 * cpu / count,
            "rss_mb_before": before, "rss_mb_at_half": half, "rss_mb_at_end": peak, "rss_mb_with_bundle": whole,
            "run_file_bytes_per_trial": size / count, "bundle_bytes_per_trial": bundle / count,
            "bundle_us_per_trial": 1e6 * bundled / count, "answer_bytes": len(ANSWER),
            "wire_bytes_per_trial_to_worker": simulated.sent / count, "wire_bytes_per_trial_from_worker": simulated.received / count,
        }  # fmt: skip

    return run_loop(go())


def rss_mb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reckoned(found: dict[str, float]) -> dict[str, float]:
    """Ten million trials, from what was measured; memory as if it went on growing as it did in the second half."""
    grown = (found["rss_mb_at_end"] - found["rss_mb_at_half"]) / (found["sustained_trials"] / 2)
    return {
        "ten_million_driver_hours": TEN_MILLION * max(found["driver_cpu_ms_per_trial"], found["sustained_cpu_ms_per_trial"]) / 3.6e6,
        "ten_million_run_file_gb": TEN_MILLION * found["run_file_bytes_per_trial"] / 1e9,
        "ten_million_bundle_gb": TEN_MILLION * found["bundle_bytes_per_trial"] / 1e9,
        "ten_million_bundle_minutes": TEN_MILLION * found["bundle_us_per_trial"] / 6e7,
        "ten_million_driver_mb": found["rss_mb_at_end"] + grown * (TEN_MILLION - found["sustained_trials"]),
        "ten_million_wire_gb": TEN_MILLION
        * (found["wire_bytes_per_trial_to_worker"] + found["wire_bytes_per_trial_from_worker"]) / 1e9,
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000, help="trials of the sustained run")
    parser.add_argument("--only", choices=["workers", "driver", "sustained"])
    args = parser.parse_args()
    found: dict[str, float | str] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="assay-scale-") as name:
        folder = Path(name)
        if args.only in (None, "sustained"):  # first: memory is this process's peak
            found |= sustained(folder, args.trials)
        if args.only != "sustained":
            with local_cluster(max(WORKERS)):
                if args.only in (None, "driver"):
                    found |= driver(folder, 40_000)
                for count in WORKERS if args.only in (None, "workers") else ():
                    found |= workers(folder, count)
    if "sustained_trials" in found and "driver_ceiling_trials_per_s" in found:
        found |= reckoned({k: v for k, v in found.items() if not isinstance(v, str)})
    load = os.getloadavg()[0]
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    found[f"load_average_after_{args.only or 'all'}"] = load
    RESULTS.write_text(json.dumps({k: v if isinstance(v, str) else round(v, 4) for k, v in sorted(found.items())}, indent=1) + "\n")
    for key, value in sorted(found.items()):
        print(f"{key:40}{value if isinstance(value, str) else f'{value:16,.4f}'}")


if __name__ == "__main__":
    main()
