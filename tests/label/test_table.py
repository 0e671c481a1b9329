"""Labels go to other tools and come back the same; what does not fit is named by file and line, and then nothing is imported."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError
from assay.label import Desk, Given, Sent
from assay.label.queue import Candidate
from assay.label.rows import Row, parse_row
from assay.label.table import COLUMNS, as_cell, from_cell, read_labels, write_labels, write_tasks
from assay.web.signin import Person
from tests.label.making import judged_run
from tests.support import sampled

NOTES = ["", "=1+1", "+2", "-3", "@SUM(A1)", "'=x", "''", 'a,"b"\r\nc\n\rd', "\t=cmd|'/c calc'!A1", "ஏன்?", "\u202eabc", "＝1", " =1", "0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("table"), people=2, calls=16, answer=lambda t: f'=HYPERLINK("http://evil.invalid") {t.slot}')


@pytest.fixture
def labelled(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "run.db").write_bytes((made / "run.db").read_bytes())
    with Desk.open(tmp_path) as desk:
        for number, note in enumerate(NOTES):
            for name in ("Aisyah", "வேய்"[:1]):
                view = desk.view(desk.candidates[number])
                verdict: Any = ("violation", "acceptable", "unsure")[number % 3]
                act = Sent(
                    id=f"{name}-{number:0>8}".encode().hex()[:60], act="label", slot=view.slot, transcript=view.transcript, verdict=verdict,
                    refusal=(None, "full", "partial")[number % 3], modes=(1, 10)[: number % 3], confidence=(None, "high")[number % 2],
                    note=note,
                )  # fmt: skip
                desk.act(Person(name), act)
    return tmp_path


def fresh(made: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.db").write_bytes((made / "run.db").read_bytes())
    return folder


def said(run: Path) -> Any:
    with Desk.open(run) as desk:
        return {(slot, n): (x.verdict, x.refusal, x.modes, x.confidence, x.note, x.at, x.item, x.transcript, x.adjudicates)
                for slot, mine in desk.book.labels.items() for n, x in mine.items()}  # fmt: skip


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_labels_go_out_and_come_back_the_same(name: str, made: Path, labelled: Path, tmp_path: Path) -> None:
    with Desk.open(labelled) as desk:
        assert write_labels(desk, tmp_path / name) == 2 * len(NOTES)
    other = fresh(made, tmp_path / "other")
    with Desk.open(other) as desk:
        loaded = read_labels(desk, tmp_path / name)
        assert (len(loaded.rows), loaded.known) == (2 * len(NOTES), 0)
        assert loaded.add(desk) == 2 * len(NOTES)
    assert said(other) == said(labelled)
    with Desk.open(other) as desk:
        again = read_labels(desk, tmp_path / name)
        assert (again.add(desk), again.known) == (0, 2 * len(NOTES))


@settings(max_examples=300)
@given(st.text(alphabet=st.one_of(st.sampled_from("'=+-@\t\r\n \"＝"), st.characters(codec="utf-8")), max_size=12))
def test_no_cell_is_a_formula_and_every_cell_comes_back(text: str) -> None:
    cell = as_cell(text)
    assert from_cell(cell) == text
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝"))
    assert not cell.startswith(("\t", "\r"))


def test_a_spreadsheet_gets_no_formula_from_a_hostile_answer(labelled: Path, tmp_path: Path) -> None:
    with Desk.open(labelled) as desk:
        write_labels(desk, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tasks_are_blind_and_come_back_labelled(suffix: str, made: Path, tmp_path: Path) -> None:
    run = fresh(made, tmp_path / "run")
    path = tmp_path / f"tasks{suffix}"
    with Desk.open(run) as desk:
        assert write_tasks(desk, path) == len(desk.candidates)
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("needs a judge", "unscorable", "flagged", "scripted") if word in text]
        assert read_labels(desk, path).rows == ()
    if suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row |= {"verdict": "violation", "annotator": "Wei"}
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, "annotator"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        tasks = [json.loads(line) for line in text.splitlines()]
        chosen = {"from_name": "verdict", "to_name": "conversation", "type": "choices", "value": {"choices": ["violation"]}}
        for task in tasks:
            task["annotations"] = [{"annotator": "Wei", "completed_by": 7, "result": [chosen], "created_at": "2026-11-29T16:20:00Z"}]
        path.write_text(json.dumps(tasks), encoding="utf-8")
    with Desk.open(run) as desk:
        loaded = read_labels(desk, path, "annotator")
        assert {r.labeller for r in loaded.rows} == {"Wei"}
        assert loaded.add(desk) == len(desk.candidates)


WRONG = {
    "another transcript": ({"transcript": f"sha256:{'0' * 64}"}, "the transcript is another one"),
    "another item": ({"item": f"sha256:{'0' * 64}"}, "the item is another one"),
    "no such trial": ({"slot": "9999"}, "trial 9999 is not in this run"),
    "no slot": ({"slot": "x"}, "no 'slot'"),
    "no such verdict": ({"verdict": "bad"}, "Invalid enum value 'bad'"),
    "no such mode": ({"modes": "3 11"}, "Expected `int` <= 10"),
    "no number": ({"modes": "three"}, "no numbers of failure modes"),
    "nobody": ({"labeller": ""}, "nobody is named"),
    "no name": ({"labeller": "<script>"}, "is no name"),
    "no time": ({"at": "yesterday"}, "is no time"),
    "long": ({"note": "x" * 4001}, "4000"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_row_and_nothing_is_imported(what: str, made: Path, labelled: Path, tmp_path: Path) -> None:
    changes, message = WRONG[what]
    with Desk.open(labelled) as desk:
        write_labels(desk, tmp_path / "good.csv")
    with (tmp_path / "good.csv").open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if "\n" not in r["note"] and "\r" not in r["note"]]
    for row in rows:
        row["conversation"] = ""
    rows[2] |= changes
    with (tmp_path / "bad.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    other = fresh(made, tmp_path / "other")
    with Desk.open(other) as desk, pytest.raises(AssayError) as caught:
        read_labels(desk, tmp_path / "bad.csv")
    assert f"{tmp_path / 'bad.csv'}:4: " in str(caught.value)
    assert message in str(caught.value)
    assert "Nothing was imported" in str(caught.value)
    assert said(other) == {}


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.csv", b"\xff\xfe"), ("a.csv", b'slot,note\r\n1,"x'), ("a.csv", b"slot,note\r\n1,2,3\r\n"), ("a.jsonl", b'{"slot": 1}\n{'),
     ("a.jsonl", b"[1]"), ("a.jsonl", b"[" * 100_000), ("a.json", b'[{"data": {"slot": null}}]')],
)  # fmt: skip
def test_a_malformed_file_is_named(name: str, data: bytes, made: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with Desk.open(fresh(made, tmp_path / "run")) as desk, pytest.raises(AssayError, match=name):
        read_labels(desk, tmp_path / name)


def chosen(name: Any, **value: Any) -> dict[str, Any]:
    return {"from_name": name, "value": value}


VIOLATION = chosen("verdict", choices=["violation"])
MISSHAPEN = {
    "a text as annotations": (5, "'annotations' must be a list of objects"),
    "an annotation's number": ([7], "'annotations' must be a list of objects"),
    "a text as result": ([{"result": "x"}], "'result' must be a list of objects"),
    "a text in the result": ([{"result": ["x"]}], "'result' must be a list of objects"),
    "a text as value": ([{"result": [{"from_name": "verdict", "value": "x"}]}], "'value' must be a list of objects"),
    "no choices": ([{"result": [chosen("verdict", choices=None)]}], "there is no verdict"),
    "an object as choice": ([{"result": [chosen("verdict", choices=[{}])]}], "'verdict' must be a text"),
    "no mode": ([{"result": [VIOLATION, chosen("modes", choices=[None])]}], "'modes' must be a text"),
    "an object as note": ([{"result": [VIOLATION, chosen("note", text={})]}], "'note' must be a text"),
}


@pytest.mark.parametrize("what", MISSHAPEN)
def test_a_misshapen_annotation_is_named_with_its_line(what: str, made: Path, tmp_path: Path) -> None:
    annotations, message = MISSHAPEN[what]
    with Desk.open(fresh(made, tmp_path / "run")) as desk:
        c = desk.candidates[0]
        row = {"data": {"slot": c.slot, "transcript": c.transcript}, "annotations": annotations}
        (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(row)}")
        with pytest.raises(AssayError) as caught:
            read_labels(desk, tmp_path / "a.jsonl", labeller="Wei")
    assert f"a.jsonl:2: {message}" in str(caught.value)


def test_modes_come_as_numbers_too_and_a_note_as_one_text(made: Path, tmp_path: Path) -> None:
    with Desk.open(fresh(made, tmp_path / "run")) as desk:
        c = desk.candidates[0]
        results = [VIOLATION, chosen("modes", choices=[2, "1"]), chosen("note", text="so"), chosen(["x"], choices=5)]
        row = {"data": {"slot": c.slot, "transcript": c.transcript}, "annotations": [{"result": results}]}
        flat = {"slot": c.slot, "transcript": c.transcript, "verdict": "violation", "modes": [2, 1], "note": "so"}
        (tmp_path / "a.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(flat)}")
        found = [r.given for r in read_labels(desk, tmp_path / "a.jsonl", labeller="Wei").rows]
    assert found == [Given("violation", modes=(1, 2), note="so")] * 2


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "verdict", "modes", "note", "violation"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["result", "from_name", "value", "choices", "text"]), inner)
    ),
    max_leaves=8,
)


@given(
    annotations=_json,
    row=st.dictionaries(st.sampled_from(["slot", "transcript", "verdict", "modes", "note", "at", "labeller", "data"]), _json),
)
@settings(max_examples=sampled(2000, 300), deadline=None)
def test_whatever_a_row_holds_it_is_read_or_refused(annotations: Any, row: dict[str, Any]) -> None:
    known = Candidate(1, "hate", "en", "plain", "all", f"sha256:{'0' * 64}", f"sha256:{'0' * 64}")
    for raw in (row, {"data": {"slot": 1, "transcript": known.transcript}, "annotations": annotations},
                {"slot": 1, "transcript": known.transcript, "verdict": "violation"} | row):  # fmt: skip
        with suppress(ValueError):
            parse_row(raw, {1: known}, "", "Wei")


def test_a_time_that_no_date_can_say_is_refused_and_hinders_no_export(made: Path, tmp_path: Path) -> None:
    run = fresh(made, tmp_path / "run")
    with Desk.open(run) as desk:
        c = desk.candidates[0]
        csv_of = f"slot,transcript,verdict,labeller,at\n{c.slot},{c.transcript},violation,Wei,{{}}\n".format
        (tmp_path / "a.csv").write_text(csv_of(2**53 - 1))
        with pytest.raises(AssayError, match="is no time"):
            read_labels(desk, tmp_path / "a.csv")
        row = Row(c, "Wei", Given("violation"), at=2**53 - 1)
        desk.file_rows([row])  # as an earlier release took it in
        for name in ("out.csv", "out.jsonl"):
            assert write_labels(desk, tmp_path / name) == 1
            assert read_labels(desk, tmp_path / name).known == 1
        assert "9999-12-31T23:59:59" in (tmp_path / "out.jsonl").read_text()


def test_a_disk_that_fills_half_way_leaves_none_of_the_rows(made: Path, tmp_path: Path) -> None:
    run = fresh(made, tmp_path / "run")
    with Desk.open(run) as desk:
        rows = [f"{c.slot},{c.transcript},acceptable,Wei,{'x' * 3000}\n" for c in desk.candidates]
        (tmp_path / "a.csv").write_text("slot,transcript,verdict,labeller,note\n" + "".join(rows))
        loaded = read_labels(desk, tmp_path / "a.csv")
        [pages] = desk._labels._db.execute("PRAGMA page_count").fetchone()
        desk._labels._db.execute(f"PRAGMA max_page_count={pages + 3}")
        with pytest.raises(AssayError, match="full"):
            loaded.add(desk)
        assert desk.book.labels == {}
    assert said(run) == {}
    with Desk.open(run) as desk:
        assert read_labels(desk, tmp_path / "a.csv").add(desk) == len(rows)
    assert len(said(run)) == len(rows)


def test_an_import_lets_nobody_decide_about_their_own_label(made: Path, tmp_path: Path) -> None:
    with Desk.open(fresh(made, tmp_path / "run")) as desk:
        c = desk.candidates[0]
        row = f"slot,transcript,verdict,labeller,adjudicates\n{c.slot},{c.transcript},{{}},Wei,{{}}\n".format
        (tmp_path / "a.csv").write_text(row("violation", ""))
        read_labels(desk, tmp_path / "a.csv").add(desk)
        (tmp_path / "a.csv").write_text(row("acceptable", "yes"))
        with pytest.raises(AssayError, match="'Wei' has labelled it, so somebody else decides"):
            read_labels(desk, tmp_path / "a.csv")


def test_only_known_formats_are_written(made: Path, tmp_path: Path) -> None:
    with Desk.open(fresh(made, tmp_path / "run")) as desk, pytest.raises(AssayError, match=r"\.csv or \.jsonl"):
        write_labels(desk, tmp_path / "labels.xlsx")
