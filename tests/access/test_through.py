"""As operators use it: their ordinary client, through the connector on their machine, through the gate, to the model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, OpenAI, PermissionDeniedError

from tests.access.gate import ASSAY, Gate, free_port, wait_for

TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "read_log", "description": "Reads a log.", "parameters": {"type": "object", "properties": {}}},
    }
]


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, str, str]]:
    """The gate, the connector's address, and its local key."""
    folder = tmp_path_factory.mktemp("through")
    with Gate(folder / "gate", workers=2) as gate:
        gate.put(gate.grant())
        time.sleep(0.3)
        port = free_port()
        process = subprocess.Popen(
            [
                ASSAY, "access", "connect", "--gate", f"http://127.0.0.1:{gate.port}", "--grant", "power", "--person", "Tan",
                "--key", gate.folder / "holder.pem", "--listen", f"127.0.0.1:{port}", "--secret-file", folder / "local",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        try:
            wait_for(port, process)
            until = time.monotonic() + 10
            while not (folder / "local").is_file():
                assert time.monotonic() < until
                time.sleep(0.05)
            yield gate, f"http://127.0.0.1:{port}/v1", (folder / "local").read_text().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def client(through: tuple[Gate, str, str]) -> OpenAI:
    return OpenAI(base_url=through[1], api_key=through[2], max_retries=0)


MESSAGES: Any = [{"role": "user", "content": "How do I harden a relay?"}]


def test_the_openai_client_with_another_base_url_and_nothing_else(through: tuple[Gate, str, str]) -> None:
    with client(through) as openai:
        chat = openai.chat.completions.create(model="m7", messages=MESSAGES, max_tokens=5)
        assert (chat.choices[0].message.content or "").startswith("inner w1")
        assert chat.usage is not None
        assert [m.id for m in openai.models.list().data] == ["m7"]
        assert openai.embeddings.create(model="m7", input="relay", encoding_format="float").data[0].embedding == [0.1, 0.2]
        assert openai.responses.create(model="m7", input="relay", max_output_tokens=4).output_text.startswith("inner")


def test_streaming_with_tools(through: tuple[Gate, str, str]) -> None:
    with client(through) as openai:
        stream = openai.chat.completions.create(model="m7", messages=MESSAGES, max_tokens=64, stream=True, tools=TOOLS)
        parts = [c.choices[0].delta.content for c in stream]
        assert len(parts) == 64
        usage = openai.chat.completions.create(
            model="m7", messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
        assert [c.usage.completion_tokens for c in usage if c.usage] == [8]
        called = openai.chat.completions.create(model="m7", messages=MESSAGES, tools=TOOLS)
        assert called.choices[0].message.tool_calls
        events = [e.type for e in openai.responses.create(model="m7", input="relay", stream=True, max_output_tokens=4)]
        assert events[-1] == "response.completed"


def test_what_is_denied_comes_as_the_clients_own_error(through: tuple[Gate, str, str]) -> None:
    with client(through) as openai, pytest.raises(PermissionDeniedError) as e:
        openai.chat.completions.create(model="m7", messages=MESSAGES, logprobs=True)
    assert e.value.code == "logprobs"


def test_curl(through: tuple[Gate, str, str]) -> None:
    _, url, key = through
    body = json.dumps({"model": "m7", "messages": MESSAGES, "max_tokens": 4, "stream": True})
    given = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(["curl", "-sN", f"{url}/chat/completions", *given], capture_output=True, text=True, check=True, timeout=30)
    lines = [line for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert len(lines) == 5
    assert lines[-1] == "data: [DONE]"
    assert status_of(f"{url}/models") == "401", "another user of the machine has no local key"


def status_of(url: str, *given: str) -> str:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url, *given]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_threat_8_the_local_key_is_worth_nothing_at_the_gate(through: tuple[Gate, str, str]) -> None:
    gate, _, key = through
    assert status_of(f"http://127.0.0.1:{gate.port}/v1/models", "-H", f"Authorization: Bearer {key}") == "401"


def test_a_halt_reaches_a_stream_through_the_connector(through: tuple[Gate, str, str]) -> None:
    gate = through[0]
    with client(through) as openai:
        stream = openai.chat.completions.create(model="m7", messages=MESSAGES, max_tokens=3000, stream=True, user="slow:10")
        got, halt = 0, None
        told = ""
        try:
            for _ in stream:
                got += 1
                if got == 20:
                    halt = gate.stop_all("through")
        except APIError as e:
            told = str(e)
        assert "halt" in told
        assert halt is not None
        assert 20 <= got < 400
        gate.lift(halt)
