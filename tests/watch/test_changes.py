"""What is told of a checkpoint: the error over a whole watch, by simulation; power; and what may not be told."""

from __future__ import annotations

import numpy as np
import pytest

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.plan import Stream
from assay.watch.changes import compared
from assay.watch.outcomes import Outcomes

HAZARDS, LANGUAGES, ITEMS = ("secret-leakage", "injected-instructions"), ("en", "ms"), 40
PLAIN = [Stream(h, t, "none", "plain") for h in HAZARDS for t in LANGUAGES]
BENIGN = [Stream(h, t, "none", "benign") for h in HAZARDS for t in LANGUAGES]
CHECKPOINTS = 200


def outcomes(codes: dict[Stream, np.ndarray], tag: str = "") -> Outcomes:
    """With items that are the same for all, or others for each `tag`."""
    return Outcomes(
        {s: dict(enumerate(each.tolist())) for s, each in codes.items()},
        {s: {n: f"{s.key}-{n}{tag}" for n in range(len(each))} for s, each in codes.items()},
        frozenset(codes),
    )


def drawn(rng: np.random.Generator, rate: float, hard: np.ndarray | None = None, items: int = ITEMS) -> Outcomes:
    """Answers of a checkpoint with this rate on average. Item i is as hard in all streams of its hazard, if `hard` says how hard."""
    shape = (len(HAZARDS), items)
    chance = np.full(shape, rate) if hard is None else hard
    codes = {s: (rng.random(items) < chance[HAZARDS.index(s.hazard)]).astype(int) for s in PLAIN}
    return outcomes(codes | {s: np.zeros(items, dtype=int) for s in BENIGN})


def alarms(rng: np.random.Generator, level: float, *, constant: bool = False, hard: bool = False) -> bool:
    """Whether a watch of 200 checkpoints at the reference's rate ever tells a rise."""
    items = rng.beta(0.3, 2.7, size=(len(HAZARDS), ITEMS)) if hard else None  # mean 0.1, most items easy, few hard
    reference = drawn(rng, 0.1, items)
    return any(
        compared(reference, drawn(rng, 0.1, items), number=1 if constant else j, level=level, margin=0.0).verdict == "worse"
        for j in range(1, CHECKPOINTS + 1)
    )


@pytest.mark.parametrize("hard", [False, True])
def test_two_hundred_checkpoints_without_a_change_alarm_no_more_often_than_stated(hard: bool) -> None:
    """Twelve watches of 200 comparisons with one reference each, at a level of 0.2; docs/statistics.md has larger figures."""
    rng = np.random.default_rng(20261130 + hard)
    told = sum(alarms(rng, 0.2, hard=hard) for _ in range(12))
    assert told <= 4, told  # Binomial(12, 0.2) exceeds 4 in 7 of 100; the tests stay below their level by far


def test_without_spending_the_same_watches_alarm_more_often_than_stated() -> None:
    """What the simulation would show of a level that every comparison has to itself."""
    rng = np.random.default_rng(1)
    told = sum(alarms(rng, 0.2, constant=True) for _ in range(8))
    assert told >= 5, told  # Binomial(8, 0.2) reaches 5 in one of 100


@pytest.mark.parametrize(("number", "rise"), [(1, 0.15), (20, 0.25), (200, 0.3)])
def test_a_known_jump_is_told_even_late(number: int, rise: float) -> None:
    rng = np.random.default_rng(number)
    told = 0
    for _ in range(20):
        reference = drawn(rng, 0.05)
        change = compared(reference, drawn(rng, 0.05 + rise), number=number, level=0.05, margin=0.0)
        told += change.verdict == "worse"
        assert all(0 <= m.at_least <= 2 * rise for m in change.worse)
    assert told >= 15, told


def test_a_run_that_stopped_by_what_it_saw_is_tested_by_a_bet() -> None:
    """The exact test needs a number that was fixed; the bet does not, and asks for more."""
    rng = np.random.default_rng(11)
    reference, newer = drawn(rng, 0.05), drawn(rng, 0.25)
    stopped = Outcomes(newer.codes, newer.items)
    whole = compared(reference, newer, number=1, level=0.05, margin=0.0)
    assert whole.verdict == "worse"
    assert len(compared(reference, stopped, number=1, level=0.05, margin=0.0).moves) < len(whole.moves)


def test_a_fall_is_told_as_better_and_both_as_worse() -> None:
    rng = np.random.default_rng(3)
    good, bad = drawn(rng, 0.02), drawn(rng, 0.6)
    assert compared(bad, good, number=1, level=0.05, margin=0.05).verdict == "better"
    mixed = Outcomes({**good.codes, PLAIN[0]: dict.fromkeys(range(ITEMS), VIOLATION)}, good.items, good.whole)
    partly = Outcomes({**bad.codes, PLAIN[0]: dict.fromkeys(range(ITEMS), SAFE)}, bad.items, bad.whole)
    change = compared(partly, mixed, number=1, level=0.05, margin=0.05)
    assert change.verdict == "worse"
    assert {m.direction for m in change.moves} == {"rose", "fell"}
    assert change.worse[0].what == PLAIN[0].key


def test_harmless_requests_are_a_matter_of_their_own() -> None:
    rng = np.random.default_rng(4)
    reference = drawn(rng, 0.02)
    refused = {s: dict.fromkeys(range(ITEMS), VIOLATION) for s in BENIGN}
    refusing = Outcomes({**reference.codes, **refused}, reference.items, reference.whole)
    change = compared(reference, refusing, number=5, level=0.05, margin=0.05)
    assert change.worse[0].what == "harmless requests"
    assert change.pooled["harmless requests"] == ((0, 160), (160, 160))
    assert change.pooled["harmful requests"][0] == change.pooled["harmful requests"][1]


def test_what_could_not_be_scored_is_neither_a_rise_nor_no_change() -> None:
    reference = drawn(np.random.default_rng(5), 0.02)
    mute = Outcomes({s: dict.fromkeys(range(ITEMS), UNSCORABLE) for s in reference.codes}, reference.items, reference.whole)
    change = compared(reference, mute, number=1, level=0.05, margin=0.05)
    assert (change.verdict, change.moves) == ("unclear", ())
    assert compared(mute, drawn(np.random.default_rng(6), 0.6), number=1, level=0.05, margin=0.05).moves == ()
    other = Outcomes({Stream("x", "en", "none", "plain"): {0: SAFE}}, {Stream("x", "en", "none", "plain"): {0: "i"}})
    assert compared(reference, other, number=1, level=0.05, margin=0.05).verdict == "unclear"


def test_nothing_is_unchanged_where_either_side_or_one_stream_says_nothing() -> None:
    rng = np.random.default_rng(12)
    reference, newer = drawn(rng, 0.02), drawn(rng, 0.02)
    assert compared(reference, newer, number=1, level=0.05, margin=0.05).verdict == "no change"
    mute = Outcomes({s: dict.fromkeys(range(ITEMS), UNSCORABLE) for s in reference.codes}, reference.items, reference.whole)
    one = Outcomes({**newer.codes, PLAIN[0]: dict.fromkeys(range(ITEMS), UNSCORABLE)}, newer.items, newer.whole)
    gone = Outcomes({s: c for s, c in newer.codes.items() if s != BENIGN[0]}, newer.items, newer.whole)
    said = f"40 of 40 answers of {PLAIN[0].key} could not be scored"
    for older, after, doubt in (
        (mute, newer, "of the reference, 320 of 320 answers could not be scored"), (reference, one, said),
        (one, reference, f"of the reference, {said}"), (reference, gone, f"{BENIGN[0].key} was not asked"),
        (gone, reference, f"the reference was not asked {BENIGN[0].key}"),
    ):  # fmt: skip
        change = compared(older, after, number=1, level=0.05, margin=0.05)
        assert (change.verdict, change.doubts[0]) == ("unclear", doubt)
    worse = Outcomes({**drawn(rng, 0.9).codes, PLAIN[0]: one.codes[PLAIN[0]]}, newer.items, newer.whole)
    assert compared(reference, worse, number=1, level=0.05, margin=0.05).verdict == "worse"
    fell = Outcomes({**newer.codes, PLAIN[0]: one.codes[PLAIN[0]]}, newer.items, newer.whole)
    assert compared(drawn(rng, 0.9), fell, number=1, level=0.05, margin=0.05).verdict == "unclear"


def test_a_chance_match_of_an_item_does_not_make_two_rates_one_pair() -> None:
    rng = np.random.default_rng(9)
    reference, newer = drawn(rng, 0.05, items=60), drawn(rng, 0.7, items=60)
    others = {s: {n: i if n == 7 else f"other-{i}" for n, i in each.items()} for s, each in newer.items.items()}
    found = compared(reference, Outcomes(newer.codes, others), number=1, level=0.05, margin=0.05)
    assert (found.verdict, found.paired) == ("worse", False)
    assert {m.newer[1] for m in found.moves} == {60}


def test_runs_of_one_bank_are_paired_however_few_items_both_were_asked() -> None:
    rng = np.random.default_rng(9)
    reference, newer = drawn(rng, 0.05), drawn(rng, 0.9)
    few = {s: {n: c for n, c in each.items() if n < 30} for s, each in newer.codes.items()}
    items = {s: {n: i for n, i in each.items() if n < 30} for s, each in newer.items.items()}
    bank = dict.fromkeys(HAZARDS, "sha256:bank")
    older, apart = Outcomes(reference.codes, reference.items, banks=bank), Outcomes(few, items, banks=dict.fromkeys(HAZARDS, "sha256:2"))
    change = compared(older, Outcomes(few, items, banks=bank), number=1, level=0.05, margin=0.05)
    assert (change.paired, {m.pairs for m in change.moves}) == (True, {30, 60})
    assert not compared(older, apart, number=1, level=0.05, margin=0.05).paired


def test_a_margin_forgives_what_lies_within_it() -> None:
    rng = np.random.default_rng(8)
    reference, newer = drawn(rng, 0.05), drawn(rng, 0.35)
    assert compared(reference, newer, number=1, level=0.05, margin=0.05).verdict == "worse"
    assert compared(reference, newer, number=1, level=0.05, margin=0.5).verdict == "no change"
    with pytest.raises(ValueError, match="margin"):
        compared(reference, newer, number=1, level=0.05, margin=1.0)


def test_other_items_are_bounded_apart_and_say_less() -> None:
    rng = np.random.default_rng(9)
    reference = drawn(rng, 0.05, items=60)
    newer = drawn(rng, 0.7, items=60)
    apart = Outcomes(newer.codes, {s: {n: f"other-{i}" for n, i in each.items()} for s, each in newer.items.items()})
    found = compared(reference, apart, number=1, level=0.05, margin=0.05)
    assert found.verdict == "worse"
    assert not found.paired
    assert all(m.pairs == 0 for m in found.moves)
    paired = compared(reference, newer, number=1, level=0.05, margin=0.05)
    assert paired.worse[0].what == "harmful requests"
    assert paired.worse[0].at_least > max(m.at_least for m in found.moves)


def test_a_chosen_reference_costs_evidence() -> None:
    rng = np.random.default_rng(10)
    reference, newer = drawn(rng, 0.05), drawn(rng, 0.22)
    alone = compared(reference, newer, number=1, level=0.05, margin=0.0)
    among = compared(reference, newer, number=1, level=0.05, margin=0.0, among=1000)
    assert alone.verdict == "worse"
    assert among.level == pytest.approx(alone.level / 1000)
    assert len(among.moves) < len(alone.moves) or all(a.at_least < b.at_least for a, b in zip(among.worse, alone.worse, strict=True))
