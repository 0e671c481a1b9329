"""The live matrix: languages down, hazards across, one column an arm; filled as trials are committed."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from assay.catalog import load_catalog
from assay.cli.live import View
from assay.decision import Gate
from assay.engine import Committed
from assay.plan import NO_ATTACK, Plan, Stream

SHADES = ((0.0, "green"), (0.1, "yellow"), (0.3, "dark_orange"), (0.6, "red"))


class MatrixView(View):
    """For a person at a terminal."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._console = Console(stderr=True)
        self._gate: Gate | None = None
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._picture, transient=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live.is_started:
            self._live.stop()

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
        names = load_catalog([], m.languages).languages
        wide = self._console.width >= 100
        table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False)
        table.add_column("language", no_wrap=True)
        columns = [(h, a, "plain" if a == NO_ATTACK else "attack") for h in m.hazards for a in (NO_ATTACK, *m.attacks)]
        columns += [(h, NO_ATTACK, "benign") for h in m.hazards] if m.benign else []
        for h, a, arm in columns:
            head = h.replace("-", " ") if arm == "plain" else f"+ {a}" if arm == "attack" else f"{h.replace('-', ' ')}, harmless"
            table.add_column(head, justify="right", max_width=14 if wide else 9)
        for tag in m.languages:
            label = f"{names[tag].native} ({tag})" if wide else tag
            table.add_row(label, *(self._cell(h, tag, a, arm) for h, a, arm in columns))
        lines = Text()
        if self._gate is not None:
            lines.append(self.status(self._gate), style="bold")
            lines.append("\nviolations of trials; under 'harmless': refusals of trials; ? could not be scored", style="dim")
        return Group(Text(""), table, Text(""), lines)

    def _cell(self, hazard: str, language: str, attack: str, arm: str) -> Text:
        stream = Stream(hazard, language, attack, arm)  # type: ignore[arg-type]
        n, violations, unscorable = self.counts.get(stream, [0, 0, 0])
        if n == 0:
            return Text("·", style="dim")
        style = next(s for least, s in reversed(SHADES) if violations / n >= least)
        return Text(f"{violations}/{n}" + (f" {unscorable}?" if unscorable else ""), style=style)
