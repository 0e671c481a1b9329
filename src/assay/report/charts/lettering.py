"""The texts of a chart lifted out of its picture, for a typesetter that sets text better than its own reader of SVG does.

    bare, texts = lifted(chart.svg)           # the picture without text, and what stands where in it
    texts[0].x, texts[0].y, texts[0].anchor, texts[0].text

Typst shows Tamil, Khmer and Devanagari inside an SVG as empty boxes and refuses such a file as PDF/UA; as text of its own over the
picture it sets them rightly.
"""

from __future__ import annotations

import re
from typing import Literal
from xml.etree import ElementTree as ET

from msgspec import Struct

from assay.report.charts.drawing import SVG, TEXT

Anchor = Literal["start", "middle", "end"]
_TRANSLATE = re.compile(r"translate\(([-\d.e]+)[ ,]+([-\d.e]+)\)")
_ROTATE = re.compile(r"rotate\(([-\d.e]+)")


class Lettering(Struct, frozen=True):
    """One line of text. `x` and `y` are its anchor on the baseline, in units of the picture's viewBox; `angle` in degrees, clockwise."""

    text: str
    x: float
    y: float
    size: float
    anchor: Anchor
    bold: bool
    fill: str
    angle: float


def lifted(svg: str) -> tuple[str, tuple[Lettering, ...]]:
    """The picture without its texts, and the texts in its order."""
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)  # noqa: S314 - a picture that `draw` made
    found: list[Lettering] = []
    _lift(root, 0.0, 0.0, found)
    return ET.tostring(root, encoding="unicode"), tuple(found)


def _lift(element: ET.Element, x: float, y: float, found: list[Lettering]) -> None:
    for child in list(element):
        moved = _TRANSLATE.search(child.get("transform", ""))
        left, top = (x + float(moved[1]), y + float(moved[2])) if moved else (x, y)
        if child.tag == f"{{{SVG}}}text":
            found += _lines(child, left, top)
            element.remove(child)
        else:
            _lift(child, left, top, found)


def _lines(element: ET.Element, x: float, y: float) -> list[Lettering]:
    turned = _ROTATE.search(element.get("transform", ""))
    given = element.get("text-anchor")
    anchor: Anchor = "middle" if given == "middle" else "end" if given == "end" else "start"
    size = float(element.get("font-size", str(TEXT)).removesuffix("px"))
    lines, depth = [], 0.0
    for part in [element, *element]:
        depth += float(part.get("dy", "0"))
        if part.text and part.text.strip():
            lines.append(
                Lettering(
                    part.text, x, y + depth, size, anchor, element.get("font-weight") == "bold", element.get("fill", "#000000"),
                    float(turned[1]) if turned else 0.0,
                )
            )  # fmt: skip
    return lines
