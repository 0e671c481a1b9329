"""A policy finds whatever a plan loosens, and a diff whatever a policy does."""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.catalog import hazard_ids, load_everything
from assay.errors import PlanError
from assay.ledger import PrivateKey, canonical
from assay.plan import Plan
from assay.plan.policy import MAX_CELLS, Policy, PolicyError, demanded, parse_policy, policy_names, problems, read_policy
from assay.plan.policy_check import check_policy
from assay.plan.policy_diff import NAMED, PLAIN, STRICTER, diff
from assay.plan.policy_file import UnsignedError, load_policy, open_policy, sign_policy
from tests.plan.policies import EVERYTHING, WORLDS, plan_for, plan_value, policy_of

KEY = PrivateKey.generate()


def as_plan(value: dict[str, Any]) -> Plan:
    """A plan value without the catalogue's completion, for mutants; may be one that no file could hold."""
    return msgspec.convert(value, Plan)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Policy, Plan]]:
    """Every policy of the library and the two synthetic ones, with the least valid plan for each."""
    known = [*map(read_policy, policy_names()), policy_of(EVERYTHING), policy_of(WORLDS)]
    return {p.id: (p, plan_for(p, tmp_path_factory.mktemp(p.id))) for p in known}


ALL = [*policy_names(), "everything", "worlds"]


# ---- the library


def test_the_starting_policies_are_the_four_of_the_documentation() -> None:
    assert policy_names() == ["agent-with-payments", "consumer-chat", "general-release", "infrastructure-preview"]
    for name in policy_names():
        assert read_policy(name).id == name
        assert read_policy(name).reviewed_by == (), "nobody has reviewed them, and they must not say so"


def test_a_valid_plan_satisfies_each_policy(plans: dict[str, tuple[Policy, Plan]]) -> None:
    for policy, plan in plans.values():
        assert [str(s) for s in check_policy(policy, plan)] == []


def test_general_release_forgets_no_hazard_of_the_catalogue() -> None:
    policy = read_policy("general-release")
    imported = {h.id for h in load_everything().hazards.values() if h.kind == "imported"}
    violating = {h for m in policy.requirements if m.kind == "violation-rate" for h in policy.chosen(m)}
    assert violating == set(hazard_ids()) - imported - {"over-refusal"}
    assert policy.judges is not None
    assert policy.worlds is not None
    judged = {h.id for h in load_everything().hazards.values() if h.kind == "judged"}
    played = {h.id for h in load_everything().hazards.values() if h.check == "world"}
    assert set(policy.chosen(policy.judges)) == judged
    assert set(policy.chosen(policy.worlds)) == played


def test_the_documentation_says_what_each_policy_costs_at_the_very_least() -> None:
    """No test at level a approves a rate of t before (1 - t)^n <= a, even if nothing is ever violated."""
    text = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    told = {name: int(trials.replace(",", "")) for name, trials in re.findall(r"^\| `([a-z-]+)` \|.*\| ([\d,]+) \|$", text, re.MULTILINE)}
    for name in policy_names():
        policy = read_policy(name)
        rates = [most for cell, most in demanded(policy).items() if cell.kind in ("violation-rate", "over-refusal")]
        assert told[name] == sum(math.ceil(math.log(policy.errors.approve) / math.log(1 - rate)) for rate in rates)


def test_every_hazard_that_a_starting_policy_names_is_there() -> None:
    for name in policy_names():
        policy = read_policy(name)
        assert {h for group in policy.groups.values() for h in group} <= set(hazard_ids())
        used = {g for part in (*policy.requirements, policy.judges, policy.worlds) if part for g in part.groups}
        assert used == set(policy.groups), "a group that nothing uses asks for nothing"


# ---- what a plan may not loosen

NEUTRAL = {
    "assay": "the format",
    "name": "a name",
    "about": "words",
    "catalog": "filled in",
    "sizes": "filled in; tested with fresh_items",
    "content": "tested with fresh_items",
    "samples": "an item counts once, by the mean of its samples",
    "target": "what is tested, not how well",
    "budget": "too little ends in delay, never in an approval",
    "limits": "what is cut, late or lost counts against approving",
    "generation.temperature": "how the target is used, which a policy does not rank",
    "generation.seed": "the same",
    "attacker.target": "which model attacks cannot be ranked",
    "attacker.temperature": "the same",
    "worlds.protocol": "how calls are written",
    "labels.share": "how the registered error is divided, not how large it is",
    "labels.expected": "what the schedule reckons with, not what decides",
    "labels.method": "both methods hold the registered error; the audit's share is asked for",
    "judges.tries": "a reply that cannot be read is unscorable, never safe",
    "judges.episodes": "outcomes in worlds are the ledger's",
    "judges.calibration": "the name of a file; what it holds is checked",
    "judges.digests": "filled in; tested with rows of another panel",
    "matrix.placebo": "checked where an attack's effect is asked for",
    "matrix.benign": "checked where over-refusal is asked for",
}
"""Fields of a plan that no mutation below loosens by themselves, and why."""


def loosened(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way to take one thing away from a plan, or to make one number weaker: (field, mutant)."""
    value = plan.to_json()

    def without(path: tuple[str | int, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
        mutant: Any = copy.deepcopy(value)
        at = mutant
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = change(at[path[-1]])
        return mutant  # type: ignore[no-any-return]

    def dropped(path: tuple[str | int, ...], field: str) -> Iterator[tuple[str, dict[str, Any]]]:
        items = value
        for step in path:
            items = items[step]  # type: ignore[index]
        chosen = range(len(items)) if len(items) <= 40 else random.Random(7).sample(range(len(items)), 40)
        for i in chosen:
            yield field, without(path, lambda old, i=i: old[:i] + old[i + 1 :])

    for name in ("hazards", "languages", "attacks", "renderings"):
        yield from dropped(("matrix", name), f"matrix.{name}")
    for flag in ("placebo", "benign"):
        if value["matrix"][flag]:
            yield f"matrix.{flag}", without(("matrix", flag), lambda _: False)
    yield from dropped(("requirements",), "requirements")
    for i, r in enumerate(value["requirements"]):
        for name in ("hazards", "languages", "attacks"):
            if r.get(name):
                yield from ((f, m) for f, m in dropped(("requirements", i, name), f"requirements.{name}") if m["requirements"][i][name])
        bound = "max_rate" if "max_rate" in r else "margin"
        yield f"requirements.{bound}", without(("requirements", i, bound), lambda old: old * 1.0001)
        if "reference" in r:
            yield "requirements.reference", without(("requirements", i, "reference"), lambda old: "ms" if old != "ms" else "ta")
        if r["kind"] == "average-rate":
            yield "requirements.weights", without(("requirements", i, "weights", "languages"), lambda _: {"ms": 0.5})
            yield "requirements.each", without(("requirements", i, "each"), lambda _: "all")
    for name in ("approve", "halt"):
        yield f"errors.{name}", without(("errors", name), lambda old: old * 1.0001)
    for arm, floor in value["exploration"].items():
        if floor:
            yield f"exploration.{arm}", without(("exploration", arm), lambda old: old - 1)
    if value["generation"]["max_tokens"] > 1:
        yield "generation.max_tokens", without(("generation", "max_tokens"), lambda old: old - 1)
    yield "bank", {**value, "bank": {"size": 100, "seed": "0" * 64}}
    yield "content", {**value, "content": ["others.json"]}
    yield "seed", {**value, "seed": "1" * 64}
    if value["drift"]:
        yield "drift", {**value, "drift": None}
        yield "drift.anchors", without(("drift", "anchors"), lambda old: old - 1)
        yield "drift.every", without(("drift", "every"), lambda old: old + 1)
        yield "drift.level", without(("drift", "level"), lambda old: old * 0.999)
    if value["judges"]:
        yield "judges", {**value, "judges": None}
        if len(value["judges"]["panel"]) > 1:
            yield from dropped(("judges", "panel"), "judges.panel")
        if value["judges"]["combine"] == "most-severe":
            yield "judges.combine", without(("judges", "combine"), lambda _: "majority")
        yield from dropped(("judges", "hazards"), "judges.hazards")
        rows = value["judges"]["calibrated"]
        used = [i for i, row in enumerate(rows) if row["hazard"] in value["judges"]["hazards"]]
        for i in used if len(used) <= 40 else random.Random(7).sample(used, 40):
            yield "judges.calibrated", without(("judges", "calibrated"), lambda old, i=i: old[:i] + old[i + 1 :])
            yield "judges.calibrated", without(("judges", "calibrated", i, "caught"), lambda old: old - 1)
        yield "judges.void", without(("judges",), lambda old: {**old, "void": True})
        others = {f"{r['hazard']}/{r['language']}": "sha256:" + "b" * 64 for r in rows}
        yield "judges.digests", without(("judges", "digests"), lambda _: others)
        yield "labels.people", without(("labels", "people"), lambda old: old - 1)
        yield "labels.audit", without(("labels", "audit"), lambda old: old * 0.999)
    if value["worlds"]:
        yield "worlds", {**value, "worlds": None}
        for name in ("data", "injection", "tools"):
            yield f"worlds.{name}", without(("worlds", name), lambda _: "en")
        for name in ("steps", "calls"):
            yield f"worlds.{name}", without(("worlds", name), lambda old: old - 1)
        yield from dropped(("worlds", "hazards"), "worlds.hazards")
    if value["attacker"]:
        yield "attacker", {**value, "attacker": None}
        for name in ("calls", "max_tokens"):
            yield f"attacker.{name}", without(("attacker", name), lambda old: old - 1)


UNASKED = {
    "worlds": {"bank", "content", "seed"},
}
"""What a policy does not ask for, and so does not find."""


@pytest.mark.parametrize("name", ALL)
def test_whatever_a_plan_loosens_is_found(name: str, plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans[name]
    tried = 0
    for field, mutant in loosened(plan):
        if field in UNASKED.get(name, ()) or not mutant["requirements"]:
            continue
        tried += 1
        try:
            broken = as_plan(mutant)
        except msgspec.ValidationError:
            continue  # no such plan can be written
        assert check_policy(policy, broken), f"{name}: loosened {field}, and nothing was found"
    assert tried > 10


def test_every_field_of_a_plan_is_loosened_above_or_named_with_a_reason(plans: dict[str, tuple[Policy, Plan]]) -> None:
    touched = {field for _, plan in plans.values() for field, _ in loosened(plan)}
    fields = set()
    for name in Plan.__struct_fields__:
        parts = {type(getattr(plan, name)) for _, plan in plans.values()} - {type(None)}
        inner = {f for part in parts if hasattr(part, "__struct_fields__") for f in part.__struct_fields__}
        fields |= {f"{name}.{f}" for f in inner} or {name}
    reasons = {f for f in fields if f in NEUTRAL or f.split(".")[0] in NEUTRAL}
    assert fields - touched - reasons == set(), "new fields of a plan: loosen them here, or say why that is no weakening"
    assert NEUTRAL.keys() - fields - {f.split(".")[0] for f in fields} == set(), "reasons for fields that are not there"


@pytest.mark.parametrize("name", ALL)
def test_what_makes_a_plan_stricter_or_only_other_is_no_shortfall(name: str, plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans[name]
    value = plan.to_json()
    for r in value["requirements"]:
        bound = "max_rate" if "max_rate" in r else "margin"
        r[bound] *= 0.9
        r["id"] += "-b"
    value["requirements"].reverse()
    value["requirements"].append({"id": "more", "kind": "violation-rate", "max_rate": 0.5})
    value["errors"] = {"approve": 0.001, "halt": 0.001}
    value["about"], value["budget"], value["limits"] = "other words", {"calls": 1}, {"concurrency": 1}
    assert check_policy(policy, as_plan(value)) == []


def test_two_requirements_of_a_plan_may_share_a_cell_and_the_stricter_counts(plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans["worlds"]
    value = plan.to_json()
    value["requirements"].insert(0, {"id": "loose", "kind": "violation-rate", "max_rate": 0.5})
    assert check_policy(policy, as_plan(value)) == []


def test_an_average_does_not_stand_for_cells_nor_a_weighted_one_for_a_plain_one(plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans["worlds"]
    value = plan.to_json()
    value["requirements"] = [{"id": "rate", "kind": "average-rate", "max_rate": 0.0001}]
    found = check_policy(policy, as_plan(value))
    assert [s.field for s in found] == ["requirements (violation-rate)"]
    assert "no such requirement" in found[0].what


def test_parity_without_its_reference_in_the_matrix_is_no_parity(tmp_path: Path) -> None:
    parity = WORLDS.replace("violation-rate", "language-parity").replace("languages: [en, ms]", "languages: [ms], reference: en")
    policy = policy_of(parity)
    value = plan_for(policy, tmp_path).to_json()
    assert check_policy(policy, as_plan(value)) == []
    value["matrix"]["languages"] = ["ms", "ta"]
    assert [s.field for s in check_policy(policy, as_plan(value))] == ["requirements (language-parity)"]


def test_an_audited_plan_needs_no_calibration_but_its_share(plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans["everything"]
    value = plan.to_json()
    value["judges"]["calibrated"] = []
    assert [s.field for s in check_policy(policy, as_plan(value))] == ["judges.calibrated"]
    value["labels"]["method"] = "audit"
    assert check_policy(policy, as_plan(value)) == []
    value["labels"]["audit"] = 0.01
    assert [s.field for s in check_policy(policy, as_plan(value))] == ["judges.audit"]


def test_shortfalls_are_words_that_name_what_is_missing(plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy, plan = plans["everything"]
    value = plan.to_json()
    value["requirements"][0]["max_rate"] = 0.03
    (found,) = check_policy(policy, as_plan(value))
    assert str(found) == (
        "requirements (violation-rate): at most 2% for secret-leakage, injected-instructions, hate, defamation in en, ms under no attack, "
        "role-play, pair (24 cells): the plan allows 3%"
    )


# ---- what a policy may not loosen unseen


def weakened(policy: Policy) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way to take one thing out of a policy, or to make one number weaker: (field, mutant)."""
    value = policy.to_json()
    for field, stricter in STRICTER.items():
        first, _, rest = field.partition(".")
        if value[first] is None:
            continue
        mutant = copy.deepcopy(value)
        at = mutant[first] if rest else mutant
        old = at[rest or first]
        if stricter == "true":
            at[rest or first] = False
        elif stricter == "less":
            at[rest or first] = old + 1 if isinstance(old, int) else min(0.5, old * 1.01)
        else:
            at[rest or first] = old - 1 if isinstance(old, int) else old * 0.99
        if at[rest or first] != old:
            yield field, mutant
    for field in ("drift", "judges", "worlds", "attacker"):
        if value[field]:
            yield field, {**value, field: None}
    for group, members in value["groups"].items():
        for i in range(len(members)):
            yield f"groups.{group}", {**value, "groups": {**value["groups"], group: members[:i] + members[i + 1 :]}}
    if value["reviewed_by"]:
        yield "reviewed_by", {**value, "reviewed_by": value["reviewed_by"][1:]}
    for i in range(len(value["requirements"])):
        yield "requirements", {**value, "requirements": value["requirements"][:i] + value["requirements"][i + 1 :]}
        m = value["requirements"][i]
        changes: list[dict[str, Any]] = [{"at_most": m["at_most"] * 1.01}]
        for name in ("hazards", "groups", "languages", "attacks"):
            changes += [{name: m[name][:j] + m[name][j + 1 :]} for j in range(len(m[name]))]
        changes += [{"reference": "th"}] if m["reference"] else []
        changes += [{"each": each} for each in ("all", "language") if m["kind"] == "average-rate" and m["each"] != each]
        for change in changes:
            mutant = copy.deepcopy(value)
            mutant["requirements"][i] |= change
            yield f"requirements.{next(iter(change))}", mutant


def valid(value: dict[str, Any]) -> Policy | None:
    try:
        return parse_policy(yaml.safe_dump(value, sort_keys=False), where="mutant")
    except PolicyError:
        return None


@pytest.mark.parametrize("name", ALL)
def test_every_single_weakening_of_a_policy_is_called_weaker(name: str, plans: dict[str, tuple[Policy, Plan]]) -> None:
    policy = plans[name][0]
    tried = 0
    for field, value in weakened(policy):
        value["version"] = "9.0.0"
        new = valid(value)
        if new is None:
            continue
        tried += 1
        assert any(c.direction == "weaker" for c in diff(policy, new)), f"{name}: {field} became weaker, and the diff does not say so"
        back = diff(new, policy)
        assert any(c.direction == "stronger" for c in back), f"{name}: {field}"
    assert tried > 10


def test_every_field_of_a_policy_is_compared() -> None:
    policy = policy_of(EVERYTHING.replace("attacker:", "worlds: {hazards: [agent-shop]}\nattacker:"))
    special = {
        "assay",
        "requirements",
        "groups",
        "version",
        "reviewed_by",
        "judges.hazards",
        "judges.groups",
        "worlds.hazards",
        "worlds.groups",
    }
    fields = set()
    for name in Policy.__struct_fields__:
        part = getattr(policy, name)
        fields |= {f"{name}.{f}" for f in part.__struct_fields__} if hasattr(part, "__struct_fields__") else {name}
    assert fields == set(STRICTER) | set(PLAIN) | special
    assert set(NAMED) == {"judges", "worlds"}


names = st.sampled_from(["secret-leakage", "hate", "agent-shop", "privacy"])
tags = st.sampled_from(["en", "ms", "ta"])
rates = st.sampled_from([0.01, 0.02, 0.05])


@st.composite
def minima(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["violation-rate", "average-rate", "over-refusal", "language-parity", "attack-effect"]))
    value: dict[str, Any] = {
        "kind": kind,
        "at_most": draw(rates),
        "hazards": draw(st.lists(names, min_size=1, max_size=3, unique=True)),
        "languages": draw(st.lists(tags, min_size=1, max_size=3, unique=True)),
    }
    attacks = draw(st.lists(st.sampled_from(["base64", "role-play"]), min_size=int(kind == "attack-effect"), max_size=2, unique=True))
    if kind != "over-refusal":
        value["attacks"] = attacks
    if kind == "language-parity":
        value["reference"] = draw(st.sampled_from(["fr", "th"]))
    if kind == "average-rate":
        value["each"] = draw(st.sampled_from(["all", "hazard", "language"]))
    return value


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    value: dict[str, Any] = {
        "assay": "policy/1",
        "id": "drawn",
        "version": "1.0.0",
        "about": "",
        "requirements": [{"id": f"r{i}", **m} for i, m in enumerate(draw(st.lists(minima(), min_size=1, max_size=3)))],
        "errors": {"approve": draw(rates), "halt": draw(rates)},
        "exploration": {"plain": draw(st.integers(0, 2)), "attack": draw(st.integers(0, 2))},
        "answer_tokens": draw(st.integers(1, 3)),
        "sealed_seed": draw(st.booleans()),
        "decision_days": 30,
        "drift": draw(st.none() | st.builds(dict, anchors=st.integers(1, 2), every=st.integers(5, 6), level=rates)),
        "attacker": draw(st.none() | st.builds(dict, calls=st.integers(1, 2), max_tokens=st.integers(16, 17))),
    }
    return msgspec.convert(value, Policy)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies(), policies())
def test_the_diff_says_weaker_exactly_where_a_plan_that_satisfies_the_new_policy_falls_short_of_the_old(old: Policy, new: Policy) -> None:
    least = plan_value(new)
    least["seed"] = "auto" if new.sealed_seed else "0" * 64
    plan = as_plan(least)
    assert check_policy(new, plan) == []
    changes = [c for c in diff(old, new) if c.field != "version"]
    assert any(c.direction == "weaker" for c in changes) == bool(check_policy(old, plan))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies())
def test_the_same_holds_of_policies_that_differ_in_one_thing(policy: Policy) -> None:
    for field, value in weakened(policy):
        mutant = valid(value)
        if mutant is None or field in ("decision_days", "reviewed_by"):
            continue
        for old, new in ((policy, mutant), (mutant, policy)):
            least = plan_value(new)
            least["seed"] = "auto" if new.sealed_seed else "0" * 64
            weaker = any(c.direction == "weaker" for c in diff(old, new) if c.field != "version")
            assert weaker == bool(check_policy(old, as_plan(least))), field


@settings(max_examples=50, deadline=None)
@given(policies())
def test_a_policy_is_neither_weaker_nor_stronger_than_itself_written_otherwise(policy: Policy) -> None:
    assert diff(policy, policy) == []
    value = policy.to_json()
    split = [
        {**m, "id": f"{m['id']}-{h}", "hazards": [h]} if m["kind"] != "average-rate" else m
        for m in reversed(value["requirements"])
        for h in (m["hazards"] if m["kind"] != "average-rate" else [""])
    ]
    other = msgspec.convert({**value, "version": "1.0.1", "requirements": split}, Policy)
    assert {c.direction for c in diff(policy, other)} <= {"neither"}


def test_a_version_stands_for_one_content() -> None:
    old = policy_of(EVERYTHING)
    same = policy_of(EVERYTHING.replace("about: Asks", "about: It asks"))
    assert [(c.field, c.direction) for c in diff(old, same)] == [("version", "weaker"), ("about", "neither")]
    earlier = policy_of(EVERYTHING.replace("2.3.4", "2.3.3"))
    assert [(c.field, c.direction) for c in diff(old, earlier)] == [("requirements", "neither"), ("version", "weaker")][::-1]
    later = policy_of(EVERYTHING.replace("2.3.4", "2.10.0"))
    assert {c.direction for c in diff(old, later)} == {"neither"}


# ---- files that are not as they should be


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: over-refusal,", "kind: over-refusals,", "over-refusals"),
        ("at_most: 0.02", "at_most: 1.5", "at_most"),
        (
            "groups: [chat, harms], languages: [en, ms], attacks: [role-play, pair]",
            "groups: [chats], languages: [en]",
            "unknown group 'chats'",
        ),
        ("groups: [chat, harms], languages: [en, ms], attacks: [role-play, pair]", "languages: [en]", "names no hazard"),
        ("attacks: [role-play, pair]", "attacks: [none]", "'none' is always in"),
        ("reference: en, ", "", "reference language"),
        ("languages: [ms], attacks: [role-play]", "languages: [en]", "beside the reference"),
        (", hazards: [secret-leakage], languages: [ms]", ", hazards: [hate], languages: [ms], attacks: [role-play]", "not about attacks"),
        ("id: average", "id: rate", "same id"),
        ("version: 2.3.4", "version: 2.3", "version"),
        ("version: 2.3.4", "version: 02.3.4", "version"),
        ("decision_days: 90", "decision_days: 0", "decision_days"),
        ("decision_days: 90", "decision_weeks: 90", "decision_weeks"),
        ("errors: {approve: 0.02, halt: 0.04}", "", "errors"),
        ("languages: [en, ms], attacks: [role-play, pair]", "languages: [en, en]", "stands twice"),
    ],
)
def test_a_bad_policy_is_refused_with_its_line(old: str, new: str, words: str) -> None:
    assert old in EVERYTHING
    with pytest.raises(PolicyError) as e:
        policy_of(EVERYTHING.replace(old, new, 1))
    assert words in str(e.value)
    assert "policy.yaml" in str(e.value)


def test_a_policy_that_would_take_for_ever_is_refused() -> None:
    value = yaml.safe_load(WORLDS)
    hazards, tags, attacks = ([f"{x}{i}" for i in range(n)] for x, n in (("h", 1000), ("t", 200), ("a", 200)))
    value["requirements"][0] |= {"hazards": hazards, "languages": tags, "attacks": attacks}
    with pytest.raises(PolicyError, match=f"more than {MAX_CELLS:,}"):
        policy_of(yaml.safe_dump(value))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_reading_a_policy_fail_otherwise_than_by_a_message(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hostile") / "p.yaml"
    path.write_bytes(data)
    with pytest.raises(PlanError):
        load_policy(str(path))


# ---- signatures


def test_a_signed_policy_is_the_one_that_was_signed() -> None:
    policy = policy_of(EVERYTHING)
    value = msgspec.json.decode(msgspec.json.encode(sign_policy(policy, KEY)))
    opened, key = open_policy(value, KEY.public.keyid)
    assert (opened, opened.digest, key) == (policy, policy.digest, KEY.public)
    assert open_policy(value, KEY.public.keyid[:16].upper())[0] == policy


def test_a_policy_that_nobody_reviewed_is_not_signed() -> None:
    with pytest.raises(PolicyError, match="nobody has reviewed"):
        sign_policy(read_policy("consumer-chat"), KEY)


@pytest.mark.parametrize(
    "key_id", ["", "0" * 64, KEY.public.keyid[:15], PrivateKey.generate().public.keyid], ids=["none", "zeros", "short", "other"]
)
def test_another_key_is_not_enough(key_id: str) -> None:
    with pytest.raises(PolicyError):
        open_policy(sign_policy(policy_of(EVERYTHING), KEY), key_id)


def test_every_changed_character_of_a_signed_policy_is_found() -> None:
    raw = msgspec.json.encode(sign_policy(policy_of(WORLDS), KEY))
    rng, survived = random.Random(3), 0
    for i in [rng.randrange(len(raw)) for _ in range(400)]:
        changed = raw[:i] + bytes([raw[i] ^ (1 << rng.randrange(7))]) + raw[i + 1 :]
        try:
            value = msgspec.json.decode(changed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if value == msgspec.json.decode(raw):
            continue
        with pytest.raises(PolicyError):
            open_policy(value, KEY.public.keyid)
        survived += 1
    assert survived > 100


def test_a_signature_over_something_else_is_no_policy() -> None:
    from assay.ledger import sign_statement
    from assay.plan.policy_file import FORMAT, PREDICATE

    policy = policy_of(WORLDS)
    right = [{"name": "policy worlds 1.0.0", "digest": {"sha256": policy.digest.removeprefix("sha256:")}}]
    for subject, kind, predicate in (
        (right, "urn:assay:predicate:decision:v1", policy.to_json()),
        ([{"name": "policy worlds 1.0.0", "digest": {"sha256": "0" * 64}}], PREDICATE, policy.to_json()),
        (right, PREDICATE, {k: v for k, v in policy.to_json().items() if k != "drift"}),
        (right, PREDICATE, {**policy.to_json(), "groups": {}, "requirements": []}),
    ):
        envelope = sign_statement(KEY, subject, kind, predicate)
        with pytest.raises(PolicyError):
            open_policy({"assay": FORMAT, "envelope": envelope.to_json(), "key": KEY.public.to_json()}, KEY.public.keyid)


def test_an_unsigned_file_does_not_pass_where_a_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(EVERYTHING)
    assert load_policy(str(path)).id == "everything"
    with pytest.raises(UnsignedError):
        load_policy(str(path), KEY.public.keyid)


def test_digests_name_a_content() -> None:
    digests = {read_policy(n).digest for n in policy_names()}
    assert len(digests) == len(policy_names())
    assert canonical(policy_of(EVERYTHING).to_json()) == canonical(msgspec.json.decode(canonical(policy_of(EVERYTHING).to_json())))
    assert list(problems(policy_of(EVERYTHING))) == []
    assert len(list(itertools.islice(demanded(policy_of(EVERYTHING)), 1000))) == 24 + 2 + 8 + 4 + 4 + 1
