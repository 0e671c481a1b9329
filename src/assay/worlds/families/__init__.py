"""The families of worlds, one module each; docs/worlds.md shows how to add one."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from assay.errors import CatalogError
from assay.worlds.family import Family

FAMILIES = ("banking", "workplace", "people", "shop", "public_service", "clinic", "utility", "software")


@lru_cache(maxsize=64)
def load_family(name: str) -> Family:
    """The family of this name. Raises `CatalogError`."""
    if name not in FAMILIES:
        raise CatalogError(f"no family of worlds '{name}'", fix=f"Known: {', '.join(FAMILIES)}.")
    family: Family = import_module(f"assay.worlds.families.{name}").FAMILY
    return family
