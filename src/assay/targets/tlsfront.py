"""TLS in front of a server that has none: takes connections from outside, hands their bytes to an address on this machine, and back.

    async with tls_front(("0.0.0.0", 8000), ("127.0.0.1", 41234), certificate, key) as address: ...

It reads nothing of what passes. The wheel of the embedded runtime is built without TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assay.errors import AssayError

CONNECTIONS = 256
"""At most; whoever comes beyond them is dropped at once."""
HANDSHAKE_S = 10.0
IDLE_S = 600.0
CHUNK = 65_536


@asynccontextmanager
async def tls_front(
    listen: tuple[str, int], behind: tuple[str, int], certificate: Path, key: Path
) -> AsyncIterator[tuple[str, int]]:  # fmt: skip
    """Serve until the block ends; gives the address. Raises `AssayError` where certificate, key or address do not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise AssayError(f"certificate and key do not do: {e.strerror or e}", where=str(certificate)) from None
    open_ones: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_ones) >= CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(_passed_on(reader, writer, behind))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    try:
        server = await asyncio.start_server(serve, *listen, ssl=context, ssl_handshake_timeout=HANDSHAKE_S)
    except OSError as e:
        raise AssayError(f"cannot listen there: {e.strerror}", where=f"{listen[0]}:{listen[1]}") from None
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield str(host), int(port)
    finally:
        server.close()
        ended = list(open_ones)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: tuple[str, int]) -> None:
    """One connection, until either side ends it or both are silent for too long."""
    try:
        inner, outer = await asyncio.open_connection(*behind)
    except OSError:
        writer.close()
        return
    try:
        pumps = [asyncio.create_task(_pump(reader, outer)), asyncio.create_task(_pump(inner, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
    finally:
        for end in (outer, writer):
            end.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(end.wait_closed(), 5)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
        while data := await asyncio.wait_for(source.read(CHUNK), IDLE_S):
            sink.write(data)
            await sink.drain()
