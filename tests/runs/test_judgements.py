"""Judgements beside a run: one writer at a time, and an interrupted reading goes on from whatever is on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from assay.errors import RunFileError
from assay.judges import Said
from assay.plan import Judges, JudgeSpec, TargetSpec
from assay.runs import Again, Heading, JudgementFile, read_judgements

HEADING = Heading("judgements/1", "sha256:" + "0" * 64, Judges((JudgeSpec("one", TargetSpec("scripted-judge", "0")),)))
LINE = msgspec.json.encode(HEADING) + b"\n"


def said(slot: int, word: str = "safe") -> Again:
    return Again(slot, (Said((word,), "", (0, 0)),))


def test_a_second_writer_is_refused_and_loses_nothing_of_the_firsts(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    with JudgementFile.open(path, HEADING) as first:
        first.add(said(0))
        with pytest.raises(RunFileError, match="another process is writing this file"):
            JudgementFile.open(path, HEADING)
        first.add(said(1, "a longer word"))
    with JudgementFile.open(path, HEADING) as second:
        assert second.done == {0, 1}
        second.add(said(2))
    assert read_judgements(path) == (HEADING, [said(0), said(1, "a longer word"), said(2)])


def test_lines_are_appended_whatever_was_written_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    with JudgementFile.open(path, HEADING) as file:
        with path.open("ab") as other:
            other.write(msgspec.json.encode(said(7)) + b"\n")
        file.add(said(1))
    assert read_judgements(path)[1] == [said(7), said(1)]


@pytest.mark.parametrize("left", [b"", LINE[:1], LINE[:-1], LINE])
def test_what_power_loss_leaves_of_a_heading_is_gone_on_with(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "again.jsonl"
    path.write_bytes(left)
    with JudgementFile.open(path, HEADING) as file:
        assert file.done == frozenset()
        file.add(said(3))
    assert read_judgements(path) == (HEADING, [said(3)])


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    path.write_bytes(LINE + msgspec.json.encode(said(0)) + b"\n" + b'{"slot": 1, "sa')
    with JudgementFile.open(path, HEADING) as file:
        file.add(said(1))
    assert read_judgements(path) == (HEADING, [said(0), said(1)])


@pytest.mark.parametrize("other", [b"my notes, without an end of line", b"my notes\n", LINE.replace(b"one", b"two")])
def test_another_file_is_left_alone(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "again.jsonl"
    path.write_bytes(other)
    with pytest.raises(RunFileError):
        JudgementFile.open(path, HEADING)
    assert path.read_bytes() == other


def test_a_heading_is_on_disk_before_anything_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    synced: list[int] = []
    sync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with JudgementFile.open(tmp_path / "again.jsonl", HEADING):
        assert len(LINE) in synced
