"""Who answers for a checkpoint: a server that is named, the endpoint that lists it, or the embedded runtime.

    require_target("http://127.0.0.1:8000/v1#{name}", plan)      # before anything is noted
    spec = target_of(found, source, target="", api_key_env="")

Weights that are not what was found any more are not asked: what is recorded must be what was evaluated.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from assay.errors import AssayError, ModelError
from assay.plan import Plan, TargetSpec
from assay.targets import BUILTIN, make_target, parse_target
from assay.targets.apikey import api_key
from assay.targets.models import link_weights
from assay.watch.sources import Endpoint, Found, Source

CHANGED = "it changed since it was found"
NAME = "{name}"
ANY_NAME = "0"
"""A checkpoint's name with which an address or a rate can be tried that is to hold for all of them."""


def require_target(target: str, plan: Plan) -> None:
    """What is given for all checkpoints can be used at all: who serves them, and the keys of judges and attacker. Raises `AssayError`."""
    beside = [judge.target for judge in plan.judges.panel] if plan.judges else []
    for spec in (*beside, *([plan.attacker.target] if plan.attacker else [])):
        api_key(spec.api_key_env, spec.url)
    if not target:
        return
    if NAME not in target:
        fix = "Put {name} where a checkpoint's name belongs: --target 'http://127.0.0.1:8000/v1#{name}'"
        raise AssayError("this names one and the same target for every checkpoint", where="--target", fix=fix)
    spec = parse_target(target.replace(NAME, ANY_NAME))
    known = spec.kind in BUILTIN or any(entry_points(group="assay.targets", name=spec.kind))
    if not known or spec.kind in ("http", "scripted"):  # others may not be made of a name that is nobody's
        make_target(spec, plan.generation, plan.limits, lambda _: None)


def require_still(found: Found, source: Source) -> None:
    """What was found has its key still: its files are read anew. Raises `AssayError`; the next look finds it anew."""
    if not source.still(found):
        raise AssayError(CHANGED)


def target_of(found: Found, source: Source, *, target: str, api_key_env: str) -> TargetSpec:
    """The target's spec; `target` may hold `{name}`. Raises `AssayError`."""
    if target:
        if set(found.name) & set("#@{}") and NAME in target:
            raise AssayError(f"the name '{found.name}' cannot stand in a target's address")
        require_still(found, source)
        return parse_target(target.replace(NAME, found.name))
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
