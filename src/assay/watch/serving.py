"""Who answers for a checkpoint: a server that is named, the endpoint that lists it, or the embedded runtime.

    spec = target_of(found, source, target="", api_key_env="")

Weights that are not what was found any more are not asked: what is recorded must be what was evaluated.
"""

from __future__ import annotations

from assay.errors import AssayError, ModelError
from assay.plan import TargetSpec
from assay.targets import parse_target
from assay.targets.models import link_weights
from assay.watch.sources import Endpoint, Found, Source

CHANGED = "it changed since it was found"


def require_still(found: Found, source: Source) -> None:
    """What was found has its key still: its files are read anew. Raises `AssayError`; the next look finds it anew."""
    if not source.still(found):
        raise AssayError(CHANGED)


def target_of(found: Found, source: Source, *, target: str, api_key_env: str) -> TargetSpec:
    """The target's spec; `target` may hold `{name}`. Raises `AssayError`."""
    if target:
        if set(found.name) & set("#@{}") and "{name}" in target:
            raise AssayError(f"the name '{found.name}' cannot stand in a target's address")
        require_still(found, source)
        return parse_target(target.replace("{name}", found.name))
    if isinstance(source, Endpoint):
        return TargetSpec(kind="http", model=found.name, url=source.url, api_key_env=api_key_env)
    path = found.path
    if path is None:
        raise AssayError("it has no weights here, and no --target says who serves it")
    if path.is_dir():
        weights = sorted(p for p in path.iterdir() if p.suffix.lower() == ".gguf")
        if len(weights) != 1:
            what = f"it holds {len(weights)} GGUF files, and the embedded runtime serves a folder with one"
            raise ModelError(what, fix="Serve it, and give --target http://HOST/v1#{name}.")
        path = weights[0]
    linked = link_weights(path, found.name)  # from here on the runtime refuses other bytes than these
    if path == found.path and linked.digest != found.key:
        source.still(found)
        raise AssayError(CHANGED)
    if path != found.path:
        require_still(found, source)
    return TargetSpec(kind="embedded", model=linked.name, digest=linked.digest)
