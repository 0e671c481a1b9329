"""The use of an access programme in figures, as a gate signs them of its own audit log: counts, and no name of a person.

value = sign_statistics(key, statistics)           # JSON, for a file
statistics, keyid, digest = open_statistics(value)
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from assay.errors import AssayError, EvidenceError
from assay.ledger import PrivateKey, PublicKey, digest, open_envelope, sign_statement

FORMAT = "access-statistics/1"
PREDICATE = "urn:assay:predicate:access-statistics:v1"
Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=300)]


class TierRow(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests for one model by one tier."""

    model: Name
    tier: Name
    requests: Count
    denied: Count
    answered: Count
    tokens: Count


class Statistics(Struct, frozen=True, forbid_unknown_fields=True):
    """What the log says, up to the checkpoint with this digest. Times are Unix milliseconds."""

    checkpoint: Name
    first: Count
    last: Count
    organisations: Count
    persons: Count
    grants: Count
    requests: Count
    denied: Count
    cut: Count
    halts: Count
    alerts: Count
    emergencies: Count
    rows: Annotated[tuple[TierRow, ...], Meta(max_length=1000)]


def sign_statistics(key: PrivateKey, statistics: Statistics) -> dict[str, Any]:
    """The signed form; the statement's subject is the log, by its checkpoint."""
    subject = [{"name": "audit log", "digest": {"sha256": statistics.checkpoint.removeprefix("sha256:")}}]
    envelope = sign_statement(key, subject, PREDICATE, msgspec.to_builtins(statistics))
    return {"assay": FORMAT, "envelope": envelope.to_json(), "key": key.public.to_json()}


def open_statistics(value: Any) -> tuple[Statistics, str, str]:
    """The statistics, the id of the key that signed them, and the envelope's digest. Raises `EvidenceError`."""
    try:
        if value["assay"] != FORMAT:
            raise EvidenceError(f"this is not {FORMAT}")
        key = PublicKey.from_json(value["key"])
        statement = open_envelope(value["envelope"], key)
        if statement["predicateType"] != PREDICATE:
            raise EvidenceError("what was signed are no statistics")
        return msgspec.convert(statement["predicate"], Statistics), key.keyid, digest(value["envelope"])
    except AssayError as e:
        raise EvidenceError(e.what) from None
    except (msgspec.ValidationError, KeyError, TypeError) as e:
        raise EvidenceError(f"not the statistics of an audit log: {str(e)[:200]}") from None
