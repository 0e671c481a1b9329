"""How the gate reads HTTP: httptools, the client's certificate, and the request's target as it was sent. Needs uvicorn."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from assay.access.credentials.tls import Telling

TARGET = "assay.target"


class GateProtocol(Telling, HttpToolsProtocol):
    """uvicorn's protocol on httptools. Of a target that is a whole address uvicorn keeps the path and drops the host; here it is told."""

    def on_headers_complete(self) -> None:
        """Once the request's head was read."""
        self.scope[TARGET] = self.url  # type: ignore[literal-required]
        super().on_headers_complete()
