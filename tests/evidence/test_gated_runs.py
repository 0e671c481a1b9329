"""What stands between a plan and its first trial: a policy that it must meet, and a witness that must have cosigned its registration."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from assay import api
from assay.errors import AssayError, RunFileError
from assay.evidence import verify_bundle
from assay.evidence import witness as other
from assay.evidence.log import Log, read_log
from assay.ledger import PrivateKey, canonical, write_key
from assay.ledger.notes import COSIGNATURE, NoteKey, key_name
from assay.plan.policy import Policy, PolicyError, parse_policy
from assay.runs import RunFile
from tests.support import make_plan

POLICY = """
assay: policy/1
id: small
version: 1.0.0
about: for tests
decision_days: 30
errors: {approve: 0.05, halt: 0.05}
requirements:
  - {id: violations, kind: violation-rate, at_most: RATE, hazards: [secret-leakage], languages: [en], attacks: [prefix-injection]}
"""


def policy(rate: float = 0.1) -> Policy:
    return parse_policy(POLICY.replace("RATE", str(rate)), where="policy.yaml")


def test_a_run_under_a_policy_carries_it_and_is_checked_against_it(tmp_path: Path) -> None:
    wanted = policy()
    result = api.evaluate(make_plan(), out=tmp_path / "run", key=tmp_path / "key.pem", policy=wanted)
    assert result.bundle is not None
    report = verify_bundle(result.bundle)
    assert report.ok
    assert report.policy == wanted
    assert ("plan meets the policy", f"small 1.0.0, {wanted.digest}") in report.checks


def test_a_plan_that_asks_for_less_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"less than the policy small 1\.0\.0: .*5%") as e:
        api.evaluate(make_plan(), out=tmp_path / "run", key=tmp_path / "key.pem", policy=policy(0.05))
    assert e.value.exit_code == 2
    assert not (tmp_path / "run" / "run.db").exists()


@pytest.mark.parametrize("how", ["stricter", "weaker", "left out", "another version"])
def test_a_bundle_with_another_policy_than_it_was_opened_under_is_found(tmp_path: Path, how: str) -> None:
    result = api.evaluate(make_plan(), out=tmp_path / "run", key=tmp_path / "key.pem", policy=policy())
    assert result.bundle is not None
    rows = [json.loads(line) for line in result.bundle.read_bytes().splitlines()]
    row = next(r for r in rows if r.get("kind") == "policy")
    changed = {"stricter": policy(0.05), "weaker": policy(0.3)}.get(how)
    row["value"] = changed.to_json() if changed else None if how == "left out" else {**row["value"], "version": "1.0.1"}
    path = tmp_path / "changed.jsonl"
    path.write_bytes(b"".join(canonical(r) + b"\n" for r in rows))
    found = verify_bundle(path).findings
    assert any("policyDigest" in f.what for f in found)
    assert any(f.check == "policy" for f in found) == (how == "stricter")


def cosign(log: Path, folder: Path, key: PrivateKey) -> None:
    done = other.witness(folder / "state.json", key, "other.example/w", other.show(read_log(log)), int(time.time()), Log.open(log).key)
    Log.open(log).add_signatures(done.note)


def test_no_trial_is_made_before_the_witness_has_cosigned(tmp_path: Path) -> None:
    key, theirs = PrivateKey.generate(), PrivateKey.generate()
    write_key(tmp_path / "key.pem", key, b"")
    Log.create(tmp_path / "log", "example.org/assay", key)
    witness_key = NoteKey(key_name("other.example/w"), theirs.public, COSIGNATURE)
    run = tmp_path / "run"
    with pytest.raises(RunFileError, match=r"other\.example/w has not cosigned the registration; no trial was made") as e:
        api.evaluate(make_plan(), out=run, key=tmp_path / "key.pem", log=tmp_path / "log", witnesses=[witness_key])
    assert "--resume" in e.value.fix
    with RunFile.read(run / "run.db") as file:
        assert file.count() == 0
    assert len(read_log(tmp_path / "log").checkpoints) == 1, "the run signs the checkpoint that the witness cosigns"

    told: list[str] = []

    def progress(words: str) -> None:
        told.append(words)
        threading.Timer(0.2, cosign, (tmp_path / "log", tmp_path, theirs)).start()

    again = {"out": run, "resume": True, "key": tmp_path / "key.pem", "log": tmp_path / "log"}
    result = api.evaluate(**again, witnesses=[witness_key], wait_s=30, progress=progress)  # type: ignore[arg-type]
    assert result.bundle is not None
    assert len(told) == 1
    assert "Waiting until other.example/w" in told[0]
    assert verify_bundle(result.bundle).ok


def test_a_cosignature_by_somebody_else_or_on_an_older_checkpoint_does_not_count(tmp_path: Path) -> None:
    key, theirs, foreign = PrivateKey.generate(), PrivateKey.generate(), PrivateKey.generate()
    write_key(tmp_path / "key.pem", key, b"")
    log = Log.create(tmp_path / "log", "example.org/assay", key)
    api.evaluate(make_plan(), out=tmp_path / "earlier", key=tmp_path / "key.pem", log=tmp_path / "log")
    log.checkpoint(key)
    cosign(tmp_path / "log", tmp_path, theirs)
    witness_key = NoteKey(key_name("other.example/w"), theirs.public, COSIGNATURE)
    given = {"out": tmp_path / "run", "key": tmp_path / "key.pem", "log": tmp_path / "log", "witnesses": [witness_key]}
    with pytest.raises(AssayError, match="has not cosigned"):
        api.evaluate(make_plan(), **given)  # type: ignore[arg-type]
    (tmp_path / "foreign").mkdir()
    cosign(tmp_path / "log", tmp_path / "foreign", foreign)
    with pytest.raises(AssayError, match="has not cosigned"):
        api.evaluate(**{**given, "resume": True})  # type: ignore[arg-type]
