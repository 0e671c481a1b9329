"""`assay verify --log-proof`: a bundle and its place in a log, checked together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay.cli import main
from tests.support import plan_text


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    return main()


def test_a_bundle_with_its_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "key.pem"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(plan_text(budget={"calls": 30}, seed="auto"))
    for name in ("one", "two"):
        if name == "one":
            assert call(monkeypatch, "log", "init", "log", "--origin", "example.org/assay") == 0
        assert call(monkeypatch, "run", "plan.yaml", "--out", name, "--log", "log", "--quiet") in (0, 10, 20)
    assert call(monkeypatch, "log", "checkpoint", "log") == 0
    assert call(monkeypatch, "log", "witness", "log", "--state", "w.json", "--key", "w.pem", "--log-key", "log/log.vkey") == 0
    assert call(monkeypatch, "log", "prove", "log", "one", "--out", "proof.json") == 0
    words = ("--log-proof", "proof.json", "--log-key", "log/log.vkey", "--witness-key", "w.vkey")
    capsys.readouterr()
    assert call(monkeypatch, "verify", "one/evidence.jsonl", *words) == 0
    out = capsys.readouterr().out
    assert "registered in the log, and ended there" in out
    assert "no witness cosigned the log in between" in out
    assert "no other run of this plan dropped" not in out
    assert call(monkeypatch, "verify", "two/evidence.jsonl", *words) == 1
    assert "log, run" in capsys.readouterr().out
    assert call(monkeypatch, "verify", "one/evidence.jsonl", "--log-proof", "proof.json") == 2
    (tmp_path / "bad.json").write_text("{}")
    assert call(monkeypatch, "verify", "one/evidence.jsonl", "--log-proof", "bad.json", "--log-key", "log/log.vkey") == 2
