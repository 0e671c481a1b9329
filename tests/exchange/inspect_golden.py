"""python -m tests.exchange.inspect_golden URL FOLDER: every golden set as a task of Inspect, and what its log says of each sample, as JSON.

Run in a process of its own, since it imports Inspect.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from inspect_ai import eval as evaluate
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import get_model

from assay.exchange.inspect_tasks.tasks import attacks, sea, worlds
from tests.exchange.golden import ALL


def main(url: str, folder: Path) -> None:
    tasks = []
    for name, chosen in ALL.items():
        given: dict[str, Any] = {"languages": list(chosen.languages), "samples": chosen.samples, "seed": chosen.seed}
        given |= {"hazards": ",".join(chosen.hazards), "attacks": ",".join(chosen.attacks)}
        match name:
            case "sea":
                tasks.append(sea(**given))
            case "attacks":
                tasks.append(attacks(**given))
            case _:
                tasks.append(worlds(**given, protocol=chosen.protocol))
    model = get_model("openai-api/loop/m", base_url=url, api_key="sk-golden")
    logs = evaluate(tasks, model=model, log_dir=str(folder), display="none", max_tasks=len(tasks))
    out = {name: _told(read_eval_log(log.location)) for name, log in zip(ALL, logs, strict=True)}
    (folder / "golden.json").write_text(json.dumps(out))


def _told(log: EvalLog) -> dict[str, Any]:
    assert log.results is not None
    metrics = {name: metric.value for score in log.results.scores for name, metric in score.metrics.items()}
    samples = {}
    for s in log.samples or ():
        score = (s.scores or {})["assay"]
        about = score.metadata or {}
        samples[str(s.id)] = [score.value, score.explanation or "", about["item"], about["kind"], about["how"], about["useful"]]
    return {"status": log.status, "metrics": metrics, "samples": samples, "note": (log.eval.metadata or {})["note"]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
