"""The Markdown summary: what it says, that it never says more than the signed bundle, and that names in it stay names."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from assay.cli import main
from assay.report.markdown import MOST, Told, _fitting, _told, code, escaped, render_markdown
from assay.runs import RunFile
from tests.exchange.exporting import hostile_run, signed_run

EVIL = (
    "@everyone", "@o/team", "#1", "GH-1", "o/r#2", "!3", "~label", '~"two words"', "%4", "&5", "^alert#6", "$7", "*iteration:8",
    "http://evil.example/x", "https://evil.example", "www.evil.example", "a@evil.example", "![x](http://evil.example/p.png)",
    "[click](javascript:alert(1))", "<script>alert(1)</script>", "<!-- assay-gate: gate -->", "a | b | c", "`code`", "``` fence",
    "**bold**",
    "_em_", "~~gone~~", "\n## APPROVE\n", "\r\n/close\n/merge", "\u2028- item", "[[wiki]]",
    "{{ 7*7 }}", "\\| x", "&#64;all", "\u202egnp.exe",
    "0123456789abcdef0123456789abcdef01234567",
)  # fmt: skip
SIGILS = re.compile(r"[@#!~%^&$][A-Za-z0-9\"]|GH-\d|\w://|www\.|\b[0-9a-f]{7,40}\b")


def rendered(text: str) -> list[Token]:
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [t for token in tokens for t in (token, *(token.children or ()))]


@pytest.mark.parametrize("text", EVIL)
def test_a_hostile_name_is_shown_and_read_as_nothing_else(text: str) -> None:
    line = f"| x | {escaped(text)} |"
    tokens = rendered(f"| a | b |\n|---|---|\n{line}\n")
    assert "\n" not in line
    assert {t.type for t in tokens if t.type not in ("inline", "text", "text_special")} == {
        "table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close",
        "td_open", "td_close",
    }, "it became markup"  # fmt: skip
    assert sum(t.type == "td_open" for t in tokens) == 2, "it became a column"
    shown = "".join(t.content for t in tokens if t.type in ("text", "text_special"))
    assert not SIGILS.search(shown), f"a forge would make a reference or a link of it: {shown!r}"
    plain = re.sub(r"[\s\u2060\ufffd]+", "", shown.removeprefix("abx"))
    assert plain == re.sub(r"[\s\u202e]+", "", text), "it is not shown as it is"


def test_an_identifier_is_code_only_where_it_is_one() -> None:
    assert code("sha256:00ff") == "`sha256:00ff`"
    assert "`" not in code("a` @all").replace("\\`", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("run"))


def test_it_says_verdict_reasons_intervals_and_what_is_not_known(run: Path) -> None:
    text = render_markdown(run)
    assert text == render_markdown(run / "run.db")
    assert text == render_markdown(run / "evidence.jsonl"), "the bundle alone says the same"
    assert text.startswith("## Assay: ✕ HALT\n")
    for part in (
        "| ✕ does not hold | violations |",
        "calls of at most 400",
        "| interval |",
        "### What is not known",
        "assay verify evidence.jsonl",
    ):
        assert part in text
    assert {t.tag for t in rendered(text) if t.type.endswith("_open")} <= {
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        *(["table", "thead", "tbody", "tr", "th", "td"]),
    }
    with RunFile.read(run / "run.db") as file:
        answers = [t.answer for t in file.trials() if len(t.answer) > 20]
    assert answers
    assert not any(answer[:20] in text for answer in answers)


def test_without_a_bundle_that_agrees_nothing_is_approved(tmp_path: Path) -> None:
    folder = signed_run(
        tmp_path, target={"kind": "scripted", "model": "0"}, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.5}]
    )
    assert "✓ APPROVE" in render_markdown(folder)
    (folder / "evidence.jsonl").unlink()
    text = render_markdown(folder)
    assert "… DELAY" in text
    assert "No signed bundle agrees" in text
    assert "APPROVE" not in text


def test_a_run_full_of_hostile_words_is_a_page_of_words(tmp_path: Path) -> None:
    text = render_markdown(hostile_run(tmp_path))
    assert not [t for t in rendered(text) if t.type in ("link_open", "image", "html_inline")]
    blocks = [t.content for t in rendered(text) if t.type == "html_block"]
    assert all(re.fullmatch(r"<details><summary>[^<]*</summary>\n|</details>\n", b) for b in blocks)
    assert all(c.isprintable() or c in "\n\u2060" for c in text)


def test_it_fits_into_a_comment_however_much_there_is(run: Path) -> None:
    with RunFile.read(run / "run.db") as file:
        told = _told(file, None, "", "evidence.jsonl")
    requirement = told.front.requirements[0]
    big = msgspec.structs.replace(requirement, id="&" * 80, asks="<" * 500, plain=("$" * 400,) * 3)
    front = msgspec.structs.replace(told.front, requirements=(big,) * 500, unknown=told.front.unknown + ("&" * 900,) * 8)
    text = _fitting(Told(front, told.evidence, told.rows * 200))
    assert len(text) <= MOST
    assert "more" in text


def test_the_command_writes_it_whole_and_replaces_nothing_unasked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["assay", "export", "markdown", *map(str, arguments)])
        return main()

    out = tmp_path / "deep" / "summary.md"
    assert called(run, "--out", out) == 0
    assert out.read_text() == render_markdown(run)
    assert called(run, "--out", out) == 2
    assert called(run, "--out", out, "--force") == 0
    assert called(tmp_path / "none", "--out", tmp_path / "x.md") == 2
    assert not (tmp_path / "x.md").exists()
