"""Keyless signatures (Sigstore) over a bundle, checked offline: by identity, issuer and a trusted root file. Needs the extra `sigstore`.

    checked = check_keyless(Path("evidence.jsonl"), Keyless(bundle, identity="ana@example.org", issuer="https://...", root=path))
    checked.finding or checked.words

A Sigstore bundle is taken if it signs the file's bytes (as `cosign sign-blob` does), one of its three statements, or a statement of any
predicate whose subject is the file's SHA-256 (as `cosign attest-blob` does). Nothing is fetched: the trusted root says which authorities
and logs are believed, and who gives it is believed with it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import AssayError, EvidenceError
from assay.evidence.bundle import HEAD, TAIL, BundleReader
from assay.ledger import Cosigned
from assay.ledger.dsse import PAYLOAD_TYPE

MAX_BUNDLE_BYTES = 16 << 20
MAX_ROOT_BYTES = 4 << 20


class Keyless(Struct, frozen=True):
    """A Sigstore bundle, who must have signed it by the word of which issuer, and the trusted root (JSON) that both are judged by."""

    bundle: Path
    identity: str
    issuer: str
    root: Path


class Checked(Struct, frozen=True):
    """What was found: `finding` in words if it does not hold, else what was signed when, in `words`."""

    finding: str = ""
    words: str = ""


def check_keyless(evidence: Path, asked: Keyless) -> Checked:
    """Check a keyless signature over a bundle of evidence.

    Raises `EvidenceError` for files that cannot be read at all, and where the extra is not installed. What does not hold is not raised.
    """
    try:
        from sigstore.errors import Error
        from sigstore.hashes import Hashed
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity
        from sigstore_models.common.v1 import HashAlgorithm
    except ModuleNotFoundError as e:
        raise EvidenceError(f"keyless signatures need {e.name}, which is not installed", fix="Install assay[sigstore].") from None
    data = _bounded(asked.bundle, MAX_BUNDLE_BYTES)
    _bounded(asked.root, MAX_ROOT_BYTES)
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(asked.root)))
    except (Error, ValueError, TypeError, KeyError) as e:
        raise EvidenceError(
            f"not a trusted root: {_first(e)}", where=str(asked.root), fix="Export one: cosign trusted-root create."
        ) from None
    try:
        bundle = Bundle.from_json(data)
    except (Error, ValueError, TypeError, KeyError) as e:
        raise EvidenceError(f"not a keyless Sigstore bundle: {_first(e)}", where=str(asked.bundle)) from None
    policy = Identity(identity=asked.identity, issuer=asked.issuer)
    try:
        digest = _sha256(evidence)
        content = msgspec.json.decode(data)
        index = content["verificationMaterial"]["tlogEntries"][0]["logIndex"]
        if "messageSignature" in content:
            verifier.verify_artifact(Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest), bundle, policy)
            what = "the file"
        else:
            kind, payload = verifier.verify_dsse(bundle, policy)
            what = _said(kind, payload, evidence, digest)
    except Exception as e:  # noqa: BLE001 - whatever a hostile bundle makes of the library, it does not hold
        return Checked(finding=_first(e))
    if not what:
        return Checked(finding="it signs a statement about something else")
    return Checked(words=f"{asked.identity} ({asked.issuer}) signed {what}, entry {index} of a transparency log")


def _said(kind: str, payload: bytes, evidence: Path, digest: bytes) -> str:
    """What a signed statement has to do with the evidence, in words; empty if nothing."""
    if kind != PAYLOAD_TYPE:
        return ""
    reader = BundleReader(evidence)
    sections: dict[str, Any] = {name: reader.section(name) for name in HEAD[:-1]}
    for _ in range(reader.section("trials", field="count")):
        reader.next_line()
    sections |= {name: reader.section(name) for name in TAIL}
    for name in ("opened", *TAIL[1:]):
        if Cosigned.from_json(sections[name]).payload == payload:
            return f"the statement '{name}'"
    subjects = msgspec.json.decode(payload).get("subject")
    if isinstance(subjects, list) and any(s.get("digest", {}).get("sha256") == digest.hex() for s in subjects if isinstance(s, dict)):
        return "a statement about the file"
    return ""


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _bounded(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise EvidenceError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > most:
        raise EvidenceError(f"larger than {most:,} bytes", where=str(path))
    return data


def _first(error: BaseException) -> str:
    """The first line of an error, printable and short."""
    text = error.what if isinstance(error, AssayError) else str(error)
    line = next((part for part in text.splitlines() if part.strip()), type(error).__name__)
    return "".join(c if c.isprintable() else "?" for c in line.strip())[:300]
