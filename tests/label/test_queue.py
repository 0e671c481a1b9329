"""What is labelled next, by whom, and in which order: values in, list out."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.judges.labels import Label, current, settle
from assay.label.queue import Book, Candidate, by_language, candidates, order, own, waiting
from assay.runs import RunFile
from assay.scenarios import Prf
from assay.web.signin import Person
from tests.label.making import agents_run, judged_plan, rewrite
from tests.support import NONCE, run_plan

DIGEST = f"sha256:{'0' * 64}"


def candidate(slot: int, language: str = "en", why: Any = "audit") -> Candidate:
    return Candidate(slot, "hate", language, "plain", why, DIGEST, DIGEST)


def label(number: int, slot: int, labeller: str, **values: Any) -> Label:
    return Label(number=number, slot=slot, item=DIGEST, transcript=DIGEST, labeller=labeller, at=number, **values)


def said(number: int, slot: int, labeller: str, verdict: str = "acceptable", **values: Any) -> Label:
    return label(number, slot, labeller, verdict=verdict, **values)


def book_of(*acts: Label, people: int = 1) -> Book:
    book = Book(people)
    book.extend(acts)
    return book


AISYAH, WEI = Person("Aisyah", ("ms", "en")), Person("Wei", ("zh-Hans",))
DEVI = Person("Devi", (), ("adjudicator",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trials, catalog and plan of a judged run in which a third of the answers is flagged."""
    folder = tmp_path_factory.mktemp("queue")
    with run_plan(folder / "scripted.db", *judged_plan(audit=0.25, calls=60)) as run:
        rewrite(run, folder / "run.db", lambda t: f"answer {t.slot}")
    with RunFile.read(folder / "run.db") as run:
        opening = run.opening()
        trials = [t if t.slot % 3 else _flagged(t) for t in run.trials()]
        return trials, opening.catalog, opening.plan, opening.seed


def _flagged(trial: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(trial, outcome="violation", reason="")


def test_every_flagged_trial_is_labelled_and_the_audit_does_not_look_at_the_judge(finished: Any) -> None:
    trials, catalog, plan, seed = finished
    found = candidates(trials, catalog, plan, Prf(seed))
    flagged = {t.slot for t in trials if t.outcome == "violation"}
    assert flagged == {c.slot for c in found if c.why == "flagged"}
    unflagged = [t if t.slot not in flagged else next(u for u in trials if u.slot not in flagged) for t in trials]
    drawn = {c.slot for c in candidates(trials, catalog, plan, Prf(seed)) if c.why == "audit"}
    assert drawn == {c.slot for c in candidates(unflagged, catalog, plan, Prf(seed)) if c.slot not in flagged}
    assert 0 < len(drawn) < len(trials) - len(flagged)


def test_what_a_judge_could_not_read_is_labelled_as_if_flagged(finished: Any) -> None:
    import msgspec

    trials, catalog, plan, seed = finished
    unread = [msgspec.structs.replace(t, outcome="unscorable", judge="reader/1:1") for t in trials]
    assert {c.why for c in candidates(unread, catalog, plan, Prf(seed))} == {"flagged"}


def test_without_a_judge_only_the_audit_or_all_brings_a_trial(finished: Any) -> None:
    trials, catalog, plan, seed = finished
    rest = [t for t in trials if t.outcome != "violation"]
    assert all(t.reason == "needs a judge" for t in rest if t.arm != "benign")
    some = candidates(rest, catalog, plan, Prf(seed))
    every = candidates(rest, catalog, plan, Prf(seed), everything=True)
    assert {c.why for c in some} == {"audit"}
    assert len(every) == len(rest) > len(some)
    assert candidates(rest, catalog, plan, Prf(seed), everything=True, languages=["ms"]) == []


def test_hazards_that_a_program_checks_are_labelled_only_where_everything_is(tmp_path: Any) -> None:
    with RunFile.read(agents_run(tmp_path) / "run.db") as run:
        opening = run.opening()
        trials = list(run.trials())
        assert any(t.outcome == "violation" for t in trials)
        assert candidates(trials, opening.catalog, opening.plan, Prf(NONCE)) == []
        assert len(candidates(trials, opening.catalog, opening.plan, Prf(NONCE), everything=True)) == len(trials)


def test_the_order_is_everybodys_own_and_tells_nothing_of_the_reason() -> None:
    found = [candidate(slot, why="flagged" if slot % 3 == 0 else "audit") for slot in range(300)]
    other = [candidate(slot, why="audit" if slot % 3 == 0 else "flagged") for slot in range(300)]
    places = []
    for name in (f"labeller {i}" for i in range(40)):
        mine = [c.slot for c in order(found, NONCE, name)]
        assert mine == [c.slot for c in order(reversed(found), NONCE, name)] == [c.slot for c in order(other, NONCE, name)]
        assert sorted(mine) == list(range(300))
        places += [place for place, slot in enumerate(mine) if slot % 3 == 0]
    assert order(found, NONCE, "Aisyah") != order(found, NONCE, "Wei") != order(found, bytes(32), "Wei")
    assert abs(sum(places) / len(places) - 149.5) < 5  # 4,000 places; the mean's standard error is 1.4 at most


def test_people_label_in_their_languages_and_nothing_twice() -> None:
    found = [candidate(1), candidate(2, "zh-Hans"), candidate(3, "ms")]
    book = book_of(said(1, 1, "Aisyah"), people=2)
    assert [c.slot for c in waiting(found, AISYAH, book)] == [3]
    assert [c.slot for c in waiting(found, WEI, book)] == [2]
    assert [c.slot for c in waiting(found, Person("Bala"), book)] == [1, 2, 3]
    assert [c.slot for c in waiting(found, Person("Bala"), book_of(said(1, 1, "Aisyah")))] == [2, 3]


def test_what_was_skipped_comes_when_asked_for_and_what_others_have_in_hand_comes_last() -> None:
    found = [candidate(slot) for slot in range(4)]
    book = book_of(label(1, 0, "Aisyah", act="skip"), label(2, 1, "Aisyah", act="skip"), label(3, 1, "Aisyah", act="undo"))
    assert [c.slot for c in waiting(found, AISYAH, book)] == [1, 2, 3]
    assert [c.slot for c in waiting(found, AISYAH, book, skipped=True)] == [0]
    assert [c.slot for c in waiting(found, AISYAH, book, busy={1})] == [2, 3, 1]
    assert own(found, AISYAH, book) == (0, 4, 1)


def test_disputes_go_to_adjudicators_who_have_no_part_in_them() -> None:
    found = [candidate(1), candidate(2), candidate(3)]
    acts = [said(1, 1, "A", "violation"), said(2, 1, "B"), said(3, 2, "A"), said(4, 2, "B"), said(5, 3, "A", "unsure")]
    book = book_of(*acts, people=2)
    assert [c.slot for c in waiting(found, DEVI, book)] == [1]
    assert [c.slot for c in waiting(found, Person("A", (), ("labeller", "adjudicator")), book)] == []
    book.extend([said(6, 1, "Devi", "violation", adjudicates=True)])
    assert list(waiting(found, DEVI, book)) == []
    assert book.settled[1].truth == {1: "violation"}
    assert [c.slot for c in waiting(found, Person("C"), book)] == [3]
    assert by_language(found, book)["en"].done == 2 + 2 + 1


ACTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("ABC"), st.sampled_from(["label", "label", "skip", "undo"]), st.booleans(), st.booleans()),
    max_size=30,
)


@given(ACTS, st.integers(1, 3))
def test_the_book_kept_up_act_by_act_is_what_all_acts_together_come_to(steps: Any, people: int) -> None:
    acts = []
    for number, (slot, who, act, bad, decides) in enumerate(steps, 1):
        values = {"verdict": "violation" if bad else "acceptable", "adjudicates": decides} if act == "label" else {}
        acts.append(label(number, slot, who, act=act, **values))
    book = book_of(*acts, people=people)
    assert {s: dict(mine) for s, mine in book.labels.items() if mine} == current(acts)
    whole = settle(acts, people)
    assert {s for s in range(4) if book.disputed(s)} == set(whole.disputed)
    for slot, found in book.settled.items():
        assert found.truth.get(slot) == whole.truth.get(slot)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(0, 2**32))
def test_whoever_comes_when_every_trial_ends_with_the_labels_asked_for(people: int, seed: int) -> None:
    random = Random(seed)
    everybody = [Person(name) for name in "ABCD"]
    found = [candidate(slot) for slot in range(12)]
    orders = {p.name: order(found, NONCE, p.name) for p in everybody}
    book, number = Book(people), 0
    while any(next(waiting(orders[p.name], p, book), None) for p in everybody):
        person = random.choice(everybody)
        mine = next(waiting(orders[person.name], person, book, skipped=random.random() < 0.5), None)
        if mine is None:
            continue
        number += 1
        act = random.choice(["label", "label", "label", "skip", "undo"])
        slot = random.choice(book.history(person.name)) if act == "undo" and book.history(person.name) else mine.slot
        values = {"verdict": "acceptable"} if act == "label" else {}
        book.extend([label(number, slot if act == "undo" else mine.slot, person.name, act=act, **values)])
        if number > 2000:
            raise AssertionError("this never ends")
    skipped = {slot for mine in book.skipped.values() for slot in mine}
    assert all(len(book.on(c.slot)) == people for c in found if c.slot not in skipped)
    assert all(len(book.on(c.slot)) <= people for c in found)
