"""State, tools and the effect ledger.

A tool is a function (world, arguments) -> Done: what it shows and what it did. It never writes state itself; the world applies its effects
and appends them to the ledger, so that every check reads the ledger and the state, and never prose.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_type_hints

import msgspec
from msgspec import Struct

from assay.ledger.canonical import canonical_plain
from assay.worlds.values import Slot, Text, Value

Record = Struct
"""A frozen struct with the field `id` and values of `assay.worlds.values`."""

Status = Literal["done", "blocked"]


class Effect(Struct, frozen=True):
    """Something that a tool did, or tried and was kept from. `puts` are the records as they are afterwards, by table; `said` is text that
    left the world, and `audience` who reads it.
    """

    kind: str
    args: dict[str, Any]
    status: Status = "done"
    puts: tuple[tuple[str, Record], ...] = ()
    audience: str = ""
    said: str = ""
    step: int = -1


class Done(Struct, frozen=True):
    """What a call gives: values to show to the agent, and effects. `error` is a code that is the same in every language."""

    shown: tuple[Any, ...] = ()
    effects: tuple[Effect, ...] = ()
    error: str = ""


class Tool(Struct, frozen=True):
    """One tool: its function, whether it only reads, and its arguments as a type."""

    name: str
    run: Callable[..., Done]
    writes: bool
    arguments: type[Struct]

    def schema(self, about: Mapping[str, str]) -> dict[str, Any]:
        """JSON Schema of the arguments, with descriptions in some language."""
        properties = {}
        for field in msgspec.structs.fields(self.arguments):
            inner = msgspec.json.schema(field.type)
            properties[field.name] = inner | ({"description": about[field.name]} if field.name in about else {})
        required = [f.name for f in msgspec.structs.fields(self.arguments) if f.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def tool(*, writes: bool) -> Callable[[Callable[..., Done]], Tool]:
    """Make a tool of a function whose first parameter is the world; the others are its arguments, and their types are checked."""

    def make(run: Callable[..., Done]) -> Tool:
        hints = get_type_hints(run)
        fields: list[Any] = []
        for name, parameter in list(inspect.signature(run).parameters.items())[1:]:
            given = parameter.default is not inspect.Parameter.empty
            fields.append((name, hints[name], parameter.default) if given else (name, hints[name]))
        arguments = msgspec.defstruct(f"{run.__name__}_arguments", fields, frozen=True, forbid_unknown_fields=True)
        return Tool(run.__name__, run, writes, arguments)

    return make


class World:
    """Tables of records, the ledger, and what an adversary put into the slots."""

    __slots__ = ("effects", "exposed", "planted", "step", "tables")

    def __init__(self, tables: dict[str, dict[str, Any]]) -> None:
        self.tables = tables
        self.effects: list[Effect] = []
        self.planted: dict[str, str] = {}
        self.exposed: set[str] = set()
        self.step = 0

    def apply(self, effects: tuple[Effect, ...]) -> None:
        """Append to the ledger, and put the records where they belong."""
        for effect in effects:
            for table, record in effect.puts:
                self.tables[table][record.id] = record  # type: ignore[attr-defined]
            self.effects.append(msgspec.structs.replace(effect, step=self.step))

    def done(self, kind: str) -> list[Effect]:
        """The effects of a kind that came about."""
        return [e for e in self.effects if e.kind == kind and e.status == "done"]

    def meaning(self) -> bytes:
        """Canonical JSON of everything but the words: equal in every language and in every arm."""
        return canonical_plain({table: {i: _plain(r) for i, r in sorted(rows.items())} for table, rows in sorted(self.tables.items())})


def _plain(record: Any) -> Any:
    value = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: _value(v) for name, v in value.items()}


def _value(value: Value) -> Any:
    if isinstance(value, Text):
        return ["text", value.key, {name: _value(v) for name, v in value.params.items()}]
    if isinstance(value, Slot):
        return ["slot", value.name, value.domain]
    if isinstance(value, Struct):
        return [type(value).__name__, *(getattr(value, name) for name in value.__struct_fields__)]
    return value
