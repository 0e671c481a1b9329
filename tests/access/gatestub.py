"""A small gate on loopback for the connector's tests: real tokens and proofs over real TLS, and a model that says what it is told to."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from assay.access.credentials.secretfile import Secret
from assay.access.credentials.tls import PeerProtocol, peer_certificate
from assay.access.credentials.tokens import HEADERS, Tokens, holder
from assay.access.model import DeniedError, Grant, Person, Quota

WORDS = ("Close", " the", " valve", " 阀门", ".")


def grant(*persons: Person, version: int = 1) -> Grant:
    return Grant(
        assay="grant/1", id="power", version=version, organisation="Power", sector="power", jurisdiction="SG", purpose="hardening",
        persons=persons, model="m7", digest="sha256:" + "0" * 64, tier="operator", level="AL1", routes=("models",),
        networks=("127.0.0.0/8",), quotas=(Quota("day", 1, 1, 1),), starts=0, expires=2**50,
    )  # fmt: skip


class Gate:
    """The stub's state; tests change it while it runs. `skew_ms` is how far its clock is from this machine's."""

    def __init__(self, *persons: Person) -> None:
        self.grant: Grant | None = grant(*persons)
        self.port = 0
        self.skew_ms = 0
        self.token_s = 300
        self.tokens: Tokens
        self.scheme: Any = "http"
        self.spent: set[bytes] = set()
        self.calls: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.denials: list[str] = []
        self.token_requests = 0
        self.answer: Callable[[Any, Any, bytes], Awaitable[None]] | None = None
        self.gone = threading.Event()
        self.go = threading.Event()
        self.sent = 0

    def start(self, port: int) -> None:
        self.port = port
        hosts = (f"localhost:{port}", f"127.0.0.1:{port}")
        self.tokens = Tokens((Secret(secrets.token_bytes(32)),), hosts=hosts, scheme=self.scheme, token_s=self.token_s)

    @property
    def now(self) -> int:
        return int(datetime.datetime.now(datetime.UTC).timestamp() * 1000) + self.skew_ms

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._serve(scope, receive, send)
        except DeniedError as e:
            self.denials.append(e.rule)
            more = self.tokens.challenge(self.now) if e.status == 401 else []
            said = {"error": {"message": e.what, "type": "denied", "code": e.rule, "param": None}}
            await whole(send, e.status, msgspec.json.encode(said), more)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            assert not (name in headers and name in HEADERS)
            headers[name] = value
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        now, certificate = self.now, peer_certificate(scope)
        path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        if path == b"/access/token":
            self.token_requests += 1
            asked = self.tokens.asked(headers, body, now, certificate=certificate)
            person = next((p for p in self.grant.persons if p.key == asked.key), None) if self.grant else None
            if person is None or self.grant is None or person.name != asked.person:
                raise DeniedError("grant", 401, "no grant names this person with this key")
            self._spend(asked.nonce)
            reply = self.tokens.issue(asked.grant, self.grant.version, person.name, asked.key, now, by=asked.by)
            await whole(send, 200, msgspec.json.encode(reply))
            return
        digest = hashlib.sha256(body).digest()
        proven = self.tokens.check(headers, scope["method"], path, digest, now, certificate=certificate)
        holder(proven, self.grant)
        self._spend(proven.nonce)
        self.calls.append((scope["method"], path.decode(), body, {n.decode(): v.decode() for n, v in headers.items()}))
        if self.answer is not None:
            await self.answer(receive, send, body)
            return
        await model(path.decode(), json.loads(body) if body else {}, send)

    def _spend(self, nonce: bytes) -> None:
        if nonce in self.spent:
            raise DeniedError("replay", 401, "this request was seen already")
        self.spent.add(nonce)


async def whole(
    send: Any, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None, kind: bytes = b"application/json"
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), *(more or [])]})
    await send({"type": "http.response.body", "body": body})


async def events(send: Any, parts: list[Any], *, done: bool = True, named: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for part in parts:
        name = f"event: {part['type']}\n" if named else ""
        await send({"type": "http.response.body", "body": f"{name}data: {json.dumps(part)}\n\n".encode(), "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if done else b""})


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m7", "choices": [choice]}


async def model(path: str, asked: dict[str, Any], send: Any) -> None:
    if path.startswith("/v1/models"):
        listed = {"id": "m7", "object": "model", "created": 1, "owned_by": "assay"}
        await whole(send, 200, json.dumps({"object": "list", "data": [listed]}).encode())
    elif path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        await whole(send, 200, json.dumps({"object": "list", "data": data, "model": "m7", "usage": usage}).encode())
    elif path == "/v1/responses":
        await _response(asked, send)
    elif asked.get("stream") and asked.get("tools"):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "shut", "arguments": ""}}
        parts = [chunk({"role": "assistant", "tool_calls": [call]})]
        parts += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": a}}]}) for a in ('{"valve"', ": 7}")]
        await events(send, [*parts, chunk({}, "tool_calls")])
    elif asked.get("stream"):
        await events(send, [*(chunk({"content": w}) for w in WORDS), chunk({}, "stop")])
    else:
        call = {"id": "call_1", "type": "function", "function": {"name": "shut", "arguments": '{"valve": 7}'}}
        said = (
            {"role": "assistant", "content": None, "tool_calls": [call]}
            if asked.get("tools")
            else {"role": "assistant", "content": "".join(WORDS)}
        )
        choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if asked.get("tools") else "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        value = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m7", "choices": [choice], "usage": usage}
        await whole(send, 200, json.dumps(value).encode(), [(b"x-request-id", b"r-1")])


async def _response(asked: dict[str, Any], send: Any) -> None:
    part = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
    output = [{"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]
    value = {
        "id": "r1", "object": "response", "created_at": 1, "model": "m7", "output": output, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "status": "completed",
    }  # fmt: skip
    if not asked.get("stream"):
        await whole(send, 200, json.dumps(value).encode())
        return
    place = {"item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
    parts: list[Any] = [
        {"type": "response.output_text.delta", "delta": w, "sequence_number": i, **place} for i, w in enumerate(WORDS)
    ]  # fmt: skip
    await events(send, [*parts, {"type": "response.completed", "sequence_number": 9, "response": value}], done=False, named=True)


class Certificates:
    """An authority, a server's certificate for localhost, a client's, and one by a stranger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.stranger = folder / "ca.pem", folder / "stranger.pem"
        for name in ("ca", "stranger"):
            key, certificate = _certificate(name, None)
            _write(folder / f"{name}.pem", certificate)
            for leaf in ("server", "client"):
                made, theirs = _certificate(f"{name} {leaf}", (key, certificate))
                _write(folder / f"{name}-{leaf}.pem", theirs, made)

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def der(self, name: str) -> bytes:
        return x509.load_pem_x509_certificate(self.file(name).read_bytes()).public_bytes(serialization.Encoding.DER)


def _certificate(name: str, by: tuple[Any, Any] | None) -> tuple[Any, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer, issuer = (by[0], by[1].subject) if by else (key, subject)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )  # fmt: skip
    if by is None:
        usage = dict.fromkeys(
            (
                "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
                "decipher_only",
            ), False
        )  # fmt: skip
        made = made.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    else:
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, made.sign(signer, SHA256())


def _write(path: Path, certificate: Any, key: Any = None) -> None:
    data = certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        data += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(data)


@contextmanager
def serving(gate: Any, certificates: Certificates | None = None, http: Any = PeerProtocol) -> Iterator[int]:
    """The application on a free port of loopback, in a thread of its own, with TLS if there are certificates."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio leaves Nagle on where no protocol is named
    sock.bind(("127.0.0.1", 0))
    port = int(sock.getsockname()[1])
    more: dict[str, Any] = {}
    if certificates is not None:
        server = str(certificates.file("ca-server"))
        more = {"ssl_certfile": server, "ssl_keyfile": server, "ssl_ca_certs": str(certificates.ca), "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    config = uvicorn.Config(
        gate, http=http, log_level="error", access_log=False, lifespan="off", ws="none", proxy_headers=False, date_header=False,
        timeout_graceful_shutdown=1, **more,
    )  # fmt: skip
    if isinstance(gate, Gate):
        gate.scheme = "https" if certificates is not None else "http"
        gate.start(port)
    server_ = uvicorn.Server(config)
    with in_thread(server_.serve(sockets=[sock])):
        while not server_.started:
            threading.Event().wait(0.005)
        try:
            yield port
        finally:
            server_.should_exit = True


@contextmanager
def in_thread(work: Coroutine[Any, Any, Any]) -> Iterator[None]:
    """Run it on an event loop in a thread; the thread is waited for."""
    thread = threading.Thread(target=lambda: asyncio.run(work))
    thread.start()
    try:
        yield
    finally:
        thread.join(15)
        assert not thread.is_alive()
