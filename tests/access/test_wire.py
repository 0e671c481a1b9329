"""The gate's HTTP client: whatever a server sends, an answer is whole or an error, and no connection carries one answer into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from assay.access.gate.wire import KEEP_S, Pool, WireError

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def served(act: Act, use: Callable[[Pool], Awaitable[Any]], **bounds: float) -> tuple[Any, int]:
    """What `use` gives against a server that acts so on every connection, and how many connections there were."""
    count = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await act(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = Pool(f"http://127.0.0.1:{port}/v1", **{"connect_s": 2, "idle_s": 2, "answer_s": 5, **bounds})
    try:
        return await use(pool), count
    finally:
        pool.close()
        server.close()


def saying(*parts: bytes, pause: float = 0.0, stay: bool = True) -> Act:
    """One answer for every request on a connection; then it stays open, or not."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert await reader.readexactly(length) == b'{"a": 1}'
            for part in parts:
                writer.write(part)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
            if not stay:
                return

    return act


async def ask(pool: Pool) -> tuple[int, str, bytes]:
    answer = await pool.post(pool.head("/chat/completions", {"X-Key": "k"}), b'{"a": 1}')
    try:
        return answer.status, answer.content_type, b"".join([c async for c in answer.chunks()])
    finally:
        answer.close()


def times(n: int) -> Callable[[Pool], Awaitable[list[tuple[int, str, bytes]]]]:
    async def use(pool: Pool) -> list[tuple[int, str, bytes]]:
        return [await ask(pool) for _ in range(n)]

    return use


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
GOOD = (200, "text/x", b"hello")


@pytest.mark.parametrize("said", [WHOLE, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE], ids=["length", "chunked", "interim"])
@pytest.mark.parametrize("size", [10_000, 1, 7])
def test_an_answer_is_read_however_it_comes_and_its_connection_is_used_again(said: bytes, size: int) -> None:
    parts = [said[i : i + size] for i in range(0, len(said), size)]
    found, connections = asyncio.run(served(saying(*parts), times(3)))
    assert found == [GOOD] * 3
    assert connections == 1


def test_an_answer_until_the_end_of_its_connection(tmp_path: Any) -> None:
    found, connections = asyncio.run(served(saying(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n\r\nhel", b"lo", stay=False), times(2)))
    assert (found, connections) == ([GOOD] * 2, 2)


@pytest.mark.parametrize(
    "said",
    [
        b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_whole_answer_is_an_error(said: bytes) -> None:
    with pytest.raises(WireError):
        asyncio.run(served(saying(said, stay=False), times(1)))


@pytest.mark.parametrize("more", [WHOLE, b"x", CHUNKED], ids=["another", "a byte", "chunked"])
def test_what_comes_beyond_an_answer_reaches_nobody(more: bytes) -> None:
    """Two answers to one request: the second would be read as the next caller's."""

    async def use(pool: Pool) -> list[Any]:
        out: list[Any] = []
        for _ in range(3):
            try:
                out.append(await ask(pool))
            except WireError:
                out.append("error")
            await asyncio.sleep(0.05)
        return out

    stray = WHOLE.replace(b"hello", b"other") if more == WHOLE else more
    for parts in ((WHOLE, stray), (WHOLE + stray,)):
        found, _ = asyncio.run(served(saying(*parts, pause=0.01), use))
        assert set(map(str, found)) <= {str(GOOD), "error"}
        assert "other" not in str(found)


def test_silence_and_slowness_end(tmp_path: Any) -> None:
    for act, bounds in (
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", pause=30), {"idle_s": 0.2}),
        (saying(b"", pause=30), {"idle_s": 0.2}),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *[b"x"] * 900, pause=0.02), {"answer_s": 0.4}),
    ):
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(served(act, times(1), **bounds), 5))


def test_nobody_there_is_said_and_an_old_connection_is_not_trusted() -> None:
    with pytest.raises(WireError, match="cannot be reached"):
        asyncio.run(times(1)(Pool("http://127.0.0.1:1/v1", connect_s=1, idle_s=1, answer_s=1)))

    async def use(pool: Pool) -> list[Any]:
        first = await ask(pool)
        for kept in pool._kept:
            kept.kept_at -= KEEP_S + 1
        return [first, await ask(pool)]

    found, connections = asyncio.run(served(saying(WHOLE), use))
    assert (found, connections) == ([GOOD, GOOD], 2)


def test_a_reader_that_is_slow_holds_the_server_back_and_not_the_memory() -> None:
    size = 64 << 20
    sent = 0

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async def use(pool: Pool) -> int:
        answer = await pool.post(pool.head("/chat/completions", {}), b'{"a": 1}')
        await asyncio.sleep(0.3)
        held = sent
        total = 0
        async for chunk in answer.chunks():
            total += len(chunk)
        answer.close()
        assert total == size
        return held

    held, _ = asyncio.run(served(act, use, answer_s=60))
    assert held < size // 2
