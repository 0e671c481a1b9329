"""The studio in a real browser: runs started, watched, stopped, gone on with; by keyboard, on a phone, in the dark, in every language."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.studio.app import WORDS
from assay.web.languages import INTERFACE, read_words
from tests.label.browsing import ARGS, CHROMIUM
from tests.studio.serving import MARKUP, Studio, fill

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("starlette")
STATIC = WORDS.parent / "static"
Open = Callable[..., Any]
REPORT = "<!doctype html><title>report</title><script>document.title='ran'</script><p>report<img src=/api/runs><iframe src=/></iframe>"
EXPLORER = """<!doctype html><title>explorer</title><script>
const cookie = () => { try { return document.cookie || 'none' } catch { return 'barred' } };
fetch('/api/runs').then(() => 'reached', () => 'refused').then(w => document.title = w + ' ' + cookie())
</script>"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("browser") / "runs"
    fill(folder)
    (folder / "finished" / "report.html").write_text(REPORT)
    (folder / "finished" / "explorer.html").write_text(EXPLORER)
    with Studio(folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser(studio: Studio) -> Iterator[Any]:
    """After the studio, since Playwright keeps an event loop running in this thread, in which no run could be made."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(studio: Studio, browser: Any) -> Any:
    context = browser.new_context()
    page = context.new_page()
    page.goto(studio.link)
    page.wait_for_selector(".list")
    assert "#t=" not in page.url
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def sit(studio: Studio, browser: Any, signed_in: Any) -> Iterator[Open]:
    """Somebody at the studio; what the page complains of fails the test."""
    troubles: list[str] = []
    contexts = []

    def down(where: str = "#runs", ready: str = ".list", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "storage_state": signed_in, **options})
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda e: troubles.append(str(e)))
        page.on("console", lambda m: troubles.append(m.text) if m.type == "error" and "the server responded" not in m.text else None)
        page.on("dialog", lambda d: troubles.append(d.message))
        page.goto(f"{studio.origin}/{where}")
        page.wait_for_selector(ready)
        contexts.append(context)
        return page

    yield down
    for context in contexts:
        context.close()
    assert troubles == []


def axe(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped, unused-ignore]

    found = Axe().run(page)
    return [f"{v['id']}: {[n['html'][:160] for n in v['nodes']]}" for v in found.response["violations"]]


def width(page: Any) -> int:
    return int(page.evaluate("Math.max(document.body.scrollWidth, document.documentElement.scrollWidth)"))


pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_list_shows_every_state_and_names_stay_texts(sit: Open) -> None:
    page = sit()
    text = page.inner_text("#run-list")
    assert MARKUP in text
    for word in (
        "finished",
        "stopped",
        "broken",
        "halt",
        "went on after it was signed",
        "the signature does not hold",
        "damaged",
        "Rename it",
    ):
        assert word in text
    assert page.locator("main img, main script, main b").count() == 0
    assert page.title() == "Studio · Assay"
    page.get_by_role("link", name=MARKUP, exact=True).click()
    page.wait_for_selector("#run:not([hidden]) .matrix td[data-now]")
    assert page.inner_text("#run-title") == MARKUP


def test_a_plan_is_started_watched_to_its_end_and_reported(sit: Open, studio: Studio) -> None:
    page = sit()
    page.click("#tabs a[href='#start']")
    page.wait_for_selector("#plan option[value='quick']", state="attached")
    page.select_option("#plan", "quick")
    page.fill("#target", "scripted:0.01")
    page.fill("#name", "seen")
    page.press("#name", "Enter")
    page.wait_for_selector("#forecast h2")
    assert "24: 3 hazards × 8 languages × 1 attacks" in page.inner_text("#forecast")
    assert "160 trials, 800 requests" in page.inner_text("#forecast")
    assert re.search(r" run quick --target scripted:0.01 --out \S*/seen$", page.inner_text("#forecast .command code"))
    page.fill("#name", "")
    assert re.search(r"/quick-\d{8}-\d{6}$", page.inner_text("#forecast .command code"))
    page.fill("#name", "seen")
    page.fill("#target", "scripted:0.02")
    assert page.locator("#forecast button").count() == 0
    assert "Show the forecast again" in page.inner_text("#start-said")
    page.click("#show-forecast")
    page.click("#forecast button.main")
    page.wait_for_selector("#run:not([hidden])")
    assert page.url.endswith("#run/seen")
    page.wait_for_selector("#run-facts .badge.finished", timeout=90_000)
    page.wait_for_selector("#run-facts .badge.delay")
    assert "160 of at most 160" in page.inner_text("#run-progress")
    assert "verify" in page.inner_text("#run-next")
    total = sum(int(n.split("/")[1].split()[0].split("?")[0]) for n in page.locator(".matrix td[data-place]").all_text_contents())
    assert 0 < total < 160
    with page.context.expect_page() as opened:
        page.click("#run-acts a.open")
    report = opened.value
    report.wait_for_load_state()
    assert "DELAY" in report.title()
    assert report.evaluate("window.origin") == "null"
    page.click("#run-acts button[data-key='make_explorer-seen']")
    page.wait_for_selector("#run-acts a[href$='/explorer']", timeout=60_000)
    with page.context.expect_page() as opened:
        page.click("#run-acts a[href$='/explorer']")
    explorer = opened.value
    explorer.wait_for_selector("html[data-ready=all]", state="attached")
    assert explorer.evaluate("window.origin") == "null"
    explorer.locator("#rows a, main a[href^='#']").first.click()
    explorer.wait_for_selector("#rows a")
    explorer.locator("#rows a").first.click()
    explorer.wait_for_selector("#transcript .answer")


def test_what_starts_without_a_name_is_what_the_command_names(sit: Open) -> None:
    page = sit("#start", "#start:not([hidden])")
    page.fill("#target", "scripted:0.02")
    page.click("#show-forecast")
    shown = page.inner_text("#forecast .command code")
    begun: list[str] = []

    def refuse(route: Any) -> None:
        begun.append(route.request.post_data_json["name"])
        route.fulfill(status=409, json={"code": "name_taken", "error": "taken"})

    page.route("**/api/start", refuse)
    page.click("#forecast button.main")
    page.wait_for_selector("#start-said.halt")
    assert shown.endswith(f"/{begun[0]}")


def test_documents_of_an_earlier_decision_are_marked_and_offered_anew(sit: Open) -> None:
    page = sit()
    cell = "tr:has([data-key='run-finished']) td.documents"
    assert page.inner_text(cell).count("of an earlier decision") == 2
    for act in ("make_report", "make_explorer"):
        assert page.locator(f"[data-key='{act}-finished']").count() == 1
    page = sit("#run/finished", ".matrix td[data-now]")
    assert page.inner_text("#run-acts").count("of an earlier decision") == 2
    assert " report " in page.inner_text("#run-next")


@pytest.mark.parametrize(("verdict", "signed"), [("halt", True), ("approve", False)])
def test_signed_is_said_of_the_verdict_that_was_signed_only(verdict: str, signed: bool, sit: Open) -> None:
    page = sit()

    def look(route: Any) -> None:
        found = route.fetch().json()
        found["listed"]["run"]["verdict"] = verdict
        route.fulfill(json=found)

    page.route("**/api/run/finished*", look)
    page.click("[data-key='run-finished']")
    page.wait_for_selector("#run-progress .standing")
    said = page.inner_text("#run-progress .standing")
    assert "halt" in said
    assert (said.endswith("Signed."), "It counts once" in said) == (signed, not signed)


def test_a_document_of_a_run_can_do_nothing(sit: Open, studio: Studio) -> None:
    page = sit()
    asked: list[str] = []
    for which, title in (("report", "report"), ("explorer", "refused barred")):
        with page.context.expect_page() as opened:
            page.click(f"[data-key='{which}-finished']")
        found = opened.value
        found.on("response", lambda r: asked.append(r.url))
        found.wait_for_load_state()
        end = time.monotonic() + 10
        while found.title() != title and time.monotonic() < end:
            found.wait_for_timeout(50)
        assert found.title() == title
        assert found.evaluate("window.origin") == "null"
        assert found.evaluate("window.opener") is None
        found.close()
    assert [u for u in asked if "/api/" in u] == []


def test_a_run_is_stopped_and_goes_on_by_keyboard(sit: Open) -> None:
    page = sit("#start", "#start:not([hidden])")
    page.wait_for_selector("#plan option[value='slow.yaml']", state="attached")
    page.select_option("#plan", "slow.yaml")
    page.fill("#name", "halted")
    page.focus("#show-forecast")
    page.keyboard.press("Enter")
    page.wait_for_selector("#forecast h2", timeout=120_000)
    page.focus("[data-key=begin]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#run-facts .badge.running")
    page.wait_for_selector(".matrix td[data-now]")
    assert "kill -INT" in page.inner_text("#run-acts")
    page.focus("[data-key=stop]")
    page.wait_for_timeout(2500)
    assert page.evaluate("document.activeElement.dataset.key") == "stop"  # what is drawn anew under way leaves the focus
    page.keyboard.press("Enter")
    assert "Everything so far is kept" in page.inner_text("#ask")
    page.keyboard.press("Escape")
    assert page.locator("#ask").is_hidden()
    page.keyboard.press("Enter")
    page.focus("#ask-do")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-key=resume]")
    assert "stopped" in page.inner_text("#run-facts")
    assert " --resume --out " in page.inner_text("#run-next")
    page.click("summary:has-text('Beside the trials')")
    assert "Stopped" in page.inner_text("#run-happenings")
    page.click("[data-key=resume]")
    page.wait_for_selector("#run-facts .badge.running")
    page.click("[data-key=stop]")
    page.click("#ask-do")
    page.wait_for_selector("[data-key=resume]")


@pytest.mark.parametrize("name", ["garbage", "hollow", "begun", "older", "forged"])
def test_a_run_that_cannot_be_read_says_what_is_wrong(name: str, sit: Open) -> None:
    page = sit(f"#run/{name}", "#run:not([hidden])")
    if name == "forged":
        assert "the signature does not hold" in page.inner_text("#run-facts")
    else:
        assert "This run cannot be read" in page.inner_text("#run-notices")


def test_a_plan_that_is_not_valid_is_refused_in_the_commands_own_words(sit: Open) -> None:
    page = sit("#start", "#start:not([hidden])")
    assert page.locator("#plan option[value='bad.yaml']").is_disabled()
    page.click("#plan-about summary")
    assert "bad.yaml" in page.inner_text("#plan-about pre")
    page.fill("#target", "nonsense")
    page.click("#show-forecast")
    page.wait_for_selector("#start-said.halt")
    assert "'nonsense' is not a target" in page.inner_text("#start-said pre")
    assert page.locator("#start-said pre").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, sit: Open) -> None:
    for size in ({"width": 1280, "height": 900}, {"width": 360, "height": 740}):
        page = sit(color_scheme=scheme, viewport=size)
        assert axe(page) == []
        for where, ready in (
            ("#run/finished", ".matrix td[data-now]"),
            ("#run/garbage", "#run-notices .notice"),
            ("#start", "#start:not([hidden])"),
        ):
            page.goto(page.url.split("#")[0] + where)
            page.wait_for_selector(ready)
            assert axe(page) == [], where
        page.fill("#target", "scripted:0.01")
        page.click("#show-forecast")
        page.wait_for_selector("#forecast h2")
        assert axe(page) == []


@pytest.mark.parametrize("tag", list(INTERFACE))
def test_a_phone_is_wide_enough_and_the_page_speaks(tag: str, sit: Open) -> None:
    words = read_words(WORDS)[tag]
    page = sit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, locale=tag)
    assert page.evaluate("document.documentElement.lang") == tag
    for where, ready in (
        ("", ".list"),
        ("#run/finished", ".matrix td[data-now]"),
        ("#run/older", "#run-notices .notice"),
        ("#start", "#start:not([hidden])"),
    ):
        page.goto(page.url.split("#")[0] + (where or "#runs"))
        page.wait_for_selector(ready)
        assert width(page) <= 360, where
    assert page.inner_text("#start-title") == words["start_title"]
    page.fill("#target", "scripted:0.01")
    page.tap("#show-forecast")
    page.wait_for_selector("#forecast h2")
    assert words["model_weak"] in page.inner_text("#forecast")
    assert width(page) <= 360
    other = "ms" if tag != "ms" else "th"
    page.select_option("#set-language", other)
    page.wait_for_selector(f"html[lang='{other}']")
    page.reload()
    page.wait_for_selector(f"html[lang='{other}'] #start:not([hidden])")
    assert page.inner_text("#start-title") == read_words(WORDS)[other]["start_title"]


def test_every_word_that_the_page_says_is_there_and_every_word_that_is_there_is_said() -> None:
    words = set(read_words(WORDS)["en"])
    code = "\n".join(p.read_text() for p in STATIC.glob("*.js")) + (WORDS.parent / "page.html").read_text()
    said = set(re.findall(r"""(?:say|word)\(\s*["'](\w[\w-]*)["']""", code)) | set(re.findall(r'"([a-z][a-z_]+)"', code))
    made = set(re.findall(r"say\(`(\w+_)\$\{", code))
    assert set(re.findall(r"""(?:say|word)\(\s*["'](\w[\w-]*)["']""", code)) - words == set()
    spare = {w for w in words - said if not any(w.startswith(prefix) for prefix in made)} - {w for w in words if f"w.{w}" in code}
    assert spare == set()
    assert made <= {w[: w.index("_") + 1] for w in words if "_" in w}


def test_who_is_not_signed_in_is_told_how(studio: Studio, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(studio.link)
    page.wait_for_selector("#message-title:has-text('You are not signed in')")
    assert "used already" in page.inner_text("#message-text")
    assert "A link opens once" in page.inner_text("#message-text")
    assert page.locator("#tabs").is_hidden()
    context.close()


def test_a_foreign_page_neither_frames_nor_calls_it(studio: Studio, browser: Any, signed_in: Any, tmp_path: Path) -> None:
    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    calls = f"fetch('{studio.origin}/api/runs', {{credentials: 'include'}})"
    told = "r => r.text().then(t => document.title = t), () => document.title = 'refused'"
    foreign = f"<iframe src='{studio.origin}/'></iframe><script>{calls}.then({told})</script>"
    page.route("http://evil.example/", lambda route: route.fulfill(body=foreign, content_type="text/html"))
    page.goto("http://evil.example/")
    end = time.monotonic() + 10
    while page.title() != "refused" and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert page.title() == "refused"
    assert all("Runs in" not in f.evaluate("document.body ? document.body.innerText : ''") for f in page.frames if f != page.main_frame)
    context.close()


def test_a_studio_that_ended_is_said_and_comes_back(tmp_path: Path, browser: Any) -> None:
    with Studio(tmp_path / "runs") as own:
        context = browser.new_context()
        page = context.new_page()
        page.goto(own.link)
        page.wait_for_selector(".card")
        assert "There are no runs here yet" in page.inner_text(".card")
        own.stop()
        page.wait_for_selector("#offline:not([hidden])", timeout=20_000)
        assert "Runs go on without it" in page.inner_text("#offline")
        context.close()
