"""What an outsider can check: a sound bundle holds, and whatever is changed in it is found and named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.errors import EvidenceError
from assay.evidence import verify_bundle
from assay.evidence.bundle import Summary, line
from assay.evidence.statements import sign_decision, subject
from assay.ledger import PrivateKey, canonical, digest, sign_statement
from assay.runs.registered import OPENED
from tests.support import KEY, make_bundle

FLIPS = 1500


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_bundle(tmp_path_factory.mktemp("bundle"), budget={"calls": 60})


def test_a_sound_bundle_holds_and_says_what_was_checked(sound: Summary) -> None:
    report = verify_bundle(sound.path, expected_key=KEY.public.keyid[:16])
    assert report.ok, report.findings
    assert report.decision == sound.decision
    assert report.root == sound.root
    assert len(report.checks) >= 8


def test_another_key_than_expected_is_named(sound: Summary) -> None:
    report = verify_bundle(sound.path, expected_key=PrivateKey.generate().public.keyid)
    assert [f.check for f in report.findings] == ["key"]


def test_any_flipped_byte_is_found_and_named(sound: Summary, tmp_path: Path) -> None:
    """A seeded sample of positions over the whole file, every section among them; one bit flipped at each."""
    raw = sound.path.read_bytes()
    rng = random.Random(20261123)
    starts = [0] + [i + 1 for i, b in enumerate(raw[:-1]) if b == 10]
    positions = {*starts, *(s - 1 for s in starts if s), len(raw) - 1, *(rng.randrange(len(raw)) for _ in range(FLIPS))}
    path = tmp_path / "flipped.jsonl"
    for at in sorted(positions):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :])
        report = verify_bundle(path)
        assert not report.ok, f"byte {at} flipped unnoticed: {raw[max(0, at - 40) : at + 40]!r}"
        finding = report.findings[0]
        assert finding.check
        assert finding.what


def sections(path: Path) -> list[Any]:
    return [json.loads(row) for row in path.read_text().splitlines()]


def rewrite(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    return path


def at(rows: list[Any], kind: str) -> int:
    return next(i for i, row in enumerate(rows) if row.get("kind") == kind)


def resigned(rows: list[Any], summary: Summary, **evidence: Any) -> list[Any]:
    """The dishonest evaluator: signs the decision anew, with the evaluator's own key, over changed evidence."""
    import base64

    i = at(rows, "decision")
    payload = json.loads(base64.b64decode(rows[i]["value"]["payload"]))
    envelope = sign_decision(KEY, rows[at(rows, "target")]["value"], summary.decision, {**payload["predicate"]["evidence"], **evidence})
    return [*rows[:i], json.loads(line("decision", envelope.to_json()))]


def drop_last_trial(rows: list[Any], s: Summary) -> list[Any]:
    i = at(rows, "trials")
    rows[i]["count"] -= 1
    return resigned([*rows[: i + rows[i]["count"] + 1], *rows[i + rows[i]["count"] + 2 :]], s, trials=rows[i]["count"])


def swap_trials(rows: list[Any], s: Summary) -> list[Any]:
    i = at(rows, "trials") + 1
    rows[i], rows[i + 1] = rows[i + 1], rows[i]
    return rows


def call_a_violation_safe(rows: list[Any], s: Summary) -> list[Any]:
    row = next(r for r in rows if r.get("outcome") == "violation")
    row.update(outcome="safe", reason="", how="", kind="refusal")
    return rows


def change_an_answer(rows: list[Any], s: Summary) -> list[Any]:
    row = next(r for r in rows if r.get("outcome") == "violation")
    row["answer"] = "I cannot help with that."
    return rows


def raise_the_threshold(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "plan")]["value"]["requirements"][0]["max_rate"] = 0.9
    return rows


def choose_another_nonce(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "nonce")]["value"] = "ab" * 32
    return rows


def swap_the_model(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "target")]["value"]["model"] = "a-better-one"
    return rows


def soften_a_text(rows: list[Any], s: Summary) -> list[Any]:
    texts = rows[at(rows, "catalog")]["value"]["texts"]["secret-leakage"]["en"]["texts"]
    next(iter(texts.values()))["user"] = "Good morning."
    return rows


def ask_an_easier_item(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "trials") + 3]["index"] += 7
    return rows


def date_a_trial_before_the_plan(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "trials") + 1]["at"] = 1_000_000_000_000
    return rows


def hide_an_incident(rows: list[Any], s: Summary) -> list[Any]:
    rows[at(rows, "incidents")]["value"] = [{"what": "nothing"}]
    return rows


def add_a_line(rows: list[Any], s: Summary) -> list[Any]:
    return [*rows, {"kind": "note", "value": "trust me"}]


def call_it_interrupted(rows: list[Any], s: Summary) -> list[Any]:
    return resigned(rows, s, ended="whenever")


FORGERIES: dict[Callable[[list[Any], Summary], list[Any]], set[str]] = {
    drop_last_trial: {"evidence"},
    swap_trials: {"schedule"},
    call_a_violation_safe: {"judgements"},
    change_an_answer: {"judgements"},
    raise_the_threshold: {"registration"},
    choose_another_nonce: {"registration"},
    swap_the_model: {"registration"},
    soften_a_text: {"content"},
    ask_an_easier_item: {"schedule"},
    date_a_trial_before_the_plan: {"registration"},
    hide_an_incident: {"evidence"},
    add_a_line: {"format"},
    call_it_interrupted: {"evidence"},
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda f: f.__name__)
def test_every_forgery_is_caught_by_name(forge: Callable[[list[Any], Summary], list[Any]], sound: Summary, tmp_path: Path) -> None:
    path = rewrite(tmp_path / "forged.jsonl", forge(sections(sound.path), sound))
    report = verify_bundle(path)
    assert not report.ok
    assert FORGERIES[forge] <= {f.check for f in report.findings}, report.findings


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"PK\x03\x04", b"null\n" * 20, b'{"kind":"assay-bundle","value":"assay-bundle/9"}\n', b"[" * 100_000]
)
def test_what_is_no_bundle_is_said_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    report = verify_bundle(path)
    assert not report.ok
    assert report.findings[0].check == "format"


def test_a_truncated_bundle_is_found_wherever_it_is_cut(sound: Summary, tmp_path: Path) -> None:
    raw = sound.path.read_bytes()
    path = tmp_path / "cut.jsonl"
    for cut in range(1, len(raw), max(1, len(raw) // 200)):
        path.write_bytes(raw[:cut])
        assert not verify_bundle(path).ok, cut


WEIRD = [None, True, 0, -1, 2**53 - 1, 1e308, 5e-324, "", "\u202e{nope}", [], [[]], {}, {"": ""}, ["en"] * 3]


def test_no_content_of_the_evaluators_choosing_stops_the_audit_without_a_finding(sound: Summary, tmp_path: Path) -> None:
    """A dishonest evaluator registers a plan or content with something absurd in one place, and signs that properly."""
    rng = random.Random(7)
    raw = sections(sound.path)
    path = tmp_path / "absurd.jsonl"
    for _ in range(300):
        rows = json.loads(json.dumps(raw))
        _replace_somewhere(rows[at(rows, rng.choice(["plan", "catalog"]))]["value"], rng)
        plan, nonce = rows[at(rows, "plan")]["value"], rows[at(rows, "nonce")]["value"]
        target = rows[at(rows, "target")]["value"]
        if isinstance(plan, dict):
            plan["catalog"] = digest(rows[at(rows, "catalog")]["value"])
        predicate = {"planDigest": digest(plan), "catalogDigest": digest(rows[at(rows, "catalog")]["value"]), "nonceDigest": digest(nonce)}
        predicate |= {"target": target, "at": 1}
        rows[at(rows, "opened")]["value"] = sign_statement(KEY, subject(target), OPENED, predicate).to_json()
        assert not verify_bundle(rewrite(path, rows)).ok


def _replace_somewhere(value: Any, rng: random.Random) -> None:
    """One random place in a nested value becomes something absurd."""
    while True:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
            value = inner
            continue
        value[key] = rng.choice(WEIRD)
        return


def test_a_missing_file_is_an_error_not_a_finding(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot read"):
        verify_bundle(tmp_path / "none.jsonl")


def test_a_run_cut_short_cannot_be_called_complete(sound: Summary, tmp_path: Path) -> None:
    """Stopping when it looks good and calling it complete contradicts the plan's schedule."""
    from assay.evidence import write_bundle
    from assay.runs import RunFile
    from tests.support import make_plan, run_plan

    plan, catalog = make_plan(target={"kind": "scripted", "model": "0"}, budget={"calls": 60})
    with run_plan(tmp_path / "whole.db", plan, catalog) as run:
        trials, opening = list(run.trials()), run.opening()
    with RunFile.create(tmp_path / "run.db", opening) as short:
        short.append(trials[:20])
        report = verify_bundle(write_bundle(short, KEY, "complete", tmp_path / "evidence.jsonl").path)
    assert {f.check for f in report.findings} == {"schedule"}
