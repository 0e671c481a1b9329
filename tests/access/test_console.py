"""The console in a real browser: what it shows, what it does, by keyboard, on a phone, in the dark, and what it lets nobody do."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.access.admin.console.app import IDLE_S, LONGEST_S, _Page
from assay.access.admin.console.remote import Remote, RemoteError
from assay.access.admin.serve import searcher
from assay.access.admin.wire import AuditQuery
from assay.access.config import read_config
from assay.access.gate.sessions import cuts
from assay.access.grants.grant import open_all, thumbprint
from assay.access.grants.orders import open_halts
from assay.access.model import Hours, Quota
from assay.evidence.release import write_release
from assay.ledger import PrivateKey
from tests.access.consolescene import HOSTILE, Scene
from tests.access.gate import free_port, now_ms
from tests.label.browsing import ARGS, CHROMIUM

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("starlette")
browser_only = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("console") / "gate") as found:
        found.fill()
        found.start("ivan")
        yield found


@pytest.fixture(scope="module")
def browser(scene: Scene) -> Iterator[Any]:
    """After the scene, since Playwright keeps an event loop running in this thread, in which no run could be made."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(scene: Scene, browser: Any) -> Any:
    """The cookie of the link, which opens once."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(scene.link)
    page.wait_for_selector("#models .card")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def sit(scene: Scene, browser: Any, signed_in: Any) -> Iterator[Open]:
    """Somebody at the console; what the page complains of fails the test."""
    troubles: list[str] = []
    contexts = []

    def down(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "storage_state": signed_in, **options})
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("pageerror", lambda e: troubles.append(str(e)))
        page.on("console", lambda m: troubles.append(m.text) if m.type == "error" and "the server responded" not in m.text else None)
        page.on("dialog", lambda d: troubles.append(d.message))
        page.goto(f"http://127.0.0.1:{scene.console_port}/")
        page.wait_for_selector("#models .card")
        contexts.append(context)
        return page

    yield down
    for context in contexts:
        context.close()
    assert troubles == []


def axe(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes']]}" for v in found.response["violations"]]


pytestmark = browser_only


def test_it_shows_what_holds_and_hostile_texts_stay_texts(sit: Open) -> None:
    page = sit()
    assert "approve" in page.inner_text("#models")
    assert "29 days left" in page.inner_text("#models")
    assert "rail-control for Rail Operations" in page.inner_text("#waiting")
    assert "jurisdiction TH" in page.inner_text("#halts")
    assert "48,210 tokens" in page.inner_text("#sessions")
    assert page.locator("#sessions li").count() == 2
    for tab in ("grants", "watch"):
        page.click(f"nav a[href='#{tab}']")
        assert "onerror=" in page.inner_text(f"#{tab}")
    assert page.title() == "The gate · Assay"
    assert page.locator("main img, main script").count() == 0
    page.click("nav a[href='#grants']")
    assert "150,000 of 2,000,000 tokens today" in page.inner_text("#grant-list")


def test_a_halt_by_keyboard_with_its_effect_said_beforehand_and_lifted_again(scene: Scene, sit: Open) -> None:
    page = sit()
    page.focus("#open-stop")
    page.keyboard.press("Enter")
    assert "Stops everything: 3 of 3 grants, 2 of 2 requests" in page.inner_text("#stop-effect")
    assert page.evaluate("document.activeElement.id") == "stop-reason"
    page.keyboard.press("Enter")
    assert page.locator("#stop").is_visible(), "without a reason nothing is stopped"
    page.select_option("#stop-sector", "health")
    page.click("#stop-spare summary")
    page.check("#stop-spares input[value=hospital]")
    assert "0 of 3 grants" in page.inner_text("#stop-effect")
    page.uncheck("#stop-spares input[value=hospital]")
    assert "1 of 3 grants, 1 of 2 requests" in page.inner_text("#stop-effect")
    page.focus("#stop-reason")
    page.keyboard.type(f"directive 7 {HOSTILE[:80]}")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop", state="hidden")
    page.wait_for_selector("#halts li:has-text('sector health')")
    admins = read_config(scene.folder / "gate.yaml").admins.public()
    [made] = [h for h in open_halts(scene.store.snapshot(), admins) if h.scope.sector == "health"]
    assert (made.by, made.lifted, made.reason.startswith("directive 7 <img")) == ("ivan", 0, True)
    page.click("#halts li:has-text('sector health') button")
    page.click("#ask-do")
    page.wait_for_selector("#halts li:has-text('sector health')", state="detached")
    [made] = [h for h in open_halts(scene.store.snapshot(), admins) if h.scope.sector == "health"]
    assert made.lifted > 0


def test_what_is_approved_is_what_was_shown(scene: Scene, sit: Open) -> None:
    page = sit()
    page.click("text=Look and approve")
    page.wait_for_selector("#ask[open]")
    shown = page.inner_text("#ask")
    key, terms = scene.pending.persons[0].key, scene.pending.digest_of_terms
    for part in ("rail-control, version 1", "review of signalling code", "500,000 tokens", "read_log", "127.0.0.0/8", key, terms):
        assert part in shown
    assert "canaries" in shown.lower(), "what this page has no words for is shown all the same"
    page.click("#ask-do")
    page.wait_for_selector("#waiting li.nothing")
    grants, _ = open_all(scene.store.snapshot(), read_config(scene.folder / "gate.yaml").admins, now_ms())
    assert grants["rail-control"] == scene.pending


def test_a_request_is_cut_an_alert_closed_a_grant_revoked(scene: Scene, sit: Open) -> None:
    page = sit()
    page.click("#sessions li:has-text('Tan Wei Ming') button")
    page.fill("#ask-reason", "asked by its owner")
    page.click("#ask-do")
    page.wait_for_selector("#sessions li:has-text('cut by ivan')")
    assert cuts(scene.store, now_ms())["req_a1"].by == "ivan"
    page.click("nav a[href='#watch']")
    page.click("#alerts li:has-text('network') button")
    page.fill("#ask-reason", "a new office")
    page.click("#ask-do")
    page.wait_for_selector("#alerts li:has-text('Closed by ivan')")
    page.click("nav a[href='#grants']")
    page.click("button[aria-label='Revoke water-works']")
    page.fill("#ask-reason", "over")
    page.click("#ask-do")
    page.wait_for_selector("#grant-list li:has-text('water-works')", state="detached")
    assert scene.store.snapshot().revoked["water-works"].by == "ivan"
    page.select_option("#grants-filter", "all")
    assert "revoked" in page.inner_text("#grant-list li:has-text('water-works')")
    page.click("nav a[href='#audit']")
    page.select_option("#audit-kind", "control")
    page.click("#audit-form button")
    page.wait_for_selector("#audit-list li:has-text('revoke')")
    assert page.locator("#audit-list h3").first.inner_text() == "control revoke · water-works"


# Proposing a grant

KEY = thumbprint(PrivateKey.generate().public)


def fill_in(page: Any, grant_id: str, **changes: str) -> None:
    page.click("nav a[href='#grants']")
    page.click("#open-propose")
    text = {"id": grant_id, "organisation": HOSTILE[:200], "jurisdiction": "SG", "purpose": 'review: "relays" # and more', **changes}
    text |= {"networks": "10.0.0.0/8, 2001:db8::/32", "day-requests": "1000", "day-tokens": "500000", "day-money": "2.5"}
    for name, value in ({"expires": time.strftime("%Y-%m-%d", time.gmtime(time.time() + 40 * 86_400))} | text | changes).items():
        page.fill(f"#propose-{name}", value)
    for name, value in {"sector": "transport", "model": "m7", "level": "AL2"}.items():
        page.select_option(f"#propose-{name}", value)
    page.fill("#propose-persons [data-part=name]", "Lee Kok Wai")
    page.fill("#propose-persons [data-part=key]", KEY)


def choose(page: Any, place: str, file: Path) -> None:
    """As a person does it: the same file may be chosen again."""
    with page.expect_file_chooser() as chooser:
        page.click(place)
    chooser.value.set_files(str(file))


def check(page: Any) -> None:
    page.click("#propose-check")
    page.wait_for_selector("#ask[open]")


def test_a_grant_is_proposed_by_one_and_approved_by_another_at_their_own_consoles(scene: Scene, sit: Open, browser: Any) -> None:
    page = sit()
    fill_in(page, "tunnel")
    page.click("#propose-add")
    page.keyboard.type("Ada")
    page.keyboard.press("Tab")
    page.keyboard.type(thumbprint(PrivateKey.generate().public))
    page.click("#propose summary")
    for day in ("1", "5"):
        page.check(f"#propose-form [name=day][value='{day}']")
    page.fill("#propose-zone", "Asia/Singapore")
    page.fill("#propose-tools", "read_log, open_ticket")
    page.check("#propose-form [name=canary][value=ids]")
    check(page)
    shown = page.inner_text("#ask")
    parts = ("tunnel, version 1", KEY, "2.5 in money a day", "open_ticket", "days 1, 5, 08:00 to 18:00, Asia/Singapore", 'review: "relays"')
    for part in (*parts, "onerror=", "A new grant"):
        assert part in shown
    assert axe(page) == []
    page.click("#ask-do")
    page.wait_for_selector("#waiting li:has-text('Grant tunnel')")
    assert "It waits for 1 other administrator." in page.inner_text("#said")
    assert "Signed by ivan; 1 more signature to come, from others" in page.inner_text("#waiting li:has-text('Grant tunnel')")
    assert page.locator("#waiting li:has-text('Grant tunnel') button").count() == 0
    signed = scene.store.snapshot().grants["tunnel"]
    grant, admins = signed.grant, read_config(scene.folder / "gate.yaml").admins
    assert signed.signers(admins.public()) == ["ivan"]
    assert (grant.organisation, grant.purpose, grant.level) == (HOSTILE[:200], 'review: "relays" # and more', "AL2")
    assert (grant.quotas, grant.canaries) == ((Quota("day", 1000, 500_000, 2_500_000),), ("ids",))
    assert (grant.hours, [p.name for p in grant.persons]) == ((Hours((1, 5), 480, 1080, "Asia/Singapore"),), ["Lee Kok Wai", "Ada"])
    assert "tunnel" not in open_all(scene.store.snapshot(), admins, now_ms())[0]
    assert page.input_value("#propose-id") == "", "the form is empty again"
    link, process = scene.console("ines", free_port(), scene.port)
    context = browser.new_context()
    other = context.new_page()
    other.goto(link)
    other.click("#waiting li:has-text('Grant tunnel') button")
    other.click("#ask-do")
    other.wait_for_selector("#waiting li:has-text('Grant tunnel')", state="detached")
    context.close()
    process.kill()
    assert open_all(scene.store.snapshot(), admins, now_ms())[0]["tunnel"] == grant
    fill_in(page, "tunnel", purpose="another")
    check(page)
    assert "The gate has version 1. It holds until this one is approved." in page.inner_text("#ask")
    assert "tunnel, version 2" in page.inner_text("#ask")
    page.keyboard.press("Escape")
    assert page.input_value("#propose-purpose") == "another", "going back keeps what was written"


BAD_TERMS = [
    ("expires", "2020-01-31", "expires: not after its start", "#propose-expires"),
    ("purpose", "", "missing key `purpose`", "#propose-purpose"),
    ("networks", "10.0.0.1/8", "networks: '10.0.0.1/8' is no CIDR block", "#propose-networks"),
    ("day-money", "", "quotas[0]: missing key `money`", "#propose-text"),
]


@pytest.mark.parametrize(("name", "value", "message", "place"), BAD_TERMS, ids=[b[0] for b in BAD_TERMS])
def test_a_bad_term_is_one_message_at_its_place_and_nothing_is_sent(
    scene: Scene, sit: Open, name: str, value: str, message: str, place: str
) -> None:
    page = sit()
    fill_in(page, "bad-term", **{name: value})
    page.click("#propose-check")
    page.wait_for_selector("#propose-problem .problem")
    assert page.locator("#propose .problem").count() == 1
    said = page.inner_text("#propose-problem")
    assert said.startswith("grant.yaml:")
    assert message in said
    if place != "#propose-text":
        assert page.evaluate("(p) => document.activeElement === document.querySelector(p)", place)
    assert page.locator("#propose [aria-invalid]").count() == 1
    assert axe(page) == []
    assert not page.locator("#ask").is_visible()
    assert "bad-term" not in scene.store.snapshot().grants
    assert "bad-term" not in json.dumps([r for r in audited(scene) if r["kind"] == "control"])


def audited(scene: Scene) -> list[dict[str, Any]]:
    return list(searcher(scene.folder / "audit")(AuditQuery(limit=1000)).records)


def test_a_text_of_ones_own_is_read_like_a_file_and_its_line_is_shown(scene: Scene, sit: Open, tmp_path: Path) -> None:
    page = sit()
    fill_in(page, "by-hand")
    text = page.input_value("#propose-text")
    page.fill("#propose-text", text.replace("level: AL2", "level: AL9"))
    page.fill("#propose-purpose", "the form writes no more")
    assert "the form writes no more" not in page.input_value("#propose-text")
    page.click("#propose-check")
    page.wait_for_selector("#propose-problem .problem")
    assert "level: invalid enum value 'AL9'" in page.inner_text("#propose-problem")
    chosen = "(() => { const t = document.querySelector('#propose-text'); return t.value.slice(t.selectionStart, t.selectionEnd); })()"
    assert page.evaluate(chosen) == "level: AL9"
    page.click("#propose-again")
    assert "the form writes no more" in page.input_value("#propose-text")
    file = tmp_path / "grant.json"
    grant = scene.grant("from-file")
    file.write_text(json.dumps({**grant.to_json(), "expires": "2020-01-31"}))
    choose(page, "#propose-file", file)
    sync_api.expect(page.locator("#propose-text")).to_have_value(file.read_text())
    page.click("#propose-check")
    page.wait_for_selector("#propose-problem:has-text('grant.yaml:1 expires: not after its start')")
    file.write_text(json.dumps(grant.to_json()))
    choose(page, "#propose-file", file)
    sync_api.expect(page.locator("#propose-text")).to_have_value(file.read_text())
    check(page)
    assert grant.digest_of_terms in page.inner_text("#ask")
    page.click("#ask-do")
    page.wait_for_selector("#waiting li:has-text('Grant from-file')")
    file.write_bytes(b"\xff\xfe")
    page.click("nav a[href='#grants']")
    page.click("#open-propose")
    choose(page, "#propose-file", file)
    page.wait_for_selector("#propose-problem:has-text('no text in UTF-8')")
    file.write_bytes(b"#" * ((1 << 20) + 1))
    choose(page, "#propose-file", file)
    page.wait_for_selector("#propose-problem:has-text('at most 1,048,576 are read')")


def test_a_model_that_is_not_served_is_refused_in_the_gates_words(scene: Scene, sit: Open) -> None:
    page = sit()
    fill_in(page, "not-served")
    page.fill("#propose-text", page.input_value("#propose-text").replace('model: "m7"', 'model: "m8"'))
    check(page)
    page.click("#ask-do")
    page.wait_for_selector("#ask .problem:has-text(\"no model 'm8' with the digest\")")
    assert "not-served" not in scene.store.snapshot().grants


# Releases


def give(page: Any, path: Path) -> None:
    page.click("nav a[href='#now']")
    page.click("#open-release")
    choose(page, "#release-file", path)
    page.click("#release .main")


def test_a_release_that_holds_is_kept_and_one_that_does_not_is_refused_in_the_gates_words(scene: Scene, sit: Open, tmp_path: Path) -> None:
    page, path = sit(), tmp_path / "release.intoto.jsonl"
    write_release(scene.gate.approved(2), path)
    give(page, path)
    page.wait_for_selector("#models .card:has-text('Epoch2')")
    assert "the gate keeps this release" in page.inner_text("#said")
    assert scene.store.snapshot().releases[scene.gate.digest] == path.read_bytes()
    stale = tmp_path / "stale.intoto.jsonl"
    write_release(scene.gate.approved(1), stale)
    give(page, stale)
    page.wait_for_selector("#release .problem:has-text('The gate has not kept it: ')")
    assert "epoch" in page.inner_text("#release .problem")
    assert axe(page) == []
    stale.write_bytes(b"\xff")
    choose(page, "#release-file", stale)
    page.click("#release .main")
    page.wait_for_selector("#release .problem:has-text('no text in UTF-8')")
    stale.write_bytes(b"x" * ((16 << 20) + 1))
    choose(page, "#release-file", stale)
    page.click("#release .main")
    page.wait_for_selector("#release .problem:has-text('at most 16,777,216')")
    assert scene.store.snapshot().releases[scene.gate.digest] == path.read_bytes()


PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def test_nothing_stands_in_anybodys_way(sit: Open, options: dict[str, Any]) -> None:
    page = sit(**options)
    for tab in ("now", "grants", "propose", "watch", "audit"):
        page.click(f"a[href='#{tab}']")
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
        assert axe(page) == [], tab
    for dialog in ("stop", "release"):
        page.click("nav a[href='#now']")
        page.click(f"#open-{dialog}")
        assert page.evaluate("(d) => document.querySelector(d).scrollWidth <= document.querySelector(d).clientWidth", f"#{dialog}")
        assert axe(page) == [], dialog
        page.keyboard.press("Escape")


def test_a_poll_leaves_the_focus_where_it_is_and_the_time_goes_on(scene: Scene, sit: Open) -> None:
    page = sit()
    page.focus("#halts button")
    key = page.evaluate("document.activeElement.dataset.key")
    before = page.inner_text("#state")
    scene.gate.stop_all("another", model="m7", tier="general")
    page.wait_for_selector("#halts li:has-text('tier general')")
    assert page.evaluate("document.activeElement.dataset.key") == key
    for _ in range(50):
        if page.inner_text("#state") != before:
            break
        page.wait_for_timeout(100)
    else:
        raise AssertionError("the time stands still")


def ask(scene: Scene, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
    origin = f"http://127.0.0.1:{scene.console_port}"
    connection = http.client.HTTPConnection("127.0.0.1", scene.console_port, timeout=20)
    sent = {"Origin": origin, "Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request(method, path, None if body is None else json.dumps(body), sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    found = {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return answer.status, found, text


ACTS = ("halt", "lift", "approve", "check-grant", "propose", "add-release", "revoke", "cut", "close-alert", "review", "sign-out")


def test_without_the_cookie_and_from_elsewhere_nothing_is_answered(scene: Scene, signed_in: Any) -> None:
    [cookie] = signed_in["cookies"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    own = f"{cookie['name']}={cookie['value']}"
    for path in ("/api/overview", "/api/audit", "/api/grant/power-grid"):
        assert ask(scene, "GET", path)[0] == 401
        assert ask(scene, "GET", path, Cookie=f"{cookie['name']}=guess")[0] == 401
        assert ask(scene, "GET", path, Cookie=own)[0] == 200
        assert ask(scene, "GET", path, Cookie=own, Host="evil.example")[0] == 400
    for name in ACTS:
        assert ask(scene, "POST", f"/api/{name}", {})[0] == 401, name
        assert ask(scene, "POST", f"/api/{name}", {}, Cookie=own, Origin="https://evil.example")[0] == 403, name
        assert ask(scene, "POST", f"/api/{name}", {}, Cookie=own, Content_Type="text/plain")[0] == 415, name
    token = scene.link.partition("#t=")[2]
    assert ask(scene, "POST", "/api/sign-in", {"token": token})[0] == 403, "a link opens once"
    status, headers, page = ask(scene, "GET", "/")
    assert (status, headers["content-security-policy"].startswith("default-src 'none'")) == (200, True)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert ask(scene, "GET", "/static/..%2fpage.html")[0] == 404
    assert ask(scene, "POST", "/api/approve", {"id": "hospital", "digest": "sha256:" + "0" * 64}, Cookie=own)[0] == 409
    assert ask(scene, "POST", "/api/halt", {"scope": {"planet": "earth"}, "reason": "x"}, Cookie=own)[0] == 422
    assert ask(scene, "POST", "/api/propose", {"grant": {}, "digest": ""}, Cookie=own)[0] == 422
    unseen = {"grant": scene.pending.to_json(), "digest": "sha256:" + "0" * 64}
    assert ask(scene, "POST", "/api/propose", unseen, Cookie=own)[0] == 409, "other terms than those that were seen"
    assert ask(scene, "POST", "/api/halt", {"reason": "x" * 65_536}, Cookie=own)[0] == 413
    assert ask(scene, "POST", "/api/check-grant", {"text": "#" * 100_000}, Cookie=own)[0] == 422
    assert ask(scene, "POST", "/api/check-grant", {"text": "#" * (2 << 20)}, Cookie=own)[0] == 413
    assert ask(scene, "POST", "/api/add-release", {"release": "x" * (10 << 20)}, Cookie=own)[0] == 422, "the gate has read it"
    assert ask(scene, "POST", "/api/add-release", {"release": "x" * (20 << 20)}, Cookie=own)[0] == 413
    assert ask(scene, "GET", "/api/audit?kind=hats&unknown=1", Cookie=own)[0] == 422
    assert "PRIVATE" not in ask(scene, "GET", "/api/overview", Cookie=own)[2]


BAD = ("http://gate.example:8471", "https://gate.example/x", "https://u:p@gate.example", "ftp://gate.example", "gate", "https://g:99999")


@pytest.mark.parametrize("address", BAD)
def test_an_address_in_the_clear_or_with_more_behind_it_is_refused(address: str) -> None:
    with pytest.raises(RemoteError):
        Remote(address, PrivateKey.generate())


def test_a_viewer_sees_and_is_offered_no_act_and_a_console_that_has_ended_is_said_to_have(scene: Scene, browser: Any) -> None:
    link, process = scene.console("vic", free_port(), scene.port)
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_selector("#models .card")
    assert page.inner_text("#who") == "vic, viewer"
    assert not page.locator("#open-stop").is_visible()
    assert page.locator("main button:visible, a.button:visible").count() == 0
    page.goto(f"{link.partition('#')[0]}#propose")
    assert not page.locator("#propose").is_visible()
    assert not page.locator("nav a[href='#audit']").is_visible()
    answer = page.evaluate(
        "fetch('/api/halt', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"scope\":{},\"reason\":\"x\"}'})"
        ".then((r) => r.status)"
    )
    assert answer == 403
    process.kill()
    page.wait_for_selector("#state.offline", timeout=20_000)
    assert "Not heard of since" in page.inner_text("#state")
    context.close()


def test_a_gate_that_is_gone_is_said_to_be_and_signing_out_ends_it(scene: Scene, browser: Any) -> None:
    link, _ = scene.console("vic", free_port(), free_port())
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_selector("text=The gate's administration cannot be reached")
    page.goto("about:blank")
    page.goto(link.partition("#")[0])
    page.wait_for_selector("text=cannot be reached")
    context.clear_cookies()
    page.reload()
    page.wait_for_selector("text=You are not signed in")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("text=this link was used, or is not valid")
    context.close()


def test_a_session_ends_when_nobody_uses_it_and_after_a_day_at_work() -> None:
    now = [0.0]
    sessions = _Page(Remote("http://127.0.0.1:1", PrivateKey.generate()), "cookie", lambda: now[0]).sessions
    first = sessions.link()
    second = sessions.link()
    assert sessions.enter(first) == ""
    value = sessions.enter(second)
    assert value
    assert sessions.enter(second) == ""
    now[0] = IDLE_S - 1
    assert sessions.holds(value, used=False), "polls look, and keep nothing alive"
    now[0] = IDLE_S + 1
    assert not sessions.holds(value, used=True)
    value = sessions.enter(sessions.link())
    for _ in range(int(LONGEST_S // IDLE_S) + 2):
        now[0] += IDLE_S - 1
        held = sessions.holds(value, used=True)
    assert not held
    value = sessions.enter(sessions.link())
    sessions.leave(value)
    assert not sessions.holds(value, used=True)
