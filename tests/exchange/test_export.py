"""Exports: what is in them, that hostile answers give valid files, that withheld transcripts are nowhere in them."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.cli import main
from assay.exchange.export import FORMATS, ExportError, read_exported, write_export
from assay.exchange.export.csv_file import cell
from assay.exchange.export.rows import FIRST_TRIAL_LINE
from assay.runs import RunFile
from tests.exchange.exporting import HOSTILE, exported, hostile_run, read_by_inspect, signed_run


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_run(tmp_path_factory.mktemp("hostile"))


def rows_of(run: Path, folder: Path, **options: bool) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in exported("jsonl", run, folder, **options).decode().splitlines())


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, from leaf hashes."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_of(hashes[:k]) + root_of(hashes[k:])).digest()


def test_lines_hold_the_decision_and_every_trial_as_the_bundle_has_it(signed: Path, tmp_path: Path) -> None:
    run, *trials = rows_of(signed, tmp_path)
    lines = (signed / "evidence.jsonl").read_text().splitlines()
    assert run["line"] == "run"
    assert run["decision"]["trials"] == len(trials)
    assert run["bundle"] == "agrees"
    assert {r["id"] for r in run["decision"]["requirements"]} == {"violations", "over-refusal"}
    for trial in trials:
        leaf = lines[FIRST_TRIAL_LINE - 1 + trial["slot"]]
        kept = json.loads(leaf)
        for name in ("hazard", "language", "attack", "arm", "index", "outcome", "kind", "item", "answer", "reason", "how", "judge", "at"):
            assert trial[name] == kept[name], name
        assert trial["leaf"] == "sha256:" + hashlib.sha256(b"\x00" + leaf.encode()).hexdigest()
        assert trial["prompt"][-1]["role"] == "user"
        assert [trial["prompt_tokens"], trial["answer_tokens"]] == kept["tokens"]


def test_the_signed_root_follows_from_an_export_without_transcripts(signed: Path, tmp_path: Path) -> None:
    run, *trials = rows_of(signed, tmp_path, transcripts=False)
    hashes = [bytes.fromhex(h.removeprefix("sha256:")) for h in (run["registration"], *(t["leaf"] for t in trials))]
    assert run["root"] == f"sha256:{root_of(hashes).hex()}"
    last = json.loads((signed / "evidence.jsonl").read_text().splitlines()[-1])
    assert run["root"] in base64.b64decode(last["value"]["payload"]).decode()


def test_counts_of_streams_are_those_of_the_trials(signed: Path, tmp_path: Path) -> None:
    run, *trials = rows_of(signed, tmp_path)
    for c in run["cells"]:
        mine = [t for t in trials if "/".join(t[f] for f in ("hazard", "language", "attack", "arm")) == c["stream"]]
        assert c["trials"] == len(mine)
        assert c["violations"] == sum(t["outcome"] == "violation" for t in mine)
        assert 0 <= c["low"] <= c["violations"] / c["trials"] <= c["high"] <= 1


@pytest.mark.parametrize("form", list(FORMATS))
def test_withheld_transcripts_are_nowhere_in_the_file(form: str, hostile: Path, tmp_path: Path) -> None:
    data = exported(form, hostile, tmp_path, transcripts=False)
    with read_exported(hostile) as run:
        rows = list(run.rows())
        texts = {m.content for r in rows for m in r.prompt or ()} | {r.answer for r in rows if r.answer}
        texts |= {t for r in rows for turn in r.turns or () for t in (turn.prompt, turn.answer) if t}
    assert len(texts) > 50
    haystacks = [data.decode(errors="replace"), *([UNPACKED[form](data)] if form in UNPACKED else [])]
    for text in texts:
        for piece in pieces(text):
            assert not any(piece in h for h in haystacks), (form, piece)


def pieces(text: str) -> list[str]:
    """Stretches of a text that no encoder changes, long enough not to stand anywhere by chance."""
    return [p for p in re.split(r"[^\w .,:;]|_", text[:2000]) if len(p.strip()) >= 18]


def unpacked_parquet(data: bytes) -> str:
    import pyarrow.parquet as pq

    return str(pq.read_table(io.BytesIO(data)).to_pylist())


UNPACKED = {"parquet": unpacked_parquet, "inspect": read_by_inspect}


@pytest.mark.parametrize("form", [f for f in FORMATS if f != "inspect"])  # a zip, which holds the time, and is dear to write
def test_a_file_is_whole_or_not_there_and_never_replaced_unasked(
    form: str, signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "file"
    with read_exported(signed) as run:
        write_export(form, run, out)
        before = out.read_bytes()
        with pytest.raises(ExportError, match="already"):
            write_export(form, run, out)
        write_export(form, run, out, force=True)
        assert out.read_bytes() == before, "the same run gives the same file"
        monkeypatch.setattr(type(run), "rows", broken)
        monkeypatch.setattr("assay.exchange.export.writing.os.fsync", broken)
        with pytest.raises(ExportError, match="No space left"):
            write_export(form, run, tmp_path / "deep" / "other")
    assert [p.name for p in out.parent.iterdir()] == ["file"]


def broken(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_can_only_be_read_is_one_line(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount for reading: nothing is made, and removing what is not there fails too."""

    def refused(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    with read_exported(signed) as run, monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        patch.setattr(Path, "open", refused)
        with pytest.raises(ExportError, match="cannot write here: Read-only file system"):
            write_export("csv", run, tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a", "'=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text)[0] == "'"
    assert cell(text)[1:] == text


def test_a_spreadsheet_reads_hostile_answers_back(hostile: Path, tmp_path: Path) -> None:
    data = exported("csv", hostile, tmp_path).decode()
    csv.field_size_limit(1 << 24)
    with read_exported(hostile) as run:
        rows = list(run.rows())
    lines = list(csv.DictReader(io.StringIO(data, newline="")))
    assert len(lines) == len(rows)
    assert {r.answer for r in rows} >= set(HOSTILE)
    for line, row in zip(lines, rows, strict=True):
        assert row.answer is not None
        shown = "".join("\ufffd" if (c < " " and c not in "\t\n\r") or c in "\x7f\ufffe\uffff" else c for c in row.answer)
        assert line["answer"].removeprefix("'") == shown
        assert not line["answer"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert json.loads(line["prompt"])[-1]["content"] == (row.prompt or ())[-1].content


def test_lines_keep_hostile_answers_as_they_are(hostile: Path, tmp_path: Path) -> None:
    _, *trials = rows_of(hostile, tmp_path)
    assert {t["answer"] for t in trials} >= set(HOSTILE)


def test_an_approval_that_nobody_signed_is_a_delay(tmp_path: Path) -> None:
    run = signed_run(
        tmp_path / "run", target={"kind": "scripted", "model": "0"}, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.5}]
    )
    assert next(rows_of(run, tmp_path))["verdict"] == "approve"
    (run / "evidence.jsonl").unlink()
    heading = next(rows_of(run, tmp_path))
    assert heading["verdict"] == "delay"
    assert heading["bundle"] == "none"


def test_a_reason_that_quotes_somebody_is_cut_where_transcripts_are_withheld(signed: Path, tmp_path: Path) -> None:
    with RunFile.read(signed / "run.db") as run, RunFile.create(tmp_path / "run.db", run.opening()) as copy:
        copy.append(msgspec.structs.replace(t, reason="judge's reply unusable: it said XYZZY") for t in run.trials())
    assert b"XYZZY" in exported("jsonl", tmp_path, tmp_path)
    assert b"XYZZY" not in exported("jsonl", tmp_path, tmp_path, transcripts=False)


def test_an_item_that_is_not_the_recorded_one_is_not_shown(signed: Path, tmp_path: Path) -> None:
    with RunFile.read(signed / "run.db") as run, RunFile.create(tmp_path / "run.db", run.opening()) as copy:
        copy.append(msgspec.structs.replace(t, item="sha256:" + "0" * 64) for t in run.trials())
    with pytest.raises(ExportError, match="without-transcripts"):
        exported("jsonl", tmp_path, tmp_path)
    exported("jsonl", tmp_path, tmp_path, transcripts=False)


def test_the_command_writes_and_says_what(
    signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.csv"
    monkeypatch.setattr("sys.argv", ["assay", "export", "csv", str(signed), "--out", str(out), "--without-transcripts"])
    assert main() == 0
    assert "without transcripts; halt" in capsys.readouterr().out
    assert "answer" not in out.read_text().splitlines()[0].split(",")
    assert main() == 2
    assert "--force" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["assay", "export", "csv", str(tmp_path / "none"), "--out", str(tmp_path / "b")])
    assert main() == 2
    monkeypatch.setattr("sys.argv", ["assay", "export", "docx", str(signed), "--out", str(tmp_path / "b")])
    assert main() == 2


def test_heavy_packages_are_loaded_by_their_format_only() -> None:
    code = "import sys, assay.cli.exporting; print(sorted({'pyarrow', 'cyclonedx', 'jsonschema', 'inspect_ai', 'xml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
