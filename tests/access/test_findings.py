"""Findings: who may sign, move, see and pass on; and that what leaves is valid CSAF 2.0 and OSV."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.access.findings.csaf import Publisher, csaf_document
from assay.access.findings.finding import (
    MOVES,
    EmbargoError,
    FindingError,
    UntrustedFindingError,
    Viewer,
    check_reporter,
    new_record,
    severity_of,
    visible,
)
from assay.access.findings.form import FORM, day_end_ms, read_form
from assay.access.findings.osv import osv_record
from assay.access.findings.scenario import drafts, with_drafts, write_drafts
from assay.access.findings.steps import Change, approve, may_export, open_record, propose
from assay.errors import AssayError
from assay.ledger import PrivateKey
from tests.access.findings_gate import (
    ADMINS,
    DAY,
    NOW,
    PUBLIC,
    REPORTER,
    STRANGER,
    VECTOR,
    confirmed,
    disclosed,
    fresh,
    gate,
    moved,
    opened,
    report,
)

LAB = Publisher("Example Lab", "https://example.org")
LATER = NOW + 60 * DAY


def test_a_report_goes_its_way_and_keeps_who_when_and_why() -> None:
    finding = opened(disclosed())
    assert (finding.state, finding.tlp, finding.disclosed_at) == ("disclosed", "CLEAR", NOW + 31 * DAY)
    assert [(s.to, n) for s, n in zip(finding.steps, finding.signers, strict=True)] == [
        ("triaged", ("ada",)), ("confirmed", ("ada",)), ("disclosed", ("ada",)),
    ]  # fmt: skip
    assert all(s.why == "seen again here" for s in finding.steps)


@pytest.mark.parametrize("state", [s for s in MOVES if s != "reported"])
def test_from_reported_only_the_allowed_moves_are_made(state: str) -> None:
    record = fresh(tlp="CLEAR")
    if state in MOVES["reported"]:
        assert opened(moved(record, state, at=LATER)).state == state
    else:
        with pytest.raises(FindingError, match="it may come to"):
            moved(record, state, at=LATER)


def test_what_is_withdrawn_stays_so() -> None:
    record = moved(fresh(), "withdrawn")
    for state in MOVES:
        with pytest.raises(FindingError):
            moved(record, state)


def test_the_reporter_withdraws_and_nothing_else() -> None:
    record = fresh()
    with pytest.raises(FindingError, match="may withdraw"):
        propose(record, opened(record), Change("triaged", "mine"), REPORTER, PUBLIC, 2, NOW + DAY)
    with pytest.raises(FindingError, match="may withdraw"):
        propose(record, opened(record), Change("withdrawn", "mine", tlp="CLEAR"), REPORTER, PUBLIC, 2, NOW + DAY)
    made = propose(record, opened(record), Change("withdrawn", "a mistake of mine"), REPORTER, PUBLIC, 2, NOW + DAY)
    assert opened(made).state == "withdrawn"


def test_a_stranger_moves_nothing() -> None:
    record = fresh()
    with pytest.raises(FindingError, match="nobody administers"):
        propose(record, opened(record), Change("triaged", "why"), STRANGER, PUBLIC, 2, NOW + DAY)
    forged = propose(record, opened(record), Change("triaged", "why"), STRANGER, {"ada": STRANGER.public}, 2, NOW + DAY)
    with pytest.raises(UntrustedFindingError, match="signed by 0"):
        opened(forged)


@pytest.mark.parametrize("change", [Change("", "no reason to wait", NOW + DAY), Change("disclosed", "no reason to wait", tlp="GREEN")])
def test_ending_an_embargo_early_takes_two_administrators(change: Change) -> None:
    record = confirmed()
    made = propose(record, opened(record), change, ADMINS["ada"], PUBLIC, 2, NOW + 2 * DAY)
    finding = opened(made)
    assert finding.pending is not None
    assert finding.pending_by == ("ada",)
    assert (finding.state, finding.embargo_until) == ("confirmed", NOW + 30 * DAY)  # nothing has happened yet
    with pytest.raises(FindingError, match="signed it already"):
        approve(made, finding, ADMINS["ada"], PUBLIC, 2, NOW + 2 * DAY)
    with pytest.raises(FindingError, match="nobody administers"):
        approve(made, finding, STRANGER, PUBLIC, 2, NOW + 2 * DAY)
    done = opened(approve(made, finding, ADMINS["abel"], PUBLIC, 2, NOW + 2 * DAY))
    assert set(done.signers[-1]) == {"ada", "abel"}
    moved_on = dict(made, steps=[*made["steps"], made["pending"]])
    del moved_on["pending"]
    with pytest.raises(UntrustedFindingError, match="it takes 2"):
        opened(moved_on)


def test_a_threshold_of_one_still_takes_two_to_end_an_embargo() -> None:
    record = confirmed()
    made = propose(record, opened(record), Change("", "why", NOW + DAY), ADMINS["ada"], PUBLIC, 1, NOW + 2 * DAY)
    assert "pending" in made


def test_a_step_that_waits_is_void_when_another_was_made() -> None:
    record = confirmed()
    waiting = propose(record, opened(record), Change("", "why", NOW + DAY), ADMINS["ada"], PUBLIC, 2, NOW + 2 * DAY)
    other = moved(record, "fixed", at=NOW + 2 * DAY)
    assert "pending" not in moved(waiting, "fixed", at=NOW + 2 * DAY)
    assert opened({**other, "pending": waiting["pending"]}).pending is None


def test_steps_of_administrators_who_left_count_once_two_have_adopted_them() -> None:
    left = {n: k for n, k in PUBLIC.items() if n != "ada"}
    record = confirmed()
    with pytest.raises(UntrustedFindingError, match="nobody"):
        open_record(record, left, 2)
    finding = open_record(record, left, 2, adopting=True)
    made = propose(record, finding, Change("", "she left", adopts=True), ADMINS["abel"], left, 2, NOW + 3 * DAY)
    with pytest.raises(UntrustedFindingError):
        open_record(made, left, 2)
    made = approve(made, open_record(made, left, 2, adopting=True), ADMINS["amy"], left, 2, NOW + 3 * DAY)
    assert open_record(made, left, 2).state == "confirmed"


def test_one_rogue_administrator_adopts_nothing_alone() -> None:
    record = confirmed()
    made = propose(record, opened(record), Change("", "mine", NOW + DAY), STRANGER, {"eve": STRANGER.public}, 1, NOW + 2 * DAY)
    early = {**{k: v for k, v in made.items() if k != "pending"}, "steps": [*made["steps"], made["pending"]]}
    adopted = propose(early, open_record(early, PUBLIC, 2, adopting=True), Change("", "fine", adopts=True), ADMINS["ada"], PUBLIC, 2, LATER)
    alone = {**{k: v for k, v in adopted.items() if k != "pending"}, "steps": [*adopted["steps"], adopted["pending"]]}
    with pytest.raises(UntrustedFindingError):
        opened(alone)


def _tampered(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Records that somebody who writes to the store could leave there."""
    other = PrivateKey.generate()
    steps = record["steps"]
    out = {
        "a step is left out": {**record, "steps": steps[1:]},
        "two steps are swapped": {**record, "steps": steps[::-1]},
        "the last step is doubled": {**record, "steps": [*steps, steps[-1]]},
        "a step without keys": {**record, "steps": [{"envelope": steps[0]["envelope"], "keys": []}, *steps[1:]]},
        "another reporter's key": {**record, "key": other.public.to_json()},
        "another report before the steps": {**new_record(report(title="Another"), REPORTER), "steps": steps},
        "steps of another finding": {**new_record(report(id="f-ba9876543210"), REPORTER), "steps": steps},
    }
    for name, path in (("a changed report", ("report",)), ("a changed step", ("steps", 0, "envelope"))):
        value: Any = copy.deepcopy(record)
        at = value
        for key in path:
            at = at[key]
        at["signatures"][0]["sig"] = "A" * 86 + "=="
        out[name] = value
    return out


@pytest.mark.parametrize("name", sorted(_tampered(confirmed())))
def test_a_record_that_was_changed_in_the_store_does_not_open(name: str) -> None:
    with pytest.raises(FindingError):
        opened(_tampered(confirmed())[name])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["assay", "report", "key", "steps", "pending", "a"]), x, max_size=6)
        ),
        max_leaves=12,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_in_the_store_is_refused_with_a_message(value: Any) -> None:
    with pytest.raises(AssayError):
        opened(value)
    if isinstance(value, dict):
        with pytest.raises(AssayError):
            opened({**confirmed(), "steps": [value]})


def test_its_organisation_and_administrators_see_it_and_all_others_after_disclosure() -> None:
    early, late = opened(confirmed()), opened(disclosed())
    for finding in (early, late):
        assert visible(finding, Viewer(administrator="ada"), NOW)
        assert visible(finding, Viewer(organisation="Example Power"), NOW)
    for viewer in (Viewer(), Viewer(organisation="Example Water")):
        assert not visible(early, viewer, LATER)  # never disclosed: not even after the embargo
        assert not visible(late, viewer, NOW + 30 * DAY - 1)
        assert visible(late, viewer, NOW + 31 * DAY)


def test_a_disclosure_that_lies_about_its_time_opens_nothing_early() -> None:
    record = propose(confirmed(), opened(confirmed()), Change("disclosed", "w", tlp="CLEAR"), ADMINS["ada"], PUBLIC, 2, NOW + 40 * DAY)
    assert opened(record).state == "disclosed"
    assert not visible(opened(record), Viewer(), NOW + 2 * DAY)
    with pytest.raises(EmbargoError):
        csaf_document(opened(record), LAB, NOW + 2 * DAY)


def test_only_what_is_marked_for_others_is_disclosed() -> None:
    with pytest.raises(FindingError, match="TLP:CLEAR or TLP:GREEN"):
        moved(confirmed(), "disclosed", at=LATER)


def test_a_reporter_who_is_not_of_the_grant_is_refused(tmp_path: Path) -> None:
    from assay.access.grants.grant import open_all

    _, config, store = gate(tmp_path)
    grants, _ = open_all(store.snapshot(), config.admins, time.time_ns() // 1_000_000)
    check_reporter(report(), grants)
    for changes in ({"grant": "water"}, {"person": "Somebody"}, {"organisation": "Example Water"}, {"digest": "sha256:" + "00" * 32}):
        with pytest.raises(UntrustedFindingError):
            check_reporter(report(**changes), grants)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embargo_until": NOW - 1}, "before the report"),
        ({"embargo_until": NOW + 800 * DAY}, "two years"),
        ({"description": "Like so:\n```\nrun it\n```"}, "general words"),
        ({"description": "Say " + "QUJD" * 20}, "general words"),
        ({"severity": "CVSS:4.0/AV:N"}, "not a CVSS"),
    ],
)
def test_a_report_that_says_too_much_or_too_little_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FindingError, match=said):
        fresh(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"title": "two\nlines"}, {"title": "\u202ereversed"}, {"id": "f-1"}, {"references": [{"url": "javascript:alert(1)", "about": "x"}]}],
)
def test_a_report_with_what_steers_a_terminal_or_a_browser_is_no_report(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        report(**changes)


@pytest.mark.parametrize(
    ("vector", "score", "rating"),
    [  # worked examples of FIRST's CVSS v4.0 documents
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, "critical"),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", 0.0, "none"),
        (VECTOR, 8.7, "high"),
    ],
)
def test_severity_is_scored(vector: str, score: float, rating: str) -> None:
    found = severity_of(vector)
    assert (found.score, found.rating) == (score, rating)


@pytest.mark.parametrize(
    "vector", ["", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:4.0/AV:X", VECTOR + "/AV:N", VECTOR + "/ZZ:1"]
)
def test_what_is_no_vector_of_version_4_is_refused(vector: str) -> None:
    with pytest.raises(FindingError):
        severity_of(vector)


RECORDS = {
    "confirmed, a draft": lambda: confirmed(),
    "fixed": lambda: moved(confirmed(), "fixed", fixed={"Outage Desk": "4.3"}),
    "disclosed": disclosed,
    "disclosed, green": lambda: disclosed("GREEN"),
    "disclosed, then changed": lambda: moved(disclosed(), "", at=NOW + 32 * DAY, fixed={"Outage Desk": "4.3"}),
    "withdrawn in public": lambda: moved(disclosed(), "withdrawn", at=NOW + 32 * DAY),
    "the model itself": lambda: disclosed(systems=[], severity="", credit="", references=[]),
    "the model itself, by its record": lambda: disclosed(systems=[], digest="assayTargetIdentity:" + "cd" * 32),
    "strict": lambda: confirmed(tlp="AMBER+STRICT"),
    "two makers": lambda: confirmed(
        systems=[
            {"vendor": "Example Grid", "name": "Desk", "versions": ["1"], "fixed": "2"},
            {"vendor": "Example Grid", "name": "Map", "versions": ["1"]},
            {"vendor": "Example Sea", "name": "Buoy", "versions": ["9"]},
        ]
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_an_advisory_holds_against_the_oasis_schema_and_the_mandatory_tests(name: str) -> None:
    from csaf.csaf.v20 import validate

    document = csaf_document(opened(RECORDS[name]()), LAB, LATER)
    found = validate(document)
    assert found.overall_valid, [r for r in found.results if not r.passed]
    assert {r.group for r in found.results} >= {"schema", "mandatory"}
    assert len(found.results) > 30
    broken = {**document, "document": {**document["document"], "csaf_version": "9"}}
    assert not validate(broken).overall_valid


def test_an_advisory_says_what_was_reported_and_no_more() -> None:
    record = disclosed("GREEN")
    document = csaf_document(opened(record), LAB, LATER)
    text = json.dumps(document)
    assert document["document"]["distribution"]["tlp"]["label"] == "GREEN"
    assert document["document"]["tracking"]["status"] == "final"
    assert VECTOR in text
    assert "8.7" in text
    assert report().key not in text
    assert "sha256:" + "01" * 32 not in text  # evidence stays with those who have it
    assert document["vulnerabilities"][0]["product_status"]["known_affected"] == ["system-0-0", "system-0-1"]


def test_a_stricter_mark_is_never_written_as_a_looser_one() -> None:
    order = ["WHITE", "GREEN", "AMBER", "RED"]
    given = ["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"]
    written = [csaf_document(opened(confirmed(tlp=t)), LAB, LATER)["document"]["distribution"]["tlp"]["label"] for t in given]
    assert [order.index(w) for w in written] == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("form", ["csaf", "osv"])
@pytest.mark.parametrize("make", [confirmed, disclosed], ids=["confirmed", "disclosed"])
def test_nothing_leaves_before_its_embargo_ends(make: Any, form: str) -> None:
    with pytest.raises(EmbargoError, match="under embargo"):
        may_export(opened(make(tlp="CLEAR")), form, NOW + 30 * DAY - 1)


def test_two_administrators_let_it_leave_early() -> None:
    record = moved(confirmed(), "", at=NOW + 2 * DAY, embargo_until=NOW + 2 * DAY)
    assert csaf_document(opened(record), LAB, NOW + 2 * DAY)["document"]["tracking"]["status"] == "draft"


@pytest.mark.parametrize("state", ["reported", "triaged", "rejected", "withdrawn"])
def test_what_nobody_confirmed_does_not_leave(state: str) -> None:
    record = fresh() if state == "reported" else moved(fresh(), state)
    for form in ("csaf", "osv"):
        with pytest.raises(EmbargoError, match="only what was confirmed"):
            may_export(opened(record), form, LATER)


def test_osv_is_for_what_everybody_may_know() -> None:
    for record in (confirmed(tlp="CLEAR"), disclosed("GREEN")):
        with pytest.raises(EmbargoError, match="OSV is for everybody"):
            osv_record(opened(record), "EXAMPLE", LATER)


def _osv_problems(record: dict[str, Any]) -> list[str]:
    """What the text of the format (1.7.5) asks for, in code: no package index has its schema, and none is copied here."""
    out = []
    known = {
        "schema_version",
        "id",
        "modified",
        "published",
        "withdrawn",
        "aliases",
        "upstream",
        "related",
        "summary",
        "details",
        "severity",
    }
    known |= {"affected", "references", "credits", "database_specific"}
    out += [f"unknown field {k}" for k in set(record) - known]
    out += [f"no {k}" for k in ("schema_version", "id", "modified") if not record.get(k)]
    if not re.fullmatch(r"\d+\.\d+\.\d+", record["schema_version"]) or not re.fullmatch(r"[A-Z][A-Z0-9]*-[A-Za-z0-9-]+", record["id"]):
        out.append("version or id")
    for name in ("modified", "published", "withdrawn"):
        if name in record and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record[name]):
            out.append(f"{name} is no RFC 3339 time in UTC")
    if "\n" in record["summary"] or len(record["summary"]) > 300:
        out.append("the summary is one line")
    for severity in record.get("severity", []):
        if severity["type"] != "CVSS_V4" or set(severity) != {"type", "score"} or not severity["score"].startswith("CVSS:4.0/"):
            out.append("severity")
    for affected in record["affected"]:
        if not affected.get("versions") or set(affected) - {
            "package",
            "ranges",
            "versions",
            "severity",
            "ecosystem_specific",
            "database_specific",
        }:
            out.append("what is affected has no range, so it enumerates versions")
    kinds = {"ADVISORY", "ARTICLE", "DETECTION", "DISCUSSION", "REPORT", "FIX", "GIT", "INTRODUCED", "PACKAGE", "EVIDENCE", "WEB"}
    out += ["reference" for r in record["references"] if r["type"] not in kinds or set(r) != {"type", "url"}]
    out += ["credit" for c in record.get("credits", []) if not c["name"] or c.get("type") != "REPORTER"]
    if record.get("withdrawn", record["modified"]) > record["modified"] or record["published"] > record["modified"]:
        out.append("times out of order")
    return out


@pytest.mark.parametrize("name", [n for n in RECORDS if n.startswith(("disclosed", "withdrawn", "the model")) and "green" not in n])
def test_an_osv_record_is_as_the_format_says(name: str) -> None:
    record = osv_record(opened(RECORDS[name]()), "EXAMPLE", LATER)
    assert _osv_problems(record) == []
    assert ("withdrawn" in record) == (name == "withdrawn in public")
    assert _osv_problems({**record, "modified": "yesterday"})


def test_a_prefix_is_a_database_name() -> None:
    for prefix in ("", "x", "A-B", "../A"):
        with pytest.raises(FindingError, match="prefix"):
            osv_record(opened(disclosed()), prefix, LATER)


@pytest.mark.parametrize("hazard", ["secret-leakage", "keeps-no-notes"])
def test_a_draft_is_never_complete(hazard: str, tmp_path: Path) -> None:
    from assay.catalog import load_everything
    from assay.errors import PlanError
    from assay.plan import plan_path, read_plan
    from assay.scenarios import gaps, lint

    files, missing = drafts(opened(confirmed()), hazard, plan_path("quick").read_text())
    write_drafts(files, tmp_path / "draft")
    catalog = with_drafts(load_everything(), tmp_path / "draft")
    lacking = [f for f in lint(catalog) if hazard in f]
    assert lacking, "lint names what is missing"
    assert any("f-0123456789ab" in s for (h, _), s in gaps(catalog).items() if h == hazard)
    assert any("max_rate" in m for m in missing)
    with pytest.raises(PlanError, match="max_rate"):
        read_plan(str(tmp_path / "draft" / "plan.yaml"))


def test_with_the_threshold_the_plan_of_a_known_hazard_is_valid(tmp_path: Path) -> None:
    from assay.plan import plan_path, read_plan

    files, _ = drafts(opened(confirmed()), "secret-leakage", plan_path("quick").read_text(), 0.02)
    write_drafts(files, tmp_path / "draft")
    plan, _ = read_plan(str(tmp_path / "draft" / "plan.yaml"))
    assert [r.id for r in plan.requirements][-1] == "f-0123456789ab"
    with pytest.raises(FindingError, match="already"):
        write_drafts(files, tmp_path / "draft")


def test_only_what_was_confirmed_becomes_a_scenario() -> None:
    with pytest.raises(FindingError, match="what was confirmed"):
        drafts(opened(fresh()), "secret-leakage", "assay: plan/1")


def test_the_form_asks_for_general_words_and_is_not_taken_as_it_is(tmp_path: Path) -> None:
    assert "GENERAL WORDS" in FORM
    path = tmp_path / "form.yaml"
    path.write_text(FORM.replace('title: ""', "title: A title"))
    with pytest.raises(FindingError, match="form's own"):
        read_form(path)
    assert day_end_ms("2026-12-31") == int(datetime.fromisoformat("2026-12-31T23:59:59.999+00:00").timestamp() * 1000)
    with pytest.raises(FindingError):
        day_end_ms("2026-02-30")


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assay", "access", "finding", *arguments], cwd=folder, capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip


def test_at_the_command_line_from_the_form_to_the_advisory(tmp_path: Path) -> None:
    _, _, store = gate(tmp_path)
    assert _run(tmp_path, "form", "form.yaml").returncode == 0
    form = yaml.safe_load((tmp_path / "form.yaml").read_text())
    ends = datetime.fromtimestamp(time.time() + 10 * 86_400).date()  # noqa: DTZ006
    form |= {
        "title": "It repeats notes",
        "description": "In general words.",
        "embargo": ends.isoformat(),
        "severity": VECTOR,
        "tlp": "CLEAR",
    }
    (tmp_path / "form.yaml").write_text(yaml.safe_dump(form))
    given = ("--config", "gate.yaml")
    refused = _run(tmp_path, "report", "form.yaml", *given, "--grant", "power", "--person", "Rania", "--key", "stranger.pem")
    assert refused.returncode == 1
    assert "no person of the grant" in refused.stderr
    done = _run(tmp_path, "report", "form.yaml", *given, "--grant", "power", "--person", "Rania", "--key", "rania.pem")
    assert done.returncode == 0, done.stderr
    (finding_id,) = store.records("finding")
    hidden = _run(tmp_path, "show", finding_id, *given, "--key", "stranger.pem")
    assert hidden.returncode == 2
    assert "In general words" not in hidden.stdout + hidden.stderr
    assert "0 finding(s)" in _run(tmp_path, "list", *given).stdout
    assert "In general words" in _run(tmp_path, "show", finding_id, *given, "--key", "rania.pem").stdout
    for state in ("triaged", "confirmed"):
        done = _run(tmp_path, "update", finding_id, *given, "--key", "ada.pem", "--to", state, "--why", "seen again")
        assert done.returncode == 0, done.stderr
    export = ("export", finding_id, *given, "--key", "ada.pem", "--publisher", "Example Lab", "--namespace", "https://example.org")
    early = _run(tmp_path, *export)
    assert early.returncode == 1
    assert "under embargo" in early.stderr
    assert not list(tmp_path.glob("*.csaf.json"))
    waits = _run(tmp_path, "update", finding_id, *given, "--key", "ada.pem", "--to", "disclosed", "--end-embargo", "--why", "it is known")
    assert "another administrator" in waits.stdout, waits.stderr
    assert _run(tmp_path, *export).returncode == 1
    assert _run(tmp_path, "update", finding_id, *given, "--key", "abel.pem", "--approve").returncode == 0
    done = _run(tmp_path, *export)
    assert done.returncode == 0, done.stderr
    from csaf.csaf.v20 import validate

    assert validate(json.loads((tmp_path / f"{finding_id}.csaf.json").read_text())).overall_valid
    done = _run(tmp_path, "export", finding_id, *given, "--format", "osv", "--prefix", "EXAMPLE")  # disclosed: anybody may
    assert done.returncode == 0, done.stderr
    assert _osv_problems(json.loads((tmp_path / f"{finding_id}.osv.json").read_text())) == []
    done = _run(tmp_path, "scenario", finding_id, *given, "--hazard", "secret-leakage", "--out", "draft")
    assert done.returncode == 0, done.stderr
    assert "max_rate" in done.stdout
    shown = _run(tmp_path, "show", finding_id, *given, "--json")
    assert json.loads(shown.stdout)["state"] == "disclosed"


def test_two_who_move_one_finding_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    from assay.access.store.base import ConflictError

    _, _, store = gate(tmp_path)
    record = fresh()
    version = store.put_record("finding", "f-0123456789ab", record, 0)
    store.put_record("finding", "f-0123456789ab", moved(record, "triaged"), version)
    with pytest.raises(ConflictError):
        store.put_record("finding", "f-0123456789ab", moved(record, "rejected"), version)


def test_a_damaged_record_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    _, _, store = gate(tmp_path)
    store.put_record("finding", "f-0123456789ab", disclosed(), 0)
    store.put_record("finding", "f-000000000000", {**disclosed(), "steps": []} | {"assay": "other"}, 0)
    done = _run(tmp_path, "list", "--config", "gate.yaml", "--key", "ada.pem", "--json")
    assert done.returncode == 1
    value = json.loads(done.stdout)
    assert [f["report"]["id"] for f in value["findings"]] == ["f-0123456789ab"]
    assert list(value["damaged"]) == ["f-000000000000"]
    for key in ((), ("--key", "rania.pem"), ("--key", "stranger.pem")):  # others are not told that there is one
        done = _run(tmp_path, "list", "--config", "gate.yaml", *key, "--json")
        assert (done.returncode, json.loads(done.stdout)["damaged"]) == (0, {})
        assert "there is no finding" in _run(tmp_path, "show", "f-000000000000", "--config", "gate.yaml", *key).stderr
