"""`assay doctor`: what is here, what is missing, what is wrong, and what to do; never a secret."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.cli import checkup, main
from assay.cli.requirements import declared, fits
from assay.ledger import PrivateKey, write_key


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def look(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["assay", "doctor", "--json", *words])
    code = main()
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is (code == 0)
    assert all(f["fix"] for f in found["findings"] if f["status"] != "ok"), found
    return code, {f["name"]: f for f in found["findings"]}


def test_it_says_what_is_here_and_what_a_new_machine_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = look(monkeypatch, capsys)
    assert found["python"]["status"] == found["packages"]["status"] == found["clock"]["status"] == "ok"
    assert found["key"]["status"] == "missing"
    assert code == 0 or [n for n, f in found.items() if f["status"] == "wrong"]


def test_a_key_that_others_can_read_is_wrong_and_no_secret_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "k.pem"
    key = PrivateKey.generate()
    write_key(path, key, b"a passphrase of mine")
    monkeypatch.setenv("ASSAY_KEY", str(path))
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", "a passphrase of mine")
    code, found = look(monkeypatch, capsys)
    assert found["key"]["status"] == "ok"
    assert key.public.keyid[:16] in found["key"]["what"]
    assert "protected by a passphrase" in found["key"]["what"]
    path.chmod(0o644)
    code, found = look(monkeypatch, capsys)
    assert (code, found["key"]["status"]) == (1, "wrong")
    path.chmod(0o600)
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", "another passphrase")
    code, found = look(monkeypatch, capsys)
    assert (code, found["key"]["status"]) == (1, "wrong")
    path.write_text("no key at all")
    assert look(monkeypatch, capsys)[1]["key"]["status"] == "wrong"
    assert "passphrase of mine" not in json.dumps(found)


def test_a_damaged_configuration_and_a_collector_without_its_extra_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("assay.toml").write_text("[run]\nquite = true\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("assay.cli.requirements.installed", lambda name: "" if "telemetry" in name else "999")
    code, found = look(monkeypatch, capsys)
    assert code == 1
    assert "quiet" in found["configuration"]["what"]
    assert found["telemetry"]["status"] == "wrong"
    assert found["packages"]["status"] == "wrong"  # 999 is in no window


def test_a_target_is_greeted_only_if_it_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkup, "_packages", lambda: iter(()))
    for target, status in (("scripted:0.1", "ok"), ("http://127.0.0.1:9/v1#m@NO_SUCH_KEY", "wrong"), ("nonsense", "wrong")):
        code, found = look(monkeypatch, capsys, "--target", target)
        assert found["target"]["status"] == status, target
        assert code == (status == "wrong") or [n for n, f in found.items() if f["status"] == "wrong"]
    assert "target" not in look(monkeypatch, capsys)[1]


def test_windows_are_read_as_the_packaging_library_reads_them() -> None:
    packaging = pytest.importorskip("packaging.requirements", reason="packaging is not installed")
    from importlib.metadata import requires

    lines = requires("assay") or []
    assert len(declared("assay")) == len(lines) > 20
    for line, mine in zip(lines, declared("assay"), strict=True):
        theirs = packaging.Requirement(line)
        assert mine.name == theirs.name
        assert mine.here == (theirs.marker is None or theirs.marker.evaluate({"extra": mine.extra})), line
        for version in (
            "0.1",
            "0.9",
            "1.0",
            "1.45.2",
            "2.3",
            "2.3.0",
            "2.999",
            "3",
            "15.0.1",
            "26.4",
            "50.0.2",
            "2026.10.11549",
            "0.3.290",
            "0.22.0",
        ):
            assert fits(version, mine.window) == theirs.specifier.contains(version), (line, version)


@pytest.mark.parametrize("window", ["~=1.0", "===1", ">=1,<2;x", "one"])
def test_a_window_that_is_not_understood_is_no_fit(window: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        fits("1.0", window)
