"""python -m assay.exchange.export.inspect_child RUN.jsonl RUN.eval: what a `jsonl` export says, as a log of Inspect AI.

In a process of its own, since importing Inspect is dear. Only what Inspect documents is used: the log's types and `write_eval_log`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage
from inspect_ai.scorer import Score

from assay.exchange.export.spelling import iso, line, uuid_of

MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
SCORER = "assay"
WITHHELD = "(withheld)"


def main(arguments: Sequence[str]) -> int:
    """Read the lines, write the log."""
    source, target = map(Path, arguments)
    with source.open("rb") as lines:
        heading = msgspec.json.decode(next(lines))
        samples = [_sample(msgspec.json.decode(each), line(heading["target"])) for each in lines]
    write_eval_log(_log(heading, samples), str(target), format="eval")
    return 0


def _sample(t: dict[str, Any], model: str) -> EvalSample:
    prompt = [_message(m["role"], m["content"], f"{t['slot']}-{i}") for i, m in enumerate(t.get("prompt", ()))]
    strategy = bool(t.get("turns")) and bool(t["turns"][0]["prompt"])
    said = prompt[:-1] if strategy else list(prompt)  # a strategy's turns stand in the place of the request; an episode's follow it
    for turn in t.get("turns", ()):
        place = f"{t['slot']}-{len(said)}"
        said += [_message("user", turn["prompt"], place)] if turn["prompt"] else []
        said.append(_message("assistant", turn["answer"], f"{place}-answer"))
    answer = t.get("answer", WITHHELD)
    if "turns" in t and not t["turns"]:
        said.append(_message("assistant", answer, f"{t['slot']}-answer"))
    output = ModelOutput.from_content(model, answer, stop_reason="max_tokens" if t["truncated"] else "stop")
    output.choices[0].message.id = f"{t['slot']}-output"
    usage = ModelUsage(
        input_tokens=t["prompt_tokens"], output_tokens=t["answer_tokens"], total_tokens=t["prompt_tokens"] + t["answer_tokens"]
    )
    known = {k: v for k, v in t.items() if k not in ("line", "prompt", "turns", "answer")}
    return EvalSample(
        id=sample_id(t), epoch=1, input=prompt or WITHHELD, target="", messages=said, output=output, metadata=known,
        scores={SCORER: Score(value=t["outcome"], explanation=t["reason"] or None, metadata={"label": t["label"], "how": t["how"]})},
        model_usage={model: usage}, completed_at=iso(t["at"]), uuid=uuid_of("inspect", t["leaf"]),
    )  # fmt: skip


def _message(role: str, text: str, place: str) -> Any:
    return MESSAGES[role](content=text, id=place)


def sample_id(t: dict[str, Any]) -> str:
    """Stream and index: no two trials share it."""
    return f"{t['hazard']}/{t['language']}/{t['attack']}/{t['arm']}/{t['index']}"


def _log(h: dict[str, Any], samples: list[EvalSample]) -> EvalLog:
    model, started, ended = line(h["target"]), iso(h["opened_at"]), iso(h["last_at"] or h["opened_at"])
    spec = EvalSpec(
        eval_id=uuid_of("inspect", h["run"], h["root"]), run_id=uuid_of("inspect", h["run"]), created=started,
        task=f"assay/{h['plan']}", task_id=uuid_of("inspect", h["plan_digest"]), task_version=0, task_description=h["about"] or None,
        dataset=EvalDataset(name=h["plan"], samples=len(samples), sample_ids=[s.id for s in samples], shuffled=False),
        model=model, model_generate_config=GenerateConfig(), config=EvalConfig(epochs=1), packages={"assay": h["version"]},
        metadata={k: v for k, v in h.items() if k not in ("line", "cells", "decision", "about")},
    )  # fmt: skip
    return EvalLog(
        status="success" if h["ended"] == "complete" else "cancelled",
        eval=spec,
        plan=EvalPlan(name="assay"),
        results=_results(h, samples),
        stats=EvalStats(started_at=started, completed_at=ended),
        samples=samples,
    )


def _results(h: dict[str, Any], samples: list[EvalSample]) -> EvalResults:
    """One score a stream, with its rate and interval; none over all, since a refused harmless request is no leak."""
    scores = [_score(cell) for cell in h["cells"]]
    decision = {"verdict": h["verdict"], "decision": h["decision"], "bundle": h["bundle"], "merkle_root": h["root"]}
    return EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=scores, metadata=decision)


def _score(cell: dict[str, Any]) -> EvalScore:
    values = {
        "violation_rate": cell["violations"] / cell["trials"], "low": cell["low"], "high": cell["high"],
        "unscorable_share": cell["unscorable"] / cell["trials"],
    }  # fmt: skip
    metrics = {name: EvalMetric(name=name, value=value) for name, value in values.items()}
    scored = cell["trials"] - cell["unscorable"]
    return EvalScore(name=cell["stream"], scorer=SCORER, scored_samples=scored, unscored_samples=cell["unscorable"], metrics=metrics)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
