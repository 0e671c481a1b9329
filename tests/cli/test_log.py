"""`assay log`, through its entry point: the whole way between two parties, and what is refused with which exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from assay.cli import main
from tests.support import make_bundle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "log.pem"))
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_bundle(folder, budget={"calls": 20})
    return folder


class Terminal:
    """Calls the command and keeps what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        self._monkeypatch.setattr(sys, "argv", ["assay", "log", *map(str, arguments)])
        code = main()
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def assay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


def witnessed(assay: Terminal) -> int:
    return assay("witness", "log", "--state", "witness.json", "--key", "other.pem", "--log-key", "log/log.vkey")


def checked(assay: Terminal, *more: str | Path) -> int:
    return assay("check", "log", "--log-key", "log/log.vkey", "--witness-key", "witness.vkey", *more)


def test_the_whole_way_between_two_parties(here: Path, run: Path, assay: Terminal) -> None:
    assert assay("init", "log", "--origin", "example.org/assay") == 0
    vkey = (here / "log/log.vkey").read_text().strip()
    assert vkey in assay.out
    started = here / "run.db"
    started.write_bytes((run / "run.db").read_bytes())
    assert assay("add", "log", started) == 0
    assert "no decision yet" in assay.out
    assert assay("checkpoint", "log") == 0
    assert assay.out.startswith("example.org/assay\n1\n")
    assert witnessed(assay) == 0
    assert "first time" in assay.out
    assert checked(assay) == 0
    assert "Runs without an end: 1" in assay.out
    assert "dropped, or still under way" in assay.out
    assert checked(assay, "--within", "0") == 1
    assert "run without an end" in assay.out
    assert assay("add", "log", run) == 0
    assert "added as entry 1" in assay.out
    assert assay("add", "log", run / "evidence.jsonl") == 0
    assert "nothing added" in assay.out
    assert checked(assay) == 0
    assert "1 more entries lie beyond that checkpoint" in assay.out
    assert assay("checkpoint", "log") == 0
    assert witnessed(assay) == 0
    assert "grown from 1" in assay.out
    assert checked(assay, "--registered-first") == 0
    assert "registered before its end: cosigned" in assay.out
    assert "What is left to trust" in assay.out
    assert assay("prove", "log", run, "--out", "proof.json") == 0
    proof = ("check", "proof.json", "--log-key", vkey, "--witness-key", "witness.vkey")
    assert assay(*proof, "--run", run, "--registered-first", "--json") == 0
    value = json.loads(assay.out)
    assert (value["ok"], value["size"], len(value["runs"]), len(value["cosigned"])) == (True, 2, 1, 1)
    assert value["runs"][0]["ended"]
    assert value["runs"][0]["registrationCosignedAt"] is not None
    assert assay("check", "proof.json") == 2
    assert "--log-key" in assay.err
    assert assay(*proof, "--need", "2") == 1


def test_a_witness_afar_gets_a_file_and_sends_one_back(here: Path, run: Path, assay: Terminal) -> None:
    assay("init", "log", "--origin", "example.org/assay")
    started = here / "run.db"
    started.write_bytes((run / "run.db").read_bytes())
    assay("add", "log", started)
    assert assay("checkpoint", "log", "--since", "0", "--out", "sent") == 0
    mine = ("--state", "witness.json", "--key", "other.pem", "--name", "other.example/w")
    assert assay("witness", "sent", *mine) == 2
    assert "never cosigned here" in assay.err
    assert assay("witness", "sent", *mine, "--log-key", "log/log.vkey", "--out", "back") == 0
    assert assay("checkpoint", "log", "--add", "back") == 0
    assert "— other.example/w " in assay.out
    assert checked(assay) == 0
    assay("add", "log", run)
    assay("checkpoint", "log", "--out", "bare")
    assert assay("witness", "bare", *mine) == 2
    assert "--since 1" in assay.err
    assay("checkpoint", "log", "--since", "1", "--out", "sent")
    assert assay("witness", "sent", *mine) == 0
    assert assay.out.startswith("example.org/assay\n2\n")
    assert "Cosigned" in assay.err


def test_a_rewritten_log_is_refused_by_everybody(here: Path, run: Path, assay: Terminal) -> None:
    """The operator takes the run out of the log and signs anew; the witness and whoever asks for the witness's word find out."""
    assay("init", "log", "--origin", "example.org/assay")
    assay("add", "log", run)
    assay("checkpoint", "log")
    assert witnessed(assay) == 0
    entries = here / "log/entries.jsonl"
    raw = entries.read_bytes()
    entries.write_bytes(raw.replace(b'"kind":"closed"', b'"kind":"cloned"'))
    assert assay("checkpoint", "log") == 1
    assert "the log was rewritten: entries 0 to 1" in assay.err
    entries.write_bytes(raw[: raw.index(b"\n") + 1])
    assert assay("add", "log", run) == 1
    assert "shrunk" in assay.err
    (here / "log/checkpoints/000000000002.note").unlink()
    assert assay("checkpoint", "log") == 0
    assert witnessed(assay) == 1
    assert "rolled back: the checkpoint has 1 entries; before it had 2 entries" in assay.err
    assert checked(assay) == 1
    assert "no checkpoint is cosigned by 1 of the 1 witnesses" in assay.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "nowhere", "run"], "there is no log here"),
        (["check", "."], "there is no log here"),
        (["init", "log2", "--origin", "two words"], "cannot be a key's name"),
        (["init", "log", "--origin", "example.org/again"], "here already"),
        (["add", "log", "missing.jsonl"], "cannot read the bundle"),
        (["prove", "log", "sha256:00"], "no such runs"),
        (["checkpoint", "log", "--key", "missing.pem"], "there is no key"),
        (["checkpoint", "log", "--since", "9"], "no earlier one of 9"),
        (["check", "log", "--log-key", "missing.vkey"], "cannot read"),
        (["check", "log", "--log-key", "a+b+c"], "33 bytes"),
        (["check", "log", "--witness-key", "log/log.vkey"], "not a witness's"),
        (["check", "log/log.json", "--log-key", "log/log.vkey"], "not a proof"),
        (["check", "log", "--run", "log"], "goes with a proof"),
        (["witness", "log", "--state", "s.json", "--key", "o.pem", "--log-key", "log/log.vkey"], "no checkpoint yet"),
    ],
)
def test_bad_input_is_said_in_one_message(here: Path, assay: Terminal, arguments: list[str], says: str) -> None:
    assay("init", "log", "--origin", "example.org/assay")
    assert assay(*arguments) == 2
    assert says in assay.err
    assert "Traceback" not in assay.err
    assert not (here / "missing.pem").exists()
