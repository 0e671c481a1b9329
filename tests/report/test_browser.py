"""A hostile target cannot do anything in the reader's browser, and the page fits wide and narrow screens, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.evidence import write_bundle
from assay.report import render_report
from assay.runs import Trial
from tests.report.making import HAZARDS, reanswered, run_in
from tests.support import KEY

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=2'><svg onload='window.pwned=3'>",
    "\"'><body onload=window.pwned=4><a href=javascript:window.pwned=5 autofocus onfocus=window.pwned=6>",
    "</style><style>@import 'http://evil.invalid/x.css';*{width:5000px!important}</style>",
    "</div></details></main></body></html><iframe src='http://evil.invalid/'></iframe>",
    "{{7*7}} {% for x in range(99) %}{{ x }}{% endfor %} {{ cycler.__init__.__globals__ }}",
    "\u202egnp.exe\u202c \u2066\u2067isolates\u2069 \u200f\u200b\u2028 \ufeffend\0\x1b[31m\x08",
    "<meta http-equiv=refresh content='0;url=http://evil.invalid/'><base href='http://evil.invalid/'>",
    "<link rel=stylesheet href=http://evil.invalid/a.css><link rel=prefetch href=http://evil.invalid/b>",
    "-->]]><!--<![CDATA[ <textarea><plaintext><template>",
    "Z\u0351\u0352\u0353\u035f" + "a\u0300\u0301\u0302\u0303\u0304" * 200,
    "W" * 200_000,
    "\0" * 5_000,
)


class HostileAnswers:
    """Each hostile text once, with the protected value so that it is shown; everything else refuses."""

    def __init__(self) -> None:
        self.left = list(HOSTILE)

    def __call__(self, trial: Trial, value: str) -> str | None:
        if trial.arm == "benign":
            return None
        return f"{self.left.pop()} {value}" if value and self.left else "I cannot help with that."


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a run whose every answer is hostile and a violation, whose target and incidents are too."""
    folder = tmp_path_factory.mktemp("hostile")
    with run_in(folder, languages=["en", "zh-Hans", "ms", "ta", "th", "vi"], hazards=HAZARDS) as run:
        name = "<img src=x onerror=window.pwned=7>\u202e" + "W" * 300
        out = reanswered(run, folder / "hostile.db", HostileAnswers(), model=name)
        out.note_incident({"what": HOSTILE[0], "at": 1, "reason": HOSTILE[2] + HOSTILE[5]})
        out.note_incident({"what": "W" * 3000, "at": 2, "reason": "\u202e" + "W" * 3000})
        summary = write_bundle(out, KEY, "complete", folder / "evidence.jsonl")
        html = render_report(out, summary=summary, ended="complete", bundle_name="</code><script>window.pwned=8</script>")
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report such as one would hand over."""
    folder = tmp_path_factory.mktemp("calm")
    options = {"violation": "0.15", "violation.ta": "0.6", "refusal": "0.05", "failure": "0.05"}
    with run_in(folder, languages=["en", "zh-Hans", "ms", "ta", "th", "vi"], hazards=HAZARDS, options=options) as run:
        summary = write_bundle(run, KEY, "complete", folder / "evidence.jsonl")
        html = render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pages(hostile: Path, calm: Path) -> dict[str, Path]:
    return {"hostile": hostile, "calm": calm}


@pytest.fixture(scope="module")
def browser(pages: dict[str, Path]) -> Iterator[sync_api.Browser]:
    """Comes after the pages: Playwright keeps an event loop running in this thread, in which no run could be made."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS.split())
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("which", ["hostile", "calm"])
def test_the_page_is_inert_and_fits(
    which: str, width: int, scheme: str, browser: sync_api.Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    path = pages[which]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: said.append(m.text))
    page.on("dialog", lambda d: said.append(d.message))
    page.goto(path.as_uri())
    page.screenshot(path=tmp_path / "closed.png", full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(100)
    page.screenshot(path=tmp_path / "open.png")
    assert asked == [path.as_uri()]
    assert said == []
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.body.scrollWidth") <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    foreign = "document.querySelectorAll('script, img, iframe, link, base, form, textarea, template, plaintext, [style]').length"
    assert page.evaluate(foreign) == 0
    assert page.evaluate("document.querySelectorAll('main').length") == 1
    assert page.evaluate("document.querySelector('footer').innerText").startswith("Made by Assay")
    context.close()


def test_hostile_text_is_shown_as_it_is(hostile: Path, browser: sync_api.Browser) -> None:
    page = browser.new_page()
    page.goto(hostile.as_uri())
    text = page.evaluate("document.body.textContent")
    assert "<script>window.pwned=1</script>" in text
    assert "{{7*7}}" in text
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩" in text
    assert "⟨U+0000 × " in text
    assert "characters are left out" in text
    assert not any(c in text for c in "\0\u202e\u2066\u200b\ufffd")
    page.close()


def test_the_page_works_with_the_keyboard(calm: Path, browser: sync_api.Browser) -> None:
    page = browser.new_page()
    page.goto(calm.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("summary").last.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("[...document.querySelectorAll('details')].at(-1).open") is True
    page.close()


def test_printing_shows_the_transcripts(calm: Path, browser: sync_api.Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(calm.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.querySelector('.said').getBoundingClientRect().height") > 10
    assert page.pdf(path=tmp_path / "report.pdf", format="A4").startswith(b"%PDF")
    page.close()
