"""Whether what a run was opened with is what was signed before its first trial.

check_registered(opening, where)      # raises RunFileError if plan, content, nonce, target, seals or policy are others

A checksum finds damage. Who may write the run can set a right checksum beside another plan, and the signature alone tells.
"""

from __future__ import annotations

from typing import Any

from assay.errors import AssayError, RunFileError
from assay.ledger import PublicKey, digest, open_envelope
from assay.plan import seals_digest
from assay.runs.reading import Opening

OPENED = "urn:assay:predicate:run-opened:v1"
_ALTERED = "Go on with an unaltered copy of the run, or start a new one."
_NAMES = {"planDigest": "plan", "catalogDigest": "content", "nonceDigest": "nonce", "target": "target", "sealsDigest": "seals",
          "policyDigest": "policy"}  # fmt: skip


def check_registered(opening: Opening, where: str) -> None:
    """Raises `RunFileError`, which names the first part that is not what the run's key has signed."""
    try:
        statement = open_envelope(opening.opened, PublicKey.from_json(opening.public_key))
    except AssayError as e:
        raise RunFileError(f"the run's registration does not hold: {e.what}", where=where, fix=_ALTERED) from None
    predicate = statement.get("predicate")
    if statement.get("predicateType") != OPENED or not isinstance(predicate, dict):
        raise RunFileError("the run's registration is another statement", where=where, fix=_ALTERED)
    found = _parts(opening)
    for name, part in _NAMES.items():
        if predicate.get(name) != found.get(name):
            raise RunFileError(f"the run's {part} is not the one that was registered", where=where, fix=_ALTERED)


def _parts(opening: Opening) -> dict[str, Any]:
    """What the registration must say of an opening."""
    parts: dict[str, Any] = {
        "planDigest": opening.plan.digest, "catalogDigest": opening.catalog.digest, "nonceDigest": digest(opening.nonce),
        "target": opening.target,
    }  # fmt: skip
    if opening.seals:
        parts["sealsDigest"] = seals_digest(opening.seals)
    if opening.policy:
        parts["policyDigest"] = opening.policy.digest
    return parts
