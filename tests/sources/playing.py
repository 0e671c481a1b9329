"""What the tests of sources need: the misbehaving tool as an installed adapter, a target that answers as told, imports and runs of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from assay.exchange.sources import Asked, import_source
from assay.plan import TargetSpec
from assay.runs import LabelFile, RunFile, Trial, labels_path, read_labels
from assay.sources import Bounds
from tests.targets.endpoint import completion, serve

TOOL = Path(__file__).with_name("tool.py")
Answer = Callable[[dict[str, Any]], str]


def install_tool(folder: Path, monkeypatch: pytest.MonkeyPatch, most_parallel: int = 64) -> None:
    """The tool as a package of somebody else's, found by its entry point."""
    info = folder / "site" / "a_tool-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-tool\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[assay.sources]\ntool = a_tool_adapter:adapter\n")
    (folder / "site" / "a_tool_adapter.py").write_text(
        "from pathlib import Path\nfrom assay.sources import Adapter\n"
        f"def adapter(): return Adapter('tool', Path({str(TOOL)!r}), ('edition', 'version', 'folder'), {most_parallel})\n"
    )
    monkeypatch.syspath_prepend(str(folder / "site"))
    monkeypatch.delitem(sys.modules, "a_tool_adapter", raising=False)


@contextmanager
def answering(answer: Answer) -> Iterator[TargetSpec]:
    """A target on the loopback: what it says to a request."""

    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion(answer(body)))

    with serve(behave) as endpoint:
        yield TargetSpec(kind="http", model="loop", url=endpoint.url)


def tool_plan(
    folder: Path, samples: list[str], target: TargetSpec, *, bounds: Bounds | None = None, concurrency: int = 4, **changes: Any
) -> Path:  # fmt: skip
    """The plan that an import of the tool's samples wrote."""
    asked = Asked(
        source="tool", task=",".join(samples), name="mine", licence="CC0-1.0", language="en", scorer="grade", violation=("bad",),
        safe=("good",), options={"folder": str(folder), **changes.pop("options", {})}, target=target, bounds=bounds or Bounds(memory_mb=0),
        **changes,
    )  # fmt: skip
    import_source(asked, folder / "in")
    plan = folder / "in" / "plan.yaml"
    text = plan.read_text()
    floor = f"exploration: {{plain: {len(samples)}}}"
    window = f"limits: {{concurrency: {concurrency}, lookahead: {concurrency}, outage_s: 1, retries: 0}}"
    lines = [window if line.startswith("limits:") else line for line in text.splitlines()]
    plan.write_text("\n".join([*lines, floor]) + "\n")
    return plan


def trials_of(run: Path) -> dict[str, Trial]:
    """A run's trials by sample."""
    from assay.attacks import ATTACKS
    from assay.scenarios import ItemBuilder

    with RunFile.read(run / "run.db") as file:
        opening = file.opening()
        builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
        return {builder.scenario(t.stream, t.index): t for t in file.trials()}


def label_as_flagged(run: Path) -> int:
    """People agree with the scorer in all that waits for them; how many labels there were."""
    from assay.judges import transcript_digest

    count = 0
    with RunFile.read(run / "run.db") as file:
        done = {label.slot for label in read_labels(file)}
        with LabelFile.open(labels_path(file.path), file.digest) as labels:
            for t in file.trials():
                if t.judge.startswith("reader/") and t.slot not in done:
                    verdict = "violation" if t.outcome == "violation" else "acceptable"
                    digest = transcript_digest(t.answer, t.turns)
                    labels.add(slot=t.slot, item=t.item, transcript=digest, labeller="Aisyah", verdict=verdict)
                    count += 1
    return count
