"""What a target is asked for its fingerprint: fixed, harmless, short, in several languages.

for probe in read_probes(): print(probe.id, probe.prompt)
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from assay.catalog.yamlfile import load_yaml
from assay.errors import CatalogError

PATH = Path(__file__).parent / "probes.yaml"
MAX_PROBES = 200


class Probe(Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt, sent as a user's message without a system prompt."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    language: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9-]{2,35}$")]
    prompt: Annotated[str, Meta(min_length=1, max_length=500)]


@lru_cache(maxsize=1)
def read_probes() -> tuple[Probe, ...]:
    """The probes of this version, in their order. Raises `CatalogError`."""
    try:
        text = PATH.read_text(encoding="utf-8")
    except OSError as e:
        raise CatalogError(f"cannot read this content file: {e.strerror}", where=PATH.name) from None
    probes = load_yaml(text, tuple[Probe, ...], where=PATH.name, error=CatalogError)
    if len({p.id for p in probes}) < len(probes) or not 0 < len(probes) <= MAX_PROBES:
        raise CatalogError(f"ids must differ, and there must be between 1 and {MAX_PROBES} probes", where=PATH.name)
    return probes
