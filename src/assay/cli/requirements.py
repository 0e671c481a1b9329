"""Whether what is installed fits the windows that this package declares: as little of the standard as its own declarations use.

found = declared("assay")                  # every requirement, with its extra
fits("2.3.1", ">=2.3,<3")                  # True
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from msgspec import Struct

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9, ._-]*\])?\s*(?:\(([^)]*)\)|([^;]*))\s*(?:;(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]")
_CONDITION = re.compile(r"^(sys_platform|platform_machine)\s*(==|!=)\s*['\"]([^'\"]+)['\"]$")
_CLAUSE = re.compile(r"^(>=|<=|==|!=|<|>)\s*([0-9]+(?:\.[0-9]+)*)$")


class Requirement(Struct, frozen=True):
    """A package and its window. `extra` is empty for what is always needed; `here` says whether this machine is one that needs it."""

    name: str
    window: str
    extra: str
    here: bool


def declared(package: str) -> list[Requirement]:
    """What a package that is installed requires; nothing where it is not known. ValueError for a declaration that is not understood."""
    try:
        return [_read(line) for line in requires(package) or []]
    except PackageNotFoundError:
        return []


def installed(name: str) -> str:
    """The version of a package; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def fits(found: str, window: str) -> bool:
    """Whether a version is in a window such as `>=2.3,<3`. A pre-release counts as the release before it. ValueError if not understood."""
    have = _numbers(re.split(r"(?i)[._-]?(?:post|\+)", found)[0])
    early = re.search(r"(?i)\d(a|b|rc|[._-]?dev)\d*", found) is not None
    return all(_holds(have, early, clause.strip()) for clause in window.split(",") if clause.strip())


def _holds(have: tuple[int, ...], early: bool, clause: str) -> bool:
    found = _CLAUSE.match(clause)
    if found is None:
        raise ValueError(f"a window that is not understood: {clause}")
    against = _numbers(found[2])
    width = max(len(have), len(against))
    left, right = _wide(have, width), _wide(against, width)
    order = (left > right) - (left < right)
    if early and order == 0:
        order = -1
    return {">=": order >= 0, "<=": order <= 0, "<": order < 0, ">": order > 0, "==": order == 0, "!=": order != 0}[found[1]]


def _read(line: str) -> Requirement:
    found = _NAME.match(line.strip())
    if found is None:
        raise ValueError(f"a requirement that is not understood: {line}")
    name, marker = found[1], found[4] or ""
    extra = _EXTRA.search(marker)
    return Requirement(name, (found[2] or found[3] or "").strip(), extra[1] if extra else "", all(_conditions(marker)))


def _conditions(marker: str) -> Iterator[bool]:
    """What a marker says of this machine, its extra aside."""
    facts = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
    for part in marker.replace("(", " ").replace(")", " ").split(" and "):
        text = part.strip()
        if not text or _EXTRA.fullmatch(text):
            continue
        found = _CONDITION.match(text)
        if found is None:
            raise ValueError(f"a marker that is not understood: {text}")
        yield (facts[found[1]] == found[3]) is (found[2] == "==")


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    if found is None:
        raise ValueError(f"a version that is not understood: {text}")
    return tuple(int(part) for part in found[0].split("."))


def _wide(numbers: tuple[int, ...], width: int) -> tuple[int, ...]:
    return numbers + (0,) * (width - len(numbers))
