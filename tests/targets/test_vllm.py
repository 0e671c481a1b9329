"""The vLLM target: against vLLM's own source where there is some, and against a stand-in of the same form for what it does with answers.

No GPU is needed, and none was there: nothing here shows that a model answers.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from assay.errors import ModelError, TargetError, TargetGoneError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import Reply, make_target, parse_target
from assay.targets.vllm import VllmTarget, weights_digest

HELLO = (Message("system", "Be brief."), Message("user", "Hello"))


def source() -> Path | None:
    """Where vLLM's source is: ASSAY_VLLM_SOURCE (an unpacked wheel), or the installed package; it is read, not imported."""
    if given := os.environ.get("ASSAY_VLLM_SOURCE"):
        return Path(given)
    found = importlib.util.find_spec("vllm")
    return Path(found.origin).parent.parent if found and found.origin else None


class Source:
    """Classes and functions of vLLM as they are written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def module(self, name: str) -> ast.Module:
        base = self._root / name.replace(".", "/")
        path = base.with_suffix(".py")
        return ast.parse((path if path.is_file() else base / "__init__.py").read_text(encoding="utf-8"))

    def kind(self, module: str, name: str) -> ast.ClassDef:
        return next(n for n in self.module(module).body if isinstance(n, ast.ClassDef) and n.name == name)

    def fields(self, module: str, name: str) -> dict[str, str]:
        """Annotated fields of a class, with their types as they are written."""
        body = self.kind(module, name).body
        return {n.target.id: ast.unparse(n.annotation) for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}

    def method(self, module: str, name: str, method: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
        body = self.kind(module, name).body
        return next(n for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == method)

    def bases(self, module: str, name: str) -> list[str]:
        return [ast.unparse(base) for base in self.kind(module, name).bases]


@pytest.fixture(scope="module")
def vllm() -> Source:
    root = source()
    if root is None:
        pytest.skip("needs vLLM's source: the package, or an unpacked wheel named by ASSAY_VLLM_SOURCE")
    return Source(root)


class TestContract:
    """Every name, parameter and type of vLLM that the target uses is there."""

    def test_engine_arguments(self, vllm: Source) -> None:
        fields = vllm.fields("vllm.engine.arg_utils", "EngineArgs") | vllm.fields("vllm.engine.arg_utils", "AsyncEngineArgs")
        used = {
            "model": "str", "seed": "int", "trust_remote_code": "bool", "generation_config": "str", "enable_log_requests": "bool",
            "disable_log_stats": "bool", "tensor_parallel_size": "int", "max_model_len": "int", "gpu_memory_utilization": "float",
        }  # fmt: skip
        assert {name: fields[name] for name in used} == used
        assert {"dtype", "quantization", "revision"} <= fields.keys()
        assert vllm.bases("vllm.engine.arg_utils", "AsyncEngineArgs") == ["EngineArgs"]

    def test_engine(self, vllm: Source) -> None:
        where = "vllm.v1.engine.async_llm"
        made = vllm.method(where, "AsyncLLM", "from_engine_args")
        assert [a.arg for a in made.args.args][:2] == ["cls", "engine_args"]
        assert len(made.args.args) - len(made.args.defaults) == 2, "another argument is needed"
        generate = vllm.method(where, "AsyncLLM", "generate")
        assert isinstance(generate, ast.AsyncFunctionDef)
        assert [a.arg for a in generate.args.args] == ["self", "prompt", "sampling_params", "request_id"]
        assert all(default is not None for default in generate.args.kw_defaults)
        assert generate.returns is not None
        assert ast.unparse(generate.returns) == "AsyncGenerator[RequestOutput, None]"
        assert isinstance(vllm.method(where, "AsyncLLM", "shutdown"), ast.FunctionDef)
        assert "self.renderer = " in ast.unparse(vllm.method(where, "AsyncLLM", "__init__"))

    def test_chat_template(self, vllm: Source) -> None:
        rendered = vllm.method("vllm.renderers.base", "BaseRenderer", "render_chat_async")
        assert isinstance(rendered, ast.AsyncFunctionDef)
        assert [a.arg for a in rendered.args.args][:3] == ["self", "conversations", "chat_params"]
        last = rendered.body[-1]
        assert isinstance(last, ast.Return)
        assert isinstance(last.value, ast.Tuple)
        assert len(last.value.elts) == 2
        assert vllm.fields("vllm.renderers.params", "ChatParams")["chat_template_kwargs"] == "dict[str, Any]"
        served = ast.unparse(vllm.module("vllm.entrypoints.openai.chat_completion.protocol"))
        assert "add_generation_prompt=self.add_generation_prompt" in served
        assert "continue_final_message=self.continue_final_message" in served

    def test_sampling(self, vllm: Source) -> None:
        fields = vllm.fields("vllm.sampling_params", "SamplingParams")
        used = {
            "max_tokens": "int | None", "temperature": "float", "seed": "int | None", "output_kind": "RequestOutputKind",
            "structured_outputs": "StructuredOutputsParams | None",
        }  # fmt: skip
        assert {name: fields[name] for name in used} == used
        assert fields["top_p"] == "float"
        assert "FINAL_ONLY" in ast.unparse(vllm.kind("vllm.sampling_params", "RequestOutputKind"))
        assert "dict" in vllm.fields("vllm.sampling_params", "StructuredOutputsParams")["json"]

    def test_outputs(self, vllm: Source) -> None:
        fields = vllm.fields("vllm.outputs", "CompletionOutput")
        assert (fields["text"], fields["finish_reason"]) == ("str", "str | None")
        assert "token_ids" in fields
        made = vllm.method("vllm.outputs", "RequestOutput", "__init__")
        types = {a.arg: ast.unparse(a.annotation) for a in made.args.args if a.annotation}
        assert types["outputs"] == "list[CompletionOutput]"
        assert types["finished"] == "bool"
        assert types["prompt_token_ids"] == "list[int] | None"
        reasons = next(
            ast.literal_eval(n.value) for n in vllm.module("vllm.v1.engine").body
            if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "FINISH_REASON_STRINGS"
        )  # fmt: skip
        assert reasons[:2] == ("stop", "length")

    def test_errors_and_exports(self, vllm: Source) -> None:
        assert vllm.bases("vllm.exceptions", "VLLMClientError") == ["VLLMError"]
        assert vllm.bases("vllm.exceptions", "VLLMServerError") == ["VLLMError"]
        assert vllm.bases("vllm.exceptions", "VLLMValidationError") == ["VLLMClientError"]
        assert vllm.bases("vllm.v1.engine.exceptions", "EngineDeadError") == ["VLLMServerError"]
        assert "raise EngineDeadError()" in ast.unparse(vllm.method("vllm.v1.engine.async_llm", "AsyncLLM", "add_request"))
        exported = ast.unparse(vllm.module("vllm"))
        assert "'AsyncEngineArgs': '.engine.arg_utils:AsyncEngineArgs'" in exported
        assert "'SamplingParams': '.sampling_params:SamplingParams'" in exported
        assert "ChatParams" in ast.unparse(vllm.module("vllm.renderers"))


class Engine:
    """A stand-in for vLLM's engine: what it was asked, and answers as they are set."""

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments
        self.asked: list[Any] = []
        self.answer: Any = None
        self.open = True
        self.renderer = self

    async def render_chat_async(self, conversations: list[Any], chat: Any) -> tuple[Any, list[Any]]:
        return conversations, [{"type": "token", "messages": conversations[0], "chat": chat.chat_template_kwargs}]

    async def generate(self, prompt: Any, sampling: Any, request_id: str) -> Any:
        self.asked.append((prompt, sampling, request_id))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "never":
            await asyncio.sleep(60)
        yield self.answer or output("Hello.")

    def shutdown(self) -> None:
        self.open = False


def output(text: str, reason: str | None = "stop", *, finished: bool = True) -> Any:
    done = SimpleNamespace(text=text, token_ids=[1] * len(text.split()), finish_reason=reason)
    return SimpleNamespace(outputs=[done], finished=finished, prompt_token_ids=[1, 2, 3])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A package of the same form in vLLM's place; what it made, by name."""
    made: dict[str, Any] = {}

    def module(name: str, **names: Any) -> ModuleType:
        new = ModuleType(name)
        new.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        for key, value in names.items():
            setattr(new, key, value)
        monkeypatch.setitem(sys.modules, name, new)
        return new

    def engine(arguments: Any) -> Engine:
        if "fail" in made:
            raise made["fail"]
        made["engine"] = Engine(arguments)
        return made["engine"]

    error = type("VLLMError", (Exception,), {})
    client, server = type("VLLMClientError", (error,), {}), type("VLLMServerError", (error,), {})
    made |= {"client": client, "server": server, "dead": type("EngineDeadError", (server,), {})}
    module("vllm", __version__="0.0-stand-in", AsyncEngineArgs=SimpleNamespace, SamplingParams=SimpleNamespace)
    module("vllm.v1")
    module("vllm.v1.engine")
    module("vllm.v1.engine.async_llm", AsyncLLM=SimpleNamespace(from_engine_args=engine))
    module("vllm.v1.engine.exceptions", EngineDeadError=made["dead"])
    module("vllm.exceptions", VLLMError=error, VLLMClientError=client)
    module("vllm.renderers", ChatParams=SimpleNamespace)
    module("vllm.sampling_params", RequestOutputKind=SimpleNamespace(FINAL_ONLY=2), StructuredOutputsParams=SimpleNamespace)
    return made


def asked(made: dict[str, Any], answer: Any, spec: TargetSpec | None = None, limits: Limits | None = None) -> tuple[Reply, VllmTarget]:
    async def go() -> tuple[Reply, VllmTarget]:
        target = make_target(
            spec or TargetSpec("vllm", "org/model"), Generation(max_tokens=7, temperature=0.5, seed=11), limits or Limits(), lambda _: None
        )
        assert isinstance(target, VllmTarget)
        async with target:
            made["engine"].answer = answer
            return await target.ask(HELLO), target

    return asyncio.run(go())


def test_an_answer_with_its_tokens_and_what_was_asked(stand_in: dict[str, Any]) -> None:
    reply, target = asked(stand_in, output("I cannot help."))
    assert (reply.text, reply.finish, reply.prompt_tokens, reply.answer_tokens) == ("I cannot help.", "stop", 3, 3)
    assert (reply.failure, reply.attempts[0].status) == ("", "200")
    prompt, sampling, _ = stand_in["engine"].asked[-1]
    assert prompt["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert prompt["chat"] == {"add_generation_prompt": True, "continue_final_message": False}
    assert (sampling.max_tokens, sampling.temperature, sampling.seed, sampling.structured_outputs) == (7, 0.5, 11, None)
    assert target.identity == {"kind": "vllm", "model": "org/model", "runtime": "vllm 0.0-stand-in"}
    assert not stand_in["engine"].open
    assert stand_in["engine"].arguments.trust_remote_code is False


@pytest.mark.parametrize(
    ("answer", "failure", "outage"),
    [
        (output("half", None, finished=False), "vLLM: no answer", True),
        (output("", "abort"), "vLLM: abort", True),
        (output("", "error"), "vLLM: error", True),
        ("client", "VLLMClientError", False),
        ("server", "VLLMServerError", True),
        ("never", "timeout", True),
    ],
)
def test_what_is_no_answer_never_becomes_one(stand_in: dict[str, Any], answer: Any, failure: str, outage: bool) -> None:
    made = stand_in[answer]("x") if answer in ("client", "server") else answer
    reply, _ = asked(stand_in, made, limits=Limits(timeout_s=0.2))
    assert (reply.text, reply.failure, reply.outage) == ("", failure, outage)


def test_an_answer_cut_by_its_length_says_so(stand_in: dict[str, Any]) -> None:
    assert asked(stand_in, output("a b c", "length"))[0].finish == "length"
    assert asked(stand_in, output("x" * 2000), limits=Limits(max_answer_bytes=1024))[0].truncated


def test_a_dead_engine_is_no_answer_and_no_pause(stand_in: dict[str, Any]) -> None:
    with pytest.raises(TargetGoneError, match="engine is dead"):
        asked(stand_in, stand_in["dead"]())


def test_weights_that_cannot_be_loaded_are_one_message(stand_in: dict[str, Any]) -> None:
    stand_in["fail"] = RuntimeError("CUDA out of memory\nmuch more")
    with pytest.raises(ModelError, match="cannot load these weights: RuntimeError: CUDA out of memory"):
        asked(stand_in, None)


def test_options_reach_the_engine_and_unknown_ones_are_refused(stand_in: dict[str, Any]) -> None:
    options = {"tensor_parallel": "4", "gpu_memory": "0.8", "max_model_len": "8192", "dtype": "bfloat16", "template": '{"thinking": false}'}
    _, target = asked(stand_in, None, TargetSpec("vllm", "m", options=options))
    given = stand_in["engine"].arguments
    assert (given.tensor_parallel_size, given.gpu_memory_utilization, given.max_model_len, given.dtype) == (4, 0.8, 8192, "bfloat16")
    assert stand_in["engine"].asked[-1][0]["chat"]["thinking"] is False
    assert target.identity["tensor_parallel"] == "4"
    for wrong in ({"trust_remote_code": "1"}, {"tensor_parallel": "many"}, {"gpu_memory": "2"}, {"template": "[]"}, {"template": "{"}):
        with pytest.raises(TargetError, match=r"target\.options\.|must be|unknown option"):
            make_target(TargetSpec("vllm", "m", options=wrong), Generation(), Limits(), lambda _: None)


def test_a_folder_of_weights_is_known_by_its_digest(stand_in: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "deep" / "config.json").write_bytes(b"{}")
    (tmp_path / ".cache" / "empty").mkdir(parents=True)
    first = weights_digest(tmp_path)
    (tmp_path / ".cache" / "lock").write_bytes(b"")
    assert weights_digest(tmp_path) == first
    assert asked(stand_in, None, TargetSpec("vllm", str(tmp_path)))[1].identity["digest"] == first
    (tmp_path / "model.safetensors").write_bytes(b"weightz")
    assert weights_digest(tmp_path) != first
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    assert len({first, weights_digest(tmp_path)}) == 2
    with pytest.raises(ModelError, match="no weights"):
        weights_digest(tmp_path / ".cache" / "empty")


def test_without_vllm_one_message() -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed")
    assert parse_target("vllm:/models/m") == TargetSpec("vllm", "/models/m")
    with pytest.raises(ModelError, match="not installed"):
        make_target(parse_target("vllm:/models/m"), Generation(), Limits(), lambda _: None)
