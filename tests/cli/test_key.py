"""`assay key`: protected keys sign what unprotected ones do, and open for nobody else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay import api
from assay.cli import main
from assay.errors import SigningKeyError
from assay.evidence import verify_bundle
from assay.ledger import PrivateKey, is_protected, load_key, write_key
from tests.support import make_plan, plan_text

SECRET = "correct horse battery"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{SECRET}\nnot this line\n")
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE_FILE", str(path))
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", "key", *arguments])
    return main()


def test_a_protected_key_signs_and_its_passphrase_is_nowhere(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "k.pem"
    assert call(monkeypatch, "new", str(key), "--protect") == 0
    assert is_protected(key.read_bytes())
    assert key.stat().st_mode & 0o077 == 0
    keyid = capsys.readouterr().out.split("key id ")[1].split()[0]
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(budget={"calls": 30}))
    result = api.evaluate(plan, out=tmp_path / "run", key=key)
    assert result.bundle is not None
    assert verify_bundle(result.bundle, expected_key=keyid).ok
    for file in (tmp_path / "run").iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_without_the_passphrase_there_is_one_clear_message(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "k.pem"
    write_key(key, PrivateKey.generate(), SECRET.encode())
    secret.write_text("another passphrase\n")
    assert call(monkeypatch, "show", str(key)) == 2
    assert "does not open the key" in capsys.readouterr().err
    monkeypatch.delenv("ASSAY_KEY_PASSPHRASE_FILE")
    assert call(monkeypatch, "show", str(key)) == 2
    err = capsys.readouterr().err
    assert "protected by a passphrase" in err
    assert "Traceback" not in err
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", SECRET)
    assert call(monkeypatch, "show", str(key)) == 0


def test_protecting_keeps_the_id_and_nothing_is_overwritten(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "k.pem"
    assert call(monkeypatch, "new", str(key)) == 0
    before = load_key(key).public
    assert call(monkeypatch, "new", str(key)) == 2
    assert call(monkeypatch, "protect", str(key)) == 0
    assert is_protected(key.read_bytes())
    assert load_key(key).public == before
    assert call(monkeypatch, "protect", str(key), "--remove") == 0
    assert not is_protected(key.read_bytes())
    assert load_key(key).public == before
    secret.write_text("short\n")
    assert call(monkeypatch, "protect", str(key)) == 2
    assert "12 characters or more" in capsys.readouterr().err
    assert load_key(key).public == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")] == []


def test_keys_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE_FILE", str(tmp_path / "none"))
    with pytest.raises(SigningKeyError, match="cannot read the passphrase"):
        api.evaluate(make_plan(), out=tmp_path / "r", key=tmp_path / "k.pem")
    with pytest.raises(SigningKeyError, match="cannot read the signing key"):
        load_key(tmp_path / "no.pem")
