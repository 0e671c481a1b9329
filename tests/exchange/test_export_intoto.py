"""The in-toto export, read by those it is for: in-toto's and securesystemslib's verifiers, OpenSSL, Sigstore's models; cosign where it is.

The README's own commands are run, so that what an outsider is told to type works.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main
from assay.decision import Decision
from assay.errors import AssayError
from assay.evidence import verify_bundle
from assay.evidence.release import RELEASE_DECISION, EvidenceRef, Release, Terms, release_of, write_release
from assay.evidence.roles import Holder, Role, Roles, sign_roles
from assay.exchange.export import ExportError
from assay.exchange.export.intoto import RELEASE_NAME, UnfoundedExportError, write_intoto
from assay.exchange.export.intoto_layout import intoto_key
from assay.ledger import Cosigned, PrivateKey, write_key
from tests.exchange.exporting import signed_run
from tests.support import KEY

NOW = 1_900_000_000_000
YEARS = 3650
APPROVERS = (PrivateKey.generate(), PrivateKey.generate())
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def written(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "handover"
    done = write_intoto(run, out, key=KEY, now_ms=NOW, days=YEARS)
    assert (done.statements, done.bundles) == (("opened", "test-result", "decision"), 3)
    return out


@pytest.fixture
def handover(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "handover"))


def in_toto_verify(folder: Path, key: str = KEY.public.keyid) -> subprocess.CompletedProcess[str]:
    command = [BIN / "in-toto-verify", "--layout", "root.layout", "--verification-keys", f"keys/{key}.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the payload of an envelope and leave its signature as it is."""
    envelope = json.loads(path.read_bytes())
    content = json.loads(base64.b64decode(envelope["payload"]))
    change(content)
    envelope["payload"] = base64.b64encode(json.dumps(content).encode()).decode()
    path.write_text(json.dumps(envelope))


def release_by(run: Path, *keys: PrivateKey, **changes: Any) -> Release:
    """A release of the run, signed by some keys."""
    bundle = run / "evidence.jsonl"
    report = verify_bundle(bundle)
    decision = report.decision
    assert isinstance(decision, Decision)
    opened = json.loads(bundle.read_bytes().split(b"\n")[8])
    zero = "sha256:" + "0" * 64
    digest = "sha256:" + hashlib.sha256(bundle.read_bytes()).hexdigest()
    evidence = EvidenceRef(digest, zero, zero, report.root, zero, decision.trials, report.ended, decision.verdict, report.keyid)
    terms = Terms(
        "example.org", decision.verdict, "because", 1, NOW, NOW + 1, 1, zero, "endpoint", None, changes.pop("evidence", evidence), (), "0"
    )
    statement = json.loads(base64.b64decode(opened["value"]["payload"]))
    assert opened["kind"] == "opened"
    envelope = Cosigned.of(changes.pop("subject", statement["subject"]), RELEASE_DECISION, terms.to_json())
    for key in keys:
        envelope = envelope.signed(key)
    return release_of([envelope])


def test_in_toto_verify_accepts_the_folder(handover: Path) -> None:
    done = in_toto_verify(handover)
    assert done.returncode == 0, done.stderr
    assert in_toto_verify(handover).returncode == 0, "a second time, beside what the first left behind"


def test_layout_and_link_are_what_in_toto_reads(handover: Path) -> None:
    from in_toto.models._signer import load_public_key_from_file
    from in_toto.models.layout import Layout
    from in_toto.models.link import Link
    from in_toto.models.metadata import Metadata

    keyid, key = intoto_key(KEY.public)
    assert key == load_public_key_from_file(str(handover / "keys" / f"{KEY.public.keyid}.pem"))
    link_path = handover / f"evaluate.{keyid[:8]}.link"
    for path, kind in ((handover / "root.layout", Layout), (link_path, Link)):
        metadata = Metadata.load(str(path))
        metadata.verify_signature(key)
        assert isinstance(metadata.get_payload(), kind)
    layout, link = (Metadata.load(str(p)).get_payload() for p in (handover / "root.layout", link_path))
    layout.validate()
    assert [s.pubkeys for s in layout.steps] == [[keyid]]
    sha256 = {name: hashlib.sha256((handover / name).read_bytes()).hexdigest() for name in ("plan.json", "target.json", "evidence.jsonl")}
    assert {name: value["sha256"] for name, value in {**link.materials, **link.products}.items()} == sha256
    statement = json.loads(base64.b64decode(json.loads((handover / "opened.intoto.jsonl").read_bytes())["payload"]))
    assert statement["predicate"]["planDigest"] == f"sha256:{sha256['plan.json']}"
    assert statement["subject"][0]["digest"] == {"assayTargetIdentity": sha256["target.json"]}


@pytest.mark.parametrize("name", ["plan.json", "target.json", "evidence.jsonl"])
def test_in_toto_refuses_another_file(handover: Path, name: str) -> None:
    with (handover / name).open("ab") as file:
        file.write(b" ")
    done = in_toto_verify(handover)
    assert (done.returncode, "RuleVerificationError" in done.stderr) == (1, True), done.stderr
    (handover / name).unlink()
    assert in_toto_verify(handover).returncode == 1


def test_in_toto_refuses_what_was_changed_or_signed_by_others(handover: Path) -> None:
    layout, link = handover / "root.layout", next(handover.glob("evaluate.*.link"))
    kept = layout.read_bytes(), link.read_bytes()
    rewrite(layout, lambda v: v.update(expires="2099-01-01T00:00:00Z"))
    assert "SignatureVerificationError" in in_toto_verify(handover).stderr
    layout.write_bytes(kept[0])
    rewrite(link, lambda v: v["products"].update({"evidence.jsonl": {"sha256": "00" * 32}}))
    assert in_toto_verify(handover).returncode == 1
    link.write_bytes(kept[1])
    (handover / "keys" / "other.pem").write_bytes(PrivateKey.generate().public.to_pem())
    assert in_toto_verify(handover, "other").returncode == 1
    link.unlink()
    assert "LinkNotFoundError" in in_toto_verify(handover).stderr


def test_an_old_layout_is_refused_by_them_and_by_us(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "old"
    write_intoto(run, out, key=KEY, now_ms=0, days=1)
    rewrite(out / "root.layout", lambda v: v.update(expires="2020-01-01T00:00:00Z"))
    envelope = json.loads((out / "root.layout").read_bytes())
    resigned = Cosigned(base64.b64decode(envelope["payload"])).signed(KEY).to_json()
    resigned["signatures"][0]["keyid"] = intoto_key(KEY.public)[0]
    (out / "root.layout").write_text(json.dumps(resigned))
    assert "LayoutExpiredError" in in_toto_verify(out).stderr
    with pytest.raises(ExportError, match="days old, so the layout would be out of date"):
        write_intoto(run, tmp_path / "new", key=KEY, now_ms=NOW + 10 * 366 * 86_400_000, days=30)
    assert not (tmp_path / "new").exists()


def test_every_command_of_the_readme_works(handover: Path) -> None:
    text = (handover / "README.txt").read_text()
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    assert all(len(line) < 140 for line in text.splitlines() if not line.startswith("  ") and "assay verify" not in line)

    def sh(line: str, said: str = "") -> None:
        done = subprocess.run(line, shell=True, cwd=handover, env=env, capture_output=True, text=True, check=False)  # noqa: S602
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert said in done.stdout

    commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    (in_toto,) = (c for c in commands if c.startswith("in-toto-verify"))
    sh(in_toto)
    (key_id,) = (c for c in commands if c.startswith("openssl pkey "))
    sh(key_id, KEY.public.keyid)
    (setting,) = (c for c in commands if c.startswith("NAME="))
    pae, library = (c for c in commands if c.startswith("python3 -c"))
    (openssl,) = (c for c in commands if c.startswith("openssl pkeyutl"))
    for name in ("opened", "test-result", "decision"):
        named = setting.replace("NAME=opened", f"NAME={name}")
        sh(f"{named}; {pae} && {openssl}", "Signature Verified Successfully")
        sh(f"{named}; {library}", "holds")
    cosign = [c for c in commands if c.startswith("cosign ")]
    assert len(cosign) == 3
    if shutil.which("cosign"):
        for command in cosign:
            sh(command)


def test_openssl_and_securesystemslib_refuse_another_key(handover: Path) -> None:
    text = (handover / "README.txt").read_text()
    pem = handover / "keys" / f"{KEY.public.keyid}.pem"
    pem.write_bytes(PrivateKey.generate().public.to_pem())
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    setting, pae, openssl, library = (
        next(line.strip() for line in text.splitlines() if line.startswith(f"  {start}"))
        for start in ("NAME=", "python3 -c 'import base64", "openssl pkeyutl", "python3 -c 'import json, sys;")
    )
    for line in (f"{setting}; {pae} && {openssl}", f"{setting}; {library}"):
        assert subprocess.run(line, shell=True, cwd=handover, env=env, capture_output=True, check=False).returncode == 1  # noqa: S602


def test_statements_are_valid_by_the_attestation_framework(handover: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    seen = {}
    for path in sorted(handover.glob("*.intoto.jsonl")):
        content = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
        parsed = ParseDict(content, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        seen[path.name.split(".")[0]] = content
    assert set(seen) == {"opened", "test-result", "decision"}
    result = ParseDict(seen["test-result"]["predicate"], test_result_pb2.TestResult())
    assert result.result in ("PASSED", "WARNED", "FAILED")
    assert len(result.configuration) == 2


def test_bundles_are_what_sigstore_models_and_cosign_asks_for(handover: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from sigstore_models.bundle.v1 import Bundle

    for path in handover.glob("*.sigstore.json"):
        bundle = Bundle.from_json(path.read_bytes())
        assert bundle.media_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert bundle.verification_material.public_key.hint == KEY.public.keyid
        (signature,) = bundle.dsse_envelope.signatures
        assert not signature.keyid
        payload, kind = bundle.dsse_envelope.payload, bundle.dsse_envelope.payload_type
        pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(signature.sig, pae)


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not here (Debian has it from trixie on)")
def test_cosign_refuses_what_it_should(handover: Path) -> None:
    lines = (handover / "README.txt").read_text().splitlines()
    right = next(line.strip() for line in lines if line.startswith("  cosign") and "test-result" in line)
    (handover / "other.pem").write_bytes(PrivateKey.generate().public.to_pem())
    digest = right.split("--digest ")[1].split()[0]

    def said(command: str) -> tuple[int, str]:
        done = subprocess.run(command, shell=True, cwd=handover, capture_output=True, text=True, check=False)  # noqa: S602
        return done.returncode, done.stderr

    assert said(right)[0] == 0
    for wrong, why in (
        (right.replace(f"keys/{KEY.public.keyid}.pem", "other.pem"), "could not verify envelope"),
        (right.replace(digest, "00" * 32), "does not match any digest"),
        (right.replace("test-result/v0.1", "test-result/v0.2"), "invalid predicate type"),
    ):
        code, error = said(wrong)
        assert (code, why in error) == (1, True), error
    path = handover / "test-result.sigstore.json"
    bundle = json.loads(path.read_bytes())
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = KEY.public.keyid
    path.write_text(json.dumps(bundle))
    assert said(right)[0] == 1, "cosign skips a signature whose key id is not of its own form: that is why it is left out"


def test_a_release_beside_the_run_comes_along_with_its_approvers(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    write_release(release_by(folder, KEY, *APPROVERS), folder / RELEASE_NAME)
    names = {"owner": KEY, "approver-1": APPROVERS[0], "approver-2": APPROVERS[1], "evaluator": KEY}
    keys = {n: Holder(base64.b64encode(k.public.raw).decode()) for n, k in names.items() if n != "evaluator"}
    approvers = Role(("approver-1", "approver-2"), 2)
    roles = Roles("roles/1", "example.org", 1, "2099-01-01", keys, Role(("owner",)), Role(("owner",)), approvers)
    (tmp_path / "roles.json").write_text(json.dumps(sign_roles(roles, KEY)))
    write_key(tmp_path / "key.pem", KEY, b"")
    out = tmp_path / "out"
    given = ["--key", str(tmp_path / "key.pem"), "--days", str(YEARS), "--roles", str(tmp_path / "roles.json")]
    monkeypatch.setattr(sys, "argv", ["assay", "export", "in-toto", str(folder), "--out", str(out), *given])
    assert main() == 0
    all_keys = [KEY, *APPROVERS]
    assert {p.name for p in (out / "keys").iterdir()} == {f"{k.public.keyid}.pem" for k in all_keys}
    bundles = {p.name for p in out.glob("release-01-release-decision.*.sigstore.json")}
    assert bundles == {f"release-01-release-decision.{k.public.keyid[:8]}.sigstore.json" for k in all_keys}
    assert in_toto_verify(out).returncode == 0
    assert (out / "release-01-release-decision.intoto.jsonl").read_bytes() == (folder / RELEASE_NAME).read_bytes()
    unknown = tmp_path / "unknown"
    write_intoto(folder, unknown, key=KEY, now_ms=NOW, days=YEARS)
    assert f"signed by a key that is not here: {APPROVERS[0].public.keyid}" in (unknown / "README.txt").read_text()


def test_what_does_not_hold_is_not_handed_on(run: Path, tmp_path: Path) -> None:
    def refused(folder: Path, error: type[AssayError], said: str, **given: Any) -> None:
        with pytest.raises(error, match=said):
            write_intoto(folder, tmp_path / "out", **{"key": KEY, "now_ms": NOW, "days": YEARS, **given})
        assert not (tmp_path / "out").exists()
        assert list(tmp_path.glob(".out*")) == []

    refused(run, ExportError, "only the evaluator's can sign", key=APPROVERS[0])
    refused(run, ExportError, "for 1 to 3650 days", days=0)
    refused(tmp_path, AssayError, "cannot read the bundle")
    for name, release, said in (
        ("another", release_by(run, KEY, evidence=None, subject=[{"name": "x", "digest": {"sha256": "00" * 32}}]), "another target"),
        ("older", release_by(run, KEY), "another bundle"),
        ("forged", release_by(run, KEY), "signature of"),
    ):
        folder = Path(shutil.copytree(run, tmp_path / name))
        if name == "older":
            other = signed_run(tmp_path / "other")
            for file in ("evidence.jsonl", "run.db"):
                shutil.copyfile(other / file, folder / file)
        if name == "forged":
            (envelope,) = release.envelopes
            forged = Cosigned(envelope.payload, ((KEY.public.keyid, bytes(64)),))
            release = release_of([forged])
        write_release(release, folder / RELEASE_NAME)
        refused(folder, UnfoundedExportError, said)
    folder = Path(shutil.copytree(run, tmp_path / "tampered"))
    bundle = folder / "evidence.jsonl"
    bundle.write_bytes(bundle.read_bytes().replace(b'"outcome":"safe"', b'"outcome":"violation"', 1))
    refused(folder, UnfoundedExportError, "the bundle does not hold")
    assert UnfoundedExportError.exit_code == 1


def test_without_transcripts_and_without_links(run: Path, tmp_path: Path) -> None:
    write_intoto(run, tmp_path / "bare", key=KEY, now_ms=NOW, days=YEARS, whole=False)
    assert not (tmp_path / "bare" / "evidence.jsonl").exists()
    assert in_toto_verify(tmp_path / "bare").returncode == 0
    shutil.copyfile(run / "evidence.jsonl", tmp_path / "bare" / "evidence.jsonl")
    assert in_toto_verify(tmp_path / "bare").returncode == 0, "it can be put back"
    (tmp_path / "bare" / "evidence.jsonl").write_text("another")
    assert in_toto_verify(tmp_path / "bare").returncode == 1
    done = write_intoto(run, tmp_path / "unsigned", key=None, now_ms=NOW)
    assert done.expires == 0
    assert not (tmp_path / "unsigned" / "root.layout").exists()
    assert "no in-toto layout" in (tmp_path / "unsigned" / "README.txt").read_text()
    assert "in-toto-verify" not in (tmp_path / "unsigned" / "README.txt").read_text()


def test_the_same_run_gives_the_same_bytes(run: Path, written: Path, tmp_path: Path) -> None:
    write_intoto(run, tmp_path / "again", key=KEY, now_ms=NOW + 1000, days=YEARS)
    for path in (tmp_path / "again").rglob("*"):
        assert not path.is_file() or path.read_bytes() == (written / path.relative_to(tmp_path / "again")).read_bytes()
