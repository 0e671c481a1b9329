"""What browser tests need: Chromium, and a person at the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.label.serving import Page

CHROMIUM = Path("/usr/bin/chromium")
NEEDED = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")
ARGS = [f"--{name}" for name in NEEDED]


class Reader:
    """Somebody with the page open. What the page says on its console counts as a failure."""

    def __init__(self, context: Any, page: Page, name: str, *, open_page: bool = True) -> None:
        self.context, self.server, self.name = context, page, name
        self.troubles: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda e: self.troubles.append(str(e)))
        self.page.on("dialog", lambda d: self.troubles.append(d.message))
        if open_page:
            self.page.goto(page.links[name])
            self.ready()

    def ready(self) -> None:
        """Until there is a trial, or a word instead of one."""
        self.until("!document.querySelector('#work').hidden || !document.querySelector('#message-title').textContent.endsWith('…')")

    def until(self, condition: str, arg: Any = None, seconds: float = 10) -> None:
        """Until it holds; asked from outside, since the page's policy lets nothing be evaluated in it."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(f"s => Boolean({condition})", arg):
            if time.monotonic() > end:
                raise AssertionError(f"{condition} did not come: {self.page.inner_text('body')[:600]}")
            self.page.wait_for_timeout(20)

    def wait_slot(self, slot: int) -> None:
        """Until this trial is on the screen."""
        self.until("document.documentElement.dataset.slot === s", str(slot))

    @property
    def slot(self) -> int:
        return int(self.page.evaluate("document.documentElement.dataset.slot"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def label(self, *keys: str) -> int:
        """Label the trial on the screen with these keys, and wait for the next, or for a word instead of one; its slot."""
        slot = self.slot
        self.press(*keys, "Enter")
        self.until("document.documentElement.dataset.slot !== s || document.querySelector('#work').hidden", str(slot))
        self.ready()
        return slot

    def more(self) -> bool:
        """Whether there is a trial; waits for the one or the other."""
        self.until("!document.querySelector('#work').hidden || document.querySelector('#message-title').textContent === 'All done'")
        return bool(self.page.locator("#work").is_visible())

    def wait_saved(self) -> None:
        """Until the server has acknowledged everything."""
        self.until("['Everything is saved', 'Draft saved'].includes(document.querySelector('#state').textContent)")

    def wait_state(self, part: str) -> None:
        self.until("document.querySelector('#state').textContent.includes(s)", part)

    def chosen(self) -> dict[str, str]:
        return dict(self.page.evaluate("[...document.querySelectorAll('#form input:checked')].map(i => [i.name, i.value])"))

    @property
    def note(self) -> str:
        return str(self.page.input_value("#note"))

    def heard(self) -> str:
        """What a screen reader can find on the page."""
        session = self.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        return "\n".join(str(n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"])

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))
