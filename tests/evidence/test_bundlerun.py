"""A bundle read as a run gives the same as the run file; and no byte of it can be altered unseen."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from assay.errors import EvidenceError
from assay.evidence.beside import StaleError
from assay.report.sources import read_source, read_sources
from assay.report.tally import collect
from assay.runs import RunFile
from tests.evidence.authority import approving_run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return approving_run(tmp_path_factory.mktemp("signed"))


def test_a_bundle_says_what_the_run_file_says(bundle: Path) -> None:
    source = read_source(bundle)
    with RunFile.read(bundle.parent / "run.db") as run:
        theirs = collect(run)
        assert source.run.digest == run.digest
        assert list(source.run.leaves()) == list(run.leaves())
        assert source.run.trial(3) == run.trial(3)
        assert source.run.incidents() == run.incidents()
    assert source.signed.root == theirs.recount.root
    assert source.signed.decision == theirs.gate.decision()
    assert {s: c.violations for s, c in source.tally.streams.items()} == {s: c.violations for s, c in theirs.streams.items()}
    with pytest.raises(EvidenceError, match="has no trial"):
        source.run.trial(10**6)


def test_no_byte_of_a_bundle_can_be_altered_unseen(bundle: Path, tmp_path: Path) -> None:
    """Every byte of the small sections, and a sample of the trials'."""
    data = bundle.read_bytes()
    assert read_source(bundle).signed.decision.verdict == "approve"
    lines = data.split(b"\n")
    trials = sum(len(line) + 1 for line in lines[:11])
    rng, copy = random.Random(3), tmp_path / "evidence.jsonl"
    places = [*rng.sample(range(trials), 300), *rng.sample(range(trials, len(data)), 300), len(data) - 1]
    for at in places:
        copy.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        with pytest.raises(EvidenceError):
            read_source(copy)


@pytest.mark.parametrize("change", ["a trial less", "a trial twice", "a line more", "no last line", "no newline"])
def test_lines_left_out_or_added_are_found(bundle: Path, tmp_path: Path, change: str) -> None:
    lines = bundle.read_bytes().split(b"\n")
    changed = {
        "a trial less": lines[:12] + lines[13:], "a trial twice": lines[:12] + lines[11:], "a line more": [*lines[:-1], b"{}", b""],
        "no last line": [*lines[:-2], b""], "no newline": lines[:-1],
    }[change]  # fmt: skip
    copy = tmp_path / "evidence.jsonl"
    copy.write_bytes(b"\n".join(changed))
    with pytest.raises(EvidenceError):
        read_source(copy)


def test_a_bundle_older_than_its_run_is_stale(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.parent, tmp_path / "run"))
    assert read_source(folder).letter == "A"
    (tmp_path / "other").mkdir()
    other = approving_run(tmp_path / "other")
    shutil.copy(other.parent / "run.db", folder / "run.db")
    with pytest.raises(StaleError, match="went on, or was changed"):
        read_source(folder)
    with pytest.raises(EvidenceError, match="no signed evidence"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(EvidenceError, match="given twice"):
        read_sources([bundle, bundle.parent])
