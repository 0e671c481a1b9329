"""python -m assay.exchange.export.inspect_child RUN.jsonl RUN.eval: what a `jsonl` export says, as a log of Inspect AI.

In a process of its own, since importing Inspect is dear. Only what Inspect documents is used: the log's types and `write_eval_log`. Its
writer looks through all samples for each one that comes, so of more than 5,000 trials it writes the log without samples, and they are put
into that archive one by one, as Inspect's own types spell them and where its reader looks for them; which is then asked for all it has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

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
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage
from inspect_ai.scorer import Score

from assay.exchange.export.spelling import iso, line, uuid_of

MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
SCORER = "assay"
WITHHELD = "(withheld)"
MANY = 5_000
VERSION = 2
PACKED = ZIP_DEFLATED


def main(arguments: Sequence[str]) -> int:
    """Read the lines, write the log."""
    source, target = map(Path, arguments)
    with source.open("rb") as lines:
        heading = msgspec.json.decode(next(lines))
        told = (_sample(msgspec.json.decode(each), line(heading["target"])) for each in lines)
        if heading["decision"]["trials"] > MANY:
            _write_many(heading, told, target)
        else:
            samples = list(told)
            log = _log(heading, [s.id for s in samples])
            log.samples = samples
            write_eval_log(log, str(target), format="eval")
    return 0


def _write_many(heading: dict[str, Any], samples: Iterable[EvalSample], target: Path) -> None:
    """The same log, sample by sample. Raises `ValueError` where Inspect does not find in it what was put there."""
    summaries: list[bytes] = []
    ids: list[int | str] = []
    with TemporaryDirectory(dir=target.parent) as folder:
        kept = Path(folder) / "samples.eval"
        with ZipFile(kept, "w", PACKED) as archive:
            for sample in samples:
                archive.writestr(f"samples/{sample.id}_epoch_{sample.epoch}.json", sample.model_dump_json(exclude_none=True))
                summaries.append(sample.summary().model_dump_json(exclude_none=True).encode())
                ids.append(sample.id)
            archive.writestr("summaries.json", b"[" + b",".join(summaries) + b"]")
            bare = Path(folder) / "bare.eval"
            log = _log(heading, ids)
            if log.version != VERSION:
                raise ValueError(f"Inspect writes logs of version {log.version}, and version {VERSION} is known here")
            log.samples = []
            write_eval_log(log, str(bare), format="eval")
            with ZipFile(bare) as other:
                for name in other.namelist():
                    if name.startswith("_journal/start") or name == "header.json":
                        archive.writestr(name, other.read(name))
        _found_again(kept, ids)
        kept.replace(target)


def _found_again(path: Path, ids: list[int | str]) -> None:
    found = [s.id for s in read_eval_log_sample_summaries(str(path), format="eval")]
    ends = [(each, 1) for each in (ids[0], ids[-1])]
    read = [s.id for s in read_eval_log_samples_by_id(str(path), ends, format="eval")]
    header = read_eval_log(str(path), header_only=True, format="eval")
    total = header.results.total_samples if header.results else 0
    if sorted(map(str, found)) != sorted(map(str, ids)) or read != [ids[0], ids[-1]] or total != len(ids):
        raise ValueError("Inspect does not find in the log what was put there; its archive has another form now")


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


def _log(h: dict[str, Any], ids: list[int | str]) -> EvalLog:
    model, started, ended = line(h["target"]), iso(h["opened_at"]), iso(h["last_at"] or h["opened_at"])
    spec = EvalSpec(
        eval_id=uuid_of("inspect", h["run"], h["root"]), run_id=uuid_of("inspect", h["run"]), created=started,
        task=f"assay/{h['plan']}", task_id=uuid_of("inspect", h["plan_digest"]), task_version=0, task_description=h["about"] or None,
        dataset=EvalDataset(name=h["plan"], samples=len(ids), sample_ids=ids, shuffled=False),
        model=model, model_generate_config=GenerateConfig(), config=EvalConfig(epochs=1), packages={"assay": h["version"]},
        metadata={k: v for k, v in h.items() if k not in ("line", "cells", "decision", "about")},
    )  # fmt: skip
    return EvalLog(
        status="success" if h["ended"] == "complete" else "cancelled",
        eval=spec,
        plan=EvalPlan(name="assay"),
        results=_results(h, len(ids)),
        stats=EvalStats(started_at=started, completed_at=ended),
    )


def _results(h: dict[str, Any], count: int) -> EvalResults:
    """One score a stream, with its rate and interval; none over all, since a refused harmless request is no leak."""
    scores = [_score(cell) for cell in h["cells"]]
    decision = {"verdict": h["verdict"], "decision": h["decision"], "bundle": h["bundle"], "merkle_root": h["root"]}
    return EvalResults(total_samples=count, completed_samples=count, scores=scores, metadata=decision)


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
