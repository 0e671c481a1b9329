"""What a plan will cost and decide, before anything is spent: the real scheduler and gate on invented outcomes.

    supposed = Supposed(violation=0.01, cells={"secret-leakage/ta": 0.15})
    forecast(plan, supposed, runs=100).approve          # the share of simulated runs that end in approval

Outcomes are drawn independently, but for several samples of one item, which go together by `Supposed.clustering`. On a real target the two
items of a pair go together too, which only helps parity claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct, structs

from assay.decision.gate import Verdict
from assay.decision.schedule import Scheduler
from assay.errors import PlanError
from assay.judges import Outcome, Told, Truth, audited
from assay.plan import Calibrated, Plan, Stream, run_seed, streams
from assay.scenarios import Prf
from assay.stats.exact import clopper_pearson

_DRAWS = 4096
_KNOWN = 150  # known violations that a supposed calibration rests on

Calls = Callable[[Stream], tuple[int, int]]
"""The most calls of target and attacker that a trial of a stream takes."""


def _one(_: Stream) -> tuple[int, int]:
    return 1, 0


class Supposed(Struct, frozen=True):
    """How good a target is supposed to be. `cells` overrides `violation` for streams whose key begins so (`hazard/language/attack`).

    `unscorable` is the share of answers of any arm that cannot be scored. `clustering` is the correlation of two samples of one item.
    """

    violation: float = 0.01
    refusal: float = 0.01
    unscorable: float = 0.0
    clustering: float = 0.3
    cells: dict[str, float] = {}

    def rate(self, stream: Stream) -> float:
        """The supposed rate of a stream."""
        if stream.arm == "benign":
            return self.refusal
        fitting = [prefix for prefix in self.cells if f"{stream.key}/".startswith(f"{prefix}/")]
        return self.cells[max(fitting, key=len)] if fitting else self.violation

    def check(self, plan: Plan) -> None:
        """Raises `PlanError` for a cell that the plan does not have, or what is no rate."""
        keys = [f"{s.key}/" for s in streams(plan)]
        for prefix in self.cells:
            if not any(key.startswith(f"{prefix}/") for key in keys):
                raise PlanError(f"the plan has no cell '{prefix}'", fix=f"Cells are hazard/language/attack, for example {keys[0][:-7]}.")
        for rate in (self.violation, self.refusal, self.unscorable, self.clustering, *self.cells.values()):
            if not 0 <= rate <= 1:
                raise PlanError(f"{rate} is no rate between 0 and 1")


class SimulatedRun(Struct, frozen=True):
    """One invented run: all its trials, how many of them decided (the same where nothing did), and the calls that they took."""

    verdict: Verdict
    trials: int
    decided_at: int
    calls: int
    attacker_calls: int


class Forecast(Struct, frozen=True):
    """Shares of the verdicts with exact 95% intervals, and calls: the mean and the 5th, 50th and 95th percentile."""

    runs: int
    approve: float
    delay: float
    halt: float
    intervals: dict[str, tuple[float, float]]
    trials_mean: float
    trials_percentiles: tuple[int, int, int]
    decided_mean: float
    calls_mean: float
    attacker_calls_mean: float


def simulate(plan: Plan, supposed: Supposed, run: int, calls: Calls = _one) -> SimulatedRun:
    """One run on outcomes drawn from the supposed rates; `run` numbers it and seeds it.

    Where models judge, they flag the violations and people confirm them whenever the run waits for labels, and in a bank label what the
    run's coin draws of the rest; where the plan has no calibration, one is supposed whose bound is what the schedule reckons with.
    """
    plan = _calibrated(plan)
    each = {s: calls(s) for s in streams(plan)}
    spent = [0, 0]
    seed = run_seed(plan.digest, run.to_bytes(32, "big"))
    scheduler, coin = Scheduler(plan, seed), Prf(seed)
    rates = {s: supposed.rate(s) for s in streams(plan)}
    draws = _draws(run)
    items = _ItemRates(rates, plan.samples, supposed.clustering, run)
    flagged: dict[int, Truth] = {}
    told: dict[int, Truth] = {}
    for _ in range(plan.budget.calls):
        slot = scheduler.next_slot()
        if slot is None and plan.judges and set(flagged) - set(told):
            told = dict(flagged)
            scheduler.take(Told(told))
            slot = scheduler.next_slot()
        if slot is None:
            break
        spent = [spent[0] + each[slot.stream][0], spent[1] + each[slot.stream][1]]
        outcome = _outcome(items.of(slot.stream, slot.index), supposed.unscorable, next(draws))
        if outcome == "violation":
            flagged[slot.number] = "violation"
        elif outcome == "safe" and plan.bank_size(slot.stream.hazard) and audited(coin, slot.stream, slot.index, plan.labels.audit):
            flagged[slot.number] = "acceptable"  # of a bank only what people labelled counts
        scheduler.commit(slot.stream, slot.index, outcome)
    gate = scheduler.finish()
    if plan.judges:
        gate.take(Told(flagged))
    return SimulatedRun(gate.verdict, gate.committed, gate.decided_at if gate.final else gate.committed, *spent)


def _calibrated(plan: Plan) -> Plan:
    """The plan with a calibration in every judged hazard, language and arm, if it has none at all."""
    judges = plan.judges
    if judges is None or judges.calibrated:
        return plan
    caught = round(_KNOWN * plan.labels.expected)
    rows = {
        (s.hazard, s.language, s.arm): Calibrated("sha256:" + "0" * 64, s.hazard, s.language, s.arm, caught, _KNOWN - caught)
        for s in streams(plan)
        if s.hazard in judges.hazards
    }
    return structs.replace(plan, judges=structs.replace(judges, calibrated=tuple(rows.values())))


class _ItemRates:
    """The chance of a violation for each item: its stream's rate, or, sampled several times, a beta draw with that mean."""

    def __init__(self, rates: dict[Stream, float], samples: int, clustering: float, run: int) -> None:
        self._rates = rates
        self._samples = samples
        self._clustering = min(clustering, 1 - 1e-9)
        self._generator = np.random.default_rng([run, 1])
        self._item: dict[Stream, float] = {}

    def of(self, stream: Stream, index: int) -> float:
        rate = self._rates[stream]
        if self._samples == 1 or not self._clustering or rate in (0.0, 1.0):
            return rate
        if index % self._samples == 0 or stream not in self._item:
            scale = (1 - self._clustering) / self._clustering
            self._item[stream] = float(self._generator.beta(rate * scale, (1 - rate) * scale))
        return self._item[stream]


def _draws(run: int) -> Iterator[float]:
    generator = np.random.default_rng(run)
    while True:
        yield from generator.random(_DRAWS).tolist()


def _outcome(rate: float, unscorable: float, draw: float) -> Outcome:
    if draw < unscorable:
        return "unscorable"
    return "violation" if draw < unscorable + (1 - unscorable) * rate else "safe"


def forecast(plan: Plan, supposed: Supposed, runs: int, enough: Callable[[int], bool] = lambda _: False, calls: Calls = _one) -> Forecast:
    """Simulate `runs` runs; `enough` is asked after each from the third on whether so many will do. Raises `PlanError` for absurd rates."""
    supposed.check(plan)
    done: list[SimulatedRun] = []
    while len(done) < runs and not (len(done) >= 3 and enough(len(done))):
        done.append(simulate(plan, supposed, len(done), calls))
    count = {v: sum(r.verdict == v for r in done) for v in ("approve", "delay", "halt")}
    n = len(done)
    trials = np.array([r.trials for r in done])
    low, middle, high = (int(v) for v in np.percentile(trials, [5, 50, 95], method="nearest"))
    return Forecast(
        runs=n,
        approve=count["approve"] / n,
        delay=count["delay"] / n,
        halt=count["halt"] / n,
        intervals={v: clopper_pearson(k, n) for v, k in count.items()},
        trials_mean=float(trials.mean()),
        trials_percentiles=(low, middle, high),
        decided_mean=float(np.mean([r.decided_at for r in done])),
        calls_mean=float(np.mean([r.calls for r in done])),
        attacker_calls_mean=float(np.mean([r.attacker_calls for r in done])),
    )
