"""The key of an endpoint: from the environment, else from the system's keyring, under the name that the plan gives.

key = api_key("MY_API_KEY", "https://models.example.org/v1")     # "" for the empty name
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from assay.errors import TargetError
from assay.ledger import keychain

PREFIX = "ASSAY_"
ALLOWED = ("ASSAY_API_KEY",)
"""The names beginning with `ASSAY_` that a plan may give: every other one is Assay's own (signing keys, stores, doors), those that come
later included, and is never sent to an endpoint.
"""


def is_own(name: str) -> bool:
    """Whether a variable is Assay's own, and so nobody's key at an endpoint."""
    return name.startswith(PREFIX) and name not in ALLOWED


def api_key(name: str, url: str) -> str:
    """The key. Raises `TargetError` where there is none, or what is there cannot be one."""
    if not name:
        return ""
    if is_own(name):
        raise TargetError(
            f"{name} is Assay's own and is sent to nobody",
            where="target.api_key_env",
            fix=f"Name another variable; of Assay's, {ALLOWED[0]}.",
        )
    key = os.environ.get(name, "") or keychain.look_up(name, (urlsplit(url).hostname or "").casefold())
    if not key:
        raise TargetError(
            f"the environment variable {name} is not set, and the system's keyring has no such key",
            where="target.api_key_env",
            fix=f"export {name}=..., or keep it: assay key store {name}",
        )
    if any(c.isspace() or not c.isprintable() or ord(c) > 126 for c in key):
        raise TargetError(f"the key in {name} holds characters that no key has", where="target.api_key_env")
    return key
