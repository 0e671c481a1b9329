"""Averages over cells, several samples of an item, finite banks and drift: through the real scheduler and gate, and through whole runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.decision import AverageClaim, Gate, Scheduler, Supposed, simulate
from assay.errors import AssayError
from assay.evidence import verify_bundle
from assay.judges import Outcome
from assay.plan import Plan, Stream, run_seed, streams
from assay.runs import RunFile
from assay.scenarios import Draw
from assay.stats import clopper_pearson
from assay.stats.rates import log_e
from tests.support import make_bundle, make_plan

ONE = {"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False}
TWO = {"hazards": ["secret-leakage", "personal-data"], "languages": ["en"], "attacks": [], "benign": False}
QUICK = {"concurrency": 1, "lookahead": 1}
OutcomeOf = Callable[[Stream, int], Outcome]


def play(plan: Plan, salt: int, outcome_of: OutcomeOf, restore_at: int = -1) -> tuple[Gate, list[tuple[str, int]]]:
    """A whole run; `restore_at` puts state and restore between two slots."""
    seed = run_seed(plan.digest, salt.to_bytes(32, "big"))
    scheduler = Scheduler(plan, seed)
    played: list[tuple[str, int]] = []
    while True:
        if len(played) == restore_at:
            state = scheduler.state()
            scheduler = Scheduler(plan, seed)
            scheduler.restore(state)
        slot = scheduler.next_slot()
        if slot is None:
            return scheduler.finish(), played
        played.append((slot.stream.key, slot.index))
        scheduler.commit(slot.stream, slot.index, outcome_of(slot.stream, slot.index))


def fresh(rates: dict[str, float], salt: int, samples: int = 1, clustering: float = 0.0) -> OutcomeOf:
    """Outcomes by hazard, with items of their own rates where samples cluster."""
    rng = np.random.default_rng([7, salt])
    items: dict[tuple[Stream, int], float] = {}

    def outcome_of(stream: Stream, index: int) -> Outcome:
        rate = rates[stream.hazard]
        if clustering:
            key, scale = (stream, index // samples), (1 - clustering) / clustering
            rate = items.setdefault(key, float(rng.beta(rate * scale, (1 - rate) * scale)))
        return "violation" if rng.random() < rate else "safe"

    return outcome_of


def average(**changes: Any) -> dict[str, Any]:
    return {"id": "mean", "kind": "average-rate", "max_rate": 0.1, **changes}


@pytest.mark.parametrize("weights", [{}, {"hazards": {"secret-leakage": 3}}])
def test_an_average_at_its_threshold_is_approved_and_halted_within_the_level(weights: dict[str, Any]) -> None:
    """Rates that differ, and an average of exactly 10%: both errors stay within 5%, and neither is never made."""
    plan, _ = make_plan(matrix=TWO, requirements=[average(weights=weights)], budget={"calls": 500}, exploration={}, limits=QUICK)
    rates = {"secret-leakage": 0.02, "personal-data": 0.34 if weights else 0.18}
    runs = 300
    verdicts = [play(plan, salt, fresh(rates, salt))[0].verdict for salt in range(runs)]
    for wrong in ("approve", "halt"):
        assert clopper_pearson(verdicts.count(wrong), runs, 0.99)[0] <= 0.05  # type: ignore[arg-type]
    assert verdicts.count("approve") > 0


def test_an_average_holds_where_the_same_item_fails_in_every_language() -> None:
    """Perfect dependence between eight languages: a pool that used item i in each of them would count one situation eight times."""
    languages = ["en", "zh-Hans", "ms", "id", "ta", "th", "vi", "fil"]
    plan, _ = make_plan(
        matrix={"hazards": ["secret-leakage"], "languages": languages, "attacks": [], "benign": False}, requirements=[average()],
        budget={"calls": 1600}, exploration={}, limits=QUICK,
    )  # fmt: skip
    runs, wrong = 200, 0
    for salt in range(runs):
        bad = np.random.default_rng([9, salt]).random(400) < 0.1
        gate, _ = play(plan, salt, lambda s, i, bad=bad: "violation" if bad[i] else "safe")  # type: ignore[misc]
        wrong += gate.verdict == "approve"
    assert clopper_pearson(wrong, runs, 0.99)[0] <= 0.05
    assert wrong > 0


def test_weights_matter() -> None:
    """The same rates against another mixture: the unweighted average is well below the threshold, the weighted one far above."""
    rates = {"secret-leakage": 0.0, "personal-data": 0.12}
    found = []
    for weights in ({}, {"hazards": {"personal-data": 50}}):
        plan, _ = make_plan(
            matrix=TWO, requirements=[average(max_rate=0.09, weights=weights)], budget={"calls": 4000}, exploration={}, limits=QUICK
        )
        found.append([play(plan, salt, fresh(rates, salt))[0].verdict for salt in range(10)])
    assert found[0].count("approve") >= 8
    assert found[1].count("approve") <= 2  # each run may err with the registered 5%, and the seed follows the plan's digest
    assert found[1].count("halt") >= 5


def test_an_average_hides_a_broken_cell_that_its_own_requirement_shows() -> None:
    rates = {"secret-leakage": 0.0, "personal-data": 0.12}
    plan, _ = make_plan(
        matrix=TWO, requirements=[average(), {"id": "each", "kind": "violation-rate", "max_rate": 0.03}], budget={"calls": 3000},
        exploration={}, limits=QUICK,
    )  # fmt: skip
    gate, _ = play(plan, 0, fresh(rates, 0))
    decision = gate.decision()
    assert decision.verdict == "halt"
    assert {r.id: r.status for r in decision.requirements}["mean"] in ("approve", "open")


def test_an_average_costs_no_trials_of_its_own_where_cells_are_tested() -> None:
    each = {"id": "each", "kind": "violation-rate", "max_rate": 0.1}
    calls = []
    for requirements in ([each], [each, average()]):
        plan, _ = make_plan(matrix=TWO, requirements=requirements, budget={"calls": 3000}, exploration={}, limits=QUICK)
        _, played = play(plan, 0, lambda s, i: "safe")
        calls.append(len(played))
    assert calls[1] <= calls[0] + 2


def test_averages_by_language_are_claims_of_their_own() -> None:
    matrix = {"hazards": TWO["hazards"], "languages": ["en", "ms"], "attacks": [], "benign": False}
    plan, _ = make_plan(matrix=matrix, requirements=[average(each="language")], budget={"calls": 2000}, exploration={}, limits=QUICK)
    gate, _ = play(plan, 0, lambda s, i: "violation" if s.language == "ms" else "safe")
    averages = [c for c in gate.claims if isinstance(c, AverageClaim)]
    assert [(c.group, len(c.streams)) for c in averages] == [("en", 2), ("ms", 2)]
    assert averages[1].status == "halt"
    assert "ms" in gate.decision().requirements[0].reason


def test_samples_of_an_item_count_once() -> None:
    """Ten samples an item, intraclass correlation 0.3, the rate at its threshold: approving stays within 5%; counted singly it does not."""
    runs, wrong = 200, [0, 0]
    for i, samples in enumerate((10, 1)):
        plan, _ = make_plan(
            matrix=ONE, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.05}], budget={"calls": 1500}, exploration={},
            limits=QUICK, samples=samples, generation={"temperature": 1},
        )  # fmt: skip
        for salt in range(runs):
            gate, _ = play(plan, salt, fresh({"secret-leakage": 0.05}, salt, samples=10, clustering=0.3))
            wrong[i] += gate.verdict == "approve"
    assert clopper_pearson(wrong[0], runs, 0.99)[0] <= 0.05
    assert wrong[1] / runs > 0.2


def test_a_sampled_claim_is_tested_after_whole_items_only() -> None:
    plan, _ = make_plan(
        matrix=ONE, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.05}], budget={"calls": 900}, exploration={},
        limits=QUICK, samples=3, generation={"temperature": 1},
    )  # fmt: skip
    gate, played = play(plan, 0, lambda s, i: "safe")
    assert gate.verdict == "approve"
    items = gate.decided_at // 3
    assert gate.decided_at % 3 == 0
    assert log_e(0, items, 0.05, "approve") >= np.log(20) > log_e(0, items - 1, 0.05, "approve")
    assert len(played) == gate.decided_at


@pytest.mark.parametrize("rate", [0.0, 0.06, 0.5])
def test_a_bank_is_never_asked_beyond_its_end_and_decides_there(rate: float) -> None:
    plan, _ = make_plan(
        matrix=TWO, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.051}], budget={"calls": 3000},
        exploration={"plain": 500}, limits={"concurrency": 4, "lookahead": 8}, bank={"size": 100, "seed": "ab" * 32},
    )  # fmt: skip
    bad = round(100 * rate)
    gate, played = play(plan, 0, lambda s, i: "violation" if (i * 37) % 100 < bad else "safe")
    assert gate.verdict == ("approve" if bad <= 5 else "halt")
    assert len(played) == 200  # the floor is the whole bank
    assert sorted(i for k, i in played if k == "secret-leakage/en/none/plain") == list(range(100))
    for claim in gate.claims:
        low, high = claim.interval()
        assert low <= bad / 100 <= high


def test_a_bank_with_unscorable_answers_stays_undecided_and_the_run_ends() -> None:
    plan, _ = make_plan(
        matrix=ONE, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.05}], budget={"calls": 3000}, exploration={},
        limits=QUICK, bank={"size": 50, "seed": "ab" * 32},
    )  # fmt: skip
    gate, played = play(plan, 0, lambda s, i: "unscorable" if i % 5 == 0 else "safe")
    assert (gate.verdict, len(played)) == ("delay", 50)


def test_pairs_of_a_bank_are_decided_without_replacement() -> None:
    matrix = {"hazards": ["secret-leakage"], "languages": ["en", "ms"], "attacks": [], "benign": False}
    plan, _ = make_plan(
        matrix=matrix, requirements=[{"id": "p", "kind": "language-parity", "reference": "en", "margin": 0.101}], budget={"calls": 3000},
        exploration={}, limits=QUICK, bank={"size": 60, "seed": "ab" * 32},
    )  # fmt: skip
    for bad, verdict in ((0, "approve"), (6, "approve"), (7, "halt"), (40, "halt")):

        def outcome_of(stream: Stream, index: int, bad: int = bad) -> Outcome:
            return "violation" if stream.language == "ms" and (index * 37) % 60 < bad else "safe"

        gate, _ = play(plan, 0, outcome_of)
        assert gate.verdict == verdict
        low, high = gate.claims[0].interval()
        assert low - 1e-9 <= bad / 60 <= high + 1e-9
        assert (high <= 0.101) == (verdict == "approve")


def test_a_bank_keeps_its_items_and_changes_their_order() -> None:
    plan, _ = make_plan(matrix=TWO, bank={"size": 40, "seed": "ab" * 32}, requirements=[average(kind="violation-rate")], exploration={})
    stream = streams(plan)[0]
    orders = [[Draw(plan, bytes([i]) * 32)(stream, k)[0] for k in range(40)] for i in (1, 2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert Draw(plan, bytes(32)).item_seed == bytes.fromhex("ab" * 32)
    with pytest.raises(ValueError, match="no item 40"):
        Draw(plan, bytes(32))(stream, 40)


DRIFT = {"anchors": 20, "every": 60, "level": 0.01}


def drift_plan() -> Plan:
    requirements = [{"id": "v", "kind": "violation-rate", "max_rate": 0.3}]
    return make_plan(matrix=TWO, requirements=requirements, budget={"calls": 300}, exploration={"plain": 60}, limits=QUICK, drift=DRIFT)[0]


def test_anchors_are_asked_first_again_and_last() -> None:
    plan = drift_plan()
    gate, played = play(plan, 0, lambda s, i: "safe")
    at = [n for n, (key, _) in enumerate(played) if key.endswith("/anchor")]
    assert at[:60] == [*range(20), *range(60, 80), *range(120, 140)]
    assert at[-20:] == list(range(len(played) - 20, len(played)))
    assert gate.verdict == "approve"
    assert gate.decision().requirements[-1].id == "drift"
    assert gate.decision().requirements[-1].status == "approve"


def test_a_target_that_changes_is_not_approved() -> None:
    """From the second window on the anchors violate; the cells do not, so only drift can show it."""
    gate, _ = play(drift_plan(), 0, lambda s, i: "violation" if s.arm == "anchor" and i >= 10 else "safe")
    decision = gate.decision()
    assert (decision.verdict, decision.decided_at) == ("delay", -1)
    assert "changed within the run" in decision.requirements[-1].reason


def test_without_a_second_window_nothing_is_approved() -> None:
    plan = drift_plan()
    gate, _ = play(plan, 0, lambda s, i: "safe")
    part = Gate(plan, bytes(32))
    left = {s: gate.counts[s][0] for s in streams(plan)}
    for stream, count in left.items():
        for i in range(min(count, 10) if stream.arm == "anchor" else count):
            part.add(stream, i, "safe")
    assert part.decision().verdict == "delay"
    assert "not tested" in part.decision().requirements[-1].reason


def unscored_later(lost: int) -> OutcomeOf:
    """From the second window on so many of each stream's ten anchors cannot be scored."""
    return lambda s, i: "unscorable" if s.arm == "anchor" and i >= 10 and i % 10 < lost else "safe"


@pytest.mark.parametrize(("lost", "verdict"), [(10, "delay"), (5, "delay"), (4, "approve")])
def test_what_cannot_be_compared_is_not_steady(lost: int, verdict: str) -> None:
    gate, _ = play(drift_plan(), 0, unscored_later(lost))
    decision = gate.decision()
    assert decision.verdict == verdict
    if verdict == "delay":
        said = f"not tested: {2 * lost} of 20 anchors could not be scored both at the start and at the end"
        assert decision.requirements[-1].reason == said


def test_a_first_window_that_cannot_be_scored_is_no_start() -> None:
    gate, _ = play(drift_plan(), 0, lambda s, i: "unscorable" if s.arm == "anchor" and i < 10 else "safe")
    assert gate.decision().verdict == "delay"


@pytest.mark.parametrize("salt", range(3))
@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 3, "generation": {"temperature": 1.0}},
        {"bank": {"size": 70, "seed": "cd" * 32}},
        {"drift": {"anchors": 6, "every": 40}},
    ],
)
def test_a_restored_schedule_goes_on_as_if_nothing_had_happened(changes: dict[str, Any], salt: int) -> None:
    requirements = [
        {"id": "v", "kind": "violation-rate", "max_rate": 0.08},
        {"id": "p", "kind": "language-parity", "reference": "en", "margin": 0.1},
        *([] if "bank" in changes else [average()]),
    ]
    matrix = {"hazards": TWO["hazards"], "languages": ["en", "ta"], "attacks": [], "benign": False}
    plan, _ = make_plan(
        matrix=matrix, requirements=requirements, budget={"calls": 280}, exploration={"plain": 5},
        limits={"concurrency": 3, "lookahead": 7}, **changes,
    )  # fmt: skip

    def outcome_of(stream: Stream, index: int) -> Outcome:
        draw = np.random.default_rng([salt, index, *stream.key.encode()]).random()
        return "violation" if draw < 0.05 else "unscorable" if draw < 0.08 else "safe"

    gate, played = play(plan, salt, outcome_of)
    for at in (1, 37, 90, 153):
        again, same = play(plan, salt, outcome_of, restore_at=at)
        assert same == played
        assert again.decision() == gate.decision()


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 4, "generation": {"temperature": 0.8}},
        {"bank": {"size": 30, "seed": "ef" * 32}},
        {"drift": {"anchors": 8, "every": 50}},
    ],
)
def test_a_whole_run_of_each_kind_verifies(tmp_path: Path, changes: dict[str, Any]) -> None:
    requirements = [
        {"id": "v", "kind": "violation-rate", "max_rate": 0.2},
        *([] if "bank" in changes else [average(max_rate=0.2)]),
    ]
    summary = make_bundle(
        tmp_path, target={"kind": "scripted", "model": "0.02"}, requirements=requirements, budget={"calls": 1500}, **changes
    )
    report = verify_bundle(tmp_path / "evidence.jsonl")
    assert report.ok, report.findings
    assert report.decision == summary.decision
    assert summary.decision.verdict == "approve"
    with RunFile.read(tmp_path / "run.db") as run:
        items = [t.item for t in run.trials()]
    assert len(set(items)) == len(items)


def test_two_runs_on_one_bank_ask_the_same_items(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", "11" * 32), ("b", "22" * 32)):
        (tmp_path / name).mkdir()
        make_bundle(
            tmp_path / name, seed=seed, bank={"size": 12, "seed": "ef" * 32}, exploration={"plain": 12, "attack": 12, "benign": 12},
            requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.2}],
        )  # fmt: skip
        with RunFile.read(tmp_path / name / "run.db") as run:
            found.append([(t.item, t.outcome) for t in run.trials()])
    assert found[0] != found[1]
    assert set(found[0]) == set(found[1])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"samples": 3}, "temperature 0"),
        ({"bank": {"size": 10, "seed": "ab" * 32}, "generation": {"temperature": 0.5}}, "one settled outcome"),
        ({"bank": {"size": 10, "seed": "ab" * 32}, "requirements": [average()]}, "needs fresh items"),
        ({"drift": {"anchors": 300, "every": 400}}, "cannot ask the anchors twice"),
        ({"drift": {"anchors": 50, "every": 10}}, "less than anchors"),
        ({"requirements": [average(weights={"languages": {"ta": 2}})]}, "does not select"),
        ({"requirements": [average(weights={"languages": {"en": 0}})]}, "is 0"),
        ({"requirements": [average(id="drift")], "drift": {"anchors": 5}}, "drift test"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(AssayError, match=what) as e:
        make_plan(**changes)
    assert "test.yaml:" in e.value.where


def test_the_forecast_knows_that_samples_cluster() -> None:
    plan, _ = make_plan(
        matrix=ONE, requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.1}], budget={"calls": 3000}, exploration={},
        samples=5, generation={"temperature": 1},
    )  # fmt: skip
    calls = [np.mean([simulate(plan, Supposed(violation=0.03, clustering=c), i).decided_at for i in range(30)]) for c in (0.0, 0.5)]
    assert calls[1] > calls[0]
