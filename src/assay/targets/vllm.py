"""Weights that vLLM runs in this process's charge: no server, no address. On a GPU node, mostly as a worker's target (docs/scale.md).

    --target vllm:/models/my-model              a folder of weights, known by its digest
    --target vllm:org/my-model                  a name that vLLM resolves; its weights are then not known by a digest
    options: {tensor_parallel: "4", max_model_len: "8192", gpu_memory: "0.9", dtype: bfloat16, quantization: fp8, revision: ...,
              template: '{"enable_thinking": false}'}

vLLM's engine batches what is asked at once by itself; its own process holds the GPU. Messages become tokens by the model's chat template.
With batches of another make-up the same request may be answered otherwise even at temperature 0; VLLM_BATCH_INVARIANT=1 in the
environment forbids that, where model and GPU allow it. Code that comes with weights is never run.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from assay.errors import ModelError, TargetError, TargetGoneError
from assay.ledger import digest
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.base import Attempt, Progress, Reply, clean_text

_NUMBERS = {"tensor_parallel": (1, 64), "max_model_len": (256, 10_000_000), "gpu_memory": (0.05, 1.0)}
_WORDS = ("dtype", "quantization", "revision")


class VllmTarget:
    """One engine (`AsyncLLM`) for the whole run."""

    def __init__(self, spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> None:
        self._arguments, self._template = _read_options(spec)
        if importlib.util.find_spec("vllm") is None:
            raise ModelError("vLLM is not installed", fix="On a machine with a GPU that it supports: pip install vllm")
        self._model = spec.model
        self._generation = generation
        self._limits = limits
        self._progress = progress
        self._engine: Any = None
        self._numbers = itertools.count()
        self.identity: Mapping[str, str] = {"kind": "vllm", "model": spec.model, **spec.options}

    async def __aenter__(self) -> Self:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        weights = Path(self._model)
        found = {}
        if weights.exists():
            self._progress(f"Taking the digest of the weights in {weights}.")
            found = {"digest": await asyncio.to_thread(weights_digest, weights)}
        self._progress(f"Loading {self._model} into vLLM.")
        import vllm
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.identity = {**self.identity, **found, "runtime": f"vllm {vllm.__version__}"}
        arguments = AsyncEngineArgs(
            model=self._model, seed=self._generation.seed, trust_remote_code=False, generation_config="vllm",
            enable_log_requests=False, disable_log_stats=True, **self._arguments,
        )  # fmt: skip
        try:
            self._engine = AsyncLLM.from_engine_args(arguments)
        except Exception as e:  # noqa: BLE001 (whatever keeps a model from loading)
            raise ModelError(f"vLLM cannot load these weights: {type(e).__name__}: {_line(e)}", where=self._model) from None
        if not await self.alive():
            await self.__aexit__(None, None, None)
            raise ModelError("vLLM has loaded these weights and does not answer a greeting", where=self._model)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """One trial. Raises `TargetGoneError` once the engine is dead: a GPU's error ends it for good."""
        return await self._asked(messages, self._generation.seed)

    async def ask_item(self, item: Item) -> Reply:
        """`ask`, with a decoding seed of its own for every sample of an item; anchors are asked the same way every time."""
        sample = 0 if item.stream.arm == "anchor" else item.sample
        return await self._asked(item.messages, self._generation.seed + sample)

    async def ask_form(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Reply:
        """One answer that is held to a JSON schema."""
        return await self._asked(messages, self._generation.seed, schema)

    async def alive(self) -> bool:
        """Whether a greeting is answered."""
        try:
            return not (await self._asked((Message("user", "Hello"),), self._generation.seed, most=1)).failure
        except TargetError:
            return False

    async def _asked(
        self, messages: tuple[Message, ...], seed: int, schema: dict[str, Any] | None = None, most: int = 0
    ) -> Reply:  # fmt: skip
        if self._engine is None:
            raise TargetError("the vllm target is not open")
        from vllm.exceptions import VLLMClientError, VLLMError
        from vllm.v1.engine.exceptions import EngineDeadError

        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.call_s or self._limits.timeout_s):
                return self._read(await self._generated(messages, seed, schema, most), began)
        except TimeoutError:
            return Reply("", failure="timeout", outage=True, attempts=(_attempt("timeout", began),))
        except EngineDeadError:
            raise TargetGoneError("vLLM's engine is dead; everything so far is kept", where=self._model) from None
        except VLLMClientError as e:  # this request's own: too long for the model, no chat template
            return Reply("", failure=type(e).__name__, attempts=(_attempt(type(e).__name__, began),))
        except VLLMError as e:
            return Reply("", failure=type(e).__name__, outage=True, attempts=(_attempt(type(e).__name__, began),))

    async def _generated(self, messages: tuple[Message, ...], seed: int, schema: dict[str, Any] | None, most: int) -> Any:
        """The engine's last output for these messages."""
        from vllm import SamplingParams
        from vllm.renderers import ChatParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        chat = ChatParams(chat_template_kwargs={**self._template, "add_generation_prompt": True, "continue_final_message": False})
        _, (prompt,) = await self._engine.renderer.render_chat_async(
            [[{"role": m.role, "content": m.content} for m in messages]], chat
        )  # fmt: skip
        sampling = SamplingParams(
            max_tokens=most or self._generation.max_tokens, temperature=self._generation.temperature, seed=seed,
            output_kind=RequestOutputKind.FINAL_ONLY, structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
        )  # fmt: skip
        last = None
        async for output in self._engine.generate(prompt, sampling, f"assay-{next(self._numbers)}"):
            last = output
        return last

    def _read(self, output: Any, began: float) -> Reply:
        done = output.outputs[0] if output is not None and output.outputs else None
        if done is None or not output.finished or done.finish_reason not in ("stop", "length"):
            reason = str(getattr(done, "finish_reason", None) or "no answer")
            return Reply("", failure=f"vLLM: {reason}", outage=True, attempts=(_attempt(reason, began),))
        text, cut = clean_text(done.text, self._limits.max_answer_bytes)
        return Reply(
            text, finish=done.finish_reason, model=self._model, prompt_tokens=len(output.prompt_token_ids or ()),
            answer_tokens=len(done.token_ids), attempts=(_attempt("200", began),), truncated=cut,
        )  # fmt: skip


def weights_digest(path: Path) -> str:
    """A file's SHA-256; of a folder, that of the canonical JSON of its files' names and SHA-256. Hidden files and folders are left out.

    Links to files are followed: that is how shared stores of weights lay out a model. Raises `ModelError`.
    """
    try:
        if path.is_file():
            return f"sha256:{_sha256(path)}"
        inside = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        files = {p.relative_to(path).as_posix(): _sha256(p) for p in inside if not p.is_dir()}
    except OSError as e:
        raise ModelError(f"cannot read the weights: {e.strerror}", where=str(path)) from None
    if not files:
        raise ModelError("there are no weights in this folder", where=str(path))
    return digest(files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _read_options(spec: TargetSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """What goes to the engine, and what to the chat template. Raises `TargetError`."""
    names = {"tensor_parallel": "tensor_parallel_size", "gpu_memory": "gpu_memory_utilization"}
    arguments: dict[str, Any] = {}
    template: dict[str, Any] = {}
    for key, value in spec.options.items():
        where = f"target.options.{key}"
        if key in _NUMBERS:
            least, most = _NUMBERS[key]
            try:
                number = float(value) if key == "gpu_memory" else int(value)
            except ValueError:
                number = math.nan
            if not least <= number <= most:
                raise TargetError(f"must be a number from {least} to {most}, not '{value}'", where=where)
            arguments[names.get(key, key)] = number
        elif key in _WORDS:
            arguments[key] = value
        elif key == "template":
            try:
                template = json.loads(value)
            except (ValueError, RecursionError):
                template = {}
            if not isinstance(template, dict) or not template:
                raise TargetError("must be a JSON object", where=where)
        else:
            raise TargetError(f"unknown option '{key}'", where=where)
    return arguments, template


def _attempt(status: str, began: float) -> Attempt:
    return Attempt(status, round(1000 * (time.monotonic() - began)))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> VllmTarget:
    """Entry point `vllm`."""
    return VllmTarget(spec, generation, limits, progress)
