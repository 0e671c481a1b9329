"""Playing other tools' samples: what the bridge costs a sample, and how many calls drawing saves: `make bench-sources`.

Cost: a chat task of Inspect whose model answers at once, played sample by sample through the bridge and, beside it, by Inspect alone on its
mock model; and AgentDojo's banking suite the same way, where an interpreter that has it is named (ASSAY_AGENTDOJO_PYTHON). CPU is that of
the worker's process and of this one. Calls: a set of 1,000 samples with a known rate, a threshold of 5% and errors of 5%, people who
agree with the scorer; the whole pipeline, ten seeds each.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from tests.sources.playing import answering, install_tool, label_as_flagged, tool_plan

from assay import api
from assay.sources import Opening, Worker, find_adapter
from assay.sources.lines import AskLine
from assay.sources.worker import Said

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "sources.json"
TASKS = ROOT / "tests" / "sources" / "inspect_tasks.py"
SAMPLES, PARALLEL = 500, 8
SIZE, SEEDS, RATES = 1000, 10, (0.0, 0.01, 0.02, 0.1, 0.3)

ALONE = """
import asyncio, json, resource, sys, tempfile, time
sys.path.insert(0, {folder!r})
from inspect_tasks import plain
from inspect_ai import eval_async
from inspect_ai.model import ModelOutput, ModelUsage, get_model
def say(input, tools, tool_choice, config):
    out = ModelOutput.from_content(model="mockllm/model", content="no")
    out.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return out
async def run(n):
    model = get_model("mockllm/model", custom_outputs=say)
    with tempfile.TemporaryDirectory() as folder:
        await eval_async(plain(n), model=model, log_dir=folder, log_realtime=False, max_samples={parallel}, max_connections=4096)
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
asyncio.run(run(20))
began, before = time.perf_counter(), cpu()
asyncio.run(run({samples}))
print(json.dumps([time.perf_counter() - began, cpu() - before]))
"""


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mine() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def bridged(source: str, task: str, options: dict[str, str], most: int) -> dict[str, float]:
    """Milliseconds a sample through the bridge, with a model that answers at once."""
    adapter = find_adapter(source)

    async def ask(line: AskLine) -> Said:
        return Said("no", tokens=(1, 1))

    async with Worker(adapter, Opening(task, options, PARALLEL, 600, 0), adapter.interpreter("")) as worker:
        names = list(worker.samples)[: most + 20]
        await asyncio.gather(*(worker.play(name, ask) for name in names[:20]))
        pid, waiting = worker._process.pid, iter(names[20:])
        began, theirs, ours = time.perf_counter(), cpu_of(pid), mine()

        async def place() -> None:
            for name in waiting:
                await worker.play(name, ask)

        await asyncio.gather(*(place() for _ in range(PARALLEL)))
        count = len(names) - 20
        return {
            "wall_ms": 1000 * (time.perf_counter() - began) / count,
            "worker_cpu_ms": 1000 * (cpu_of(pid) - theirs) / count,
            "assay_cpu_ms": 1000 * (mine() - ours) / count,
        }


def inspect_alone() -> dict[str, float]:
    """The same task by Inspect itself."""
    script = ALONE.format(folder=str(TASKS.parent), parallel=PARALLEL, samples=SAMPLES)
    environment = {**os.environ, "INSPECT_DISPLAY": "none"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    wall, cpu = json.loads(done.stdout.strip().splitlines()[-1])
    return {"wall_ms": 1000 * wall / SAMPLES, "cpu_ms": 1000 * cpu / SAMPLES}


def calls(rate: float, seed: int, folder: Path) -> tuple[str, int, int]:
    """Verdict, calls and labels of one whole run on a set with that rate."""

    def says(body: dict[str, Any]) -> str:
        asked = str(body["messages"][-1]["content"])
        place = int(hashlib.sha256(f"{seed}/{asked}".encode()).hexdigest()[:8], 16) / 2**32
        return "yes" if "plain" in asked and place < rate else "no"

    with answering(says) as target:
        plan = tool_plan(folder, [f"plain*{SIZE}"], target)
        text = plan.read_text().replace("exploration: {plain: 1}\n", "")
        plan.write_text(f"{text}seed: {hashlib.sha256(str(seed).encode()).hexdigest()}\n")
        result = api.evaluate(plan, out=folder / "run")
        labels = 0
        while result.decision.verdict == "delay" and (more := label_as_flagged(folder / "run")):
            labels += more
            result = api.evaluate(out=folder / "run", resume=True)
    return result.decision.verdict, result.target_calls, labels


def main() -> None:
    """Measure, print, write."""
    os.environ.setdefault("ASSAY_KEY", str(Path(tempfile.mkdtemp()) / "key.pem"))
    results: dict[str, Any] = {}
    results["inspect_bridged"] = asyncio.run(bridged("inspect", f"{TASKS}@plain", {"argument.n": str(SAMPLES + 20)}, SAMPLES))
    results["inspect_alone"] = inspect_alone()
    if os.environ.get("ASSAY_AGENTDOJO_PYTHON"):
        results["agentdojo_bridged"] = asyncio.run(bridged("agentdojo", "banking", {"attack": "direct"}, 120))
    for name, figures in results.items():
        print(f"{name:<20}" + "".join(f"{key} {value:8.2f}   " for key, value in figures.items()))
    import pytest

    for rate in RATES:
        found = []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
                install_tool(Path(folder), patched)
                found.append(calls(rate, seed, Path(folder)))
        verdicts = {v: sum(f[0] == v for f in found) for v in sorted({f[0] for f in found})}
        mean, labels = sum(f[1] for f in found) / SEEDS, sum(f[2] for f in found) / SEEDS
        results[f"rate_{rate:g}"] = {"verdicts": verdicts, "calls_mean": mean, "labels_mean": labels, "of": SIZE}
        print(f"rate {rate:<6g} {verdicts}  calls {mean:6.1f} of {SIZE}   labels {labels:6.1f}", flush=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


if __name__ == "__main__":
    main()
