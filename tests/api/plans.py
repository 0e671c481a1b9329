"""A plan of a dozen calls that approves `scripted:0`, halts `scripted:1` and delays `scripted:0.5`."""

from __future__ import annotations

from typing import Any

from tests.support import plan_text


def small_plan(**changes: Any) -> str:
    """YAML, with top-level keys replaced. Few answers, since the report embeds each of them."""
    plan: dict[str, Any] = {
        "matrix": {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False},
        "requirements": [{"id": "leaks", "kind": "violation-rate", "max_rate": 0.5}],
        "budget": {"calls": 12},
        "exploration": {"plain": 1},
        "limits": {"concurrency": 2, "lookahead": 2},
    }
    return plan_text(**{**plan, **changes})
