"""A provider's signed word on what it serves under a name: an in-toto Statement in a DSSE envelope, the provider's public key beside it.

    signed = sign_provider(key, ProviderStatement("my-model", "https://models.example.org/v1", version="2026-11", since=..., until=...))
    write_signed(Path("statement.json"), signed)
    open_signed(read_signed(Path("statement.json")))

It proves nothing about weights: it makes the provider answerable for what it says. `assay.evidence.identity` checks it against a target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import AssayError, IdentityError
from assay.evidence.signature import read_bounded
from assay.ledger import PrivateKey, PublicKey, canonical, digest, open_envelope, sign_statement
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


class SignedStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A statement as it is handed over: the provider's public `key` and the DSSE `envelope`. Nothing of it is checked yet."""

    assay: Literal["provider-statement/1"]
    key: dict[str, str]
    envelope: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of the canonical JSON of all of it."""
        return digest(msgspec.to_builtins(self))

    @property
    def keyid(self) -> str:
        """Of the key beside it, which anybody can have put there: compare it by another channel. Raises `SigningKeyError`."""
        return PublicKey.from_json(self.key).keyid


def sign_provider(key: PrivateKey, statement: ProviderStatement) -> SignedStatement:
    """Sign it. Raises `IdentityError` for one that holds for no time, or for more than `MAX_DAYS`."""
    try:
        statement = msgspec.convert(msgspec.to_builtins(statement), ProviderStatement)
    except msgspec.ValidationError as e:
        raise IdentityError(f"this cannot be stated: {e}") from None
    if not 0 < statement.days <= MAX_DAYS:
        raise IdentityError(f"a statement holds for between 1 and {MAX_DAYS} days, not for {statement.days:g}")
    envelope = sign_statement(key, _subject(statement), PROVIDER_STATEMENT, msgspec.to_builtins(statement))
    return SignedStatement("provider-statement/1", key.public.to_json(), envelope.to_json())


def open_signed(signed: SignedStatement) -> ProviderStatement:
    """What the key beside it has signed. Raises `IdentityError` where the signature or its form does not hold."""
    try:
        said = open_envelope(signed.envelope, PublicKey.from_json(signed.key))
        statement = msgspec.convert(said.get("predicate"), ProviderStatement)
    except msgspec.ValidationError as e:
        raise IdentityError(f"what is signed is no provider's statement: {e}") from None
    except AssayError as e:
        raise IdentityError(e.what) from None
    if set(said) != {"_type", "subject", "predicateType", "predicate"} or said["predicateType"] != PROVIDER_STATEMENT:
        raise IdentityError(f"what is signed is {str(said.get('predicateType'))[:100]!r}, not {PROVIDER_STATEMENT}")
    if said["subject"] != _subject(statement):
        raise IdentityError("the statement's subject is not what it speaks of")
    return statement


def write_signed(path: Path, signed: SignedStatement) -> None:
    """Keep it, whole or not at all. Raises `IdentityError`."""
    try:
        with whole_file(path) as out:
            out.write(canonical(msgspec.to_builtins(signed)) + b"\n")
    except OSError as e:
        raise IdentityError(f"cannot write the statement: {e.strerror}", where=str(path)) from None


def read_signed(path: Path) -> SignedStatement:
    """Read one; its signature is not checked yet. Raises `IdentityError`."""
    try:
        return msgspec.json.decode(read_bounded(path, MAX_BYTES), type=SignedStatement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise IdentityError(f"this is no provider's statement: {e}", where=str(path)) from None


def _subject(statement: ProviderStatement) -> list[dict[str, Any]]:
    """By the claimed weights' digest, else by endpoint and name."""
    if statement.weights:
        return [{"name": statement.model, "digest": {"sha256": statement.weights.removeprefix("sha256:")}}]
    served = digest({"model": statement.model, "endpoint": statement.endpoint}).removeprefix("sha256:")
    return [{"name": statement.model, "digest": {"assayEndpoint": served}}]
