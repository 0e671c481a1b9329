"""Which model was tested: the level that is claimed, and every way in which a statement, a signature or a fingerprint does not hold."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope as Signed

from assay.catalog.probes import read_probes
from assay.errors import AssayError, IdentityError
from assay.evidence.identity import (
    check_fingerprint,
    check_signed_weights,
    check_statement,
    identity_level,
    statement_keys,
)
from assay.evidence.provider import DAY_MS, PROVIDER_STATEMENT, ProviderStatement, open_signed, sign_provider
from assay.evidence.signature import PREDICATE, open_signature
from assay.ledger import Envelope, PrivateKey, canonical, sign_statement
from assay.plan import Generation
from assay.runs.fingerprint import Answered, Fingerprint, Told, parse_fingerprint

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
NOW = 1_800_000_000_000
URL = "https://models.example.org/v1"
HOSTED = {"kind": "http", "model": "my-model", "url": URL}
EMBEDDED = {"kind": "embedded", "model": "small", "digest": "sha256:" + "ab" * 32, "runtime": "r 1"}


def stated(**changes: Any) -> ProviderStatement:
    fields = {"model": "my-model", "endpoint": URL, "version": "2026-11", "since": NOW, "until": NOW + 30 * DAY_MS}
    return ProviderStatement(**{**fields, **changes})


# Levels


def test_the_level_is_what_was_shown_and_never_more() -> None:
    statement = stated()
    assert identity_level(EMBEDDED).name == "weights"
    assert identity_level(EMBEDDED, statement=statement).name == "weights"
    assert identity_level(HOSTED).name == "endpoint"
    assert identity_level(HOSTED, statement=statement).name == "provider-statement"
    assert identity_level({"kind": "scripted", "model": "0.3"}).name == "endpoint"
    levels = [identity_level(EMBEDDED), identity_level(HOSTED), identity_level(HOSTED, statement=statement)]
    assert len({level.shows for level in levels} | {level.leaves for level in levels}) == 6


@pytest.mark.parametrize("claimed", ["providerWeights", "digest"])
def test_a_digest_that_came_from_afar_is_a_claim(claimed: str) -> None:
    assert identity_level({**HOSTED, claimed: EMBEDDED["digest"]}).name == "endpoint"


def test_a_statement_named_in_the_record_but_not_shown_counts_for_nothing() -> None:
    assert identity_level(HOSTED | statement_keys(sign_provider(KEY, stated()))).name == "endpoint"


def test_a_fingerprint_never_raises_the_level() -> None:
    level = identity_level(HOSTED, fingerprint=made([["a", "b"]]))
    assert level.name == "endpoint"
    assert "never that it did not" in level.also[0]


# Provider statements


def test_a_statement_holds_for_its_target_and_time_and_gives_the_record_strings() -> None:
    signed = sign_provider(KEY, stated(weights="sha256:" + "cd" * 32, announces=("weights",), notice_days=14))
    record = HOSTED | statement_keys(signed)
    checked = check_statement(signed.envelope, record, keyid=KEY.public.keyid, times=(NOW, NOW + DAY_MS))
    assert checked.findings == ()
    assert checked.statement == signed.statement
    assert record["providerWeights"] == "sha256:" + "cd" * 32
    assert all(isinstance(v, str) for v in record.values())
    assert "digest" not in statement_keys(signed)


@pytest.mark.parametrize(
    ("changes", "target", "times", "keyid", "where"),
    [
        ({}, HOSTED, (NOW - 1,), KEY.public.keyid, "time"),
        ({}, HOSTED, (NOW, NOW + 30 * DAY_MS + 1), KEY.public.keyid, "time"),
        ({}, HOSTED, (), KEY.public.keyid, "time"),
        ({"model": "your-model"}, HOSTED, (NOW,), KEY.public.keyid, "model"),
        ({"endpoint": "https://models.example.com/v1"}, HOSTED, (NOW,), KEY.public.keyid, "endpoint"),
        ({"endpoint": "http://models.example.org/v1"}, HOSTED, (NOW,), KEY.public.keyid, "endpoint"),
        ({"endpoint": "https://models.example.org:8443/v1"}, HOSTED, (NOW,), KEY.public.keyid, "endpoint"),
        ({"endpoint": "https://models.example.org/v2"}, HOSTED, (NOW,), KEY.public.keyid, "endpoint"),
        ({"endpoint": "https://user@models.example.org/v1"}, HOSTED, (NOW,), KEY.public.keyid, "endpoint"),
        ({}, {"kind": "callable", "model": "my-model"}, (NOW,), KEY.public.keyid, "endpoint"),
        ({}, HOSTED, (NOW,), OTHER.public.keyid, "key"),
        ({}, HOSTED, (NOW,), KEY.public.keyid[:15], "key"),
        ({}, HOSTED, (NOW,), "", "key"),
        ({}, {**HOSTED, "providerStatement": "sha256:" + "0" * 64}, (NOW,), KEY.public.keyid, "target"),
    ],
    ids=[
        "too-early", "expired", "no-time", "other-name", "other-host", "other-scheme", "other-port", "other-path", "user-in-address",
        "no-address", "other-key", "short-key-id", "no-key-id", "another-statement",
    ],
)  # fmt: skip
def test_a_statement_that_does_not_fit_is_a_finding(
    changes: dict[str, Any], target: dict[str, str], times: Sequence[int], keyid: str, where: str
) -> None:
    signed = sign_provider(KEY, stated(**changes))
    checked = check_statement(signed.envelope, target, keyid=keyid, times=times)
    assert [f.where for f in checked.findings] == [where]
    assert checked.statement is None


@pytest.mark.parametrize(
    "written", [URL + "/", URL + "/chat/completions", "https://models.example.org:443/v1", "HTTPS://Models.Example.org/v1"]
)
def test_ways_of_writing_one_address_are_one(written: str) -> None:
    signed = sign_provider(KEY, stated(endpoint=written))
    assert check_statement(signed.envelope, HOSTED, keyid=KEY.public.keyid[:16], times=(NOW,)).findings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"until": NOW}, {"until": NOW - 1}, {"until": NOW + 401 * DAY_MS}, {"model": ""}, {"version": "a\nb"}, {"model": "a\u202eb"},
        {"weights": "sha256:xyz"}, {"weights": "md5:" + "0" * 32},
    ],
    ids=["no-time", "backwards", "too-long", "no-name", "line-break", "right-to-left", "no-digest", "other-digest"],
)  # fmt: skip
def test_what_cannot_be_stated_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IdentityError):
        sign_provider(KEY, stated(**changes))


def signed_by_hand(predicate: dict[str, Any], subject: list[dict[str, Any]], kind: str = PROVIDER_STATEMENT, key: PrivateKey = KEY) -> Any:
    return sign_statement(key, subject, kind, predicate).to_json()


def written_otherwise(payload: dict[str, Any]) -> Any:
    """The very same statement, signed by the same key, not in canonical form."""
    data = json.dumps(payload, indent=1).encode()
    sig = KEY.sign(Signed(data, "application/vnd.in-toto+json", {}).pae())
    return Envelope(data, KEY.public.keyid, sig).to_json()


def test_every_byte_of_a_statement_counts() -> None:
    signed = sign_provider(KEY, stated(weights="sha256:" + "cd" * 32))
    payload = json.loads(base64.b64decode(signed.envelope["payload"]))
    subject, predicate = payload["subject"], payload["predicate"]
    assert open_signed(signed_by_hand(predicate, subject)).statement == signed.statement
    wrong = [
        signed_by_hand(predicate, [{"name": "my-model", "digest": {"sha256": "ef" * 32}}]),
        signed_by_hand(predicate, subject, kind="urn:assay:predicate:run-opened:v1"),
        signed_by_hand(predicate, subject, key=OTHER),
        signed_by_hand({**predicate, "key": OTHER.public.to_json()}, subject),
        signed_by_hand({**predicate, "more": 1}, subject),
        signed_by_hand({**predicate, "statement": {**predicate["statement"], "more": 1}}, subject),
        {**signed.envelope, "payload": base64.b64encode(canonical({**payload, "extra": 1})).decode()},
        written_otherwise(payload),
        {**signed.envelope, "signatures": []},
        {**signed.envelope, "signatures": signed.envelope["signatures"] * 2},
        {**signed.envelope, "payloadType": "application/json"},
        {}, [], None, "x", 3,
    ]  # fmt: skip
    for value in wrong:
        with pytest.raises(IdentityError):
            open_signed(value)
        assert check_statement(value, HOSTED, keyid=KEY.public.keyid, times=(NOW,)).findings


# Signed weights, without the weights

CURVES = {"p256": (ec.SECP256R1(), SHA256()), "p384": (ec.SECP384R1(), SHA384())}
DEVELOPER = ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def manifest_of(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """A v1.0 payload, written from its specification and not by the library."""
    digests = [hashlib.sha256(data).hexdigest() for data in files.values()]
    root = hashlib.sha256(b"".join(bytes.fromhex(d) for d in digests)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": n, "algorithm": "sha256", "digest": d} for n, d in zip(files, digests, strict=True)],
        },
        **changes,
    }


def signature_of(payload: Any, key: ec.EllipticCurvePrivateKey = DEVELOPER, hashed: Any = None) -> dict[str, Any]:
    data = payload if isinstance(payload, bytes) else json.dumps(payload, indent=2).encode()
    sig = key.sign(Signed(data, "application/vnd.in-toto+json", {}).pae(), ec.ECDSA(hashed or SHA256()))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(pem_of(key)).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(data).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(sig).decode(), "keyid": ""}],
        },
    }


FILES = {"config.json": b"{}", "model.bin": b"weights"}
SIGNED = {"kind": "embedded", "model": "m", "digest": "sha256:" + hashlib.sha256(b"weights").hexdigest()}


def test_a_signed_file_is_the_target() -> None:
    signature = signature_of(manifest_of(FILES))
    checked = check_signed_weights(signature, pem_of(DEVELOPER), SIGNED)
    assert checked.findings == ()
    assert checked.manifest is not None
    assert set(checked.manifest.files) == set(FILES)
    alone = check_signed_weights(signature["dsseEnvelope"], pem_of(DEVELOPER), SIGNED)
    assert alone.manifest == checked.manifest
    root = {**SIGNED, "digest": checked.manifest.root}
    assert check_signed_weights(signature, pem_of(DEVELOPER), root).findings == ()
    assert "signed these weights as 'model'" in identity_level(SIGNED, signed=checked.manifest).also[0]


@pytest.mark.parametrize("curve", CURVES)
def test_each_curve_has_its_hash(curve: str) -> None:
    key = ec.generate_private_key(CURVES[curve][0])
    assert open_signature(signature_of(manifest_of(FILES), key, CURVES[curve][1]), pem_of(key)).name == "model"
    if curve != "p256":
        with pytest.raises(IdentityError, match="does not hold"):
            open_signature(signature_of(manifest_of(FILES), key, SHA256()), pem_of(key))


@pytest.mark.parametrize(
    ("target", "what"),
    [({**SIGNED, "digest": "sha256:" + "0" * 64}, "none of the 2 digests"), (HOSTED, "no digest of weights")],
    ids=["other-weights", "no-weights"],
)
def test_weights_that_were_not_signed_are_a_finding(target: dict[str, str], what: str) -> None:
    checked = check_signed_weights(signature_of(manifest_of(FILES)), pem_of(DEVELOPER), target)
    assert what in checked.findings[0].what
    assert checked.manifest is None


def twice() -> dict[str, Any]:
    """A manifest in which the last of two entries of one name would win, as in the library's own reader."""
    made = manifest_of({"a": b"first", "b": b"second"})
    made["predicate"]["resources"][1]["name"] = "a"
    return made


WRONG: dict[str, Callable[[], Any]] = {
    "another-key": lambda: signature_of(manifest_of(FILES), ec.generate_private_key(ec.SECP256R1())),
    "no-hint-another-key": lambda: {
        **signature_of(manifest_of(FILES), ec.generate_private_key(ec.SECP256R1())), "verificationMaterial": {"publicKey": {}},
    },
    "certificate": lambda: {**signature_of(manifest_of(FILES)), "verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}},
    "media-type": lambda: {**signature_of(manifest_of(FILES)), "mediaType": "application/json"},
    "version-0.1": lambda: signature_of(manifest_of(FILES, predicateType="https://model_signing/Digests/v0.1")),
    "no-files": lambda: signature_of(manifest_of({})),
    "a-file-twice": lambda: signature_of(twice()),
    "wrong-root": lambda: signature_of(manifest_of(FILES, subject=[{"name": "model", "digest": {"sha256": "0" * 64}}])),
    "two-subjects": lambda: signature_of(manifest_of(FILES, subject=manifest_of(FILES)["subject"] * 2)),
    "not-json": lambda: signature_of(b"weights"),
    "two-signatures": lambda: {
        **(s := signature_of(manifest_of(FILES))), "dsseEnvelope": {**s["dsseEnvelope"], "signatures": s["dsseEnvelope"]["signatures"] * 2},
    },
    "payload-type": lambda: {
        **(s := signature_of(manifest_of(FILES))), "dsseEnvelope": {**s["dsseEnvelope"], "payloadType": "application/json"},
    },
    "payload-changed": lambda: {
        **(s := signature_of(manifest_of(FILES))),
        "dsseEnvelope": {**s["dsseEnvelope"], "payload": base64.b64encode(json.dumps(manifest_of({"x": b"y"})).encode()).decode()},
    },
    "nothing": dict,
    "a-list": list,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_signature_that_does_not_hold_is_a_finding(name: str) -> None:
    checked = check_signed_weights(WRONG[name](), pem_of(DEVELOPER), SIGNED)
    assert [f.where != "target" for f in checked.findings] == [True]
    assert checked.manifest is None


@pytest.mark.parametrize(
    "pem",
    [b"", b"-----BEGIN", KEY.public.to_pem(), pem_of(ec.generate_private_key(ec.SECP256K1()))],
    ids=["empty", "cut-off", "ed25519", "another-curve"],
)
def test_a_key_that_signs_no_models_is_said_to_be_one(pem: bytes) -> None:
    with pytest.raises(IdentityError, match="key") as raised:
        open_signature(signature_of(manifest_of(FILES)), pem)
    assert "assay model key" in raised.value.fix


def test_digests_of_shards_are_no_files_digests() -> None:
    made = manifest_of(FILES)
    made["predicate"]["serialization"] |= {"method": "shards", "shard_size": 1000}
    checked = check_signed_weights(signature_of(made), pem_of(DEVELOPER), SIGNED)
    assert "none of the 2 digests" in checked.findings[0].what


# Fingerprints

PROBES = read_probes()


def made(
    answers: Sequence[Sequence[str]], *, seed: int = 0, temperature: float = 1.0, target: dict[str, str] = HOSTED, **changes: Any
) -> Fingerprint:
    """A fingerprint with these answers to the first probes."""
    asked = tuple(Answered(p, tuple(Told(t) for t in told)) for p, told in zip(PROBES, answers, strict=False))
    fields: dict[str, Any] = {"models": ("m",), "systems": (), "began": NOW, "ended": NOW, "version": "0", **changes}
    return Fingerprint("fingerprint/1", target, Generation(24, temperature, seed), asked, **fields)


ONE = [["the sea", "a sea", "blue", "wide"] * 2] * 8
TWO = [["waves", "salt", "fish", "ships"] * 2] * 8


def test_one_model_is_the_same_and_another_is_different() -> None:
    same = check_fingerprint(made(ONE), made(ONE, seed=1000))
    assert (same.verdict, same.findings) == ("same", ())
    other = check_fingerprint(made(ONE), made(TWO, seed=1000))
    assert other.verdict == "different"
    assert other.equality is not None
    assert other.equality.p_value <= 0.01


def test_the_outcome_does_not_depend_on_the_order_nor_on_luck() -> None:
    mixed = [[*a[:4], *b[:4]] for a, b in zip(ONE, TWO, strict=True)]
    first = check_fingerprint(made(ONE), made(mixed, seed=1000))
    again = check_fingerprint(made(ONE), made(mixed, seed=1000))
    swapped = check_fingerprint(made(mixed, seed=1000), made(ONE))
    assert first.equality is not None
    assert 0.0001 < first.equality.p_value < 1
    assert first.equality == again.equality == swapped.equality


def test_at_temperature_0_one_answer_that_differs_is_enough() -> None:
    settled = [["the sea"] * 2] * 8
    moved = [*settled[:7], ["a sea"] * 2]
    assert check_fingerprint(made(settled, temperature=0), made(settled, temperature=0)).verdict == "same"
    other = check_fingerprint(made(settled, temperature=0), made(moved, temperature=0))
    assert (other.verdict, other.mismatched, other.equality) == ("different", (PROBES[7].id,), None)


def test_a_model_that_says_one_thing_only_is_compared_by_it() -> None:
    constant = [["Paris"] * 8] * 8
    assert check_fingerprint(made(constant), made(constant, seed=1000)).verdict == "same"
    other = check_fingerprint(made(constant), made([["Paris."] * 8] * 8, seed=1000))
    assert other.verdict == "different"
    assert len(other.mismatched) == 8


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made(ONE), "share decoding seeds"),
        (made(ONE, seed=63), "share decoding seeds"),
        (made(ONE[:7], seed=1000), "other probes"),
        (made(ONE, seed=1000, temperature=0.7), "decoded otherwise"),
    ],
    ids=["same-seed", "overlapping-seeds", "other-probes", "other-temperature"],
)
def test_what_cannot_be_compared_is_refused(other: Fingerprint, message: str) -> None:
    with pytest.raises(IdentityError, match=message):
        check_fingerprint(made(ONE), other)


def test_an_endpoint_that_wavers_at_temperature_0_is_not_compared() -> None:
    wavering, once = made(ONE, temperature=0), made([["a"]] * 8, temperature=0)
    for approved, shown in ((wavering, wavering), (once, once)):
        with pytest.raises(IdentityError, match="not seen to answer always the same"):
            check_fingerprint(approved, shown)


def test_too_few_answers_are_refused_and_not_called_the_same() -> None:
    with pytest.raises(IdentityError, match="could never show a difference"):
        check_fingerprint(made([["a"], ["b"]]), made([["c"], ["d"]], seed=1000))


@pytest.mark.parametrize("level", [0, 0.6, -1, float("nan")])
def test_a_level_is_a_level(level: float) -> None:
    with pytest.raises(IdentityError, match="level"):
        check_fingerprint(made(ONE), made(ONE, seed=1000), level=level)


def test_what_is_kept_is_bound_to_target_and_digest() -> None:
    approved, shown = made(ONE), made(ONE, seed=1000)
    assert check_fingerprint(approved, shown, target=HOSTED, digest=approved.digest).verdict == "same"
    assert [f.where for f in check_fingerprint(approved, shown, target={**HOSTED, "url": URL + "2"}).findings] == ["target"]
    assert [f.where for f in check_fingerprint(approved, shown, digest=shown.digest).findings] == ["approved"]


def test_an_endpoint_that_names_another_model_is_different_and_another_system_is_noted() -> None:
    assert [f.where for f in check_fingerprint(made(ONE), made(ONE, seed=1000, models=("n",))).findings] == ["model"]
    elsewhere = made(ONE, seed=1000, models=("n",), target={**HOSTED, "url": "http://127.0.0.1:1/v1"})
    assert check_fingerprint(made(ONE), elsewhere).verdict == "same"
    noted = check_fingerprint(made(ONE, systems=("fp_1",)), made(ONE, seed=1000, systems=("fp_2",)))
    assert noted.verdict == "same"
    assert "another system fingerprint" in noted.notes[0]


def test_a_refusal_by_the_endpoint_is_an_answer_of_its_own() -> None:
    asked = tuple(Answered(p, (Told("", "HTTP 400"),) * 8) for p in PROBES[:8])
    refused = msgspec.structs.replace(made(ONE, seed=1000), asked=asked)
    empty = msgspec.structs.replace(made(ONE), asked=tuple(Answered(p, (Told(""),) * 8) for p in PROBES[:8]))
    found = check_fingerprint(empty, refused)
    assert found.verdict == "different"
    assert any("refused" in note for note in found.notes)


def test_a_fingerprints_file_is_read_back_whole_or_not_at_all() -> None:
    value = msgspec.to_builtins(made(ONE))
    assert parse_fingerprint(canonical(value) + b"\n", where="f") == made(ONE)
    double = {**value, "asked": [value["asked"][0], value["asked"][0]]}
    long = {**value, "models": ["m"] * 9}
    for wrong in ({**value, "more": 1}, {**value, "assay": "fingerprint/2"}, double, long, {**value, "asked": []}, [], 1):
        with pytest.raises(AssayError):
            parse_fingerprint(canonical(wrong), where="f")
    for data in (b"", b"{", json.dumps(value, indent=1).encode(), canonical(value)[:-9], b"\xff", b"[" * 100_000):
        with pytest.raises(IdentityError, match="fingerprint"):
            parse_fingerprint(data, where="f")
