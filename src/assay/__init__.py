"""Assay tests language models across languages, hazards and attacks; decides approve, delay or halt; signs the evidence.

import assay
result = assay.evaluate("quick", out="runs/first")
assay.verify(result.bundle).ok
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.errors import AssayError
from assay.version import __version__

if TYPE_CHECKING:
    from assay.api import Result, decide, evaluate, verify

__all__ = ["AssayError", "Result", "__version__", "decide", "evaluate", "verify"]


def __getattr__(name: str) -> Any:
    """Load the API on first use, so that `assay --version` stays quick."""
    if name in ("Result", "decide", "evaluate", "verify"):
        from assay import api

        return getattr(api, name)
    raise AttributeError(f"module 'assay' has no attribute '{name}'")
