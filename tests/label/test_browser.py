"""The page in a real browser: by keyboard alone, blurred, undone, without a connection, in every language and script, on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.judges.labels import Label
from assay.label import Desk, Scope
from assay.runs import RunFile, read_labels
from assay.web.languages import INTERFACE
from tests.label.browsing import ARGS, CHROMIUM, Reader
from tests.label.making import ANSWERS, agents_run, judged_run, persian_run
from tests.label.serving import Page
from tests.report.test_browser import HOSTILE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("starlette")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Made before the browser: Playwright keeps an event loop running in this thread, in which no run could be made."""
    root = tmp_path_factory.mktemp("runs")
    hostile = list(HOSTILE)
    return {
        "one": judged_run(root / "one", calls=16),
        "two": judged_run(root / "two", calls=16, people=2),
        "many": judged_run(root / "many", calls=60),
        "agents": agents_run(root / "agents"),
        "fa": persian_run(root / "fa"),
        "ta": judged_run(root / "ta", calls=12, languages=("ta",)),
        "hostile": judged_run(root / "hostile", calls=16, answer=lambda t: hostile[t.slot % len(hostile)]),
    }


@pytest.fixture(scope="module")
def browser(runs: dict[str, Path]) -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


Open = Callable[..., Any]


@pytest.fixture
def serve(runs: dict[str, Path], tmp_path: Path) -> Iterator[Open]:
    """Serve a copy of one of the runs."""
    pages: list[Page] = []

    def start(which: str, *options: str) -> Page:
        folder = tmp_path / which
        folder.mkdir()
        (folder / "run.db").write_bytes((runs[which] / "run.db").read_bytes())
        pages.append(Page(folder, *(options or ("--labeller", "Aisyah"))))
        return pages[-1]

    yield start
    for page in pages:
        page.__exit__(None, None, None)


@pytest.fixture
def sit(browser: sync_api.Browser) -> Iterator[Open]:
    """Somebody opens the page in a browser of their own; what the page complains of fails the test."""
    readers: list[Reader] = []

    def down(page: Page, name: str = "Aisyah", **options: Any) -> Reader:
        open_page = options.pop("open_page", True)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en", **options})
        context.set_default_timeout(10_000)
        readers.append(Reader(context, page, name, open_page=open_page))
        return readers[-1]

    yield down
    for reader in readers:
        assert reader.troubles == []
        reader.context.close()


def acts(page: Page) -> list[Label]:
    with RunFile.read(page.run / "run.db") as file:
        return read_labels(file)


def test_a_label_by_keyboard_alone(serve: Open, sit: Open) -> None:
    page = serve("agents", "--labeller", "Aisyah", "--all")
    reader = sit(page)
    slot = reader.slot
    reader.press("b", "v", "3", "0", "4", "4", "p", "c", "c", "m")
    reader.page.keyboard.type("v and z are letters here")
    reader.press("Escape", "Enter")
    reader.wait_saved()
    [act] = acts(page)
    assert (act.slot, act.verdict, act.modes, act.refusal, act.confidence, act.note) == (
        slot, "violation", (3, 10), "partial", "medium", "v and z are letters here",
    )  # fmt: skip
    assert reader.slot != slot
    assert "1 labelled" in reader.text("#progress-text")
    assert reader.chosen() == {}
    assert reader.note == ""
    reader.press("Enter")
    assert "Choose a verdict" in reader.text("#said")
    reader.press("?")
    assert reader.page.locator("#help").is_visible()
    reader.press("v", "Enter", "Escape")
    assert len(acts(page)) == 1


def test_shortcuts_go_by_place_on_keyboards_of_other_scripts_and_can_be_switched_off(serve: Open, sit: Open) -> None:
    reader = sit(serve("one"))
    send = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))"
    reader.page.evaluate(send, ["อ", "KeyV"])
    assert reader.chosen() == {"verdict": "violation"}
    reader.press("Control+a", "Alt+u")
    assert reader.chosen() == {"verdict": "violation"}
    reader.page.click("#open-settings")
    reader.page.uncheck("#set-keys")
    reader.page.click("#settings [data-close]")
    reader.press("a")
    assert reader.chosen() == {"verdict": "violation"}


def test_text_is_blurred_until_asked_for_and_the_choice_is_remembered(serve: Open, sit: Open) -> None:
    reader = sit(serve("one"))
    hidden = "[document.querySelector('#texts').inert, getComputedStyle(document.querySelector('#texts')).filter]"
    assert reader.page.evaluate(hidden) == [True, "blur(7px)"]
    assert "welcomes every tenant" not in reader.heard()
    reader.press("b")
    assert reader.page.evaluate(hidden) == [False, "none"]
    assert "welcomes every tenant" in reader.heard()
    reader.label("a")
    assert reader.page.evaluate(hidden)[0] is True
    reader.page.click("#open-settings")
    reader.page.uncheck("#set-blur")
    reader.page.click("#settings [data-close]")
    reader.page.reload()
    reader.ready()
    assert reader.page.evaluate(hidden)[0] is False


def test_skip_and_undo(serve: Open, sit: Open) -> None:
    page = serve("one")
    reader = sit(page)
    first = reader.label("v", "n", "c")
    second = reader.slot
    reader.press("s")
    assert reader.slot not in (first, second)
    reader.press("z")  # at once
    reader.wait_slot(second)
    reader.press("z")
    reader.wait_slot(first)
    assert reader.chosen() == {"verdict": "violation", "refusal": "none", "confidence": "low"}
    reader.wait_saved()
    assert [(a.act, a.slot) for a in acts(page)] == [("label", first), ("skip", second), ("undo", second), ("undo", first)]
    reader.label("a")
    reader.wait_saved()
    other = sit(page)  # the same person elsewhere: the last act is known there too
    other.press("z")
    other.wait_slot(first)
    other.until("document.querySelector('#form input:checked')?.value === 'acceptable'")
    other.wait_saved()
    assert acts(page)[-1].act == "undo"


def test_everything_labelled_and_the_skipped_ones_at_the_end(serve: Open, sit: Open) -> None:
    page = serve("one")
    reader = sit(page)
    skipped = reader.slot
    reader.press("s")
    reader.until("document.documentElement.dataset.slot !== s", str(skipped))
    while reader.more():
        reader.label("a")
    reader.page.wait_for_selector("#show-skipped:not([hidden])")
    assert "You skipped: 1" in reader.text("#message-text")
    reader.page.click("#show-skipped")
    reader.page.wait_for_selector("#work:not([hidden])")
    assert reader.label("u") == skipped
    reader.until("document.querySelector('#message-text').textContent.includes('Thank you')")
    reader.wait_saved()
    with Desk.open(page.run) as desk:
        assert all(len(desk.book.on(c.slot)) == 1 for c in desk.candidates)
    reader.page.click("#undo-finished")
    reader.page.wait_for_selector("#work:not([hidden])")
    assert reader.slot == skipped


def test_a_break_is_suggested_after_twenty_upsetting_texts(serve: Open, sit: Open) -> None:
    reader = sit(serve("many"))
    seen = 0
    while seen < 20 and reader.more():
        assert reader.page.locator("#break").is_hidden()
        seen += "violation" in reader.text("#question")
        reader.press("b", "b", "b")  # looked at twice, counted once; harmless requests are not counted
        if seen < 20:
            reader.label("a")
    assert "Upsetting texts: 20" in reader.text("#break-text")
    assert "short break" in reader.text("#said")
    reader.page.click("#break-later")
    assert reader.page.locator("#break").is_hidden()


def test_a_break_is_suggested_after_a_while(serve: Open, sit: Open) -> None:
    reader = sit(serve("one"), open_page=False)
    reader.page.clock.install()
    reader.page.goto(reader.server.links["Aisyah"])
    reader.ready()
    assert reader.page.locator("#break").is_hidden()
    for _ in range(26):
        reader.press("Shift")
        reader.page.clock.run_for(60_000)
    assert reader.page.locator("#break").is_visible()
    assert "Minutes at work" in reader.text("#break-text")
    reader.press("b")
    reader.page.click("#break-take")
    assert reader.page.locator("#rest").is_visible()
    assert reader.page.evaluate("document.querySelector('#texts').inert") is True
    reader.press("v")
    assert reader.chosen() == {}
    reader.page.click("#rest-over")
    assert reader.page.locator("#break").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["one", "agents", "fa"])
def test_axe_finds_nothing(which: str, scheme: str, serve: Open, sit: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    reader = sit(serve(which, "--labeller", "Aisyah", "--all"), color_scheme=scheme)

    def clean() -> None:
        found = axe.run(reader.page)
        assert found.violations_count == 0, found.generate_report()

    clean()
    reader.press("b", "v", "c", "n")
    clean()
    reader.page.click("#progress summary")
    clean()
    for name in ("help", "settings"):
        reader.page.click(f"#open-{name}")
        clean()
        reader.page.click(f"#{name} [data-close]")
    reader.page.set_viewport_size({"width": 360, "height": 740})
    clean()
    stranger = sit(reader.server, open_page=False, color_scheme=scheme)
    stranger.page.goto(reader.server.origin)
    stranger.until("document.querySelector('#message-title').textContent === 'Sign in'")
    assert axe.run(stranger.page).violations_count == 0


@pytest.mark.parametrize("which", ["one", "agents", "fa", "ta", "hostile"])
def test_a_phone_is_wide_enough(which: str, serve: Open, sit: Open) -> None:
    reader = sit(serve(which, "--labeller", "Aisyah", "--all"), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for _ in range(4):
        reader.page.tap("#blur")
        for more in reader.page.locator("#texts .more").all():
            more.tap()
        reader.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert reader.page.evaluate("Math.max(document.body.scrollWidth, document.documentElement.scrollWidth)") <= 360
        reader.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
        slot = reader.slot
        reader.page.tap(".verdicts .acceptable")
        reader.page.tap("#submit")
        reader.until("document.documentElement.dataset.slot !== s", str(slot))
    small = "[...document.querySelectorAll('button, .choice')].filter(b => b.offsetHeight && b.offsetHeight < 24).length"
    assert reader.page.evaluate(small) == 0


def test_persian_runs_from_right_to_left_and_keeps_its_joiners(serve: Open, sit: Open) -> None:
    reader = sit(serve("fa"))
    reader.press("b")
    said = reader.page.locator(".block.last .said")
    assert (said.get_attribute("lang"), said.get_attribute("dir")) == ("fa", "rtl")
    text = said.text_content()
    assert text.startswith(ANSWERS["fa"])
    assert "\u200c" in text
    assert "U+200C" not in text
    box = said.evaluate(
        "e => { const r = document.createRange(); r.setStart(e.firstChild, 0); r.setEnd(e.firstChild, 2);"
        " return [r.getBoundingClientRect().right, e.getBoundingClientRect().right, e.getBoundingClientRect().left] }"
    )
    assert box[1] - box[0] < 40 < box[0] - box[2]  # it begins at the right edge


@pytest.mark.parametrize("tag", INTERFACE)
def test_the_page_speaks(tag: str, serve: Open, sit: Open) -> None:
    reader = sit(serve("ta"), locale=tag)
    assert reader.page.evaluate("document.documentElement.lang") == tag
    reader.page.evaluate("document.querySelectorAll('dialog').forEach(d => d.show())")
    empty = "[...document.querySelectorAll('[data-word]')].filter(e => !e.textContent.trim()).length"
    assert reader.page.evaluate(empty) == 0
    assert "{" not in reader.page.inner_text("body")
    assert "undefined" not in reader.page.inner_text("body")
    assert reader.page.locator("#rubric-text").inner_text().strip()
    reader.page.evaluate("document.querySelectorAll('dialog').forEach(d => d.close())")
    reader.page.evaluate("document.activeElement.blur()")
    other = "ta" if tag != "ta" else "th"
    reader.press("v")
    reader.page.click("#open-settings")
    reader.page.select_option("#set-language", other)
    reader.until("document.documentElement.lang === s", other)
    assert reader.chosen() == {"verdict": "violation"}
    assert reader.page.evaluate(empty) == 0


def test_the_rubric_is_in_the_language_of_ones_choice(serve: Open, sit: Open, runs: dict[str, Path]) -> None:
    reader = sit(serve("ta"))
    offered = reader.page.eval_on_selector_all("#rubric-language option", "o => o.map(x => x.value)")
    with Desk.open(runs["ta"], Scope(everything=True)) as desk:
        written = {r.language for r in desk.rubrics("hate")}
    assert offered[0] == "en"
    assert set(offered) == written
    english = reader.text("#rubric-text")
    if "ta" in offered:
        assert offered[1] == "ta"
        reader.press("l")
        reader.until("document.querySelector('#rubric-text > div').lang === 'ta'")
        assert reader.text("#rubric-text") != english
        reader.page.reload()
        reader.ready()
        assert reader.page.input_value("#rubric-language") == "ta"


def test_hostile_text_is_shown_and_does_nothing(serve: Open, sit: Open) -> None:
    page = serve("hostile")
    reader = sit(page)
    asked: list[str] = []
    reader.page.on("request", lambda r: asked.append(r.url))
    seen = ""
    while reader.more():
        reader.press("b")
        for more in reader.page.locator("#texts .more").all():
            more.click()
        seen += reader.page.evaluate("document.querySelector('#texts').textContent")
        assert (
            reader.page.evaluate("document.querySelectorAll('#texts :is(script, img, iframe, svg, a, base, meta, link, style)').length")
            == 0
        )
        assert reader.page.evaluate("Math.max(document.body.scrollWidth, document.documentElement.scrollWidth)") <= 1280
        reader.label("a")
    assert reader.page.evaluate("window.pwned") is None
    assert not [url for url in asked if not url.startswith(page.origin)]
    assert "<script>window.pwned=1</script>" in seen
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩" in seen
    assert "⟨U+0000 × 5,000⟩" in seen
    assert "W" * 100_000 in seen
    assert "more characters are left out" in seen
    assert not any(c in seen for c in "\0\u202e\u2066\u200b\ufffd")
