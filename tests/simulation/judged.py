"""Both error rates where a judge errs and people confirm what it flags, through the real plan, scheduler and gate.

    python -m tests.simulation.judged --replicates 1000        # `make simulate-judged`; as many a setting as --seconds allow

Each replicate draws violations, the judge's verdicts and, unless said otherwise, the calibration itself. The schedule runs until it has
nothing to ask; people label; the labels are taken in; and so on, at most 30 rounds. `naive` is the same plan without people: the same
scheduler and gate take what the judge flags for violations. A setting holds if its wrong verdicts are not significantly more than
registered (exact binomial, 0.1%); the naive rule is there to break, and counts as broken only if they significantly are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from assay.decision import Gate, Scheduler
from assay.judges import Told, audited
from assay.plan import Calibrated, ErrorRates, Plan, Stream
from assay.scenarios import Prf
from assay.stats import RateTest, clopper_pearson, crossing_probability
from assay.stats.judge_error import SENSITIVITY_SHARE, SensitivityBound
from tests.support import make_plan

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "judged-error-rates.json"
PANEL = f"sha256:{'0' * 64}"
TAU = 0.05
ROUNDS = 30
KNOWN = 200
COLUMNS = ("replicates", "approve", "delay", "halt", "wrong", "wrong_upper_95", "calls", "labels", "rounds")
SURE = 0.998  # two-sided: each side errs in one of 1,000

Labelling = Literal["all", "half", "violations last", "flagged only"]
Wrong = Literal["approve", "halt", ""]


@dataclass(frozen=True, slots=True)
class Judge:
    """What it flags of violations, and what it passes of the rest."""

    sensitivity: float
    specificity: float


EN, MS, PERFECT = Judge(0.97, 0.99), Judge(0.80, 0.97), Judge(1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """The true rate in one language, and its judge. Of `known` violations `caught` were caught: drawn by chance where that is None."""

    rate: float
    judge: Judge
    known: int = KNOWN
    caught: int | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated; `wrong` is the verdict that would be wrong, and `bound` what is registered for it."""

    name: str
    what: str
    wrong: Wrong
    cells: dict[str, Cell]
    calls: int = 2000
    labelling: Labelling = "all"
    audit: float = 0.0
    naive: bool = False
    errors: ErrorRates = field(default_factory=ErrorRates)

    @property
    def bound(self) -> float:
        """The registered chance of the wrong verdict."""
        return self.errors.halt if self.wrong == "halt" else self.errors.approve


@dataclass(frozen=True, slots=True)
class Played:
    """One run: its verdict, what it cost, and how often people were asked."""

    verdict: str
    calls: int
    labels: int
    rounds: int


@lru_cache(maxsize=64)
def _parsed(languages: tuple[str, ...]) -> Plan:
    plan, _ = make_plan(
        matrix={"hazards": ["hate"], "languages": list(languages), "benign": False},
        requirements=[{"id": "violations", "kind": "violation-rate", "max_rate": TAU}],
        judges={"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}}]},
        exploration={},
        limits={"concurrency": 4, "lookahead": 8},
    )
    return plan


def plan_of(setting: Setting, caught: dict[str, int]) -> Plan:
    """The setting's plan; the naive one has no judges, so that outcomes count as they are."""
    plan = _parsed(tuple(setting.cells))
    rows = tuple(Calibrated(PANEL, "hate", t, "plain", n, setting.cells[t].known - n) for t, n in caught.items() if setting.cells[t].known)
    assert plan.judges is not None
    return structs.replace(
        plan,
        judges=None
        if setting.naive
        else structs.replace(plan.judges, calibrated=rows, digests={f"hate/{t}": PANEL for t in setting.cells}),
        labels=structs.replace(plan.labels, audit=setting.audit),
        budget=structs.replace(plan.budget, calls=setting.calls),
        errors=setting.errors,
    )


class People:
    """Who labels what. `truth` is what they have said, by slot."""

    def __init__(self, how: Labelling, rng: np.random.Generator) -> None:
        self.how = how
        self.truth: dict[int, bool] = {}
        self._rng = rng
        self._queue: list[tuple[int, bool, bool]] = []  # slot, whether it is a violation, whether it is flagged

    def see(self, slot: int, *, violation: bool, flagged: bool) -> None:
        """A trial for the queue. Those that are never labelled do not come in."""
        if (self.how == "half" and self._rng.random() < 0.5) or (self.how == "flagged only" and not flagged):
            return
        self._queue.append((slot, violation, flagged))

    def label(self) -> bool:
        """Label what there is this time; whether anything was."""
        now = self._queue
        if self.how == "violations last" and not all(violation for _, violation, _ in now):
            now = [entry for entry in now if not entry[1]]
        self.truth |= {slot: violation for slot, violation, _ in now}
        self._queue = [entry for entry in self._queue if entry[0] not in self.truth]
        return bool(now)

    def told(self) -> Told:
        """As the scheduler takes it."""
        return Told({slot: "violation" if violation else "acceptable" for slot, violation in self.truth.items()})


def play(setting: Setting, number: int, seed: int = 0) -> Played:
    """One run through the real scheduler and gate."""
    return run(setting, number, seed)[0]


def run(setting: Setting, number: int, seed: int = 0) -> tuple[Played, Gate]:
    """One run, and its gate at the end. The same number gives the same outcomes by stream and index, however it is labelled."""
    rng = np.random.default_rng([seed, number])
    caught = {
        t: int(rng.binomial(c.known, c.judge.sensitivity)) if c.caught is None else c.caught for t, c in setting.cells.items()
    }  # fmt: skip
    plan = plan_of(setting, caught)
    outcomes: dict[str, tuple[list[bool], list[bool]]] = {}
    for t, c in setting.cells.items():
        violation = rng.random(setting.calls) < c.rate
        flagged = rng.random(setting.calls) < np.where(violation, c.judge.sensitivity, 1 - c.judge.specificity)
        outcomes[t] = violation.tolist(), flagged.tolist()
    key = int(rng.integers(1 << 62)).to_bytes(32, "big")
    people = People(setting.labelling, rng)
    scheduler, prf = Scheduler(plan, key), Prf(key)
    rounds = 0
    while True:
        while (slot := scheduler.next_slot()) is not None:
            violations, flags = outcomes[slot.stream.language]
            flagged = flags[slot.index]
            scheduler.commit(slot.stream, slot.index, "violation" if flagged else "safe")
            if not setting.naive and (flagged or (setting.audit > 0 and audited(prf, slot.stream, slot.index, setting.audit))):
                people.see(slot.number, violation=violations[slot.index], flagged=flagged)
        if setting.naive or rounds == ROUNDS or not people.label():
            break
        scheduler.take(people.told())
        rounds += 1
    gate = scheduler.finish()
    return Played(gate.verdict, gate.committed, len(people.truth), rounds), gate


def stream(language: str) -> Stream:
    """The one stream of a language here."""
    return Stream("hate", language, "none", "plain")


def luckiest(sensitivity: float, known: int, level: float) -> int:
    """The most violations that a calibration may have caught without its bound exceeding the sensitivity."""
    for caught in range(known, -1, -1):
        bound = SensitivityBound(level)
        bound.add(caught, known - caught)
        if bound.lower <= sensitivity:
            return caught
    raise ValueError("no count is that low")


def too_lucky(sensitivity: float, known: int, level: float) -> float:
    """The exact chance that the bound exceeds the sensitivity at any number of labels up to `known`."""
    return float(crossing_probability(sensitivity, RateTest(sensitivity, "halt", level), known)[-1])


def mixed(sensitivity: float, level: float, *, takes: int, more: int, replicates: int, seed: int = 0) -> float:
    """How often some bound exceeds the sensitivity if each of `takes` calibrations, `more` labels larger than the last, is paired with
    every prefix of 300 violations of the run itself: what the gate does not do.
    """
    rng = np.random.default_rng(seed)
    known, own = more * np.arange(1, takes + 1), np.arange(301)
    limits = _too_many(sensitivity, level, int(known[-1]) + 300)[known[:, None] + own]
    found = 0
    for _ in range(replicates):
        caught = np.cumsum(rng.random(int(known[-1])) < sensitivity)[known - 1]
        found += bool((caught[:, None] + np.concatenate(([0], np.cumsum(rng.random(300) < sensitivity))) >= limits).any())
    return found / replicates


def counted_twice(sensitivity: float, level: float, replicates: int, seed: int = 0) -> float:
    """How often the bound exceeds the sensitivity at some number of labels up to 300 if each is counted twice."""
    caught = np.cumsum(np.random.default_rng(seed).random((replicates, 300)) < sensitivity, axis=1)
    return float((2 * caught >= _too_many(sensitivity, level, 600)[2 * np.arange(1, 301)]).any(axis=1).mean())


def _too_many(sensitivity: float, level: float, most: int) -> NDArray[np.int64]:
    """How many caught of 0, 1, ... `most` make the bound exceed the sensitivity."""
    test = RateTest(sensitivity, "halt", level)
    return np.array([test.limit(n) for n in range(most + 1)])


_LEVEL = ErrorRates().approve * SENSITIVITY_SHARE
_NONE = Cell(0.0, EN)
_LOW = Judge(0.7, 1.0)
_BLIND, _BLINDER = Judge(0.5, 0.999), Judge(0.4, 0.99)
_LUCKY = Cell(TAU, MS, caught=luckiest(0.8, KNOWN, _LEVEL))

SETTINGS = (
    Setting("at_tau_en", "en at its threshold, ms perfect", "approve", {"en": Cell(TAU, EN), "ms": Cell(0.0, MS)}),
    Setting("at_tau_ms", "ms at its threshold, en perfect", "approve", {"en": _NONE, "ms": Cell(TAU, MS)}),
    Setting("just_over_ms", "ms at 1.002 times its threshold", "approve", {"en": _NONE, "ms": Cell(1.002 * TAU, MS)}),
    Setting("many_labels_ms", "ms at its threshold, 20,000 known violations", "approve", {"en": _NONE, "ms": Cell(TAU, MS, known=20_000)}),
    Setting("lucky_within_ms", "the luckiest calibration whose bound is no higher than the truth", "approve", {"en": _NONE, "ms": _LUCKY}),
    Setting("half_ms", "ms at its threshold, half of it is never labelled", "approve", {"en": _NONE, "ms": _LUCKY}, labelling="half"),
    Setting(
        "late_ms", "ms at its threshold, violations are labelled last", "approve", {"en": _NONE, "ms": _LUCKY}, labelling="violations last"
    ),
    Setting(
        "audit_ms", "ms at its threshold, no calibration, half is drawn and labelled", "approve",
        {"en": _NONE, "ms": Cell(TAU, MS, known=0)}, calls=4500, audit=0.5,
    ),
    Setting(
        "flagged_only", "0.6 of violations are missed, 1.5 times the threshold; of the drawn only the flagged are labelled", "approve",
        {"en": _NONE, "ms": Cell(1.5 * TAU, _BLINDER, known=0)}, calls=3000, audit=1.0, labelling="flagged only",
    ),
    Setting("halt_at_tau", "both at their thresholds", "halt", {"en": Cell(TAU, EN), "ms": Cell(TAU, MS)}),
    Setting("good", "both at a fifth of the threshold", "halt", {"en": Cell(TAU / 5, EN), "ms": Cell(TAU / 5, MS)}),
    Setting(
        "good_half", "the same, half of it is never labelled", "halt", {"en": Cell(TAU / 5, EN), "ms": Cell(TAU / 5, MS)}, labelling="half"
    ),
    Setting(
        "good_late", "the same, violations are labelled last", "halt", {"en": Cell(TAU / 5, EN), "ms": Cell(TAU / 5, MS)},
        labelling="violations last",
    ),
    Setting("bad", "both at three times the threshold", "approve", {"en": Cell(3 * TAU, EN), "ms": Cell(3 * TAU, MS)}),
    Setting("under_ms", "ms at 0.8 of its threshold", "halt", {"ms": Cell(0.8 * TAU, MS)}, calls=4000),
    Setting("over_low", "1.2 times the threshold, 0.3 of violations missed", "approve", {"ms": Cell(1.2 * TAU, _LOW)}, calls=8000),
    Setting("over_blind", "1.6 times the threshold, half missed", "approve", {"ms": Cell(1.6 * TAU, _BLIND)}, calls=4000),
)  # fmt: skip
NAIVE = tuple(
    replace(s, name=f"naive_{s.name}", naive=True) for s in SETTINGS if s.name in ("good", "under_ms", "over_low", "over_blind", "bad")
)
BROKEN = ("naive_under_ms", "naive_over_low", "naive_over_blind")
"""Where the naive rule's wrong verdicts must be significantly more than registered."""


def simulate(
    setting: Setting, replicates: int, seed: int = 0, seconds: float = float("inf"), one: Callable[[Setting, int, int], Played] = play
) -> dict[str, Any]:
    """Shares of verdicts with exact bounds, and mean costs, over so many replicates or as many as there is time for."""
    began = time.perf_counter()
    runs: list[Played] = []
    while len(runs) < replicates and (len(runs) < 20 or time.perf_counter() - began < seconds):
        runs.append(one(setting, len(runs), seed))
    n = len(runs)
    share = {v: sum(r.verdict == v for r in runs) / n for v in ("approve", "delay", "halt")}
    wrong = round(share[setting.wrong] * n) if setting.wrong else 0
    low, _ = clopper_pearson(wrong, n, SURE)
    _, high = clopper_pearson(wrong, n, 0.9)
    return {
        "setting": setting.name, "what": setting.what, "replicates": n, **share, "wrong": wrong / n, "wrong_upper_95": high,
        "registered": setting.bound, "holds": not setting.wrong or low <= setting.bound, "calls": _mean([r.calls for r in runs]),
        "labels": _mean([r.labels for r in runs]), "rounds": _mean([r.rounds for r in runs]), "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def main() -> int:
    """Print the table and write it beside the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="for one setting")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--only", nargs="*", default=[], help="these settings; the other figures in the file stay")
    args = parser.parse_args()
    flat: dict[str, float] = {
        f"too_lucky_{language}_{KNOWN}_labels_share": round(too_lucky(judge.sensitivity, KNOWN, _LEVEL), 5)
        for language, judge in (("en", EN), ("ms", MS))
    }
    if not args.only:
        flat["mixed_600_calibrations_too_high_share"] = mixed(0.8, 0.01, takes=600, more=1, replicates=1000)
        flat["mixed_6_calibrations_too_high_share"] = mixed(0.8, 0.01, takes=6, more=100, replicates=4000)
        flat["counted_twice_too_high_share"] = counted_twice(0.8, 0.01, replicates=20_000)
    print(f"{'setting':<18} " + " ".join(f"{name:>8}" for name in COLUMNS))
    as_it_should = True
    for setting in (*SETTINGS, *NAIVE):
        if args.only and setting.name not in args.only:
            continue
        row = simulate(setting, args.replicates, args.seed, args.seconds)
        as_it_should &= row["holds"] != (setting.name in BROKEN)
        mark = "holds" if row["holds"] else "BROKEN, as expected" if setting.name in BROKEN else "DOES NOT HOLD"
        numbers = " ".join(f"{row[name]:>8.4g}" for name in COLUMNS)
        print(f"{setting.name:<18} {numbers}  {setting.wrong} {mark}: {setting.what}", flush=True)
        for key in ("approve", "halt", "wrong", "wrong_upper_95", "registered"):
            flat[f"{setting.name}_{key}_share"] = round(row[key], 5)
        for key in ("calls", "labels", "rounds"):
            flat[f"{setting.name}_{key}_mean"] = round(row[key], 2)
        flat[f"{setting.name}_replicates"] = row["replicates"]
    before = json.loads(RESULTS.read_text()) if args.only and RESULTS.exists() else {}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(before | flat, indent=2, sort_keys=True) + "\n")
    return 0 if as_it_should else 1


if __name__ == "__main__":
    raise SystemExit(main())
