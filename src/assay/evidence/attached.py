"""What others say of the model, bound to a release: a provider's statement, a developer's signature over the weights, a fingerprint.

    attachment = read_attachment(Path("statement.json"))
    attachment = read_attachment(Path("model.sig"), model_key=Path("developer.pem"))
    known = check_attached([attachment], target, times=(opened, ended))
    known.level, known.findings, known.rests_on

Each is kept whole, as JSON, in a statement that the evaluator signs, so that whoever has the release can check it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.errors import AssayError, IdentityError
from assay.evidence.identity import Level, check_signed_weights, check_statement, identity_level
from assay.evidence.provider import ProviderStatement, open_signed
from assay.evidence.signature import MAX_KEY_BYTES, Manifest, read_bounded
from assay.evidence.verify import Finding
from assay.runs.fingerprint import Fingerprint

ATTACHED = "urn:assay:predicate:attached:v1"
MAX_BYTES = 4 << 20
MAX_ATTACHED = 16
Kind = Literal["provider-statement", "model-signature", "fingerprint"]


class Attachment(Struct, frozen=True, forbid_unknown_fields=True):
    """One of them: the predicate of its statement. `content` is its JSON; of a model's signature with the public key (PEM) beside it."""

    kind: Kind
    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it is signed."""
        return {"kind": self.kind, "content": self.content}


@dataclass(slots=True)
class Known:
    """How well the model is known by what is attached, what does not hold, and whose word it rests on."""

    level: Level
    findings: list[Finding] = field(default_factory=list)
    rests_on: list[str] = field(default_factory=list)
    fingerprint: Fingerprint | None = None


def read_attachment(path: Path, model_key: Path | None = None) -> Attachment:
    """An attachment from its file, told by its form; a model's signature needs the developer's public key. Raises `IdentityError`."""
    try:
        value = msgspec.json.decode(read_bounded(path, MAX_BYTES))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IdentityError("not JSON", where=str(path)) from None
    if not isinstance(value, dict):
        raise IdentityError("neither a provider's statement, nor a model's signature, nor a fingerprint", where=str(path))
    if "payload" in value:
        return Attachment("provider-statement", value)
    if value.get("assay") == "fingerprint/1":
        return Attachment("fingerprint", value)
    if "dsseEnvelope" not in value:
        raise IdentityError("neither a provider's statement, nor a model's signature, nor a fingerprint", where=str(path))
    if model_key is None:
        raise IdentityError("a model's signature needs the developer's public key", where=str(path), fix="Give it: --model-key PEM")
    pem = read_bounded(model_key, MAX_KEY_BYTES).decode("ascii", errors="replace")
    return Attachment("model-signature", {"signature": value, "publicKey": pem})


def check_attached(attachments: Sequence[Attachment], target: Mapping[str, str], times: Sequence[int]) -> Known:
    """Check every attachment against a target's identity record and the times (Unix ms) at which it was asked."""
    findings: list[Finding] = []
    statement: ProviderStatement | None = None
    signed: Manifest | None = None
    fingerprint: Fingerprint | None = None
    rests_on: list[str] = []
    if len({a.kind for a in attachments}) < len(attachments):
        findings.append(Finding("attached", "", "two of the same kind"))
    for attachment in attachments:
        try:
            match attachment.kind:
                case "provider-statement":
                    given = open_signed(attachment.content)
                    checked = check_statement(given.envelope, target, keyid=given.keyid, times=times)
                    statement = checked.statement
                    findings += checked.findings
                    rests_on.append(f"that the key {given.keyid} is the provider's, who says what it serves")
                case "model-signature":
                    weights = check_signed_weights(attachment.content["signature"], attachment.content["publicKey"].encode(), target)
                    signed = weights.manifest
                    findings += weights.findings
                    if signed is not None:
                        rests_on.append(f"that the key {signed.key} is the developer's, who signed the weights as '{signed.name}'")
                case "fingerprint":
                    fingerprint = msgspec.convert(attachment.content, Fingerprint)
                    if any(fingerprint.target.get(k, "") != target.get(k, "") for k in ("kind", "model", "url", "digest")):
                        findings.append(Finding("fingerprint", "target", "it is of another target"))
        except (msgspec.ValidationError, AssayError, KeyError, AttributeError, TypeError, ValueError, RecursionError) as e:
            findings.append(Finding("attached", attachment.kind, f"malformed: {str(e)[:200]}"))
    return Known(identity_level(target, statement=statement, signed=signed, fingerprint=fingerprint), findings, rests_on, fingerprint)
