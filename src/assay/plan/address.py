"""Addresses of targets, of which none may hold a password: they stand in the run file, the evidence and the report.

address_fault(TargetSpec(kind="http", model="m", url="https://mei:pw@models.example/v1"))    # why not, without quoting it; "" if it may
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from assay.plan.model import TargetSpec

ADDRESS_FIX = (
    "Put the key into an environment variable and name that: target.api_key_env, or --target http://HOST/v1#MODEL@MY_API_KEY. "
    "An @ that belongs to the path is written %40."
)
_WITH_USER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")


def address_fault(spec: TargetSpec) -> str:
    """Why the spec's addresses may not be used; empty where they may. Quotes nothing of them.

    An `@` is refused anywhere, since a password that holds a `/`, `?` or `#` moves it behind what a parser takes for the host.
    """
    for address in (spec.url, spec.model if "://" in spec.model or spec.model.startswith("//") else ""):
        if "@" in address:
            return "a target's address holds no user and no password: files of the run would keep them"
        try:
            urlsplit(address).port  # noqa: B018 (raises for what is no number)
        except ValueError:
            return "a target's address has a host or a port that none could have"
    if any(_WITH_USER.match(value) for value in spec.options.values()):
        return "an address among a target's options holds no user and no password: files of the run would keep them"
    return ""
