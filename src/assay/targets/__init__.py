"""Targets: the systems under test. `open_target` makes one from its spec; `parse_target` reads what `--target` takes.

Built in: `embedded`, `http`, `inspect`, `scripted`, `vllm`, answers that are `recorded`, and agents that are no bare models: `agent`
(behind HTTP) and `callable` (a Python function).
Others come by entry points of the group `assay.targets`, looked up by name only.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

import msgspec

from assay.errors import TargetError
from assay.plan import ADDRESS_FIX, Generation, Limits, TargetSpec, address_fault
from assay.targets.base import (
    Access,
    AgentTarget,
    AtHand,
    Attempt,
    FormTarget,
    ItemJudge,
    ItemTarget,
    Progress,
    Reply,
    Target,
    TargetMaker,
    ToolCall,
    ToolTarget,
)
from assay.targets.cache import CachedTarget

__all__ = [
    "Access",
    "AgentTarget",
    "AtHand",
    "Attempt",
    "CachedTarget",
    "FormTarget",
    "ItemJudge",
    "ItemTarget",
    "Progress",
    "Reply",
    "Target",
    "TargetMaker",
    "ToolCall",
    "ToolTarget",
    "make_target",
    "parse_target",
]

BUILTIN = ("agent", "callable", "embedded", "http", "inspect", "recorded", "scripted", "scripted-judge", "strings", "vllm")


def make_target(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> Target:
    """The target of a spec, not yet opened. Raises `TargetError` for an unknown kind, and for an address that holds a password."""
    _refuse_passwords(spec, "target")
    if spec.kind in BUILTIN:
        maker: TargetMaker = import_module(f"assay.targets.{spec.kind.replace('-', '_')}").make
        return maker(spec, generation, limits, progress)
    found = entry_points(group="assay.targets", name=spec.kind)
    for point in found:
        plugged: TargetMaker = point.load()
        return plugged(spec, generation, limits, progress)
    raise TargetError(f"unknown kind of target '{spec.kind}'", where="target.kind", fix=f"Built in: {', '.join(BUILTIN)}.")


def parse_target(text: str) -> TargetSpec:
    """`embedded:MODEL`, `http(s)://HOST/v1#MODEL` (key from the variable after `@`), `inspect:PROVIDER/MODEL`, `scripted:RATE`. Raises
    `TargetError`.
    """
    if text.startswith(("http://", "https://")):
        url, _, rest = text.partition("#")
        name, _, key_env = rest.partition("@")
        if not name:
            raise TargetError(
                "name the model after the address",
                where="--target",
                fix="For example: --target http://127.0.0.1:8080/v1#my-model@MY_API_KEY",
            )
        return _checked(TargetSpec(kind="http", model=name, url=url, api_key_env=key_env), text)
    kind, _, model = text.partition(":")
    if not model:
        raise TargetError(
            f"'{text}' is not a target",
            where="--target",
            fix="Give embedded:MODEL, http://HOST/v1#MODEL, inspect:PROVIDER/MODEL or scripted:RATE.",
        )
    return _checked(TargetSpec(kind=kind, model=model), text)


def _checked(spec: TargetSpec, text: str) -> TargetSpec:
    _refuse_passwords(spec, "--target")
    try:
        return msgspec.convert(msgspec.to_builtins(spec), TargetSpec)
    except msgspec.ValidationError as e:
        what = "this" if "://" in text else f"'{text}'"  # a password may be anywhere in an address
        raise TargetError(f"{what} is not a target: {e}", where="--target") from None


def _refuse_passwords(spec: TargetSpec, where: str) -> None:
    fault = address_fault(spec)
    if fault:
        raise TargetError(fault, where=where, fix=ADDRESS_FIX)
