"""`assay model serve`: what it refuses, the key, TLS in front of a server that has none, and a real answer over it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from assay.cli.model import command
from assay.errors import AssayError, ModelError
from assay.targets import models
from assay.targets.tlsfront import tls_front
from tests.deploy.test_compose import made

SMALL = models.FALLBACK
ASSAY = Path(sys.executable).parent / "assay"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `secrets/model.crt`, `model.key` and `authority.crt`, for localhost."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "roles.json").write_text("{}")
    done = made(folder / "door", folder / "roles.json")
    assert done.returncode == 0, done.stderr
    return folder / "door/secrets"


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, int]]:
    """A server that sends back what it is sent, and ends at `bye`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await reader.read(65_536)) and data != b"bye\n":
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


def test_what_passes_is_what_was_sent_and_either_side_ends_it(certified: Path) -> None:
    async def go() -> None:
        trusted = ssl.create_default_context(cafile=str(certified / "authority.crt"))
        async with (
            echo() as behind,
            tls_front(("127.0.0.1", 0), behind, certified / "model.crt", certified / "model.key") as (host, port),
        ):
            reader, writer = await asyncio.open_connection(host, port, ssl=trusted, server_hostname="localhost")
            large = b"x" * 500_000 + b"\n"
            writer.write(large)
            assert await reader.readexactly(len(large)) == large
            writer.write(b"bye\n")
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(host, port, ssl=ssl.create_default_context(), server_hostname="localhost")
            plain, out = await asyncio.open_connection(host, port)  # who speaks no TLS gets nothing
            out.write(b"GET / HTTP/1.1\r\n\r\n")
            assert b"GET" not in await asyncio.wait_for(plain.read(), 20)
            out.close()
            still, more = await asyncio.open_connection(host, port, ssl=trusted, server_hostname="localhost")
            more.write(b"again\n")
            assert await still.readline() == b"again\n"
            more.close()

    asyncio.run(go())


def test_nothing_is_served_with_a_certificate_that_does_not_do(certified: Path, tmp_path: Path) -> None:
    (tmp_path / "none.crt").write_text("no certificate")

    async def go(certificate: Path, key: Path) -> None:
        async with tls_front(("127.0.0.1", 0), ("127.0.0.1", 9), certificate, key):
            pass

    for certificate, key in ((tmp_path / "none.crt", certified / "model.key"), (certified / "authority.crt", certified / "model.key")):
        with pytest.raises(AssayError, match="do not do"):
            asyncio.run(go(certificate, key))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--listen", "0.0.0.0:0"], "without TLS"), (["--listen", "nonsense"], "HOST:PORT"), (["--listen", "127.0.0.1:65536"], "HOST:PORT"),
        (["no-such-model"], "no embedded model"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_served(tmp_path: Path, words: list[str], what: str) -> None:
    done = CliRunner().invoke(command, ["serve", "--key-file", str(tmp_path / "key"), *words])
    assert isinstance(done.exception, AssayError)
    assert what in str(done.exception)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("key", ["short\n", "two words that are long enough\n", "x" * 600, "\x00" * 32])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key)
    done = CliRunner().invoke(command, ["serve", SMALL, "--key-file", str(tmp_path / "key")])
    assert isinstance(done.exception, AssayError)
    assert "a key is" in str(done.exception)


@pytest.mark.model
def test_it_answers_who_has_the_key_over_tls_and_nobody_else(certified: Path, tmp_path: Path) -> None:
    try:
        models.weights(SMALL, lambda _: None)
    except ModelError as e:
        pytest.skip(f"the weights of {SMALL} cannot be had here: {e.what}")
    key = tmp_path / "key"
    words = ["model", "serve", SMALL, "--key-file", key, "--listen", "127.0.0.1:0", "--certificate", certified / "model.crt"]
    process = subprocess.Popen([ASSAY, *words, "--private-key", certified / "model.key"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = "".join(process.stdout.readline() for _ in range(2))
        found = re.search(r"at (https://127\.0\.0\.1:\d+/v1)", told)
        assert found, told
        assert key.stat().st_mode & 0o077 == 0
        assert key.read_text().strip() not in told
        trusted = ssl.create_default_context(cafile=str(certified / "authority.crt"))

        def asked(authorization: str) -> Any:
            body = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}).encode()
            request = urllib.request.Request(f"{found[1]}/chat/completions", data=body, headers={"Authorization": authorization})
            with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
                return json.load(answer)

        answer = asked(f"Bearer {key.read_text().strip()}")
        assert answer["model"] == SMALL
        assert answer["choices"][0]["message"]["content"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked("Bearer wrong")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
