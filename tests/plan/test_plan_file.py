"""Plan files: what is wrong is said with its line; what is right has one digest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, PlanError
from assay.plan import builtin_plans, parse_plan, read_plan, run_seed, streams
from tests.support import NONCE, make_plan, plan_text


def error_of(text: str) -> str:
    with pytest.raises(AssayError) as error:
        parse_plan(text, where="p.yaml")
    return str(error.value)


@pytest.mark.parametrize("name", builtin_plans())
def test_built_in_plans_are_valid(name: str) -> None:
    plan, catalog = read_plan(name)
    assert plan.catalog == catalog.digest
    assert plan.budget.calls >= sum(plan.exploration.floor(s.arm) for s in streams(plan))


CASES: dict[str, tuple[str, str]] = {
    "unknown key": ("surprise: 1\n", "unknown key"),
    "wrong type": ("budget: {calls: many}\n", "calls"),
    "missing budget": ("budget: {}\n", "missing key"),
    "threshold above one": ("requirements: [{id: v, kind: violation-rate, max_rate: 1.4}]\n", "max_rate"),
    "threshold zero": ("requirements: [{id: v, kind: violation-rate, max_rate: 0}]\n", "max_rate"),
    "threshold nan": ("requirements: [{id: v, kind: violation-rate, max_rate: .nan}]\n", "max_rate"),
    "no requirement": ("requirements: []\n", "requirements"),
    "unknown kind": ("requirements: [{id: v, kind: wishful, max_rate: 0.1}]\n", "kind"),
    "same requirement twice": (
        "requirements: [{id: v, kind: violation-rate, max_rate: 0.1}, {id: v, kind: violation-rate, max_rate: 0.2}]\n", "same id"),
    "duplicate cells": ("matrix: {hazards: [secret-leakage], languages: [en, en]}\n", "duplicate cells"),
    "unknown language": ("matrix: {hazards: [secret-leakage], languages: [en, tlh]}\n", "unknown language 'tlh'"),
    "unknown hazard": ("matrix: {hazards: [gossip], languages: [en]}\n", "unknown hazard 'gossip'"),
    "unknown attack": ("matrix: {hazards: [secret-leakage], languages: [en], attacks: [magic]}\n", "unknown attack 'magic'"),
    "none listed": ("matrix: {hazards: [secret-leakage], languages: [en], attacks: [none]}\n", "'none' is always"),
    "cell outside the matrix": ("requirements: [{id: v, kind: violation-rate, max_rate: 0.1, languages: [ms]}]\n", "not among"),
    "parity without a partner": ("requirements: [{id: v, kind: language-parity, reference: en, margin: 0.1}]\n", "beside the reference"),
    "reference outside": ("requirements: [{id: v, kind: language-parity, reference: ms, margin: 0.1}]\n", "reference"),
    "lookahead below concurrency": ("limits: {concurrency: 8, lookahead: 4}\n", "lookahead"),
    "error rate of one": ("errors: {approve: 1.0}\n", "approve"),
    "bad seed": ("seed: lucky\n", "seed"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_with_its_line(case: str) -> None:
    addition, expected = CASES[case]
    key = addition.split(":")[0]
    kept = [block for block in plan_text().split("\n") if block]
    out: list[str] = []
    skipping = False
    for row in kept:
        if not row.startswith((" ", "-")):
            skipping = row.startswith(f"{key}:")
        if not skipping:
            out.append(row)
    text = "\n".join(out) + "\n" + addition
    message = error_of(text)
    assert expected in message, message
    line = len(out) + 1
    assert f"p.yaml:{line}" in message, message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("a: [1, 2", "not valid YAML"),
        ("- just\n- a list\n", "p.yaml"),
        ("a: 1\na: 2\n", "stands twice"),
        ("a: &x [1]\nb: *x\n", "anchors"),
        ("? [a, b]\n: 1\n", "plain text"),
        ("x: " + "[" * 60 + "]" * 60, "deep"),
        ("a: !!python/object/apply:os.system [true]\n", "not valid YAML"),
        ("x: " + "a" * 3_000_000, "larger than"),
        ("a: \x00\n", "not valid YAML"),
        ("a: 2001-99-99\n", "not valid YAML"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(text: str, expected: str) -> None:
    message = error_of(text)
    assert expected in message
    assert message.count("\n") <= 1


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_plan_or_one_of_our_errors(text: str) -> None:
    with pytest.raises(AssayError):
        parse_plan(text, where="p.yaml")


KEYS = ["matrix", "budget", "limits", "requirements", "seed", "errors", "target", "name", "x"]
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
TREES = st.recursive(LEAVES, lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=5), i, max_size=3), max_leaves=5)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), TREES, min_size=1))
def test_any_replacement_gives_a_plan_or_one_of_our_errors(changes: dict[str, Any]) -> None:
    try:
        parse_plan(plan_text(**changes), where="p.yaml")
    except PlanError:
        pass
    except AssayError as e:
        assert e.exit_code == 2  # noqa: PT017


def test_the_digest_covers_every_field() -> None:
    digests = {
        make_plan(**changes)[0].digest
        for changes in (
            {}, {"name": "other"}, {"budget": {"calls": 401}}, {"seed": "ab" * 32}, {"about": "x"}, {"limits": {"concurrency": 5}},
            {"errors": {"approve": 0.04}}, {"generation": {"temperature": 0.5}}, {"target": {"kind": "scripted", "model": "0.4"}},
        )
    }  # fmt: skip
    assert len(digests) == 9
    assert make_plan()[0].digest == make_plan()[0].digest


def test_the_seed_depends_on_plan_and_nonce() -> None:
    a, b = make_plan()[0].digest, make_plan(name="other")[0].digest
    seeds = {run_seed(a, NONCE), run_seed(b, NONCE), run_seed(a, bytes(32))}
    assert len(seeds) == 3
    with pytest.raises(ValueError, match="32 bytes"):
        run_seed(a, b"short")
