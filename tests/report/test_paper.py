"""The white paper: no number without evidence, no run that is not what was signed, valid as PDF/UA, the same bytes twice."""

from __future__ import annotations

import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import EvidenceError
from assay.report.paper import About, PaperError, make_paper, read_about
from assay.report.paper.document import Bullets, Cell, Document, Heading, Paragraph, Picture, Run, Table, check, pieces_of, statements
from assay.report.paper.making import CHAPTERS, WORDS
from assay.report.paper.page import render_paper
from assay.report.paper.prose import read_prose
from assay.report.paper.sides import demand_conditions, supply_conditions
from assay.report.pieces import Figure, Reference, Stated, Text, say
from assay.report.sources import Source, StaleError, read_sources
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


def test_the_first_page_says_why_how_sure_what_is_not_known_and_what_would_change_it(document: Document) -> None:
    heads = [b.id for b in document.blocks if isinstance(b, Heading)][:5]
    assert heads == ["executive", "executive-why", "executive-sure", "executive-unknown", "executive-change"]
    words = said(document.blocks[:12])
    assert "HALT" in words
    assert "where the plan allows 10%" in words
    assert "Run A, B:" in words, "what is the same of both runs is said once"


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


@pytest.mark.parametrize("tag", INTERFACE)
def test_words_bring_no_number_and_keep_their_places(tag: str) -> None:
    english = read_words(WORDS)["en"]
    for key, text in read_words(WORDS)[tag].items():
        assert not re.search(r"\d", text), (tag, key)
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
