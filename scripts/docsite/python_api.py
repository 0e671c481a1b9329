"""The reference of the Python API, from the objects themselves: signatures and docstrings.

page()
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from scripts.docsite.words import code, plain

PLUGINS = {
    "Targets": (
        "assay.targets",
        ("Target", "ItemTarget", "ToolTarget", "FormTarget", "AgentTarget", "Access", "Reply", "Attempt", "ToolCall"),
    ),
    "Targets by name": ("assay.targets", ("TargetMaker", "make_target", "parse_target")),
    "Worlds": ("assay.worlds", ("Family", "Task", "Goal", "World", "Tool", "tool")),
}
"""What those who write targets and worlds meet, by heading: the room and its names."""


def page() -> str:
    """The page."""
    import assay
    import assay.errors

    lines = ["# Python", "", "Written from the code. Whatever goes wrong is raised as a member of one tree of errors, below.", ""]
    lines += ["## assay", ""]
    for name in assay.__all__:
        lines += _told(f"assay.{name}", getattr(assay, name))
    for heading, (room, names) in PLUGINS.items():
        lines += [f"## {heading}", "", f"From `{room}`.", ""]
        for name in names:
            lines += _told(name, getattr(importlib.import_module(room), name))
    lines += ["## Errors", "", "| error | below | exit code | |", "|---|---|---|---|"]
    lines += [_row(error) for error in _tree(assay.errors.AssayError) if error.__module__ == "assay.errors"]
    return "\n".join(lines) + "\n"


def _tree(root: type) -> list[type]:
    below: list[type] = sorted(root.__subclasses__(), key=lambda c: c.__name__)
    return [root, *(e for each in below for e in _tree(each))]


def _row(error: type) -> str:
    about = plain(" ".join(inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].split()))
    above = error.__bases__[0].__name__
    return f"| {code(error.__name__)} | {code(above) if above != 'Exception' else ''} | {getattr(error, 'exit_code', '')} | {about} |"


def _told(name: str, thing: Any) -> list[str]:
    if isinstance(thing, str):
        return [f"### {plain(name)}", "", f"{code(thing)}: the version.", ""]
    lines = [f"### {plain(name)}", "", "```python", _signature(name.rpartition(".")[2], thing), "```", "", *_doc(thing)]
    if inspect.isclass(thing):
        for inner, value in vars(thing).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inner.startswith("_") or not inspect.isfunction(function):
                continue
            lines += [f"#### {plain(name)}.{plain(inner)}", "", "```python", _signature(inner, function), "```", "", *_doc(function)]
    return lines


def _doc(thing: Any) -> list[str]:
    text = inspect.cleandoc(inspect.getdoc(thing) or "")
    if not text or text.startswith(("Initialize self", "dict(", "An enumeration")):
        return []
    return [plain(re.sub(r"(?<!\n)\n(?!\n)", " ", text)), ""]


def _signature(name: str, thing: Any) -> str:
    kind = "class" if inspect.isclass(thing) else "async def" if inspect.iscoroutinefunction(thing) else "def" if callable(thing) else ""
    if not kind or getattr(thing, "_is_protocol", False):
        return f"{kind} {name}".strip() if kind else f"{name} = {_annotation(thing)}"
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return f"{kind} {name}"
    parts, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star_of = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        said = next((s for kind_of, s in star_of.items() if parameter.kind is kind_of), "") + parameter.name
        said += f": {_annotation(parameter.annotation)}" if parameter.annotation is not parameter.empty else ""
        if parameter.default is not parameter.empty:
            shown = repr(parameter.default)
            said += " = " + (shown if len(shown) < 30 and " at 0x" not in shown and "<" not in shown else "...")
        parts.append(said)
    returned = (
        ""
        if inspect.isclass(thing) or signature.return_annotation is signature.empty
        else f" -> {_annotation(signature.return_annotation)}"
    )
    flat = f"{kind} {name}({', '.join(parts)}){returned}"
    return (
        flat
        if len(flat) <= 100
        else f"{kind} {name}(\n" + "".join(f"    {p},\n" for p in parts if p).replace("    *,\n", "    *,\n") + f"){returned}"
    )


def _annotation(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__name__", repr(value)) if inspect.isclass(value) else repr(value)
    return re.sub(r"\b(?:typing|collections\.abc|pathlib|assay(?:\.\w+)+)\.(?=\w)", "", text)
