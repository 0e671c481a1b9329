"""The client certificate of a TLS connection, given to an ASGI application: uvicorn knows it and does not pass it on.

    uvicorn.Config(app, http=PeerProtocol, ssl_certfile=..., ssl_keyfile=..., ssl_ca_certs=..., ssl_cert_reqs=ssl.CERT_OPTIONAL)
    peer_certificate(scope)            # its thumbprint (RFC 8705, `x5t#S256`), or "" where none was shown

The TLS library has checked it against the gate's `client_ca` by then. It never comes from a header. Needs uvicorn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from assay.access.credentials.dpop import certificate_thumbprint

KEY = "assay.certificate"


def peer_certificate(scope: Mapping[str, Any]) -> str:
    """The thumbprint of the certificate that the client of this connection has shown and proven; empty without one."""
    return str(scope.get(KEY, ""))


class Telling:
    """For any of uvicorn's HTTP protocols: `peer_certificate` in every scope of a connection on which a certificate was shown."""

    app: Callable[..., Awaitable[None]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """After the handshake: the certificate belongs to the connection, and so to all its requests."""
        super().connection_made(transport)  # type: ignore[misc]
        ssl_object = transport.get_extra_info("ssl_object")
        der = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        if der:
            self.app = _telling(self.app, certificate_thumbprint(der))


class PeerProtocol(Telling, AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's usual protocol (httptools if that is installed, else h11), telling the certificate."""


def _telling(app: Callable[..., Awaitable[None]], thumbprint: str) -> Callable[..., Awaitable[None]]:
    def told(scope: MutableMapping[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        scope[KEY] = thumbprint
        return app(scope, receive, send)

    return told
