"""The families of worlds that come with Assay, one module each; others come by entry points of the group `assay.worlds`."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

from assay.errors import CatalogError
from assay.worlds.family import Family

BUILT_IN = ("banking", "shop", "people", "public_service", "clinic")


def family_names() -> list[str]:
    """Every family that is installed."""
    return [*BUILT_IN, *sorted(e.name for e in entry_points(group="assay.worlds") if e.name not in BUILT_IN)]


@lru_cache(maxsize=64)
def load_family(name: str) -> Family:
    """The family of this name. Raises `CatalogError`."""
    if name in BUILT_IN:
        family = import_module(f"assay.worlds.families.{name}").FAMILY
    else:
        found = entry_points(group="assay.worlds", name=name)
        if not found:
            raise CatalogError(f"no family of worlds '{name}'", fix=f"Known: {', '.join(family_names())}.")
        family = next(iter(found)).load()
    if not isinstance(family, Family):
        raise CatalogError(f"the entry point '{name}' of assay.worlds gives no family")
    return family
