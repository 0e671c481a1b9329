"""python -m tests.exchange.inspect_contract: each thing that Assay relies on in Inspect, tried; one JSON line with what does not hold."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalSample,
    EvalSpec,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
    transcript,
    write_eval_log,
)
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    RetryDecision,
    get_model,
)
from inspect_ai.scorer import Score, metric, scorer
from inspect_ai.solver import generate
from inspect_ai.tool import ToolCall, ToolDef, ToolInfo, ToolParams

CHECKS: dict[str, Callable[[], Any]] = {}


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Its docstring says what must hold."""
    CHECKS[str(function.__doc__)] = function
    return function


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def said(*_: Any) -> ModelOutput:
    made = ModelOutput.from_content("mockllm/model", "Fine.")
    made.usage = ModelUsage(input_tokens=1, output_tokens=2, total_tokens=3)
    return made


@check
def _get_model() -> None:
    """get_model takes model, config, base_url, api_key, memoize and the provider's own arguments"""
    assert {"model", "config", "base_url", "api_key", "memoize", "model_args"} <= parameters(get_model)


@check
def _generate() -> None:
    """Model.generate takes input, tools and config, and Model is an async context manager"""
    assert {"input", "tools", "config"} <= parameters(Model.generate)
    assert hasattr(Model, "__aenter__")


@check
def _config() -> None:
    """GenerateConfig has the fields that are set, and refuses others"""
    GenerateConfig(
        max_tokens=1, temperature=0.0, seed=0, max_retries=0, max_connections=1, adaptive_connections=False, cache=False,
        fail_on_refusal=False, internal_tools=False, response_schema=None,
    )  # fmt: skip
    try:
        GenerateConfig(no_such_field=1)  # type: ignore[call-arg]
    except ValueError:
        return
    raise AssertionError("an unknown field is taken silently")


@check
def _tools() -> None:
    """ToolInfo, ToolParams, ToolCall and ToolDef have the fields that are used"""
    assert {"name", "description", "parameters"} <= set(ToolInfo.model_fields)
    assert {"type", "properties", "required", "additionalProperties"} <= set(ToolParams.model_fields)
    assert {"id", "function", "arguments", "parse_error"} <= parameters(ToolCall)
    assert {"tool", "name", "description", "parameters", "parallel", "max_output"} <= parameters(ToolDef)


@check
def _output() -> None:
    """ModelOutput has the fields that are read, and the stop reasons mean what they did"""
    output = said()
    assert (output.stop_reason, output.message.text, output.empty, output.error, output.fallback) == ("stop", "Fine.", False, None, None)
    assert ModelOutput(model="m").empty
    for reason in ("content_filter", "model_length", "max_tokens", "tool_calls", "unknown"):
        ModelOutput.from_content("m", "x", stop_reason=reason)  # type: ignore[arg-type]
    assert {"input_tokens_cache_read", "input_tokens_cache_write"} <= set(ModelUsage.model_fields)
    assert {"tool_calls", "content", "source"} <= set(ChatMessageAssistant.model_fields)


@check
def _retry() -> None:
    """a provider's should_retry says rate_limit or transient, with seconds to wait"""
    found = RetryDecision.rate_limit(3.0)
    assert (bool(found), found.kind, found.retry_after) == (True, "rate_limit", 3.0)
    assert {"should_retry", "is_auth_failure", "generate", "base_url"} <= {*dir(ModelAPI), *parameters(ModelAPI.__init__)}


@check
def _memory() -> None:
    """what Inspect records of a call goes with the task that made it"""

    async def one(model: Model) -> int:
        await model.generate([ChatMessageUser(content="Hi")], config=GenerateConfig(max_retries=0))
        return len(transcript().events)

    async def some() -> list[int]:
        async with get_model("mockllm/model", custom_outputs=said, memoize=False) as model:
            return [await asyncio.create_task(one(model), context=contextvars.Context()) for _ in range(20)]

    assert set(asyncio.run(some())) == {1}


@check
def _no_retries() -> None:
    """with max_retries=0 a call that fails is made once"""
    calls = []

    def broken(*_: Any) -> ModelOutput:
        calls.append(1)
        raise TimeoutError("late")

    async def ask() -> None:
        async with get_model("mockllm/model", custom_outputs=broken, memoize=False, config=GenerateConfig(max_retries=0)) as model:
            await model.generate("Hi")

    try:
        asyncio.run(ask())
    except Exception:  # noqa: BLE001 (whatever it is)
        assert len(calls) == 1
        return
    raise AssertionError("no error came out")


def written(folder: Path) -> Path:
    made = EvalSample(id="a/b", epoch=1, input="Hi", target="", messages=[], output=said(), scores={"s": Score(value="violation")})
    data = EvalDataset(name="d", samples=2, sample_ids=["a/b", 7])
    spec = EvalSpec(
        created="2026-01-01T00:00:00Z", task="t", dataset=data, model="m", config=EvalConfig(),
    )  # fmt: skip
    other = made.model_copy(update={"id": 7})
    write_eval_log(EvalLog(status="success", eval=spec, samples=[made, other]), str(folder / "x.eval"), format="eval")
    return folder / "x.eval"


@check
def _log() -> None:
    """a log has version 2, and its archive header.json, summaries.json and samples/ID_epoch_EPOCH.json"""
    from zipfile import ZipFile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder))
        assert read_eval_log(str(path), header_only=True).version == 2
        with ZipFile(path) as archive:
            names = set(archive.namelist())
    assert {"header.json", "summaries.json", "_journal/start.json", "samples/a/b_epoch_1.json", "samples/7_epoch_1.json"} <= names


@check
def _reads() -> None:
    """sample ids keep their types, and samples and summaries can be read by themselves"""
    with tempfile.TemporaryDirectory() as folder:
        path = str(written(Path(folder)))
        header = read_eval_log(path, header_only=True)
        assert header.eval.dataset.sample_ids == ["a/b", 7]
        assert {(s.id, s.epoch) for s in read_eval_log_sample_summaries(path)} == {("a/b", 1), (7, 1)}
        assert [s.id for s in read_eval_log_samples_by_id(path, [(7, 1)], concurrency=1, resolve_attachments="core")] == [7]


@check
def _skipped() -> None:
    """a sample that errored is in the log with its error and no score, and one that was never run is missing from it"""

    def breaks(*_: Any) -> ModelOutput:
        raise ValueError("on purpose")

    with tempfile.TemporaryDirectory() as folder:
        data = MemoryDataset([Sample(id=i, input="Hi", target="") for i in (1, 2)])
        model = get_model("mockllm/model", custom_outputs=breaks)
        logs = evaluate(
            Task(data, solver=generate(), scorer=word()), model=model, log_dir=folder, display="none", fail_on_error=False, limit=1
        )
        log = read_eval_log(logs[0].location)
    (sample,) = log.samples or []
    assert sample.error is not None
    assert not sample.scores
    assert log.eval.dataset.sample_ids == [1]


@metric(scores="unreduced")
def words() -> Any:
    def measured(scores: list[Any]) -> dict[str, float]:
        return {f"{s.sample_id} {s.score.value}": 1.0 for s in scores}

    return measured


@scorer(metrics=[words()])
def word() -> Any:
    async def score(state: Any, target: Any) -> Score:
        return Score(value="unscorable")

    return score


@check
def _words() -> None:
    """a score that is a word stays one, and an unreduced metric gets it with its sample's id"""
    with tempfile.TemporaryDirectory() as folder:
        model = get_model("mockllm/model", custom_outputs=said)
        data = MemoryDataset([Sample(id="h/en/none/plain/0", input="Hi")])
        logs = evaluate(Task(data, solver=generate(), scorer=word()), model=model, log_dir=folder, display="none")
        log = read_eval_log(logs[0].location)
    (sample,) = log.samples or []
    assert (sample.scores or {})["word"].value == "unscorable"
    assert log.results is not None
    assert list(log.results.scores[0].metrics) == ["h/en/none/plain/0 unscorable"]


def failing() -> Iterator[str]:
    for what, function in CHECKS.items():
        try:
            function()
        except Exception as e:  # noqa: BLE001 (told, whatever it is)
            yield f"{what}: {type(e).__name__}: {str(e)[:300]}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"held": len(CHECKS), "broken": list(failing())}) + "\n")
