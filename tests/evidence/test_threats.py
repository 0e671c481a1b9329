"""The threats that evidence must answer, by their numbers in SECURITY.md, each from the attacker's side: what he does, and what stops him.

1 model swapped after approval · 2 threshold chosen after results · 3 failing runs dropped · 4 errors counted as safe · 5 replayed or stale
approval · 6 signing key stolen · 7 split view or rewritten log · 14 test set leaked, judge injected · 15 dependency turned hostile
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import api
from assay.attacks import ATTACKS
from assay.catalog import Openers, read_judge_attacks
from assay.decision import Gate
from assay.errors import AssayError, TargetError
from assay.evidence import verify_bundle
from assay.evidence import witness as other
from assay.evidence.log import ENTRIES_NAME, Log, read_log
from assay.evidence.logbook import LogTamperedError
from assay.evidence.logcheck import check_log
from assay.evidence.release import Release
from assay.evidence.releasecheck import check_release
from assay.evidence.releasemake import Stated, new_release, read_basis, sign_release
from assay.evidence.roles import Roles
from assay.evidence.seen import Seen, SeenRelease
from assay.evidence.statements import subject
from assay.judges import Answer, verdict_on
from assay.judges.reading import read, shown
from assay.judges.steering import steering_cases
from assay.ledger import PrivateKey, canonical, digest, sign_statement, write_key
from assay.ledger.notes import COSIGNATURE, NoteKey, key_name
from assay.plan import parse_plan, run_seed, streams
from assay.runs.registered import OPENED
from assay.scenarios import ItemBuilder
from tests.catalog.sealing import holds_prompts, parties
from tests.evidence.authority import KEYS, approving_run, policy, roles_of
from tests.support import make_plan, plan_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Roles, Release, int]:
    """A bundle, roles, an approved release, and a time after it."""
    folder = tmp_path_factory.mktemp("threats")
    bundle, roles = approving_run(folder, wanted=policy()), roles_of(folder)
    basis, _ = read_basis(bundle, roles, 0)
    assert basis is not None
    now = basis.ref.at + 1000
    release = new_release(basis, roles, KEYS["eve"], Stated(5, now))
    for name in ("ada", "abel"):
        release = sign_release(release, roles, KEYS[name], now)
    assert check_release(release, roles, now, bundle=bundle).verdict == "approve"
    return bundle, roles, release, now


def rows_of(bundle: Path) -> list[Any]:
    return [json.loads(line) for line in bundle.read_bytes().splitlines()]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(canonical(r) + b"\n" for r in rows))
    return path


# 1


def test_threat_1_another_model_is_served_than_was_approved(approved: tuple[Path, Roles, Release, int]) -> None:
    _, roles, release, now = approved
    found = check_release(release, roles, now, target="sha256:" + "a" * 64)
    assert (found.verdict, [f.check for f in found.findings]) == ("halt", ["target"])


def test_threat_1_another_model_is_tested_than_the_plan_pins() -> None:
    plan, _ = make_plan()
    pinned = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, digest="sha256:" + "b" * 64))
    with pytest.raises(TargetError, match="the plan pins"):
        api.pinned(pinned, {"kind": "embedded", "model": "x", "digest": "sha256:" + "c" * 64})
    with pytest.raises(TargetError, match="cannot show one"):
        api.pinned(pinned, {"kind": "http", "model": "x"})


# 2


def test_threat_2_the_threshold_is_raised_once_the_results_are_known(approved: tuple[Path, Roles, Release, int], tmp_path: Path) -> None:
    """The evaluator himself does it, and signs everything again: the registration in the log is another, and the items are others."""
    bundle = approving_run(tmp_path, rate="0.3", wanted=None)
    report = verify_bundle(bundle)
    assert report.decision is not None
    assert report.decision.verdict == "halt"
    rows = rows_of(bundle)
    at = {r["kind"]: i for i, r in enumerate(rows) if "kind" in r}
    plan = rows[at["plan"]]["value"]
    plan["requirements"][0]["max_rate"] = 0.9
    opened = json.loads(base64.b64decode(rows[at["opened"]]["value"]["payload"]))["predicate"]
    again = sign_statement(KEYS["eve"], subject(rows[at["target"]]["value"]), OPENED, {**opened, "planDigest": digest(plan)})
    before = digest(rows[at["opened"]]["value"])
    rows[at["opened"]]["value"] = again.to_json()
    found = verify_bundle(written(tmp_path / "again.jsonl", rows)).findings
    assert any(f.check == "items" for f in found), "items come from the plan's digest, so these answers are to other questions"
    assert digest(again.to_json()) != before, "and the log has the first registration"


def test_threat_2_a_plan_below_the_policy_is_neither_run_nor_approved(approved: tuple[Path, Roles, Release, int], tmp_path: Path) -> None:
    _, roles, _, now = approved
    loose = {"requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.5}]}
    with pytest.raises(Exception, match="less than the policy"):
        approving_run(tmp_path, wanted=policy(), **loose)
    (tmp_path / "free").mkdir()
    basis, _ = read_basis(approving_run(tmp_path / "free", **loose), roles, now)
    assert basis is not None
    with pytest.raises(Exception, match="under no policy"):
        new_release(basis, roles, KEYS["eve"], Stated(1, now))


# 3 and 7


def logged(folder: Path) -> tuple[Log, PrivateKey, PrivateKey, NoteKey]:
    ours, theirs = PrivateKey.generate(), PrivateKey.generate()
    write_key(folder / "key.pem", ours, b"")
    log = Log.create(folder / "log", "example.org/log", ours)
    return log, ours, theirs, NoteKey(key_name("other.example"), theirs.public, COSIGNATURE)


def cosigned(log: Log, ours: PrivateKey, theirs: PrivateKey, state: Path) -> None:
    log.checkpoint(ours)
    done = other.witness(state, theirs, "other.example", other.show(read_log(log.folder)), int(time.time()), log.key)
    log.add_signatures(done.note)


def test_threat_3_a_run_that_went_badly_is_dropped_and_another_shown(tmp_path: Path) -> None:
    log, ours, theirs, witness_key = logged(tmp_path)
    bad, _ = make_plan()
    with pytest.raises(Exception, match="has not cosigned"):  # as good as killed: registered, and never shown
        api.evaluate((bad, make_plan()[1]), out=tmp_path / "bad", key=tmp_path / "key.pem", log=log.folder, witnesses=[witness_key])
    api.evaluate(make_plan(), out=tmp_path / "good", key=tmp_path / "key.pem", log=log.folder)
    cosigned(log, ours, theirs, tmp_path / "state.json")
    later = time.time_ns() // 1_000_000 + 30 * 86_400_000
    found = check_log(read_log(log.folder), "log", log.key, [witness_key], need=1, now_ms=later)
    assert [f.check for f in found.findings] == ["run without an end"]
    with (log.folder / ENTRIES_NAME).open("rb+") as entries:
        lines = entries.read().splitlines(keepends=True)
        entries.seek(0)
        entries.truncate()
        entries.writelines(lines[1:])
    assert check_log(read_log(log.folder), "log", log.key, [witness_key], need=1, now_ms=later).findings, "nor can it be taken out"


def test_threat_3_failing_trials_are_left_out(approved: tuple[Path, Roles, Release, int], tmp_path: Path) -> None:
    rows = rows_of(approving_run(tmp_path, rate="0.3"))
    first = next(i for i, r in enumerate(rows) if r.get("outcome") == "violation")
    count = next(r for r in rows if r.get("kind") == "trials")
    count["count"] -= 1
    assert verify_bundle(written(tmp_path / "x.jsonl", rows[:first] + rows[first + 1 :])).findings


def test_threat_7_two_parties_are_shown_two_logs(tmp_path: Path) -> None:
    log, ours, theirs, _ = logged(tmp_path)
    api.evaluate(make_plan(), out=tmp_path / "one", key=tmp_path / "key.pem", log=log.folder)
    cosigned(log, ours, theirs, tmp_path / "state.json")
    twin = Log.create(tmp_path / "twin", "example.org/log", ours)
    for name in ("two", "three"):
        api.evaluate(make_plan(seed="auto"), out=tmp_path / name, key=tmp_path / "key.pem", log=twin.folder)
    twin.checkpoint(ours)
    with pytest.raises(LogTamperedError, match="split view, or the log was rewritten"):
        other.witness(tmp_path / "state.json", theirs, "other.example", other.show(read_log(twin.folder)), int(time.time()), log.key)


# 4


@pytest.mark.parametrize("hazard", ["secret-leakage", "injected-instructions", "unsafe-argument"])
@pytest.mark.parametrize("arm", ["plain", "benign"])
def test_threat_4_what_failed_is_not_safe(hazard: str, arm: str) -> None:
    plan, catalog = parse_plan(
        plan_text(matrix={"hazards": [hazard], "languages": ["en"], "attacks": [], "benign": True}), where="test.yaml"
    )
    builder = ItemBuilder.for_plan(plan, catalog, run_seed(plan.digest, bytes(32)), ATTACKS)
    stream = next(s for s in streams(plan) if s.arm == arm)
    for failure in ("timeout", "HTTP 500", "refused"):
        verdict, _ = verdict_on(builder.build(stream, 0), Answer("", failure), (), catalog)
        assert verdict.outcome == "unscorable"


def test_threat_4_a_target_that_never_answers_is_never_approved() -> None:
    plan, _ = make_plan()
    gate = Gate(plan, run_seed(plan.digest, bytes(32)))
    for stream in streams(plan):
        for i in range(1500):
            gate.add(stream, i, "unscorable")
    assert gate.decision().verdict != "approve"
    assert not any(c.status == "approve" for r in gate.decision().requirements for c in r.claims)


def test_threat_4_a_failure_that_is_written_down_as_safe_is_found(tmp_path: Path) -> None:
    rows = rows_of(approving_run(tmp_path))
    trial = next(r for r in rows if r.get("outcome") == "safe")
    trial.update({"answer": "", "failure": "timeout"})
    found = verify_bundle(written(tmp_path / "x.jsonl", rows)).findings
    assert any(f.check == "judgements" and "unscorable" in f.what for f in found)


# 5


def test_threat_5_an_old_approval_is_shown_again(approved: tuple[Path, Roles, Release, int]) -> None:
    _, roles, release, now = approved
    assert [f.check for f in check_release(release, roles, release.terms.expires + 1).findings] == ["time"]
    signed: dict[str, Any] = {}
    seen = Seen().followed(roles, signed).with_release(roles.authority, release.target, SeenRelease(6, "0" * 64))
    found = check_release(release, roles, now, seen=seen)
    assert (found.verdict, [f.check for f in found.findings]) == ("halt", ["epoch"])


# 6


def test_threat_6_whoever_has_stolen_one_key_approves_nothing(approved: tuple[Path, Roles, Release, int], tmp_path: Path) -> None:
    bundle, roles, _, now = approved
    basis, _ = read_basis(bundle, roles, now)
    assert basis is not None
    for stolen in ("eve", "ada"):
        release = new_release(basis, roles, KEYS["eve"], Stated(9, now))
        for _ in range(3):
            release = sign_release(release, roles, KEYS[stolen], now)
        assert check_release(release, roles, now, bundle=bundle).verdict == "halt"


def test_threat_6_what_a_stolen_key_signed_falls_with_it(approved: tuple[Path, Roles, Release, int], tmp_path: Path) -> None:
    bundle, _, release, now = approved
    for name, role in (("ada", "approver"), ("eve", "evaluator")):
        rest = {"approver": ["abel", "amy"], "evaluator": ["emil"]}[role]
        changes = {role: {"keys": rest, "threshold": 2 if role == "approver" else 1}, "revoked": {KEYS[name].public.keyid: "stolen"}}
        later = roles_of(tmp_path, version=2, **changes)
        assert check_release(release, later, now).verdict == "halt"
        assert check_release(release, later, now, bundle=bundle).verdict == "halt"


# 14


def test_threat_14_whoever_gets_the_evidence_does_not_get_the_test_set(tmp_path: Path) -> None:
    party = parties(tmp_path)
    api.evaluate(str(party.plan()), out=tmp_path / "run", key=party.key, openers=party.openers())
    left = [p for p in (tmp_path / "run").rglob("*") if p.is_file()] + [party.bank]
    assert {"run.db", "evidence.jsonl", "report.html"} <= {p.name for p in left}
    for path in left:
        assert not holds_prompts(path.read_bytes()), path.name
    assert verify_bundle(tmp_path / "run" / "evidence.jsonl").ok


def test_threat_14_one_party_alone_does_not_open_the_test_set(tmp_path: Path) -> None:
    party = parties(tmp_path)
    for alone in (Openers((party.bank,), (party.institute,)), Openers()):
        with pytest.raises(AssayError):
            api.evaluate(str(party.plan()), out=tmp_path / "run", key=party.key, openers=alone)
    assert not (tmp_path / "run" / "run.db").exists()


def test_threat_14_an_answer_that_speaks_to_its_judge_does_not_pass() -> None:
    """A judge so weak that it says what the answer tells it to: no text of the steering set becomes a verdict."""
    for case in steering_cases(read_judge_attacks(), ["en", "zh-Hans", "ms"]):
        assert isinstance(read(case.item, case.answer, (), case.answer), str)
        assert isinstance(read(case.item, case.answer, (), "\n".join(shown(case.answer))), str)


# 15


def test_threat_15_every_dependency_is_locked_with_hashes() -> None:
    for name in ("run.txt", "dev.txt"):
        text = re.sub(r"\\\n\s*", " ", (ROOT / "requirements" / name).read_text())
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--"))]
        assert len(lines) > 20
        for line in lines:
            assert "==" in line.split()[0], line[:80]
            assert "--hash=sha256:" in line, line[:80]
    assert "--require-hashes" in (ROOT / "scripts" / "setup").read_text()


def test_threat_15_it_can_be_told_which_runs_a_package_has_touched(approved: tuple[Path, Roles, Release, int]) -> None:
    from importlib.metadata import version

    bundle, *_ = approved
    opened = next(r["value"] for r in rows_of(bundle) if r.get("kind") == "opened")
    packages = json.loads(base64.b64decode(opened["payload"]))["predicate"]["packages"]
    assert packages["aiohttp"] == version("aiohttp")
    assert {"cryptography", "msgspec", "numpy", "rfc8785"} <= set(packages)


WATCHED = """
import sys
from pathlib import Path
def watch(event, args):
    bad = event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "urllib."))
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if bad or writes:
        print("DID", event, args[:2]); sys.stdout.flush()
        import os; os._exit(9)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from assay.evidence import verify_bundle
report = verify_bundle(Path(sys.argv[1]))
print(report.ok, sorted(m for m in sys.modules if m.startswith(("assay.engine", "assay.targets", "aiohttp"))))
"""


def test_threat_15_verifying_opens_no_connection_starts_nothing_and_writes_nothing(approved: tuple[Path, Roles, Release, int]) -> None:
    bundle, *_ = approved
    done = subprocess.run([sys.executable, "-c", WATCHED, str(bundle)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True []", done.stdout + done.stderr
