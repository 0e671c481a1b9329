"""Other evaluation tools, each in its own environment, made to send the same prompts to the same endpoint.

Every module of `PEERS` has `NAME`, `install`, `version`, `command` and `count`.
"""

from __future__ import annotations

from types import ModuleType

from bench.peers import garak, inspect_ai, lm_eval, promptfoo, pyrit

PEERS: tuple[ModuleType, ...] = (inspect_ai, lm_eval, promptfoo, garak, pyrit)
