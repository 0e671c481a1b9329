"""The words of a chart, lifted out of its drawing, so that the typesetter sets them as it sets everything else.

drawing, labels = lifted(chart.svg)          # the SVG without its texts; each with place, size, anchor and colour

A typesetter that draws SVG shapes Tamil, Khmer, Burmese and Devanagari into glyphs that have no characters any more, which PDF/UA forbids.
Only what `assay.report.charts` makes is read: nested translations and rotations, one line a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from msgspec import Struct

from assay.report.pieces import PaperError

SVG = "{http://www.w3.org/2000/svg}"
CALL = re.compile(r"(translate|rotate)\(([^)]*)\)")
NUMBER = re.compile(r"-?[\d.]+(?:e-?\d+)?")
INHERITED = ("font-size", "font-weight", "font-style", "text-anchor", "fill", "fill-opacity", "opacity")
Matrix = tuple[float, float, float, float, float, float]


class Label(Struct, frozen=True):
    """One text: where its baseline begins, is centred or ends (`anchor`), in units of the drawing; its angle in degrees, clockwise."""

    text: str
    x: float
    y: float
    size: float
    anchor: str
    fill: str
    bold: bool
    angle: float


class Drawing(Struct, frozen=True):
    """A drawing without words, its size in units, and the words."""

    svg: str
    width: float
    height: float
    labels: tuple[Label, ...]


def lifted(svg: str) -> Drawing:
    """The parts of an SVG. Raises `PaperError` for one that is none."""
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314 (our own charts; what others named stands in them escaped)
        width, height = (float(v) for v in root.get("viewBox", "").split()[2:4])
    except (ElementTree.ParseError, ValueError) as e:
        raise PaperError(f"a chart is no drawing: {e}") from None
    labels = tuple(_labels(root, (1, 0, 0, 1, 0, 0), {}))
    ElementTree.register_namespace("", SVG[1:-1])
    return Drawing(ElementTree.tostring(root, encoding="unicode"), width, height, labels)


def _labels(element: ElementTree.Element, above: Matrix, given: dict[str, str]) -> Iterator[Label]:
    """The texts below an element, which lose them."""
    place = _times(above, _matrix(element.get("transform", "")))
    style = given | {name: value for name in INHERITED if (value := element.get(name)) is not None}
    for child in list(element):
        if child.tag == f"{SVG}text":
            yield from _text(child, place, style)
            element.remove(child)
        else:
            yield from _labels(child, place, style)


def _text(element: ElementTree.Element, above: Matrix, given: dict[str, str]) -> Iterator[Label]:
    place = _times(above, _matrix(element.get("transform", "")))
    style = given | {name: value for name in INHERITED if (value := element.get(name)) is not None}
    if style.get("opacity") == "0" or style.get("fill-opacity") == "0":
        return
    x, y = _number(element.get("x")), _number(element.get("y"))
    lines = [(element.text or "", 0.0, 0.0)]
    down = 0.0
    for span in element:
        down += _length(span.get("dy"), style)
        lines.append((span.text or "", _number(span.get("x")) - x if span.get("x") else 0.0, down))
    a, b, c, d, e, f = place
    for text, right, below in lines:
        if text.strip():
            at = (x + right, y + below)
            yield Label(
                text=text, x=a * at[0] + c * at[1] + e, y=b * at[0] + d * at[1] + f, size=_length(style.get("font-size"), {}) or 11.0,
                anchor=style.get("text-anchor", "start"), fill=style.get("fill", "#000000"),
                bold=style.get("font-weight", "") in ("bold", "600", "700"), angle=math.degrees(math.atan2(b, a)),
            )  # fmt: skip


def _length(value: str | None, style: dict[str, str]) -> float:
    """Pixels, or em of the text's size."""
    if not value:
        return 0.0
    number = _number(value)
    return number * (_length(style.get("font-size"), {}) or 11.0) if value.endswith("em") else number


def _number(value: str | None) -> float:
    found = NUMBER.match(value or "")
    return float(found[0]) if found else 0.0


def _matrix(transform: str) -> Matrix:
    out: Matrix = (1, 0, 0, 1, 0, 0)
    for name, inside in CALL.findall(transform):
        numbers = [float(n) for n in NUMBER.findall(inside)]
        if name == "translate":
            out = _times(out, (1, 0, 0, 1, numbers[0], numbers[1] if len(numbers) > 1 else 0))
        else:
            turn = math.radians(numbers[0])
            x, y = (*numbers[1:3], 0.0, 0.0)[:2] if len(numbers) > 2 else (0.0, 0.0)
            around = (math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn), 0.0, 0.0)
            out = _times(_times(_times(out, (1, 0, 0, 1, x, y)), around), (1, 0, 0, 1, -x, -y))
    return out


def _times(m: Matrix, n: Matrix) -> Matrix:
    return (
        m[0] * n[0] + m[2] * n[1], m[1] * n[0] + m[3] * n[1], m[0] * n[2] + m[2] * n[3], m[1] * n[2] + m[3] * n[3],
        m[0] * n[4] + m[2] * n[5] + m[4], m[1] * n[4] + m[3] * n[5] + m[5],
    )  # fmt: skip
