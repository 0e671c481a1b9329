"""The README of a folder that `assay export in-toto` writes: the exact commands by which an outsider checks it.

Names, key ids and digests are ours or were checked; what comes from a statement is quoted for the shell or left out.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

from assay.exchange.export.intoto_layout import LAYOUT_NAME, PLAN, TARGET

_TYPE = re.compile(r"^[!-~]{1,300}$")
_ALGORITHM = re.compile(r"^[A-Za-z0-9_-]{1,40}$")
_HEX = re.compile(r"^([0-9a-f]{2}){1,64}$")

_PAE = (
    'import base64, json, sys; e = json.loads(open(sys.argv[1]).readline()); p = base64.b64decode(e["payload"]); '
    't = e["payloadType"].encode(); s = next(s for s in e["signatures"] if s["keyid"] == sys.argv[2]); '
    'open("assay.pae", "wb").write(b"DSSEv1 %d %s %d %s" % (len(t), t, len(p), p)); '
    'open("assay.sig", "wb").write(base64.b64decode(s["sig"]))'
)
_SECURESYSTEMSLIB = (
    "import json, sys; from cryptography.hazmat.primitives.serialization import load_pem_public_key as load; "
    "from securesystemslib.dsse import Envelope; from securesystemslib.signer import SSlibKey; "
    'k = SSlibKey.from_crypto(load(open(sys.argv[3], "rb").read()), keyid=sys.argv[2]); '
    'Envelope.from_dict(json.loads(open(sys.argv[1]).readline())).verify([k], 1); print("holds")'
)


class Signature(Struct, frozen=True):
    """A signature: the id of its key, and the Sigstore bundle that carries it; none where the key is not known."""

    keyid: str
    file: str


class Shown(Struct, frozen=True):
    """A statement, its type, the digest of its subject, and its signatures."""

    name: str
    predicate_type: str
    algorithm: str
    digest: str
    signatures: tuple[Signature, ...]


def readme(statements: Sequence[Shown], evaluator: str, digest: str, evidence: str, expires: int) -> str:
    """The text. `evidence` is the bundle's name, empty if it was left out; `expires` is 0 without layout and link."""
    parts = [*_head(evaluator, digest, evidence), *_intoto(evaluator, expires), *_anywhere(evaluator), *_statements(statements, evaluator)]
    return "\n".join([*parts, ""])


def _head(evaluator: str, digest: str, evidence: str) -> list[str]:
    there = (
        f"{evidence} is the evidence itself. `assay verify {evidence} --key {evaluator}` recomputes everything in it."
        if evidence
        else "The evidence itself, which holds the transcripts, was left out."
    )
    return [
        "Statements about a run of Assay, and how to check them",
        "======================================================",
        "",
        "Compare this key id with the evaluator by another channel; everything below rests on it:",
        f"  {evaluator}",
        "A key id is the SHA-256 of the 32 bytes of the Ed25519 key:",
        f"  openssl pkey -pubin -in keys/{evaluator}.pem -outform DER | tail -c 32 | sha256sum",
        "",
        there,
        f"Its SHA-256 is {digest}.",
        f"{PLAN} is the plan as it was registered: its SHA-256 is the planDigest that the statements name. {TARGET} is what the target",
        "said it is; where no weights were at hand, the subject of every statement is its SHA-256, as assayTargetIdentity.",
        "",
        "These commands show who signed what. They do not recompute the decision, and trust no log: only the evidence shows why.",
        "",
    ]


def _intoto(evaluator: str, expires: int) -> list[str]:
    if not expires:
        return ["There are no in-toto layout and link here: only the evaluator's key can sign them.", ""]
    until = time.strftime("%Y-%m-%d", time.gmtime(expires // 1000))
    return [
        "in-toto (pip install in-toto), in this folder",
        "---------------------------------------------",
        f"  in-toto-verify --layout {LAYOUT_NAME} --verification-keys keys/{evaluator}.pem",
        "",
        f"It holds if the exit code is 0, until {until} (UTC). It shows that the evaluator's key signed a link from this plan and this",
        "target to this evidence, and that the files here are those. The layout's one inspection runs the command `true`.",
        "",
    ]


def _anywhere(evaluator: str) -> list[str]:
    return [
        "OpenSSL, Python (pip install securesystemslib cryptography)",
        "-----------------------------------------------------------",
        "NAME.intoto.jsonl is the DSSE envelope of a statement, with all its signatures. For each statement and key below:",
        "",
        f"  NAME=opened KEY={evaluator}",
        f"  python3 -c '{_PAE}' $NAME.intoto.jsonl $KEY",
        "  openssl pkeyutl -verify -rawin -pubin -inkey keys/$KEY.pem -in assay.pae -sigfile assay.sig",
        f"  python3 -c '{_SECURESYSTEMSLIB}' $NAME.intoto.jsonl $KEY keys/$KEY.pem",
        "",
        "The statement itself: python3 -m json.tool after base64 -d of its payload.",
        "",
    ]


def _statements(statements: Sequence[Shown], evaluator: str) -> Iterator[str]:
    yield "The statements, each with cosign 3"
    yield "----------------------------------"
    yield "NAME[.KEY].sigstore.json is a Sigstore bundle with one signature. None is in a public transparency log, hence"
    yield "--insecure-ignore-tlog. cosign compares the subject's digest; where it is the sha256 of weights that you hold, give their file"
    yield "in place of --digest and --digestAlg (above 128 MiB that needs COSIGN_MAX_ATTACHMENT_SIZE=100GB). cosign 2 knows no other way,"
    yield "and wants --new-bundle-format and a --trusted-root."
    for one in statements:
        yield f"\n{one.name}"
        for signature in one.signatures:
            if not signature.file:
                yield f"  signed by a key that is not here: {_plain(signature.keyid)}"
                continue
            yield f"  signed by {'the evaluator, ' if signature.keyid == evaluator else ''}key {signature.keyid}"
            if _TYPE.match(one.predicate_type) and _ALGORITHM.match(one.algorithm) and _HEX.match(one.digest):
                yield (
                    f"  cosign verify-blob-attestation --key keys/{signature.keyid}.pem --bundle {signature.file} --insecure-ignore-tlog "
                    f"--type {shlex.quote(one.predicate_type)} --digest {one.digest} --digestAlg {one.algorithm}"
                )


def _plain(text: str) -> str:
    return re.sub(r"[^!-~]", "?", text)[:128]
