"""A Vega-Lite specification as a clean SVG: text stays text, no scripts, no references to anything outside, ids unique per chart.

    svg = draw(spec, "matrix", alt="…")

The picture is made for a text column of 16 cm: `WIDTH` units at 96 a inch, in which the 12 units of its text are 9 points. Vega runs
in processes of its own (`press`), with the fonts of the system for measuring only; whoever shows the SVG sets the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree as ET

from assay.errors import AssayError
from assay.report.charts.palette import GRID, INK, PAPER, QUIET
from assay.report.charts.press import VEGA_LITE, the_press

Spec = dict[str, Any]

WIDTH = 604
TEXT = 12
FONT = (
    "Noto Sans, Noto Sans Tamil, Noto Sans Thai, Noto Sans Lao, Noto Sans Khmer, Noto Sans Myanmar, Noto Sans Devanagari, "
    "Noto Sans Bengali, Noto Sans Arabic, Noto Sans CJK SC, Noto Sans SC, sans-serif"
)
ZERO = "datum.value == 0 ? '0' : datum.label"
"""Labels of an axis with signs, where zero has none."""
STRETCHED_AXIS: Spec = {
    "title": None, "values": [0, 0.20483276469913342, 0.5, 1], "tickCount": 20, "labelOverlap": False,
    "labelExpr": "['0', '10', '50', '100%'][indexof([0, 205, 500, 1000], round(1000 * datum.value))]",
}  # fmt: skip
"""The axis of `stretched` rates."""
MEASURED = "Noto Sans"
"""The family that Vega measures text in. The whole list stands once on the root of the SVG, not on every text."""
SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    {"svg", "g", "path", "rect", "line", "text", "tspan", "circle", "defs", "clipPath", "title", "linearGradient", "stop"}
)
_DROPPED = re.compile(r"aria-|role$|class$|pointer-events$|version$|style$|on", re.IGNORECASE)
_ASSUMED = {("font-family", MEASURED), ("opacity", "1"), ("stroke-miterlimit", "10")}
_NEEDED_STYLE = re.compile(r"^[a-z0-9 ,.:;%#()-]*$", re.IGNORECASE)
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")


def draw(spec: Spec, chart_id: str, alt: str) -> str:
    """The chart as one `<svg>` element, the same bytes for the same specification. Raises `AssayError` where the extra is missing."""
    whole = {"$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json", "background": PAPER, "config": _config(), **spec}
    return _cleaned(the_press().draw(whole), chart_id, alt)


def warm_up() -> None:
    """Start the processes that draw, which need half a second, so that nobody waits for them; whoever draws is told what is missing."""
    with suppress(AssayError):
        the_press()


def _config() -> Spec:
    """What all charts share: one font, sizes, quiet grids, no frame."""
    return {
        "font": MEASURED,
        "view": {"stroke": None, "continuousWidth": 300, "continuousHeight": 200},
        "axis": {
            "labelFontSize": TEXT, "titleFontSize": TEXT, "titleFontWeight": "normal", "labelColor": INK, "titleColor": QUIET,
            "gridColor": GRID, "domainColor": QUIET, "tickColor": QUIET, "labelLimit": 0, "titleLimit": 0, "titlePadding": 6,
            "labelSeparation": 6,
        },
        "header": {"labelFontSize": TEXT, "labelFontWeight": "bold", "labelColor": INK, "labelLimit": 0, "titleFontSize": TEXT},
        "legend": {
            "labelFontSize": TEXT, "titleFontSize": TEXT, "titleFontWeight": "normal", "labelColor": INK, "titleColor": QUIET,
            "labelLimit": 0, "titleLimit": 0, "orient": "top", "direction": "horizontal", "offset": 6, "symbolSize": 80,
            "columnPadding": 22,
        },
        "text": {"fontSize": TEXT, "color": INK},
        "title": {"fontSize": TEXT, "color": INK, "fontWeight": "bold", "anchor": "start", "limit": 0},
    }  # fmt: skip


def _cleaned(svg: str, chart_id: str, alt: str) -> str:
    """Only drawing elements and their geometry and paint; ids begin with the chart's."""
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)  # noqa: S314 - what Vega has just written, without a document type
    for parent in list(root.iter()):
        for text in parent.findall(f"{{{SVG}}}text[@opacity='0']"):  # a label that has no room; who sets the words anew would show it
            parent.remove(text)
    for element in root.iter():
        if element.tag.removeprefix(f"{{{SVG}}}") not in _ELEMENTS:
            raise AssayError(f"a chart has an element that it should not have: {element.tag[:80]}", where=chart_id)
        for key, value in list(element.attrib.items()):
            if (key, value) in _ASSUMED:
                del element.attrib[key]
            elif key == "id":
                element.set("id", f"{chart_id}-{value}")
            elif key == "style" and _NEEDED_STYLE.match(value) and "url" not in value:
                continue
            elif _DROPPED.match(key) or key.startswith("{"):
                del element.attrib[key]
            elif _REFERENCE.search(value):
                element.set(key, _REFERENCE.sub(rf"url(#{chart_id}-\1)", value))
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    if width > WIDTH:
        height = height * WIDTH / width
        root.set("width", str(WIDTH))
        root.set("height", f"{height:.0f}")
    elif width < WIDTH:
        root.set("viewBox", f"0 0 {WIDTH} {height:g}")
        root.set("width", str(WIDTH))
        for rect in root.findall(f"{{{SVG}}}rect"):
            rect.set("width", str(WIDTH))
    root.set("font-family", FONT)
    root.set("role", "img")
    root.set("aria-label", alt)
    return ET.tostring(root, encoding="unicode")


def text_width(text: str, size: float = TEXT) -> float:
    """About how wide a text is, in units: enough to set a column apart for labels. Wide scripts count a whole size a character."""
    return sum(_advance(c) for c in text) * size


@lru_cache(maxsize=4096)
def _advance(char: str) -> float:
    code = ord(char)
    if 0x2E80 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7A3 or 0xFF00 <= code <= 0xFF60:
        return 1.0
    if 0x0B80 <= code <= 0x0BFF or 0x1000 <= code <= 0x109F or 0x1780 <= code <= 0x17FF:
        return 0.85
    return 0.32 if char in " ilj.,:;|'()[]" else 0.82 if char in "MWmw" else 0.58


def title_lines(text: str, width: float) -> list[str]:
    """A panel's title on lines no wider than `width`, as far as words allow; it is bold, and so a little wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, 1.05 * TEXT) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def legend_columns(names: Sequence[str], room: float) -> int:
    """How many entries of a legend go side by side."""
    widths = [text_width(name) + 36 for name in names]
    fitting = (k for k in range(len(names), 0, -1) if sum(max(widths[i::k]) for i in range(k)) <= room)
    return next(fitting, 1)


def label_expression(labels: list[str] | list[list[str]], offset: float = 0.0) -> str:
    """A Vega expression for labels of an axis at 0, 1, 2 ... (plus `offset`). The labels are literals in it, whatever stands in them."""
    return f"{json.dumps(labels, ensure_ascii=True)}[round(datum.value - {offset})]"


def stretched(rate: float) -> float:
    """The place of a rate on a scale that is drawn out at both ends: the arcsine of its root, from 0 to 1."""
    return math.asin(math.sqrt(min(max(rate, 0.0), 1.0))) / (math.pi / 2)
