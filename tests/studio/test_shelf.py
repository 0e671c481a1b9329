"""What a folder of runs is said to hold: every state, every signature that does not fit, and names that nobody should have chosen."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from assay.evidence.beside import labels_of
from assay.runs import RunFile
from assay.studio.following import Follower
from assay.studio.shelf import DOCUMENTS, Run, Shelf
from assay.studio.stores import Stored
from assay.studio.writers import born, is_alive, writer_of
from tests.studio.serving import MARKUP, fill
from tests.support import make_bundle, make_plan, run_plan, take_label


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf") / "runs"
    fill(folder)
    return Shelf(folder)


@pytest.fixture
def runs(shelf: Shelf) -> dict[str, Run]:
    return {r.shown: r for r in shelf.runs()}


def test_every_state_is_told(runs: dict[str, Run]) -> None:
    assert {n: r.state for n, r in runs.items() if r.state != "broken"} == {
        "finished": "finished", "older": "stopped", "forged": "stopped", "stopped": "stopped", MARKUP: "finished", "theirs": "finished",
    }  # fmt: skip
    finished = runs["finished"]
    assert (finished.plan, finished.target) == ("small", "scripted:0.3")
    assert (finished.verdict, finished.signed, finished.ended) == ("halt", "yes", "complete")
    assert 0 < finished.trials <= finished.budget == 400
    assert (runs["theirs"].verdict, runs["theirs"].has_run_file, runs["theirs"].trials) == ("halt", False, finished.trials)


def test_no_verdict_is_shown_without_a_signature_over_this_very_run(runs: dict[str, Run]) -> None:
    assert {n: (runs[n].signed, runs[n].verdict) for n in ("older", "forged", "stopped")} == {
        "older": ("older", ""), "forged": ("bad", ""), "stopped": ("no", ""),
    }  # fmt: skip


def test_broken_ones_say_what_is_wrong(runs: dict[str, Run]) -> None:
    assert "damaged" in runs["garbage"].wrong
    assert runs["hollow"].wrong == "the run file is no file"
    assert runs["begun"].wrong == "there is no run file"
    assert sorted(r.shown for r in runs.values() if not r.name) == ["two\ufffdlines", "\ufffd\ufffd"]
    assert all(shown.isprintable() for shown in runs)
    assert "not a run" not in runs


def test_a_bundle_whose_last_line_was_changed_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_bundle(tmp_path / "one")
    bundle = tmp_path / "one" / "evidence.jsonl"
    shelf = Shelf(tmp_path)
    assert shelf.runs()[0].signed == "yes"
    *head, last = bundle.read_bytes().splitlines(keepends=True)
    bundle.write_bytes(b"".join(head) + last.replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert (shelf.runs()[0].signed, shelf.runs()[0].verdict) == ("bad", "")
    bundle.write_bytes(b"\xff" * 100)
    assert shelf.runs()[0].signed == "bad"
    (tmp_path / "one" / "run.db").unlink()
    assert shelf.runs()[0].state == "broken"


def test_a_document_is_a_file_of_the_run_itself(shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.folder / "finished"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "report.html").symlink_to(secret)
    assert shelf.document("finished", "report") is None
    (folder / "report.html").unlink()
    (folder / "report.html").write_text("<p>report")
    assert shelf.document("finished", "report") == folder / "report.html"
    for name, which in (("..", "report"), ("finished/../finished", "report"), ("", "report"), (".", "report"), ("finished", "run.db")):
        assert shelf.document(name, which) is None
    assert set(DOCUMENTS) == {"report", "paper", "explorer"}
    (folder / "report.html").unlink()


def test_who_writes_is_seen_without_taking_the_lock(tmp_path: Path) -> None:
    plan, catalog = make_plan()
    path = tmp_path / "runs" / "one" / "run.db"
    path.parent.mkdir(parents=True)
    with run_plan(path, plan, catalog):
        assert writer_of(path) == os.getpid()
        assert [run.state for run in Shelf(tmp_path / "runs").runs()] == ["running"]
    assert writer_of(path) is None


def test_a_later_process_of_the_same_number_is_not_taken_for_it() -> None:
    assert is_alive(os.getpid(), born(os.getpid()))
    assert not is_alive(os.getpid(), "1")
    assert not is_alive(os.getpid(), "")


def test_labels_that_were_taken_in_since_take_the_verdict_off_the_list(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_bundle(tmp_path / "one")
    shelf = Shelf(tmp_path)
    assert [(r.state, r.signed, r.verdict) for r in shelf.runs()] == [("finished", "yes", "halt")]
    take_label(tmp_path / "one")
    assert [(r.state, r.signed, r.verdict) for r in shelf.runs()] == [("stopped", "older", "")]


def test_of_a_run_in_a_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    make_bundle(folder)
    shelf, kinds = Shelf(tmp_path), []
    (tmp_path / "run.db").write_bytes((folder / "run.db").read_bytes())
    (folder / "run.db").unlink()
    (folder / "run.ref").touch()
    for labels in (False, True):
        if labels:
            take_label(tmp_path)
        with RunFile.read(tmp_path / "run.db") as run:
            found = Stored(run.opening(), run.count(), run.unbroken(), written=False, labels=labels_of(run))
        monkeypatch.setattr(shelf._stores, "look", lambda path, found=found: found)
        kinds += [(r.signed, r.verdict) for r in shelf.runs()]
    assert kinds == [("yes", "halt"), ("older", "")]


def earlier(shelf: Shelf) -> tuple[str, ...]:
    return shelf.runs()[0].earlier


def test_documents_of_an_earlier_decision_are_marked(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    root = make_bundle(folder).root
    shelf = Shelf(tmp_path)
    assert earlier(shelf) == ()
    digest = sha256((folder / "evidence.jsonl").read_bytes()).hexdigest()
    named = {"report.html": root, "explorer.html": digest, "paper.pdf": "%PDF", "paper.html": digest}
    for name, text in named.items():
        (folder / name).write_text(f"<p>{text}")
    assert (shelf.runs()[0].documents, earlier(shelf)) == (tuple(DOCUMENTS), ())
    for name, text in named.items():
        (folder / name).write_text(f"<p>another: {text[:-1]}")
    assert earlier(shelf) == tuple(DOCUMENTS)
    for name, text in named.items():
        (folder / name).write_text(f"<p>anew: {text}")
    assert earlier(shelf) == ()
    for name in named:
        os.utime(folder / name, (1, 1))  # older than the signature, as after labels that changed no trial
    assert earlier(shelf) == tuple(DOCUMENTS)


def test_where_a_run_went_on_only_a_report_made_since_is_of_now(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    make_bundle(folder)
    for name in DOCUMENTS.values():
        (folder / name).write_text("<p>")
        os.utime(folder / name, (1, 1))
    shelf = Shelf(tmp_path)
    take_label(folder)
    assert earlier(shelf) == tuple(DOCUMENTS)
    later = shelf.runs()[0].at // 1000 + 60
    for name in DOCUMENTS.values():
        os.utime(folder / name, (later, later))
    assert earlier(shelf) == ("paper", "explorer")
    (folder / "evidence.jsonl").unlink()
    assert earlier(shelf) == ()


def test_a_look_again_opens_only_what_changed(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        shutil.copytree(shelf.folder / "finished", tmp_path / f"run-{i}")
    many, opened = Shelf(tmp_path), []
    read = RunFile.read

    def counted(path: Path) -> RunFile:
        opened.append(path.parent.name)
        return read(path)

    monkeypatch.setattr(RunFile, "read", counted)
    before = many.runs()
    assert len(set(opened)) == 20
    opened.clear()
    assert many.runs() == before
    assert opened == []
    with RunFile.open(tmp_path / "run-7" / "run.db") as run:
        run.note_incident({"what": "resumed", "at": 1})
        many.runs()
    assert set(opened) == {"run-7"}


def test_being_looked_at_is_no_change(shelf: Shelf) -> None:
    before = shelf.run("finished")
    follower = Follower(shelf.folder / "finished" / "run.db")
    follower.look()
    assert shelf.run("finished") == before
    follower.close()
    assert shelf.run("finished") == before
