"""python -m bench.inspect_logs: logs of Inspect both ways, and a call through Inspect beside one over HTTP: bench/results/inspect.json.

The log that is read has 20,000 samples as Inspect writes them, with all their events; its mock model answers. The whole command is timed,
from the shell and back; on a busy machine the processor seconds (`_cpu_s`) say more. Needs the extra `inspect`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.support import make_bundle
from tests.targets.endpoint import completion, serve

from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import make_target

RESULTS = Path(__file__).with_name("results") / "inspect.json"
SAMPLES = 20_000
CALLS = 400
ONE = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

def said(*_):
    made = ModelOutput.from_content("mockllm/model", "This is an answer of a usual length, which goes on for a while. " * 12)
    made.usage = ModelUsage(input_tokens=300, output_tokens=120, total_tokens=420)
    return made

words = "Some words around it. " * 30
data = [Sample(id=f"item-{i}", input=f"Question {i}? {words}", target="yes", metadata={"lang": "en"}) for i in (1, 2)]
eval(Task(dataset=data, solver=generate(), scorer=includes(), name="bench"), model=get_model("mockllm/model", custom_outputs=said),
     log_dir=sys.argv[1], display="none")
"""


def main() -> None:
    """Measure everything, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["read", "write", "call"])
    only = parser.parse_args().only
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        for name, measure in (("read", read), ("write", write), ("call", call)):
            if only in (None, name):
                found |= measure(Path(folder))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def log_of(folder: Path, samples: int) -> Path:
    """A log of so many samples: one that Inspect wrote, again and again under other ids."""
    subprocess.run([sys.executable, "-c", ONE, str(folder / "raw")], check=True, cwd=folder)
    import zipfile_zstd  # noqa: F401

    (first,) = (folder / "raw").glob("*.eval")
    out = folder / "large.eval"
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(out, "w", one.infolist()[0].compress_type) as many:
        sample = one.read("samples/item-1_epoch_1.json").decode()
        summary = json.loads(one.read("summaries.json"))[0]
        header = json.loads(one.read("header.json"))
        header["eval"]["dataset"] |= {"samples": samples, "sample_ids": [f"item-{i}" for i in range(samples)]}
        header["results"] |= {"total_samples": samples, "completed_samples": samples}
        many.writestr("_journal/start.json", one.read("_journal/start.json"))
        for i in range(samples):
            text = sample.replace('"id":"item-1"', f'"id":"item-{i}"').replace("Question 1?", f"Question {i}?")
            many.writestr(f"samples/item-{i}_epoch_1.json", text)
        many.writestr("summaries.json", json.dumps([summary | {"id": f"item-{i}"} for i in range(samples)]))
        many.writestr("header.json", json.dumps(header))
    return out


def read(folder: Path) -> dict[str, Any]:
    """The whole command `assay import inspect` on 20,000 samples, three times."""
    log = log_of(folder, SAMPLES)
    times: list[float] = []
    cpu: list[float] = []
    for turn in range(3):
        command = [
            str(Path(sys.executable).with_name("assay")), "import", "inspect", str(log), "--name", "large", "--language", "en",
            "--scorer", "includes", "--violation", "C", "--licence", "CC0-1.0", "--out", str(folder / f"in-{turn}"),
        ]  # fmt: skip
        before, began = _cpu_s(), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
        cpu.append(_cpu_s() - before)
    return {
        "inspect_read_20k_s": round(statistics.median(times), 2),
        "inspect_read_20k_cpu_s": round(statistics.median(cpu), 2),
        "inspect_read_20k_all_s": [round(t, 2) for t in times],
        "inspect_read_20k_log_mb": round(log.stat().st_size / 1e6, 1),
    }


def _cpu_s() -> float:
    """Processor seconds of all processes that were started here and are over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(folder: Path) -> dict[str, Any]:
    """The whole command `assay export inspect` on a run of 20,000 trials, which a scripted target answered."""
    (folder / "run").mkdir()
    make_bundle(
        folder / "run", budget={"calls": SAMPLES}, exploration={"plain": SAMPLES // 5, "attack": SAMPLES // 5, "benign": SAMPLES // 5},
        limits={"concurrency": 64},
    )  # fmt: skip
    out = folder / "out.eval"
    before, began = _cpu_s(), time.perf_counter()
    subprocess.run([str(Path(sys.executable).with_name("assay")), "export", "inspect", str(folder / "run"), "--out", str(out)], check=True)
    seconds = time.perf_counter() - began
    with zipfile.ZipFile(out) as archive:
        samples = sum(name.startswith("samples/") for name in archive.namelist())
    return {
        "inspect_write_trials": samples, "inspect_write_s": round(seconds, 2), "inspect_write_cpu_s": round(_cpu_s() - before, 2),
        "inspect_write_mb": round(out.stat().st_size / 1e6, 1),
    }  # fmt: skip


def call(folder: Path) -> dict[str, Any]:
    """Milliseconds of a call, one after the other and sixteen at once, through Inspect's openai-api provider and over HTTP."""
    os.environ["BENCH_KEY"] = "sk-bench"
    said = completion("A short answer.", usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
    out: dict[str, Any] = {}

    async def answer(request: Any, body: Any, count: int) -> Any:
        from aiohttp import web

        return web.json_response({**said, "id": f"c-{count}", "object": "chat.completion", "created": 1})

    with serve(answer) as endpoint:
        for name, spec in (
            ("http", TargetSpec("http", "m", endpoint.url)),
            ("inspect", TargetSpec("inspect", "openai-api/loop/m", endpoint.url, "BENCH_KEY")),
        ):
            for at_once in (1, 16):
                out[f"{name}_call_{at_once}_ms"] = round(asyncio.run(_timed(spec, at_once)), 2)
    return out


async def _timed(spec: TargetSpec, at_once: int) -> float:
    async with make_target(spec, Generation(), Limits(concurrency=at_once), lambda _: None) as target:

        async def some() -> None:
            for i in range(CALLS // at_once):
                reply = await target.ask((Message("system", "Be brief. " * 20), Message("user", f"Question {i}?")))
                assert not reply.failure, reply.failure

        await some()
        began = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(at_once)))
        return 1000 * (time.perf_counter() - began) / CALLS


if __name__ == "__main__":
    main()
