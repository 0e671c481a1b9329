"""The client certificate as the application learns it: real certificates, real connections."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from assay.access.credentials.dpop import certificate_thumbprint
from assay.access.credentials.tls import PeerProtocol, Telling, peer_certificate
from tests.access.gatestub import Certificates, serving, whole


async def told(scope: Any, receive: Any, send: Any) -> None:
    await whole(send, 200, json.dumps(peer_certificate(scope)).encode())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def ask(port: int, ca: Path | None, certificate: Path | None = None, headers: dict[str, str] | None = None, times: int = 1) -> list[str]:
    """What the application says over one connection."""
    connection: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if ca is not None:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        said = []
        for _ in range(times):
            connection.request("GET", "/", headers=headers or {})
            said.append(json.loads(connection.getresponse().read()))
        return said
    finally:
        connection.close()


class TellingH11(Telling, H11Protocol):
    """The other of uvicorn's protocols."""


@pytest.mark.parametrize("protocol", [PeerProtocol, TellingH11], ids=["usual", "h11"])
def test_the_application_learns_the_certificate_of_each_connection(certificates: Certificates, protocol: Any) -> None:
    with serving(told, certificates, protocol) as port:
        thumbprint = certificate_thumbprint(certificates.der("ca-client"))
        assert ask(port, certificates.ca, certificates.file("ca-client"), times=2) == [thumbprint] * 2
        assert ask(port, certificates.ca) == [""]
        assert ask(port, certificates.ca, headers={"X-Client-Cert": thumbprint, "assay.certificate": thumbprint}) == [""]


def test_a_certificate_by_a_stranger_opens_no_connection(certificates: Certificates) -> None:
    with serving(told, certificates) as port, pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        ask(port, certificates.ca, certificates.file("stranger-client"))


def test_without_tls_there_is_no_certificate() -> None:
    with serving(told) as port:
        assert ask(port, None) == [""]


def test_uvicorns_own_protocol_tells_none(certificates: Certificates) -> None:
    """The reason for ours; when this fails, uvicorn has learned it."""
    with serving(told, certificates, H11Protocol) as port:
        assert ask(port, certificates.ca, certificates.file("ca-client")) == [""]


def test_it_is_a_protocol_that_worker_processes_can_be_given() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(PeerProtocol)) is PeerProtocol  # noqa: S301 (our own)
