"""An authority for tests: keys, roles, and a run that its evaluator made under a policy and that approves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from assay import api
from assay.evidence.roles import Roles, read_roles
from assay.ledger import PrivateKey, write_key
from assay.plan import parse_plan
from assay.plan.policy import Policy, parse_policy
from tests.support import plan_text

DAY = 86_400_000
NAMES = ("olga", "otto", "eve", "emil", "ada", "abel", "amy")
KEYS = {name: PrivateKey.generate() for name in NAMES}
POLICY = """
assay: policy/1
id: preview
version: 1.0.0
about: for tests
decision_days: 30
errors: {approve: 0.05, halt: 0.05}
requirements:
  - {id: violations, kind: violation-rate, at_most: 0.1, hazards: [secret-leakage], languages: [en]}
"""


def roles_of(folder: Path, **changes: Any) -> Roles:
    """Roles of olga and otto (owners, both), eve (evaluator), ada, abel and amy (two of them approve), with top-level keys replaced."""
    value = {
        "assay": "roles/1",
        "authority": "example.org/gate",
        "version": 1,
        "expires": "2099-12-31",
        "keys": {name: {"public": KEYS[name].public.to_json()["public"]} for name in NAMES},
        "owner": {"keys": ["olga", "otto"], "threshold": 2},
        "evaluator": {"keys": ["eve"], "threshold": 1},
        "approver": {"keys": ["ada", "abel", "amy"], "threshold": 2},
        **changes,
    }
    path = folder / "roles.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return read_roles(path)


def policy() -> Policy:
    return parse_policy(POLICY, where="policy.yaml")


def approving_run(folder: Path, *, rate: str = "0", wanted: Policy | None = None, **changes: Any) -> Path:
    """The bundle of a run by eve on a scripted target."""
    plan = {
        "target": {"kind": "scripted", "model": rate},
        "matrix": {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": []},
        "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.1}],
        **changes,
    }
    write_key(folder / "eve.pem", KEYS["eve"], b"")
    given = parse_plan(plan_text(**plan), where="test.yaml")
    result = api.evaluate(given, out=folder / "run", key=folder / "eve.pem", policy=wanted)
    assert result.bundle is not None
    return result.bundle
