"""A socket, TLS where it is needed, and a clean stop.

with listen("127.0.0.1", 0) as socket:
    print(address(socket, "127.0.0.1", secure=False))
    serve(app, socket)                       # until Ctrl-C or SIGTERM; answers under way are finished
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from assay.errors import AssayError

GRACE_S = 3


def listen(host: str, port: int, *, secure: bool = False) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises `AssayError`: in use, not here, or open to others without TLS."""
    if not secure and not is_loopback(host):
        raise AssayError(
            f"'{host}' can be reached by others, and tokens and texts would go over the network in the clear",
            fix="Give --tls-cert and --tls-key, or leave --host out and let people come through a tunnel.",
        )
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as e:
        raise AssayError(f"cannot listen on {host}: {e.strerror}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen(128)
        found.setblocking(False)
    except OSError as e:
        found.close()
        raise AssayError(f"cannot listen on {host}:{port}: {e.strerror}", fix="Choose another --port; 0 takes any free one.") from None
    return found


def address(listening: socket.socket, name: str, *, secure: bool) -> str:
    """The address of the page, such as `http://127.0.0.1:8414`."""
    shown = f"[{name}]" if ":" in name else name
    return f"{'https' if secure else 'http'}://{shown}:{listening.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_tls(certificate: Path, key: Path) -> None:
    """Raises `AssayError` for a certificate and key that do not load."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise AssayError(f"certificate and key do not load: {e}", where=str(certificate)) from None


def serve(app: ASGIApp, listening: socket.socket, certificate: Path | None = None, key: Path | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM. Nothing is logged but failures: addresses hold no secrets, but nobody needs to know who came when."""
    config = uvicorn.Config(
        app, access_log=False, log_level="error", server_header=False, proxy_headers=False, ws="none", lifespan="off", interface="asgi3",
        timeout_keep_alive=30, timeout_graceful_shutdown=GRACE_S, limit_concurrency=500, h11_max_incomplete_event_size=32_768,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
