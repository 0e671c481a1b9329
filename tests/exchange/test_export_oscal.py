"""OSCAL assessment results: valid by NIST's schema, and nothing undecided is satisfied.

oscal-bindings are typed models made from NIST's JSON schema of OSCAL 1.2.3; what is valid by 1.2.1 stays valid by it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oscal_bindings.v1.parser import OscalParseError, parse_assessment_results

from assay.exchange.export import read_exported
from assay.exchange.export.spelling import line
from tests.exchange.exporting import exported, hostile_run, signed_run


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("signed"))


def results_of(run: Path, folder: Path) -> dict[str, Any]:
    data = exported("oscal", run, folder)
    parse_assessment_results(data)
    document: dict[str, Any] = json.loads(data)["assessment-results"]
    return document


def test_requirements_are_findings_and_streams_observations(signed: Path, tmp_path: Path) -> None:
    document = results_of(signed, tmp_path)
    (result,) = document["results"]
    with read_exported(signed) as run:
        heading = run.heading
    states = {f["target"]["target-id"]: f["target"]["status"] for f in result["findings"]}
    expected = {"approve": ("satisfied", "pass"), "halt": ("not-satisfied", "fail"), "open": ("not-satisfied", "other")}
    for requirement in heading.decision.requirements:
        state = states[f"requirement-{requirement.id}"]
        assert (state["state"], state["reason"]) == expected[requirement.status]
    assert states["release-decision"] == {"state": "not-satisfied", "reason": "fail"}
    known = {o["uuid"]: o["title"] for o in result["observations"]}
    assert sorted(known.values()) == sorted(c.stream.key for c in heading.cells)
    for finding in result["findings"][:-1]:
        assert {r["observation-uuid"] for r in finding["related-observations"]} <= set(known)
    assert document["import-ap"]["href"] == "#" + document["back-matter"]["resources"][0]["uuid"]
    assert document["metadata"]["oscal-version"] == "1.2.1"


def test_an_approval_is_satisfied_only_with_the_bundle(tmp_path: Path) -> None:
    easy = [{"id": "v", "kind": "violation-rate", "max_rate": 0.5}]
    run = signed_run(tmp_path / "run", target={"kind": "scripted", "model": "0"}, requirements=easy)
    assert results_of(run, tmp_path)["results"][0]["findings"][-1]["target"]["status"]["state"] == "satisfied"
    (run / "evidence.jsonl").unlink()
    last = results_of(run, tmp_path)["results"][0]["findings"][-1]
    assert last["target"]["status"] == {"state": "not-satisfied", "reason": "other"}
    assert "No signed bundle" in last["description"]


def test_hostile_names_are_valid(tmp_path: Path) -> None:
    document = results_of(hostile_run(tmp_path), tmp_path)
    assert document["results"][0]["local-definitions"]["components"][0]["title"].startswith("evil ]]> ")


@pytest.mark.parametrize("text", ["", " ", "\n a \t b \x00\u2028", "\x85x\ufffe"])
def test_a_line_is_never_empty_and_has_no_white_space_around(text: str) -> None:
    assert line(text) == line(text).strip() != ""
    assert "\n" not in line(text)


@pytest.mark.parametrize(
    ("before", "after"), [('"methods":["TEST"]', '"methods":[]'), ("not-satisfied", "unclear"), ('"import-ap"', '"import-plan"')]
)
def test_the_schema_says_no_to_what_is_not_oscal(before: str, after: str, signed: Path, tmp_path: Path) -> None:
    data = exported("oscal", signed, tmp_path).decode()
    assert before in data
    with pytest.raises(OscalParseError):
        parse_assessment_results(data.replace(before, after, 1))
