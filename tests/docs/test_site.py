"""The documentation site: every page has its place, nothing comes from elsewhere, search works from a disk, and all can read it."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from scripts.docsite import commands as reference
from scripts.docsite import facts, house, keys, pages, python_api
from scripts.docsite.__main__ import build, write

from tests.docs.blocks import ROOT

CHROMIUM = next((p for p in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(p).exists()), "")
MAIN = ("index.html", "tutorial.html", "statistics.html", "architecture.html", "cli-run.html")
ZENSICAL = shutil.which("zensical", path=str(Path(sys.executable).parent)) or shutil.which("zensical")


# What is gathered


def test_every_page_has_one_place_in_the_navigation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`write` raises for a page in no part of the navigation, for one that stands in it twice, and for one that is not there."""
    write(tmp_path / "a")
    tops = [title for entry in pages.navigation() for title in entry]
    assert tops == ["Assay", "Tutorial", "How to", "Reference", "Explanation"]
    for nav, said in (
        (pages.navigation()[:-1], "in no part"),
        ([*pages.navigation(), {"Again": "plan.md"}], "twice"),
        ([*pages.navigation(), {"Lost": "lost.md"}], "not there"),
    ):
        monkeypatch.setattr(pages, "navigation", functools.partial(list, nav))
        with pytest.raises(pages.PageError, match=said):
            write(tmp_path / "b")


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    assert pages.moved("[a](plan.md#budgets) ![b](images/report.png) [c](../README.md)", pages.DOCS / "x.md", tmp_path) == (
        "[a](plan.md#budgets) ![b](images/report.png) [c](index.md)"
    )
    assert (tmp_path / "images/report.png").is_file()
    assert pages.moved("```text\n[a](nowhere.md)\n```\n", pages.DOCS / "x.md", tmp_path).startswith("```text\n[a](nowhere.md)")
    for target in ("../nowhere.json", "../../outside.md", "../src"):
        with pytest.raises(pages.PageError):
            pages.moved(f"[a]({target})", pages.DOCS / "x.md", tmp_path)


# What is generated says what the code says


def test_the_reference_has_every_command_and_option() -> None:
    from assay.cli import app

    found = reference.pages()
    text = "\n".join(found.values())

    def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, f"{path} {name}")

    for path, command in list(walk(app, "assay"))[1:]:
        assert re.search(rf"^#+ {re.escape(path)}$", text, re.MULTILINE), path
        page = found[f"cli-{path.split()[1]}.md"]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert f"<code>{', '.join([*option.opts, *option.secondary_opts])}" in page.replace("&#x27;", "'"), (path, option.name)


def test_the_reference_of_files_has_every_key() -> None:
    from assay.access.config import Config
    from assay.plan import Plan

    text = keys.pages()
    for page, root in (("plan-keys.md", Plan), ("gate-keys.md", Config)):
        for field in msgspec.structs.fields(root):
            assert f"| <code>{field.encode_name}</code> |" in text[page], field.name
    assert "from <code>1</code>, to <code>32,768</code> | <code>256</code> |" in text["plan-keys.md"]


def test_the_reference_of_python_has_everything_that_is_offered() -> None:
    import assay
    import assay.errors

    text = python_api.page()
    for name in assay.__all__:
        assert re.search(rf"^### assay\.{re.escape(name).replace('_', r'.?_')}$", text, re.MULTILINE), name
    for error in vars(assay.errors).values():
        if isinstance(error, type) and issubclass(error, Exception):
            assert f"| <code>{error.__name__}</code> |" in text, error
    assert " at 0x" not in text


def test_the_house_is_the_one_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = {r.strip() for layer in contracts[0]["layers"] for r in layer.split("|")}
    drawn = set(re.findall(r'font-weight="600">([a-z_]+)</text>', house.house()))
    assert drawn == rooms
    assert house.pure() == {m.removeprefix("assay.") for m in contracts[1]["source_modules"]}
    assert all(house.said(room) for room in rooms)


def test_facts_are_counted() -> None:
    found = facts.marked()
    assert "1,200 in 20 languages" in found["content"]
    assert found["models"].count("sha256:") == 2


# What is built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if ZENSICAL is None:
        pytest.skip("zensical is not installed (pip install --group docs)")
    out = tmp_path_factory.mktemp("site")
    assert build(out) == 0
    return out / "html"


class Fetched(HTMLParser):
    """What a page makes a browser fetch by itself, and the ids it has."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links += [given["href"]] if "href" in given else []
        elif tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            return
        else:
            self.addresses += [given[k] for k in ("src", "href", "srcset", "data", "poster", "action") if k in given]


def parsed(page: Path) -> Fetched:
    found = Fetched()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in parsed(page).addresses:
            assert not re.match(r"(?!data:)[a-z]+:|//", address), f"{page.name} fetches {address}"
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)", sheet.read_text(encoding="utf-8")):
            assert "".join(address).startswith(("data:", "#")) or not re.match(r"[a-z]+:|//", "".join(address)), sheet.name


def test_every_link_within_the_site_has_its_page_and_its_anchor(site: Path) -> None:
    known = {p.relative_to(site).as_posix(): parsed(p) for p in site.rglob("*.html")}
    for name, page in known.items():
        if name == "404.html":
            continue
        for link in page.links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or not (path or anchor):
                continue
            target = (Path(name).parent / path).as_posix() if path else name
            file = site / target
            assert file.resolve().is_file() or (file / "index.html").is_file(), f"{name} -> {link}"
            if anchor and target in known:
                assert anchor in known[target].ids, f"{name} -> {link}"


def test_no_page_names_the_machine_that_built_it(site: Path) -> None:
    for page in [*site.rglob("*.html"), site / "search.json"]:
        text = page.read_text(encoding="utf-8")
        assert str(ROOT) not in text, page.name
        assert "<!-- house -->" not in text


# What a person meets


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def page_of(browser: Any, width: int = 1280, scheme: str = "light") -> Iterator[tuple[Any, list[str], list[str]]]:
    """A page, the addresses that it asked for, and its errors."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    try:
        yield page, asked, errors
    finally:
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize("by", ["disk", "server"])
def test_search_works_without_a_network_and_nothing_else_is_asked_for(site: Path, browser: Any, by: str) -> None:
    with served(site) as address, page_of(browser) as (page, asked, errors):
        base = address if by == "server" else site.as_uri() + "/"
        page.goto(base + "index.html")
        field = page.get_by_placeholder("Search")
        for _ in range(100):  # the page listens to the key when its script has come
            page.keyboard.press("Control+k")
            page.wait_for_timeout(200)
            if field.is_visible():
                break
        field.press_sequentially("martingale", delay=20)
        page.locator("a[href*='statistics.html?h=martingale']").first.wait_for(timeout=20_000)
        assert field.input_value() == "martingale"
        page.goto(base + "architecture.html")
        assert all(a.startswith((base, "data:", "blob:", "about:")) for a in asked), [a for a in asked if not a.startswith(base)]
        assert errors == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")], ids=["desktop", "dark", "phone"])
def test_the_main_pages_can_be_read_by_all(site: Path, browser: Any, width: int, scheme: str) -> None:
    """axe finds nothing serious, nothing is wider than the screen, and light and dark are what the system wants."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    grounds = set()
    with served(site) as address, page_of(browser, width, scheme) as (page, _, errors):
        for name in MAIN if width > 1000 and scheme == "light" else MAIN[2:4]:
            page.goto(address + name)
            page.wait_for_load_state("networkidle")
            found = [v for v in axe.run(page).response["violations"] if v["impact"] in ("serious", "critical")]
            assert not found, (name, [(v["id"], v["nodes"][0]["html"][:300]) for v in found])
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert errors == []
    (ground,) = grounds
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark"), ground


@pytest.mark.browser
def test_it_is_used_without_a_mouse(site: Path, browser: Any) -> None:
    """The first key leads past the navigation; what has the focus shows it; the house can be scrolled by its keys on a phone."""
    with served(site) as address, page_of(browser, 390) as (page, _, errors):
        page.goto(address + "architecture.html")
        page.keyboard.press("Tab")
        first = page.evaluate("document.activeElement.getAttribute('href')")
        assert first, "the first stop is the link to the content"
        assert first.startswith("#")
        page.keyboard.press("Enter")
        seen = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.className.toString() + document.activeElement.tagName"))
        assert "house focus-visibleDIV" in seen
        page.locator(".house").focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.house').scrollLeft > 0")
        assert errors == []
