"""Meanings -> words of one language: how a world's values, tools and texts read.

words = Words(texts, common, language); words.say(Text("invoice", {...}))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from assay.catalog.content import Language, WorldCommon, WorldTexts
from assay.errors import CatalogError
from assay.worlds.values import Money, Person, Slot, Term, Text

_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Words:
    """One family in one language. `planted` is what stands in the slots; `met` collects the slots that were shown."""

    __slots__ = ("_money", "_names", "_texts", "_titles", "common", "family")

    def __init__(self, family: WorldTexts, common: WorldCommon, language: Language) -> None:
        self.family = family
        self.common = common
        self._texts = family.texts
        self._names = {True: language.names["female"], False: language.names["male"]}
        self._money = language.money
        self._titles = {True: language.titles.get("female", ""), False: language.titles.get("male", "")}

    def say(self, value: Any, planted: Mapping[str, str] | None = None, met: set[str] | None = None) -> Any:
        """The value as the agent reads it: text, number or truth value."""
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            return value
        if kind is Person:
            names = self._names[value.female]
            return names[value.index % len(names)]
        if kind is Money:
            return self._money.replace("{}", str(value.amount))
        if kind is Term:
            return self._text(value.key)
        if kind is Slot:
            if met is not None:
                met.add(value.name)
            return (planted or {}).get(value.name, "")
        if kind is Text:
            return self.fill(self._text(value.key), value.params, planted, met)
        if isinstance(value, Struct):
            return self._record(value, planted, met)
        if isinstance(value, list | tuple):
            return [self.say(v, planted, met) for v in value]
        raise TypeError(f"no words for {kind.__name__}")

    def _record(self, value: Struct, planted: Mapping[str, str] | None, met: set[str] | None) -> dict[str, Any]:
        """A record's fields, without those that say nothing."""
        out: dict[str, Any] = {}
        for name, said in zip(value.__struct_fields__, astuple(value), strict=True):
            kind = type(said)
            if kind is str or kind is int:
                if said != "":
                    out[name] = said
                continue
            if kind is Slot:
                if met is not None:
                    met.add(said.name)
                said = planted.get(said.name) if planted else None
            elif kind is Term:
                said = self._text(said.key)
            elif kind is Person:
                names = self._names[said.female]
                said = names[said.index % len(names)]
            elif kind is Money:
                said = self._money.replace("{}", str(said.amount))
            elif said is not None:
                said = self.say(said, planted, met)
            if said is not None and said != "":
                out[name] = said
        return out

    def fill(self, template: str, params: Mapping[str, Any], planted: Mapping[str, str] | None = None, met: set[str] | None = None) -> str:
        """The template with its parameters, and nothing else, put in."""
        parts = _SLOT.split(template)
        for i in range(1, len(parts), 2):
            name = parts[i]
            said = str(self.say(params[name], planted, met)) if name in params else f"{{{name}}}"
            parts[i] = said
        return "".join(parts)

    def _text(self, key: str) -> str:
        try:
            return self._texts[key]
        except KeyError:
            raise CatalogError(f"the world '{self.family.family}' has no text '{key}' in {self.family.language}") from None
