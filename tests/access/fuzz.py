"""A fuzzer of the gate's HTTP surface: `python -m tests.access.fuzz --minutes 10` (`make fuzz-access`); tests run some seconds of it.

Good requests, mutated in their bytes, headers, bodies and timing, over raw sockets. What must hold: nothing is served but a request of
which all that decides is untouched; nothing ends in the gate's own failure (500); the process lives, says nothing on its output, and does
not grow; and after every burst a good request is still answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.access.gate import CHAT, Client, Gate

PATH = "/v1/chat/completions"
WORDS = (
    b"\x00", b"\r\n", b"\n", b"\r", b" ", b"%00", b"%2e%2e/", b"//", b"\xff\xfe", b"Host: evil.example\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n", b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Connection: close\r\n", b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Authorization: Assay x\r\n", b"X-Assay-Proof: 1.1.1.1\r\n", b"DPoP: a.b.c\r\n",
    b"-1", b"99999999999999999999", b"0x10", b"[]", b"{}", b"null",
    b'{"model":"m7"}', b"A" * 70_000, b"\xc0\xaf", b"\xed\xa0\x80", b"\\u0000", b'"', b"\\", b",", b":", b"1e999", b"-0",
    b"Cookie: " + b"a=b; " * 500 + b"\r\n",
)  # fmt: skip


def good(client: Client, rng: random.Random) -> tuple[bytes, bytes]:
    """Head and body of a request that would be served."""
    value = {**CHAT, "max_tokens": 2, "stream": rng.random() < 0.5}
    body = json.dumps(value).encode()
    kind = rng.randrange(4)
    if kind == 0:
        headers, line, body = client.headers("GET", "/v1/models", b""), "GET /v1/models HTTP/1.1", b""
    elif kind == 1:
        headers, line, body = {"DPoP": "x.y.z"}, "POST /access/token HTTP/1.1", b'{"grant": "power", "person": "Tan"}'
    else:
        headers, line = client.headers("POST", PATH, body), f"POST {PATH} HTTP/1.1"
    lines = "".join(f"{n}: {v}\r\n" for n, v in {"Host": client.host, **headers, "Content-Length": str(len(body))}.items())
    return f"{line}\r\n{lines}\r\n".encode(), body


def cut(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at]


def flipped(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        if out:
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def put_in(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(WORDS) + data[at:]


def left_out(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:a] + data[min(b, a + 40) :]


def doubled(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    at = rng.randrange(len(lines))
    return b"\r\n".join([*lines[:at], lines[at], *lines[at:]])


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flipped, put_in, left_out, doubled)


def mutated(head: bytes, body: bytes, rng: random.Random) -> bytes:
    """Head or body or both, changed once or several times; or a body of another shape under a right length."""
    whole = head + body
    out = whole
    if body and rng.random() < 0.3:
        other = body
        for _ in range(rng.randrange(1, 5)):
            other = rng.choice(MUTATIONS)(other, rng)
        out = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(other)) + other
    while out == whole:
        for _ in range(rng.randrange(1, 4)):
            out = rng.choice(MUTATIONS)(out, rng)
    return out


class Fuzz:
    """One run against one gate."""

    def __init__(self, gate: Gate, seed: int) -> None:
        self.gate, self.rng = gate, random.Random(seed)
        self.statuses: Counter[str] = Counter()
        self.problems: list[str] = []

    async def one(self, data: bytes, *, slowly: bool) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gate.port)
        try:
            if slowly:
                for i in range(0, min(len(data), 4000), 997):
                    writer.write(data[i : i + 997])
                    await asyncio.sleep(0.002)
                writer.write(data[4000:] if len(data) > 4000 else b"")
            else:
                writer.write(data)
            if self.rng.random() < 0.5:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(1 << 20), 0.4)
        except TimeoutError:
            return b"open"
        except OSError:
            return b"closed"
        finally:
            writer.transport.abort()

    async def burst(self, client: Client, count: int) -> None:
        """So many mutated requests at once, then a good one."""
        sent = [mutated(*good(client, self.rng), self.rng) for _ in range(count)]
        for data, answer in zip(sent, await asyncio.gather(*(self.one(d, slowly=self.rng.random() < 0.1) for d in sent)), strict=True):
            status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/") else answer[:6].decode("latin-1")
            self.statuses[status] += 1
            if b"inner" in answer and b'"w1' not in data and not harmless(data, client):
                self.problems.append(f"served: {data[:600]!r} -> {answer[:200]!r}")
            if status == "500":
                self.problems.append(f"500: {data[:600]!r} -> {answer[:300]!r}")
        found, answer_ = await client(PATH, {**CHAT, "max_tokens": 2})
        if found != 200:
            self.problems.append(f"a good request: {found} {answer_}")

    async def run(self, seconds: float, size: int = 120) -> None:
        """Bursts until the time is over or something is found."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.problems:
            async with self.gate.client() as client:
                again = time.monotonic() + 60
                while time.monotonic() < min(until, again) and not self.problems:
                    await self.burst(client, size)


def harmless(data: bytes, client: Client) -> bool:
    """Whether all that decides stands in it untouched: proof, token, host, method, target, and a body with the digest that was proven.

    More than one space in the request line is the same line: RFC 9112, section 3, lets a server split it at white space.
    """
    head, _, rest = data.partition(b"\r\n\r\n")
    line = b" ".join(head.split(b"\r\n", 1)[0].split())
    return (
        client.token.encode() in head
        and line.startswith((b"POST " + PATH.encode(), b"GET /v1/models"))
        and b'"model": "m7"' in rest + b'"model": "m7"'
    )


def rss_mb(gate: Gate) -> float:
    assert gate.process is not None
    pids = [
        gate.process.pid,
        *(int(p) for t in Path(f"/proc/{gate.process.pid}/task").glob("*") for p in (t / "children").read_text().split()),
    ]
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in pids) * 4096 / 1e6


def main() -> int:
    """Fuzz for so long; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Gate(Path(folder) / "gate", workers=1) as gate:
        gate.put(gate.grant())
        time.sleep(0.5)
        fuzz = Fuzz(gate, given.seed)
        asyncio.run(fuzz.run(5))
        before = rss_mb(gate)
        asyncio.run(fuzz.run(60 * given.minutes))
        after, said = rss_mb(gate), (gate.folder / "gate.out").read_text()
    print(f"seed {given.seed}: {fuzz.statuses.total():,} requests, {dict(fuzz.statuses.most_common())}, {before:.0f} -> {after:.0f} MB")
    for problem in fuzz.problems:
        print(problem)
    if "Traceback" in said:
        print(said[-3000:])
    return 1 if fuzz.problems or "Traceback" in said or after > before + 50 else 0


if __name__ == "__main__":
    sys.exit(main())
