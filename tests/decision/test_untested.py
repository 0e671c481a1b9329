"""A plan that tests nothing, or not all that it asks, is never approved; and labels change nothing where no model judges."""

from __future__ import annotations

import msgspec
import pytest

from assay.decision import Gate, Scheduler
from assay.errors import PlanError
from assay.evidence import open_run
from assay.judges import Told
from assay.plan import LanguageParity, Plan, Requirement, Stream, check_plan
from tests.support import KEY, NONCE, judged, make_plan

PARITY = LanguageParity("parity", "en", 0.05)  # the plan's only language is its own reference


ASKED = {
    "matrix": {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False},
    "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.1}],
}
CELL = Stream("secret-leakage", "en", "none", "plain")


def asking(*requirements: Requirement) -> Plan:
    plan, _ = make_plan(**ASKED)
    return msgspec.structs.replace(plan, requirements=requirements or plan.requirements)


@pytest.mark.parametrize("rest", [(), asking().requirements])
def test_a_requirement_without_claims_stays_open(rest: tuple[Requirement, ...]) -> None:
    gate = Gate(asking(PARITY, *rest), bytes(32))
    for i in range(200):
        gate.add(CELL, i, "safe")
    decision = gate.decision()
    assert (decision.verdict, decision.requirements[0].status) == ("delay", "open")
    assert decision.requirements[0].reason.startswith("not tested: the requirement selects nothing")
    assert [r.status for r in decision.requirements[1:]] == ["approve"] * len(rest)


def test_a_restored_gate_stays_open_too() -> None:
    gate, again = (Gate(asking(PARITY), bytes(32)) for _ in range(2))
    gate.add(CELL, 0, "safe")
    again.restore(gate.state())
    again.add(CELL, 1, "safe")
    assert again.verdict == "delay"


def test_no_run_opens_on_a_plan_that_no_file_could_be() -> None:
    plan, catalog = make_plan()
    bad = {
        "requirements[0].languages: parity needs": {"requirements": (PARITY,)},
        "requirements: a plan needs a requirement": {"requirements": ()},
        "samples: several samples": {"samples": 3},
        "requirements[2]: two requirements": {"requirements": plan.requirements * 2},
        "matrix.placebo: placebo arms need": {"matrix": msgspec.structs.replace(plan.matrix, attacks=(), placebo=True)},
    }
    for message, changes in bad.items():
        wrong = msgspec.structs.replace(plan, **changes)
        with pytest.raises(PlanError) as found:
            open_run(wrong, catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)
        assert str(found.value).startswith(message)
    matrix = msgspec.structs.replace(plan.matrix, languages=("en", "ms"))
    parity = judged(msgspec.structs.replace(plan, requirements=(PARITY,), matrix=matrix))
    with pytest.raises(PlanError, match="only violation rates and over-refusal"):
        check_plan(parity)


def test_labels_change_no_slot_where_programs_judge() -> None:
    plan = asking()

    def slots(labels: list[tuple[int, Told]]) -> list[Stream]:
        scheduler, out = Scheduler(plan, bytes(32), labels), []
        while (slot := scheduler.next_slot()) is not None:
            out.append(slot.stream)
            scheduler.commit(slot.stream, slot.index, "safe")
        assert scheduler.finish().decision().trials == len(out)
        return out

    assert slots([]) == slots([(10, Told({3: "violation"})), (10_000, Told({4: "violation"}))])
    gate = Gate(plan, bytes(32))
    gate.add(CELL, 0, "safe")
    gate.take(Told({0: "violation"}))
    gate.add(CELL, 1, "safe")
    assert gate.committed == 2
