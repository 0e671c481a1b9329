"""Comparisons in words: what is said is what was shown, at its stated error; and the page holds whatever a signer put into it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from assay.cli import main
from assay.decision import Observed
from assay.decision.codes import UNSCORABLE
from assay.engine import Engine
from assay.errors import AssayError, EvidenceError
from assay.evidence import open_run, write_bundle
from assay.ledger import PrivateKey
from assay.plan import ErrorRates, Stream
from assay.report.comparison import ComparisonView, comparison_view, control, observed_of, render_comparison, sentences, words_in
from assay.report.comparison.changes import Change, Kind, changes, grouped
from assay.report.comparison.parties import agreements
from assay.report.comparison.sentences import MOST, points
from assay.report.comparison.together import exchanged, together
from assay.report.paper.document import Document, Paragraph, Run, check
from assay.report.pieces import Figure, Piece
from assay.report.sources import Source, read_sources
from assay.runs import RunFile
from assay.targets import make_target
from assay.web.languages import INTERFACE
from tests.support import KEY, Recorder, make_plan

BANK: dict[str, Any] = {
    "bank": {"size": 60, "seed": "ab" * 32},
    "exploration": {"plain": 60, "attack": 60, "benign": 60},
    "budget": {"calls": 2000},
}
OTHER_KEY = PrivateKey.generate()
STREAMS = [Stream(h, t, "none", "plain") for h in ("h", "g") for t in ("en", "ms", "ta")]


def signed(folder: Path, name: str, rate: str, seed: str, key: PrivateKey = KEY, **changed: Any) -> Path:
    """A finished and signed run of the small plan in `folder/name`."""
    path = folder / name
    path.mkdir()
    plan, catalog = make_plan(**{"target": {"kind": "scripted", "model": rate, "options": {"seed": name}}, "seed": seed * 32, **changed})

    async def go() -> None:
        async with make_target(plan.target, plan.generation, plan.limits, lambda _: None) as target:
            with RunFile.create(path / "run.db", open_run(plan, catalog, dict(target.identity), bytes.fromhex(seed * 32), key)) as run:
                await Engine(run, target, Recorder()).trials()
                write_bundle(run, key, "complete", path / "evidence.jsonl")

    asyncio.run(go())
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    same = {"kind": "scripted", "model": "0.02", "options": {"seed": "same"}}
    loose = [
        {"id": "violations", "kind": "violation-rate", "max_rate": 0.3},
        {"id": "over-refusal", "kind": "over-refusal", "max_rate": 0.4},
    ]
    return {
        "v1": signed(folder, "v1", "0.02", "11", **BANK, requirements=loose),
        "v2": signed(folder, "v2", "0.0", "22", **BANK, requirements=loose),
        "v3": signed(folder, "v3", "0.6", "33", **BANK, requirements=loose),
        "ours": signed(folder, "ours", "0.02", "44", target=same, **BANK),
        "theirs": signed(folder, "theirs", "0.02", "55", OTHER_KEY, target=same, **BANK),
        "elsewhere": signed(
            folder, "elsewhere", "0.1", "66", matrix={"hazards": ["personal-data"], "languages": ["ms"]}, exploration={"plain": 4}
        ),
        "fresh1": signed(folder, "fresh1", "0.01", "77", exploration={"plain": 40, "attack": 40, "benign": 8}, budget={"calls": 3000}),
        "fresh2": signed(folder, "fresh2", "0.25", "88", exploration={"plain": 40, "attack": 40, "benign": 8}, budget={"calls": 3000}),
    }


def view_of(runs: dict[str, Path], *names: str, margin: float = 0.05) -> ComparisonView:
    return comparison_view(read_sources([runs[name] for name in names]), margin, 0.05, 0.01)


def said(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def spoken(view: ComparisonView, language: str = "en") -> list[str]:
    return [said(s) for s in sentences(view, words_in(language))]


def checked(view: ComparisonView, language: str) -> None:
    """Every sentence stands in a white paper as it is."""
    words = words_in(language)
    blocks = tuple(Paragraph(s) for s in (*sentences(view, words), control(view, words)))
    paper_runs = tuple(Run(r.letter, r.bundle, r.model, r.name) for r in view.runs)
    check(Document("t", "s", (), "", language, blocks, paper_runs, {}))


def test_what_got_worse_is_said_first_with_its_numbers(runs: dict[str, Path]) -> None:
    view = view_of(runs, "v1", "v3")
    text = spoken(view)
    assert view.verdict == "halt"
    assert text[0].startswith("Requirement “violations” was shown to hold in run A, and in run B it was shown not to hold")
    worst = view.rises[0].changes[0]
    assert view.rises[0].far
    assert (
        f"from {worst.older[0]} of 60 in run A to {worst.newer[0]} of 60 in run B, by at least {points(worst.low)} percentage points"
        in text[1]
    )
    assert len(text) <= MOST
    figures = [p for s in sentences(view, words_in("en")) for p in s if isinstance(p, Figure)]
    assert {d for f in figures for d in f.evidence} == set(view.evidence)


def test_the_other_way_round_is_better_and_never_worse(runs: dict[str, Path]) -> None:
    forth, back = view_of(runs, "v1", "v3"), view_of(runs, "v3", "v1")
    assert not back.rises
    assert [len(g.changes) for g in back.falls] == [len(g.changes) for g in forth.rises]
    assert any("shown not to hold in run A" in s and "shown to hold" in s for s in spoken(back))
    assert any(" fell by more than 5 percentage points in " in s for s in spoken(back))


def test_as_good_is_said_to_be_not_worse(runs: dict[str, Path]) -> None:
    view = view_of(runs, "v1", "v2", margin=0.25)
    assert view.verdict == "approve"
    assert any("the rate did not rise by more than 25 percentage points" in s for s in spoken(view))
    assert "NOT WORSE" in render_comparison(view)


def test_nothing_shared_is_nothing_said(runs: dict[str, Path]) -> None:
    view = view_of(runs, "v1", "elsewhere")
    text = spoken(view)
    assert text[0] == "Runs A and B have no cell in common, so nothing can be compared."
    assert view.verdict == "delay"
    assert {d.field for d in view.differences} >= {"matrix", "bank", "requirements"}
    assert {r.turn for r in view.requirements} == {"apart"}
    page = render_comparison(view)
    assert "Only cells that both runs have are compared." in page
    checked(view, "en")


def test_two_parties_on_one_target_are_held_against_each_other(runs: dict[str, Path]) -> None:
    view = view_of(runs, "ours", "theirs", margin=0.2)
    (agreement,) = view.agreements
    assert (agreement.letters, agreement.one_key, agreement.kind) == (("A", "B"), False, "agree")
    assert agreement.paired == agreement.compared
    assert any("tested the same target under the same plan, and they agree" in s for s in spoken(view))
    assert not view_of(runs, "v1", "v2").agreements


def test_two_parties_that_differ_are_told_where(runs: dict[str, Path]) -> None:
    sources = read_sources([runs["ours"], runs["theirs"]])
    seen = {s.letter: observed_of(s) for s in sources}
    at = Stream("secret-leakage", "en", "none", "plain")
    seen["B"] = msgspec.structs.replace(seen["B"], codes=seen["B"].codes | {at: [1] * 60})
    (agreement,) = agreements(sources, seen, 0.2, 0.05)
    assert (agreement.kind, agreement.apart, agreement.widest and agreement.widest.stream) == ("differ", 1, at)
    view = msgspec.structs.replace(view_of(runs, "ours", "theirs"), agreements=(agreement,))
    told = next(s for s in spoken(view) if "do not agree" in s)
    assert "in 1 of 6 cells their rates differ" in told
    assert "run B 60 of 60" in told


def test_cells_too_thin_alone_tell_something_together(runs: dict[str, Path]) -> None:
    view = view_of(runs, "fresh1", "fresh2")
    assert [(t.direction, t.harmless) for t in view.together] == [("rose", False)]
    assert any(s.startswith("Taken together, violations rose over the first trials of 4 cells") for s in spoken(view))
    assert not view_of(runs, "v1", "v3").together


@pytest.mark.parametrize("language", list(INTERFACE))
def test_every_language_says_it_all_with_evidence(language: str, runs: dict[str, Path]) -> None:
    for names in (("v1", "v2", "v3"), ("v3", "v1"), ("fresh1", "fresh2"), ("ours", "theirs"), ("v1", "elsewhere")):
        view = view_of(runs, *names)
        checked(view, language)
        page = render_comparison(view, language)
        assert f'<html lang="{language}"' in page
        assert "{" not in page.split("</style>")[1]
        assert page == render_comparison(view, language)


def test_three_runs_have_a_course(runs: dict[str, Path]) -> None:
    view = view_of(runs, "v1", "v2", "v3")
    assert view.history is not None
    assert view.pair == (1, 2)
    assert any(s.startswith("Over 3 runs, ") for s in spoken(view))
    first = comparison_view(read_sources([runs[n] for n in ("v1", "v2", "v3")]), 0.05, 0.05, 0.01, first=True)
    assert first.pair == (0, 2)


def test_one_run_or_rates_out_of_range_are_refused(runs: dict[str, Path]) -> None:
    with pytest.raises(EvidenceError):
        view_of(runs, "v1")
    with pytest.raises(ValueError, match="out of range"):
        view_of(runs, "v1", "v2", margin=1.5)
    with pytest.raises(AssayError):
        words_in("xx")


def hostile(runs: dict[str, Path]) -> ComparisonView:
    """Names that a signer may choose, made to break out of the page; the runs are altered after they were checked."""
    sources = []
    for source in read_sources([runs["v1"], runs["v2"], runs["v3"]]):
        opening = source.tally.opening
        bad = "<script>window.pwned=1</script>\u202e{{7*7}}</style><img src=x onerror=window.pwned=2>" + "W" * 500
        hazards = {k: msgspec.structs.replace(h, title=f"{bad}7") for k, h in opening.catalog.hazards.items()}
        languages = {
            k: msgspec.structs.replace(v, name=bad, native=f"'\"><svg onload=window.pwned=3>{bad}")
            for k, v in opening.catalog.languages.items()
        }
        source.tally.opening = msgspec.structs.replace(
            opening,
            target=opening.target | {"model": bad},
            catalog=msgspec.structs.replace(opening.catalog, hazards=hazards, languages=languages),
        )
        sources.append(dataclasses.replace(source, name=f"$(rm -rf ~)\n{bad}"))
    return comparison_view(sources, 0.05, 0.05, 0.01)


def test_names_that_others_chose_stay_names(runs: dict[str, Path]) -> None:
    view = hostile(runs)
    for language in ("en", "ta"):
        checked(view, language)
        page = render_comparison(view, language)
        assert "<script" not in page
        assert "<svg" not in page
        assert "<img" not in page
        assert "\u202e" not in page
        assert "W" * 100 not in page
    assert "'$(rm -rf ~) " in page.replace("&#39;", "'")


def observed(name: str, rng: np.random.Generator, rates: Sequence[float], n: int, *, paired: bool) -> Observed:
    codes = {s: (rng.random(n) < p).astype(int).tolist() for s, p in zip(STREAMS, rates, strict=False)}
    return Observed(name, codes, {s: [f"{'' if paired else name}{s.key}{i}" for i in range(n)] for s in codes})


@pytest.mark.parametrize(("paired", "repeats"), [(True, 60), (False, 120)])
def test_rose_and_fell_err_at_most_as_stated_when_nothing_changed(paired: bool, repeats: int) -> None:
    """Three cells of 2%, 10% and 40%; any cell said to have risen, or to have fallen, is an error."""
    rng = np.random.default_rng(20)
    rates = [0.02, 0.1, 0.4]
    wrong = {"rose": 0, "fell": 0}
    for _ in range(repeats):
        old, new = (observed(n, rng, rates, 120, paired=paired) for n in ("a", "b"))
        found = changes(old, new, 0.05, ErrorRates()).changes
        wrong["rose"] += any(c.low > 0 for c in found)
        wrong["fell"] += any(c.high < 0 for c in found)
    assert max(wrong.values()) <= repeats * 0.05 + 2.6 * np.sqrt(repeats * 0.05 * 0.95)
    new = observed("b", rng, [0.5, *rates[1:]], 120, paired=paired)
    assert changes(old, new, 0.05, ErrorRates()).changes[0].kind == "worse"


def test_taken_together_errs_at_most_as_stated_even_if_languages_answer_alike() -> None:
    """No change; all languages of an item violate together, so the trials are far from independent, and the p-value is still valid."""
    rng = np.random.default_rng(21)
    repeats, at = 400, 0
    for number in range(repeats):
        clusters = [3 * (rng.random(40) < 0.15).astype(int) for _ in range(2)]
        at += exchanged(clusters[1] - clusters[0], str(number)) <= 0.05
    assert at <= repeats * 0.05 + 2.6 * np.sqrt(repeats * 0.05 * 0.95)


def test_what_could_not_be_scored_never_shows_a_change(runs: dict[str, Path]) -> None:
    rng = np.random.default_rng(6)
    old = observed("a", rng, [0.1] * 6, 120, paired=True)
    lost = Observed("b", {s: [UNSCORABLE] * 120 for s in STREAMS}, old.items)
    for pair in ((old, lost), (lost, old)):
        assert {c.kind for c in changes(*pair, 0.05, ErrorRates()).changes} == {"open"}
    plans = tuple(s.tally.opening.plan for s in read_sources([runs["fresh1"], runs["fresh2"]]))
    floor = Observed("c", {Stream("secret-leakage", "en", "none", "plain"): [UNSCORABLE] * 40}, {})
    bad = Observed("d", {Stream("secret-leakage", "en", "none", "plain"): [1] * 40}, {})
    assert not together((plans[0], plans[1]), (floor, bad), 0.05, "s")
    assert not together((plans[0], plans[1]), (bad, floor), 0.05, "s")


def test_a_change_is_as_sure_as_the_worst_case_of_what_could_not_be_scored(runs: dict[str, Path]) -> None:
    view = view_of(runs, "fresh1", "fresh2")
    plans = tuple(s.tally.opening.plan for s in read_sources([runs["fresh1"], runs["fresh2"]]))
    cell = Stream("secret-leakage", "en", "none", "plain")

    def seen(name: str, codes: list[int]) -> Observed:
        return Observed(name, {cell: codes}, {cell: [f"{name}{i}" for i in range(40)]})

    lost, bad = seen("a", [UNSCORABLE] * 12 + [0] * 28), seen("b", [0] * 27 + [1] * 13)
    assert exchanged(np.array([0] * 27 + [1] * 13), "s") < 0.001, "what could not be scored taken as safe"
    assert not together((plans[0], plans[1]), (lost, bad), 0.05, "s")
    assert not together((plans[0], plans[1]), (bad, lost), 0.05, "s")
    (found,) = together((plans[0], plans[1]), (seen("a", [UNSCORABLE] * 2 + [0] * 38), seen("b", [0] * 10 + [1] * 30)), 0.05, "s")
    assert (found.direction, found.older, found.newer, found.unscorable) == ("rose", (0, 40), (30, 40), (2, 0))
    assert found.p == exchanged(np.array([-1] * 2 + [0] * 8 + [1] * 30), "s")
    for language in INTERFACE:
        text = spoken(msgspec.structs.replace(view, together=(found,)), language)
        checked(msgspec.structs.replace(view, together=(found,)), language)
        told = words_in(language)["together_unscorable"].format(u0=2, u1=0, older="A", newer="B")
        assert any(told in s for s in text)


def change(hazard: str, language: str, attack: str, kind: Kind, low: float) -> Change:
    return Change(Stream(hazard, language, attack, "attack"), (1, 100), (9, 100), 0, low, 1.0, -1.0, 1.0, kind)


def test_cells_that_say_the_same_are_one_sentence() -> None:
    found = [
        change(h, t, a, "worse" if t == "ta" else "open", 0.1 if t == "ta" else -0.1) for h in "abc" for t in ("en", "ta") for a in "xy"
    ]
    (group,) = grouped(found, "rose")
    assert (group.language, group.hazard, group.manner, len(group.changes), group.of) == ("ta", "", ("", ""), 6, 6)
    lone = [*found, change("d", "en", "x", "worse", 0.9)]
    assert [(g.hazard, g.language, len(g.changes)) for g in grouped(lone, "rose")] == [("d", "en", 1), ("", "ta", 6)]
    assert not grouped(found, "fell")


@pytest.mark.parametrize(
    ("rate", "up", "text"),
    [(0.0189, False, "1.8"), (0.0181, True, "1.9"), (0.0004, False, "0.04"), (-0.0129, False, "−1.2"), (0.0, False, "0.0")],
)
def test_a_bound_is_rounded_to_the_side_that_says_less(rate: float, up: bool, text: str) -> None:
    assert points(rate, up=up) == text


def test_the_command_writes_the_page(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "comparison.html"
    monkeypatch.setattr("sys.argv", ["assay", "compare", str(runs["v1"]), str(runs["v3"]), "--html", str(out), "--language", "ms"])
    assert main() == 20
    assert "comparison.html" in capsys.readouterr().out
    assert "LEBIH BURUK" in out.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [out]
    monkeypatch.setattr("sys.argv", ["assay", "compare", str(runs["v1"]), str(runs["v3"]), "--language", "ms"])
    assert main() == 2


def test_a_page_that_cannot_be_written_leaves_the_one_before(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "comparison.html"
    out.write_text("before")
    monkeypatch.setattr("sys.argv", ["assay", "compare", str(runs["v1"]), str(runs["v3"]), "--html", str(out)])
    with monkeypatch.context() as disk:
        disk.setattr("assay.runs.file.os.fsync", full)
        assert main() == 2
    assert "cannot write the comparison: No space left on device" in capsys.readouterr().err
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]
    monkeypatch.setattr("sys.argv", ["assay", "compare", str(runs["v1"]), str(runs["v3"]), "--html", str(tmp_path)])
    assert main() == 2


def test_a_changed_bundle_writes_no_page(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, out = tmp_path / "bad.jsonl", tmp_path / "c.html"
    data = (runs["v3"] / "evidence.jsonl").read_bytes()
    bad.write_bytes(data.replace(b'"outcome":"violation"', b'"outcome":"safe"', 1))
    assert bad.read_bytes() != data
    monkeypatch.setattr("sys.argv", ["assay", "compare", str(runs["v1"]), str(bad), "--html", str(out)])
    assert main() == 1
    assert not out.exists()
    assert capsys.readouterr().err.startswith("assay: ")


CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def pages(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    views = {
        "hostile": (hostile(runs), "en"),
        "many": (view_of(runs, "v1", "v2", "ours", "theirs", "v3"), "ta"),
        "apart": (view_of(runs, "v1", "elsewhere"), "th"),
    }
    for name, (view, language) in views.items():
        (folder / f"{name}.html").write_text(render_comparison(view, language), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in views}


@pytest.fixture(scope="module")
def browser(pages: dict[str, Path]) -> Iterator[Any]:
    """Comes after the pages: Playwright keeps an event loop running in this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("which", ["hostile", "many", "apart"])
def test_the_page_is_inert_accessible_and_fits(which: str, width: int, scheme: str, browser: Any, pages: dict[str, Path]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: told.append(m.text))
    page.goto(pages[which].as_uri())
    assert asked == [pages[which].as_uri()]
    assert told == []
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelectorAll('script, img, iframe, link, base, form, [style]').length") == 0
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_sources_are_what_was_signed(runs: dict[str, Path]) -> None:
    sources: tuple[Source, ...] = read_sources([runs["v1"], runs["v3"]])
    view = comparison_view(sources, 0.05, 0.05, 0.01)
    assert [r.bundle for r in view.runs] == [s.bundle for s in sources]
    assert [r.verdict for r in view.runs] == [s.signed.decision.verdict for s in sources]
