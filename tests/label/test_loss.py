"""Two people label the same run from two browsers, browsers and servers are killed, connections go, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from assay.judges.labels import Label, settle
from assay.label import Desk
from assay.label.table import read_labels as read_labels_of
from assay.runs import RunFile, read_labels
from tests.label.browsing import ARGS, CHROMIUM, Reader
from tests.label.making import judged_run
from tests.label.serving import Client, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("starlette")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
Launch = Callable[..., Reader]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {people: judged_run(root / str(people), calls=16, people=people) for people in (1, 2)}


@pytest.fixture(scope="module")
def playwright(runs: dict[int, Path]) -> Iterator[sync_api.Playwright]:
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture
def launch(playwright: sync_api.Playwright, tmp_path: Path) -> Iterator[Launch]:
    """A browser process of somebody's own, with a profile that outlives it."""
    contexts: list[Any] = []

    def start(page: Page, name: str, *, address: str = "") -> Reader:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / f"profile {name}", executable_path=str(CHROMIUM), args=ARGS, viewport={"width": 1280, "height": 900}, locale="en"
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        reader = Reader(context, page, name, open_page=False)
        reader.page.goto(address or page.links[name])
        reader.ready()
        return reader

    yield start
    for context in contexts:
        with suppress(sync_api.Error):  # killed
            context.close()


def kill_browser(reader: Reader, profile: Path) -> None:
    """SIGKILL to every process of this browser, as a crash or a power cut would."""
    lock = (profile / "SingletonLock").readlink().name
    os.kill(int(lock.rpartition("-")[2]), signal.SIGKILL)
    for name in ("SingletonLock", "SingletonCookie", "SingletonSocket"):
        (profile / name).unlink(missing_ok=True)


def copy_of(run: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.db").write_bytes((run / "run.db").read_bytes())
    return folder


def acts(page: Page) -> list[Label]:
    with RunFile.read(page.run / "run.db") as file:
        return read_labels(file)


def wait_acts(page: Page, reader: Reader, count: int) -> list[Label]:
    """Until the label file has so many acts."""
    for _ in range(400):
        if len(found := acts(page)) >= count:
            return found
        reader.page.wait_for_timeout(50)
    raise AssertionError(f"{len(acts(page))} of {count} acts came: {reader.text('#state')}")


def test_two_people_two_browsers_one_killed_and_nothing_is_lost(runs: dict[int, Path], tmp_path: Path, launch: Launch) -> None:
    run = copy_of(runs[2], tmp_path / "run")
    with Page(run, "--labeller", "Aisyah", "--labeller", "Wei", "--adjudicator", "Devi") as page:
        aisyah, wei = launch(page, "Aisyah"), launch(page, "Wei")
        said: dict[str, dict[int, str]] = {"Aisyah": {}, "Wei": {}}
        for turn in range(4):
            for reader, key in ((aisyah, "v"), (wei, "v" if turn % 2 else "a")):
                said[reader.name][reader.label(key, "n")] = {"v": "violation", "a": "acceptable"}[key]
        reader = wei
        reader.press("b", "v", "p", "m")
        reader.page.keyboard.type("three words typed")
        slot = reader.slot
        reader.wait_state("Draft saved")
        aisyah.wait_saved()
        kill_browser(wei, tmp_path / "profile Wei")

        for _ in range(2):  # the other goes on meanwhile
            said["Aisyah"][aisyah.label("v")] = "violation"
        wei = launch(page, "Wei")
        assert wei.slot == slot
        assert (wei.chosen(), wei.note) == ({"verdict": "violation", "refusal": "partial"}, "three words typed")
        while wei.more():
            said["Wei"][wei.label("v")] = "violation"
        while aisyah.more():
            said["Aisyah"][aisyah.label("v")] = "violation"
        aisyah.wait_saved()
        wei.wait_saved()

        found = [a for a in acts(page) if a.act == "label"]
        assert sorted((a.labeller, a.slot, a.verdict) for a in found) == sorted(
            (n, s, v) for n, mine in said.items() for s, v in mine.items()
        )
        assert next(a for a in found if a.labeller == "Wei" and a.slot == slot).note == "three words typed"
        with Desk.open(run) as desk:
            assert {c.slot for c in desk.candidates} == set(said["Aisyah"]) == set(said["Wei"])
        disputed = {s for s, v in said["Wei"].items() if v != said["Aisyah"][s]}
        assert settle(acts(page), 2).disputed == disputed
        assert disputed

        devi = launch(page, "Devi")
        assert "People disagree" in devi.text("#others")
        assert "Wei" not in devi.text("body")
        assert {"Violation", "Acceptable"} <= set(devi.text("#others-list").replace(" · ", "\n").split("\n"))
        decided = set()
        while devi.more():
            decided.add(devi.label("a"))
        devi.wait_saved()
        settled = settle(acts(page), 2)
        assert decided == disputed
        assert not settled.disputed
        assert len(settled.truth) == len(said["Wei"])
        assert all(settled.truth[s] == "acceptable" for s in disputed)


def test_a_draft_is_there_in_another_browser(runs: dict[int, Path], tmp_path: Path, playwright: sync_api.Playwright) -> None:
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        first = Reader(browser.new_context(locale="en"), page, "Aisyah")
        slot = first.slot
        first.press("u", "c", "m")
        first.page.keyboard.type("உறுதியில்லை")
        first.wait_state("Draft saved")
        first.context.close()
        second = Reader(browser.new_context(locale="en"), page, "Aisyah")
        assert second.slot == slot
        assert (second.chosen(), second.note) == ({"verdict": "unsure", "confidence": "low"}, "உறுதியில்லை")
        browser.close()


def test_a_browser_that_has_less_than_the_server_shows_what_the_server_has(runs: dict[int, Path], tmp_path: Path, launch: Launch) -> None:
    """As after a kill in the middle of a word: the trial is in the browser's stock, with an older draft."""
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        reader.press("m")
        reader.page.keyboard.type("three")
        reader.wait_state("Draft saved")

        body = {"who": "Aisyah", "slot": reader.slot, "at": 2**52, "draft": {"verdict": "violation", "note": "three words typed"}}
        assert Client(page, "Aisyah").ask("POST", "/api/draft", body)[0] == 204
        reader.page.reload()
        reader.ready()
        assert (reader.note, reader.chosen()) == ("three words typed", {"verdict": "violation"})


def test_a_killed_server_costs_nothing_that_was_typed_meanwhile(runs: dict[int, Path], tmp_path: Path, launch: Launch) -> None:
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        before = reader.label("a")
        reader.wait_saved()
        page.kill()
        first = reader.label("v", "n")
        second = reader.label("a", "c")
        third = reader.slot
        reader.press("v", "m")
        reader.page.keyboard.type("typed without a server")
        reader.wait_state("No connection")
        assert len(acts(page)) == 1

        reader.page.goto(page.origin)  # a reload while nothing answers: the service worker has the page, the browser the trials
        reader.ready()
        assert (reader.slot, reader.note) == (third, "typed without a server")
        page.restart()
        found = wait_acts(page, reader, 3)
        reader.wait_saved()
        assert [(a.slot, a.verdict, a.refusal, a.confidence) for a in found] == [
            (before, "acceptable", None, None), (first, "violation", "none", None), (second, "acceptable", None, "low"),
        ]  # fmt: skip
        assert (reader.slot, reader.note, reader.chosen()) == (third, "typed without a server", {"verdict": "violation"})
        reader.press("Escape")
        reader.label()
        assert wait_acts(page, reader, 4)[3].note == "typed without a server"


def test_labels_given_without_a_connection_outlive_a_killed_browser_and_arrive_once(
    runs: dict[int, Path], tmp_path: Path, launch: Launch
) -> None:
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        reader.context.set_offline(True)
        given = [reader.label("v"), reader.label("a")]
        last = reader.slot
        reader.press("u", "m")
        reader.page.keyboard.type("unfinished")
        reader.page.wait_for_timeout(150)
        kill_browser(reader, tmp_path / "profile Aisyah")
        assert acts(page) == []
        again = launch(page, "Aisyah")  # by the link: Chromium writes cookies every half minute only
        found = wait_acts(page, again, 2)
        again.wait_saved()
        assert [(a.slot, a.verdict) for a in found] == [(given[0], "violation"), (given[1], "acceptable")]
        assert (again.slot, again.note) == (last, "unfinished")
        again.page.reload()
        again.ready()
        again.wait_saved()
        assert len(acts(page)) == 2


TYPING = """() => {
  window.gap_ms = 0;
  let last = performance.now();
  const burst = () => {
    window.gap_ms = Math.max(window.gap_ms, performance.now() - last);
    last = performance.now();
    for (const key of "vps") document.dispatchEvent(new KeyboardEvent("keydown", { key }));
  };
  burst();
  window.typing = setInterval(burst, 20);
}"""


def test_keys_struck_while_a_trial_is_on_its_way_are_not_for_it(runs: dict[int, Path], tmp_path: Path, launch: Launch) -> None:
    """Somebody faster than the network types on: what was meant for nothing must not label, skip or mark the trial that then comes."""
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        held: list[Any] = []
        reader.context.route("**/api/work", lambda route: held.append(route))
        for _ in range(4):  # all that the browser has
            reader.press("v", "n", "Enter")
        assert reader.text("#message-title") == "Loading…"
        reader.until("document.querySelector('#state').textContent === 'Everything is saved'")
        reader.page.evaluate(TYPING)
        for route in held:
            route.continue_()
        reader.until("!document.querySelector('#work').hidden")
        slot = reader.slot
        gap_ms = reader.page.evaluate("new Promise((done) => setTimeout(() => (clearInterval(typing), done(gap_ms)), 200))")
        assert gap_ms >= 400 or (reader.slot, reader.chosen()) == (slot, {})  # a pause in the typing: the machine stood still
        reader.page.wait_for_timeout(500)
        reader.press("a")
        assert reader.chosen()["verdict"] == "acceptable"


def test_an_answer_that_is_lost_on_the_way_is_asked_for_again_and_filed_once(runs: dict[int, Path], tmp_path: Path, launch: Launch) -> None:
    with Page(copy_of(runs[1], tmp_path / "run"), "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        lost: list[str] = []

        def lose(route: Any) -> None:
            if len(lost) < 2:
                lost.append(route.fetch().text())  # it reached the server, and the answer got lost
                route.abort()
            else:
                route.continue_()

        reader.context.route("**/api/act", lose)
        slot = reader.label("v")
        reader.until("document.querySelector('#state').textContent === 'Everything is saved'", seconds=20)
        assert len(lost) == 2
        assert [(a.slot, a.verdict) for a in acts(page)] == [(slot, "violation")]


def test_what_the_server_refuses_is_counted_kept_and_given_again_or_taken_away(
    runs: dict[int, Path], tmp_path: Path, launch: Launch
) -> None:
    run = copy_of(runs[1], tmp_path / "run")
    with Page(run, "--labeller", "Aisyah") as page:
        reader = launch(page, "Aisyah")
        assert reader.page.locator("#refused").is_hidden()

        def refuse(route: Any) -> None:
            route.fulfill(status=409, json={"error": "not now"})

        reader.context.route("**/api/act", refuse)
        slots = [reader.label("v"), reader.label("a", "1")]
        reader.until("document.querySelector('#refused-text').textContent.endsWith(': 2')")
        reader.page.reload()  # and still, whenever the page is opened
        reader.ready()
        reader.until("document.querySelector('#refused-text').textContent.endsWith(': 2')")
        reader.until("document.querySelector('#state').textContent === ''")
        assert acts(page) == []
        assert reader.page.locator("#refused-forget").is_hidden()
        with reader.page.expect_download() as downloading:
            reader.page.click("#refused-download")
        path = tmp_path / "kept.jsonl"
        downloading.value.save_as(path)
        with Desk.open(run) as desk:
            rows = read_labels_of(desk, path).rows
        assert {(r.candidate.slot, r.given.verdict, r.labeller) for r in rows} == {
            (slots[0], "violation", "Aisyah"), (slots[1], "acceptable", "Aisyah"),
        }  # fmt: skip
        assert reader.page.locator("#refused-forget").is_visible()

        reader.page.click("#refused-again")  # refused once more: still there
        reader.until("document.querySelector('#state').textContent === ''")  # it was "Saving" from the click on
        assert reader.text("#refused-text").endswith(": 2")
        reader.context.unroute("**/api/act", refuse)
        reader.page.click("#refused-again")
        found = wait_acts(page, reader, 2)
        assert {(a.slot, a.verdict) for a in found} == {(slots[0], "violation"), (slots[1], "acceptable")}
        reader.wait_saved()
        assert reader.page.locator("#refused").is_hidden()

        reader.context.route("**/api/act", refuse)
        reader.label("v")
        reader.until("document.querySelector('#refused-text').textContent.endsWith(': 1')")
        reader.page.click("#refused-download")
        reader.page.click("#refused-forget")
        reader.wait_saved()
        assert reader.page.locator("#refused").is_hidden()
        assert reader.troubles == []


def test_a_second_persons_sign_in_in_the_same_browser_takes_nothing_from_the_first(
    runs: dict[int, Path], tmp_path: Path, launch: Launch
) -> None:
    with Page(copy_of(runs[2], tmp_path / "run"), "--labeller", "Aisyah", "--labeller", "Wei") as page:
        reader = launch(page, "Aisyah")
        first = reader.slot
        other = Reader(reader.context, page, "Wei")
        reader.press("v", "Enter")
        reader.until("document.querySelector('#message-text').textContent.includes('Somebody else')")
        assert acts(page) == []
        theirs = other.label("a")
        wait_acts(page, other, 1)
        reader.page.goto(page.links["Aisyah"])
        reader.page.reload()
        reader.ready()
        found = wait_acts(page, reader, 2)
        assert [(a.labeller, a.slot, a.verdict) for a in found] == [("Wei", theirs, "acceptable"), ("Aisyah", first, "violation")]
