"""python inspect_task.py: a worker that plays samples of one Inspect task, one evaluation for its whole life.

Assay says which sample is next, and Inspect's own `SampleSource` feeds it to the running task; several may be under way. What the task asks
its model is asked of Assay (`Bridge`), which asks the target. Only what Inspect documents is used. Run by the interpreter that has Inspect.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

if __package__:
    from assay.sources.child.assaywire import Wire, bounded, digest, fail, short
else:
    from assaywire import Wire, bounded, digest, fail, short  # type: ignore[import-not-found, no-redef]

os.environ["INSPECT_DISPLAY"] = "none"
os.environ.setdefault("INSPECT_LOG_LEVEL", "error")

try:
    from inspect_ai import SampleSource, Task, eval_async, task_with
    from inspect_ai.dataset import Sample
    from inspect_ai.model import get_model
    from inspect_ai.util import registry_create, registry_info
except ImportError as e:
    fail(Wire(), f"inspect_ai cannot be imported by {sys.executable} ({e}). Install assay[inspect], or name an interpreter that has it.")

if __package__:
    from assay.sources.child.inspect_bridge import Bridge, Feed, RefusedError, begin, bridges, over, text_of
else:
    from inspect_bridge import Bridge, Feed, RefusedError, begin, bridges, over, text_of  # type: ignore[import-not-found, no-redef]

    sys.path.pop(0)  # this folder is no place for a task's imports

LOCAL = "local"
SANDBOXES = ("docker", LOCAL)
MAX_SHOWN = 40_000


def load(name: str, arguments: dict[str, Any]) -> tuple[Task, dict[str, str], dict[str, str]]:
    """The task, the packages it comes from, and the digest of its file. Raises `RefusedError`."""
    path, _, wanted = name.partition("@")
    packages = {"inspect_ai": version("inspect_ai")}
    if not path.endswith(".py"):
        try:
            made: Any = registry_create("task", name, **arguments)
        except LookupError:
            raise RefusedError(f"there is no task '{name}' in the packages installed for {sys.executable}") from None
        packages |= _packages(name.partition("/")[0])
        return _task(made, name), packages, {}
    file = Path(path).resolve()
    data = file.read_bytes()
    sys.path.insert(0, str(file.parent))
    os.chdir(file.parent)
    spec = importlib.util.spec_from_file_location(f"assay_task_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RefusedError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    tasks = {n: v for n, v in vars(module).items() if callable(v) and _kind(v) == "task" and getattr(v, "__module__", "") == spec.name}
    if (not wanted and len(tasks) != 1) or (wanted and wanted not in tasks):
        raise RefusedError(f"which task of {file.name}? It has: {', '.join(tasks) or 'none'}. Name it: {file.name}@TASK")
    make = tasks[wanted or next(iter(tasks))]
    return _task(make(**arguments), name), packages, {file.name: "sha256:" + hashlib.sha256(data).hexdigest()}


def _kind(value: Any) -> str:
    try:
        return str(registry_info(value).type)
    except Exception:  # noqa: BLE001 (whatever a module holds may refuse to be looked at)
        return ""


def _task(made: Any, name: str) -> Task:
    if not isinstance(made, Task):
        raise RefusedError(f"'{name}' makes no task")
    return made


def _packages(top: str) -> dict[str, str]:
    found = {}
    for distribution in packages_distributions().get(top, [top]):
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


def listed(task: Task, epochs: int) -> dict[str, tuple[Sample, int]]:
    """The task's samples by id, by their place where they have none; `ID~2` is the second time. Raises `RefusedError`."""
    if isinstance(task.dataset, SampleSource) or getattr(task, "sample_source", None) is not None:
        raise RefusedError("this task makes its samples while it runs: there is no list to draw from")
    out: dict[str, tuple[Sample, int]] = {}
    for i, sample in enumerate(task.dataset):
        name = str(sample.id if sample.id is not None else i + 1)
        if name in out or not 0 < len(name) <= 180:
            raise RefusedError(f"two samples have the id {name[:80]!r}, or it is too long")
        sample.id = name
        out |= {name if epoch == 1 else f"{name}~{epoch}": (sample, epoch) for epoch in range(1, epochs + 1)}
    return out


def prompt(sample: Sample) -> tuple[str, str]:
    """What a sample asks, as text for people; or why it is none that can be played by text alone."""
    try:
        if isinstance(sample.input, str):
            return short(sample.input, sys.maxsize), "" if sample.input.strip() else "no text"
        if len(sample.input) == 1:
            return text_of(sample.input[0]), ""
        return "\n\n".join(f"[{m.role}]\n{text_of(m)}" for m in sample.input), ""
    except RefusedError as e:
        return "", str(e)


def sample_digest(sample: Sample, epoch: int) -> str:
    """Of all that makes the sample; the ids of messages, which are new each time, aside."""
    value = sample.model_dump(mode="json", exclude_none=True, fallback=str)
    if isinstance(value.get("input"), list):
        for message in value["input"]:
            message.pop("id", None)
    return digest([value, epoch])


def _sandboxed(task: Task, samples: list[Sample], wanted: str) -> str:
    """The sandbox to put in the place of the task's, empty for its own. Raises `RefusedError` for one that isolates nothing."""
    if wanted and wanted not in SANDBOXES:
        raise RefusedError(f"the sandbox is one of {', '.join(SANDBOXES)}, not '{wanted}'")
    kinds = {s.type for s in (task.sandbox, *(s.sandbox for s in samples)) if s is not None}
    if LOCAL in kinds and not wanted:
        raise RefusedError(
            "this task runs what the model writes in the sandbox 'local', which isolates nothing: "
            "give --sandbox docker, or --sandbox local if that is meant"
        )
    if not wanted or kinds == {wanted} or not kinds:
        return ""
    for sample in samples:
        sample.sandbox = None
    return wanted


async def play(wire: Wire, task: Task, samples: dict[str, tuple[Sample, int]], opening: dict[str, Any], more: dict[str, Any]) -> None:
    """The evaluation, until Assay ends it; `more` are options of the evaluation."""
    orders: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    bridges[:] = [Bridge(wire)]
    feed = Feed(wire, bridges[0], samples, orders)

    boxed = bool(more.get("sandbox") or task.sandbox) or any(s.sandbox for s, _ in samples.values())

    def pump() -> None:
        while (order := wire.read()) is not None:
            if order["do"] == "end" and not boxed:
                break
            loop.call_soon_threadsafe(orders.put_nowait, order)  # with a sandbox, Inspect puts its house in order first
        os._exit(0)

    setup = task.setup if isinstance(task.setup, list) else [task.setup] if task.setup else []
    model = get_model("assay/target")
    fed = task_with(
        task, dataset=feed, setup=[begin(feed), *setup], solver=[task.solver, over()], epochs=1, model=model,
        early_stopping=None, fail_on_error=False,
    )  # fmt: skip
    threading.Thread(target=pump, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="assay-inspect-") as folder:
        logs = await eval_async(
            fed, model=model, log_dir=folder, log_realtime=False, log_images=False, fail_on_error=False,
            retry_on_error=0, max_samples=opening["parallel"], time_limit=opening["sample_s"], max_connections=4096,
            acp_server=False, ctl_server=False, **more,
        )  # fmt: skip
    if logs[0].status == "error":
        fail(wire, f"Inspect ended the evaluation: {logs[0].error.message if logs[0].error else 'no reason given'}")


def main() -> None:
    """Open the task, say what is in it, play."""
    logging.disable(logging.WARNING)
    wire = Wire()
    opening = wire.read()
    if opening is None:
        return
    try:
        bounded(opening["memory_mb"])
        options = opening["options"]
        arguments = {k: json.loads(v) for k, v in options.items() if k.startswith("argument.")}
        task, packages, code = load(opening["task"], {k.partition(".")[2]: v for k, v in arguments.items()})
        samples = listed(task, int(options.get("epochs", "1")))
        sandbox = _sandboxed(task, [sample for sample, _ in samples.values()], options.get("sandbox", ""))
        roles = {k.partition(".")[2]: v for k, v in options.items() if k.startswith("role.")}
        more = ({"sandbox": sandbox} if sandbox else {}) | ({"model_roles": roles} if roles else {})
        for name, (sample, epoch) in samples.items():
            text, unfit = prompt(sample)
            told = text[:MAX_SHOWN] if opening["listing"] else ""
            wire.send("sample", id=name, bank="", prompt=told, digest=sample_digest(sample, epoch), unfit=unfit)
        names = [str(registry_info(s).name).rpartition("/")[2] for s in task.scorer or []]
        wire.send("ready", packages=packages, code=code, scorers=names, notes=list(_notes(task)))
        asyncio.run(play(wire, task, samples, opening, more))
    except RefusedError as e:
        fail(wire, str(e))
    except Exception as e:  # noqa: BLE001 (a task is another's program)
        fail(wire, f"{type(e).__name__}: {e}")


def _notes(task: Task) -> Iterator[str]:
    if (task.epochs or 1) > 1:
        yield f"the task asks each sample {task.epochs} times; here it is asked as often as --epochs says, each time as an item of its own"
    if task.sandbox is not None:
        yield f"the task runs in the sandbox '{task.sandbox.type}'"


if __name__ == "__main__":
    main()
