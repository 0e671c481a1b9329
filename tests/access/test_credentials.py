"""Tokens and proofs (threat 8: a stolen credential). Proofs by signature are made by joserfc, not by our own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from assay.access.config import GateError
from assay.access.credentials.dpop import b64, check_proof, make_proof, thumbprint, token_hash, unb64
from assay.access.credentials.secretfile import LONGEST_TOKEN_MS, MAX_LINES, Secret, read_secrets, rotate_secret, write_secret
from assay.access.credentials.tokens import AHEAD_MS, CACHED, NONCE_MS, PATH, REREAD_MS, WINDOW_MS, Claims, Tokens, holder, proof_header
from assay.access.grants import grant as grants
from assay.access.model import DeniedError, Grant, Person, Quota
from assay.ledger import PrivateKey, PublicKey

NOW = 1_790_000_000_000
HOST = "gate.example"
CHAT = b"/v1/chat/completions"
BODY = hashlib.sha256(b'{"model":"m7"}').digest()
OTHER = hashlib.sha256(b'{"model":"m8"}').digest()
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

SECRET = Secret(secrets.token_bytes(32))
ED = OKPKey.generate_key("Ed25519")
EC = ECKey.generate_key("P-256")
PERSON = b'{"grant":"power","person":"Aisyah"}'
CERTIFICATE = b64(hashlib.sha256(b"a certificate").digest())


def gate(*given: Secret, **more: Any) -> Tokens:
    return Tokens(given or (SECRET,), hosts=(HOST, "gate.example:8443"), **more)


def denied(rule: str) -> Any:
    """A refusal by this very rule: another one's refusal would hide that the defence is gone."""
    return pytest.raises(DeniedError, check=lambda e: e.rule == f"credentials.{rule}")


def given_out(tokens: Tokens, now: int = NOW) -> str:
    return dict(tokens.challenge(now))[b"dpop-nonce"].decode()


def signed(key: Any, claims: dict[str, Any], head: dict[str, Any] | None = None, alg: str = "") -> str:
    kind = alg or ("EdDSA" if key is ED else "ES256")
    protected = {"typ": "dpop+jwt", "alg": kind, "jwk": key.as_dict(private=False), **(head or {})}
    return jws.serialize_compact(protected, json.dumps(claims), key, algorithms=[protected["alg"]])


def claims_for(tokens: Tokens, **changes: Any) -> dict[str, Any]:
    usual = {
        "jti": secrets.token_urlsafe(16),
        "htm": "POST",
        "htu": f"https://{HOST}{PATH}",
        "iat": NOW // 1000,
        "nonce": given_out(tokens),
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def ask(
    tokens: Tokens, proof: str | None, *, now: int = NOW, certificate: str = "", body: bytes = b'{"grant":"power","person":"Aisyah"}'
) -> Any:
    headers = {b"host": HOST.encode(), **({b"dpop": proof.encode()} if proof is not None else {})}
    return tokens.asked(headers, body, now, certificate=certificate)


def issued(tokens: Tokens, key: str = "", now: int = NOW, **more: Any) -> Any:
    return tokens.issue("power", 3, "Aisyah", key or ED.thumbprint(), now, **more)


def headers_of(
    answer: Any, *, method: str = "POST", host: str = HOST, path: bytes = CHAT, body: bytes = BODY, ms: int = NOW
) -> dict[bytes, bytes]:
    proof = proof_header(unb64(answer.mac_key), method, host, path, body, ms)
    return {b"host": host.encode(), b"authorization": b"Assay " + answer.access_token.encode(), b"x-assay-proof": proof.encode()}


def check(tokens: Tokens, headers: dict[bytes, bytes], now: int = NOW, **more: Any) -> Any:
    return tokens.check(headers, "POST", CHAT, BODY, now, **more)


# What goes through


def test_a_request_with_token_and_proof_is_its_holders() -> None:
    tokens = gate()
    proven = check(tokens, headers_of(issued(tokens)))
    assert (proven.grant, proven.version, proven.person, proven.key) == ("power", 3, "Aisyah", ED.thumbprint())
    assert len(proven.nonce) == 16
    assert proven.expires == NOW + WINDOW_MS


def test_another_worker_with_the_same_secret_takes_it() -> None:
    assert check(gate(), headers_of(issued(gate()))).grant == "power"


@pytest.mark.parametrize(("key", "alg"), [(ED, "EdDSA"), (ED, "Ed25519"), (EC, "ES256")], ids=["EdDSA", "Ed25519", "ES256"])
def test_a_token_is_asked_for_with_a_proof_by_the_key(key: Any, alg: str) -> None:
    tokens = gate()
    asked = ask(tokens, signed(key, claims_for(tokens), alg=alg))
    assert (asked.grant, asked.person, asked.key, asked.by) == ("power", "Aisyah", key.thumbprint(), "jwk")
    assert asked.expires == NOW + 60_000


@pytest.mark.parametrize("key", [ED, EC], ids=["EdDSA", "ES256"])
def test_a_plain_dpop_proof_per_request_is_taken_too(key: Any) -> None:
    tokens = gate()
    answer = issued(tokens, key.thumbprint())
    proof = signed(key, claims_for(tokens, htu=f"https://{HOST}{CHAT.decode()}", ath=token_hash(answer.access_token)))
    headers = {b"host": HOST.encode(), b"authorization": b"DPoP " + answer.access_token.encode(), b"dpop": proof.encode()}
    assert check(tokens, headers).key == key.thumbprint()


def test_a_token_asked_for_with_a_certificate_goes_with_that_certificate() -> None:
    tokens = gate()
    asked = ask(tokens, None, certificate=CERTIFICATE)
    assert (asked.key, asked.by) == (CERTIFICATE, "x5t")
    answer = issued(tokens, asked.key, by=asked.by)
    headers = {b"host": HOST.encode(), b"authorization": b"Bearer " + answer.access_token.encode()}
    first, second = check(tokens, headers, certificate=CERTIFICATE), check(tokens, headers, certificate=CERTIFICATE)
    assert first.key == CERTIFICATE
    assert first.nonce != second.nonce
    assert check(tokens, headers_of(answer), certificate=CERTIFICATE).key == CERTIFICATE


def test_our_own_proofs_are_those_of_the_standard() -> None:
    key = PrivateKey.generate()
    text = make_proof(key, "POST", f"https://{HOST}{PATH}", NOW // 1000, nonce="n" * 20, token="t")
    public = OKPKey.import_key(key.public.to_pem())
    read = jws.deserialize_compact(text, public, algorithms=["EdDSA"])
    assert read.headers() == {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": public.as_dict(private=False)}
    assert json.loads(read.payload)["ath"] == b64(hashlib.sha256(b"t").digest())
    proof = check_proof(text.encode(), "POST", HOST, PATH, scheme="https", now=NOW, token="t")
    assert proof.key == thumbprint(key.public) == public.thumbprint()


def test_the_thumbprint_of_rfc_8037_and_of_grants() -> None:
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert thumbprint(PublicKey(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert grants.thumbprint(PublicKey(raw)) == thumbprint(PublicKey(raw))


# A stolen or borrowed part of a credential


HOSTED = {b"host": HOST.encode()}


def _as(headers: dict[bytes, bytes], scheme: bytes) -> dict[bytes, bytes]:
    return {**headers, b"authorization": headers[b"authorization"].replace(b"Assay", scheme)}


def _without(name: bytes) -> Callable[[dict[bytes, bytes], Tokens], dict[bytes, bytes]]:
    return lambda headers, _: {n: v for n, v in headers.items() if n != name}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        pytest.param(_without(b"x-assay-proof"), "proof", id="a token alone"),
        pytest.param(_without(b"authorization"), "token", id="a proof alone"),
        pytest.param(_without(b"host"), "host", id="no host"),
        pytest.param(lambda h, _: {**h, b"host": b"evil.example"}, "host", id="a foreign host"),
        pytest.param(lambda h, _: {**h, b"host": b"gate.example:8443"}, "proof", id="the gate's other name"),
        pytest.param(lambda h, t: headers_of(issued(t), method="GET"), "proof", id="another method"),
        pytest.param(lambda h, t: headers_of(issued(t), path=b"/v1/embeddings"), "proof", id="another path"),
        pytest.param(lambda h, t: headers_of(issued(t), path=CHAT + b"?a=1"), "proof", id="another query"),
        pytest.param(lambda h, t: headers_of(issued(t), body=OTHER), "proof", id="another body"),
        pytest.param(lambda h, t: {**headers_of(issued(t), host="gate.example:8443"), **HOSTED}, "proof", id="for another host"),
        pytest.param(lambda h, t: headers_of(issued(t), ms=NOW - WINDOW_MS - 1), "proof", id="too old"),
        pytest.param(lambda h, t: headers_of(issued(t), ms=NOW + WINDOW_MS + 1), "proof", id="made ahead"),
        pytest.param(lambda h, t: {**h, b"x-assay-proof": headers_of(issued(t))[b"x-assay-proof"]}, "proof", id="another token's"),
        pytest.param(lambda h, _: {**h, b"x-assay-system": b"pump house"}, "proof", id="a system put in on the way"),
        pytest.param(lambda h, _: _as(h, b"Bearer"), "scheme", id="as a bearer token"),
        pytest.param(lambda h, _: _as(h, b"DPoP"), "proof", id="as a DPoP token, no proof"),
        pytest.param(lambda h, _: {**h, b"authorization": h[b"authorization"] + b"A"}, "token", id="a longer token"),
        pytest.param(lambda h, _: {**h, b"authorization": h[b"authorization"][:-1]}, "token", id="a shorter token"),
        pytest.param(lambda h, _: {**h, b"authorization": b"Assay " + b"1." * 2000}, "token", id="rubbish"),
    ],
)  # fmt: skip
def test_no_part_of_a_credential_does_for_the_whole(change: Callable[..., dict[bytes, bytes]], rule: str) -> None:
    tokens = gate()
    whole = headers_of(issued(tokens))
    check(tokens, whole)
    with denied(rule):
        check(tokens, change(whole, tokens))


def test_every_character_of_token_and_proof_counts() -> None:
    tokens = gate()
    whole = headers_of(issued(tokens))
    for name in (b"authorization", b"x-assay-proof"):
        for at in range(6 if name == b"authorization" else 0, len(whole[name])):
            other = b"B" if whole[name][at : at + 1] != b"B" else b"C"
            changed = whole[name][:at] + other + whole[name][at + 1 :]
            with pytest.raises(DeniedError):
                check(tokens, {**whole, name: changed})


def test_a_proof_that_is_sent_twice_has_the_same_nonce_and_another_never() -> None:
    tokens = gate()
    answer = issued(tokens)
    whole = headers_of(answer)
    assert check(tokens, whole).nonce == check(gate(), whole, NOW + 29_000).nonce
    assert check(tokens, whole).nonce != check(tokens, headers_of(answer)).nonce


def test_the_nonce_of_one_token_cannot_be_spent_by_another() -> None:
    """Whoever sees another's proof on the way must not be able to make the replay cache refuse it."""
    tokens = gate()
    first, second = issued(tokens), issued(tokens)
    _, ms, nonce, _ = headers_of(first)[b"x-assay-proof"].split(b".")
    from assay.access.credentials.tokens import canonical

    marks = set()
    for answer in (first, second):
        mac = hmac.digest(unb64(answer.mac_key), canonical("POST", HOST, CHAT, BODY, int(ms), nonce.decode()), "sha256")
        proof = b"1.%b.%b.%b" % (ms, nonce, b64(mac).encode())
        marks.add(check(tokens, {**headers_of(answer), b"x-assay-proof": proof}).nonce)
    assert len(marks) == 2


def test_a_token_ends_with_its_life_and_with_its_grant() -> None:
    tokens = gate(token_s=60)
    answer = issued(tokens)
    assert check(tokens, headers_of(answer, ms=NOW + 59_999), NOW + 59_999)
    for worker in (tokens, gate(token_s=60)):
        with denied("expired"):
            check(worker, headers_of(answer, ms=NOW + 60_000), NOW + 60_000)
    short = issued(tokens, until=NOW + 1000)
    assert short.expires_in == 1
    with denied("expired"):
        check(tokens, headers_of(short, ms=NOW + 1000), NOW + 1000)


def test_a_token_from_the_future_is_none() -> None:
    tokens = gate()
    with denied("expired"):
        check(tokens, headers_of(issued(tokens, now=NOW + AHEAD_MS + 1)))


def test_a_certificates_token_is_worth_nothing_without_it() -> None:
    tokens = gate()
    answer = issued(tokens, CERTIFICATE, by="x5t")
    bearer = {b"host": HOST.encode(), b"authorization": b"Bearer " + answer.access_token.encode()}
    foreign = b64(hashlib.sha256(b"another").digest())
    for headers in (bearer, headers_of(answer), {**bearer, b"x-client-cert": CERTIFICATE.encode()}):
        for shown in ("", foreign):
            with denied("certificate"):
                check(tokens, headers, certificate=shown)
    proof = signed(ED, claims_for(tokens, htu=f"https://{HOST}{CHAT.decode()}", ath=token_hash(answer.access_token)))
    with denied("scheme"):
        check(
            tokens, {**bearer, b"authorization": b"DPoP " + answer.access_token.encode(), b"dpop": proof.encode()}, certificate=CERTIFICATE
        )


def _grant(**changes: Any) -> Grant:
    usual: dict[str, Any] = {
        "assay": "grant/1", "id": "power", "version": 3, "organisation": "Power", "sector": "power", "jurisdiction": "SG", "purpose": "x",
        "persons": (Person("Aisyah", ED.thumbprint()),), "model": "m7", "digest": "sha256:" + "0" * 64, "tier": "operator", "level": "AL1",
        "routes": ("models",), "networks": ("127.0.0.0/8",), "quotas": (Quota("day", 1, 1, 1),), "starts": 0, "expires": NOW * 2,
    }  # fmt: skip
    return Grant(**{**usual, **changes})


def test_a_token_dies_with_its_grants_version_and_person() -> None:
    tokens = gate()
    proven = check(tokens, headers_of(issued(tokens)))
    assert holder(proven, _grant()).name == "Aisyah"
    for now in (
        None, _grant(version=4), _grant(version=2), _grant(id="water"), _grant(persons=(Person("Aisyah", EC.thumbprint()),)),
        _grant(persons=(Person("Devi", ED.thumbprint()),)),
    ):  # fmt: skip
        with denied("grant"):
            holder(proven, now)


# Forged tokens


def _forged(key: bytes, claims: Claims, kid: str) -> str:
    sealed = f"1.{kid}.{b64(msgspec.json.encode(claims))}"
    return f"{sealed}.{b64(hmac.digest(key, sealed.encode(), 'sha256'))}"


def test_no_key_but_the_gates_seals_a_token() -> None:
    tokens = gate()
    claims = Claims("0" * 32, "power", 3, "Aisyah", ED.thumbprint(), "jwk", NOW, NOW + 60_000)
    kid = issued(tokens).access_token.split(".")[1]
    public = ED.as_dict(private=False)["x"].encode()
    for key, name in ((b"", kid), (b"", "0" * 16), (SECRET.value, kid), (public, kid), (b"\0" * 32, kid)):
        text = _forged(key, claims, name)
        with denied("token"):
            check(tokens, {b"host": HOST.encode(), b"authorization": f"Assay {text}".encode(), b"x-assay-proof": b""})


def test_only_tokens_that_hold_are_kept_and_not_without_end() -> None:
    tokens = gate()
    for at in range(CACHED + 5):
        check(tokens, headers_of(issued(tokens)))
        with pytest.raises(DeniedError):
            check(tokens, {b"host": HOST.encode(), b"authorization": f"Assay 1.{'0' * 16}.{'A' * 30}.{at:043}".encode()})
        if at == 1:
            assert len(tokens._cache) == 2
    assert len(tokens._cache) == CACHED


def test_tokens_that_have_expired_are_not_kept() -> None:
    tokens = gate()
    for at in range(500):
        now = NOW + 3000 * at
        check(tokens, headers_of(issued(tokens, now=now), ms=now), now)
    assert len(tokens._cache) <= 300_000 // 3000 + 1


# Token requests


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"htm": "GET"}, "proof"),
        ({"htu": f"https://{HOST}/v1/models"}, "proof"),
        ({"htu": f"http://{HOST}{PATH}"}, "proof"),
        ({"htu": f"https://evil.example{PATH}"}, "proof"),
        ({"htu": f"https://{HOST}@evil.example{PATH}"}, "proof"),
        ({"htu": f"https://{HOST}{PATH}?x"}, "proof"),
        ({"htu": f"https://{HOST}:8443{PATH}"}, "proof"),
        ({"htu": "https://[" + PATH}, "proof"),
        ({"iat": NOW // 1000 - 61}, "proof"),
        ({"iat": NOW // 1000 + 11}, "proof"),
        ({"iat": None}, "proof"),
        ({"iat": str(NOW // 1000)}, "proof"),
        ({"iat": float("1e400")}, "proof"),
        ({"jti": None}, "proof"),
        ({"jti": "short"}, "proof"),
        ({"jti": "x" * 129}, "proof"),
        ({"nonce": None}, "nonce"),
        ({"nonce": "made-up"}, "nonce"),
        ({"nonce": f"{NOW}.0011223344556677.{'A' * 24}"}, "nonce"),
        ({"nonce": "\ud800"}, "proof"),
    ],
    ids=lambda v: json.dumps(v)[:60] if isinstance(v, dict) else None,
)
def test_a_proof_for_anything_else_gets_no_token(changes: dict[str, Any], rule: str) -> None:
    tokens = gate()
    ask(tokens, signed(ED, claims_for(tokens)))
    with denied(rule):
        ask(tokens, signed(ED, claims_for(tokens, **changes)))


def test_the_usual_port_and_the_hosts_case_are_no_difference() -> None:
    tokens = gate()
    assert ask(tokens, signed(ED, claims_for(tokens, htu=f"https://GATE.example:443{PATH}")))


def test_a_nonce_is_good_for_a_minute_and_by_this_gate_only() -> None:
    tokens = gate()
    for at, fits in ((NOW - NONCE_MS, True), (NOW - NONCE_MS - 1, False), (NOW + AHEAD_MS, True), (NOW + AHEAD_MS + 1, False)):
        proof = signed(ED, claims_for(tokens, nonce=given_out(tokens, at)))
        if fits:
            assert ask(tokens, proof)
        else:
            with denied("nonce"):
                ask(tokens, proof)
    with denied("nonce"):
        ask(tokens, signed(ED, claims_for(tokens, nonce=given_out(gate(Secret(secrets.token_bytes(32)))))))


def _with_head(**changes: Any) -> Callable[[Tokens], str]:
    """A proof with this head, and a signature that is right over it."""

    def made(tokens: Tokens) -> str:
        head = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": ED.as_dict(private=False), **changes}
        head = {name: value for name, value in head.items() if value is not None}
        over = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims_for(tokens)).encode())}"
        return f"{over}.{b64(ED.private_key.sign(over.encode()))}"

    return made


def _hs256_with_public(tokens: Tokens) -> str:
    """Alg confusion: an HMAC whose key is the public key that everybody knows."""
    public = OctKey.import_key(unb64(ED.as_dict(private=False)["x"]))
    head = {"alg": "HS256", "typ": "dpop+jwt", "jwk": ED.as_dict(private=False)}
    return jws.serialize_compact(head, json.dumps(claims_for(tokens)), public, algorithms=["HS256"])


def _none(tokens: Tokens) -> str:
    head = {"alg": "none", "typ": "dpop+jwt", "jwk": ED.as_dict(private=False)}
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims_for(tokens)).encode())}."


def _by_another_key(tokens: Tokens) -> str:
    """The key that the grant names in the head, and the thief's signature."""
    over = ".".join(signed(ED, claims_for(tokens)).split(".")[:2])
    return f"{over}.{b64(OKPKey.generate_key('Ed25519').private_key.sign(over.encode()))}"


def _zero_signature(tokens: Tokens) -> str:
    """r = s = 0 (CVE-2022-21449)."""
    over = ".".join(signed(EC, claims_for(tokens)).split(".")[:2])
    return f"{over}.{b64(bytes(64))}"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(_none, id="alg none"),
        pytest.param(lambda t: _none(t) + "A" * 86, id="alg none with something"),
        pytest.param(_hs256_with_public, id="HS256 with the public key"),
        pytest.param(_by_another_key, id="another key's signature"),
        pytest.param(_zero_signature, id="a signature of zeros"),
        pytest.param(_with_head(alg="ES256"), id="the other alg"),
        pytest.param(_with_head(alg="RS256"), id="RS256"),
        pytest.param(_with_head(typ="JWT"), id="another typ"),
        pytest.param(_with_head(typ=None), id="no typ"),
        pytest.param(_with_head(jwk=None), id="no key"),
        pytest.param(_with_head(jwk=ED.as_dict(private=True)), id="a private key"),
        pytest.param(_with_head(jwk=None, kid="1"), id="a key's name only"),
        pytest.param(_with_head(jku="https://evil.example/keys"), id="jku"),
        pytest.param(_with_head(x5u="https://evil.example/c"), id="x5u"),
        pytest.param(_with_head(crit=["b64"], b64=False), id="crit"),
        pytest.param(_with_head(jwk={"kty": "oct", "k": "AAAA"}), id="a symmetric key"),
        pytest.param(_with_head(jwk={**EC.as_dict(private=False), "crv": "P-384"}), id="another curve"),
        pytest.param(_with_head(alg="ES256", jwk={"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}), id="a point off the curve"),
        pytest.param(lambda t: signed(ED, claims_for(t)) + "=", id="padding"),
        pytest.param(lambda t: signed(ED, claims_for(t)) + "\n", id="a line break"),
        pytest.param(lambda t: signed(ED, claims_for(t), {"jwk": {**ED.as_dict(private=False), "kid": "x" * 1800}}), id="too long"),
        pytest.param(lambda t: "", id="empty"),
        pytest.param(lambda t: "..", id="dots"),
    ],
)  # fmt: skip
def test_no_other_algorithm_or_key_makes_a_proof(made: Callable[[Tokens], str]) -> None:
    tokens = gate()
    with denied("proof"):
        ask(tokens, made(tokens))


def test_the_key_that_is_told_is_the_one_that_signed() -> None:
    """jwk injection: a thief's own key signs well, and is told as what it is; no grant names it."""
    tokens = gate()
    thief = OKPKey.generate_key("Ed25519")
    head = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": thief.as_dict(private=False)}
    asked = ask(tokens, jws.serialize_compact(head, json.dumps(claims_for(tokens)), thief, algorithms=["EdDSA"]))
    assert asked.key == thief.thumbprint() != ED.thumbprint()
    answer = issued(tokens)
    claims = claims_for(tokens, htu=f"https://{HOST}{CHAT.decode()}", ath=token_hash(answer.access_token))
    proof = jws.serialize_compact(head, json.dumps(claims), thief, algorithms=["EdDSA"])
    with denied("proof"):
        check(tokens, {b"host": HOST.encode(), b"authorization": b"DPoP " + answer.access_token.encode(), b"dpop": proof.encode()})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ath": None}, "proof"), ({"ath": token_hash("another")}, "proof"), ({"nonce": None}, "nonce"), ({"htm": "GET"}, "proof"),
        ({"htu": f"https://{HOST}/v1/embeddings"}, "proof"),
    ],
)  # fmt: skip
def test_a_dpop_proof_is_for_one_token_and_one_request(changes: dict[str, Any], rule: str) -> None:
    tokens = gate()
    answer = issued(tokens)
    usual = {"htu": f"https://{HOST}{CHAT.decode()}", "ath": token_hash(answer.access_token)}
    headers = {b"host": HOST.encode(), b"authorization": b"DPoP " + answer.access_token.encode()}
    check(tokens, {**headers, b"dpop": signed(ED, claims_for(tokens, **usual)).encode()})
    with denied(rule):
        check(tokens, {**headers, b"dpop": signed(ED, claims_for(tokens, **{**usual, **changes})).encode()})


def test_a_proofs_mark_is_its_keys_and_its_jtis() -> None:
    tokens = gate()
    claims = claims_for(tokens)
    marks = [ask(tokens, signed(ED, c)).nonce for c in (claims, claims, claims_for(tokens))] + [ask(tokens, signed(EC, claims)).nonce]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"person":"Aisyah"}', b'{"grant":"Power!"}', b'{"grant":"power","admin":true}', b"\xff",
        b'{"grant":"power"}' + b" " * 5000,
    ],
    ids=range(8),
)  # fmt: skip
def test_a_token_request_is_of_one_form(body: bytes) -> None:
    tokens = gate()
    with denied("request"):
        ask(tokens, signed(ED, claims_for(tokens)), body=body)


# The secret


def test_a_rotated_secret_holds_for_one_tokens_life(tmp_path: Path) -> None:
    path = tmp_path / "gate.secret"
    write_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tokens = gate(*read_secrets(path), token_s=60, reread=lambda: read_secrets(path))
    other = gate(*read_secrets(path), token_s=60, reread=lambda: read_secrets(path))
    old = issued(tokens)
    rotate_secret(path, NOW + 10_000)
    tokens.renew(NOW)
    new = issued(tokens, now=NOW + 10_000)
    assert old.access_token.split(".")[1] != new.access_token.split(".")[1]
    assert check(other, headers_of(new, ms=NOW + 10_000), NOW + 10_000), "a worker that does not know it yet reads it"
    for worker in (tokens, other, gate(*read_secrets(path), token_s=60)):
        assert check(worker, headers_of(old, ms=NOW + 20_000), NOW + 20_000)
    nonce = given_out(gate(Secret(read_secrets(path)[1].value)), NOW + 9_000)
    assert ask(tokens, signed(ED, claims_for(tokens, nonce=nonce)), now=NOW + 10_000)


def test_a_thief_of_the_old_secret_can_make_nothing_that_lasts(tmp_path: Path) -> None:
    old, new = Secret(secrets.token_bytes(32), NOW), Secret(secrets.token_bytes(32))
    thief, tokens = gate(Secret(old.value), token_s=3600), gate(new, old, token_s=60)
    with denied("token"):
        check(tokens, headers_of(issued(thief, now=NOW + 30_000), ms=NOW + 30_000), NOW + 30_000)
    with denied("nonce"):
        ask(tokens, signed(ED, claims_for(tokens, iat=NOW // 1000 + 61, nonce=given_out(thief, NOW + 61_000))), now=NOW + 61_000)
    ahead = issued(thief, now=NOW + AHEAD_MS)
    with denied("expired"):
        check(tokens, headers_of(ahead, ms=NOW + 60_000), NOW + 60_000)
    before = issued(thief, now=NOW)
    assert check(tokens, headers_of(before, ms=NOW + 59_000), NOW + 59_000)
    for worker in (tokens, gate(new, old, token_s=60)):
        with pytest.raises(DeniedError, match=r"expired|no token"):
            check(worker, headers_of(before, ms=NOW + 60_000), NOW + 60_000)


def test_a_leaked_secret_is_taken_out_of_the_file_and_seals_nothing_a_second_later(tmp_path: Path) -> None:
    path = tmp_path / "gate.secret"
    write_secret(path)
    tokens = gate(*read_secrets(path), reread=lambda: read_secrets(path))
    answer = issued(tokens)
    check(tokens, headers_of(answer))
    rotate_secret(path, NOW)
    check(tokens, headers_of(answer, ms=NOW + REREAD_MS), NOW + REREAD_MS)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    check(tokens, headers_of(answer, ms=NOW + 2 * REREAD_MS - 1), NOW + 2 * REREAD_MS - 1)
    with denied("token"):
        check(tokens, headers_of(answer, ms=NOW + 2 * REREAD_MS), NOW + 2 * REREAD_MS)


def test_a_secret_that_is_gone_closes_the_gate(tmp_path: Path) -> None:
    path = tmp_path / "gate.secret"
    write_secret(path)
    tokens = gate(*read_secrets(path), reread=lambda: read_secrets(path))
    answer = issued(tokens)
    check(tokens, headers_of(answer))
    path.unlink()
    check(tokens, headers_of(answer))
    with denied("secret"):
        check(tokens, headers_of(issued(gate(Secret(secrets.token_bytes(32))))))
    for later in (NOW + REREAD_MS, NOW - 1):
        with denied("secret"):
            check(tokens, headers_of(answer, ms=later), later)
        with denied("secret"):
            ask(tokens, None, now=later)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "ab" * 32, "0" * 64 + "\n", f"{'0123456789abcdef' * 4} 5\n", f"{'0123456789abcdef' * 4}\n{'fedcba9876543210' * 4}\n",
        f"{'0123456789abcdef' * 4}\n{'0123456789abcdef' * 4} 5\n", f"{'0123456789ABCDEF' * 4}\n", f"{'0123456789abcdef' * 4}\nx\n",
        f"{'0123456789abcdef' * 4}\n" + "".join(f"{i:064x} 5\n" for i in range(10**60, 10**60 + MAX_LINES)),
    ],
)  # fmt: skip
def test_a_secret_file_is_of_one_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gate.secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(GateError):
        read_secrets(path)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.secret"
    write_secret(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(GateError, match="others"):
            read_secrets(path)


def test_a_rotation_keeps_what_can_still_be_needed(tmp_path: Path) -> None:
    path = tmp_path / "gate.secret"
    write_secret(path)
    with pytest.raises(GateError, match="already"):
        write_secret(path)
    first = read_secrets(path)[0]
    for turn in range(3):
        rotate_secret(path, NOW + turn * (LONGEST_TOKEN_MS // 2))
    found = read_secrets(path)
    assert [s.retired for s in found] == [0, NOW + LONGEST_TOKEN_MS, NOW + LONGEST_TOKEN_MS // 2]
    assert first.value not in {s.value for s in found}
    for _ in range(MAX_LINES - 3):
        rotate_secret(path, NOW + LONGEST_TOKEN_MS)
    with pytest.raises(GateError, match="rotated"):
        rotate_secret(path, NOW + LONGEST_TOKEN_MS)


def test_nothing_secret_is_in_a_repr() -> None:
    tokens = gate()
    answer = issued(tokens)
    shown = f"{answer!r} {SECRET!r} {tokens!r} {check(tokens, headers_of(answer))!r}"
    assert answer.access_token not in shown
    assert answer.mac_key not in shown
    assert SECRET.value.hex() not in shown


def test_the_commands_make_rotate_and_show(tmp_path: Path) -> None:
    from assay.cli.access_secret import command as secret
    from assay.cli.access_thumbprint import command as shown
    from assay.ledger import write_key

    path, key = tmp_path / "gate.secret", PrivateKey.generate()
    write_key(tmp_path / "key.pem", key, b"")
    for act in ("new", "rotate"):
        done = CliRunner().invoke(secret, [act, str(path)], catch_exceptions=False)
        assert done.exit_code == 0
        assert all(s.value.hex() not in done.output for s in read_secrets(path))
    assert len(read_secrets(path)) == 2
    done = CliRunner().invoke(shown, ["--key", str(tmp_path / "key.pem")], catch_exceptions=False)
    assert done.stdout.strip() == thumbprint(key.public)


_ANY = st.one_of(st.binary(max_size=300), st.text(max_size=60).map(lambda t: t.encode(errors="surrogatepass")))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, _JSON)


_HEADS = st.fixed_dictionaries(
    {
        "typ": _maybe(st.just("dpop+jwt")),
        "alg": _maybe(st.sampled_from(["EdDSA", "ES256", "none"])),
        "jwk": _maybe(st.sampled_from([ED.as_dict(private=False), EC.as_dict(private=False)])),
    }
)
_CLAIMS = st.fixed_dictionaries(
    {
        "jti": _maybe(st.just("x" * 20)),
        "htm": _maybe(st.just("POST")),
        "htu": _maybe(
            st.one_of(st.just(f"https://{HOST}{PATH}"), st.text(max_size=60), st.text(max_size=20).map(lambda t: f"https://{t}{PATH}"))
        ),
        "iat": _maybe(st.just(NOW // 1000)),
        "nonce": _maybe(st.text(max_size=40)),
    }
)
_PROOFS = st.builds(
    lambda head, claims, rest: b"%b.%b.%b" % (b64(json.dumps(head).encode()).encode(), b64(json.dumps(claims).encode()).encode(), rest),
    _HEADS, _CLAIMS, st.one_of(st.just(b"A" * 86), st.binary(min_size=64, max_size=64).map(lambda b: b64(b).encode()), _ANY),
)  # fmt: skip


@settings(deadline=None)
@given(_ANY, st.one_of(_ANY, _PROOFS), st.one_of(_ANY, st.just(HOST.encode())), _ANY, _ANY, st.one_of(_ANY, st.just(b'{"grant":"power"}')))
def test_whatever_comes_it_is_denied_and_nothing_else_happens(
    authorization: bytes, dpop: bytes, host: bytes, proof: bytes, path: bytes, body: bytes
) -> None:
    tokens = gate()
    token = issued(tokens).access_token.encode()
    for value in (authorization, b"DPoP " + token, b"Assay " + token, b"Bearer " + token, b"Assay 1." + authorization):
        headers = {b"authorization": value, b"dpop": dpop, b"host": host, b"x-assay-proof": proof}
        with pytest.raises(DeniedError):
            tokens.check(headers, "POST", path, BODY, NOW)
    with pytest.raises(DeniedError):
        tokens.asked({b"dpop": dpop, b"host": host}, body, NOW)


def test_one_text_stands_for_the_same_bytes() -> None:
    assert unb64("AA") == b"\0"
    for text in ("AB", "AA==", "A", "A A", "A+", "A/", "A\n", "é"):
        with pytest.raises(ValueError, match=r".*"):
            unb64(text)
