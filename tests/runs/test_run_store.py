"""What every run keeps to, in a file or in a store: what it acknowledged is there, whole, and one writer at a time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from assay.errors import RunFileError
from assay.evidence import open_run
from assay.evidence.bundle import write_bundle
from assay.judges import Label
from assay.ledger import PrivateKey, canonical, digest, sign_statement
from assay.plan import Calibrated, Calibration, Source
from assay.plan.model import ErrorRates
from assay.plan.policy import Minimum, Policy
from assay.runs import Opening, ReadRun, RunFile, RunStore, create_run, read_run, reopen_run
from assay.runs.address import parse_store
from tests.runs.test_run_file import trial
from tests.support import KEY, NONCE, judged, make_plan, run_plan


@pytest.fixture(scope="module")
def opening() -> Opening:
    plan, catalog = make_plan()
    return open_run(judged(plan), catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)


@dataclass
class Place:
    """A folder, and the store of its run if there is one."""

    folder: Path
    store: str

    def create(self, opening: Opening) -> RunStore:
        return create_run(self.folder, opening, parse_store(self.store) if self.store else None)

    def damage(self, table: str, column: str, value: object, where: str) -> None:
        """Overwrite one value behind the back of everybody."""
        if self.store:
            import psycopg

            with psycopg.connect(self.store, autocommit=True) as db:
                db.execute(f"UPDATE assay.{table} SET {column} = %b WHERE {where}".encode(), (value,))  # noqa: S608
        else:
            db = sqlite3.connect(self.folder / "run.db")
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))  # noqa: S608
            db.commit()
            db.close()


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "run", request.getfixturevalue("store") if request.param == "postgres" else "")


def test_what_is_written_is_read_again(place: Place, opening: Opening) -> None:
    trials = [trial(i, answer=f"ตอบ {i} \x00 🙂") for i in range(50)]
    with place.create(opening) as run:
        run.append(trials[:30])
        run.append([], {"committed": 30})
        run.append(trials[30:])
        run.append([])
        run.note_incident({"what": "resumed", "at": 1})
        run.note_incident({"what": "resumed", "at": 1})
    with read_run(place.folder) as run:
        assert list(run.trials()) == trials
        assert list(run.trials(48)) == trials[48:]
        assert [leaf for _, leaf in run.leaves()] == [t.to_leaf() for t in trials]
        assert run.trial(7) == trials[7]
        assert run.opening() == opening
        assert run.incidents() == [{"what": "resumed", "at": 1}] * 2
        assert (run.count(), run.count(45), run.unbroken()) == (50, 5, 50)
        with pytest.raises(RunFileError, match="no trial 50"):
            run.trial(50)


def test_the_newest_checkpoint_is_the_one_and_a_damaged_one_is_none(place: Place, opening: Opening) -> None:
    with place.create(opening) as run:
        assert run.checkpoint() is None
        run.append([trial(0)], {"committed": 1, "state": {"a": [1, 2.5]}})
        run.append([trial(1)], {"committed": 2, "state": {"b": []}})
        assert run.checkpoint() == {"committed": 2, "state": {"b": []}}
        run.append([trial(2)])
        assert run.checkpoint() == {"committed": 2, "state": {"b": []}}
    place.damage("checkpoint", "value", b'{"committed":3}', "true")
    with read_run(place.folder) as run:
        assert run.checkpoint() is None


def test_gaps_are_seen_and_pages_are_whole(place: Place, opening: Opening) -> None:
    slots = [*range(2300), 2302, *range(2310, 2400)]
    with place.create(opening) as run:
        run.append([trial(s) for s in slots])
        assert [slot for slot, _ in run.leaves()] == slots
        assert [slot for slot, _ in run.leaves(2301)] == [2302, *range(2310, 2400)]
        assert (run.unbroken(), run.count(2302)) == (2300, 91)
        following = run.leaves(2395)
        assert next(following)[0] == 2395
        run.append([trial(2300), trial(2301)])
        assert run.unbroken() == 2303


def test_a_second_writer_is_refused_and_readers_are_not(place: Place, opening: Opening) -> None:
    with place.create(opening) as run:
        code = f"from assay.runs import reopen_run; from pathlib import Path; reopen_run(Path({str(place.folder)!r}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another process is writing this run" in other.stderr
        run.append([trial(0)])
        with read_run(place.folder) as reader:
            assert reader.count() == 1
            run.append([trial(1)])
            assert reader.count() == 2
    with reopen_run(place.folder) as run:
        run.append([trial(2)])
        assert run.count() == 3


def test_a_transaction_is_whole_or_not_there(place: Place, opening: Opening) -> None:
    with place.create(opening) as run:
        run.append([trial(0)], {"committed": 1})
        for again in ([trial(1), trial(0)], [trial(1), trial(0, answer="another")], [trial(1), trial(1)]):
            with pytest.raises(RunFileError, match=r"already|twice"):
                run.append(again, {"committed": 2})
        assert run.count() == 1
        assert run.checkpoint() == {"committed": 1}
        run.append([trial(1)])
        assert run.count() == 2


def test_an_existing_run_is_not_overwritten(place: Place, opening: Opening) -> None:
    place.create(opening).close()
    with pytest.raises(RunFileError, match="already"):
        place.create(opening)


def test_a_run_that_another_process_made_meanwhile_is_not_replaced(
    tmp_path: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking whether there is one and taking the lock, another process makes a run, writes to it and ends."""
    import assay.runs.file as room

    path, take_lock = tmp_path / "run.db", room.take_lock

    def late(place: Path) -> IO[bytes]:
        monkeypatch.setattr(room, "take_lock", take_lock)
        with RunFile.create(path, opening) as other:
            other.append([trial(0), trial(1)])
        return take_lock(place)

    monkeypatch.setattr(room, "take_lock", late)
    with pytest.raises(RunFileError, match="already"):
        RunFile.create(path, opening)
    with RunFile.open(path) as run:
        assert run.count() == 2


def rechecked(place: Place, **changes: Any) -> None:
    """Put other values into a run's opening, each with its right checksum."""
    for name, value in changes.items():
        data = canonical(value)
        place.damage("meta", "value", data, f"name = '{name}'")
        place.damage("meta", "crc", zlib.crc32(data), f"name = '{name}'")


POLICY = Policy(
    "policy/1", "easy", "1.0.0", "", (Minimum("v", "violation-rate", 0.5, ("en",), ("secret-leakage",)),), ErrorRates(0.05, 0.05), 30
)


def _easier(opening: Opening) -> dict[str, Any]:
    plan = opening.plan.to_json()
    plan["requirements"][0]["max_rate"] = 0.5
    return {"plan": plan}


def _other_key(opening: Opening) -> dict[str, Any]:
    return {"public_key": PrivateKey.generate().public.to_json()}


def _signed_anew(opening: Opening) -> dict[str, Any]:
    """With the right key, but no registration."""
    plan = _easier(opening)["plan"]
    said = {"planDigest": digest(plan), "catalogDigest": opening.plan.catalog, "nonceDigest": digest(opening.nonce)}
    other = sign_statement(KEY, [{"name": "m", "digest": {"sha256": "0" * 64}}], "urn:other:v1", {**said, "target": opening.target})
    return {"plan": plan, "opened": other.to_json()}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_easier, "run's plan is not the one that was registered"),
        (lambda o: {"nonce": "00" * 32}, "run's nonce is not"),
        (lambda o: {"target": {**o.target, "model": "another"}}, "run's target is not"),
        (lambda o: {"policy": POLICY.to_json()}, "run's policy is not"),
        (lambda o: {"catalog": msgspec.structs.replace(o.catalog, kinds={}).to_json()}, "run's content is not"),
        (_other_key, "registration does not hold"),
        (_signed_anew, "registration is another statement|another run under this address"),
    ],
)
def test_an_opening_that_was_not_registered_is_refused_whatever_its_checksums(
    place: Place, opening: Opening, change: Callable[[Opening], dict[str, Any]], what: str
) -> None:
    with place.create(opening) as run:
        run.append([trial(0)])
    rechecked(place, **change(opening))
    for read in (read_run, reopen_run):
        with pytest.raises(RunFileError, match=what), read(place.folder) as run:
            run.opening()


def test_who_only_reads_does_not_write(tmp_path: Path, store: str, opening: Opening) -> None:
    create_run(tmp_path / "run", opening, parse_store(store)).close()
    with read_run(tmp_path / "run") as run:
        for write in (lambda: run.append([trial(0)]), lambda: run.note_incident({"what": "x", "at": 1})):
            with pytest.raises(RunFileError, match="for reading only"):
                write()
        assert run.count() == 0


def label(number: int) -> Label:
    values = {
        "number": number, "at": number, "slot": 0, "item": "sha256:" + "0" * 64, "transcript": "sha256:" + "1" * 64, "labeller": "Aisyah",
        "verdict": "violation",
    }  # fmt: skip
    return msgspec.convert(values, Label)


def test_labels_are_taken_in_once_from_behind_the_last_trial(place: Place, opening: Opening) -> None:
    with place.create(opening) as run:
        run.append([trial(0), trial(1)])
        first = run.take([label(1), label(2)])
        assert first is not None
        assert (first.slot, [lab.number for lab in first.labels]) == (2, [1, 2])
        assert run.take([label(1), label(2)]) is None
        run.append([trial(2)])
        second = run.take([label(2), label(3)])
        assert second is not None
        assert (second.slot, [lab.number for lab in second.labels]) == (3, [3])
        row = Calibrated("sha256:" + "2" * 64, "secret-leakage", "en", "plain", 10, 1, 1, 20)
        elsewhere = Calibration("calibration/1", (row,), (Source("sha256:" + "1" * 64, 30, 2),), ())
        third = run.take([], elsewhere)
        assert third is not None
        assert third.calibrated == (row,)
        assert run.take([], elsewhere) is None
        fewer = Calibration("calibration/1", (msgspec.structs.replace(row, caught=5),), elsewhere.sources, ())
        with pytest.raises(RunFileError, match="fewer labels"):
            run.take([], fewer)
        own = Calibration("calibration/1", (row,), (Source(run.digest, 30, 2),), ())
        with pytest.raises(RunFileError, match="this very run"):
            run.take([], own)
        kept = run.taken()
    assert kept == [first, second, third]
    with read_run(place.folder) as again:
        assert again.taken() == kept


@pytest.mark.parametrize(
    ("table", "column", "where", "read"),
    [
        ("trial", "leaf", "slot = 1", lambda run: list(run.trials())),
        ("trial", "leaf", "slot = 1", lambda run: run.trial(1)),
        ("incident", "value", "id = 1", lambda run: run.incidents()),
        ("taken", "value", "id = 1", lambda run: run.taken()),
        ("meta", "value", "name = 'plan'", lambda run: run.opening()),
    ],
)
def test_a_changed_value_is_found_and_named(
    place: Place, opening: Opening, table: str, column: str, where: str, read: Callable[[ReadRun], object]
) -> None:
    with place.create(opening) as run:
        run.append([trial(i) for i in range(3)])
        run.note_incident({"what": "x", "at": 1})
        run.take([label(1)])
    place.damage(table, column, b'{"what":"y","at":1}', where)
    with pytest.raises(RunFileError, match="does not match its checksum"), read_run(place.folder) as run:
        read(run)


def test_the_bundle_is_the_same_bytes_wherever_the_run_lies(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, catalog = make_plan(budget={"calls": 60})
    monkeypatch.setattr("assay.evidence.bundle._now_ms", lambda: 1_795_000_000_000)
    tmp_path.joinpath("file").mkdir()
    with (
        run_plan(tmp_path / "file" / "run.db", plan, catalog) as file,
        create_run(tmp_path / "stored", file.opening(), parse_store(store)) as stored,
    ):
        stored.append(file.trials())
        for incident in file.incidents():
            stored.note_incident(incident)
        write_bundle(file, KEY, "complete", tmp_path / "file" / "evidence.jsonl")
        write_bundle(stored, KEY, "complete", tmp_path / "stored" / "evidence.jsonl")
    one, other = (tmp_path / name / "evidence.jsonl" for name in ("file", "stored"))
    assert one.read_bytes() == other.read_bytes()
    assert b'"kind":"trials"' in one.read_bytes()
