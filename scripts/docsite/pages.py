"""Gathers the pages: docs/ as it is, the root's own pages under their names on the site, and every file that a page links to.

    gather(Path("build/docs/pages"))

docs/ stays readable where it lies, so its links are to files of the repository; here they become links within the site.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = ROOT / "zensical.toml"
MOVED = {
    ROOT / "README.md": "index.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "SECURITY.md": "security.md",
    ROOT / "CHANGELOG.md": "changes.md",
    ROOT / "bench/RESULTS.md": "measurements.md",
}
"""Pages outside docs/, and their names on the site. The README's part is played by docs/index.md."""

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```.*?^```[ \t]*$)", re.MULTILINE | re.DOTALL)


class PageError(Exception):
    """A page cannot be gathered: the message says which and why."""


def sources() -> dict[str, Path]:
    """The written pages, by their names on the site."""
    return {p.name: p for p in sorted(DOCS.glob("*.md"))} | {name: p for p, name in MOVED.items() if name != "index.md"}


def navigation() -> list[Any]:
    """`nav` of the configuration."""
    found: list[Any] = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]
    return found


def named(nav: list[Any]) -> Iterator[str]:
    """The pages of a navigation, in order."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from named(value)


def gather(into: Path, generated: Mapping[str, str], marked: Mapping[str, str]) -> None:
    """Write all pages into a folder: the written ones, those that were `generated`, and the files that they link to.

    `marked` has what stands for a comment `<!-- name -->`. Raises `PageError` for a link that leads nowhere.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name, path in sources().items():
        text = path.read_text(encoding="utf-8")
        for mark, value in marked.items():
            text = text.replace(f"<!-- {mark} -->", value)
        (into / name).write_text(moved(text, path, into), encoding="utf-8")
    for name, text in generated.items():
        if (into / name).exists():
            raise PageError(f"{name} is generated, and docs/ has one too")
        (into / name).write_text(text, encoding="utf-8")
    shutil.copytree(Path(__file__).parent / "assets", into / "assets")


def moved(text: str, path: Path, into: Path) -> str:
    """A page's text with its links turned to where things lie on the site; files that are no pages are copied there."""

    def turn(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        file, hash_, anchor = target.partition("#")
        return f"{before}{_place((path.parent / file).resolve(), path, into)}{hash_}{anchor}{after}"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(turn, part) for part in parts)


def _place(target: Path, path: Path, into: Path) -> str:
    if target in MOVED:
        return MOVED[target]
    if target.parent == DOCS and target.suffix == ".md":
        return target.name
    if not target.is_relative_to(ROOT) or not target.exists():
        raise PageError(f"{path.relative_to(ROOT)} links to {target}, which is not there")
    relative = target.relative_to(DOCS) if target.is_relative_to(DOCS) else Path("files") / target.relative_to(ROOT)
    if target.is_dir():
        raise PageError(f"{path.relative_to(ROOT)} links to a folder, {relative}")
    place = into / relative
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(target, place)
    return os.fspath(relative)
