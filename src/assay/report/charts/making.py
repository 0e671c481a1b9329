"""What all charts of a call share: the words, whether there are several runs, and how a chart of one of them is called.

setting = Setting(Words.of("en"), many=False)
setting.id("matrix", source), setting.title("matrix", source)
"""

from __future__ import annotations

from msgspec import Struct

from assay.report.charts.chart import Absent, Chart, Table, Value
from assay.report.charts.drawing import Spec, draw
from assay.report.charts.wording import Words, name
from assay.report.sources import Source


class Setting(Struct, frozen=True):
    """`many`: whether charts of several runs stand side by side, so that each says whose it is."""

    words: Words
    many: bool

    def id(self, kind: str, source: Source | None = None, part: int = 0) -> str:
        """`matrix`, `matrix-B` among several runs, `matrix-2` for the next part of what does not fit into one."""
        own = f"-{source.letter}" if source and self.many else ""
        return f"{kind}{own}{f'-{part + 1}' if part else ''}"

    def title(self, kind: str, source: Source | None = None) -> str:
        """What is drawn, and of which run."""
        title = self.words.say(f"{kind}_title")
        if source is None or not self.many:
            return title
        return self.words.say("of_run", title=title, letter=source.letter, model=name(source.model, 40))

    def chart(
        self, kind: str, spec: Spec, *, caption: str, alt: str, columns: tuple[str, ...], rows: list[tuple[Value, ...]],
        source: Source | None = None, part: int = 0,
    ) -> Chart:  # fmt: skip
        """The drawn chart. `columns` are keys of the words."""
        chart_id = self.id(kind, source, part)
        return Chart(
            id=chart_id, question=self.words.say(f"{kind}_question"), title=self.title(kind, source), caption=caption,
            svg=draw(spec, chart_id, alt), alt=alt, table=Table(tuple(self.words.say(f"col_{c}") for c in columns), tuple(rows)),
        )  # fmt: skip

    def absent(self, kind: str, reason: str, source: Source | None = None) -> Absent:
        """Why there is no such chart; `reason` is a key of the words."""
        return Absent(self.id(kind, source), self.words.say(f"{kind}_question"), self.words.say(reason))
