"""The gateway, whole: processes, sockets, a store, an upstream. What passes, what is turned away, and what is cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.access.gate import CHAT, Gate, run


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with Gate(tmp_path_factory.mktemp("gate"), workers=2) as gate:
        gate.put(gate.grant())
        time.sleep(0.3)
        yield gate


def ask(gate: Gate, path: str = "/v1/chat/completions", value: Any = CHAT, **given: Any) -> tuple[int, Any]:
    async def go() -> tuple[int, Any]:
        async with gate.client() as client:
            return await client(path, value, **given)

    status, answer = run(go())
    return status, answer


def test_it_serves_every_route(gate: Gate) -> None:
    status, answer = ask(gate)
    assert (status, answer["choices"][0]["message"]["content"][:5]) == (200, "inner")
    status, found = ask(gate, value={**CHAT, "stream": True})
    assert status == 200
    assert found[-1] == "[DONE]"
    assert len(found) == 9, "the report of use that nobody asked for is left out"
    status, found = ask(gate, value={**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    assert found[-2]["usage"]["completion_tokens"] == 8
    status, answer = ask(gate, "/v1/responses", {"model": "m7", "input": "hello", "max_output_tokens": 4})
    assert (status, answer["output"][0]["content"][0]["text"][:5]) == (200, "inner")
    status, answer = ask(gate, "/v1/embeddings", {"model": "m7", "input": "hello"})
    assert (status, answer["data"][0]["object"]) == (200, "embedding")
    status, answer = ask(gate, "/v1/models", None)
    assert (status, [m["id"] for m in answer["data"]]) == (200, ["m7"])
