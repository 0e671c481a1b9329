"""The gate in other places than one machine's loopback: over TLS, with a client's certificate, and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI

from assay.access.credentials.dpop import certificate_thumbprint
from assay.access.model import Person, Quota
from tests.access.gate import ASSAY, CHAT, Gate, free_port, run, wait_for
from tests.access.gatestub import Certificates
from tests.postgres import need_postgres, postgres_server


@contextmanager
def connected(gate: Gate, folder: Path, *more: str | Path) -> Iterator[OpenAI]:
    """The OpenAI client, through the connector."""
    port, secret = free_port(), folder / "local"
    secret.unlink(missing_ok=True)
    scheme = "https" if gate.tls else "http"
    command = [
        ASSAY, "access", "connect", "--gate", f"{scheme}://localhost:{gate.port}", "--grant", "power", "--person", "Tan",
        "--listen", f"127.0.0.1:{port}", "--secret-file", secret, *more,
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "HOME": str(folder)}, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        until = time.monotonic() + 10
        while not secret.is_file():
            assert time.monotonic() < until
            time.sleep(0.05)
        with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=secret.read_text().strip(), max_retries=0) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def test_over_tls_with_a_key_and_with_a_certificate(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    tls = {"certificate": str(made.file("ca-server")), "key": str(made.file("ca-server")), "client_ca": str(made.ca)}
    with Gate(tmp_path / "gate", tls=tls) as gate:
        gate.put(gate.grant())
        time.sleep(0.5)
        ask = {"model": "m7", "messages": CHAT["messages"], "max_tokens": 3}
        with connected(gate, tmp_path, "--key", gate.folder / "holder.pem", "--ca", made.ca) as client:
            assert (client.chat.completions.create(**ask).choices[0].message.content or "").startswith("inner")
        named = certificate_thumbprint(made.der("ca-client"))
        gate.put(gate.grant(version=2, persons=(Person("Tan", named),)))
        time.sleep(0.5)
        with connected(gate, tmp_path, "--certificate", made.file("ca-client"), "--ca", made.ca) as client:
            parts = [c.choices[0].delta.content for c in client.chat.completions.create(stream=True, **ask)]
            assert len(parts) == 3


def test_on_postgres_with_two_workers(tmp_path: Path) -> None:
    need_postgres()
    with postgres_server(Path("/tmp") / f"assay-pg-{os.getpid()}") as address, Gate(tmp_path / "gate", workers=2, store=address) as gate:  # noqa: S108
        gate.put(gate.grant(quotas=(Quota("total", 60, 10**9, 10**9),)))
        time.sleep(1.5)

        async def go(count: int) -> list[int]:
            async with gate.client() as client:
                return [s for s, _ in await asyncio.gather(*(client("/v1/chat/completions", CHAT) for _ in range(count)))]

        assert run(go(10)) == [200] * 10
        halt = gate.stop_all()
        time.sleep(0.5)
        assert set(run(go(3))) == {403}
        gate.lift(halt)
        time.sleep(0.5)
        found = run(go(120))
        assert 0 < found.count(200) <= 50
        assert set(found) <= {200, 429}
