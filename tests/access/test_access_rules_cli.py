"""`assay access rules` by its entry point."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from assay.access.grants.grant import sign_grant
from assay.access.model import Grant, Halt, Scope
from assay.access.rules.check import read_base
from assay.access.rules.decide import LIBRARY
from assay.access.store.base import open_store
from assay.ledger import PrivateKey

BIN = Path(sys.executable).parent
MONDAY = "2026-11-30T10:00:00+08:00"
NO_STREAMS = '@id("no-streams")\n@says("nothing is streamed here")\nforbid (principal, action, resource)\nwhen { context.stream };\n'
SITE_TESTS = """assay: rules-tests/1
tests:
  - {name: a stream, allowed: false, rules: [no-streams]}
  - {name: no stream, request: {stream: false}, allowed: true, rules: [operators-approve-delay]}
"""


def rules(*words: object, code: int = 0) -> str:
    done = subprocess.run([BIN / "assay", "access", "rules", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_list_names_every_rule_and_the_next_command() -> None:
    said = rules("list")
    assert said.splitlines()[3].split()[:2] == ["halted", "forbid"]
    assert "access rules show" in said
    listed = json.loads(rules("list", "--json"))
    assert len(listed["rules"]) == 16
    assert {r["effect"] for r in listed["rules"]} == {"permit", "forbid"}


def test_show_gives_a_rule_or_the_schema_and_says_which_there_are() -> None:
    assert "containsAll" in rules("show", "tools")
    assert rules("show", "schema") == (LIBRARY / "schema.cedarschema").read_text()
    assert "One of: schema, assessors-always" in rules("show", "tool", code=2)


def test_check_and_test_of_the_built_in_rules() -> None:
    assert rules("check").startswith("In order: 16 rules, 0 of them the site's.")
    assert "every rule has one" in rules("test")


def test_a_site_writes_checks_and_tests_its_own(tmp_path: Path) -> None:
    (tmp_path / "ours.cedar").write_text(NO_STREAMS)
    assert "17 rules, 1 of them the site's" in rules("check", tmp_path)
    assert "nothing is streamed here" in rules("show", "no-streams", "--site", tmp_path)
    assert "cannot read the tests" in rules("test", tmp_path, code=2)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "ours.yaml").write_text(SITE_TESTS)
    said = rules("test", tmp_path, "--mutate")
    assert "✓ no-streams" in said
    assert "4 changes of a rule; a test noticed 4." in said
    assert "halted" not in said


def test_a_failing_test_and_a_rule_without_one_and_an_unnoticed_change_are_exit_1(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "ours.cedar").write_text(NO_STREAMS)
    tests = tmp_path / "tests" / "ours.yaml"
    tests.write_text(SITE_TESTS.replace("allowed: false", "allowed: true"))
    assert "✕ ours.yaml:3 a stream: allowed by no-streams, and was denied by no-streams" in rules("test", tmp_path, code=1)
    tests.write_text("\n".join(line for line in SITE_TESTS.splitlines() if "no-streams" not in line))
    assert "decides 0 of 1 tests: it needs one" in rules("test", tmp_path, code=1)
    tests.write_text("\n".join(line for line in SITE_TESTS.splitlines() if "no stream," not in line))
    assert "no test notices: no-streams, condition 1 left out" in rules("test", tmp_path, "--mutate", code=1)


def test_check_refuses_what_the_gate_would_not_open_with(tmp_path: Path) -> None:
    (tmp_path / "ours.cedar").write_text(NO_STREAMS.replace("forbid", "permit"))
    assert "can only forbid" in rules("check", tmp_path, code=2)


def test_explain_says_which_rule_and_what_it_saw() -> None:
    allowed = rules("explain", "--example", "--verdict", "delay", "--tool", "read_alarm")
    assert "Allowed by operators-approve-delay" in allowed
    assert "the decision is delay" in allowed
    words = ["--network", "10.0.0.1", "--tool", "open_breaker", "--person", "Eve", "--at", "2026-11-29T10:00:00+08:00"]
    denied = rules("explain", "--example", "--verdict", "delay", *words, code=1)
    assert "Denied by hours, network, person, tools." in denied
    assert "10.0.0.1 is in none of 203.0.113.0/24" in denied
    assert "open_breaker: not among read_alarm, list_breakers" in denied
    halted = rules("explain", "--example", "--verdict", "halt", code=1)
    assert "no rule permits it. The tier is operator and the decision is halt." in halted
    error = rules("explain", "--example", "--verdict", "delay", "--network", "\x1b[2J", code=1)
    assert "cannot be judged" in error
    assert "\x1b" not in error
    told = json.loads(rules("explain", "--example", "--verdict", "delay", "--logprobs", "--json", code=1))
    assert told["rules"] == ["logprobs"]
    assert told["each"]["logprobs"] == "applies"
    assert told["each"]["tools"] == "does not apply"


def test_explain_with_a_site_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "ours.cedar").write_text(NO_STREAMS)
    assert "Denied by no-streams." in rules("explain", "--example", "--verdict", "delay", "--stream", "--site", tmp_path, code=1)
    grant, _ = read_base(LIBRARY / "tests" / "base.yaml")
    (tmp_path / "grant.json").write_text(json.dumps({**grant, "tier": "assessor"}))
    assert "Allowed by assessors-always" in rules("explain", "--file", tmp_path / "grant.json", "--verdict", "none", "--at", MONDAY)


@pytest.mark.parametrize(
    "words",
    [[], ["--example"], ["--grant", "x", "--verdict", "delay"], ["--example", "--verdict", "delay", "--at", "2026-11-30"]],
    ids=["nothing", "no verdict", "no config", "no offset"],
)
def test_explain_says_what_it_needs(words: list[str]) -> None:
    assert "Error: " in rules("explain", *words, code=2)


def test_explain_asks_the_gate_itself(tmp_path: Path) -> None:
    """The grant from its store; no release there, so the decision is none; then a halt."""
    admins = {f"admin-{n}": PrivateKey.generate() for n in (1, 2)}
    given, _ = read_base(LIBRARY / "tests" / "base.yaml")
    now = time.time_ns() // 1_000_000
    grant = msgspec.structs.replace(
        msgspec.convert(given, Grant), tier="assessor", hours=(), starts=now - 3_600_000, expires=now + 86_400_000
    )
    store = open_store("gate.db", tmp_path)
    store.put_grant(sign_grant(grant, *admins.values()))
    gate = {
        "assay": "gate/1", "listen": "127.0.0.1:8443", "hosts": ["localhost"], "store": "gate.db",
        "models": {"m7": {"digest": grant.digest, "upstream": "http://127.0.0.1:9/v1", "upstream_model": "m7"}},
        "authority": {"roles": "roles.json", "owners": ["0" * 16]},
        "admins": {"keys": {name: key.public.to_json()["public"] for name, key in admins.items()}},
    }  # fmt: skip
    (tmp_path / "gate.yaml").write_text(json.dumps(gate))
    words = ["explain", "--config", tmp_path / "gate.yaml", "--grant", grant.id]
    said = rules(*words)
    assert "The decision is none; not halted." in said
    assert "Allowed by assessors-always" in said
    store.put_halt(Halt("stop", Scope(jurisdiction="SG"), "a directive", "admin-1", 1))
    assert "Denied by halted." in rules(*words, code=1)
    assert "no grant 'other' holds: there is none of this id" in rules(*words[:-1], "other", code=2)
    store.close()
