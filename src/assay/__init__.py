"""Assay tests language models across languages, hazards and attacks; decides approve, delay or halt; signs the evidence.

import assay
result = assay.evaluate("quick", out="runs/first")
assay.verify(result.bundle).ok

What is in `__all__` is kept: docs/python.md says how it may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from assay.errors import AssayError
from assay.version import __version__

if TYPE_CHECKING:
    from assay.api import Result, decide, decide_async, evaluate, evaluate_async, verify, verify_async
    from assay.decision import Decision
    from assay.engine import OnRay
    from assay.evidence import Report
    from assay.plan import TargetSpec, read_plan
    from assay.targets import Access

_HOMES = {
    "Access": "targets",
    "Decision": "decision",
    "OnRay": "engine",
    "Report": "evidence",
    "Result": "api",
    "TargetSpec": "plan",
    "decide": "api",
    "decide_async": "api",
    "evaluate": "api",
    "evaluate_async": "api",
    "read_plan": "plan",
    "verify": "api",
    "verify_async": "api",
}
__all__ = [
    "Access",
    "AssayError",
    "Decision",
    "OnRay",
    "Report",
    "Result",
    "TargetSpec",
    "__version__",
    "decide",
    "decide_async",
    "evaluate",
    "evaluate_async",
    "read_plan",
    "verify",
    "verify_async",
]


def __getattr__(name: str) -> Any:
    """Load a name's home on first use, so that `assay --version` stays quick."""
    if name in _HOMES:
        return getattr(import_module(f"assay.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'assay' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
