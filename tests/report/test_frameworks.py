"""The crosswalk claims no more than a run has."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from assay import api
from assay.catalog import load_everything
from assay.catalog.crosswalk import FACTS, NONE, Clause, Framework, framework_ids, lint_crosswalk, owasp_ids, read_framework
from assay.cli.catalog import command as catalog_command
from assay.cli.framework import decision_signed
from assay.cli.report import command as report_command
from assay.errors import CatalogError
from assay.evidence import read_summary, write_bundle
from assay.evidence.bundle import Summary
from assay.ledger import PrivateKey
from assay.plan import Calibrated
from assay.report.facts import _FACTS, Basis, fact
from assay.report.frameworks import FrameworkView, make_basis, resolve, status_of
from assay.runs import RunFile, read_labels
from tests.engine.test_judging import JUDGED
from tests.support import KEY, label_all, make_plan, plan_text, run_plan

ASKED_FOR = {
    "imda-mgf-agentic", "imda-starter-kit", "imda-mgf-genai", "ai-verify", "nist-ai-800-2", "nist-ai-800-3", "nist-ai-rmf", "eu-gpai-code",
    "iso-42001", "iso-42119-2", "owasp-agentic", "nist-sp-800-53-au-9", "microsoft-frontier", "metr-common-elements",
}  # fmt: skip
SAFE = {"kind": "scripted", "model": "0"}
LENIENT = [{"id": "violations", "kind": "violation-rate", "max_rate": 0.4}, {"id": "refusals", "kind": "over-refusal", "max_rate": 0.4}]


def finished(folder: Path, **changes: Any) -> tuple[RunFile, Summary]:
    """A run of the small plan with its bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    run = run_plan(folder / "run.db", *make_plan(**changes))
    return run, write_bundle(run, KEY, "complete", folder / "evidence.jsonl")


def basis_of(folder: Path, **changes: Any) -> Basis:
    run, summary = finished(folder, **changes)
    with run:
        return make_basis(run, summary, closed=True)


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    return basis_of(tmp_path_factory.mktemp("approved"), target=SAFE, requirements=LENIENT)


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    return basis_of(tmp_path_factory.mktemp("halted"), target={"kind": "scripted", "model": "0.9"})


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    return basis_of(tmp_path_factory.mktemp("undecided"), budget={"calls": 24}, target={"kind": "scripted", "model": "0.1"})


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    return basis_of(
        tmp_path_factory.mktemp("agents"),
        matrix={"hazards": ["agent-banking"], "languages": ["en"], "attacks": []},
        requirements=[{"id": "violations", "kind": "violation-rate", "max_rate": 0.4}],
        target=SAFE,
        exploration={"plain": 20},
        worlds={"steps": 8, "calls": 20},
    )  # fmt: skip


# ---- the data


def test_every_framework_that_was_asked_for_is_there_and_sound() -> None:
    assert set(framework_ids()) == ASKED_FOR
    assert lint_crosswalk(load_everything()) == []


def test_only_identifiers_that_were_read_in_the_source_are_called_verified() -> None:
    verified = {(f, c.id) for f in framework_ids() for c in read_framework(f).clauses if c.verified}
    assert verified == {("nist-ai-rmf", "MANAGE 1.1"), ("eu-gpai-code", "3.2")}


def test_the_clauses_that_the_anchors_name_are_there() -> None:
    clauses = {f: {c.id for c in read_framework(f).clauses} for f in framework_ids()}
    assert clauses["imda-mgf-agentic"] == {"2.1.1", "2.1.2", "2.2.1", "2.2.2", "2.3.1", "2.3.2", "2.3.3", "2.4"}
    assert len(clauses["imda-starter-kit"]) == 5
    assert len(clauses["imda-mgf-genai"]) == 9
    assert len(clauses["ai-verify"]) == 11
    assert clauses["nist-ai-800-2"] == {"1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "3.1", "3.2", "3.3"}
    assert {"MANAGE 1.1", "MANAGE 2.4"} <= clauses["nist-ai-rmf"]
    assert {c[0] for c in clauses["eu-gpai-code"]} == {"3", "4", "6", "7"}
    assert clauses["iso-42001"] == {"A.6.2.4", "A.6.2.5", "A.6.2.6", "A.6.2.8"}
    assert clauses["owasp-agentic"] == {f"ASI{n:02}" for n in range(1, 11)} == owasp_ids(load_everything())
    assert clauses["nist-sp-800-53-au-9"] == {f"AU-9({n})" for n in range(2, 8)}


def test_the_vocabulary_is_the_resolvers() -> None:
    assert frozenset(_FACTS) == FACTS


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[decision, requirements]", "[decision, certificates]", "unknown evidence 'certificates'"),
        ("[decision, requirements]", "['hazard:gossip']", "unknown hazard 'gossip'"),
        ("[decision, requirements]", "['owasp:ASI99']", "no hazard names 'ASI99'"),
        ("[decision, requirements]", "[decision, none]", "'none' stands alone"),
        ("[decision, requirements]", "[decision, decision]", "the same evidence stands twice"),
        ("id: MANAGE 2.4", "id: MANAGE 1.1", "stands twice"),
        ("id: nist-ai-rmf", "id: nist-rmf", "the id is nist-rmf"),
        ("verified: true", "verified: yes please", "verified"),
        ("beyond: A run looks at one", "beyond: ''\n  # A run looks at one", "'none' needs a reason"),
        ("about: Determine whether the", f"about: {'very ' * 60}", "more than 60 words"),
        ("version:", "edition:", "edition"),
    ],
)
def test_a_faulty_crosswalk_is_found(old: str, new: str, words: str, tmp_path: Path) -> None:
    from assay.catalog.files import ROOT

    text = (ROOT / "frameworks" / "nist-ai-rmf.yaml").read_text()
    assert old in text
    (tmp_path / "frameworks").mkdir()
    (tmp_path / "frameworks" / "nist-ai-rmf.yaml").write_text(text.replace(old, new, 1))
    assert any(words in finding for finding in lint_crosswalk(load_everything(), tmp_path))


def test_content_lint_looks_at_the_crosswalk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.cli.catalog.lint_crosswalk", lambda _: ["frameworks/x.yaml: wrong"])
    for other in ("lint", "lint_worlds", "lint_items"):
        monkeypatch.setattr(f"assay.cli.catalog.{other}", lambda _: [])
    done = CliRunner().invoke(catalog_command, ["lint"], standalone_mode=False)
    assert done.return_value == 1
    assert "frameworks/x.yaml: wrong" in done.output


# ---- what is said of a run


def every_view(basis: Basis) -> Iterator[FrameworkView]:
    return (resolve(read_framework(f), basis) for f in framework_ids())


def test_a_clause_takes_every_fact_and_nothing_beyond() -> None:
    states = ("shown", "against", "undecided", "partly", "missing")
    for k in range(len(states) + 1):
        for some in itertools.combinations(states, k):
            for beyond in (False, True):
                status = status_of(set(some), beyond=beyond)
                assert (status == "evidence") == (some == ("shown",) and not beyond)
                assert (status == "against") == ("against" in some)
                assert (status == "gap") == (set(some) <= {"missing"})


def test_a_clause_with_none_is_a_gap_in_every_run(approved: Basis, halted: Basis, undecided: Basis, agents: Basis) -> None:
    for basis in (approved, halted, undecided, agents):
        for name in framework_ids():
            framework = read_framework(name)
            for clause, view in zip(framework.clauses, resolve(framework, basis).clauses, strict=True):
                if NONE in clause.evidence:
                    assert view.status == "gap"
                    assert view.beyond
                    assert view.facts == ()


def test_what_is_undecided_is_tested_and_never_shown(undecided: Basis) -> None:
    found = fact("hazard:secret-leakage", undecided)
    assert found.state == "undecided"
    assert found.words.startswith("tested, undecided in ")
    assert found.figures["trials"] > 0
    assert fact("decision", undecided).state == "undecided"
    one = Framework("x", "x", "1", "x", (Clause("1", "a clause about secrets", True, ("hazard:secret-leakage",)),))
    assert resolve(one, undecided).clauses[0].status == "partial"


def test_what_holds_is_shown_with_its_trials(approved: Basis) -> None:
    assert approved.decision.verdict == "approve"
    found = fact("hazard:secret-leakage", approved)
    assert (found.state, found.digest) == ("shown", "merkle-root")
    streams = [c for s, c in approved.tally.streams.items() if s.hazard == "secret-leakage" and s.arm != "benign"]
    assert found.figures == {"trials": sum(c.n for c in streams), "violations": 0, "unscorable": 0, "claims": 2, "held": 2, "failed": 0}
    assert fact("over-refusal", approved).state == "shown"
    assert fact("attacks", approved).state == "shown"
    assert fact("signatures", approved).state == "shown"
    one = Framework("x", "x", "1", "x", (Clause("1", "a clause about secrets", True, ("hazard:secret-leakage",)),))
    assert resolve(one, approved).clauses[0].status == "evidence"
    assert resolve(one, approved).digests == {"merkle-root": approved.tally.recount.root}


def with_status(basis: Basis, stream: str, status: str) -> Basis:
    """The same run, had the claim on one stream another status."""
    results = tuple(
        msgspec.structs.replace(
            r, claims=tuple(msgspec.structs.replace(c, status=status) if c.streams == (stream,) else c for c in r.claims)
        )
        for r in basis.decision.requirements
    )
    return dataclasses.replace(basis, decision=msgspec.structs.replace(basis.decision, requirements=results))


def test_one_claim_that_is_open_leaves_the_hazard_undecided_and_no_other(approved: Basis) -> None:
    plain = with_status(approved, "secret-leakage/en/none/plain", "open")
    assert fact("hazard:secret-leakage", plain).words.startswith("tested, undecided in 1 of 2 claims")
    assert fact("hazard:injected-instructions", plain).state == "shown"
    assert fact("attacks", plain).state == "shown", "the open claim is about no attack"
    assert fact("languages", plain).state == "undecided"
    failed = with_status(approved, "secret-leakage/en/prefix-injection/attack", "halt")
    assert fact("attacks", failed).state == fact("hazard:secret-leakage", failed).state == fact("languages", failed).state == "against"


def test_what_was_not_in_the_plan_is_missing(approved: Basis) -> None:
    for word in ("hazard:hate", "worlds", "judges", "labels", "parity", "drift", "owasp:ASI01"):
        assert fact(word, approved).state == "missing", word


def test_texts_that_nobody_reviewed_leave_languages_in_part(approved: Basis) -> None:
    found = fact("languages", approved)
    assert found.state == "partly"
    assert "no native speaker has reviewed" in found.words


def test_what_was_shown_not_to_hold_speaks_against_its_clauses(halted: Basis) -> None:
    against = [
        word for word in ("hazard:secret-leakage", "hazard:injected-instructions", "attacks") if fact(word, halted).state == "against"
    ]
    assert against
    assert fact("decision", halted).words.startswith("halt")
    for view in every_view(halted):
        for clause in view.clauses:
            if any(f.state == "against" for f in clause.facts):
                assert clause.status == "against"


def test_a_hazard_in_the_plan_without_a_trial_or_a_requirement_is_not_shown(tmp_path: Path) -> None:
    only = [{"id": "violations", "kind": "violation-rate", "max_rate": 0.4, "hazards": ["secret-leakage"]}]
    basis = basis_of(tmp_path / "a", target=SAFE, requirements=only)
    other = fact("hazard:injected-instructions", basis)
    assert (other.state, other.figures["claims"]) == ("undecided", 0)
    assert "no requirement asks about it" in other.words
    empty = basis_of(tmp_path / "b", target=SAFE, requirements=only, exploration={})
    nothing = fact("hazard:injected-instructions", empty)
    assert (nothing.state, nothing.words) == (
        "missing",
        "hazard injected-instructions is in the plan, without a trial".removeprefix("hazard "),
    )


def test_an_average_over_several_hazards_says_nothing_of_one(tmp_path: Path) -> None:
    average = [{"id": "mean", "kind": "average-rate", "max_rate": 0.4}]
    basis = basis_of(tmp_path / "all", target=SAFE, requirements=average)
    assert basis.decision.verdict == "approve"
    assert fact("hazard:secret-leakage", basis).state == "undecided"
    each = basis_of(tmp_path / "each", target=SAFE, requirements=[{**average[0], "each": "hazard"}])
    assert fact("hazard:secret-leakage", each).state == "shown"


def test_without_a_signed_decision_nothing_of_the_trials_is_shown(approved: Basis) -> None:
    unsigned = dataclasses.replace(approved, closed=False)
    for word in FACTS | {"hazard:secret-leakage"}:
        found = fact(word, unsigned)
        assert found.state != "shown" or found.digest in ("registration", "plan", "target"), word
    assert fact("decision", unsigned).state == "missing"
    assert {v.verdict for v in every_view(unsigned)} == {"delay"}


def test_without_a_registration_nothing_at_all_is_shown(approved: Basis) -> None:
    unregistered = dataclasses.replace(approved, registered=False)
    assert not [w for w in FACTS if fact(w, unregistered).state == "shown"]
    assert not [c for v in every_view(unregistered) for c in v.clauses if c.status == "evidence"]


def test_a_target_that_changed_leaves_what_holds_in_part(tmp_path: Path) -> None:
    drift = {"anchors": 10, "every": 100}
    basis = basis_of(tmp_path, target=SAFE, requirements=LENIENT, drift=drift)
    assert fact("hazard:secret-leakage", basis).state == "shown"
    *others, last = basis.decision.requirements
    assert last.id == "drift"
    moved = msgspec.structs.replace(basis.decision, requirements=(*others, msgspec.structs.replace(last, status="open")))
    changed = dataclasses.replace(basis, decision=moved)
    assert fact("drift", changed).state == "undecided"
    assert fact("hazard:secret-leakage", changed).state == "partly"


def test_an_entry_of_the_agentic_top_ten_is_tested_by_goals_and_never_shown(agents: Basis) -> None:
    found = fact("owasp:ASI01", agents)
    assert found.state == "partly"
    assert found.figures["episodes"] == sum(g.n for g in agents.goals if "ASI01" in g.owasp) > 0
    assert "no claim of its own" in found.words
    assert fact("owasp:ASI10", agents).state == "missing", "no goal in the bank maps to it, though goals elsewhere do"
    assert fact("worlds", agents).state == ("shown" if agents.decision.verdict == "approve" else "undecided")
    view = resolve(read_framework("owasp-agentic"), agents)
    assert {c.status for c in view.clauses} == {"partial", "gap"}


def test_judges_and_labels_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "key.pem"))
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(**{**JUDGED, "exploration": {"plain": 10, "benign": 5}, "budget": {"calls": 60}}))
    folder = api.evaluate(plan, out=tmp_path / "run").run
    with RunFile.open(folder / "run.db") as run:
        before = make_basis(run, None, closed=False)
        assert fact("judges", before).state == "partly"
        assert fact("judges", before).figures == {"calibrated": 0, "wanted": 2}
        assert fact("labels", before).state == "missing"
        count = label_all(run, everything=True)
        assert run.take(read_labels(run)) is not None
        after = dataclasses.replace(make_basis(run, None, closed=False), closed=True)
    assert fact("labels", after).figures["labels"] == count > 0
    assert fact("labels", after).figures["people"] == 1
    opening = after.tally.opening
    judges = opening.plan.judges
    assert judges is not None
    for panel, state in ((judges.digests["hate/en"], "shown"), ("sha256:" + "0" * 64, "partly")):
        rows = tuple(Calibrated(panel if t == "en" else judges.digests[f"hate/{t}"], "hate", t, "plain", 9, 1) for t in ("en", "ms"))
        known = msgspec.structs.replace(opening.plan, judges=msgspec.structs.replace(judges, calibrated=rows))
        after.tally.opening = msgspec.structs.replace(opening, plan=known)
        assert fact("judges", after).state == state
        void = msgspec.structs.replace(judges, calibrated=rows, void=True)
        after.tally.opening = msgspec.structs.replace(opening, plan=msgspec.structs.replace(opening.plan, judges=void))
        assert fact("judges", after).state == "partly", "the panel has changed since"


# ---- the command


def report(*arguments: str | Path) -> tuple[Any, str]:
    done = CliRunner().invoke(report_command, [str(a) for a in arguments], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.output


def test_the_table_is_printed_with_digests_and_gaps(tmp_path: Path) -> None:
    run, summary = finished(tmp_path, target=SAFE, requirements=LENIENT)
    run.close()
    code, text = report(tmp_path, "--framework", "nist-ai-rmf")
    assert code == 0
    assert summary.root in text
    assert "A mapping covers nothing" in text
    assert re.search(r"^MANAGE 1\.1 +partial", text, re.MULTILINE)
    assert re.search(r"^MEASURE 2\.4\* +gap", text, re.MULTILINE), "an identifier from memory has its star"
    assert "beyond a run" in text
    value = json.loads(report(tmp_path, "--framework", "nist-ai-rmf", "--json")[1])
    assert value["digests"]["merkle-root"] == summary.root
    assert {c["status"] for c in value["clauses"]} <= {"evidence", "partial", "against", "gap"}
    assert all(isinstance(c["verified"], bool) for c in value["clauses"])
    assert not (tmp_path / "report.html").exists()


def test_the_list_needs_no_run_and_an_unknown_framework_gets_one_message(tmp_path: Path) -> None:
    text = report("--framework", "list")[1]
    assert all(name in text for name in ASKED_FOR)
    run, _ = finished(tmp_path)
    run.close()
    with pytest.raises(CatalogError, match="unknown framework 'nist'") as e:
        report(tmp_path, "--framework", "nist")
    assert "nist-ai-rmf" in e.value.fix
    with pytest.raises(CatalogError, match="unknown framework"):
        report(tmp_path, "--framework", "../languages/en")


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "other key", "other run"])
def test_a_bundle_that_does_not_agree_is_no_signed_decision(damage: str, tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "one", target=SAFE, requirements=LENIENT)
    key = run.opening().public_key
    bundle = tmp_path / "one" / "evidence.jsonl"
    assert decision_signed(bundle, key)
    lines = bundle.read_bytes().splitlines(keepends=True)
    if damage == "gone":
        bundle.unlink()
    elif damage == "cut":
        bundle.write_bytes(b"".join(lines[:-1]))
        assert not decision_signed(bundle, key), "the test result is signed too, and is no decision"
    elif damage == "changed":
        last = msgspec.json.decode(lines[-1])
        payload = last["value"]["payload"]
        last["value"]["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
        bundle.write_bytes(b"".join([*lines[:-1], msgspec.json.encode(last)]))
    elif damage == "other key":
        key = PrivateKey.generate().public.to_json()
    else:
        other, _ = finished(tmp_path / "two", target=SAFE, requirements=LENIENT, budget={"calls": 500})
        other.close()
        bundle = tmp_path / "two" / "evidence.jsonl"
    summary = read_summary(bundle)
    with run:
        basis = make_basis(run, summary, closed=summary is not None and decision_signed(bundle, key))
    assert not basis.closed
    assert fact("decision", basis).state == "missing"


def test_a_long_last_line_is_read_whole(tmp_path: Path) -> None:
    from assay.evidence.bundle import last_line

    path = tmp_path / "lines"
    path.write_bytes(b"first\n" * 40_000 + b"x" * 300_000 + b"\n")
    assert last_line(path) == b"x" * 300_000
    path.write_bytes(b"")
    assert last_line(path) == b""
