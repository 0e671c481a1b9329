"""A gate with two administrators (and a third) and one grant, for tests of findings; and reports signed by the grant's person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from assay.access.config import Config, read_config
from assay.access.findings.finding import Finding, Report, new_record
from assay.access.findings.steps import Change, approve, open_record, propose
from assay.access.grants.grant import sign_grant, thumbprint
from assay.access.model import Grant, Person, Quota
from assay.access.store.base import Store, open_store
from assay.ledger import PrivateKey, write_key

DAY = 86_400_000
NOW = 1_800_000_000_000
ADMINS = {name: PrivateKey.generate() for name in ("ada", "abel", "amy")}
REPORTER, STRANGER = PrivateKey.generate(), PrivateKey.generate()
PUBLIC = {n: k.public for n, k in ADMINS.items()}
DIGEST = "sha256:" + "ab" * 32
VECTOR = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"


def report(**changes: Any) -> Report:
    value: dict[str, Any] = {
        "assay": "finding/1", "id": "f-0123456789ab", "title": "The assistant passes on what it was told to keep", "grant": "power",
        "organisation": "Example Power", "person": "Rania", "key": thumbprint(REPORTER.public), "at": NOW, "model": "m7", "digest": DIGEST,
        "description": "In long sessions the assistant repeats what an operator's note held.\nIt was seen in two places.",
        "embargo_until": NOW + 30 * DAY, "tlp": "AMBER", "severity": VECTOR,
        "systems": [{"vendor": "Example Grid", "name": "Outage Desk", "versions": ["4.1", "4.2"]}],
        "references": [{"url": "https://example.org/advisories/1", "about": "the maker's page"}],
        "evidence": [{"kind": "audit", "digest": "sha256:" + "01" * 32}], "credit": "Rania of Example Power", **changes,
    }  # fmt: skip
    import msgspec

    return msgspec.convert(value, Report)


def opened(record: Any, **changes: Any) -> Finding:
    return open_record(record, PUBLIC, 2, **changes)


def moved(record: dict[str, Any], to: str, by: str = "ada", at: int = NOW + DAY, **changes: Any) -> dict[str, Any]:
    """With one more step by an administrator; where it takes two, abel approves."""
    made = propose(record, opened(record), Change(to, "seen again here", **changes), ADMINS[by], PUBLIC, 2, at)
    if "pending" in made:
        made = approve(made, opened(made), ADMINS["abel"], PUBLIC, 2, at)
    return made


def fresh(**changes: Any) -> dict[str, Any]:
    return new_record(report(**changes), REPORTER)


def confirmed(**changes: Any) -> dict[str, Any]:
    return moved(moved(fresh(**changes), "triaged"), "confirmed")


def disclosed(tlp: str = "CLEAR", **changes: Any) -> dict[str, Any]:
    return moved(confirmed(**changes), "disclosed", at=NOW + 31 * DAY, tlp=tlp)


def gate(folder: Path) -> tuple[Path, Config, Store]:
    """The gate's file in a folder, with keys beside it and a grant that both administrators approved."""
    for name, key in {**ADMINS, "rania": REPORTER, "stranger": STRANGER}.items():
        write_key(folder / f"{name}.pem", key, b"")
    value = {
        "assay": "gate/1", "listen": "127.0.0.1:8443", "hosts": ["localhost"],
        "models": {"m7": {"digest": DIGEST, "upstream": "http://127.0.0.1:9/v1", "upstream_model": "m"}},
        "authority": {"roles": "roles.json", "owners": ["0" * 64]},
        "admins": {"keys": {n: k.public.to_json()["public"] for n, k in ADMINS.items()}, "threshold": 2},
    }  # fmt: skip
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(value))
    config = read_config(path)
    store = open_store(config.store, folder)
    now = time.time_ns() // 1_000_000
    person = Person("Rania", thumbprint(REPORTER.public))
    grant = Grant(
        "grant/1", "power", 1, "Example Power", "power", "SG", "harden the outage desk", (person,), "m7", DIGEST, "operator", "AL1",
        ("chat.completions",), ("127.0.0.0/8",), (Quota("day", 100, 10_000, 0),), now - DAY, now + 30 * DAY,
    )  # fmt: skip
    store.put_grant(sign_grant(grant, ADMINS["ada"]).approved(ADMINS["abel"]))
    return path, config, store
