"""The same items in two wordings: paired, decided on, verified, and shown."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from assay.attacks import ATTACKS
from assay.catalog import Catalog, load_catalog
from assay.decision import Gate
from assay.errors import AssayError
from assay.evidence import verify_bundle, write_bundle
from assay.plan import Plan, Stream, streams
from assay.report import render_report
from assay.scenarios import ItemBuilder
from tests.support import KEY, make_plan, run_plan

HAZARD = "secret-leakage"
ADAPTED, LITERAL = (Stream(HAZARD, "ms", "none", arm) for arm in ("adapted", "literal"))


def rendered() -> tuple[Plan, Catalog]:
    """Malay with three literal renderings, which stand in for real ones: the adapted texts with a mark in front."""
    catalog = load_catalog([HAZARD], ["en", "ms"])
    texts = catalog.texts[HAZARD]["ms"]
    literal = {s: replace(t, user=f"Secara harfiah: {t.user}") for s, t in list(texts.texts.items())[:3]}
    catalog = replace(catalog, texts={HAZARD: {**catalog.texts[HAZARD], "ms": replace(texts, literal=literal)}})
    plan, _ = make_plan(
        matrix={"hazards": [HAZARD], "languages": ["en", "ms"], "attacks": [], "benign": False},
        requirements=[{"id": "wording", "kind": "violation-rate", "max_rate": 0.3}], budget={"calls": 900}, exploration={},
        target={"kind": "scripted", "model": "0.02"},
    )  # fmt: skip
    value = plan.to_json()
    value["matrix"]["renderings"] = ["ms"]
    value["exploration"]["renderings"] = 5
    value["requirements"] = [{"id": "wording", "kind": "localisation-effect", "margin": 0.1}]
    return msgspec.convert({**value, "catalog": catalog.digest}, Plan), catalog


def test_pairs_share_scenario_and_values_and_differ_in_words() -> None:
    plan, catalog = rendered()
    builder = ItemBuilder.for_plan(plan, catalog, bytes(32), ATTACKS)
    seen = set()
    for i in range(40):
        adapted, literal = builder.build(ADAPTED, i), builder.build(LITERAL, i)
        assert adapted.scenario == literal.scenario
        assert adapted.check == literal.check
        assert literal.messages[-1].content == f"Secara harfiah: {adapted.messages[-1].content}"
        seen.add(adapted.scenario)
        assert builder.build(Stream(HAZARD, "ms", "none", "plain"), i).check != adapted.check
    assert len(seen) == 3


def test_the_claim_is_about_the_pair() -> None:
    plan, _ = rendered()
    assert ADAPTED in streams(plan)
    gate = Gate(plan, bytes(32))
    for i in range(200):
        gate.add(ADAPTED, i, "violation" if i % 2 else "safe")
        gate.add(LITERAL, i, "safe")
    decision = gate.decision()
    assert decision.verdict == "halt"
    assert "against its literal rendering" in decision.requirements[0].reason


def test_a_run_verifies_and_the_page_shows_it(tmp_path: Path) -> None:
    plan, catalog = rendered()
    with run_plan(tmp_path / "run.db", plan, catalog) as run:
        summary = write_bundle(run, KEY, "complete", tmp_path / "evidence.jsonl")
        page = render_report(run, summary=summary, ended="complete", bundle_name="evidence.jsonl")
    assert summary.decision.verdict == "approve"
    assert verify_bundle(tmp_path / "evidence.jsonl").ok
    assert "adapted wording" in page
    assert "adapted rendering" in page


@pytest.mark.parametrize(
    ("matrix", "requirement", "what"),
    [
        ({"renderings": ["fr"]}, None, "not among the matrix's languages"),
        ({"renderings": ["ms", "ms"]}, None, "stands twice"),
        ({}, {"id": "w", "kind": "localisation-effect", "margin": 0.1}, "needs 'renderings'"),
    ],
)
def test_what_makes_no_sense_is_refused(matrix: dict[str, object], requirement: dict[str, object] | None, what: str) -> None:
    base = {"hazards": [HAZARD], "languages": ["en", "ms"], "attacks": [], "benign": False}
    with pytest.raises(AssayError, match=what):
        make_plan(matrix={**base, **matrix}, requirements=[requirement or {"id": "v", "kind": "violation-rate", "max_rate": 0.3}])
