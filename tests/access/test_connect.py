"""The connector between ordinary clients and a gate: the official OpenAI client and curl, real tokens, real TLS, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import logging
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import openai
import pytest

from assay.access.credentials.connect import Connector, local_secret
from assay.access.credentials.dpop import certificate_thumbprint, thumbprint
from assay.access.credentials.gateclient import ConnectError, GateClient, Link
from assay.access.credentials.tokens import proof_header
from assay.access.model import Person
from assay.errors import AssayError
from assay.ledger import PrivateKey, write_key
from tests.access.gatestub import WORDS, Certificates, Gate, chunk, grant, in_thread, serving, whole

KEY = PrivateKey.generate()
AISYAH = Person("Aisyah", thumbprint(KEY.public))
HELLO: Any = [{"role": "user", "content": "Hello"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "shut", "parameters": {"type": "object", "properties": {"valve": {"type": "integer"}}}}}
]


class Local:
    """A running connector, as its clients see it."""

    def __init__(self, url: str, secret: str, client: GateClient) -> None:
        self.url = url
        self.secret = secret
        self.client = client
        self.port = int(url.split(":")[2].split("/")[0])

    def openai(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=self.secret, **more)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        usual = {"Authorization": f"Bearer {self.secret}", "Host": f"127.0.0.1:{self.port}"}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**usual, **(headers or {})}.items():
            if value:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None


def status_of(port: int, headers: dict[str, str], context: ssl.SSLContext | None = None) -> int:
    """What the gate says to a bare request for its models, without the connector."""
    made: Any = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if context is not None:
        made = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    made.request("GET", "/v1/models", headers=headers)
    status: int = made.getresponse().status
    made.close()
    return status


@contextlib.contextmanager
def connected(gate: str, key: PrivateKey | None = KEY, **link: Any) -> Iterator[Local]:
    found: list[Any] = []
    started = threading.Event()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            async with GateClient(Link(gate, "power", "Aisyah", **link), key) as client:
                await client.ready()
                async with Connector(client, "s" * 43) as connector:
                    found.extend([await connector.listen("127.0.0.1", 0), client, asyncio.get_running_loop(), stop])
                    started.set()
                    await stop.wait()
        except AssayError as e:
            found.append(e)
            started.set()

    with in_thread(serve()):
        assert started.wait(15)
        if len(found) == 1:
            raise found[0]
        url, client, loop, stop = found
        try:
            yield Local(url, "s" * 43, client)
        finally:
            loop.call_soon_threadsafe(stop.set)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate(AISYAH)
    with serving(made):
        yield made


@pytest.fixture
def local(gate: Gate) -> Iterator[Local]:
    with connected(f"http://127.0.0.1:{gate.port}", system="pump house") as found:
        yield found


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Local, Gate]]:
    """One connector for all that must not come in: nothing of it reaches the gate."""
    gate = Gate(AISYAH)
    with serving(gate), connected(f"http://127.0.0.1:{gate.port}") as found:
        yield found, gate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


# Ordinary clients


def test_the_official_client_works_with_another_base_url_and_key(local: Local, gate: Gate) -> None:
    with local.openai() as client:
        assert client.chat.completions.create(model="m7", messages=HELLO).choices[0].message.content == "".join(WORDS)
        parts = client.chat.completions.create(model="m7", messages=HELLO, stream=True)
        assert [p.choices[0].delta.content for p in parts][:-1] == list(WORDS)
        said = client.chat.completions.create(model="m7", messages=HELLO, tools=TOOLS).choices[0].message.tool_calls
        assert said is not None
        assert said[0].function.arguments == '{"valve": 7}'  # type: ignore[union-attr]
        streamed = ""
        for part in client.chat.completions.create(model="m7", messages=HELLO, tools=TOOLS, stream=True):
            for call in part.choices[0].delta.tool_calls or []:
                streamed += (call.function and call.function.arguments) or ""
        assert streamed == '{"valve": 7}'
        assert client.embeddings.create(model="m7", input="x", encoding_format="float").data[0].embedding == [0.25, -1.0]
        assert [m.id for m in client.models.list()] == ["m7"]
        assert client.responses.create(model="m7", input="Hello").output_text == "".join(WORDS)
        with client.responses.create(model="m7", input="Hello", stream=True) as stream:
            deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        assert deltas == list(WORDS)
    assert gate.token_requests == 2, "one for the nonce, one for the token"
    assert all(headers["x-assay-system"] == "pump house" for *_, headers in gate.calls)
    assert len(gate.calls) == 8


def test_all_at_once_share_one_token(local: Local, gate: Gate) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=local.url, api_key=local.secret) as client:
            return await asyncio.gather(*(client.chat.completions.create(model="m7", messages=HELLO) for _ in range(40)))

    local.client._held = None
    said = asyncio.run(ask())
    assert {s.choices[0].message.content for s in said} == {"".join(WORDS)}
    assert len(gate.spent) == 40 + 2
    assert gate.token_requests <= 4


def test_curl_streams(local: Local) -> None:
    body = json.dumps({"model": "m7", "messages": HELLO, "stream": True})
    done = subprocess.run(
        [
            "curl", "-sN", f"{local.url}/chat/completions", "-H", f"Authorization: Bearer {local.secret}", "-H",
            "Content-Type: application/json", "-d", body,
        ],
        capture_output=True, timeout=20, check=True,
    )  # fmt: skip
    lines = [json.loads(line[6:]) for line in done.stdout.decode().split("\n\n") if line.startswith("data: {")]
    assert [line["choices"][0]["delta"].get("content") for line in lines][:-1] == list(WORDS)
    assert done.stdout.endswith(b"data: [DONE]\n\n")


def test_any_path_below_v1_goes_on_with_its_query(local: Local, gate: Gate) -> None:
    assert local.send("GET", "/v1/models?limit=1&after=a%20b".replace("%20", "+"))[0] == 200
    assert gate.calls[-1][:2] == ("GET", "/v1/models?limit=1&after=a+b")


def test_a_client_names_another_system(local: Local, gate: Gate) -> None:
    assert local.send("GET", "/v1/models", {"X-Assay-System": "Umspannwerk Süd".encode().decode("latin-1")})[0] == 200
    assert gate.calls[-1][3]["x-assay-system"] == "Umspannwerk Süd"


# Streams


def test_every_part_goes_on_as_it_comes(local: Local, gate: Gate) -> None:
    """The gate sends the second part only when the client has the first: a buffer anywhere would stand still."""

    async def one_by_one(receive: Any, send: Any, body: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for word in WORDS:
            while not gate.go.is_set():
                await asyncio.sleep(0.002)
            gate.go.clear()
            await send(
                {"type": "http.response.body", "body": f"data: {json.dumps(chunk({'content': word}))}\n\n".encode(), "more_body": True}
            )
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    gate.answer = one_by_one
    with local.openai(timeout=10) as client:
        stream = client.chat.completions.create(model="m7", messages=HELLO, stream=True)
        gate.go.set()
        got = []
        for part in stream:
            got.append(part.choices[0].delta.content)
            gate.go.set()
    assert got == list(WORDS)


async def _endless(gate: Gate, receive: Any, send: Any, piece: bytes) -> None:
    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gate.gone.set()

    listening = asyncio.create_task(listen())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while not gate.gone.is_set():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        gate.sent += len(piece)
        await asyncio.sleep(0)
    await listening


def test_who_stops_reading_stops_the_gate_and_who_leaves_ends_it(local: Local, gate: Gate) -> None:
    async def endless(receive: Any, send: Any, body: bytes) -> None:
        await _endless(gate, receive, send, b"data: " + b"x" * 16_000 + b"\n\n")

    gate.answer = endless
    caller = http.client.HTTPConnection("127.0.0.1", local.port, timeout=20)
    with contextlib.closing(caller):
        caller.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {local.secret}"})
        answer = caller.getresponse()
        assert answer.read1(10)

        def still() -> bool:
            before = gate.sent
            time.sleep(0.3)
            return gate.sent == before

        eventually(still)
        stood = gate.sent
        read = 0
        while read < stood:
            read += len(answer.read1(65_536))
        eventually(lambda: gate.sent > stood)
        assert not gate.gone.is_set()
        answer.close()
    assert gate.gone.wait(10)


def test_who_leaves_before_the_answer_begins_ends_it_too(local: Local, gate: Gate) -> None:
    called = threading.Event()

    async def silent(receive: Any, send: Any, body: bytes) -> None:
        called.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gate.gone.set()

    gate.answer = silent
    with socket.create_connection(("127.0.0.1", local.port)) as caller:
        lines = [
            "POST /v1/responses HTTP/1.1",
            f"Host: localhost:{local.port}",
            f"Authorization: Bearer {local.secret}",
            "Content-Length: 2",
        ]
        caller.sendall("\r\n".join([*lines, "", "{}"]).encode())
        assert called.wait(10)
    assert gate.gone.wait(10)


@pytest.mark.parametrize(("rest", "kind"), [("", "text/event-stream"), ("data: {", "text/event-stream"), ("", "text/plain")])
def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(local: Local, gate: Gate, rest: str, kind: str) -> None:
    async def broken(receive: Any, send: Any, body: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        part = f"data: {json.dumps(chunk({'content': 'Close'}))}\n\n{rest}"
        await send({"type": "http.response.body", "body": part.encode(), "more_body": True})

    gate.answer = broken
    said = "broke off" if not rest and "event" in kind else "Connection error"
    got = []
    with local.openai() as client:
        stream = client.chat.completions.create(model="m7", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match=said):
            got.extend(part.choices[0].delta.content for part in stream)
    assert got == ["Close"]
    assert len(gate.calls) == 1


def test_a_cut_by_the_gate_reaches_the_client_in_its_words(local: Local, gate: Gate) -> None:
    async def cut(receive: Any, send: Any, body: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        said = json.dumps({"error": {"message": "halt h1", "type": "cut", "code": "cut", "param": None}})
        await send({"type": "http.response.body", "body": f"data: {said}\n\n".encode()})

    gate.answer = cut
    with local.openai() as client, pytest.raises(openai.APIError, match="halt h1"):
        list(client.chat.completions.create(model="m7", messages=HELLO, stream=True))


# Errors, and what is never repeated


def test_the_gates_refusals_are_the_clients_errors(local: Local, gate: Gate) -> None:
    said = {"error": {"message": "the grant's requests are spent", "type": "denied", "code": "quota", "param": None}}

    async def refuse(receive: Any, send: Any, body: bytes) -> None:
        await whole(send, 429, json.dumps(said).encode(), [(b"retry-after", b"7"), (b"set-cookie", b"a=b")])

    gate.answer = refuse
    with local.openai(max_retries=0) as client, pytest.raises(openai.RateLimitError, match="are spent") as caught:
        client.chat.completions.create(model="m7", messages=HELLO)
    assert caught.value.code == "quota"
    assert caught.value.response.headers["retry-after"] == "7"
    assert not {"set-cookie", "dpop-nonce", "www-authenticate"} & set(caught.value.response.headers)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(503, b"<html>busy</html>", 503), (500, b'"x"', 500), (302, b"", 502), (500, b'{"error": "' + b"x" * 70_000 + b'"}', 500)],
    ids=["html", "no error", "redirect", "too long"],
)
def test_whatever_else_comes_is_said_as_clients_read_it_and_never_repeated(
    local: Local, gate: Gate, status: int, body: bytes, told: int
) -> None:
    async def answer(receive: Any, send: Any, _: bytes) -> None:
        await whole(send, status, body, [(b"location", b"http://127.0.0.1:1/")], b"text/html")

    gate.answer = answer
    with local.openai(max_retries=3) as client, pytest.raises(openai.InternalServerError, match=str(status)) as caught:
        client.chat.completions.create(model="m7", messages=HELLO)
    assert caught.value.status_code == told
    assert len(gate.calls) == 1


def test_a_connection_that_dies_before_the_answer_is_told_and_not_repeated(gate: Gate) -> None:
    """The token is by the gate; then a listener in its place takes each request and hangs up."""
    with connected(f"http://127.0.0.1:{gate.port}") as local, socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    taken.append(caller.recv(65_536))
                    caller.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        local.client._base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with local.openai(max_retries=3) as client, pytest.raises(openai.InternalServerError, match="broke off"):
            client.chat.completions.create(model="m7", messages=HELLO)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert len(taken) == 1


def test_a_gate_that_is_gone_is_told(gate: Gate, local: Local) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    local.client._base = f"http://127.0.0.1:{free}"
    status, said = local.send("POST", "/v1/chat/completions")
    assert (status, said["error"]["code"]) == (502, "gate_unreachable")


# Tokens in time


def test_a_new_version_of_the_grant_is_followed_with_one_repetition(local: Local, gate: Gate) -> None:
    gate.grant = grant(AISYAH, version=2)
    assert local.send("GET", "/v1/models")[0] == 200
    assert gate.denials.count("credentials.grant") == 1
    assert len(gate.calls) == 1


def test_a_revoked_grant_is_a_401_after_one_try(local: Local, gate: Gate) -> None:
    gate.grant = None
    with local.openai(max_retries=0) as client, pytest.raises(openai.AuthenticationError, match="no grant names this person"):
        client.chat.completions.create(model="m7", messages=HELLO)
    assert gate.denials.count("credentials.grant") == 1
    assert gate.calls == []


def test_a_401_is_repeated_once_and_not_more(local: Local, gate: Gate) -> None:
    async def refuse(receive: Any, send: Any, body: bytes) -> None:
        await whole(send, 401, b'{"error":{"message":"no"}}', gate.tokens.challenge(gate.now))

    gate.answer = refuse
    assert local.send("POST", "/v1/chat/completions")[0] == 401
    assert len(gate.calls) == 2


def test_a_401_without_a_nonce_is_not_the_gates_and_is_not_repeated(local: Local, gate: Gate) -> None:
    async def refuse(receive: Any, send: Any, body: bytes) -> None:
        await whole(send, 401, b'{"error":{"message":"no"}}')

    gate.answer = refuse
    assert local.send("POST", "/v1/chat/completions")[0] == 401
    assert len(gate.calls) == 1


def test_a_token_is_renewed_beside_the_work_before_it_ends(local: Local, gate: Gate) -> None:
    first = local.client._held
    assert first is not None
    first.renew = 0.0
    assert local.send("GET", "/v1/models")[0] == 200
    assert f"Assay {first.text}" == gate.calls[-1][3]["authorization"], "nobody waits for it"
    eventually(lambda: local.client._held is not first)
    second = local.client._held
    assert second is not None
    second.ends = second.renew = 0.0
    assert local.send("GET", "/v1/models")[0] == 200
    assert gate.calls[-1][3]["authorization"] not in (f"Assay {first.text}", f"Assay {second.text}")
    assert "credentials.expired" not in gate.denials


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_wrong_clock_is_corrected_by_the_gates(gate: Gate, hours: int) -> None:
    gate.skew_ms = hours * 3_600_000
    with connected(f"http://127.0.0.1:{gate.port}") as local:
        assert local.send("GET", "/v1/models")[0] == 200
        assert gate.denials == ["credentials.proof"], "the one that asks for a nonce"
        assert abs(local.client.now_ms - gate.now) < 5_000
        gate.skew_ms += 3_600_000
        assert local.send("GET", "/v1/models")[0] == 200


# A thief (threat 8)


def test_a_copied_token_is_worth_nothing(local: Local, gate: Gate) -> None:
    assert local.send("GET", "/v1/models")[0] == 200
    taken = gate.calls[-1][3]
    bare = {"host": taken["host"]}
    for stolen in (
        taken,
        {**bare, "authorization": taken["authorization"]},
        {**bare, "authorization": taken["authorization"].replace("Assay", "Bearer")},
        {**bare, "authorization": taken["authorization"].replace("Assay", "DPoP")},
        {**bare, "x-assay-proof": taken["x-assay-proof"]},
    ):
        assert status_of(gate.port, stolen) == 401
    assert len(gate.calls) == 1
    assert gate.denials[1:] == ["replay", "credentials.proof", "credentials.scheme", "credentials.proof", "credentials.token"]


def test_another_key_gets_no_token(gate: Gate) -> None:
    with pytest.raises(ConnectError, match="no grant names this person"), connected(f"http://127.0.0.1:{gate.port}", PrivateKey.generate()):
        pass


def test_over_tls_with_a_certificate_that_the_token_is_bound_to(certificates: Certificates) -> None:
    own = certificates.file("ca-client")
    gate = Gate(Person("Aisyah", certificate_thumbprint(certificates.der("ca-client"))))
    with serving(gate, certificates) as port, connected(f"https://localhost:{port}", None, ca=certificates.ca, certificate=own) as local:
        assert local.send("GET", "/v1/models")[0] == 200
        taken, held = gate.calls[-1][3], local.client._held
        assert held is not None
        bearer = {"authorization": taken["authorization"].replace("Assay", "Bearer")}
        stolen = {
            "authorization": taken["authorization"],
            "x-assay-proof": proof_header(held.mac_key, "GET", f"localhost:{port}", b"/v1/models", hashlib.sha256().digest(), gate.now),
        }
        for headers, expected in ((bearer, "credentials.certificate"), (stolen, "credentials.certificate")):
            context = ssl.create_default_context(cafile=certificates.ca)
            assert status_of(port, headers, context) == 401
            assert gate.denials[-1] == expected
        context.load_cert_chain(own)
        assert status_of(port, bearer, context) == 200


def test_over_tls_the_gate_must_be_vouched_for(certificates: Certificates) -> None:
    gate = Gate(AISYAH)
    with serving(gate, certificates) as port:
        with connected(f"https://localhost:{port}", ca=certificates.ca) as local:
            assert local.send("GET", "/v1/models")[0] == 200
        for ca in (certificates.stranger, None):
            with pytest.raises(ConnectError, match="certificate"), connected(f"https://localhost:{port}", ca=ca):
                pass
    assert gate.token_requests == 2


# The local door


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer " + "t" * 43}, 401),
        ({"Authorization": "Basic " + "s" * 43}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"X-Assay-System": "x" * 301}, 400),
    ],
    ids=lambda v: " ".join(f"{n}-{s[:12]}" for n, s in v.items()) if isinstance(v, dict) else None,
)
def test_only_this_machines_own_clients_come_in(door: tuple[Local, Gate], headers: dict[str, str], status: int) -> None:
    local, gate = door
    assert local.send("POST", "/v1/chat/completions", headers, b"{}")[0] == status
    assert gate.calls == []
    assert gate.token_requests == 2


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/", "/v2/models", "/access/token", "/v1/../access/token", "/v1/./models", "/v1//models", "/v1/%2e%2e/access/token",
        "/v1/..", "/v1/a/..?b", "/v1/models/%2f", "/v1\\..\\access", "/v1/models#a", "/V1/models",
        "http://evil.example/v1/models", "/v1/models?", "//v1/models",
    ],
)  # fmt: skip
def test_only_plain_paths_below_v1_go_on(door: tuple[Local, Gate], path: str) -> None:
    local, gate = door
    assert local.send("GET", path)[0] in (400, 404, 421)
    assert gate.calls == []


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "TRACE", "PATCH", "HEAD"])
def test_other_methods_do_not_go_on(door: tuple[Local, Gate], method: str) -> None:
    local, gate = door
    assert local.send(method, "/v1/models")[0] == 405
    assert gate.calls == []


def test_it_listens_on_this_machine_only(gate: Gate) -> None:
    async def listen(host: str, port: int) -> None:
        client = GateClient(Link(f"http://127.0.0.1:{gate.port}", "power", "Aisyah"), KEY)
        async with Connector(client, "s" * 43) as connector:
            await connector.listen(host, port)

    for host in ("0.0.0.0", "", "::", "192.0.2.1", "gate.example"):  # noqa: S104
        with pytest.raises(AssayError, match="reached by others"):
            asyncio.run(listen(host, 0))
    with pytest.raises(AssayError, match="cannot listen"):
        asyncio.run(listen("127.0.0.1", gate.port))


@pytest.mark.parametrize(
    "address",
    [
        "gate.example", "ftp://gate.example", "http://gate.example", "https://", "https://a@gate.example", "https://gate.example/v1",
        "https://gate.example?x", "https://gate.example#x", "https://gate.example:0", "https://gate.example:x", "https://[", "https://gäte.example",
        "http://127.0.0.1.evil.example",
    ],
)  # fmt: skip
def test_a_gate_is_reached_over_tls_at_a_plain_address(address: str) -> None:
    with pytest.raises(ConnectError):
        GateClient(Link(address, "power", "Aisyah"), KEY)


def test_the_local_secret_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    made = local_secret(path)
    assert len(made) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert local_secret(path) == made
    assert local_secret(None) != local_secret(None)
    path.chmod(0o644)
    with pytest.raises(AssayError, match="others"):
        local_secret(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(AssayError, match="no local secret"):
        local_secret(path)


def test_nothing_secret_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp.access", "aiohttp.client", "aiohttp.server", "aiohttp.web", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with connected(f"http://127.0.0.1:{gate.port}") as local:
        held = local.client._held
        assert held is not None
        hidden = [held.text, held.text.split(".")[2], local.secret, gate.tokens._secrets[0].value.hex()]
        for path in ("/v1/models", "/v2/x"):
            local.send("GET", path)
        with socket.create_connection(("127.0.0.1", local.port)) as caller:
            caller.sendall(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {local.secret}\0\r\n\r\n".encode())
            assert b" 400 " in caller.recv(1000)
        gate.grant = None
        local.send("GET", "/v1/models")
        shown = repr(local.client) + repr(held) + repr(Link("https://a.b", "a", "b"))
    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err, shown):
        assert not any(secret in text for secret in hidden)
    assert not any(secret in json.dumps(gate.denials) for secret in hidden)


# The command


def _command(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assay", "access", "connect", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.mark.parametrize("in_file", [False, True], ids=["shown", "in a file"])
def test_the_command_serves_until_it_is_stopped(gate: Gate, tmp_path: Path, in_file: bool) -> None:
    write_key(tmp_path / "key.pem", KEY, b"")
    more = ["--secret-file", str(tmp_path / "local")] if in_file else []
    url = f"http://127.0.0.1:{gate.port}"
    process = _command(
        "--gate", url, "--grant", "power", "--person", "Aisyah", "--key", str(tmp_path / "key.pem"), "--listen", "127.0.0.1:0", *more,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        shown = ""
        while "curl" not in shown:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            shown += line
        address = shown.split("OPENAI_BASE_URL=")[1].split()[0]
        secret = (tmp_path / "local").read_text().strip() if in_file else shown.split("OPENAI_API_KEY=")[1].split()[0]
        assert (secret in shown) is not in_file
        with openai.OpenAI(base_url=address, api_key=secret) as client:
            assert [m.id for m in client.models.list()] == ["m7"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (0, "")


def test_the_command_says_why_it_cannot(gate: Gate, tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem", PrivateKey.generate(), b"")
    usual = ["--grant", "power", "--person", "Aisyah", "--key", str(tmp_path / "key.pem")]
    for arguments, said in (
        (["--gate", f"http://127.0.0.1:{gate.port}", *usual], "no grant names this person"),
        (["--gate", "http://gate.example", *usual], "over https"),
        (["--gate", "https://gate.example", *usual[:-2]], "nothing speaks for you"),
        (["--gate", f"http://127.0.0.1:{gate.port}", *usual, "--listen", "8400"], "HOST:PORT"),
    ):
        process = _command(*arguments)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 2
        assert said in err
        assert "Traceback" not in err


SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.mark.skipif(which("softhsm2-util") is None or not SOFTHSM.exists(), reason="SoftHSM is not installed (Debian's softhsm2)")
def test_the_key_may_be_on_a_token(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "softhsm2.conf").write_text(
        f"directories.tokendir = {tmp_path / 'objects'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    (tmp_path / "pin").write_text("7193-horse\n")
    environment = {**os.environ, "SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}
    uri = f"pkcs11:token=office;object=aisyah?module-path={SOFTHSM}&pin-source={tmp_path / 'pin'}"

    def run(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=30).stdout

    run("softhsm2-util", "--init-token", "--free", "--label", "office", "--pin", "7193-horse", "--so-pin", "87654321")
    run(sys.executable, "-m", "assay", "key", "new", uri)
    gate = Gate(Person("Aisyah", run(sys.executable, "-m", "assay", "access", "thumbprint", "--key", uri).strip()))
    with serving(gate) as port:
        process = _command(
            "--gate", f"http://127.0.0.1:{port}", "--grant", "power", "--person", "Aisyah", "--key", uri, "--listen", "127.0.0.1:0",
            env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            shown = "".join(process.stdout.readline() for _ in range(4))
            address, secret = (shown.split(name)[1].split()[0] for name in ("OPENAI_BASE_URL=", "OPENAI_API_KEY="))
            with openai.OpenAI(base_url=address, api_key=secret) as client:
                assert [m.id for m in client.models.list()] == ["m7"]
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (0, "")
