"""Running the gate: one process for each worker, all on one socket.

    serve(Path("gate.yaml"))        # until it is stopped; what `assay access serve` calls

Each worker reads the gate's file and opens the store itself, and stays shut if either cannot be had. A worker that dies is started again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from assay.access.config import Config, GateError, read_config

if TYPE_CHECKING:
    import uvicorn

    from assay.access.gate.gateway import Gateway

FILE = "ASSAY_GATE_FILE"
BACKLOG = 2048
CLOSING_S = 5
KEEP_S = 75
CYCLES = (20_000, 5, 5)


def application() -> Gateway:
    """One worker's gateway, by the file that the environment names. Raises `AssayError`."""
    from assay.access.gate.gateway import Gateway
    from assay.access.gate.protocol import GateProtocol
    from assay.access.store.base import open_store

    config = read_config(Path(os.environ[FILE]))
    GateProtocol.head_s = config.bounds.head_s
    gateway = Gateway(config, open_store(config.store, Path(config.folder)), worker=os.getpid())
    gc.collect()
    gc.freeze()  # what stays for ever is not looked through again, so that looking for cycles often costs little and memory stays flat
    gc.set_threshold(*CYCLES)
    return gateway


def server_config(config: Config) -> uvicorn.Config:
    """How uvicorn runs it: nothing from headers of proxies, no server's name, no log of its own."""
    import uvicorn

    from assay.access.gate.protocol import GateProtocol

    tls = config.tls
    return uvicorn.Config(
        "assay.access.gate.serve:application",
        factory=True,
        host=config.address[0],
        port=config.address[1],
        workers=config.workers,
        loop="uvloop",
        http=GateProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_S,
        timeout_graceful_shutdown=CLOSING_S,
        ssl_certfile=str(config.path(tls.certificate)) if tls else None,
        ssl_keyfile=str(config.path(tls.key)) if tls else None,
        ssl_ca_certs=str(config.path(tls.client_ca)) if tls and tls.client_ca else None,
        ssl_cert_reqs=1 if tls and tls.client_ca else 0,
    )


def serve(path: Path) -> None:
    """Serve until stopped. Raises `GateError` where the gate does not open."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    config = read_config(path)
    os.environ[FILE] = str(path.resolve())
    settings = server_config(config)
    server = uvicorn.Server(settings)
    sock = _bound(config)
    try:
        if config.workers == 1:
            with asyncio.Runner(loop_factory=settings.get_loop_factory()) as runner:
                runner.run(server.serve(sockets=[sock]))
            if not server.started:
                raise GateError("the gate did not open; what was missing stands above")
        else:
            Multiprocess(settings, sockets=[sock]).run()
    finally:
        sock.close()


def _bound(config: Config) -> socket.socket:
    host, port = config.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise GateError(f"cannot listen on {config.listen}: {e.strerror}", fix="Choose another address in the gate's file.") from None
    sock.set_inheritable(True)
    return sock
