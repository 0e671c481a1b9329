"""The review sheet goes out and comes back; nothing is applied unless all of it can be."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from assay.catalog.files import ROOT, read_texts, read_world
from assay.catalog.review import COLUMNS, apply, read_sheet, sheet, to_yaml
from assay.catalog.yamlfile import load_yaml
from assay.cli import main
from assay.errors import CatalogError

Rows = list[dict[str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the content with two hazards."""
    copy = tmp_path / "content"
    for hazard in ("secret-leakage", "personal-data"):
        shutil.copytree(ROOT / "hazards" / hazard, copy / "hazards" / hazard)
    return copy


def rows_of(text: str) -> Rows:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def write(rows: Rows, path: Path) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_what_is_approved_is_reviewed_and_what_is_changed_is_written(root: Path, tmp_path: Path) -> None:
    rows = rows_of(sheet("ms", root))
    for row in rows:
        row["verdict"] = "OK"
    changed = next(r for r in rows if r["hazard"] == "personal-data" and r["scenario"] == "school-contact" and r["field"] == "benign")
    changed |= {"verdict": "change", "new_text": changed["text"].replace("Mesyuaratnya di bilik mana?", "Mesyuarat tu di bilik mana ya?")}
    changes = read_sheet(write(rows, tmp_path / "s.csv"), "ms", root)
    assert all(c.whole for c in changes)
    paths = apply(changes, "ms", "Aminah Yusof", "2026-11-23", root)
    assert len(paths) == 2
    texts = read_texts("personal-data", "ms", root)
    assert texts.texts["school-contact"].benign.strip() == changed["new_text"]
    assert texts.reviews["school-contact"] == "Aminah Yusof, 2026-11-23"
    assert texts.unreviewed == []
    before = read_texts("secret-leakage", "ms")
    assert {k: v.user.strip() for k, v in read_texts("secret-leakage", "ms", root).texts.items()} == {
        k: v.user.strip() for k, v in before.texts.items()
    }
    with pytest.raises(CatalogError, match="nothing is left"):
        sheet("ms", root)
    assert len(rows_of(sheet("ms", root, everything=True))) == len(rows)


def test_worlds_are_reviewed_text_by_text_and_count_when_all_of_a_file_is_read(root: Path, tmp_path: Path) -> None:
    for folder in ("worlds/banking", "worlds/common", "hazards/agent-banking"):
        shutil.copytree(ROOT / folder, root / folder)
    rows = [r for r in rows_of(sheet("en", root)) if r["hazard"] == "world:banking"]
    assert {"role", "tasks.pay-invoice", "tools.transfer", "tools.transfer.payee", "twins.split-payment"} <= {r["scenario"] for r in rows}
    for row in rows:
        row["verdict"] = "ok"
    changed = next(r for r in rows if r["scenario"] == "goals.stop-order")
    changed |= {"verdict": "change", "new_text": "please end the standing order {order}."}
    before = read_world("banking", "en", root)
    (path,) = apply(read_sheet(write(rows[:-1], tmp_path / "a.csv"), "en", root), "en", "Jane Tan", "2026-11-23", root)
    assert path == root / "worlds" / "banking" / "en.yaml"
    after = read_world("banking", "en", root)
    assert after.units == {**before.units, "goals.stop-order": "please end the standing order {order}."}
    assert read_texts("agent-banking", "en", root).reviews == {}
    apply(read_sheet(write(rows[-1:], tmp_path / "b.csv"), "en", root), "en", "Jane Tan", "2026-11-23", root)
    assert read_texts("agent-banking", "en", root).unreviewed == []
    with pytest.raises(CatalogError, match="slots must stay"):
        read_sheet(write([changed | {"new_text": "end it.", "verdict": "change"}], tmp_path / "c.csv"), "en", root)


def test_a_scenario_that_was_read_in_part_is_not_reviewed(root: Path, tmp_path: Path) -> None:
    rows = rows_of(sheet("ms", root))
    rows[0]["verdict"] = "ok"
    changes = read_sheet(write(rows, tmp_path / "s.csv"), "ms", root)
    assert [c.whole for c in changes] == [False]
    apply(changes, "ms", "Aminah Yusof", "2026-11-23", root)
    assert read_texts(rows[0]["hazard"], "ms", root).reviews == {}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"verdict": "maybe"}, "not ok or change"),
        ({"verdict": "change"}, "needs new_text"),
        ({"verdict": "change", "new_text": "tiada slot di sini"}, "slots must stay"),
        ({"verdict": "ok", "text": "something else"}, "was changed since"),
        ({"verdict": "ok", "scenario": "no-such"}, "there is no text"),
        ({"verdict": "ok", "hazard": "../../etc"}, "there is no text"),
        ({"verdict": "ok", "field": "__class__"}, "there is no text"),
    ],
)
def test_a_sheet_that_cannot_be_applied_changes_nothing(root: Path, tmp_path: Path, change: dict[str, str], what: str) -> None:
    rows = rows_of(sheet("ms", root))
    for row in rows:
        row["verdict"] = "ok"
    spoilt = next(r for r in rows if "{" in r["text"])
    spoilt |= change
    with pytest.raises(CatalogError, match=what) as e:
        read_sheet(write(rows, tmp_path / "s.csv"), "ms", root)
    assert f"s.csv:{rows.index(spoilt) + 2}" in e.value.where


@pytest.mark.parametrize(("reviewer", "date"), [("", "2026-11-23"), ("A" * 200, "2026-11-23"), ("Aminah", "yesterday")])
def test_a_review_has_a_name_and_a_date(root: Path, reviewer: str, date: str) -> None:
    with pytest.raises(CatalogError, match="a reviewer and a date"):
        apply([], "ms", reviewer, date, root)


def test_files_are_written_as_they_are_read(root: Path) -> None:
    from assay.catalog.content import HazardTexts

    for path in root.glob("hazards/*/*.yaml"):
        if path.stem != "hazard":
            texts = read_texts(path.parent.name, path.stem, root)
            again = load_yaml(to_yaml(texts), HazardTexts, where="x", error=CatalogError)
            assert {k: (v.user.strip(), v.system.strip()) for k, v in again.texts.items()} == {
                k: (v.user.strip(), v.system.strip()) for k, v in texts.texts.items()
            }


def test_no_cell_is_a_formula(root: Path) -> None:
    for row in rows_of(sheet("en", root)):
        assert all(v[:1] not in ("=", "+", "-", "@") for v in row.values())


def test_the_command_goes_both_ways(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "review.csv"
    monkeypatch.setattr("sys.argv", ["assay", "catalog", "review", "ta", "--out", str(out), "--root", str(root)])
    assert main() == 0
    assert "lines to read" in capsys.readouterr().out
    rows = rows_of(out.read_text(encoding="utf-8-sig"))
    for row in rows:
        row["verdict"] = "ok"
    write(rows, out)
    monkeypatch.setattr(
        "sys.argv", ["assay", "catalog", "review", "ta", "--read", str(out), "--reviewer", "Kavitha R.", "--root", str(root)]
    )
    assert main() == 0
    assert "scenarios reviewed" in capsys.readouterr().out
    assert read_texts("secret-leakage", "ta", root).unreviewed == []
