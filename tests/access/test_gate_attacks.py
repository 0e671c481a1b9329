"""The attacker of the gate: what would get out unread, stay alive past a halt, cost more than was set aside, or cost others theirs."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.access.audit.records import AnyRecord
from assay.access.config import read_config
from assay.access.gate.answertext import AnswerText
from assay.access.gate.live import Live, Registry
from assay.access.gate.parse import Parsed, parse, texts
from assay.access.gate.reply import Reply
from assay.access.gate.teeth import Teeth
from assay.access.model import DeniedError, Quota, Route
from assay.access.safety.alerts import Watch
from assay.access.safety.breakglass import open_glass
from tests.access.gate import ADMINS, CHAT, Client, Gate, now_ms, run
from tests.access.test_gate_more import PATH, audited, soon

CHAT_ROUTE, RESPONSES = "chat.completions", "responses"
SECRET = "project blue heron"
URL = "http://10.0.0.1/"


# What a request may hold


def read(route: Route, **value: Any) -> Parsed:
    given = {"messages": [{"role": "user", "content": "hello"}]} if route == CHAT_ROUTE else {"input": "hello"}
    return parse(route, json.dumps({"model": "m7", **given, **value}).encode(), 4096)


def part(**value: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [value]}]}


NAMED = {"type": "function", "function": {"name": "read_log"}}


@pytest.mark.parametrize(
    ("route", "value"),
    [
        (RESPONSES, {"tools": [{**NAMED, "name": "open_breaker", "parameters": {}}]}),
        (CHAT_ROUTE, {"tools": [{**NAMED, "name": "open_breaker"}]}),
        (CHAT_ROUTE, {"tools": [{"type": "function", "function": {"name": "read_log", "NAME": "open_breaker"}}]}),
        (CHAT_ROUTE, {"tools": [NAMED], "tool_choice": {"type": "function", "function": {"name": "open_breaker"}}}),
        (CHAT_ROUTE, {"tool_choice": {"type": "web_search"}}),
        (RESPONSES, {"tool_choice": {"type": "mcp", "server_label": "x"}}),
        (RESPONSES, {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}}),
        (CHAT_ROUTE, {"tool_choice": "web_search"}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (RESPONSES, {"input": [{"id": "msg_1"}]}),
        (CHAT_ROUTE, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
        (CHAT_ROUTE, part(type="image_url", image_url={"url": "data:,x", "URL": URL})),
        (CHAT_ROUTE, part(type="image_url", image_url={"url": "data:,x", "file_id": "file-1"})),
        (CHAT_ROUTE, part(type="image", image=URL)),
        (CHAT_ROUTE, part(type="image", source={"type": "url", "url": URL})),
        (CHAT_ROUTE, part(type="text", text="x", image=URL)),
        (CHAT_ROUTE, part(type="file", file={"FILE_ID": "file-1"})),
        (CHAT_ROUTE, part(type="input_file", file_url=URL)),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "image", "image": URL}]}]}),
        (CHAT_ROUTE, {"service_tier": "priority"}),
        (CHAT_ROUTE, {"messages": 5}),
        (CHAT_ROUTE, {"messages": [[{"role": "user"}]]}),
        (CHAT_ROUTE, part(type="input_audio", input_audio={"data": URL, "format": "wav"})),
        (CHAT_ROUTE, part(type="input_audio", input_audio=URL)),
        (CHAT_ROUTE, part(type="input_audio", input_audio={"data": "AA", "type": {"url": URL}})),
        (CHAT_ROUTE, part(type="file", file={"file_data": URL, "filename": "a.pdf"})),
        (CHAT_ROUTE, part(type="file", file={"file_data": "AA", "url": URL})),
        (CHAT_ROUTE, part(type="text", text={"type": "video", "video": URL})),
        (CHAT_ROUTE, part(type="image_url", image_url={"url": "data:,x", "detail": {"url": URL}})),
        (CHAT_ROUTE, {"messages": [{"role": "user", "content": {"type": "video", "video": URL}}]}),
        (CHAT_ROUTE, {"messages": [{"role": "user", "content": [[{"type": "video", "video": URL}]]}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": URL}]}]}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": {"type": "video", "video": URL}}]}),
        (RESPONSES, {"input": [[{"type": "video", "video": URL}]]}),
    ],
    ids=range(34),
)
def test_what_reaches_elsewhere_or_was_not_granted_is_refused(route: Route, value: dict[str, Any]) -> None:
    with pytest.raises(DeniedError):
        read(route, **value)


@pytest.mark.parametrize(
    ("route", "value"),
    [
        (CHAT_ROUTE, {"tools": [NAMED], "tool_choice": NAMED}),
        (CHAT_ROUTE, {"tools": [NAMED], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}}),
        (RESPONSES, {"tools": [{"type": "function", "name": "read_log", "parameters": {}, "strict": True}], "tool_choice": "required"}),
        (CHAT_ROUTE, part(type="image_url", image_url={"url": "data:image/png;base64,AA", "detail": "low"})),
        (CHAT_ROUTE, part(type="file", file={"file_data": "data:,x", "filename": "a.pdf"})),
        (CHAT_ROUTE, part(type="input_audio", input_audio={"data": "AA", "format": "wav"})),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,x", "file_id": None}]}]}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": "7"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "AA-_+/==", "filename": "a.pdf"}]}]}),
        (CHAT_ROUTE, {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "user", "content": ["a", "b"]}]}),
    ],
    ids=range(10),
)
def test_what_ordinary_clients_send_passes(route: Route, value: dict[str, Any]) -> None:
    assert read(route, **value).model == "m7"


def test_of_two_bounds_on_an_answer_the_larger_is_set_aside() -> None:
    """A server may follow either of them."""
    assert read(CHAT_ROUTE, max_tokens=1, max_completion_tokens=4000).answer_tokens == 4000


@pytest.mark.parametrize(
    ("route", "value"),
    [
        (CHAT_ROUTE, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": SECRET}}}}),
        (CHAT_ROUTE, {"stop": [SECRET]}),
        (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"description": SECRET}}}}),
        (RESPONSES, {"safety_identifier": SECRET}),
        (CHAT_ROUTE, {"messages": [{"role": "user", "content": f"data: {SECRET}"}]}),
        (CHAT_ROUTE, part(type="text", text=f"data:image/png;base64,{SECRET}")),
        (CHAT_ROUTE, part(type="image_url", image_url={"url": f"data:,{SECRET.replace(' ', '%20')}"})),
        (CHAT_ROUTE, part(type="file", file={"file_data": f"data:text/plain;{SECRET};base64,AA"})),
        (CHAT_ROUTE, part(type="file", file={"file_data": f"data:text/plain,{SECRET}"})),
        (RESPONSES, {"input": f"data:{SECRET}"}),
    ],
    ids=range(10),
)
def test_no_text_of_a_request_goes_on_unread(route: Route, value: dict[str, Any]) -> None:
    assert SECRET in "\n".join(texts(read(route, **value)))


DATA = "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    "value",
    [
        part(type="image_url", image_url={"url": f"data:image/png;base64,{DATA}"}),
        part(type="file", file={"file_data": DATA, "filename": "a.pdf"}),
        part(type="input_audio", input_audio={"data": DATA, "format": "wav"}),
    ],
    ids=range(3),
)
def test_images_sound_and_files_are_no_texts_and_only_where_they_stand(value: dict[str, Any]) -> None:
    assert DATA not in "\n".join(texts(read(CHAT_ROUTE, **value)))
    schema = {"type": "function", "function": {"name": "read_log", "parameters": {"content": value["messages"][0]["content"]}}}
    assert DATA in "\n".join(texts(read(CHAT_ROUTE, tools=[schema])))
    assert f"data:;base64,{DATA}" in texts(read(CHAT_ROUTE, messages=[{"role": "user", "content": f"data:;base64,{DATA}"}]))


# What a model's server says


def chunk(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c", "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def event(kind: str, **value: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **value})}\n\n".encode()


@pytest.mark.parametrize(
    ("route", "data"),
    [
        (CHAT_ROUTE, f": {SECRET}\n\n".encode()),
        (CHAT_ROUTE, f"event: {SECRET}\n\n".encode()),
        (CHAT_ROUTE, f"Data: {SECRET}\n\n".encode()),
        (CHAT_ROUTE, chunk(delta={"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "x", "input": SECRET}}]})),
        (CHAT_ROUTE, chunk(message={"content": SECRET})),
        (CHAT_ROUTE, chunk(delta={}, text=SECRET)),
        (CHAT_ROUTE, b"data: " + json.dumps({"id": SECRET, "choices": []}).encode() + b"\n\n"),
        (CHAT_ROUTE, b"data: " + json.dumps({"choices": [SECRET]}).encode() + b"\n\n"),
        (CHAT_ROUTE, b"data: " + json.dumps({"choices": [], "error": {"message": SECRET}}).encode() + b"\n\n"),
        (RESPONSES, event("response.output_text.done", item_id="m", text=SECRET)),
        (RESPONSES, event("response.completed", response={"output": [{"content": [{"type": "output_text", "text": SECRET}]}]})),
        (RESPONSES, event("response.output_item.done", item={"type": "function_call", "name": "x", "arguments": SECRET})),
        (RESPONSES, event("response.made.up", delta={"text": SECRET})),
    ],
    ids=range(13),
)
def test_no_text_of_a_stream_goes_on_unread(route: Route, data: bytes) -> None:
    assert SECRET in "\n".join(text for _, text in AnswerText(route, stream=True).feed(data))


def test_what_a_stream_says_again_at_its_end_is_read_once() -> None:
    reading = AnswerText(RESPONSES, stream=True, known=["be brief, please"])
    data = b"".join(event("response.output_text.delta", item_id="m", content_index=0, delta=w) for w in ("a relay ", "is a switch"))
    done = event("response.output_text.done", item_id="m", text="a relay is a switch")
    whole = event("response.completed", response={"instructions": "be brief, please", "output": [{"text": "a relay is a switch"}]})
    assert [text for _, text in reading.feed(data + done + whole)] == ["a relay ", "is a switch"]


@pytest.mark.parametrize("data", [b"\xff\xfe\n\n", b"data: \xff\n\n", b"data: 5\n\n"], ids=range(3))
def test_what_cannot_be_read_does_not_go_on(data: bytes) -> None:
    with pytest.raises(DeniedError):
        list(AnswerText(CHAT_ROUTE, stream=True).feed(data))


# The teeth


class Hanging:
    """A store that can be made to hang, as behind a network that drops everything."""

    quick = False

    def __init__(self, store: Any) -> None:
        self.store, self.free = store, threading.Event()
        self.free.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def epoch(self) -> int:
        self.free.wait(20)
        return int(self.store.epoch())


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def followed(tmp_path: Path, go: Callable[[Gate, Teeth, Hanging, list[str], list[int]], Any]) -> None:
    """Teeth on a real store, their clock, and what they said at each change."""
    gate = Gate(tmp_path / "gate", lease_s=0.5)
    gate.put(gate.grant())
    store, ahead, said = Hanging(gate.store), [0], []

    async def all_of_it() -> None:
        teeth = Teeth(read_config(gate.folder / "gate.yaml"), store, clock=lambda: now_ms() + ahead[0])  # type: ignore[arg-type]

        def changed() -> None:
            try:
                said.append("open" if teeth.view.grants else "empty")
            except DeniedError as e:
                said.append(e.rule)

        await teeth.start(changed)
        try:
            await go(gate, teeth, store, said, ahead)
        finally:
            store.free.set()
            await teeth.stop()

    try:
        asyncio.run(all_of_it())
    finally:
        gate.store.close()


def test_threat_11_a_store_that_hangs_cuts_what_is_under_way(tmp_path: Path) -> None:
    """One that fails is noticed by its failing; one that never answers, by the lease alone."""

    async def go(gate: Gate, teeth: Teeth, store: Hanging, said: list[str], ahead: list[int]) -> None:
        store.free.clear()
        await until(lambda: "lease" in said)
        store.free.set()
        said.clear()
        await until(lambda: "open" in said)

    followed(tmp_path, go)


@pytest.mark.parametrize("roles", [b"[" * 200_000, b"5", b'{"payload": 7}', b"\xff"], ids=range(4))
def test_threat_11_roles_that_break_their_reader_do_not_stop_the_teeth(tmp_path: Path, roles: bytes) -> None:
    async def go(gate: Gate, teeth: Teeth, store: Hanging, said: list[str], ahead: list[int]) -> None:
        gate.store.put_roles(roles)
        await asyncio.sleep(0.2)
        gate.stop_all()
        said.clear()
        await until(lambda: "lease" in said or any(h.id == "stop" for h in _view(teeth)))

    followed(tmp_path, go)


def _view(teeth: Teeth) -> Any:
    try:
        return teeth.view.halts
    except DeniedError:
        return ()


def test_a_clock_that_goes_back_opens_nothing_that_had_ended(tmp_path: Path) -> None:
    """Releases, grants and used proofs that have ended would come alive again."""

    async def go(gate: Gate, teeth: Teeth, store: Hanging, said: list[str], ahead: list[int]) -> None:
        assert teeth.view.grants
        ahead[0] = 3_600_000
        gate.store.touch()
        await until(lambda: bool(said))
        ahead[0] = 0
        with pytest.raises(DeniedError, match="clock"):
            _ = teeth.view
        said.clear()
        await until(lambda: "lease" in said)
        ahead[0] = 3_600_000
        assert teeth.view.grants

    followed(tmp_path, go)


# The whole gate, before a server that lies


class Liar:
    """A model's server that says what `user` in the request names, and knows how many of its connections are open."""

    def __init__(self) -> None:
        self.open = 0
        self.asked = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._one, "127.0.0.1", 0), self.loop).result(10)
        self.port = int(server.sockets[0].getsockname()[1])

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                value = json.loads(await reader.readexactly(length))
                self.asked += 1
                await self._say(str(value.get("user", "")), value, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _say(self, what: str, value: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
        whole = json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode()
        if what == "gzip":
            body = gzip.compress(chunk(delta={"content": SECRET}) if value.get("stream") else whole)
            kind = "text/event-stream" if value.get("stream") else "application/json"
            writer.write(_head(f"Content-Type: {kind}", "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body)
        elif what in ("endless", "drip"):
            writer.write(_head("Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
            data = chunk(delta={"content": "x" * (60_000 if what == "endless" else 5)})
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
                await asyncio.sleep(0.02 if what == "drip" else 0)
        elif what == "waits":
            await asyncio.sleep(20)
        elif what == "large":
            large = json.dumps({"id": "c", "choices": [{**choice, "message": {"content": "x" * (40 << 20)}}], "usage": usage}).encode()
            writer.write(_head("Content-Type: application/json", f"Content-Length: {len(large)}") + large)
        elif what == "redirect":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        elif what == "headers":
            writer.write(_head("Content-Type: application/json", "X-Large: " + "x" * 900_000, f"Content-Length: {len(whole)}") + whole)
        elif what.startswith("usage:"):
            odd = whole.replace(json.dumps(usage).encode(), what[6:].encode())
            writer.write(_head("Content-Type: application/json", f"Content-Length: {len(odd)}") + odd)
        else:
            writer.write(_head("Content-Type: application/json", f"Content-Length: {len(whole)}") + whole)
        await writer.drain()


def _head(*lines: str) -> bytes:
    return ("HTTP/1.1 200 OK\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


@pytest.fixture(scope="module")
def liar() -> Liar:
    return Liar()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, liar: Liar) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    gate = Gate(folder, upstream_port=liar.port, bounds={"head_s": 1.5, "slow_s": 2.0})
    gate.put(gate.grant())
    with gate:
        soon(gate, 200)
        yield gate


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory, liar: Liar) -> Iterator[Gate]:
    """A gate with a content check."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "phrases.yaml").write_text(
        f'assay: phrases/1\nauthor: Ada\nreviewer: Bea\nphrases:\n  - {{id: p1, text: "{SECRET}", action: deny}}\n'
    )
    (folder / "checks.yaml").write_text("assay: checks/1\nchecks: {phrases: {file: phrases.yaml}}\n")
    gate = Gate(folder, upstream_port=liar.port, checks=["phrases"], check_settings="checks.yaml")
    gate.put(gate.grant())
    with gate:
        soon(gate, 200)
        yield gate


def raw(client: Client, gate: Gate, value: dict[str, Any]) -> bytes:
    body = msgspec.json.encode(value)
    headers = {**client.headers("POST", PATH, body), "Host": client.host, "Content-Length": str(len(body))}
    return f"POST {PATH} HTTP/1.1\r\n".encode() + b"".join(f"{n}: {v}\r\n".encode() for n, v in headers.items()) + b"\r\n" + body


def request(gate: Gate, **value: Any) -> bytes:
    async def go() -> bytes:
        async with gate.client() as client:
            return raw(client, gate, {**CHAT, **value})

    return bytes(run(go()))


def opened(gate: Gate, buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(15)
    sock.connect(("127.0.0.1", gate.port))
    return sock


def left(sock: socket.socket) -> int:
    """How much more comes until the connection is broken off."""
    got, last = 0, b""
    try:
        while piece := sock.recv(1 << 20):
            got += len(piece)
            last = (last + piece)[-5:]
    except ConnectionError:
        return got
    assert last != b"0\r\n\r\n", "it was ended as if it were whole"
    return got


def ask(gate: Gate, **value: Any) -> tuple[int, Any]:
    async def go() -> tuple[int, Any]:
        async with gate.client() as client:
            status, answer = await client(PATH, {**CHAT, **value})
            return int(status), answer

    status, answer = run(go())
    return status, answer


def ended(gate: Gate) -> list[dict[str, Any]]:
    return [r for r in audited(gate) if r["kind"] == "ended"]


def settled(gate: Gate) -> int:
    """How many requests have ended, once those of before are written down."""
    time.sleep(0.3)
    return len(ended(gate))


def wait(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.03)


@pytest.mark.parametrize("stream", [True, False])
def test_a_compressed_answer_is_no_answer(reading: Gate, stream: bool) -> None:
    status, answer = ask(reading, user="gzip", stream=stream)
    assert (status, answer["error"]["code"]) == (502, "upstream")


@pytest.mark.parametrize("what", ["redirect", "headers"])
def test_an_upstream_that_lies_gets_nowhere(gate: Gate, what: str) -> None:
    assert ask(gate, user=what)[0] == 502


@pytest.mark.parametrize(
    "usage",
    ['{"prompt_tokens":-5,"completion_tokens":2}', '{"prompt_tokens":1e300,"completion_tokens":2}', '{"prompt_tokens":"3"}', '"x"'],
    ids=range(4),
)  # fmt: skip
def test_use_that_cannot_be_read_counts_as_all_that_was_set_aside(gate: Gate, usage: str) -> None:
    before = settled(gate)
    assert ask(gate, user=f"usage:{usage}")[0] == 200
    wait(lambda: len(ended(gate)) > before)
    length = len(msgspec.json.encode({**CHAT, "user": f"usage:{usage}"}))
    assert ended(gate)[-1]["tokens"] == length + CHAT["max_tokens"]


@pytest.mark.parametrize(("prompt", "completion"), [(300, 7), (3, 10**9), (2**64 - 1, 2), (10**400, 1)], ids=range(4))
def test_use_beyond_what_is_believed_counts_as_the_most_that_is_and_is_told(gate: Gate, prompt: int, completion: int) -> None:
    """Once it counted as what was set aside, which is less than what a server may report."""
    before = settled(gate)
    user = f'usage:{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}'
    assert ask(gate, user=user)[0] == 200
    wait(lambda: len(ended(gate)) > before)
    most = len(msgspec.json.encode({**CHAT, "user": user})) + CHAT["max_tokens"]
    used, told = ended(gate)[-1], [r for r in audited(gate) if r["kind"] == "alert" and r["alert"] == "use"]
    if prompt + completion <= 4 * most:
        assert used["tokens"] == prompt + completion
        return
    assert used["tokens"] == 4 * most
    assert most < used["money"] <= 4 * 2 * most
    found = [alert for record in told for alert in Watch().feed(msgspec.convert(record, AnyRecord))]
    assert [told[-1]["id"] == used["id"], found[-1].kind, found[-1].severity] == [True, "tokens", "high"]


def test_an_endless_answer_ends(gate: Gate) -> None:
    """What has passed is kept for the audit's digest, so it has a bound."""
    data = request(gate, user="endless", stream=True)
    with opened(gate) as sock:
        sock.sendall(data)
        got, last = 0, b""
        while (piece := sock.recv(1 << 20)) and got < 120 << 20:
            got += len(piece)
            last = (last + piece)[-4096:]
            if last.endswith(b"0\r\n\r\n"):
                break
    assert b'"cut"' in last
    assert got < 80 << 20


def test_threat_12_a_client_that_does_not_read_keeps_nothing_alive_past_a_halt(gate: Gate, liar: Liar) -> None:
    data = request(gate, user="endless", stream=True)
    with opened(gate, 4096) as sock:
        sock.sendall(data)
        time.sleep(1.0)
        before = settled(gate)
        halt = gate.stop_all("slow")
        try:
            wait(lambda: len(ended(gate)) > before, 1.5)
            assert ended(gate)[-1]["halt"] == "slow"
            wait(lambda: liar.open <= 1 or not ended(gate), 1.5)
            time.sleep(0.2)
            assert left(sock) < 4 << 20, "what lay in the gate's buffers goes nowhere"
        finally:
            gate.lift(halt)
            soon(gate, 200)


def test_a_client_that_does_not_read_is_dropped_in_the_end(gate: Gate) -> None:
    """Else it holds a place among the live, and the upstream, for as long as it likes."""
    before = settled(gate)
    data = request(gate, user="endless", stream=True)
    with opened(gate, 4096) as sock:
        sock.sendall(data)
        wait(lambda: len(ended(gate)) > before, 6)


def test_threat_12_a_large_answer_is_not_handed_over_whole_to_a_client_that_does_not_read(gate: Gate) -> None:
    """It would lie in the gate's buffers, out of a halt's reach."""
    data = request(gate, user="large")
    with opened(gate, 4096) as sock:
        sock.sendall(data)
        before = settled(gate)
        time.sleep(1.5)
        halt = gate.stop_all("large")
        try:
            wait(lambda: len(ended(gate)) > before, 1.5)
            assert ended(gate)[-1]["halt"] == "large"
            assert left(sock) < 20 << 20
        finally:
            gate.lift(halt)
            soon(gate, 200)


def test_threat_12_an_answer_under_way_that_is_not_streamed_is_cut(gate: Gate) -> None:
    data = request(gate, user="waits")
    with opened(gate) as sock:
        sock.sendall(data)
        time.sleep(0.5)
        halt = gate.stop_all("whole")
        try:
            assert sock.recv(65536).startswith(b"HTTP/1.1 403")
        finally:
            gate.lift(halt)
            soon(gate, 200)


@pytest.mark.parametrize("what", ["waits", "drip"])
def test_when_the_client_is_gone_so_is_the_request(gate: Gate, liar: Liar, what: str) -> None:
    before, open_before, asked = settled(gate), liar.open, liar.asked
    sock = opened(gate)
    sock.sendall(request(gate, user=what, stream=what == "drip"))
    wait(lambda: liar.asked > asked)
    time.sleep(0.1)
    sock.close()
    wait(lambda: len(ended(gate)) > before, 3)
    assert ended(gate)[-1]["how"] == "client gone"
    wait(lambda: liar.open <= open_before, 3)


def test_threat_13_a_copied_request_spends_nothing_of_the_quota(gate: Gate) -> None:
    """It is refused as a replay, and so must cost its owner nothing."""
    grant = gate.put(gate.grant(id="small", quotas=(Quota("total", 4, 10**9, 10**9),)))

    async def go() -> list[int]:
        found = []
        async with gate.client(grant=grant.id) as client:
            body = msgspec.json.encode(CHAT)
            headers = client.headers("POST", PATH, body)
            for _ in range(8):
                async with client.session.post(PATH, data=body, headers=headers) as answer:
                    found.append(answer.status)
            found.append((await client(PATH, CHAT))[0])
        return found

    time.sleep(0.3)
    assert run(go()) == [200, *[401] * 7, 200]


def answer(sock: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        piece = sock.recv(4096)
        assert piece, got
        got += piece
    return got


def test_threat_9_who_does_not_finish_a_request_is_dropped(gate: Gate) -> None:
    """Connections that say nothing, half a head, or half a body."""
    whole = request(gate)
    socks = [opened(gate) for _ in range(4)]
    socks[1].sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gate.test\r\n")
    socks[2].sendall(whole[:-10])
    socks[3].sendall(b"GET /healthz HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    started = time.monotonic()
    assert answer(socks[3]).startswith(b"HTTP/1.1 200")
    for sock in socks[:3]:
        sock.settimeout(5)
        got = sock.recv(4096)
        assert got == b"" or got.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
        sock.close()
    assert time.monotonic() - started < 5
    socks[3].sendall(b"GET /healthz HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    assert answer(socks[3]).startswith(b"HTTP/1.1 200"), "who is done with one request may wait with the next"
    socks[3].close()


@pytest.mark.parametrize("token", [b"", b"Authorization: Assay 1.abcdefgh.e30.AAAA\r\n"], ids=["none", "forged"])
def test_threat_9_no_body_is_read_of_who_has_no_token_of_this_gate(gate: Gate, token: bytes) -> None:
    sock = opened(gate)
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gate.test\r\n" + token + b"Content-Length: 4000000\r\n\r\n" + b"x" * 10)
    assert sock.recv(4096).startswith(b"HTTP/1.1 401")
    sock.close()


def test_denials_by_what_is_asked_are_in_the_audit_log(gate: Gate) -> None:
    """Probing with good credentials leaves a trace: another model, a parameter, the list of models under a halt."""
    assert ask(gate, model="m8")[0] == 404
    assert ask(gate, previous_response_id="resp_1\n{}")[0] == 400
    halt = gate.stop_all("models")
    soon(gate, 403)

    async def models() -> int:
        async with gate.client() as client:
            return int((await client("/v1/models"))[0])

    try:
        assert run(models()) == 403
    finally:
        gate.lift(halt)
        soon(gate, 200)
    time.sleep(0.2)
    denied = [(r["rule"], r["route"], r.get("person", "")) for r in audited(gate) if r["kind"] == "denied"]
    assert {("model", CHAT_ROUTE, "Tan"), ("request", CHAT_ROUTE, "Tan")} <= set(denied)
    assert any(route == "models" for _, route, _ in denied)


def test_threat_12_a_cut_that_a_check_has_swallowed_still_cuts(gate: Gate) -> None:
    """Nothing goes to the caller after it, whatever became of the cancellation."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def go() -> None:
        task = asyncio.current_task()
        assert task is not None
        answer, registry = Reply(send, None, 1.0), Registry(1)
        live = Live("req_1", gate.grant(), "Tan", CHAT_ROUTE, 0, task)
        with registry.entered(live), answer.of(live):
            await answer.start(200, [])
            registry.cut(lambda _: "halt stop")
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
            with pytest.raises(asyncio.CancelledError):
                await answer.part(b"more")
            await answer.cut_off("halt stop", stream=True)

    asyncio.run(go())
    assert sent == ["http.response.start", *["http.response.body"] * 2], "the word that it was cut, and the end"


def test_break_glass_for_a_quota_lifts_no_failing_store(tmp_path: Path) -> None:
    """What the gate cannot know is no quota that is spent."""
    with Gate(tmp_path / "gate") as gate:
        grant = gate.put(gate.grant(quotas=(Quota("total", 0, 0, 0),)))
        admins = {name: key.public for name, key in ADMINS.items()}
        lifts: Any = {"grant": grant, "lifts": ("quota",), "reason": "night shift", "minutes": 5, "now": now_ms(), "record": lambda _: None}
        open_glass(gate.store, admins, ADMINS["ines"], **lifts)
        time.sleep(0.3)
        soon(gate, 200)
        with sqlite3.connect(gate.folder / "gate.db") as db:
            tables = [str(n) for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            name = next(n for n in tables if n in ("quotas", "used", "usage", "leases"))
            db.execute(f"ALTER TABLE {name} RENAME TO gone_{name}")
        soon(gate, 503)
