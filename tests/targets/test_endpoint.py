"""The HTTP target against endpoints that misbehave: always a bounded, recorded, never a safe result."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import Reply
from assay.targets.http import HttpTarget
from tests.targets.endpoint import Behaviour, Endpoint, completion, serve

KEY = "sk-very-secret-key"
GREETINGS = 2
LIMITS = Limits(concurrency=2, timeout_s=1.0, retries=2, outage_s=5, max_answer_bytes=4096)


def ask(endpoint: Endpoint, limits: Limits = LIMITS, times: int = 1) -> list[Reply]:
    """Open the target (its greeting is answered properly) and ask."""

    async def go() -> list[Reply]:
        spec = TargetSpec(kind="http", model="m", url=endpoint.url)
        async with HttpTarget(spec, Generation(max_tokens=9, temperature=0.5, seed=3), limits, api_key=KEY) as target:
            return [await target.ask((Message("system", "s"), Message("user", "u"))) for _ in range(times)]

    return asyncio.run(go())


def after_greeting(behaviour: Behaviour) -> Behaviour:
    async def wrapped(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion("hi")) if number <= GREETINGS else await behaviour(request, body, number)

    return wrapped


def always(status: int = 200, text: str = "", **headers: str) -> Behaviour:
    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return after_greeting(behaviour)


def answers(value: Any) -> Behaviour:
    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(value)

    return after_greeting(behaviour)


def test_a_proper_answer_and_what_was_sent() -> None:
    with serve(answers(completion("Good day.", model="loop-1"))) as endpoint:
        reply = ask(endpoint)[0]
    assert (reply.text, reply.finish, reply.model, reply.prompt_tokens, reply.answer_tokens) == ("Good day.", "stop", "loop-1", 7, 3)
    assert [a.status for a in reply.attempts] == ["200"]
    sent = endpoint.bodies[GREETINGS]
    assert sent["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("m", 9, 0.5, 3)
    assert endpoint.headers[GREETINGS]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (always(500), "HTTP 500"),
        (always(503, **{"Retry-After": "nonsense"}), "HTTP 503"),
        (always(429, **{"Retry-After": "-5"}), "HTTP 429"),
        (always(200, "<html>sign in</html>"), "malformed answer (HTML)"),
        (always(200, '{"choices": ['), "malformed answer"),
        (always(200, "[" * 3000), "malformed answer"),
        (always(200, ""), "malformed answer"),
        (answers({"choices": []}), "malformed answer"),
        (answers({"choices": "many"}), "malformed answer"),
        (answers({"choices": [{"message": "hello"}]}), "malformed answer"),
        (answers(completion("x", usage="lots")), "malformed answer"),
        (answers(completion("x", model=7)), "malformed answer"),
        (answers([1, 2]), "malformed answer"),
    ],
)
def test_endpoint_failures_are_retried_and_then_outages(behaviour: Behaviour, failure: str) -> None:
    with serve(behaviour) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.outage
    assert reply.text == ""
    assert reply.failure.startswith(failure)
    assert len(reply.attempts) == LIMITS.retries + 1 == len(endpoint.bodies) - GREETINGS


@pytest.mark.parametrize(
    ("status", "what"), [(401, "refused the key"), (403, "refused the key"), (404, "no such path or model"), (302, "redirects")]
)
def test_what_no_trial_can_survive_is_an_error_without_the_key(status: int, what: str) -> None:
    with serve(always(status, Location="http://127.0.0.1:1/v1")) as endpoint, pytest.raises(TargetError, match=what) as error:
        ask(endpoint)
    assert KEY not in str(error.value)
    assert len(endpoint.bodies) == GREETINGS + 1


def test_a_rejected_item_is_the_items_failure() -> None:
    with serve(always(400, "too long")) as endpoint:
        reply = ask(endpoint)[0]
    assert (reply.failure, reply.outage) == ("HTTP 400", False)
    assert len(endpoint.bodies) == GREETINGS + 1


def test_recovery_after_errors() -> None:
    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.Response(status=500) if number < GREETINGS + 3 else web.json_response(completion("there"))

    with serve(after_greeting(behaviour)) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.text == "there"
    assert [a.status for a in reply.attempts] == ["500", "500", "200"]


@pytest.mark.parametrize("header", ["1", "http-date"])
def test_retry_after_is_obeyed(header: str) -> None:
    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if number == GREETINGS + 1:
            value = formatdate(time.time() + 2, usegmt=True) if header == "http-date" else header
            return web.Response(status=429, headers={"Retry-After": value})
        return web.json_response(completion("there"))

    with serve(after_greeting(behaviour)) as endpoint:
        began = time.monotonic()
        assert ask(endpoint)[0].text == "there"
    assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize("content", [None, "", 5, ["x"]])
def test_no_text_is_an_empty_answer(content: Any) -> None:
    with serve(answers(completion(content))) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.text == ""


def test_surrogates_and_control_characters_become_storable_text() -> None:
    raw = '{"choices":[{"message":{"content":"a\\ud800b\\u0000c"},"finish_reason":null}]}'
    with serve(always(200, raw)) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.text == "a?b\x00c"
    reply.text.encode("utf-8")


def test_a_megabyte_is_read_up_to_its_bound_and_never_more() -> None:
    with serve(answers(completion("x" * 1_000_000))) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.truncated
    assert len(reply.text) <= LIMITS.max_answer_bytes


def test_a_decompression_bomb_is_bounded() -> None:
    import gzip

    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        bomb = gzip.compress(b'{"choices":[{"message":{"content":"' + b"x" * 50_000_000)
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    with serve(after_greeting(behaviour)) as endpoint:
        reply = ask(endpoint)[0]
    assert reply.truncated or reply.failure
    assert len(reply.text) <= LIMITS.max_answer_bytes


@pytest.mark.parametrize("style", ["hang", "drip", "reset"])
def test_hanging_dripping_and_resetting_end_in_bounded_time(style: str) -> None:
    async def behaviour(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if style == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse()
        if style == "drip":
            await response.prepare(request)
        for _ in range(100):
            await asyncio.sleep(0.2)
            if style == "drip":
                await response.write(b" ")
        return response

    limits = Limits(concurrency=1, timeout_s=0.6, retries=1, outage_s=5)
    with serve(after_greeting(behaviour)) as endpoint:
        began = time.monotonic()
        reply = ask(endpoint, limits)[0]
    assert reply.outage
    assert time.monotonic() - began < 6


def test_the_rate_limit_spaces_requests() -> None:
    with serve() as endpoint:
        began = time.monotonic()
        ask(endpoint, Limits(requests_per_minute=600, retries=0), times=6)
    assert 0.55 <= time.monotonic() - began < 3


def test_an_endpoint_that_is_not_there_is_said_at_once() -> None:
    with serve() as endpoint:
        pass
    with pytest.raises(TargetError, match="no usable answer") as error:
        ask(endpoint)
    assert KEY not in str(error.value)
