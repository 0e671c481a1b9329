"""Every key of the files that people write, from the types that read them: type, bounds, default.

page("Every key of a plan", PLAN)
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import inspect as types
from scripts.docsite.words import cell, code, plain


def pages() -> dict[str, str]:
    """The pages by name."""
    from assay.access.admission.objects import Rules
    from assay.access.config import Config
    from assay.access.model import Grant
    from assay.evidence.roles import Roles
    from assay.plan import Plan
    from assay.plan.policy import Policy

    return {
        "plan-keys.md": page("Every key of a plan", {"Plan file (plan/1)": Plan, "Policy (policy/1)": Policy, "Roles (roles/1)": Roles}),
        "gate-keys.md": page(
            "Every key of the gate", {"The gate's file (gate/1)": Config, "Grant (grant/1)": Grant, "Admission rules (admission/1)": Rules}
        ),
    }


def page(title: str, roots: dict[str, Any]) -> str:
    """A page with a section for each file and one below it for each part of it."""
    lines = [f"# {title}", "", "Written from the types that read these files. A key that is not here is refused, with file and line.", ""]
    told: set[type] = set()
    for heading, root in roots.items():
        lines += [f"## {heading}", ""]
        waiting = [root]
        while waiting:
            kind = waiting.pop(0)
            if kind in told:
                continue
            told.add(kind)
            info = types.type_info(kind)
            if not isinstance(info, types.StructType):
                raise TypeError(kind)
            lines += [f"### {kind.__name__}", "", *_about(kind), *_table(info, waiting)]
    return "\n".join(lines) + "\n"


def _about(kind: type) -> list[str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    return [plain(text), ""]


def _table(info: types.StructType, waiting: list[Any]) -> list[str]:
    lines = ["| key | value | default |", "|---|---|---|"]
    if info.tag_field:
        lines.append(f"| {code(info.tag_field)} | {code(str(info.tag))} | needed |")
    lines += [f"| {code(field.encode_name)} | {_words(field.type, waiting)} | {_default(field)} |" for field in info.fields]
    return [*lines, ""]


def _default(field: types.Field) -> str:
    if field.required:
        return "needed"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "its own defaults"
    if value in (None, (), [], {}, ""):
        return "none"
    return code(msgspec.json.encode(value).decode())


def _words(kind: types.Type, waiting: list[Any]) -> str:
    match kind:
        case types.StructType():
            waiting.append(kind.cls)
            return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case types.UnionType():
            return " or ".join(_words(k, waiting) for k in kind.types)
        case types.LiteralType():
            return ", ".join(code(str(v)) for v in kind.values)
        case types.DictType():
            return f"mapping from {_words(kind.key_type, waiting)} to {_words(kind.value_type, waiting)}"
        case types.VarTupleType() | types.ListType():
            return f"list of {_words(kind.item_type, waiting)}{_bounds(kind)}"
        case types.NoneType():
            return "nothing"
        case types.BoolType():
            return "true or false"
        case types.Metadata():
            return _words(kind.type, waiting)
        case types.IntType() | types.FloatType():
            return ("whole number" if isinstance(kind, types.IntType) else "number") + _bounds(kind)
        case types.StrType():
            return f"text{_bounds(kind)}"
        case _:
            return cell(type(kind).__name__.removesuffix("Type").lower())


def _bounds(kind: Any) -> str:
    said = [
        f"{words} {code(f'{value:,}' if isinstance(value, int | float) else str(value))}"
        for name, words in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"), ("pattern", "like"))
        if (value := getattr(kind, name, None)) is not None
    ]
    least, most = getattr(kind, "min_length", None), getattr(kind, "max_length", None)
    of = "characters" if isinstance(kind, types.StrType) else "entries"
    said += [f"{least:,} {of} at least"] if least else []
    said += [f"{most:,} {of} at most"] if most else []
    return ", " + ", ".join(said) if said else ""
