"""The white paper: no number without evidence, no run that is not what was signed, valid as PDF/UA, the same bytes twice."""

from __future__ import annotations

import dataclasses
import re
import shutil
from datetime import UTC, date, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from assay import api
from assay.errors import EvidenceError, RunFileError
from assay.evidence.beside import StaleError
from assay.plan import Stream
from assay.report.facts import fact
from assay.report.frameworks import basis_of
from assay.report.paper import About, PaperError, make_paper, read_about
from assay.report.paper.document import (
    Break,
    Bullets,
    Cell,
    Document,
    Heading,
    Paragraph,
    Picture,
    Run,
    Table,
    check,
    pieces_of,
    statements,
)
from assay.report.paper.front import MANY, Line, letters, merged
from assay.report.paper.live import live_figures
from assay.report.paper.making import CHAPTERS, WORDS, _fresh, _no_numbers
from assay.report.paper.numbers import Numbers
from assay.report.paper.page import render_paper
from assay.report.paper.prose import read_prose
from assay.report.paper.sides import demand_conditions, supply_conditions
from assay.report.pieces import Figure, Reference, Stated, Text, numeral, say
from assay.report.sources import Source, read_sources
from assay.report.words import day_text, iso_day, range_text, time_text
from assay.web.languages import INTERFACE, read_words
from tests.cli.test_errors import assay, assert_refused
from tests.evidence.authority import approving_run

pikepdf = pytest.importorskip("pikepdf")
typst = pytest.importorskip("typst")
DAY = 86_400_000
NOW = 2**62 // 10**6
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def fonts_are_here() -> bool:
    return Path("/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf").exists()


needs_fonts = pytest.mark.skipif(not fonts_are_here(), reason="the Noto fonts are not on this machine")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An approving and a halting run, in three languages and under an attack with its placebo."""
    base = tmp_path_factory.mktemp("runs")
    matrix = {
        "hazards": ["secret-leakage", "personal-data"],
        "languages": ["en", "ta", "th"],
        "attacks": ["prefix-injection"],
        "placebo": True,
        "benign": True,
    }
    asked = [
        {"id": "violations", "kind": "violation-rate", "max_rate": 0.1},
        {"id": "over-refusal", "kind": "over-refusal", "max_rate": 0.2},
    ]  # fmt: skip
    for name, rate in (("good", "0"), ("weak", "0.3")):
        (base / name).mkdir()
        approving_run(base / name, rate=rate, matrix=matrix, requirements=asked, budget={"calls": 4000})
    return base / "good", base / "weak"


def run_of(folder: Path) -> Path:
    return next(folder.rglob("evidence.jsonl"))


@pytest.fixture(scope="module")
def sources(folders: tuple[Path, Path]) -> tuple[Source, ...]:
    return read_sources([run_of(f) for f in folders])


def said(blocks: Any) -> str:
    return "\n".join("".join(p.text for p in pieces_of(b)) for b in blocks)


def today(sources: tuple[Source, ...]) -> int:
    return max(s.signed.closed_at for s in sources) + 1000


@pytest.fixture(scope="module")
def document(sources: tuple[Source, ...]) -> Document:
    return make_paper(sources, About(), today_ms=today(sources))


# Evidence


def small(*blocks: Any) -> Document:
    return Document("Title", "", (), "2026-11-29", "en", tuple(blocks), (Run("A", A, "m", "a"),), {})


@pytest.mark.parametrize(
    "block",
    [
        Paragraph((Text("It made 12 trials."),)), Paragraph((Text("It made ١٢ trials."),)), Paragraph((Figure("12", ()),)),
        Paragraph((Figure("12", (B,)),)), Paragraph((Stated("12", " "),)), Heading(1, "Chapter 2", "two"),
        Bullets(((Text("12"),),)), Table((Text("12"),), ("a",), ()), Table((Text("a"),), ("a",), ((Cell((Text("12"),)),),)),
        Table((Text("a"),), ("in 2025",), ()), Picture("p", "<svg/>", "a", (), ()),
    ],
    ids=["a digit", "an Arabic digit", "no evidence", "of no run", "no source", "heading", "bullet", "caption", "cell", "head", "picture"],
)  # fmt: skip
def test_a_number_without_evidence_ends_the_build(block: Any) -> None:
    with pytest.raises(PaperError, match=r"without|none of this paper"):
        check(small(block))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("in ½ of cases", "½"), ("⑨⑨", "⑨"), ("n²", "²"), ("Ⅻ banks", "Ⅻ"), ("١٢", "١"), ("௧", "௧"), ("1", "1"), ("㏠", "㏠"),
        ("三百次攻击", "三百"), ("二〇二六年", "二〇"), ("五％", "五"), ("三分之一", "三"), ("百分之九", "百"),
        ("一个系统，第一次，十分安全，三家", ""), ("none at all", ""), ("Một, hai; ஒன்று; หนึ่ง", ""),
    ],
)  # fmt: skip
def test_a_number_is_whatever_has_a_value_and_no_word_of_chinese(text: str, found: str) -> None:
    assert numeral(text) == found


def test_what_has_evidence_or_a_source_passes() -> None:
    fine = (Text("It made "), Figure("12", (A,)), Text(" trials under "), Reference("ISO/IEC 42001"), Stated("14 banks", "Survey"))
    document = small(Paragraph(fine))
    check(document)
    assert [s.source for s in statements(document)] == ["Survey"]


def test_a_place_that_nothing_fills_is_refused() -> None:
    assert say("{n} of {m}", n=Figure("3", (A,)), m="many") == (Figure("3", (A,)), Text(" of "), Text("many"))
    with pytest.raises(PaperError, match="nothing fills"):
        say("{n} of {m}", n="3")


def test_every_figure_of_the_paper_is_a_runs(document: Document, sources: tuple[Source, ...]) -> None:
    known = {s.bundle for s in sources}
    figures = [p for b in document.blocks for p in pieces_of(b) if isinstance(p, Figure)]
    assert len(figures) > 300
    assert all(set(f.evidence) <= known and f.evidence for f in figures)
    assert not statements(document)


def test_the_numbers_are_those_of_the_runs(document: Document, sources: tuple[Source, ...]) -> None:
    good, weak = sources
    assert (good.signed.decision.verdict, weak.signed.decision.verdict) == ("approve", "halt")
    rows = next(b for b in document.blocks if isinstance(b, Table) and b.id == "table-decisions").rows
    shown = [["".join(p.text for p in c.pieces) for c in row] for row in rows]
    assert [row[3] for row in shown] == ["APPROVE", "HALT"]
    assert [row[4] for row in shown] == [f"{s.tally.trials:,}" for s in sources]
    assert [row[5] for row in shown] == [f"{s.signed.decision.decided_at:,}" for s in sources]
    by_language = next(b for b in document.blocks if isinstance(b, Table) and b.id == "table-language").rows
    for source, name, tag in ((good, "Tamil", "ta"), (weak, "Thai", "th")):
        row = next(r for r in by_language if r[0].pieces[0].text == source.letter and r[1].pieces[0].text == name)
        streams = [c for s, c in source.tally.streams.items() if s.language == tag and s.arm in ("plain", "attack")]
        assert row[2].pieces[0].text == f"{sum(c.n for c in streams):,}"
        assert row[3].pieces[0].text == f"{sum(c.violations for c in streams):,}"
        assert all(p.evidence == (source.bundle,) for c in row for p in c.pieces if isinstance(p, Figure))


def test_an_interval_stands_only_where_it_holds(document: Document, sources: tuple[Source, ...]) -> None:
    """Languages and attacks share their items, so a sum over them has none; a single cell has the exact one."""
    for name in ("table-hazard", "table-language"):
        rows = next(b for b in document.blocks if isinstance(b, Table) and b.id == name).rows
        assert {row[5].pieces[0].text for row in rows} == {"–"}
    figures = live_figures([Numbers(s, document.words) for s in sources])
    assert {k.count(".") for k in figures if ".interval." in k} == {4}
    cell = sources[1].tally.streams[Stream("secret-leakage", "ta", "none", "plain")]
    assert figures["B.interval.secret-leakage.ta.none"].text == range_text(*cell.interval)
    assert figures["B.trials.secret-leakage.ta.prefix-injection"].text.isdigit()
    assert "B.rate.secret-leakage.ta" in figures
    numbers = Numbers(sources[1], document.words)
    numbers.plan = msgspec.structs.replace(numbers.plan, samples=5)
    assert numbers.total([Stream("secret-leakage", "ta", "none", "plain")]).interval is None, "samples of one item are a cluster"


def test_the_fixed_design_names_its_power_and_the_rates_it_assumes(document: Document) -> None:
    assert "at an error of 5% and a power of 90% if every true rate is half its threshold" in said(document.blocks)


def test_the_first_page_says_why_how_sure_what_is_not_known_and_what_would_change_it(document: Document) -> None:
    heads = [b.id for b in document.blocks if isinstance(b, Heading)][:5]
    assert heads == ["executive", "executive-why", "executive-sure", "executive-unknown", "executive-change"]
    words = said(document.blocks[:12])
    assert "HALT" in words
    assert "where the plan allows 10%" in words
    assert "Runs A and B" in words, "what is the same of both runs is said once"


def test_a_sentence_of_several_runs_says_what_holds_of_each(sources: tuple[Source, ...], document: Document) -> None:
    """Two systems have two names, so no sentence may read as if they shared one."""
    words = said(document.blocks)
    assert "Within each of runs A and B, all answers reported one model name." in words
    assert "Runs A and B were opened under no policy." in words
    assert not re.search(r"\b[Rr]uns? [A-Z], [A-Z]\b(?! and)", words)
    three = [Figure(letter, (A,)) for letter in "ABC"]
    english, chinese = (read_words(WORDS)[tag] for tag in ("en", "zh-Hans"))
    assert ["".join(p.text for p in letters(english, three[:n])) for n in (1, 2, 3)] == ["A", "A and B", "A, B and C"]
    assert "".join(p.text for p in letters(chinese, three)) == "A、B和C"


def test_an_interval_is_in_the_papers_language(sources: tuple[Source, ...]) -> None:
    said = {tag: Numbers(sources[0], read_words(WORDS)[tag]).between(0, 0.142).text for tag in INTERFACE}
    assert said["en"] == range_text(0, 0.142) == "0% to 14.2%"
    assert said["ta"] == "0% முதல் 14.2%"
    assert len(set(said.values())) == len(said)


@pytest.mark.parametrize("tag", INTERFACE)
def test_what_is_said_of_several_runs_once_has_words_for_several(tag: str) -> None:
    words = read_words(WORDS)[tag]
    for key in (k for k in words if k.endswith(MANY) and k.removesuffix(MANY) in words):
        assert "{letter}" in words[key]
    line = Line("process_no_policy", {}, Figure("A", (A,)))
    lines = {"one": line, "other": msgspec.structs.replace(line, letter=Figure("B", (B,)))}
    (together,) = merged(words, list(lines), lambda run: iter([lines[run]]))  # type: ignore[arg-type, index]
    assert "".join(p.text for p in together) == words["process_no_policy_many"].replace("{letter}", f"A{words['letters_and']}B")
    alone = Line("limits_run", {}, line.letter)
    (once,) = merged(words, ["one"], lambda _: iter([alone]))  # type: ignore[list-item]
    assert "".join(p.text for p in once) == words["limits_run"].replace("{letter}", "A")


def test_every_chapter_of_the_outline_is_there(document: Document) -> None:
    chapters = [b.id for b in document.blocks if isinstance(b, Heading) and b.level == 1]
    assert chapters[: len(CHAPTERS)] == list(CHAPTERS)
    sectors = [b.id.removeprefix("demand-") for b in document.blocks if isinstance(b, Heading) and b.id.startswith("demand-")]
    assert sectors == ["energy", "water", "health", "transport", "finance", "telecommunications", "government"]
    assert {"annex-facts", "annex-evidence", "annex-verify", "annex-stated"} <= set(chapters)


def test_conditions_have_words_and_evidence_that_is_known() -> None:
    from assay.catalog.crosswalk import FACTS

    words = read_words(WORDS)["en"]
    for kind, conditions in (("supply", supply_conditions()), *(("ask", c) for c in demand_conditions().values())):
        for condition in conditions:
            assert f"{kind}_{condition.id}" in words
            assert all(w in FACTS or w.startswith("hazard:") for w in condition.evidence)


def test_conditions_follow_from_their_facts(sources: tuple[Source, ...]) -> None:
    """Tamil and Thai fail their thresholds and no parity was asked; what lies beyond a run is never more than shown in part."""
    source = sources[1]
    basis = basis_of(source.run, source.tally, closed=True)
    assert fact("languages", basis).state == "against"
    conditions = {c.id: c for c in (*supply_conditions(), *(c for each in demand_conditions().values() for c in each))}
    assert conditions["languages"].state(basis) == "missing"
    cost = fact("cost", basis)
    assert cost.figures["calls"] == source.tally.attempts > 0
    basis.tally.attempts, kept = 0, basis.tally.attempts
    assert conditions["cost"].state(basis) == "missing"
    basis.tally.attempts = kept
    for name in ("access", "safeguards", "steady", "trace"):
        assert conditions[name].beyond
        assert f"beyond_{name}" in read_words(WORDS)["en"]
    assert fact("transcripts", basis).state == "shown"
    assert conditions["trace"].state(basis) == "partly"


def test_calls_without_tokens_are_a_cost_in_part(sources: tuple[Source, ...]) -> None:
    basis = basis_of(sources[0].run, sources[0].tally, closed=True)
    kept = basis.tally.prompt_tokens, basis.tally.answer_tokens
    basis.tally.prompt_tokens = basis.tally.answer_tokens = 0
    assert fact("cost", basis).state == "partly"
    basis.tally.prompt_tokens, basis.tally.answer_tokens = 12, 30
    assert fact("cost", basis).state == "shown"
    basis.tally.prompt_tokens, basis.tally.answer_tokens = kept


@pytest.mark.parametrize("tag", INTERFACE)
def test_words_bring_no_number_and_keep_their_places(tag: str) -> None:
    english = read_words(WORDS)["en"]
    for key, text in read_words(WORDS)[tag].items():
        assert not numeral(re.sub(r"\{\w+\}", "", text)), (tag, key)
        assert sorted(re.findall(r"\{(\w+)\}", text)) == sorted(re.findall(r"\{(\w+)\}", english[key])), (tag, key)


# Runs that are refused


def test_a_run_that_is_stale_or_of_a_stranger_is_refused(sources: tuple[Source, ...]) -> None:
    with pytest.raises(StaleError, match="signed 181 days before the paper; at most 180"):
        make_paper(sources, About(), today_ms=min(s.signed.closed_at for s in sources) + 181 * DAY)
    make_paper(sources, About(stale_after_days=200), today_ms=min(s.signed.closed_at for s in sources) + 181 * DAY)
    keyid = sources[0].signed.keyid
    make_paper(sources, About(parties={"An institute": keyid[:16]}), today_ms=today(sources))
    with pytest.raises(PaperError, match="the key of none of the parties"):
        make_paper(sources, About(parties={"An institute": "0" * 16}), today_ms=today(sources))


def test_altering_one_byte_of_a_run_makes_the_build_refuse(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(folders[0]).parent, tmp_path / "good"))
    bundle = folder / "evidence.jsonl"
    data = bundle.read_bytes()
    at = data.index(b'"outcome":"safe"') + 12
    bundle.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    done = assay("report", "--paper", folder, "--out", tmp_path / "paper.pdf", cwd=tmp_path)
    assert_refused(done, code=1)
    assert not list(tmp_path.glob("paper*")), "nothing is half-written"
    bundle.write_bytes(data)
    database = folder / "run.db"
    raw = bytearray(database.read_bytes())
    place = raw.index(b'"outcome":"safe"') + 12
    raw[place] ^= 1
    database.write_bytes(bytes(raw))
    assert_refused(assay("report", "--paper", folder, "--out", tmp_path / "paper.pdf", cwd=tmp_path), code=2)
    assert not list(tmp_path.glob("paper*"))


def test_a_run_without_a_bundle_makes_no_paper(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(folders[0]).parent, tmp_path / "good"))
    (folder / "evidence.jsonl").unlink()
    with pytest.raises(EvidenceError, match="no signed evidence"):
        read_sources([folder])


def closed_on(source: Source, at_ms: int) -> Source:
    return dataclasses.replace(source, signed=msgspec.structs.replace(source.signed, closed_at=at_ms))


def test_a_date_before_the_signature_or_a_signature_in_the_future_is_refused(sources: tuple[Source, ...]) -> None:
    now = today(sources)
    with pytest.raises(StaleError, match="after the paper's date"):
        make_paper(sources, About(date=date(2020, 1, 1)), today_ms=now + 400 * DAY)
    for years in (70, 20_000):
        with pytest.raises(StaleError, match="after today"):
            make_paper([closed_on(sources[0], now + years * 365 * DAY)], About(), today_ms=now)
    made = datetime.fromtimestamp(now / 1000, UTC).date()
    _fresh(sources, About(date=made), now)


@pytest.mark.parametrize("say", [iso_day, day_text, time_text])
def test_a_time_in_no_calendar_is_one_message(say: Any) -> None:
    with pytest.raises(EvidenceError, match="in no calendar"):
        say(20_000 * 365 * DAY)


@pytest.mark.parametrize(
    ("about", "field"),
    [
        (About(title="Safe in 99.9% of attacks"), "title"), (About(title="Better than 0.30"), "title"),
        (About(title="三百次攻击"), "title"), (About(title="1999 and later"), "title"),
        (About(subtitle="Every one of 14 banks agreed"), "subtitle"), (About(authors=("One", "Saves 3,000 lives")), "authors"),
    ],
)  # fmt: skip
def test_titles_and_authors_bring_no_numbers(about: About, field: str, sources: tuple[Source, ...]) -> None:
    with pytest.raises(PaperError, match=f"a figure without evidence in {field}"):
        make_paper(sources, about, today_ms=today(sources))


def test_a_party_brings_no_number_and_a_title_may_name_models_plans_and_the_year(sources: tuple[Source, ...]) -> None:
    key = sources[0].signed.keyid[:16]
    with pytest.raises(PaperError, match="in parties"):
        make_paper(sources, About(parties={"The 99 institutes": key}), today_ms=today(sources))
    model, year = sources[1].model, datetime.fromtimestamp(today(sources) / 1000, UTC).year
    assert model == "scripted:0.3"
    title = f"{model}, tried in {year}: an evaluation"
    _no_numbers(sources, About(title=title), f"{year}-01-01")


# What authors write


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    return tmp_path / "results.md"


FIGURES = {"A.trials": Figure("12,572", (A,)), "A.rate.ta": Figure("0.1%", (A,))}


def test_figures_in_prose_are_live_and_statements_have_a_source(prose: Path) -> None:
    prose.write_text(
        "# What we saw\n\nOver **{{A.trials}}** trials, Tamil stood at {{ A.rate.ta }}; see [the annex](#annex-evidence).\n\n"
        '- Operators asked for {{"14 days" from "Survey, question 3"}}.\n- Nothing else\n\n> Mind the interval.\n\n'
        "```\nassay verify\n```\n\n1. one\n2. two\n"
    )
    blocks = read_prose(prose, FIGURES)
    assert [type(b).__name__ for b in blocks] == ["Heading", "Paragraph", "Bullets", "Paragraph", "Quote", "Bullets"]
    pieces = [p for b in blocks for p in pieces_of(b)]
    assert Figure("12,572", (A,)) in pieces
    assert Stated("14 days", "Survey, question 3") in pieces
    assert Reference("the annex", link="#annex-evidence") in pieces
    assert blocks[3] == Paragraph((Text("Mind the interval."),), "note")
    check(small(*blocks))


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("Fine.\n\nWe saw 12 cases.\n", "a figure without evidence", 3), ("In ٢٠٢٦ it began.\n", "a figure without evidence", 1),
        ("We saw {{A.trails}}.\n", "Meant: A.trials", 1), ("# {{A.trials}} trials\n", "a heading has words only", 1),
        ("<b>bold</b> 1\n", "a figure without evidence", 1), ("`x = 12`\n", "a figure without evidence", 1),
        ("```\n12\n```\n", "a figure without evidence", 1), ("&#49;2 cases\n", "a figure without", 1),
        ("- one\n- two\n- in 2025\n", "a figure without evidence", 3), ('{{"12" from ""}}\n', "there is no figure", 1),
        ("It failed in ½ of ⑨⑨ cases.\n", "a figure without evidence", 1), ("三百次\n", "a figure without evidence", 1),
        ("三**百**次\n", "a figure without evidence", 1), ("2026. An ordered list.\n", "the number 2026 would be lost", 1),
        ("Fine.\n\n1. one\n7. banks\n", "the number 7 would be lost", 4), ("> 14. banks\n", "no ordered list", 1),
        ("- one\n  1. two\n", "no ordered list", 2), ("- one\n\n      code\n", "no code block", 3),
    ],
)  # fmt: skip
def test_what_has_no_place_in_prose_is_refused_with_its_line(prose: Path, text: str, what: str, line: int) -> None:
    prose.write_text(text)
    with pytest.raises(PaperError) as e:
        read_prose(prose, FIGURES)
    assert what in e.value.what
    assert e.value.where == f"{prose}:{line}"


@pytest.mark.parametrize("text", ["![x](y.png)\n", "[x](javascript:alert)\n", "<script>alert</script>\n"])
def test_pictures_scripts_and_strange_links_are_words_or_refused(prose: Path, text: str) -> None:
    prose.write_text(text)
    try:
        blocks = read_prose(prose, FIGURES)
    except PaperError:
        return
    assert all(isinstance(p, Text) for b in blocks for p in pieces_of(b))


def test_authors_write_beside_every_chapter_and_files_of_no_chapter_are_told(
    folders: tuple[Path, Path], tmp_path: Path, sources: tuple[Source, ...]
) -> None:
    (tmp_path / "prose").mkdir()
    (tmp_path / "prose" / "independence.md").write_text("The ministry paid for {{A.trials}} trials.\n")
    (tmp_path / "paper.yaml").write_text(
        "assay: paper/1\ntitle: A joint paper\nauthors: [One, Two]\nprose: prose\nsectors: [health]\nframeworks: [nist-ai-rmf]\n"
    )
    document = make_paper(sources, read_about(tmp_path / "paper.yaml"), today_ms=today(sources))
    words = said(document.blocks)
    assert f"The ministry paid for {sources[0].tally.trials:,} trials." in words
    assert "have not stated who paid" not in words
    heads = [b.id for b in document.blocks if isinstance(b, Heading)]
    assert [h for h in heads if h.startswith("demand-")] == ["demand-health"]
    assert "annex-crosswalk" in heads
    (tmp_path / "prose" / "resluts.md").write_text("Lost.\n")
    with pytest.raises(PaperError, match="no chapter of this name"):
        make_paper(sources, read_about(tmp_path / "paper.yaml"), today_ms=today(sources))


def test_the_file_of_the_documentation_works_as_typed(sources: tuple[Source, ...], tmp_path: Path) -> None:
    """With the key's id and the folder, as docs/paper.md says where both come from."""
    text = (Path(__file__).parents[2] / "docs/paper.md").read_text()
    (block,) = re.findall(r"```yaml\n(assay: paper/1\n.*?)```", text, re.DOTALL)
    assert {"mkdir prose", "assay key show --id"} <= set(re.findall(r"^assay key show --id$|mkdir prose", text, re.MULTILINE))
    path = tmp_path / "paper.yaml"
    path.write_text(re.sub(r"\b[0-9a-f]{16}\b", sources[0].signed.keyid[:16], block))
    with pytest.raises(PaperError, match=r"no such folder[\s\S]*mkdir"):
        make_paper(sources[:1], read_about(path), today_ms=today(sources))
    (tmp_path / "prose").mkdir()
    document = make_paper(sources[:1], read_about(path), today_ms=today(sources))
    assert document.title == "Joint evaluation of two preview models"
    assert f"signed by the key of {read_about(path).authors[0]}" in said(document.blocks)


def test_another_runs_paper_is_not_replaced_unasked_and_ones_own_is(folders: tuple[Path, Path], tmp_path: Path) -> None:
    good, both = run_of(folders[0]).parent, [run_of(f).parent for f in folders]
    pdf, page = tmp_path / "paper.pdf", tmp_path / "paper.html"
    api.write_paper(both, pdf, page)
    before = pdf.read_bytes(), page.read_bytes()
    with pytest.raises(RunFileError, match=r"something else here[\s\S]*--force"):
        api.write_paper([good], pdf, page)
    assert (pdf.read_bytes(), page.read_bytes()) == before
    api.write_paper([both[1], both[0]], pdf, page)
    api.write_paper([good], pdf, page, force=True)
    api.write_paper([good], pdf, page)
    page.unlink()
    with pytest.raises(RunFileError, match="something else here"):
        api.write_paper([good], pdf, page)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("assay: paper/2\n", "paper/2"), ("assay: paper/1\nsectors: [mining]\n", "mining"), ("assay: paper/1\nextra: 1\n", "extra"),
        ("assay: paper/1\ndate: 2026-13-01\n", "month must be"), ("assay: paper/1\ndate: soon\n", "date"),
        ("assay: paper/1\nparties: {x: short}\n", "parties"), ("", "empty"),
        ("assay: paper/1\nstale_after_days: 0\n", "stale_after_days"),
    ],
)  # fmt: skip
def test_a_bad_file_of_the_authors_gets_one_message(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text(text)
    with pytest.raises(PaperError) as e:
        read_about(path)
    assert what in f"{e.value.what} {e.value.where}"


# On paper and on screen


@needs_fonts
def test_the_pdf_is_tagged_and_valid_as_far_as_programs_can_tell(document: Document) -> None:
    from assay.report.paper.typeset import typeset
    from tests.report.pdfua import elements, problems

    data = typeset(document)
    assert problems(data) == []
    with pikepdf.open(BytesIO(data)) as pdf:
        names = [name for name, _, _ in elements(pdf)]
        assert names.count("H1") >= len(CHAPTERS)
        assert names.count("Table") >= 12
        assert names.count("Figure") == sum(isinstance(b, Picture) for b in document.blocks)
        assert str(pdf.Root.Lang) == "en"
    assert typeset(document) == data, "the same bytes twice"


@needs_fonts
def test_another_program_finds_nothing_in_the_pdf_either(document: Document, tmp_path: Path) -> None:
    pdfua = pytest.importorskip("pdfua")
    from assay.report.paper.typeset import typeset

    path = tmp_path / "paper.pdf"
    path.write_bytes(typeset(document))
    assert pdfua
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "pdfua", "check", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "errors=0" in done.stdout


def tampered(data: bytes, change: str) -> bytes:
    with pikepdf.open(BytesIO(data)) as pdf:
        from tests.report.pdfua import elements

        if change == "language":
            del pdf.Root.Lang
        if change == "mark":
            del pdf.Root.MarkInfo
        if change == "structure":
            del pdf.Root.StructTreeRoot
        if change == "alt":
            figure = next((e for name, e, _ in elements(pdf) if name == "Figure"), None)
            if figure is None:
                pytest.skip("there is no figure")
            del figure.Alt
        if change == "scope":
            del next(e for name, e, _ in elements(pdf) if name == "TH").A
        if change == "content":
            pdf.pages[1].contents_add(b"0 0 10 10 re f")
        if change == "heading":
            next(e for name, e, _ in elements(pdf) if name == "H2").S = pikepdf.Name.H4
        if change == "font":
            descriptor = next(o for o in pdf.objects if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/FontDescriptor")
            for key in ("/FontFile2", "/FontFile3"):
                if key in descriptor:
                    del descriptor[key]
        out = BytesIO()
        pdf.save(out)
    return out.getvalue()


@needs_fonts
@pytest.mark.parametrize("change", ["language", "mark", "structure", "alt", "scope", "content", "heading", "font"])
def test_the_check_of_the_pdf_can_fail(document: Document, change: str) -> None:
    from assay.report.paper.typeset import typeset
    from tests.report.pdfua import problems

    try:
        found = problems(tampered(typeset(document), change))
    except (KeyError, AttributeError):
        assert change == "structure"
        return
    assert found


def laid(document: Document, sections: list[tuple[Any, ...]]) -> bytes:
    """The PDF of sections that each begin on a new page, below a dozen lines, and one more each time"""
    from assay.report.paper.typeset import typeset

    blocks: list[Any] = [Paragraph((Text("The first page."),)), Break()]
    for lines, section in enumerate(sections):
        blocks += [*(Paragraph((Text("A line of words."),)) for _ in range(12 + lines)), *section, Break()]
    return typeset(msgspec.structs.replace(document, blocks=tuple(blocks)))


@needs_fonts
def test_no_heading_stands_alone_and_no_caption_is_split(document: Document) -> None:
    from tests.report.pdfua import elements, pages, problems

    cells = tuple(
        (Cell((Text("A condition of some length, which takes two lines of its column at least"),)), Cell((Text("yes"),)))
        for _ in "12345678"
    )
    table = Table((Text("A table"),), ("One", "Other"), cells, (3, 1), "table-x")
    intro = Paragraph((Text("What the table below is about. " * 4),))
    titled: list[tuple[Any, ...]] = []
    for i in range(28):
        sector = (Heading(2, "Energy", f"e-{i}"),) if i % 2 else ()
        titled.append((Heading(1, "Supply side", f"h-{i}"), intro, *sector, msgspec.structs.replace(table, id=f"t-{i}")))
    data = laid(document, titled)
    assert problems(data) == []
    with pikepdf.open(BytesIO(data)) as pdf:
        found = [(name, pages(e)) for name, e, _ in elements(pdf) if name in ("H1", "Table")]
        heads, tables = ([min(p) for name, p in found if name == kind] for kind in ("H1", "Table"))
    assert heads[1:] == tables, "after the contents, each with its table"

    chart = next(b for b in document.blocks if isinstance(b, Picture) and b.id.startswith("growth"))
    behind = next(b for b in document.blocks if isinstance(b, Table) and b.id == chart.behind)
    data = laid(
        document, [(Heading(1, "Evidence", "annex-evidence"), behind), *((msgspec.structs.replace(chart, id=f"c-{i}"),) for i in range(28))]
    )
    with pikepdf.open(BytesIO(data)) as pdf:
        found = [(name, pages(e)) for name, e, _ in elements(pdf) if name in ("Caption", "Figure")]
    pairs = [(caption, own) for (kind, caption), (name, own) in pairwise(found) if (kind, name) == ("Caption", "Figure")]
    assert len(pairs) == 28
    assert all(len(own) == 1 and caption == own for caption, own in pairs)


@needs_fonts
def test_a_word_that_is_wider_than_its_column_stays_in_it(document: Document) -> None:
    from PIL import Image

    from assay.report.paper.typeset import typeset_pages

    word = read_words(WORDS)["ta"]["undecided"]
    for cell in (Cell((Text(word),)), Cell((Figure(word, (document.runs[0].bundle,)),), tone="open")):
        table = Table((Text("x"),), (word, "y"), ((cell, Cell((Text("z"),), number=True)),), (1, 12), "table-x")
        blocks = (Paragraph((Text("x"),)), Break(), Heading(1, "x", "annex-evidence"), table)
        page = Image.open(BytesIO(typeset_pages(msgspec.structs.replace(document, blocks=blocks, language="ta"), ppi=72)[1])).convert("L")
        wide, high = page.size
        beside = page.crop((int(wide * 0.2), int(high * 0.2), int(wide * 0.8), int(high * 0.9)))
        differ = np.ptp(np.asarray(beside, dtype=int), axis=1)
        assert differ.max() < 60, "only grounds and lines, which are the same all along"


def test_the_last_page_is_no_single_sentence(document: Document) -> None:
    chapters = [b.id for b in document.blocks if isinstance(b, Heading) and b.level == 1]
    assert chapters[-2:] == ["annex-stated", "annex-tables"]


@needs_fonts
def test_a_missing_glyph_ends_the_build(document: Document) -> None:
    from assay.report.paper.typeset import TypesetError, typeset

    with pytest.raises(TypesetError, match="could not be displayed") as e:
        typeset(msgspec.structs.replace(document, title="A paper \U000f0000"))
    assert "fonts-noto" in e.value.fix


@needs_fonts
def test_nothing_of_the_document_becomes_code_on_paper_or_on_screen(document: Document) -> None:
    from assay.report.paper.typeset import typeset

    hostile = '#panic("x") $x$ *b* _i_ `c` <script>alert(1)</script> \\ // /* @x #import "y" </p><img src=x onerror=y> {{7*7}}'
    changed = msgspec.structs.replace(
        document, title=hostile, blocks=(*document.blocks, Paragraph((Text(hostile.replace("1", "").replace("7", "")),)))
    )
    assert typeset(changed)
    page = render_paper(changed)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_the_page_has_every_piece_and_no_script(document: Document) -> None:
    page = render_paper(document)
    assert page == render_paper(document)
    assert "<script" not in page
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids


@needs_fonts
def test_the_command_writes_both_and_says_what_next(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "paper.pdf"
    done = assay("report", "--paper", *(run_of(f).parent for f in folders), "--out", out, "--full", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"%PDF")
    assert "Every item and judgement was recomputed as well." in out.with_suffix(".html").read_text()
    assert "--figures" in done.stdout
    listed = assay("report", "--paper", run_of(folders[0]), "--figures", cwd=tmp_path)
    assert re.search(r"^A\.trials +[\d,]+$", listed.stdout, re.MULTILINE)


def test_a_report_is_made_from_a_bundle_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copy(run_of(folders[0]), tmp_path / "evidence.jsonl"))
    done = assay("report", bundle, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = (tmp_path / "report.html").read_text()
    assert "APPROVE" in alone
    beside = assay("report", run_of(folders[0]).parent, "--out", tmp_path / "other.html", cwd=tmp_path)
    assert beside.returncode == 0
    assert alone == (tmp_path / "other.html").read_text()
