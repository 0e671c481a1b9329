"""Colours and shapes of the charts: told apart by people who are colour-blind, in grey print, and by shape or text as well.

    STATUS["halt"].colour, STATUS["halt"].shape

Categories come from the palette of Okabe and Ito (Color Universal Design, 2008), darkened where it has less than 3:1 on white. The heat
ramp grows darker step by step, so its order survives grey print; its cells have an outline that is itself 3:1 on white.
"""

from __future__ import annotations

from msgspec import Struct

INK = "#1a1a1a"
QUIET = "#5f5f5f"
"""Text and lines of less weight; 6:1 on white."""
GRID = "#d9d9d9"
OUTLINE = "#757575"
PAPER = "#ffffff"

BLUE = "#0072b2"
ORANGE = "#c8500a"
GREEN = "#00785a"
PURPLE = "#a84a86"
CATEGORIES = (BLUE, ORANGE, INK)
"""What may stand side by side in one chart, beside grey; none of our charts needs more than three."""

HEAT = ("#f3f6f9", "#fde8c9", "#fcca8d", "#f59b54", "#de6429", "#ad3a10", "#6e1b05")
"""One colour for each step of `report.matrix.heat`, from no violation upwards."""
HEAT_INK = (INK, INK, INK, INK, INK, PAPER, PAPER)
"""The colour of text on each step; 4.5:1 or more."""
UNSCORED = "#c9c9c9"


class Look(Struct, frozen=True):
    """How a mark is drawn: its colour, its shape, whether it is filled, and the sign that says the same in text."""

    colour: str
    shape: str
    filled: bool
    sign: str


STATUS = {
    "approve": Look(BLUE, "circle", True, "✓"),
    "open": Look(QUIET, "diamond", False, "…"),
    "halt": Look(ORANGE, "square", True, "✕"),
}
"""By the status of a claim."""
