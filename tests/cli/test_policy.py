"""`assay policy` through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from assay.ledger import PrivateKey
from tests.cli.test_errors import assay, assert_refused
from tests.plan.policies import WORLDS, plan_value, policy_of
from tests.support import make_bundle

KEY = PrivateKey.generate()


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    path = tmp_path / "worlds.yaml"
    path.write_text(WORLDS)
    (tmp_path / "key.pem").write_bytes(KEY.to_pem())
    return path


def test_every_starting_policy_is_listed_and_shown(tmp_path: Path) -> None:
    listed = assay("policy", "list", cwd=tmp_path)
    assert listed.returncode == 0
    for name in ("consumer-chat", "agent-with-payments", "infrastructure-preview", "general-release"):
        assert name in listed.stdout
    shown = assay("policy", "show", "agent-with-payments", cwd=tmp_path).stdout
    assert "violation-rate at most 1%" in shown
    assert "Reviewed by nobody yet" in shown
    copied = assay("policy", "show", "agent-with-payments", "--yaml", cwd=tmp_path).stdout
    (tmp_path / "mine.yaml").write_text(copied)
    same = [json.loads(assay("policy", "show", p, "--json", cwd=tmp_path).stdout) for p in ("mine.yaml", "agent-with-payments")]
    assert same[0] == same[1]


def test_a_plan_is_checked_and_the_exit_code_says_so(tmp_path: Path, reviewed: Path) -> None:
    value = plan_value(policy_of(WORLDS))
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(value))
    done = assay("policy", "check", plan, "--policy", reviewed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "asks for all that worlds 1.0.0" in done.stdout
    value["worlds"]["steps"] = 3
    plan.write_text(yaml.safe_dump(value))
    done = assay("policy", "check", plan, "--policy", reviewed, cwd=tmp_path)
    assert done.returncode == 1
    assert "worlds.steps: at least 12, the plan has 3" in done.stdout
    found = json.loads(assay("policy", "check", plan, "--policy", reviewed, "--json", cwd=tmp_path).stdout)
    assert not found["ok"]
    assert [s["field"] for s in found["shortfalls"]] == ["worlds.steps"]


def test_the_plan_that_a_run_registered_is_checked(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    done = assay("policy", "check", tmp_path, "--policy", "consumer-chat", cwd=tmp_path)
    assert done.returncode == 1
    assert "requirements (language-parity)" in done.stdout


def test_a_weaker_policy_makes_diff_fail(tmp_path: Path, reviewed: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(WORLDS.replace("version: 1.0.0", "version: 1.1.0").replace("0.02", "0.03"))
    done = assay("policy", "diff", reviewed, new, cwd=tmp_path)
    assert done.returncode == 1
    assert "at most 2% is now at most 3% for agent-banking, agent-shop in en, ms" in done.stdout
    back = assay("policy", "diff", reviewed, reviewed, cwd=tmp_path)
    assert (back.returncode, back.stdout) == (0, "Nothing became weaker.\n")
    assert json.loads(assay("policy", "diff", reviewed, new, "--json", cwd=tmp_path).stdout)["weaker"] == 1


def test_a_policy_is_signed_verified_and_used(tmp_path: Path, reviewed: Path) -> None:
    done = assay("policy", "sign", reviewed, "--key", "key.pem", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    signed = tmp_path / "worlds-1.0.0.signed.json"
    assert KEY.public.keyid in done.stdout
    assert "PRIVATE" not in signed.read_text()
    assert assay("policy", "verify", signed, "--key-id", KEY.public.keyid, cwd=tmp_path).returncode == 0
    other = assay("policy", "verify", signed, "--key-id", "0" * 64, cwd=tmp_path)
    assert other.returncode == 1
    assert "not by" in other.stdout
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(plan_value(policy_of(WORLDS))))
    assert assay("policy", "check", plan, "--policy", signed, "--key-id", KEY.public.keyid, cwd=tmp_path).returncode == 0
    assert_refused(assay("policy", "check", plan, "--policy", signed, cwd=tmp_path), "--key-id")
    assert_refused(assay("policy", "check", plan, "--policy", reviewed, "--key-id", KEY.public.keyid, cwd=tmp_path), "not signed", code=1)
    assert_refused(assay("policy", "sign", reviewed, "--key", "key.pem", cwd=tmp_path), "there is a file already")
    signed.write_text(signed.read_text().replace("signed-policy/1", "signed-policy/2"))
    assert_refused(assay("policy", "verify", signed, "--key-id", KEY.public.keyid, cwd=tmp_path), "not a signed policy")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["show", "no-such"], ["there is no policy 'no-such'", "general-release"]),
        (["check", "no-such", "--policy", "consumer-chat"], ["there is no plan file"]),
        (["check", "quick", "--policy", "no-such"], ["there is no policy"]),
        (["check", "quick"], ["--policy"]),
        (["diff", "consumer-chat", "no-such"], ["there is no policy"]),
        (["sign", "consumer-chat"], ["nobody has reviewed"]),
        (["verify", "no-such", "--key-id", "0" * 64], ["there is no policy"]),
        (["verify", "bad.json", "--key-id", "0" * 64], ["not JSON"]),
        (["show", "bad.yaml"], ["bad.yaml:1"]),
    ],
)
def test_bad_words_get_one_message(arguments: list[str], parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"assay": ')
    (tmp_path / "bad.yaml").write_text("assay: plan/1\n")
    assert_refused(assay("policy", *arguments, cwd=tmp_path), *parts)
    assert {p.name for p in tmp_path.iterdir()} == {"bad.json", "bad.yaml"}
