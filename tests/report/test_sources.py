"""A signed run is taken for what it is now only where the run that lies beside its bundle still says the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import app
from assay.evidence.beside import StaleError
from assay.exchange.export.intoto import write_intoto
from assay.report.sources import read_source
from assay.runs import RunFile
from tests.support import make_bundle, take_label


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    make_bundle(folder)
    return folder


@pytest.mark.parametrize("given", ["", "evidence.jsonl"])
def test_labels_that_were_taken_in_since_make_a_bundle_stale(given: str, run: Path) -> None:
    assert read_source(run / given).signed.decision.verdict == "halt"
    take_label(run)
    with pytest.raises(StaleError, match="went on, or was changed") as caught:
        read_source(run / given)
    assert caught.value.where == str(run / "run.db")
    assert f"--resume --out {run}" in caught.value.fix


def test_who_names_the_folder_of_a_run_that_went_on_gets_neither_its_bundle_held_nor_statements(run: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["verify", str(run)], standalone_mode=False).return_value == 0
    take_label(run)
    verified = CliRunner().invoke(app, ["verify", str(run)], standalone_mode=False)
    assert verified.return_value == 1
    assert "the run beside it" in verified.output
    assert CliRunner().invoke(app, ["verify", str(run / "evidence.jsonl")], standalone_mode=False).return_value == 0
    with pytest.raises(StaleError):
        write_intoto(run, tmp_path / "out", key=None, now_ms=1)
    assert not (tmp_path / "out").exists()


def test_trials_that_were_made_since_make_a_bundle_stale_by_its_own_path_too(run: Path) -> None:
    with RunFile.open(run / "run.db") as file:
        last = list(file.trials())[-1]
        file.append([type(last)(**{**{f: getattr(last, f) for f in last.__struct_fields__}, "slot": last.slot + 1})])
    with pytest.raises(StaleError):
        read_source(run / "evidence.jsonl")


def test_a_bundle_alone_is_what_was_signed(run: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copy(run / "evidence.jsonl", tmp_path / "evidence.jsonl"))
    take_label(run)
    assert read_source(bundle).signed.decision.verdict == "halt"


def test_another_runs_bundle_may_lie_beside_a_run_under_another_name_only(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_bundle(other, seed="5f" * 32)
    theirs = Path(shutil.copy(other / "evidence.jsonl", run / "theirs.jsonl"))
    assert read_source(theirs).signed.root == read_source(other).signed.root
    old = Path(shutil.copy(run / "evidence.jsonl", run / "old.jsonl"))
    take_label(run)
    with pytest.raises(StaleError):
        read_source(old)
    shutil.copy(theirs, run / "evidence.jsonl")
    with pytest.raises(StaleError):
        read_source(run)
