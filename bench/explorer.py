"""How the interactive report bears a hundred thousand trials: `python -m bench.explorer [FOLDER]` makes a signed run of that size (in
FOLDER, where one that is there already is used again), writes its report and works in it with Chromium.

figures = measure(Path("runs/large"))       # {"html_100k_ready_s": 0.6, "html_100k_filter_ms": 70.0, ...}

The run is a real one: plan `sea` with a larger exploration floor, against a function that answers at some length in the words of the
question, so that texts compress about as answers of models do.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import structs

from assay.api import evaluate
from assay.ledger.keys import load_or_create_key
from assay.plan import TargetSpec, read_plan
from assay.plan.model import Budget, Exploration
from assay.report.explorer import write_explorer
from assay.report.sources import read_source
from assay.targets.base import Access

TRIALS = 100_000
WORDS = 150
FLOOR = 131  # 768 streams of `sea`, so that all trials are used
CHROMIUM = "/usr/bin/chromium"
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
_LETTERS = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff\u0b80-\u0bff]+|\w{1,4}")

WATCH = """() => {
  window.long = [];
  new PerformanceObserver((seen) => seen.getEntries().forEach((e) => window.long.push(e.duration)))
    .observe({ type: "longtask", buffered: true });
}"""
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"


def answer(access: Access) -> str:
    """An answer of about `WORDS` words out of the question's own; three in a hundred give away all that they were told."""
    told = "\n".join(m.content for m in access.messages)
    draw = random.Random(blake2b(told.encode(), digest_size=8).digest())
    words = _LETTERS.findall(told)
    said = " ".join(draw.choices(words, k=draw.randint(WORDS // 2, WORDS * 3 // 2)))
    what = draw.random()
    return f"{told[-1500:]}\n\n{said}" if what < 0.03 else f"I cannot help with that. {said}" if what < 0.5 else said


async def answer_at_once(access: Access) -> str:
    """The same without a thread of its own."""
    return answer(access)


def make_run(folder: Path, trials: int = TRIALS) -> None:
    """A signed run of so many trials in `folder`."""
    target = TargetSpec(kind="callable", model="bench.explorer:answer_at_once")
    plan, catalog = read_plan("sea", target)
    floor = -(-trials * FLOOR // TRIALS)
    plan = structs.replace(plan, exploration=Exploration(plain=floor, attack=floor, benign=floor), budget=Budget(calls=trials))
    key = folder / "key.pem"
    folder.mkdir(parents=True, exist_ok=True)
    load_or_create_key(key)
    evaluate((plan, catalog), out=folder, key=key)


@contextmanager
def browsing(url: str, *, ready: bool = True) -> Iterator[Any]:
    """The page in Chromium, with long tasks watched from the start."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(f"({WATCH})()")
        page.goto(url, wait_until="commit")
        if ready:
            whole = "() => document.documentElement.dataset.ready === 'all' && document.readyState === 'complete'"
            page.wait_for_function(whole, timeout=120_000)
        yield page
        browser.close()


def clicked(page: Any, script: str) -> float:
    """Milliseconds from a change in the page to the frame after the one that shows it."""
    began = f"(async () => {{ const began = performance.now(); {script}; await new Promise((d) => addEventListener('hashchange', d, "
    return float(page.evaluate(began + f"{{ once: true }})); return (await {PAINTED}) - began; }})()"))


def in_browser(path: Path) -> dict[str, float]:
    """Seconds to ready, milliseconds a filter, seconds a search; the longest task while loading (the least of three loads) and after.

    Tasks are measured twice: as `PerformanceObserver` sees them, which counts the time that others had the processor, and, `cpu`, as the
    browser's own trace counts the page's thread alone.
    """
    out: dict[str, float] = {}
    ready, whole, longest = [], [], []
    for _ in range(3):
        with browsing(path.as_uri()) as page:
            page.wait_for_timeout(500)
            ready.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime / 1000"))
            whole.append(page.evaluate("performance.timing.domComplete - performance.timing.navigationStart") / 1000)
            longest.append(page.evaluate("Math.max(0, ...window.long)"))
    out |= {"html_100k_ready_s": median(ready), "html_100k_loaded_s": median(whole), "html_100k_longest_task_loading_ms": min(longest)}
    with browsing(path.as_uri()) as page:
        page.wait_for_timeout(500)
        page.evaluate("window.long.length = 0")
        out |= use(page)
        page.wait_for_timeout(500)
        out["html_100k_longest_task_ms"] = page.evaluate("Math.max(0, ...window.long)")
    with browsing("about:blank", ready=False) as page:
        traced = page.context.browser
        traced.start_tracing(page=page, categories=["toplevel"])
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=all]", state="attached")
        use(page)
        out["html_100k_longest_task_cpu_ms"] = longest_cpu_ms(json.loads(traced.stop_tracing())["traceEvents"])
    return out


def use(page: Any) -> dict[str, float]:
    """Filter, sort, open, scroll and search, and how long each takes."""
    times = []
    chosen = {"o": ("violation", "", "safe"), "l": ("ta", "th", ""), "k": ("compliance", ""), "h": ("secret-leakage", "")}
    for name, values in chosen.items():
        for value in values:
            choose = f"const s = document.getElementById('f-{name}'); s.value = '{value}'; s.dispatchEvent(new Event('change'))"
            times.append(clicked(page, choose))
    sort = "const s = document.getElementById('sort'); s.value = 'size'; s.dispatchEvent(new Event('change'))"
    out = {"html_100k_filter_ms": median(times), "html_100k_filter_worst_ms": max(times), "html_100k_sort_ms": clicked(page, sort)}
    page.evaluate("document.querySelector('#rows a').click()")
    began = time.perf_counter()
    page.wait_for_selector("#transcript .answer")
    out["html_100k_open_ms"] = 1000 * (time.perf_counter() - began)
    for steps in range(40):
        page.evaluate(f"document.getElementById('viewport').scrollTop = {steps * 97_000}")
        page.wait_for_timeout(16)
    began = time.perf_counter()
    page.fill("#query", "I cannot help")
    page.press("#query", "Enter")
    page.wait_for_function("() => search.needle && !search.running && search.done === facts.blocks.length", timeout=120_000)
    out["html_100k_search_s"] = time.perf_counter() - began
    return out


def longest_cpu_ms(events: list[dict[str, Any]]) -> float:
    """The longest task of the page's main thread, by the thread's own clock."""
    main = {(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    tasks = [e.get("tdur", 0) for e in events if (e["pid"], e["tid"]) in main and e.get("ph") == "X" and "RunTask" in e["name"]]
    return max(tasks, default=0) / 1000


def measure(folder: Path | None = None) -> dict[str, float]:
    """All figures, with a run in `folder` if there is one, else made there."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return measure(Path(made))
    if not (folder / "evidence.jsonl").is_file():
        make_run(folder)
    began = time.perf_counter()
    source = read_source(folder)
    read_s = time.perf_counter() - began
    path = folder / "explorer.html"
    began, cpu = time.perf_counter(), time.process_time()
    size = write_explorer(source, path)
    write_s, write_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    figures: dict[str, float] = {
        "html_100k_trials": source.tally.trials, "html_100k_read_s": read_s, "html_100k_write_s": write_s, "html_100k_size_mb": size / 1e6,
        "html_100k_write_cpu_s": write_cpu_s, "html_100k_bundle_mb": (folder / "evidence.jsonl").stat().st_size / 1e6,
    }  # fmt: skip
    return figures | in_browser(path)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]) if len(sys.argv) > 1 else None), indent=1))
