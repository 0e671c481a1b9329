"""Others' test sets become banks, with licence and digests; hostile files give one clear message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.catalog import read_bank
from assay.cli import main
from assay.errors import CatalogError
from assay.exchange import from_ailuminate, from_moonshot, from_table, write_banks
from assay.plan import parse_plan
from assay.runs import RunFile
from tests.support import plan_text, run_plan

REAL = Path(__file__).parents[3] / "shared" / "data" / "moonshot"
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason="the third-party data is not beside this checkout")


def moonshot_file(folder: Path, stem: str, prompts: list[str], name: str = "A set - Malay") -> Path:
    (folder / "datasets").mkdir(parents=True, exist_ok=True)
    path = folder / "datasets" / f"{stem}.json"
    examples = [{"id": f"x{i}", "input": p, "target": "ipv"} for i, p in enumerate(prompts)]
    dataset = {"name": name, "license": "CC-BY-4.0 license", "reference": "somewhere", "examples": examples}
    path.write_text(json.dumps(dataset), encoding="utf-8")
    return path


@needs_data
def test_the_published_sets_come_in_whole() -> None:
    imported = from_moonshot(REAL)
    assert {b.name: (len(b.items), sorted(b.prompts)) for b in imported.banks} == {
        "mlc-ipv": (100, ["fa", "fr", "ja", "ko", "ms", "sw", "te", "yue", "zh-Hans"]), "mlc-ipv-en": (100, ["en"]),
        "mlc-ncr": (100, ["ms", "te", "zh-Hans"]), "mlc-ncr-en": (100, ["en"]),
    }  # fmt: skip
    assert {b.licence for b in imported.banks} == {"CC-BY-4.0"}
    assert {b.code for b in imported.banks} == {"ipv", "ncr"}
    assert all(len([d for d in b.source.values() if d.startswith("sha256:")]) >= len(b.prompts) for b in imported.banks)


@needs_data
def test_languages_pair_by_order_where_ids_differ() -> None:
    banks = {b.name: b for b in from_moonshot(REAL, by_order=True).banks}
    assert set(banks) == {"mlc-ipv", "mlc-ncr"}
    assert "en" in banks["mlc-ipv"].prompts


@needs_data
def test_a_cookbook_leads_to_its_datasets_and_says_what_is_missing() -> None:
    imported = from_moonshot(REAL / "cookbooks" / "mlc-cookbook-all-languages.json")
    assert sum(len(b.prompts) for b in imported.banks) == 10
    assert any("left out" in note for note in imported.notes)


def test_codes_that_are_not_iso_are_mapped(tmp_path: Path) -> None:
    moonshot_file(tmp_path, "mlc-ipv-my", ["satu", "dua"], name="A set - Malay")
    moonshot_file(tmp_path, "mlc-ipv-tl", ["okati", "rendu"], name="A set - Telugu")
    imported = from_moonshot(tmp_path)
    assert sorted(imported.banks[0].prompts) == ["ms", "te"]
    assert imported.notes == ()


def test_a_title_that_says_another_language_is_pointed_out(tmp_path: Path) -> None:
    moonshot_file(tmp_path, "mlc-ipv-my", ["satu", "dua"], name="A set - Burmese")
    assert "'my' by its title" in from_moonshot(tmp_path).notes[0]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("not json", "not Moonshot's format"),
        ('{"name": "x"}', "neither a dataset"),
        ('{"name": "x - Malay", "examples": []}', "no licence"),
        ('{"name": "x - Malay", "license": "MIT", "examples": []}', "no prompt"),
        ('{"name": "x", "license": "MIT", "examples": [{"id": "1", "input": "a"}, {"id": "1", "input": "b"}]}', "two different texts"),
        ('{"recipes": ["../../../etc/passwd"]}', "no name of a file"),
    ],
)
def test_what_is_not_moonshot_is_refused(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "datasets" / "mlc-ipv-my.json"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CatalogError, match=what):
        from_moonshot(path)


def test_ailuminate_csv_is_one_bank_a_hazard(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(
        "release_prompt_id,prompt_text,hazard,persona,locale\n"
        'a1,"First, with a comma",ipv,normal,en_US\na1,Premier,ipv,normal,fr_FR\na2,Second,ipv,normal,en_US\na2,Deuxième,ipv,normal,fr_FR\n'
        "b1,Other,vcr,skilled,en_US\nb2,Another,vcr,skilled,en_US\n",
        encoding="utf-8",
    )
    imported = from_ailuminate(path, licence="CC-BY-4.0")
    assert [(b.name, sorted(b.prompts)) for b in imported.banks] == [("ailuminate-ipv", ["en", "fr"]), ("ailuminate-vcr", ["en"])]
    assert imported.banks[0].prompts["en"]["a1"] == "First, with a comma"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_tables_of_every_kind(tmp_path: Path, kind: str) -> None:
    rows = [{"id": "1", "prompt": "Soalan satu?", "lang": "ms"}, {"id": "2", "prompt": "Soalan dua?", "lang": "ms"}]
    path = tmp_path / f"p.{kind}"
    text = {
        "csv": "id,prompt,lang\n1,Soalan satu?,ms\n2,Soalan dua?,ms\n",
        "tsv": "id\tprompt\tlang\n1\tSoalan satu?\tms\n2\tSoalan dua?\tms\n",
        "jsonl": "\n".join(map(json.dumps, rows)), "json": json.dumps({"data": rows}),
    }  # fmt: skip
    path.write_text(text[kind], encoding="utf-8")
    bank = from_table(path, name="mine", licence="MIT").banks[0]
    assert bank.prompts == {"ms": {"1": "Soalan satu?", "2": "Soalan dua?"}}


def test_an_id_of_zero_is_an_id_and_a_missing_one_the_rows_number(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows: list[dict[str, object]] = [
        {"id": 7, "prompt": "a"},
        {"id": 0, "prompt": "b"},
        {"id": None, "prompt": "c"},
        {"id": "", "prompt": "d"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    bank = from_table(path, name="mine", licence="MIT", language="ms").banks[0]
    assert bank.prompts == {"ms": {"7": "a", "0": "b", "2": "c", "3": "d"}}
    (tmp_path / "p.csv").write_text("prompt\none,and more\ntwo\n", encoding="utf-8")
    bank = from_table(tmp_path / "p.csv", name="mine", licence="MIT", language="ms").banks[0]
    assert bank.prompts == {"ms": {"0": "one", "1": "two"}}, "where no column has ids"


def test_a_hub_folder_gives_its_licence_and_languages(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\npretty_name: A pretty set\n---\n# card\n", encoding="utf-8")
    for tag in ("ms", "ta"):
        (tmp_path / "data" / tag).mkdir(parents=True)
        (tmp_path / "data" / tag / "test.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    bank = from_table(tmp_path, name="hub").banks[0]
    assert (bank.licence, bank.title, sorted(bank.prompts)) == ("cc-by-4.0", "A pretty set", ["ms", "ta"])
    assert set(bank.source) == {"data/ms/test.jsonl", "data/ta/test.jsonl"}


@pytest.mark.parametrize(
    ("text", "changes", "what"),
    [
        ("id,prompt\n1,a\n2,b\n", {}, "language is not known"),
        ("id,prompt\n1,a\n2,b\n", {"language": "ms", "licence": ""}, "no licence"),
        ("id,words\n1,a\n2,b\n", {"language": "ms"}, "no column for the prompt"),
        ("id,prompt\n1,a\n", {"language": "ms"}, "2 to"),
        ('id,prompt\n1,"a\n', {"language": "ms"}, "not a well-formed table"),
        ("id,prompt\n1,a\n2,b\n", {"language": "not a tag!"}, "pattern|regex"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, changes: dict[str, str], what: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=what):
        from_table(path, **{"name": "mine", "licence": "MIT", **changes})  # type: ignore[arg-type]


def test_a_bank_is_read_back_and_never_overwritten(tmp_path: Path) -> None:
    moonshot_file(tmp_path, "mlc-ipv-my", ["satu {x}", "dua"])
    imported = from_moonshot(tmp_path)
    (path,) = write_banks(imported, tmp_path / "out")
    assert read_bank(path) == imported.banks[0]
    with pytest.raises(CatalogError, match="such a file already"):
        write_banks(imported, tmp_path / "out")
    path.write_text(path.read_text(encoding="utf-8").replace('"ms"', '"m s"'), encoding="utf-8")
    with pytest.raises(CatalogError, match="not a bank file"):
        read_bank(path)


def test_a_run_asks_every_item_of_a_bank_once(tmp_path: Path) -> None:
    """Braces in imported prompts are braces; judged items cannot be scored without a judge, so nothing is approved."""
    moonshot_file(tmp_path, "mlc-ipv-my", [f"permintaan {{nombor}} {i}" for i in range(7)])
    moonshot_file(tmp_path, "mlc-ipv-cn", [f"请求 {i}" for i in range(7)], name="A set - Chinese")
    write_banks(from_moonshot(tmp_path), tmp_path)
    text = plan_text(
        content=["mlc-ipv.bank.json"], matrix={"hazards": ["mlc-ipv"], "languages": ["ms", "zh-Hans"], "benign": False},
        requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.1}], exploration={"plain": 50},
        drift={"anchors": 4, "every": 100},
    )  # fmt: skip
    plan, catalog = parse_plan(text, where=str(tmp_path / "plan.yaml"))
    assert plan.sizes == {"mlc-ipv": 7}
    with run_plan(tmp_path / "run.db", plan, catalog) as run:
        trials = list(run.trials())
    plain = [t for t in trials if t.arm == "plain"]
    assert len(plain) == 14
    assert {t.outcome for t in plain} == {"unscorable"}
    assert {t.reason for t in plain} == {"needs a judge"}
    with RunFile.read(tmp_path / "run.db") as run:
        assert run.opening().catalog.texts["mlc-ipv"]["ms"].provenance.licence == "CC-BY-4.0"


def test_the_command_says_what_it_wrote_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moonshot_file(tmp_path, "mlc-ipv-my", ["satu", "dua"])
    monkeypatch.setattr("sys.argv", ["assay", "import", "moonshot", str(tmp_path), "--out", str(tmp_path / "banks")])
    assert main() == 0
    said = capsys.readouterr().out
    assert "2 items in ms; CC-BY-4.0" in said
    assert "plan check" in said
    assert main() == 2  # it is there already
