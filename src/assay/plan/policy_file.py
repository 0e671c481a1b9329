"""Signed policies: a DSSE envelope over the canonical JSON of a reviewed policy, with the key that signed it.

value = sign_policy(policy, key)                    # JSON, to be written to a file
policy, key = open_policy(value, key_id)            # key_id: what was told by another channel
"""

from __future__ import annotations

from typing import Any

import msgspec

from assay.errors import AssayError
from assay.ledger import Envelope, PrivateKey, PublicKey, open_envelope, sign_statement
from assay.ledger.dsse import SignatureError
from assay.plan.policy import Policy, PolicyError, policy_path, problems, read_bounded, read_policy

PREDICATE = "urn:assay:predicate:policy:v1"
FORMAT = "signed-policy/1"
SHORTEST_KEY_ID = 16


class UnsignedError(PolicyError):
    """The signature does not hold, or is another's: a check that failed."""

    exit_code = 1


def sign_policy(policy: Policy, key: PrivateKey) -> dict[str, Any]:
    """The signed form. Raises `PolicyError` for a policy that nobody has reviewed."""
    if not policy.reviewed_by:
        raise PolicyError("nobody has reviewed this policy", where=policy.id, fix="Name who did, and when, under reviewed_by.")
    envelope = sign_statement(key, _subject(policy), PREDICATE, policy.to_json())
    return {"assay": FORMAT, "envelope": envelope.to_json(), "key": key.public.to_json()}


def open_policy(value: Any, key_id: str, option: str = "--key-id") -> tuple[Policy, PublicKey]:
    """The policy of a signed form that this key has signed (its id, or 16 characters or more of its beginning), given by an `option`.

    Raises `UnsignedError` if it has not, or the content is not what was signed; `PolicyError` if this is no signed policy.
    """
    if not isinstance(value, dict) or set(value) != {"assay", "envelope", "key"} or value["assay"] != FORMAT:
        raise PolicyError("this is not a signed policy")
    if not key_id:
        raise PolicyError("a signed policy is worth what its key is", fix=f"Give the id of the key that must have signed it: {option}.")
    try:
        key = PublicKey.from_json(value["key"])
        Envelope.from_json(value["envelope"])
    except AssayError as e:
        raise UnsignedError(e.what) from None
    if len(key_id) < SHORTEST_KEY_ID or not key.keyid.startswith(key_id.lower()):
        raise UnsignedError(f"signed by {key.keyid}, not by {key_id[:64]}")
    try:
        statement = open_envelope(value["envelope"], key)
    except SignatureError as e:
        raise UnsignedError(e.what) from None
    if statement.get("predicateType") != PREDICATE:
        raise UnsignedError("what was signed is not a policy")
    try:
        policy = msgspec.convert(statement.get("predicate"), Policy)
    except msgspec.ValidationError as e:
        raise PolicyError(f"what was signed is not a valid policy: {e}") from None
    for what, path in problems(policy):
        raise PolicyError(f"what was signed is not a valid policy: {what}", where=path.lstrip("."))
    if policy.to_json() != statement["predicate"] or statement.get("subject") != _subject(policy):
        raise UnsignedError("the signed statement names another policy than it holds")
    return policy, key


def load_policy(name: str, key_id: str = "", option: str = "--key-id") -> Policy:
    """A starting policy, a policy file, or a signed one, whose key must then be named, by that `option`. Raises `PolicyError`."""
    text = read_bounded(policy_path(name))
    if not text.lstrip().startswith("{"):
        if key_id:
            raise UnsignedError("this policy is not signed", where=name)
        return read_policy(name)
    try:
        return open_policy(msgspec.json.decode(text), key_id, option)[0]
    except (msgspec.DecodeError, RecursionError) as e:
        raise PolicyError(f"not JSON: {e}", where=name) from None


def _subject(policy: Policy) -> list[dict[str, Any]]:
    return [{"name": f"policy {policy.id} {policy.version}", "digest": {"sha256": policy.digest.removeprefix("sha256:")}}]
