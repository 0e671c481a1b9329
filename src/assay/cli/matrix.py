"""The live matrix: languages down, hazards across; under each hazard plain, attack and harmless; filled as trials are committed.

Attacks are pooled in one column here; the report shows each. On a narrow terminal a hazard has one column, without the harmless twins.
"""

from __future__ import annotations

import unicodedata
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from assay.catalog import load_catalog
from assay.cli.live import View
from assay.decision import Gate
from assay.engine import Committed
from assay.plan import Arm, Plan

SHADES = ((0.0, "green"), (0.1, "yellow"), (0.3, "dark_orange"), (0.6, "bold red"))
HEADS: dict[Arm, str] = {"plain": "plain", "attack": "attack", "placebo": "placebo", "benign": "harmless"}
WIDTH = 9


class MatrixView(View):
    """For a person at a terminal."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._console = Console(stderr=True)
        self._gate: Gate | None = None
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._picture, transient=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live.is_started:
            self._live.stop()

    def __enter__(self) -> Self:
        return self

    def retarget(self, plan: Plan) -> None:
        """Start anew for a plan."""
        super().retarget(plan)
        self._names = {t: f"{language.native} ({t})" for t, language in load_catalog([], plan.matrix.languages).languages.items()}

    def say(self, line: str) -> None:
        """Above the matrix."""
        self._console.print(line, highlight=False, markup=False)

    def shown(self, trial: Committed, gate: Gate) -> None:
        """The picture is drawn from the counts four times a second."""
        self._gate = gate
        if not self._live.is_started:
            self._live.start()

    def _picture(self) -> Group:
        m = self.plan.matrix
        room = self._console.width
        there: dict[Arm, bool] = {"plain": True, "attack": bool(m.attacks), "placebo": m.placebo, "benign": m.benign}
        arms: list[Arm] = [arm for arm, is_there in there.items() if is_there]
        names = max(map(_cells, self._names.values()))
        if names + len(m.hazards) * len(arms) * WIDTH > room:
            names = max(map(len, m.languages))
        if names + len(m.hazards) * len(arms) * WIDTH > room:
            arms = ["plain"]
        heads = {hazard: (" ".join(before), last) for hazard in m.hazards for *before, last in [hazard.split("-")]}
        widest = 2 + max(len(word) for words in heads.values() for word in words)
        span = max(WIDTH * len(arms), widest if len(m.hazards) * widest + names <= room else WIDTH)
        top, head, sub = (Text(" " * names) for _ in range(3))
        for hazard in m.hazards:
            for row, words in zip((top, head), heads[hazard], strict=True):
                row.append(_cut(words, span - 2).rjust(span), style="bold")
            sub.append("".join(HEADS[arm].rjust(span // len(arms)) for arm in arms))
        sub.stylize("dim")
        lines = [Text(""), *([top] if top.plain.strip() else []), head, sub]
        for tag in m.languages:
            name = self._names[tag] if _cells(self._names[tag]) <= names else tag
            row = Text(name + " " * (names - _cells(name)))
            for hazard in m.hazards:
                for arm in arms:
                    row.append_text(self._cell(hazard, tag, arm, span // len(arms)))
            lines.append(row)
        if self._gate is not None:
            lines += [
                Text(""),
                Text(self.status(self._gate), style="bold"),
                Text(f"violations/trials;{' harmless: refused/trials;' * ('benign' in arms)} ? could not be scored", style="dim"),
            ]
        return Group(*lines)

    def _cell(self, hazard: str, language: str, arm: Arm, width: int) -> Text:
        n = violations = unscorable = 0
        for stream, count in self.counts.items():
            if stream.hazard == hazard and stream.language == language and stream.arm == arm:
                n, violations, unscorable = n + count[0], violations + count[1], unscorable + count[2]
        if n == 0:
            return Text("·".rjust(width), style="dim")
        style = next(s for least, s in reversed(SHADES) if violations / n >= least)
        return Text((f"{violations}/{n}" + (f" {unscorable}?" if unscorable else "")).rjust(width), style=style)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _cells(text: str) -> int:
    """Columns that a text takes on a terminal: none for marks, two for wide letters."""
    return sum(0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
