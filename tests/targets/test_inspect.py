"""The target `inspect:` over loopback: what comes back, what a failure is called, whose retries there are, and that a dead process is an
outage and no answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import Reply, parse_target
from assay.targets.inspect import InspectTarget
from tests.targets.endpoint import serve
from tests.targets.inspect_scene import SECRET, Scene

LIMITS = Limits(concurrency=16, retries=0, timeout_s=60, max_answer_bytes=2048)
TOOL = {
    "type": "function",
    "function": {
        "name": "look", "description": "Look.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"], "additionalProperties": False},
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _key() -> Iterator[None]:
    pytest.importorskip("httpx", reason="comes with the extra 'inspect'")
    from importlib.util import find_spec

    if find_spec("inspect_ai") is None:
        pytest.skip("the extra 'inspect' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_KEY", SECRET)
        patch.setenv("ASSAY_KEY_OF_MINE", "never told")
        yield


def spec(url: str, **more: Any) -> TargetSpec:
    return TargetSpec("inspect", "openai-api/loop/m", url, "LOOP_KEY", **more)


def target(url: str, limits: Limits = LIMITS) -> InspectTarget:
    return InspectTarget(spec(url), Generation(max_tokens=99, temperature=0.5, seed=7), limits)


class Found:
    """What one target was told, what the endpoint saw of it, and what was there afterwards."""

    replies: dict[str, Reply]
    calls: Reply
    after: Reply
    fatal: str
    died: Reply
    back: Reply
    starts: int
    alive: bool


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Found, Scene, Path]]:
    """One process for all: starting Inspect takes seconds."""
    home = tmp_path_factory.mktemp("home")
    scene = Scene()
    with pytest.MonkeyPatch.context() as patch, serve(scene) as endpoint:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(home))
        yield asyncio.run(_all(endpoint.url)), scene, home


async def _all(url: str) -> Found:
    out = Found()
    one = target(url)
    async with one:
        asked = ["Hi", "busy", "down", "broken", "bad", "filtered", "too long", "no json", "nothing", "cut", "odd", "long"]
        replies = await asyncio.gather(*(one.ask((Message("user", what),)) for what in asked))
        out.replies = dict(zip(asked, replies, strict=True))
        one._limits = msgspec.structs.replace(LIMITS, timeout_s=0.5)
        out.replies["slow"] = await one.ask((Message("user", "slow"),))
        one._limits = LIMITS
        begun: list[dict[str, Any]] = [{"role": "system", "content": "Act."}, {"role": "user", "content": "call"}]
        out.calls = await one.ask_tools(begun, [TOOL])
        said = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.text}} for c in out.calls.calls]
        begun += [{"role": "assistant", "content": out.calls.text, "tool_calls": said}]
        begun += [{"role": "tool", "tool_call_id": c.id, "content": "[]"} for c in out.calls.calls]
        out.after = await one.ask_tools(begun, [TOOL])
        with pytest.raises(TargetError) as refused:
            await one.ask((Message("user", "no key"),))
        out.fatal = str(refused.value)
        late = asyncio.create_task(one.ask((Message("user", "slow"),)))
        await asyncio.sleep(0.2)
        child = one._process._child
        assert child is not None
        os.killpg(child.pid, signal.SIGKILL)
        out.died = await late
        out.alive = await one.alive()
        out.back = await one.ask((Message("user", "Hi"),))
        out.starts = one._process.starts
        now = one._process._child
        assert now is not None
        pid = now.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    return out


@pytest.mark.parametrize(
    ("what", "failure", "outage", "busy"),
    [
        ("busy", "HTTP 429", True, True), ("down", "HTTP 503", True, True), ("broken", "HTTP 500", True, False),
        ("bad", "HTTP 400", False, False),
        ("filtered", "the provider's content filter stopped it", False, False),
        ("too long", "the model's context is too short for it", False, False), ("slow", "timed out", True, False),
        ("nothing", "malformed answer (no choice)", True, False),
    ],
)  # fmt: skip
def test_a_failure_is_called_what_it_is(found: tuple[Found, Scene, Path], what: str, failure: str, outage: bool, busy: bool) -> None:
    reply = found[0].replies[what]
    assert (reply.failure, reply.outage, reply.busy, reply.text) == (failure, outage, busy, "")


def test_what_no_client_can_read_is_the_endpoints_failure(found: tuple[Found, Scene, Path]) -> None:
    reply = found[0].replies["no json"]
    assert reply.outage
    assert reply.failure


def test_an_answer_comes_with_its_tokens_and_as_text_that_can_be_kept(found: tuple[Found, Scene, Path]) -> None:
    replies = found[0].replies
    hi = replies["Hi"]
    assert (hi.text, hi.finish, hi.model, hi.prompt_tokens, hi.answer_tokens) == ("Fine.", "stop", "loop", 7, 3)
    assert (replies["cut"].text, replies["cut"].finish) == ("Well", "max_tokens")
    assert replies["odd"].text == "nul \x00 and a lone surrogate ?"
    assert (len(replies["long"].text), replies["long"].truncated) == (2048, True)
    assert replies["busy"].retry_after_s == 7.0


def test_decoding_is_the_plans_and_no_retry_is_anybody_elses(found: tuple[Found, Scene, Path]) -> None:
    scene = found[1]
    body = scene.bodies["Hi"]
    assert {k: body[k] for k in ("model", "max_tokens", "temperature", "seed")} == {
        "model": "m", "max_tokens": 99, "temperature": 0.5, "seed": 7,
    }  # fmt: skip
    assert [scene.asked[what] for what in ("busy", "down", "broken", "bad", "no json")] == [1, 1, 1, 1, 1]


def test_native_calls_come_as_they_were_and_go_back_so(found: tuple[Found, Scene, Path]) -> None:
    calls = found[0].calls.calls
    assert [(c.id, c.name) for c in calls] == [("c-1", "look"), ("c-2", "look")]
    assert calls[0].given == {"at": "M-1"}
    assert isinstance(calls[1].given, str), "what is no JSON is no arguments"
    assert '{"at":' in calls[1].given
    assert found[0].after.text == "Fine."
    body = found[1].bodies["call"]
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"at": "M-1"}'
    assert body["tools"][0]["function"]["name"] == "look"


def test_a_refused_key_ends_everything_and_is_quoted_nowhere(found: tuple[Found, Scene, Path]) -> None:
    seen, scene, home = found
    assert "refused the key" in seen.fatal
    assert scene.keys == {f"Bearer {SECRET}"}
    told = [seen.fatal, *(r.failure + r.text + str(r.attempts) for r in seen.replies.values())]
    assert not any(SECRET in text for text in told)
    kept = [p for p in home.rglob("*") if p.is_file()]
    assert not any(SECRET.encode() in p.read_bytes() for p in kept), kept


def test_the_death_of_the_process_is_an_outage_and_the_next_call_starts_it_again(found: tuple[Found, Scene, Path]) -> None:
    seen = found[0]
    assert (seen.died.outage, seen.died.busy, seen.died.failure) == (True, False, "the process that runs Inspect ended")
    assert seen.alive
    assert (seen.back.text, seen.starts) == ("Fine.", 2)
    assert "inspect_ai" not in sys.modules


def test_a_target_says_what_it_is(found: tuple[Found, Scene, Path]) -> None:
    from importlib.metadata import version

    one = target("http://127.0.0.1:9/v1")
    assert one.identity == {
        "kind": "inspect", "model": "openai-api/loop/m", "provider": "openai-api", "inspect": version("inspect_ai"),
        "url": "http://127.0.0.1:9/v1",
    }  # fmt: skip
    assert parse_target("inspect:anthropic/some-model") == TargetSpec("inspect", "anthropic/some-model")
    with pytest.raises(TargetError, match="names no provider"):
        InspectTarget(TargetSpec("inspect", "model"), Generation(), LIMITS)


def test_a_provider_that_cannot_be_opened_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened(one: InspectTarget) -> None:
        async with one:
            pass

    unknown = InspectTarget(TargetSpec("inspect", "nowhere/m"), Generation(), LIMITS)
    with pytest.raises(TargetError, match="nowhere") as refused:
        asyncio.run(opened(unknown))
    assert "Traceback" not in str(refused.value)
    with pytest.raises(TargetError, match="no option of a target") as refused:
        InspectTarget(TargetSpec("inspect", "openai-api/loop/m", options={"api_key": SECRET}), Generation(), LIMITS)
    assert SECRET not in str(refused.value)
