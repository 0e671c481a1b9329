"""A whole gate for tests and benches: keys, roles, an approved release, a grant, an upstream, and `assay access serve` as processes.

with Gate(folder) as gate:
    gate.put(grant)                              # approved by two administrators
    async with gate.client() as ask:
        answer = await ask("/v1/chat/completions", {...})
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from assay.access.credentials.dpop import make_proof, unb64
from assay.access.credentials.tokens import proof_header
from assay.access.grants.grant import sign_grant, sign_sub_grant, thumbprint
from assay.access.grants.orders import Revoked, sign_halt, sign_lift, sign_revocation
from assay.access.model import Grant, Halt, Person, Quota, Scope
from assay.access.store.base import Store, open_store
from assay.decision import Verdict
from assay.evidence.release import Release, write_release
from assay.evidence.releasemake import Stated, new_halt, new_release, read_basis, sign_release
from assay.evidence.roles import sign_roles
from assay.ledger import PrivateKey, write_key
from tests.evidence.authority import KEYS, approving_run, policy, roles_of

ASSAY = Path(sys.executable).parent / "assay"
ADMINS = {name: PrivateKey.generate() for name in ("ines", "ivan")}
HOLDER, STRANGER, CONTRACTOR = PrivateKey.generate(), PrivateKey.generate(), PrivateKey.generate()
LONG = 2**40


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def upstream(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The stub in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "tests.access.upstream", str(port)], cwd=Path(__file__).parents[2])
    try:
        wait_for(port)
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[Any] | None = None, seconds: float = 30) -> None:
    import socket

    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until or (process is not None and process.poll() is not None):
                raise AssertionError(f"nobody listens on {port}") from None
            time.sleep(0.02)


class Gate:
    """The gate's folder, and its processes once it is entered."""

    def __init__(self, folder: Path, *, workers: int = 1, upstream_port: int = 0, **changes: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.upstream_port = upstream_port or free_port()
        self._own_upstream = not upstream_port
        self.port = free_port()
        self.tls = "tls" in changes
        self.bundle = approving_run(folder, wanted=policy())
        self.roles = roles_of(folder)
        (folder / "roles.json").write_bytes(msgspec.json.encode(sign_roles(self.roles, KEYS["olga"], KEYS["otto"])))
        basis, _ = read_basis(self.bundle, self.roles, now_ms())
        assert basis is not None
        self.basis = basis
        (folder / "gate.secret").write_text(secrets.token_hex(32) + "\n")
        (folder / "gate.secret").chmod(0o600)
        write_key(folder / "audit.pem", PrivateKey.generate(), b"")
        for name, key in ADMINS.items():
            write_key(folder / f"{name}.pem", key, b"")
        write_key(folder / "holder.pem", HOLDER, b"")
        self.release = self.approved(1)
        self.digest = self.release.target
        value = {
            "assay": "gate/1",
            "listen": f"127.0.0.1:{self.port}",
            "hosts": [f"127.0.0.1:{self.port}", f"localhost:{self.port}", "gate.test"],
            "workers": workers,
            "authority": {"roles": "roles.json", "owners": [KEYS["olga"].public.keyid, KEYS["otto"].public.keyid]},
            "admins": {"keys": {n: base64.b64encode(k.public.raw).decode() for n, k in ADMINS.items()}},
            "models": {
                "m7": {
                    "digest": self.digest,
                    "upstream": f"http://127.0.0.1:{self.upstream_port}/v1",
                    "upstream_model": "inner",
                    "key_variable": "UPSTREAM_KEY",
                    "prices": {"prompt": 1.0, "answer": 2.0},
                }
            },
            **changes,
        }
        (folder / "gate.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
        self.store: Store = open_store(str(value.get("store", "gate.db")), folder)
        self.publish(self.release)
        self.process: subprocess.Popen[bytes] | None = None

    # What authorities say

    def approved(self, epoch: int, verdict: Verdict | str = "", days: int = 0) -> Release:
        stated = Stated(epoch, now_ms(), days, verdict, "for the test" if verdict else "")  # type: ignore[arg-type]
        release = new_release(self.basis, self.roles, KEYS["eve"], stated)
        for name in ("ada", "abel"):
            release = sign_release(release, self.roles, KEYS[name], now_ms())
        return release

    def halted(self, epoch: int) -> Release:
        return new_halt("m7", self.digest, self.roles, KEYS["ada"], Stated(epoch, now_ms(), verdict="halt", reason="found"))

    def publish(self, release: Release) -> None:
        path = self.folder / "release.jsonl"
        write_release(release, path)
        self.store.put_release(release.target, path.read_bytes())

    def grant(self, **changes: Any) -> Grant:
        base = Grant(
            assay="grant/1", id="power", version=1, organisation="Grid Ltd", sector="power", jurisdiction="SG", purpose="harden relays",
            persons=(Person("Tan", thumbprint(HOLDER.public)),), model="m7", digest=self.digest, tier="operator", level="AL1",
            routes=("chat.completions", "responses", "embeddings", "models"), networks=("127.0.0.0/8",),
            quotas=(Quota("total", LONG, LONG, LONG),), starts=now_ms() - 60_000, expires=now_ms() + 30 * 86_400_000,
            tools=("read_log",), per_person_a_minute=10**6,
        )  # fmt: skip
        return msgspec.structs.replace(base, **changes)

    def put(self, grant: Grant, *names: str) -> Grant:
        self.store.put_grant(sign_grant(grant, *(ADMINS[n] for n in names or ADMINS)))
        return grant

    def put_child(self, child: Grant, parent: Grant, key: PrivateKey = HOLDER) -> Grant:
        self.store.put_grant(sign_sub_grant(child, parent, key))
        return child

    def stop_all(self, halt_id: str = "stop", spares: tuple[str, ...] = (), **scope: str) -> Halt:
        halt = Halt(halt_id, Scope(**scope), "for the test", "ines", now_ms(), spares)  # type: ignore[arg-type]
        self.store.put_halt(halt, sign_halt(halt, ADMINS["ines"]))
        return halt

    def lift(self, halt: Halt) -> None:
        self.store.lift(halt.id, "ines", now_ms(), sign_lift(halt, "ines", now_ms(), ADMINS["ines"]))

    def revoke(self, grant_id: str) -> None:
        revoked = Revoked(grant_id, "ines", "for the test", now_ms())
        self.store.revoke(grant_id, "ines", revoked.reason, revoked.at, sign_revocation(revoked, ADMINS["ines"]))

    # Processes

    def start(self) -> None:
        env = {**os.environ, "UPSTREAM_KEY": "upstream-secret-key", "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.folder / "gate.out").open("ab") as out:
            self.process = subprocess.Popen(
                [ASSAY, "access", "serve", "--config", self.folder / "gate.yaml"], env=env, stdout=out, stderr=subprocess.STDOUT
            )
        self._wait_open()

    def _wait_open(self) -> None:
        import urllib.error
        import urllib.request

        until = time.monotonic() + 60
        while True:
            try:
                if self.tls:
                    wait_for(self.port, self.process)
                    return
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return
            except (OSError, urllib.error.URLError):
                dead = self.process is not None and self.process.poll() is not None
                if dead or time.monotonic() > until:
                    raise AssertionError((self.folder / "gate.out").read_text()) from None
                time.sleep(0.05)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(with_signal)
            self.process.wait(30)
            self.process = None

    def __enter__(self) -> Gate:
        self._up = upstream(self.upstream_port) if self._own_upstream else None
        if self._up is not None:
            self._up.__enter__()
        try:
            self.start()
        except BaseException:
            if self._up is not None:
                self._up.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            if self._up is not None:
                self._up.__exit__(None, None, None)
            self.store.close()

    @asynccontextmanager
    async def client(self, key: PrivateKey = HOLDER, grant: str = "power", person: str = "Tan") -> AsyncIterator[Client]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}", connector=connector) as session:
            client = Client(session, f"127.0.0.1:{self.port}", key)
            await client.sign_in(grant, person)
            yield client


class Client:
    """A connector as small as can be: a token, and a proof for every request."""

    def __init__(self, session: aiohttp.ClientSession, host: str, key: PrivateKey) -> None:
        self.session, self.host, self.key = session, host, key
        self.token, self.mac = "", b""

    async def sign_in(self, grant: str, person: str) -> None:
        nonce, body = "", msgspec.json.encode({"grant": grant, "person": person})
        for _ in range(2):
            proof = make_proof(self.key, "POST", f"http://{self.host}/access/token", int(time.time()), nonce=nonce)
            async with self.session.post("/access/token", data=body, headers={"DPoP": proof}) as answer:
                value = await answer.json()
                if answer.status == 200:
                    self.token, self.mac = value["access_token"], unb64(value["mac_key"])
                    return
                nonce = answer.headers.get("DPoP-Nonce", "")
        raise DeniedHere(answer.status, value["error"]["code"], value["error"]["message"])

    def headers(self, method: str, path: str, body: bytes, system: str = "") -> dict[str, str]:
        digest = hashlib.sha256(body).digest()
        proof = proof_header(self.mac, method, self.host, path.encode(), digest, now_ms(), system.encode())
        named = {"X-Assay-System": system} if system else {}
        return {"Authorization": f"Assay {self.token}", "X-Assay-Proof": proof, "Content-Type": "application/json", **named}

    async def __call__(self, path: str, value: Mapping[str, Any] | None = None, *, system: str = "", **more: str) -> tuple[int, Any]:
        """Status, and the JSON or the events of the answer."""
        method, body = ("GET", b"") if value is None else ("POST", msgspec.json.encode(value))
        headers = {**self.headers(method, path, body, system), **more}
        async with self.session.request(method, path, data=body or None, headers=headers) as answer:
            data = await answer.read()
            if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                return answer.status, events(data)
            return answer.status, msgspec.json.decode(data)


class DeniedHere(Exception):  # noqa: N818
    """No token."""

    def __init__(self, status: int, code: str, what: str) -> None:
        super().__init__(f"{status} {code} {what}")
        self.status, self.code = status, code


def events(data: bytes) -> list[Any]:
    return [
        msgspec.json.decode(line[5:]) if line[5:].strip() != b"[DONE]" else "[DONE]"
        for line in data.split(b"\n")
        if line.startswith(b"data:")
    ]


CHAT = {"model": "m7", "messages": [{"role": "user", "content": "How do I harden a relay?"}], "max_tokens": 8}


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)
