"""The page as text: complete for every sort of run, inert, and readable in both schemes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from assay.evidence import write_bundle
from assay.report import render_report
from assay.report.render import HERE, content_policy
from assay.runs import RunFile
from tests.report.making import HAZARDS, OVER_REFUSAL, PARITY, VIOLATIONS, plan_in, run_in
from tests.support import KEY, run_plan

SECTIONS = ["matrix", "intervals", "calls", "responses", "transcripts", "limitations", "verify"]
VOID = {"meta", "br", "line", "circle"}


class Outline(HTMLParser):
    """Elements, ids and text of a page; checks that tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def ids(self) -> list[str]:
        return [value or "" for _, name, value in self.attributes if name == "id"]


def page(run: RunFile, folder: Path, ended: str = "complete") -> str:
    summary = write_bundle(run, KEY, ended, folder / "evidence.jsonl")
    return render_report(run, summary=summary, ended=ended, bundle_name="evidence.jsonl")


def check(html: str) -> Outline:
    """What holds for every report."""
    outline = Outline(html)
    assert set(SECTIONS) <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(outline.tags)
    assert not [a for a in outline.attributes if a[1].startswith("on") or a[1] in ("style", "src")]
    assert all((value or "").startswith("#") for _, name, value in outline.attributes if name == "href")
    referred = [i for _, name, value in outline.attributes if name == "aria-labelledby" for i in (value or "").split()]
    referred += [(value or "")[1:] for _, name, value in outline.attributes if name == "href"]
    assert set(referred) <= set(outline.ids)
    return outline


def test_a_run_renders_the_same_bytes_twice(tmp_path: Path) -> None:
    with run_in(tmp_path) as run:
        html = page(run, tmp_path)
        summary = write_bundle(run, KEY, "complete", tmp_path / "evidence.jsonl")
        assert html == render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
    check(html)
    assert "assay verify evidence.jsonl" in html
    assert KEY.public.keyid in html


def test_an_empty_run_renders(tmp_path: Path) -> None:
    with run_in(tmp_path) as run, RunFile.create(tmp_path / "empty.db", run.opening()) as empty:
        html = page(empty, tmp_path)
        unsigned = render_report(empty, summary=None, ended="interrupted", bundle_name="evidence.jsonl")
    check(html)
    assert "DELAY" in html
    assert "no trials" in html
    assert "Not signed" in unsigned


def test_a_run_without_benign_arm_renders(tmp_path: Path) -> None:
    with run_in(tmp_path, requirements=[VIOLATIONS, PARITY], benign=False) as run:
        outline = check(page(run, tmp_path))
    assert "matrix-benign-none" not in outline.ids


def test_a_run_in_one_language_renders(tmp_path: Path) -> None:
    with run_in(tmp_path, languages=["en"], hazards=HAZARDS[:1], requirements=[VIOLATIONS, OVER_REFUSAL]) as run:
        check(page(run, tmp_path))


def test_a_plan_without_rate_claims_renders(tmp_path: Path) -> None:
    plan, catalog = plan_in(requirements=[VIOLATIONS, PARITY], attacks=[])
    parity_only = type(plan)(**{f: getattr(plan, f) for f in plan.__struct_fields__} | {"requirements": plan.requirements[1:]})
    with run_plan(tmp_path / "run.db", parity_only, catalog) as run:
        assert "no rate claims" in page(run, tmp_path)


def test_incidents_are_told(tmp_path: Path) -> None:
    with run_in(tmp_path) as run:
        run.note_incident({"what": "target down", "at": 1_795_432_000_000, "reason": "<b>timed\u202eout</b>"})
        html = page(run, tmp_path, "deadline")
    check(html)
    assert "&lt;b&gt;timed⟨U+202E⟩out&lt;/b&gt;" in html
    assert "time limit" in html


def test_the_verdict_is_word_and_symbol(tmp_path: Path) -> None:
    with run_in(tmp_path, options={"violation": "0.6"}) as run:
        words = "".join(check(page(run, tmp_path)).words)
    assert re.search(r"✕\s+HALT", words)
    assert "At least one requirement of the plan was shown not to hold." in words


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    policy = content_policy((HERE / "report.css").read_text(encoding="utf-8"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_on_every_ground(scheme: str) -> None:
    css = (HERE / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else light + dark))
    inks = {i: "heat-ink-low" if i < 4 else "heat-ink-4" if i == 4 else "heat-ink-high" for i in range(7)}
    pairs = [(inks[i], f"heat-{i}") for i in range(7)] + [("mark-ink", "mark")]
    pairs += [(ink, ground) for ink in ("ink", "soft", "link", "approve", "delay", "halt") for ground in ("page", "surface")]
    pairs += [(v, f"{v}-tint") for v in ("approve", "delay", "halt")] + [("ink", f"{v}-tint") for v in ("approve", "delay", "halt")]
    for ink, ground in pairs:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    steps = [luminance(colours[f"heat-{i}"]) for i in range(7)]
    assert steps == sorted(steps, reverse=scheme == "light")
