"""Keyless signatures: made and checked by sigstore-python, against a Sigstore of our own on the loopback. The public one was not tried."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main
from assay.errors import EvidenceError
from assay.evidence.keyless import Keyless, check_keyless
from assay.exchange.export import ExportError
from assay.exchange.export.keyless import sign_keyless
from assay.ledger import canonical, write_key
from tests.exchange.exporting import signed_run
from tests.exchange.sigstore_service import ISSUER, Service
from tests.support import KEY

ANA = "ana@example.org"


class Office:
    """A run, the service that signed its evidence for Ana, and the files of both."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.folder, self.service = folder, service
        self.run = signed_run(folder / "run")
        self.evidence, self.bundle = self.run / "evidence.jsonl", folder / "evidence.keyless.json"
        self.root, self.config, self.token = folder / "trusted_root.json", folder / "config.json", folder / "token"
        self.root.write_text(json.dumps(service.trusted_root()))
        self.config.write_text(json.dumps(service.config()))
        self.token.write_text(service.token(ANA) + "\n")
        self.signed_by = sign_keyless(self.evidence, self.bundle, token_file=self.token, config=self.config)

    def asked(self, **changes: Any) -> Keyless:
        return Keyless(**{"bundle": self.bundle, "identity": ANA, "issuer": ISSUER, "root": self.root} | changes)

    def finding(self, evidence: Path | None = None, **changes: Any) -> str:
        return check_keyless(evidence or self.evidence, self.asked(**changes)).finding

    def payload(self, section: str) -> bytes:
        lines = map(json.loads, self.evidence.read_bytes().splitlines())
        return base64.b64decode(next(line["value"]["payload"] for line in lines if line.get("kind") == section))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with Service() as service:
        yield Office(tmp_path_factory.mktemp("keyless"), service)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", *map(str, arguments)])
    return main()


def test_what_was_signed_keyless_is_checked_offline(office: Office) -> None:
    assert office.signed_by == (ANA, ISSUER)
    assert office.token.read_text().strip() not in office.bundle.read_text()
    found = check_keyless(office.evidence, office.asked())
    assert found.finding == ""
    assert found.words == f"{ANA} ({ISSUER}) signed the file, entry 1 of a transparency log"


def test_statements_about_the_file_count_and_others_do_not(office: Office, tmp_path: Path) -> None:
    digest = hashlib.sha256(office.evidence.read_bytes()).hexdigest()
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.org/seen", "predicate": {}}
    bundle = tmp_path / "statement.json"
    for payload, said in (
        (office.payload("decision"), "the statement 'decision'"),
        (office.payload("opened"), "the statement 'opened'"),
        (canonical({**statement, "subject": [{"name": "x", "digest": {"sha256": digest}}]}), "a statement about the file"),
    ):
        bundle.write_bytes(office.service.statement_bundle(payload, ANA))
        found = check_keyless(office.evidence, office.asked(bundle=bundle))
        assert (found.finding, said in found.words) == ("", True)
    for payload, kind in (
        (canonical({**statement, "subject": [{"name": "x", "digest": {"sha256": "00" * 32}}]}), "application/vnd.in-toto+json"),
        (canonical({**statement, "subject": []}), "application/vnd.in-toto+json"),
        (office.payload("decision"), "application/json"),
    ):
        bundle.write_bytes(office.service.statement_bundle(payload, ANA, kind))
        assert office.finding(bundle=bundle) == "it signs a statement about something else"


def test_another_identity_issuer_file_or_authority_is_refused(office: Office, tmp_path: Path) -> None:
    assert "SANs do not match" in office.finding(identity="eve@example.org")
    assert "OIDCIssuer does not match" in office.finding(issuer="https://elsewhere.example")
    other = tmp_path / "evidence.jsonl"
    other.write_bytes(office.evidence.read_bytes() + b"\n")
    assert "digest mismatch" in office.finding(other)
    root = tmp_path / "root.json"
    root.write_text(json.dumps(Service().trusted_root()))
    assert "certificate chain" in office.finding(root=root)


@pytest.mark.parametrize(
    ("logs", "said"), [("tlogs", "invalid log entry"), ("ctlogs", "SCT"), ("certificateAuthorities", "certificate chain")]
)
def test_each_authority_of_the_trusted_root_is_needed(office: Office, tmp_path: Path, logs: str, said: str) -> None:
    root = tmp_path / "root.json"
    root.write_text(json.dumps(office.service.trusted_root() | {logs: Service().trusted_root()[logs]}))
    assert said in office.finding(root=root)


def test_a_changed_bundle_is_refused(office: Office, tmp_path: Path) -> None:
    changed = tmp_path / "changed.json"

    def refused(change: Any, said: str) -> None:
        content = json.loads(office.bundle.read_bytes())
        change(content, content["verificationMaterial"]["tlogEntries"][0])
        changed.write_text(json.dumps(content))
        assert said in office.finding(bundle=changed), office.finding(bundle=changed)

    other = json.loads(office.service.statement_bundle(b"{}", ANA))
    refused(lambda c, _: c["messageSignature"].update(signature=base64.b64encode(bytes(70)).decode()), "ignature")
    refused(lambda _, e: e.update(integratedTime="1"), "certificate chain")
    refused(lambda _, e: e.update(integratedTime=str(int(e["integratedTime"]) + 1)), "SET")
    refused(lambda _, e: e.update(canonicalizedBody=base64.b64encode(b"{}").decode()), "inclusion proof")
    refused(lambda c, _: c["verificationMaterial"].update(certificate=other["verificationMaterial"]["certificate"]), "ignature")
    refused(lambda c, _: c["verificationMaterial"].update(tlogEntries=other["verificationMaterial"]["tlogEntries"]), "hashedrekord")


def test_files_that_are_not_what_they_should_be(office: Office, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    for content in (b"", b"[]", b"\xff", b"{}", b'{"mediaType": "x"}', b"[" * 100_000):
        bad.write_bytes(content)
        with pytest.raises(EvidenceError, match="not a keyless Sigstore bundle"):
            office.finding(bundle=bad)
        with pytest.raises(EvidenceError, match="not a trusted root"):
            office.finding(root=bad)
    keyed = json.loads(office.bundle.read_bytes())
    keyed["verificationMaterial"] = {"publicKey": {"hint": "x"}, "tlogEntries": []}
    bad.write_text(json.dumps(keyed))
    with pytest.raises(EvidenceError, match="expected certificate in bundle"):
        office.finding(bundle=bad)
    for name in ("bundle", "root"):
        with pytest.raises(EvidenceError, match="cannot read: No such file"):
            office.finding(**{name: tmp_path / "none"})


def test_the_commands_sign_and_check(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_key(tmp_path / "key.pem", KEY, b"")
    out = tmp_path / "out"
    given = ("--key", tmp_path / "key.pem", "--sigstore", "--sigstore-token", office.token, "--sigstore-config", office.config)
    assert call(monkeypatch, "export", "in-toto", office.run, "--out", out, *given) == 0
    assert f"signed keyless by {ANA} ({ISSUER})" in capsys.readouterr().out
    bundle = out / "evidence.keyless.sigstore.json"
    asked = ["--sigstore-bundle", bundle, "--sigstore-identity", ANA, "--sigstore-issuer", ISSUER, "--sigstore-root", office.root]
    assert call(monkeypatch, "verify", office.evidence, *asked) == 0
    said = capsys.readouterr().out
    assert "keyless signature" in said
    assert f"that {ISSUER} vouches for {ANA} rightly" in said
    asked[3] = "eve@example.org"
    assert call(monkeypatch, "verify", office.evidence, *asked) == 1
    assert "keyless signature" in capsys.readouterr().out
    assert call(monkeypatch, "verify", office.evidence, *asked[:-2]) == 2
    assert "go together" in capsys.readouterr().err


def test_signing_says_what_is_missing(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "GITHUB_ACTIONS", "CIRCLECI", "BUILDKITE", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    out, token = tmp_path / "out.json", tmp_path / "token"
    token.write_text("not a token")
    for given, said in (
        ({"token_file": token, "config": office.config}, "malformed or missing claims"),
        ({"token_file": tmp_path / "none", "config": office.config}, "cannot read"),
        ({"token_file": office.token, "config": token}, "no keyless signature"),
    ):
        with pytest.raises(ExportError, match=said) as caught:
            sign_keyless(office.evidence, out, **given)
        assert "not a token" not in str(caught.value)
    away = json.loads(office.config.read_text())
    for service in (*away["signingConfig"]["caUrls"], *away["signingConfig"]["rekorTlogUrls"]):
        service["url"] = "http://127.0.0.1:1"
    config = tmp_path / "away.json"
    config.write_text(json.dumps(away))
    with pytest.raises(ExportError, match="cannot be reached"):
        sign_keyless(office.evidence, out, token_file=office.token, config=config)
    assert not out.exists()


def test_without_the_extra_it_says_what_to_install(office: Office) -> None:
    code = "import sys; sys.modules['sigstore'] = None; from assay.cli import main; sys.exit(main())"
    root = ["--sigstore-identity", ANA, "--sigstore-issuer", ISSUER, "--sigstore-root", str(office.root)]
    for arguments in (
        ["verify", str(office.evidence), "--sigstore-bundle", str(office.bundle), *root],
        ["export", "in-toto", str(office.run), "--out", str(office.folder / "x"), "--without-links", "--sigstore"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, "Install assay[sigstore]." in done.stderr) == (2, True), done.stderr
