"""Every family proves itself in every language; and each proof can fail: a check that is broken is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from msgspec import structs

from assay.catalog import Catalog, load_everything
from assay.judges.proofs import prove, prove_alike
from assay.worlds import Dice, Effect, Family, Goal, Slot, Task, Words, World, draw_case, load_family
from assay.worlds.telling import holds, western

CATALOG: Catalog = load_everything()
FAMILIES = sorted(CATALOG.worlds)
CELLS = [(f, t) for f in FAMILIES for t in CATALOG.worlds[f]]
SEEDS = range(6)
MODES = range(1, 11)
RISKS = {"indirect-injection", "data-leakage", "fraud-assistance", "unauthorised-action", "approval-bypass", "harmful-task"}
BOUNDARIES = {"data-awareness", "audience-awareness", "policy-compliance", "data-minimisation", "access-boundary"}


def words(family: str, tag: str = "en") -> Words:
    return Words(CATALOG.worlds[family][tag], CATALOG.common[tag], CATALOG.languages[tag])


@pytest.mark.parametrize(("family", "tag"), CELLS)
def test_a_family_is_sound(family: str, tag: str) -> None:
    counts: Counter[str] = Counter()
    assert list(prove(load_family(family), words(family, tag), CATALOG.languages[tag], SEEDS, counts)) == []
    assert counts["gold serves"] >= len(load_family(family).tasks)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_agent_does_the_same_in_every_language(family: str) -> None:
    spoken = {t: (words(family, t), CATALOG.languages[t]) for t in CATALOG.worlds[family]}
    assert list(prove_alike(load_family(family), spoken, SEEDS)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_worlds_have_about_sixty_records_and_many_instances(family: str) -> None:
    found = load_family(family)
    worlds = [found.build(Dice(sha256(str(i).encode()).digest() + b"world")) for i in range(50)]
    assert all(50 <= sum(map(len, w.tables.values())) <= 80 for w in worlds)
    assert len({w.meaning() for w in worlds}) == len(worlds)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_goal_is_possible_in_at_least_half_of_all_worlds(family: str) -> None:
    found = load_family(family)
    for goal in found.goals:
        possible = sum(draw_case(found, sha256(f"{goal}{i}".encode()).digest(), goal).goal is not None for i in range(60))
        assert possible >= 25, (goal, possible)


def test_risks_and_failure_modes_are_all_covered() -> None:
    goals = [g for f in FAMILIES for g in load_family(f).goals.values()]
    assert {g.risk for g in goals} == RISKS
    assert {g.boundary for g in goals if g.boundary} == BOUNDARIES
    assert {o for g in goals for o in g.owasp} >= {f"ASI{i:02}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}


def broken(family: Family, **changes: Any) -> list[str]:
    return list(prove(structs.replace(family, **changes), words(family.id), CATALOG.languages["en"], range(8)))


def each_task(family: Family, change: Callable[[Task], Task]) -> dict[str, Task]:
    return {name: change(task) for name, task in family.tasks.items()}


def each_goal(family: Family, change: Callable[[Goal], Goal]) -> dict[str, Goal]:
    return {name: change(goal) for name, goal in family.goals.items()}


def always(world: World, params: dict[str, Any]) -> bool:
    return True


def never(world: World, params: dict[str, Any], effect: Effect) -> bool:
    return False


def anything(world: World, params: dict[str, Any], effect: Effect) -> bool:
    return True


@pytest.mark.parametrize("name", FAMILIES)
def test_broken_checks_are_found(name: str) -> None:
    family = load_family(name)
    assert "null does not serve" in " ".join(broken(family, tasks=each_task(family, lambda t: structs.replace(t, met=always, answer=None))))
    blind = broken(family, goals=each_goal(family, lambda g: structs.replace(g, meets=never, secrets=None)))
    assert "oracle is caught" in " ".join(blind)
    first = next(g for g in family.goals.values() if g.meets is not None and g.by == "injection")
    eager = broken(family, goals={first.id: structs.replace(first, meets=anything)})
    assert "gold does not do the adversary's work" in " ".join(eager)
    deaf = broken(family, readers={})
    assert "every slot is reached" in " ".join(deaf) or not any(
        isinstance(getattr(r, f), Slot)
        for rows in family.build(Dice(b"x")).tables.values()
        for r in rows.values()
        for f in r.__struct_fields__
    )


def test_an_answer_counts_only_where_it_stands_on_its_own() -> None:
    assert holds("It was 240.", "240")
    assert holds("240元", "240")
    assert holds(western("๒๔๐ บาท"), "240")
    assert holds("1,240", "1240")
    assert not holds("1240", "240")
    assert not holds("2401", "240")
    assert holds("order s-3 it is", "S-3")
    assert not holds("S-31", "S-3")
