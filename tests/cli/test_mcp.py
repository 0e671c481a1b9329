"""`assay mcp` beside the server: grants to start from, what they give, the record, and tokens that are good enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra agents is not installed")

from assay.assistant.acts import state_folder
from assay.assistant.record import Record
from assay.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ASSAY_MCP_TOKEN", raising=False)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", "mcp", *words])
    return main()


def test_the_first_grants_are_valid_and_say_what_they_give(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "new", "grants.yaml") == 0
    assert Path("grants.yaml").stat().st_mode & 0o077 == 0
    assert call(monkeypatch, "check", "grants.yaml") == 0
    out = capsys.readouterr().out
    assert "may start, stop, verify, compare" in out
    assert "✓ quick" in out
    block = json.loads(out[out.index('{\n  "mcpServers"') :])["mcpServers"]["assay"]
    assert Path(block["command"]).is_absolute()
    assert block["args"][-3:] == ["mcp", "serve", str(Path("grants.yaml").absolute())]
    assert call(monkeypatch, "new", "grants.yaml") == 2  # nothing is overwritten


def test_the_record_is_shown_and_a_changed_one_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "new", "grants.yaml")
    folder = state_folder("assistant")
    folder.mkdir(parents=True)
    record = Record(folder / "record.jsonl")
    record.ended(record.asked("start_run", {"plan": "quick\x1b[2J"}), "refused", "the day's runs are spent")
    record.asked("progress", {"run": "r"})
    capsys.readouterr()
    assert call(monkeypatch, "record", "grants.yaml") == 0
    out = capsys.readouterr().out
    assert "refused: the day's runs are spent" in out
    assert "no end" in out
    assert "\x1b" not in out
    data = (folder / "record.jsonl").read_bytes()
    (folder / "record.jsonl").write_bytes(data.replace(b"start_run", b"stop__run"))
    assert call(monkeypatch, "record", "grants.yaml") == 1


@pytest.mark.parametrize("token", ["", "short", "with space in it and long enough", "ü" * 40])
def test_a_token_that_could_be_guessed_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    call(monkeypatch, "new", "grants.yaml")
    monkeypatch.setenv("ASSAY_MCP_TOKEN", token)
    assert call(monkeypatch, "serve", "grants.yaml", "--http", "0") == 2
    assert not token or token not in capsys.readouterr().err


def test_a_token_that_others_can_read_opens_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "new", "grants.yaml")
    Path("token").write_text("x" * 40)
    Path("token").chmod(0o644)
    assert call(monkeypatch, "serve", "grants.yaml", "--http", "0", "--token-file", "token") == 2
    assert "others can read the token" in capsys.readouterr().err
