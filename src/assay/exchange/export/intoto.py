"""A run's signed statements for those who have in-toto's and Sigstore's tools and not ours: a folder, with its README.

    written = write_intoto(Path("runs/first"), Path("handover"), key=load_key(path), now_ms=...)

For every statement of the bundle, and of the release beside it: `NAME.intoto.jsonl`, and for every signature whose key is known a Sigstore
bundle v0.3 that cosign accepts. Then the public keys, the plan and the target as they were signed, and, signed here by the evaluator's key,
an in-toto layout and link. The bundle is verified first, as `assay verify` does it: what does not hold is not handed on.

A Sigstore bundle holds one signature. It leaves DSSE's key id out, which nobody signs: cosign takes one in a form of its own only, and
skips a signature that has another.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from assay.evidence import BundleRun, verify_bundle
from assay.evidence.beside import hold_beside
from assay.evidence.bundle import HEAD, TAIL, BundleReader
from assay.evidence.release import Release, read_release
from assay.exchange.export.intoto_layout import EVIDENCE, LAYOUT_NAME, PLAN, TARGET, WEIGHTS, layout_of, link_name, link_of, sign
from assay.exchange.export.intoto_readme import Shown, Signature, readme
from assay.exchange.export.rows import BUNDLE_NAME, ExportError
from assay.ledger import Cosigned, PrivateKey, PublicKey, canonical
from assay.ledger.dsse import SignatureError
from assay.runs import sync_folder

RELEASE_NAME = "release.intoto.jsonl"
BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENTS = ("opened", *TAIL[1:])
"""The sections of the bundle that are statements."""
DAY_MS = 86_400_000
MAX_DAYS = 3650

_VERSION = re.compile(r"^v?\d+(\.\d+)*$")


class UnfoundedExportError(ExportError):
    """The bundle, the release or a signature does not hold: a check that failed."""

    exit_code = 1


class Statement(Struct, frozen=True):
    """A signed statement under the name that its files get."""

    name: str
    envelope: Cosigned


class Written(Struct, frozen=True):
    """What is in the folder: the statements' names, how many Sigstore bundles, and until when the layout holds (Unix ms, 0 without one)."""

    statements: tuple[str, ...]
    bundles: int
    expires: int


def write_intoto(
    run: Path, out: Path, *, key: PrivateKey | None, now_ms: int, days: int = 365, others: Iterable[PublicKey] = (), whole: bool = True
) -> Written:
    """Write the folder `out`, whole or not at all, from a run folder or a bundle. It must not be there yet.

    With the evaluator's `key` it gets layout and link, which hold for `days` from the decision on. `others` are public keys that may have
    signed the release; a key id is a digest of its key, so it does not matter who says them. Without `whole` the evidence itself, which has
    the transcripts, stays out. Raises `UnfoundedExportError` for what does not hold, else `ExportError` or `EvidenceError`.
    """
    bundle = run / BUNDLE_NAME if run.is_dir() else run
    if out.exists():
        raise ExportError("there is something already", where=str(out), fix="Choose another --out.")
    sections = _verified(bundle, key)
    if run.is_dir():
        hold_beside(BundleRun.read(bundle))
    evaluator = PublicKey.from_json(sections["key"])
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    keys = {k.keyid: k for k in (evaluator, *others)}
    statements = [Statement(name, Cosigned.from_json(sections[name])) for name in STATEMENTS]
    if (release_path := bundle.with_name(RELEASE_NAME)).is_file():
        statements += _released(read_release(release_path), statements[0], digest, release_path)
    shown = [_shown(s, keys, bundle) for s in statements]
    at = statements[len(STATEMENTS) - 1].envelope.statement()["predicate"]["evidence"]["at"]
    expires = _expiry(at, days, now_ms) if key else 0
    with _folder(out) as folder:
        for statement in statements:
            _write_statement(folder, statement, keys)
        signers = {s.keyid for one in shown for s in one.signatures if s.file}
        (folder / "keys").mkdir()
        for keyid in sorted(signers):
            (folder / "keys" / f"{keyid}.pem").write_bytes(keys[keyid].to_pem())
        (folder / PLAN).write_bytes(canonical(sections["plan"]))
        (folder / TARGET).write_bytes(canonical(sections["target"]))
        if whole:
            shutil.copyfile(bundle, folder / EVIDENCE)
        if key:
            _write_links(folder, key, sections["target"], digest, expires, whole=whole)
        evidence = EVIDENCE if whole else ""
        (folder / "README.txt").write_text(readme(shown, evaluator.keyid, digest, evidence, expires), encoding="utf-8")
    return Written(tuple(s.name for s in statements), sum(bool(s.file) for one in shown for s in one.signatures), expires)


def sigstore_bundle(payload_envelope: Mapping[str, Any], signature: Mapping[str, str], hint: str) -> bytes:
    """A Sigstore bundle v0.3 around one signature of a DSSE envelope, verified by a public key that `hint` names."""
    content = {**payload_envelope, "signatures": [{"sig": signature["sig"]}]}
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return canonical({"mediaType": BUNDLE_MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": content}) + b"\n"


def _verified(bundle: Path, key: PrivateKey | None) -> dict[str, Any]:
    """The sections of a bundle in which everything holds, and which this key signed."""
    report = verify_bundle(bundle)
    if not report.ok:
        what = f"the bundle does not hold: {report.findings[0]}"
        raise UnfoundedExportError(what, where=str(bundle), fix="See everything: assay verify BUNDLE")
    if key is not None and key.public.keyid != report.keyid:
        raise ExportError(
            f"the run was signed by another key ({report.keyid[:16]}...), and only the evaluator's can sign its link",
            where=str(bundle),
            fix="Name that key by --key, or leave layout and link out by --without-links.",
        )
    reader = BundleReader(bundle)
    sections = {kind: reader.section(kind) for kind in HEAD[:-1]}
    for _ in range(reader.section("trials", field="count")):
        reader.next_line()
    return sections | {kind: reader.section(kind) for kind in TAIL}


def _released(release: Release, opened: Statement, digest: str, where: Path) -> list[Statement]:
    """The statements of a release of this run. Raises `UnfoundedExportError` for another's."""
    evidence = release.terms.evidence
    if evidence is not None and evidence.bundle_digest != f"sha256:{digest}":
        raise UnfoundedExportError("the release rests on another bundle than the one beside it", where=str(where))
    if release.subject != opened.envelope.statement()["subject"]:
        raise UnfoundedExportError("the release is of another target than the run", where=str(where))
    return [Statement(f"release-{n:02d}-{_short(e)}", e) for n, e in enumerate(release.envelopes, 1)]


def _short(envelope: Cosigned) -> str:
    """The word of a predicate type that says what it is, as part of a file name."""
    words = [w for w in re.split(r"[/:#]", str(envelope.statement().get("predicateType", ""))) if w and not _VERSION.match(w)]
    return re.sub(r"[^a-z0-9]+", "-", words[-1].lower() if words else "").strip("-")[:40] or "statement"


def _shown(statement: Statement, keys: Mapping[str, PublicKey], where: Path) -> Shown:
    """What the README says of a statement, each signature of a known key checked."""
    envelope = statement.envelope
    try:
        held = envelope.signers(keys)
    except SignatureError as e:
        raise UnfoundedExportError(f"{statement.name}: {e.what}", where=str(where)) from None
    signatures = tuple(Signature(i, _bundle_name(statement, i) if i in held else "") for i, _ in envelope.signatures)
    content = envelope.statement()
    subject = content.get("subject")
    try:
        algorithm, value = next(iter(subject[0]["digest"].items()))  # type: ignore[index]
    except (TypeError, IndexError, KeyError, AttributeError, StopIteration):
        algorithm = value = ""
    return Shown(statement.name, str(content.get("predicateType", "")), str(algorithm), str(value), signatures)


def _bundle_name(statement: Statement, keyid: str) -> str:
    part = f".{keyid[:8]}" if len(statement.envelope.signatures) > 1 else ""
    return f"{statement.name}{part}.sigstore.json"


def _write_statement(folder: Path, statement: Statement, keys: Mapping[str, PublicKey]) -> None:
    value = statement.envelope.to_json()
    (folder / f"{statement.name}.intoto.jsonl").write_bytes(canonical(value) + b"\n")
    for signature in value["signatures"]:
        if signature["keyid"] in keys:
            name = _bundle_name(statement, signature["keyid"])
            (folder / name).write_bytes(sigstore_bundle(value, signature, signature["keyid"]))


def _write_links(folder: Path, key: PrivateKey, target: Mapping[str, str], digest: str, expires: int, *, whole: bool) -> None:
    materials = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (PLAN, TARGET)}
    if target.get("digest", "").startswith("sha256:"):
        materials[WEIGHTS] = target["digest"].removeprefix("sha256:")
    (folder / link_name(key.public)).write_bytes(sign(key, link_of(materials, {EVIDENCE: digest})))
    (folder / LAYOUT_NAME).write_bytes(sign(key, layout_of(key.public, expires=expires, evidence=whole)))


def _expiry(at: int, days: int, now_ms: int) -> int:
    """The end of the layout. Raises `ExportError` if it is over already."""
    if not 1 <= days <= MAX_DAYS:
        raise ExportError(f"a layout holds for 1 to {MAX_DAYS} days, not {days}", where="--days")
    expires = at + days * DAY_MS
    if expires <= now_ms:
        ago = (now_ms - at) // DAY_MS
        raise ExportError(f"the decision is {ago} days old, so the layout would be out of date", where="--days", fix="Give more --days.")
    return expires


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A folder to write into that appears at `out` whole or not at all. Raises `ExportError`."""
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
        sync_folder(out.parent)
    except OSError as e:
        raise ExportError(f"cannot write here: {e.strerror or e}", where=str(out)) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
