"""Grants, administrators and stores for tests."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from assay.access.config import Admins
from assay.access.grants.grant import SignedGrant, sign_grant, thumbprint
from assay.access.model import Grant, Person, Quota
from assay.ledger import PrivateKey

NOW = 1_800_000_000_000
DAY = 86_400_000
ADMINS = {name: PrivateKey.generate() for name in ("ada", "bea", "cyd")}
HOLDER, CONTRACTOR, STRANGER = PrivateKey.generate(), PrivateKey.generate(), PrivateKey.generate()
TERMS = Admins(keys={name: base64.b64encode(key.public.raw).decode() for name, key in ADMINS.items()}, threshold=2)


def grant(**changes: Any) -> Grant:
    base = Grant(
        assay="grant/1", id="power", version=1, organisation="Grid Ltd", sector="power", jurisdiction="SG", purpose="harden relays",
        persons=(Person("Tan", thumbprint(HOLDER.public)),), model="m7", digest="sha256:" + "a" * 64, tier="operator", level="AL2",
        routes=("chat.completions", "models"), networks=("10.0.0.0/8", "2001:db8::/32"), quotas=(Quota("day", 100, 10_000, 10_000),),
        starts=NOW, expires=NOW + 30 * DAY, tools=("read_log",), systems=("relay-lab",),
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def sub_grant(**changes: Any) -> Grant:
    return grant(**{"id": "power-sub", "parent": "power", "persons": (Person("Lim", thumbprint(CONTRACTOR.public)),), **changes})


def approved(value: Grant | None = None, *names: str) -> SignedGrant:
    return sign_grant(value or grant(), *(ADMINS[name] for name in names or ("ada", "bea")))
