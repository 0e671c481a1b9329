"""A provider's signed word on what it serves under a name: an in-toto Statement in a DSSE envelope, the provider's public key in it.

    signed = sign_provider(key, ProviderStatement("my-model", "https://models.example.org/v1", version="2026-11", since=..., until=...))
    write_signed(Path("statement.json"), signed)
    open_signed(read_envelope(Path("statement.json"))).statement

It proves nothing about weights: it makes the provider answerable for what it says. `assay.evidence.identity` checks it against a target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import AssayError, IdentityError
from assay.evidence.signature import read_bounded
from assay.ledger import Envelope, PrivateKey, PublicKey, canonical, digest, digest_bytes, open_envelope, sign_statement
from assay.runs import whole_file

PROVIDER_STATEMENT = "urn:assay:predicate:provider-statement:v1"
MAX_BYTES = 65_536
MAX_DAYS = 400
DAY_MS = 86_400_000
Change = Literal["weights", "quantisation", "decoding", "system-prompt", "filters", "routing"]
"""What a provider may promise to announce before it changes."""
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+$"


class ProviderStatement(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Under this `model` name, at this `endpoint`, the provider serves the model of this `version` `since` then `until` then (Unix
    milliseconds). `weights` is the digest that the provider claims for them, empty where it claims none. Before any of `announces` changes
    it says so, `notice_days` ahead.
    """

    model: Annotated[str, Meta(pattern=_PLAIN, max_length=200)]
    endpoint: Annotated[str, Meta(pattern=_PLAIN, max_length=500)]
    version: Annotated[str, Meta(pattern=_PLAIN, max_length=200)]
    since: Annotated[int, Meta(ge=0, lt=2**53)]
    until: Annotated[int, Meta(ge=0, lt=2**53)]
    weights: Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    announces: tuple[Change, ...] = ()
    notice_days: Annotated[int, Meta(ge=0, le=3650)] = 0

    @property
    def days(self) -> float:
        """How long it holds."""
        return (self.until - self.since) / DAY_MS


class _Predicate(Struct, frozen=True, forbid_unknown_fields=True):
    statement: ProviderStatement
    key: dict[str, str]


class _Statement(Struct, frozen=True, forbid_unknown_fields=True):
    type: str = msgspec.field(name="_type")
    subject: list[dict[str, Any]]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: _Predicate


class SignedStatement(Struct, frozen=True):
    """A statement whose signature held: by the key `keyid`, which came with it, so that the id has to be compared by another channel.

    `digest` is SHA-256 over the envelope's payload.
    """

    statement: ProviderStatement
    keyid: str
    digest: str
    envelope: dict[str, Any]


def sign_provider(key: PrivateKey, statement: ProviderStatement) -> SignedStatement:
    """Sign it. Raises `IdentityError` for one that holds for no time, or for more than `MAX_DAYS`."""
    try:
        statement = msgspec.convert(msgspec.to_builtins(statement), ProviderStatement)
    except msgspec.ValidationError as e:
        raise IdentityError(f"this cannot be stated: {e}") from None
    if not 0 < statement.days <= MAX_DAYS:
        raise IdentityError(f"a statement holds for between 1 and {MAX_DAYS} days, not for {statement.days:g}")
    said = {"statement": msgspec.to_builtins(statement), "key": key.public.to_json()}
    return open_signed(sign_statement(key, _subject(statement), PROVIDER_STATEMENT, said).to_json())


def open_signed(envelope: Any) -> SignedStatement:
    """What was signed, with the key that is part of it. `envelope` is the DSSE envelope as a JSON value. Raises `IdentityError`."""
    try:
        payload = Envelope.from_json(envelope).payload
        said = msgspec.json.decode(payload, type=_Statement)
        key = PublicKey.from_json(said.predicate.key)
        whole = canonical(open_envelope(envelope, key)) == payload
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise IdentityError(f"what is signed is no provider's statement: {e}") from None
    except AssayError as e:
        raise IdentityError(f"the provider's statement does not hold: {e.what}") from None
    if said.predicate_type != PROVIDER_STATEMENT:
        raise IdentityError(f"what is signed is {said.predicate_type[:100]!r}, not {PROVIDER_STATEMENT}")
    if not whole or said.subject != _subject(said.predicate.statement):
        raise IdentityError("the statement's subject is not what it speaks of, or it is not in canonical form")
    return SignedStatement(said.predicate.statement, key.keyid, digest_bytes(payload), envelope)


def write_signed(path: Path, signed: SignedStatement) -> None:
    """Keep the envelope, whole or not at all. Raises `IdentityError`."""
    try:
        with whole_file(path) as out:
            out.write(canonical(signed.envelope) + b"\n")
    except OSError as e:
        raise IdentityError(f"cannot write the statement: {e.strerror}", where=str(path)) from None


def read_envelope(path: Path) -> Any:
    """The JSON value in a statement's file, unchecked: `open_signed` and `check_statement` take it. Raises `IdentityError`."""
    try:
        return msgspec.json.decode(read_bounded(path, MAX_BYTES))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise IdentityError("this is no provider's statement: not JSON, or cut off", where=str(path)) from None


def _subject(statement: ProviderStatement) -> list[dict[str, Any]]:
    """By the claimed weights' digest, else by endpoint and name."""
    if statement.weights:
        return [{"name": statement.model, "digest": {"sha256": statement.weights.removeprefix("sha256:")}}]
    served = digest({"model": statement.model, "endpoint": statement.endpoint}).removeprefix("sha256:")
    return [{"name": statement.model, "digest": {"assayEndpoint": served}}]
