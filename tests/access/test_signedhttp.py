"""An administrator's signed request: read by an independent implementation of RFC 9421, and refused in every other form."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.access.admin.signedhttp import AHEAD_S, WINDOW_S, Proof, check_signature, content_digest, sign_request
from assay.access.model import DeniedError
from assay.ledger import PrivateKey

NOW = 1_790_000_000
URI = "https://gate.example:8471/access/halts?x=1"
BODY = b'{"reason":"directive 7"}'
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
KEYS = {"wei": KEY.public, "aisyah": OTHER.public}


def signed(method: str = "POST", uri: str = URI, body: bytes = BODY, **more: Any) -> list[tuple[str, str]]:
    return [(n.lower(), v) for n, v in sign_request(KEY, method, uri, body, now_s=more.pop("now_s", NOW), **more).items()]


def check(headers: list[tuple[str, str]], method: str = "POST", uri: str = URI, body: bytes = BODY, now: float = NOW) -> str:
    return proven(headers, method, uri, body, now).name


def proven(headers: list[tuple[str, str]], method: str = "POST", uri: str = URI, body: bytes = BODY, now: float = NOW) -> Proof:
    proof = check_signature(KEYS, method, uri, headers, now_s=now)
    proof.check_body(body)
    return proof


def test_what_is_signed_holds_and_every_nonce_is_another() -> None:
    assert check(signed()) == "wei"
    assert check(signed("GET", body=b""), "GET", body=b"") == "wei"
    proofs = [proven(signed()) for _ in range(2)]
    assert proofs[0].nonce != proofs[1].nonce
    assert proofs[0].expires_ms == (NOW + WINDOW_S) * 1000
    one = signed(nonce="a" * 32)
    assert proven(one) == proven(one, now=NOW + 5)


def test_another_implementation_of_rfc_9421_reads_it_and_writes_it() -> None:
    oracle = pytest.importorskip("http_message_signatures")

    class Resolver(oracle.HTTPSignatureKeyResolver):  # type: ignore[misc, name-defined]
        def resolve_public_key(self, key_id: str) -> Any:
            assert key_id == KEY.public.keyid
            return Ed25519PublicKey.from_public_bytes(KEY.public.raw)

        def resolve_private_key(self, key_id: str) -> Any:
            return serialization.load_pem_private_key(KEY.to_pem(), None)

    class Message:
        method, url, headers = "POST", URI, {n.title(): v for n, v in signed()}

    kept = {"signature_algorithm": oracle.algorithms.ED25519, "key_resolver": Resolver()}
    verifier = oracle.HTTPMessageVerifier(**kept)
    verifier.validate_created_and_expires = lambda *a, **k: None  # the test's time is not now
    [result] = verifier.verify(Message(), max_age=timedelta(days=36_500))
    assert set(result.covered_components) >= {'"@method"', '"@target-uri"', '"content-digest"'}
    Message.url = URI + "&y=2"
    with pytest.raises(oracle.InvalidSignature):
        verifier.verify(Message(), max_age=timedelta(days=36_500))


def changed(index: int, old: str, new: str) -> list[tuple[str, str]]:
    headers = signed()
    name, value = headers[index]
    assert old in value
    headers[index] = (name, value.replace(old, new))
    return headers


@pytest.mark.parametrize(
    "headers",
    [
        [],
        signed()[:2],
        signed()[1:],
        [*signed(), signed()[1]],
        changed(0, "sha-256", "sha-512"),
        changed(1, "created=1", "created=2"),
        changed(1, "assay-admin", "assay-other"),
        changed(1, '"@method" ', ""),
        changed(1, '"@target-uri"', '"@path"'),
        changed(1, KEY.public.keyid, OTHER.public.keyid),
        changed(1, KEY.public.keyid, "0" * 64),
        changed(1, 'nonce="', 'nonce="A'),
        changed(1, 'alg="ed25519"', 'alg="none"'),
        changed(1, 'tag="assay-admin"', 'tag="assay-admin"\n'),
        changed(2, "==:", "=:"),
        signed(nonce="short"),
        signed(method="GET"),
        signed(uri=URI.replace("gate.", "other.")),
        signed(uri=URI.replace("https", "http")),
        signed(body=BODY + b" "),
    ],
    ids=range(20),
)
def test_any_other_form_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(DeniedError) as caught:
        check(headers)
    assert (caught.value.rule, caught.value.status) == ("signature", 401)


@pytest.mark.parametrize("late", [-AHEAD_S - 1, WINDOW_S + 1, 86_400])
def test_too_early_and_too_late(late: int) -> None:
    assert check(signed(), now=NOW + (WINDOW_S if late > 0 else -AHEAD_S)) == "wei"
    with pytest.raises(DeniedError, match="clocks"):
        check(signed(), now=NOW + late)


def test_a_body_or_address_that_was_not_signed() -> None:
    for what in ({"body": b"{}"}, {"uri": URI.replace("x=1", "x=2")}, {"method": "PUT"}, {"uri": "https://gate.example/ä"}):
        with pytest.raises(DeniedError):
            check(signed(), **what)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="address"):
        sign_request(KEY, "GET", "file:///etc/passwd", b"", now_s=NOW)
    assert content_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
