"""The house as a picture, drawn from the layers that import-linter holds and the rooms' own first lines: it cannot go stale.

house()      # an SVG element, to stand in a page
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTH, ROW, GAP, ROOF = 960, 50, 6, 74


def floors() -> list[list[str]]:
    """The rooms from the roof down, those beside each other on one floor."""
    return [[room.strip() for room in layer.split("|")] for layer in _contracts()["layers"]["layers"]]


def pure() -> set[str]:
    """The rooms that do no I/O over the network."""
    return {name.removeprefix("assay.") for name in _contracts()["forbidden"]["source_modules"]}


def said(room: str) -> str:
    """A room's own first line, without its full stop."""
    path = ROOT / "src/assay" / room
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return re.sub(r"(?<=[.:]) [A-Z].*|`", "", line).removesuffix(".")


def house() -> str:
    """The picture, as an SVG element with a title and a description for those who do not see it."""
    levels, top, drawn = floors(), ROOF, ""
    for level in levels:
        high = ROW + 15 * (len(level) > 1) * 2
        drawn += _floor(level, top, high)
        top += high + GAP
    roof = f'<path d="M{WIDTH / 2} 6 L{WIDTH - 4} {ROOF - 8} L4 {ROOF - 8} Z"/>'
    words = f'<text x="{WIDTH / 2}" y="{ROOF - 22}" text-anchor="middle" font-size="19" font-weight="600">src/assay</text>'
    told = "; ".join(" beside ".join(level) for level in levels)
    return (
        f'<div class="house" tabindex="0" role="region" aria-label="The house">\n<svg viewBox="0 0 {WIDTH} {top + 4}" role="img" '
        f'aria-labelledby="house-title house-told" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="house-title">The rooms of Assay</title><desc id="house-told">From the roof down: {escape(told)}.</desc>'
        f"{roof}{words}{drawn}</svg>\n</div>\n\nDashed rooms are pure: no network, no event loop, no randomness of their own."
    )


def _floor(rooms: list[str], top: int, high: int) -> str:
    wide = (WIDTH - 8 - GAP * (len(rooms) - 1)) / len(rooms)
    return "".join(_room(room, 4 + n * (wide + GAP), top, wide, high) for n, room in enumerate(rooms))


def _room(room: str, left: float, top: int, wide: float, high: int) -> str:
    lines = textwrap.wrap(said(room), width=int(wide / 7.2), max_lines=1 if wide > WIDTH / 2 else 3, placeholder=" …")
    what = "".join(
        f'<text class="what" x="{left + 10:.0f}" y="{top + 39 + 16 * n}" font-size="13">{escape(line)}</text>'
        for n, line in enumerate(lines)
    )
    kind = ' class="pure"' if room in pure() else ""
    return (
        f'<g{kind}><rect x="{left:.0f}" y="{top}" width="{wide:.0f}" height="{high}" rx="4"/>'
        f'<text x="{left + 10:.0f}" y="{top + 21}" font-size="16" font-weight="600">{escape(room)}</text>{what}</g>'
    )


def _contracts() -> dict[str, dict[str, list[str]]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return {c["type"]: c for c in reversed(contracts)}
