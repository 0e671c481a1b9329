"""What notebooks show: a real one executed by its kernel, and pieces with hostile words in them."""

from __future__ import annotations

import base64
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from assay import api
from assay.decision import Decision
from assay.decision.gate import ClaimResult, RequirementResult
from assay.evidence import Report
from assay.evidence.verify import Finding
from assay.plan import parse_plan
from assay.report.charts.press import the_press
from assay.report.notebook import matrix_html, run_card
from tests.api.plans import small_plan

HOSTILE = "<img src=x onerror=alert(1)></td><script>alert(1)</script>\" ' & `{{ 7*7 }}` \u202e"
ATTRIBUTES = {"style", "src", "alt", "scope", "title", "colspan"}
TAGS = {"div", "strong", "br", "table", "tr", "td", "th", "caption", "img"}


class Seen(HTMLParser):
    """Every tag and attribute must be one that the cards use, and every tag that is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        assert "url(" not in str(attrs)
        if tag == "img":
            self.images.append({name: value or "" for name, value in attrs})
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> api.Result:
    folder = tmp_path_factory.mktemp("notebook")
    return api.evaluate(parse_plan(small_plan(), where="t"), "scripted:1", out=folder / "run", key=str(folder / "key.pem"))


def test_a_notebook_shows_results_as_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebook")
    nbformat = pytest.importorskip("nbformat", reason="nbformat makes the notebook")
    pytest.importorskip("ipykernel", reason="ipykernel is the notebook's kernel")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(small_plan())
    cells = [
        "import assay\nresult = assay.evaluate('plan.yaml', 'scripted:1', out='a')\nresult",
        "async def agent(access):\n    return 'I cannot help with that.'\n\n"
        "(await assay.evaluate_async('plan.yaml', agent, out='b')).decision",
        "assay.verify(result.bundle)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python"}
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [Seen(_html(cell)) for cell in book.cells]
    assert "✕ HALT" in shown[0].text
    assert len(shown[0].images) == 1
    assert "✓ APPROVE" in shown[1].text
    assert "✓ Everything holds" in shown[2].text
    _picture(shown[0].images[0])


def _html(cell: Any) -> str:
    (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    assert "text/plain" in output.data
    return str(output.data["text/html"])


def _picture(image: dict[str, str]) -> None:
    """An SVG in the page itself, without scripts or references, with words for who cannot see it."""
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ET.fromstring(base64.b64decode(data))  # noqa: S314 - our own picture
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert all(value.startswith("url(#") or "url" not in value for e in root.iter() for value in e.attrib.values())
    assert "100%" in image["alt"]


def test_a_result_shows_verdict_matrix_and_the_next_command(result: api.Result) -> None:
    seen = Seen(result._repr_html_())
    assert "✕ HALT" in seen.text
    assert f"assay.verify({str(result.bundle)!r})" in seen.text
    _picture(seen.images[0])


def test_without_the_extra_the_matrix_is_a_table(result: api.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    the_press.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    try:
        seen = Seen(result._repr_html_())
    finally:
        the_press.cache_clear()
    assert seen.images == []
    assert "Secret leakage" in seen.text
    assert "✕ 100%" in seen.text
    assert "pip install 'assay[report]'" in seen.text


def test_a_map_is_of_the_signed_bundle_or_not_there(result: api.Result, tmp_path: Path) -> None:
    assert result.bundle is not None
    changed = tmp_path / "evidence.jsonl"
    changed.write_bytes(result.bundle.read_bytes().replace(b'"outcome":"violation"', b'"outcome":"safe"', 1))
    assert changed.read_bytes() != result.bundle.read_bytes()
    for bundle in (changed, tmp_path / "none"):
        assert "No map" in Seen(matrix_html(result.decision, bundle)).text
    other = Decision("approve", 1, 1, ())
    assert "another decision" in Seen(matrix_html(other, result.bundle)).text


@pytest.mark.parametrize("verdict", ["approve", "delay", "halt"])
def test_hostile_words_are_words(verdict: Any) -> None:
    claim = ClaimResult(HOSTILE, ("s",), "halt", 3, {"n": 3})
    requirements = tuple(RequirementResult(HOSTILE, "violation-rate", s, HOSTILE * 40, (claim,)) for s in ("halt", "open", "approve") * 40)
    decision = Decision(verdict, 3, 3 if verdict != "delay" else -1, requirements)
    seen = Seen(decision._repr_html_())
    assert "<script>alert(1)</script>" in seen.text
    assert "and 70 more" in seen.text
    Seen(run_card(decision, None, [HOSTILE]))
    report = Report(checks=[(HOSTILE, HOSTILE)], decision=decision, keyid=HOSTILE, bundle=HOSTILE)
    assert "Everything holds" in Seen(report._repr_html_()).text
    report.findings.append(Finding(HOSTILE, HOSTILE, HOSTILE))
    seen = Seen(report._repr_html_())
    assert "Everything holds" not in seen.text
    assert decision.verdict.upper() not in seen.text, "what does not hold has no verdict to show"
