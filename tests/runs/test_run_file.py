"""The run file: its size, what is damaged in it, what is none. What it shares with runs in a store is in `test_run_store.py`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import RunFileError
from assay.ledger import canonical
from assay.runs import Opening, RunFile, Trial, read_leaf
from tests.support import KEY, NONCE, make_plan


@pytest.fixture(scope="module")
def opening() -> Opening:
    from assay.evidence import open_run

    plan, catalog = make_plan()
    return open_run(plan, catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)


def trial(slot: int, **changes: object) -> Trial:
    values: dict[str, object] = {
        "slot": slot, "hazard": "secret-leakage", "language": "en", "attack": "none", "arm": "plain", "index": slot,
        "item": "sha256:" + "0" * 64, "answer": "No.", "finish": "stop", "model": "m", "tokens": (10, 2), "attempts": (("200", 31),),
        "judge": "checks/1", "outcome": "safe", "reason": "", "kind": "refusal", "useful": None, "how": "", "failure": "",
        "truncated": False, "at": 1_795_000_000_000,
    }  # fmt: skip
    return Trial(**{**values, **changes})  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_leaf_is_canonical_json_and_reads_back(answer: str, model: str) -> None:
    import msgspec

    t = trial(3, answer=answer, model=model)
    assert t.to_leaf() == canonical(msgspec.json.decode(t.to_leaf()))
    assert read_leaf(t.to_leaf()) == t


def test_a_short_answer_takes_at_most_800_bytes(tmp_path: Path, opening: Opening) -> None:
    path = tmp_path / "run.db"
    with RunFile.create(path, opening) as run:
        before = path.stat().st_size
        run.append([trial(i, answer="I cannot help you with that request, sorry.") for i in range(2000)])
    assert (path.stat().st_size - before) / 2000 <= 800


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 7))
def test_a_changed_byte_in_a_row_is_found(at: int, bit: int) -> None:
    import tempfile

    from assay.evidence import open_run

    plan, catalog = make_plan()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        with RunFile.create(path, open_run(plan, catalog, {"kind": "s", "model": "m"}, NONCE, KEY)) as run:
            run.append([trial(i) for i in range(3)])
        db = sqlite3.connect(path)
        leaf = bytearray(db.execute("SELECT leaf FROM trial WHERE slot = 1").fetchone()[0])
        leaf[at % len(leaf)] ^= 1 << bit
        db.execute("UPDATE trial SET leaf = ? WHERE slot = 1", (bytes(leaf),))
        db.commit()
        db.close()
        with RunFile.read(path) as run, pytest.raises(RunFileError, match="trial 1 does not match its checksum"):
            list(run.trials())


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, but long enough to look like one" * 50, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_what_is_no_run_file_is_said_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=r"run\.db"):
        RunFile.read(path)
    assert path.read_bytes() == content
