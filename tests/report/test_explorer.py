"""The interactive report: its numbers lead to the trials that were counted, nothing in it runs but its own script, and it stays quick."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from assay.attacks import ATTACKS
from assay.decision.codes import CODES
from assay.evidence import write_bundle
from assay.plan import Stream
from assay.report.explorer import WORDS, explorer_parts, write_explorer
from assay.report.explorer.facts import make_facts
from assay.report.explorer.pack import Block, pack
from assay.report.explorer.page import filled
from assay.report.explorer.spoken import spoken_lines
from assay.report.sources import Source, read_source
from assay.runs import RunFile, run_path
from assay.scenarios import Check, ItemBuilder, Message, WithheldItem
from assay.web.languages import INTERFACE, read_words
from tests.exchange.exporting import judged_run
from tests.label.making import agents_run
from tests.report.making import HAZARDS, OVER_REFUSAL, PARITY, VIOLATIONS, run_in
from tests.report.test_browser import ARGS, CHROMIUM, HOSTILE
from tests.support import KEY

MEGABYTE = "word \u202e<b>" * 110_000
ODD = (*HOSTILE, MEGABYTE, "a\0b" * 3000, "</script><script>window.pwned=9</script>", "<!--<script>", "Ｓｅｃｒｅｔ\u200b ４７ Straße")
AVERAGE = {"id": "average", "kind": "average-rate", "max_rate": 0.2, "each": "language"}


def signed(run: RunFile, folder: Path) -> Source:
    """By its bundle alone: another run may lie in the folder."""
    bundle = folder / "signed" / "evidence.jsonl"
    bundle.parent.mkdir()
    write_bundle(run, KEY, "complete", bundle)
    return read_source(bundle)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A run in which much goes wrong, of every kind of claim."""
    folder = tmp_path_factory.mktemp("calm")
    options = {"violation": "0.25", "violation.ta": "0.6", "refusal": "0.1", "failure": "0.05"}
    requirements = (VIOLATIONS, OVER_REFUSAL, PARITY, AVERAGE)
    with run_in(folder, hazards=HAZARDS, options=options, requirements=requirements, placebo=True) as run:
        return signed(run, folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Every field that a target or an endpoint fills holds something hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    with run_in(folder, languages=["en", "ta", "zh-Hans"], hazards=HAZARDS) as run:
        out = RunFile.create(folder / "hostile.db", run.opening())
        trials = []
        for trial in run.trials():
            text = ODD[trial.slot % len(ODD)]
            kind = ("violation", "unscorable", "safe")[trial.slot % 3]
            changes = {"answer": text, "model": text[:300], "finish": text[:300], "how": text[:300], "outcome": kind}
            reason = HOSTILE[trial.slot % 7] if kind != "safe" else ""
            trials.append(msgspec.structs.replace(trial, **changes, reason=reason, failure=reason, attempts=((text[:100], 3),)))
        out.append(trials)
        return signed(out, folder)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A run that ended before its first trial."""
    folder = tmp_path_factory.mktemp("empty")
    with run_in(folder, hazards=HAZARDS[:1]) as run:
        return signed(RunFile.create(folder / "empty.db", run.opening()), folder)


@pytest.fixture(scope="module")
def pages(calm: Source, hostile: Source, empty: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    sources = {"calm": calm, "hostile": hostile, "empty": empty}
    for name, source in sources.items():
        assert write_explorer(source, folder / f"{name}.html") == (folder / f"{name}.html").stat().st_size
    return {name: folder / f"{name}.html" for name in sources}


def blocks_of(html: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/octet-stream" id="block-\d+">([A-Za-z0-9+/=]+)</script>', html)
    return [json.loads(gzip.decompress(base64.b64decode(text))) for text in found]


# What is packed


def test_columns_count_what_the_tally_counts(calm: Source) -> None:
    packed = pack(calm)
    columns = packed.columns
    assert len(columns.slot) == calm.tally.trials
    assert sorted(columns.slot.tolist()) == list(range(calm.tally.trials))
    for number, stream in enumerate(packed.streams):
        counts = calm.tally.streams[stream]
        mine = columns.stream == number
        assert bytes(columns.outcome[mine]) == bytes(counts.outcomes)
        assert np.all(np.diff(columns.slot[mine].astype(np.int64)) > 0)
    reasons = {(packed.reasons[r], o) for r, o in zip(columns.reason.tolist(), columns.outcome.tolist(), strict=True)}
    assert {r for r, o in reasons if o == CODES["unscorable"]} == {r for r, _ in calm.tally.reasons}


def test_transcripts_hold_the_whole_conversation(calm: Source) -> None:
    packed = pack(calm)
    opening = calm.tally.opening
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    rows = [(block["s"], row) for block in blocks_of("".join(explorer_parts(calm))) for row in block["t"]]
    assert len(rows) == calm.tally.trials
    for slot, (texts, row) in zip(packed.columns.slot.tolist(), rows, strict=True):
        trial = calm.run.trial(slot)
        item = builder.build(trial.stream, trial.index)
        assert [texts[at] for _, at, _ in row["m"]] == [*(m.content for m in item.messages), trial.answer]
        assert row["i"] == trial.item
        assert "c" not in row


def test_what_is_harmful_is_covered(calm: Source) -> None:
    opening = calm.tally.opening
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    seen = set()
    for trial in calm.run.trials():
        lines = list(spoken_lines(trial, builder.build(trial.stream, trial.index), violation=trial.outcome == "violation"))
        harmless = trial.arm == "benign"
        assert {line.cover for line in lines if line.role == "u"} == ({0} if harmless else {1})
        assert {line.cover for line in lines if line.role == "s"} <= {0}
        assert lines[-1].cover == (2 if trial.outcome == "violation" and not harmless else 0)
        seen.add((harmless, trial.outcome))
    assert len(seen) >= 4


def test_sealed_prompts_stay_withheld(calm: Source) -> None:
    trial = calm.run.trial(0)
    item = WithheldItem(trial.stream, 0, "sealed", (Message("user", "withheld"),), Check("judged"), recorded=trial.item)
    block = Block((), {})
    block.add(trial, item)
    packed = json.loads(gzip.decompress(base64.b64decode(block.packed())))
    assert packed["t"][0]["x"] == 1
    assert "withheld" in packed["s"]
    assert "c" not in packed["t"][0]


def test_an_item_that_is_not_the_recorded_one_is_marked(calm: Source) -> None:
    opening = calm.tally.opening
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    trial = calm.run.trial(0)
    block = Block((), {})
    block.add(trial, builder.build(trial.stream, trial.index + 1))
    assert json.loads(gzip.decompress(base64.b64decode(block.packed())))["t"][0]["c"] == 1


def test_judges_opinions_and_what_people_settled_are_kept(tmp_path: Path) -> None:
    source = read_source(judged_run(tmp_path / "judged", labelled=True))
    packed = pack(source)
    rows = [row for block in blocks_of("".join(explorer_parts(source))) for row in block["t"]]
    for at, (slot, row) in enumerate(zip(packed.columns.slot.tolist(), rows, strict=True)):
        trial, known = source.run.trial(slot), source.tally.truth.get(slot)
        assert bool(row.get("q")) == bool(trial.said)
        assert row.get("o", "") == (trial.outcome if known else "")
        if known:
            assert (packed.columns.outcome[at] == CODES["violation"]) == (known == "violation")
    assert any(row.get("q") for row in rows)
    assert all("confirmed" in c.told for c in make_facts(packed).claims if c.n)


def test_episodes_are_told_turn_by_turn(tmp_path: Path) -> None:
    folder = agents_run(tmp_path / "agents")
    with RunFile.read(run_path(folder)) as run:
        source = signed(run, tmp_path)
    rows = [(block["s"], row) for block in blocks_of("".join(explorer_parts(source))) for row in block["t"]]
    covered = 0
    for slot, (texts, row) in zip(pack(source).columns.slot.tolist(), rows, strict=True):
        trial = source.run.trial(slot)
        said = [texts[at] for role, at, _ in row["m"] if role == "a"]
        assert said == [turn.answer for turn in trial.turns] or not trial.turns
        given = [texts[at] for role, at, _ in row["m"] if role == "w"]
        assert given == [turn.prompt for turn in trial.turns if turn.prompt]
        covered += any(role == "w" and cover for role, _, cover in row["m"])
        if trial.arm == "benign":
            assert not any(cover for _, _, cover in row["m"])
    assert covered


def test_claims_of_averages_name_their_trials(calm: Source) -> None:
    packed = pack(calm)
    averages = [c for c in make_facts(packed).claims if len(c.streams) > 1 and not c.pairs]
    drawn = [c for c in averages if c.n]
    assert drawn
    signed_counts = {c.n: c.counts() for c in calm.tally.gate.claims if c.requirement == "average"}
    for claim in drawn:
        assert len(claim.trials) == claim.n
        assert len(set(claim.trials)) == claim.n
        outcomes = packed.columns.outcome[list(claim.trials)]
        assert int((outcomes == 1).sum()) == signed_counts[claim.n]["violations"]


def test_the_same_run_gives_the_same_bytes(calm: Source) -> None:
    assert "".join(explorer_parts(calm, "ta")) == "".join(explorer_parts(calm, "ta"))


def test_nothing_that_others_wrote_stands_in_the_markup(hostile: Source) -> None:
    html = "".join(explorer_parts(hostile))
    assert html.count("<script") == html.count("</script>") == 4 + len(pack(hostile).first)
    assert "pwned=9" not in html
    assert "default-src 'none'" in html
    assert "unsafe" not in html.split("</title>")[0]


def test_what_is_put_into_the_template_is_not_read_again() -> None:
    assert filled("a{{one}}b{{two}}", {"one": "{{two}}", "two": "2"}) == "a{{two}}b2"


def test_words_keep_their_places_in_every_language() -> None:
    words = read_words(WORDS)
    assert set(words) == set(INTERFACE)
    for tag, mine in words.items():
        for name, text in mine.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words["en"][name])), (tag, name)


# In the browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
in_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def browser(pages: dict[str, Path]) -> Iterator[Any]:
    """Comes after the pages: Playwright keeps an event loop running in this thread, in which no run could be made."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS.split())
        yield browser
        browser.close()


class Reader:
    """Somebody with the page open. `said` collects what must not happen: requests, errors, dialogs."""

    def __init__(self, browser: Any, path: Path, place: str = "", width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.path = path
        self.said: list[str] = []
        self.page.on("request", lambda r: self.said.append(r.url) if not r.url.startswith((path.as_uri(), "blob:")) else None)
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("dialog", lambda d: self.said.append(d.message))
        self.page.add_init_script(
            "window.long = []; new PerformanceObserver((s) => s.getEntries().forEach((e) => window.long.push(e.duration)))"
            ".observe({ type: 'longtask', buffered: true });"
        )
        self.page.goto(path.as_uri() + place)
        self.page.wait_for_selector("html[data-ready=all]", state="attached")

    def go(self, place: str) -> None:
        """To another address of the same page."""
        self.page.evaluate("(hash) => { location.hash = hash; }", place)
        self.page.wait_for_function("() => JSON.stringify(readHash()) === JSON.stringify(state)")

    def slots(self) -> list[int]:
        """The trials in the list, in order."""
        return list(self.page.evaluate("[...list.trials].map((i) => table.slot[i])"))

    def searched(self, text: str) -> list[int]:
        self.page.fill("#query", text)
        self.page.press("#query", "Enter")
        self.page.wait_for_function("(text) => search.text === text && !search.running && search.done === facts.blocks.length", arg=text)
        return self.slots()

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


@pytest.fixture
def read(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    readers: list[Reader] = []

    def opened(which: str = "calm", **how: Any) -> Reader:
        readers.append(Reader(browser, pages[which], **how))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.context.close()


def chromium(test: Any) -> Any:
    for mark in in_chromium:
        test = mark(test)
    return test


@chromium
def test_two_clicks_from_a_number_to_a_transcript(read: Any, calm: Source) -> None:
    reader = read()
    page = reader.page
    page.select_option("#view", "attack:prefix-injection")
    links = page.locator("#matrix a.count")
    assert links.count() > 4
    for at in range(0, links.count(), 3):
        page.go_back() if at else None
        page.wait_for_function("() => document.getElementById('view').value === 'attack:prefix-injection' && !state.h")
        number, place = int(links.nth(at).inner_text()), links.nth(at).get_attribute("href")
        links.nth(at).click()
        page.wait_for_function("() => Boolean(state.h)")
        state = page.evaluate("state")
        outcomes = calm.tally.streams[Stream(state["h"], state["l"], state["a"], state["arm"])].outcomes
        wanted = outcomes.count(CODES[state["o"]]) if "o" in state else len(outcomes)
        assert number == wanted == len(reader.slots()), place
        mine = [
            t.slot for t in calm.run.trials()
            if (t.hazard, t.language, t.attack, t.arm) == (state["h"], state["l"], state["a"], state["arm"])
            and state.get("o", t.outcome) == t.outcome
        ]  # fmt: skip
        assert reader.slots() == mine
    page.locator("#rows a").first.click()
    page.wait_for_selector("#transcript .answer", state="attached")
    slot = int(page.evaluate("state.open"))
    assert slot == reader.slots()[0]
    assert calm.run.trial(slot).answer in page.evaluate("document.querySelector('#transcript .said.answer .text').textContent")
    assert reader.said == []


@chromium
def test_every_number_says_how_many_trials_it_leads_to(read: Any) -> None:
    reader = read()
    page = reader.page
    page.evaluate("document.querySelectorAll('#claims details').forEach((d) => { d.open = true; })")
    page.wait_for_selector("#claims .claims-list")
    page.wait_for_timeout(100)
    wrong = page.evaluate(
        """() => {
          const wrong = [];
          const places = new Map([...document.querySelectorAll('main a.count')].map((a) => [a.getAttribute('href'), a.textContent]));
          for (const [href, text] of places) {
            const number = Number(text.replace(/[^0-9]/g, ''));
            state = Object.fromEntries(new URLSearchParams(href.slice(1)));
            const pairs = state.claim !== undefined && facts.claims[state.claim].pairs;
            const n = matching(null).trials.length;
            if (n !== (pairs ? 2 * number : number)) wrong.push([href, number, n]);
          }
          return [places.size, wrong];
        }"""
    )
    assert wrong[0] > 100
    assert wrong[1] == []


@chromium
def test_totals_are_the_tallys(read: Any, calm: Source) -> None:
    reader = read()
    for (tag, harmless), counts in calm.tally.kinds.items():
        for kind, n in counts.kinds.items():
            reader.go(f"#l={tag}&arm={'' if harmless else '%21'}benign&k={kind}")
            assert len(reader.slots()) == n
        reader.go(f"#l={tag}&arm={'' if harmless else '%21'}benign&u=1")
        assert len(reader.slots()) == counts.useful
    for (reason, tag), n in calm.tally.reasons.items():
        reader.go(f"#l={tag}&o=unscorable&why={reason.replace(' ', '+')}")
        assert len(reader.slots()) == n
    for claim in calm.tally.gate.claims:
        place = next(i for i, c in enumerate(make_facts(pack(calm)).claims) if c.n == claim.n and len(c.streams) == len(claim.streams))
        reader.go(f"#claim={place}")
        assert len(reader.slots()) == claim.n * (2 if hasattr(claim, "worse") else 1)
        break


@chromium
def test_a_link_opens_the_same_view_and_back_works(read: Any) -> None:
    reader = read()
    page = reader.page
    page.select_option("#f-l", "ta")
    page.wait_for_function("() => state.l === 'ta'")
    page.select_option("#f-o", "violation")
    page.select_option("#sort", "size")
    page.wait_for_function("() => state.sort === 'size'")
    page.locator("#rows a").nth(2).click()
    page.wait_for_selector("#transcript .answer", state="attached")
    shown, address = reader.slots(), page.evaluate("location.hash")
    other = read(place=address)
    other.page.wait_for_selector("#transcript .answer", state="attached")
    assert other.slots() == shown
    assert other.page.input_value("#sort") == "size"
    assert other.text("#transcript h3") == reader.text("#transcript h3")
    page.go_back()
    page.wait_for_selector("#transcript", state="hidden")
    page.go_back()
    page.wait_for_function("() => !state.sort")
    assert sorted(reader.slots()) == sorted(shown)
    page.go_forward()
    page.wait_for_function("() => state.sort === 'size'")
    assert reader.slots() == shown
    assert reader.said == other.said == []


@chromium
def test_an_address_that_makes_no_sense_breaks_nothing(read: Any) -> None:
    reader = read(place="#h=__proto__&claim=length&open=99999999&in=constructor&sort=toString&q=%E0&row=-4&tab=x&k=?&why=no&u=7&desc=%00")
    assert reader.slots() == []
    reader.go("#claim=0&open=3")
    reader.page.wait_for_selector("#transcript .answer", state="attached")
    assert reader.said == []


@chromium
def test_a_run_without_trials_is_shown_as_such(read: Any) -> None:
    reader = read("empty")
    assert reader.slots() == []
    assert reader.text("#list-empty")
    reader.page.fill("#query", "anything")
    reader.page.press("#query", "Enter")
    reader.page.wait_for_timeout(100)
    assert not reader.page.is_visible("#search-progress")
    assert reader.said == []


@chromium
def test_search_finds_in_prompts_and_answers_and_marks_it(read: Any, hostile: Source, calm: Source) -> None:
    reader = read("hostile")
    found = reader.searched("SECRET 47 strasse")
    wanted = [t.slot for t in hostile.run.trials() if t.answer.endswith("Straße")]
    assert found == wanted
    reader.page.locator("#rows a").first.click()
    reader.page.wait_for_selector("#transcript mark.hit", state="attached")
    marked = reader.page.evaluate("document.querySelector('#transcript mark.hit').textContent")
    assert marked == "Ｓｅｃｒｅｔ⟨U+200B⟩ ４７ Straße"
    reader.page.fill("#query", "")
    reader.page.press("#query", "Enter")
    reader.page.wait_for_function("() => !search.text")
    assert len(reader.slots()) == hostile.tally.trials
    assert reader.said == []
    other = read("calm")
    system = blocks_of("".join(explorer_parts(calm)))[0]["s"][0][20:60]
    assert len(other.searched(system)) >= 1
    assert other.searched("nothing of this kind stands anywhere") == []


@chromium
@pytest.mark.parametrize("worker", ["throw new Error('none')", "setTimeout(() => this.onerror(new Event('error')))"])
def test_search_works_without_workers(worker: str, browser: Any, pages: dict[str, Path], hostile: Source) -> None:
    reader = Reader(browser, pages["hostile"])
    reader.page.evaluate(f"() => {{ Worker = class {{ constructor() {{ {worker}; }} postMessage() {{}} terminate() {{}} }}; }}")
    assert reader.searched("secret 47 strasse") == [t.slot for t in hostile.run.trials() if t.answer.endswith("Straße")]
    assert reader.said == []
    reader.context.close()


@chromium
def test_a_damaged_block_is_told(read: Any) -> None:
    reader = read()
    reader.page.evaluate("document.getElementById('block-0').textContent = 'AAAA'")
    reader.page.evaluate("location.hash = '#q=anything'")
    reader.page.wait_for_function("() => !search.running && search.done === facts.blocks.length")
    assert read_words(WORDS)["en"]["unreadable"] in reader.text("#search-status")
    reader.go(f"#open={reader.page.evaluate('table.slot[0]')}")
    reader.page.wait_for_selector("#transcript [role=alert]")


@chromium
def test_the_address_keeps_the_place_in_the_list(read: Any) -> None:
    reader = read()
    reader.page.evaluate("document.getElementById('viewport').scrollTop = 40 * ROW")
    reader.page.wait_for_function("() => location.hash.includes('row=40')")
    other = read(place=reader.page.evaluate("location.hash"))
    assert other.page.evaluate("document.getElementById('viewport').scrollTop / ROW") == 40


@chromium
def test_a_search_can_be_stopped(read: Any) -> None:
    reader = read()
    reader.page.evaluate("runSearch('the'); stopSearch(); refresh()")
    reader.page.wait_for_timeout(300)
    assert reader.page.evaluate("[search.running, search.done < facts.blocks.length]") == [False, True]
    assert "0" in reader.text("#search-status")


@chromium
def test_harm_is_covered_until_asked_for_also_on_paper(read: Any) -> None:
    reader = read(place="#o=violation&arm=attack")
    page = reader.page
    page.locator("#rows a").first.click()
    page.wait_for_selector("#transcript .said.answer.covered")
    blurred = "getComputedStyle(document.querySelector('#transcript .said.answer .text')).filter"
    assert "blur" in page.evaluate(blurred)
    assert page.locator("#transcript .said.covered").count() == 2
    page.emulate_media(media="print")
    assert not page.locator("#transcript .said.answer .text").is_visible()
    page.emulate_media(media="screen")
    page.locator("#transcript .said.answer .uncover").click()
    assert page.evaluate(blurred) == "none"
    page.emulate_media(media="print")
    assert page.locator("#transcript .said.answer .text").is_visible()
    assert not page.locator("#transcript .said.user .text").is_visible()
    page.emulate_media(media="screen")
    page.locator("#transcript [aria-pressed]").click()
    page.wait_for_function("() => !document.querySelector('#transcript .covered')")
    page.reload()
    page.wait_for_selector("#transcript .answer", state="attached")
    assert page.locator("#transcript .covered").count() == 0
    stranger = read(place=page.evaluate("location.hash"))
    stranger.page.wait_for_selector("#transcript .covered")


@chromium
@pytest.mark.parametrize("which", ["calm", "hostile"])
def test_hostile_answers_do_nothing_and_are_shown(which: str, read: Any, hostile: Source, calm: Source) -> None:
    reader = read(which, width=360)
    page = reader.page
    source = hostile if which == "hostile" else calm
    for slot in range(min(source.tally.trials, 3 * len(ODD))):
        reader.go(f"#open={slot}")
        page.wait_for_function("(slot) => document.querySelector('#transcript h3')?.textContent.includes('#' + slot + ':')", arg=slot)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        if which == "hostile":
            shown = page.evaluate("document.querySelector('#transcript .said.answer .text').textContent")
            assert not set(shown) & set("\0\u202e\u2066\u200b")
            text = source.run.trial(slot).answer
            if text.isprintable() and text.isascii() and len(text) < 1000:
                assert text in shown
    assert page.evaluate("window.pwned") is None
    assert reader.said == []
    foreign = "document.querySelectorAll('img, iframe, link, base, textarea, template, plaintext, svg, object, main script').length"
    assert page.evaluate(foreign) == 0
    assert max(page.evaluate("window.long") or [0]) < 1000


@chromium
def test_a_megabyte_comes_in_parts(read: Any, hostile: Source) -> None:
    slot = next(t.slot for t in hostile.run.trials() if t.answer == MEGABYTE)
    reader = read("hostile")
    page = reader.page
    page.wait_for_timeout(300)
    page.evaluate("window.long.length = 0")
    reader.go(f"#open={slot}")
    page.wait_for_selector("#transcript .more", state="attached")
    page.wait_for_timeout(300)
    before = page.evaluate("document.querySelector('#transcript .answer .text').textContent.length")
    page.evaluate("document.querySelector('#transcript .more').click()")
    assert page.evaluate("document.querySelector('#transcript .answer .text').textContent.length") > before
    assert max(page.evaluate("window.long") or [0]) < 400


@chromium
def test_lone_surrogates_are_named(read: Any, calm: Source) -> None:
    block = Block((), {})
    opening = calm.tally.opening
    trial = msgspec.structs.replace(calm.run.trial(0), answer="a\ud800b\udfff")
    block.add(trial, ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS).build(trial.stream, trial.index))
    reader = read()
    shown = reader.page.evaluate("async (packed) => visibleText((await unpackBlock(packed)).s.at(-1))", block.packed())
    assert shown == "a⟨U+D800⟩b⟨U+DFFF⟩"


@chromium
@pytest.mark.parametrize("tag", sorted(INTERFACE))
def test_the_page_speaks_every_interface_language(tag: str, read: Any) -> None:
    reader = read(place="#open=1", width=360)
    page = reader.page
    page.select_option("#interface", tag)
    page.wait_for_function("(tag) => document.documentElement.lang === tag", arg=tag)
    words = read_words(WORDS)[tag]
    assert reader.text("#matrix-heading") == words["matrix"]
    assert words["verdict_" + page.evaluate("facts.verdict")] in reader.text("#verdict")
    page.wait_for_function("(words) => document.querySelector('#transcript')?.textContent.includes(words)", arg=words["record"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "undefined" not in page.evaluate("document.querySelector('main').innerText")
    assert reader.said == []


@chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("which", "width"), [("calm", 1280), ("calm", 360), ("hostile", 1280)])
def test_axe_finds_nothing(which: str, width: int, scheme: str, read: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    reader = read(which, place="#o=violation&open=0", width=width, scheme=scheme)
    page = reader.page
    page.wait_for_selector("#transcript .answer", state="attached")
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.wait_for_timeout(100)
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()


@chromium
def test_the_page_works_with_the_keyboard(read: Any) -> None:
    reader = read()
    page = reader.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "list-heading"
    page.locator("#rows a").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("Number(document.activeElement.dataset.at)") == len(reader.slots()) - 1
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("Number(document.activeElement.dataset.at)") == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#transcript .answer", state="attached")
    page.wait_for_function("() => document.activeElement.tagName === 'H3'")
    page.locator("#transcript [data-close]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.closest('#rows') !== null")
    assert page.evaluate("Number(document.activeElement.dataset.at)") == 1
    assert reader.said == []


@chromium
def test_printing_shows_what_is_on_the_screen(read: Any, tmp_path: Path) -> None:
    reader = read(place="#l=ta&open=1")
    page = reader.page
    page.wait_for_selector("#transcript .answer", state="attached")
    page.emulate_media(media="print")
    page.wait_for_function("() => list.printing")
    assert page.locator("#rows li").count() == min(len(reader.slots()), 300)
    assert not page.locator(".tools").is_visible()
    assert page.locator("#matrix").is_visible()
    assert page.pdf(path=tmp_path / "explorer.pdf", format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen")
    page.wait_for_function("() => !list.printing")
