"""The desk files every act once, keeps drafts, hands out blind, and lets nobody do what is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.judges.labels import Label
from assay.label import Desk, Given, RefusedError, Scope, Sent
from assay.label.desk import HOLD_S, STOCK
from assay.runs import RunFile, read_labels
from assay.web.signin import Person
from tests.label.making import agents_run, judged_run

AISYAH, WEI, DEVI = Person("Aisyah"), Person("Wei"), Person("Devi", (), ("adjudicator",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("desk"), people=2, calls=16)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "run.db").write_bytes((made / "run.db").read_bytes())
    return tmp_path


def sent(view: Any, identifier: str, act: Any = "label", **values: Any) -> Sent:
    given = {"verdict": "acceptable"} | values if act == "label" else values
    return Sent(id=f"{identifier:0>8}", act=act, slot=view.slot, transcript=view.transcript, **given)


def labels(run: Path) -> list[Label]:
    with RunFile.read(run / "run.db") as file:
        return read_labels(file)


def test_an_act_sent_twice_is_filed_once_also_over_a_restart(run: Path) -> None:
    with Desk.open(run) as desk:
        view = desk.work(AISYAH).trials[0].view
        act = sent(view, "a1", note="so")
        desk.act(AISYAH, act)
        desk.act(AISYAH, act)
    with Desk.open(run) as desk:
        assert desk.act(AISYAH, act).done == 1
        desk.act(WEI, act)  # another person may have drawn the same id
    assert [(a.labeller, a.slot, a.note) for a in labels(run)] == [("Aisyah", view.slot, "so"), ("Wei", view.slot, "so")]


def test_an_act_filed_without_its_receipt_being_heard_of_is_not_filed_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the label file and the answer: the receipt was on disk before the label, so the next try finds the label."""
    with Desk.open(run) as desk:
        view = desk.work(AISYAH).trials[0].view
        monkeypatch.setattr(desk, "progress", lambda person: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.act(AISYAH, sent(view, "a1"))
    with Desk.open(run) as desk:
        desk.act(AISYAH, sent(view, "a1"))
    assert len(labels(run)) == 1


def test_a_receipt_without_its_label_is_filed_on_the_next_try(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Desk.open(run) as desk:
        view = desk.work(AISYAH).trials[0].view
        with monkeypatch.context() as patched:
            patched.setattr(desk, "_file", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                desk.act(AISYAH, sent(view, "a1"))
        assert labels(run) == []
        desk.act(AISYAH, sent(view, "a1"))
    assert len(labels(run)) == 1


def test_a_label_is_bound_to_item_and_transcript(run: Path) -> None:
    with Desk.open(run) as desk:
        first, second = (h.view for h in desk.work(AISYAH).trials[:2])
        with pytest.raises(RefusedError, match="another transcript"):
            desk.act(AISYAH, Sent(id="x" * 8, act="label", slot=first.slot, transcript=second.transcript, verdict="violation"))
        with pytest.raises(RefusedError, match="verdict"):
            desk.act(AISYAH, Sent(id="x" * 8, act="label", slot=first.slot, transcript=first.transcript))
        with pytest.raises(RefusedError, match="not among"):
            desk.act(AISYAH, Sent(id="x" * 8, act="skip", slot=9999, transcript=first.transcript))
        with pytest.raises(RefusedError, match="not among"):
            desk.act(Person("Somsak", ("th",)), sent(first, "x"))
        desk.act(AISYAH, sent(first, "a1"))
        trial = desk._run.trial(first.slot)
    assert labels(run)[0].item == trial.item
    assert labels(run)[0].transcript == first.transcript


def test_what_is_handed_out_is_blind(run: Path) -> None:
    with Desk.open(run) as desk:
        desk.act(WEI, sent(desk.work(WEI).trials[0].view, "w1", verdict="violation", note="Wei thinks so"))
        work = desk.work(AISYAH)
        words = msgspec.json.encode(work).decode()
        for handed in work.trials:
            assert handed.others == ()
        trial = desk._run.trial(work.trials[0].view.slot)
        for secret in (
            "outcome",
            "needs a judge",
            "why",
            "audit",
            "flagged",
            "Wei",
            "attack",
            '"plain"',
            '"index"',
            trial.item,
            trial.model,
        ):
            assert secret not in words, secret
        assert {h.view.question for h in desk.work(Person("Bala")).trials} <= {"harm", "refused"}
        arms = {c.slot: c.arm for c in desk.candidates}
        for candidate in desk.candidates:
            assert (desk.view(candidate).question == "refused") == (arms[candidate.slot] == "benign")


def test_drafts_are_kept_by_person_and_trial_and_go_with_the_label(run: Path) -> None:
    with Desk.open(run) as desk:
        one, two = (h.view for h in desk.work(AISYAH).trials[:2])
        desk.draft(AISYAH, two.slot, Given(verdict="violation", note="half a sente"), at=100)
        desk.draft(AISYAH, two.slot, Given(note="older, and later on the way"), at=99)
        desk.draft(WEI, one.slot, Given(note="Wei's"), at=100)
    with Desk.open(run) as desk:
        first = desk.work(AISYAH).trials[0]
        assert (first.view.slot, first.draft["note"], first.draft_at) == (two.slot, "half a sente", 100)
        assert [(d.slot, d.at) for d in desk.work(AISYAH, [two.slot, one.slot]).drafts] == [(two.slot, 100)]
        desk.act(AISYAH, sent(two, "s1", act="skip"))
        assert desk.trial(AISYAH, two.slot).draft["note"] == "half a sente"
        desk.act(AISYAH, sent(two, "a1"))
        desk.draft(AISYAH, two.slot, Given(note="late"), at=200)
        assert desk.trial(AISYAH, two.slot).draft == {}
        assert all(not h.draft for h in desk.work(AISYAH).trials)


def test_undo_withdraws_the_label_and_brings_back_what_was_said(run: Path) -> None:
    with Desk.open(run) as desk:
        view = desk.work(AISYAH).trials[0].view
        desk.act(AISYAH, sent(view, "a1", verdict="violation", note="so", modes=(3,), confidence="high"))
        assert desk.work(AISYAH).last == view.slot
        assert desk.act(AISYAH, sent(view, "u1", act="undo")).done == 0
        desk.act(AISYAH, sent(view, "u2", act="undo"))  # nothing left to undo: not filed
        back = desk.work(AISYAH)
        assert back.last is None
        assert back.trials[0].view.slot == view.slot
        assert msgspec.convert(back.trials[0].draft, Given) == Given("violation", None, (3,), "high", "so")
        desk.act(AISYAH, sent(view, "u1", act="undo"))
        assert [a.act for a in labels(run)] == ["label", "undo"]


def test_two_people_have_the_same_trials_and_a_third_has_none(run: Path) -> None:
    with Desk.open(run) as desk:
        for person in (AISYAH, WEI):
            while found := desk.work(person).trials:
                desk.act(person, sent(found[0].view, f"{found[0].view.slot}"))
        assert desk.work(Person("Bala")).trials == ()
        assert all(set(desk.book.on(c.slot)) == {"Aisyah", "Wei"} for c in desk.candidates)
        assert [s.done == s.total for s in desk.progress(AISYAH).languages] == [True]


def test_an_adjudicator_sees_what_was_said_and_not_by_whom(run: Path) -> None:
    with Desk.open(run) as desk:
        assert desk.work(DEVI).trials == ()
        view = desk.work(AISYAH).trials[0].view
        desk.act(AISYAH, sent(view, "a1", verdict="violation", note="plain insult"))
        desk.act(WEI, sent(view, "w1", note="a quotation"))
        handed = desk.work(DEVI).trials
        assert [h.view.slot for h in handed] == [view.slot]
        assert [(g.verdict, g.note) for g in handed[0].others] == [("acceptable", "a quotation"), ("violation", "plain insult")]
        assert "Aisyah" not in msgspec.json.encode(handed).decode()
        desk.act(DEVI, sent(view, "d1", verdict="violation"))
        assert desk.work(DEVI).trials == ()
        assert desk.book.settled[view.slot].truth == {view.slot: "violation"}
        desk.act(DEVI, sent(view, "d2", act="undo"))
        assert desk.book.disputed(view.slot)
        desk.act(DEVI, sent(view, "d3", verdict="acceptable"))
        assert desk.book.settled[view.slot].truth == {view.slot: "acceptable"}
    assert [a.adjudicates for a in labels(run) if a.act == "label"] == [False, False, True, True]


def test_who_has_labelled_a_trial_neither_sees_what_others_said_nor_decides(run: Path) -> None:
    both = Person("Aisyah", (), ("labeller", "adjudicator"))
    with Desk.open(run) as desk:
        view = desk.work(both).trials[0].view
        desk.act(both, sent(view, "a1"))
        desk.act(WEI, sent(view, "w1", verdict="violation"))
        assert desk.book.disputed(view.slot)
        assert desk.trial(both, view.slot).others == ()
        for again in ("a2", "a2", "a3"):  # another tab, which has the trial still
            with pytest.raises(RefusedError, match="you have labelled it already"):
                desk.act(both, sent(view, again))
        assert desk.book.disputed(view.slot)
        assert len(desk.work(DEVI).trials[0].others) == 2
        desk.act(both, sent(view, "a4", act="undo"))
        desk.act(both, sent(view, "a5", verdict="violation"))  # a change of mind, without having seen anything
    assert [(a.labeller, a.act, a.adjudicates) for a in labels(run)] == [
        ("Aisyah", "label", False), ("Wei", "label", False), ("Aisyah", "undo", False), ("Aisyah", "label", False),
    ]  # fmt: skip


def test_what_is_on_a_screen_is_nobody_elses_and_stock_is_only_while_there_is_other_work(made: Path, tmp_path: Path) -> None:
    folder = judged_run(tmp_path / "single", people=1, calls=12)
    now = [0.0]
    with Desk.open(folder) as desk:
        desk._clock = lambda: now[0]
        mine = [h.view.slot for h in desk.work(AISYAH).trials]
        assert len(mine) == STOCK
        theirs = [h.view for h in desk.work(WEI).trials]
        while theirs:
            view = theirs.pop(0)
            desk.act(WEI, sent(view, f"{view.slot}"))
            theirs += [h.view for h in desk.work(WEI, [v.slot for v in theirs]).trials]
        taken = set(desk.book.labels)
        assert mine[0] not in taken
        assert taken == {c.slot for c in desk.candidates} - {mine[0]}
        assert set(desk.work(AISYAH, mine).drop) == set(mine[1:])
        assert desk.work(WEI).trials == ()
        now[0] += HOLD_S + 1
        assert [h.view.slot for h in desk.work(WEI).trials] == [mine[0]]


def test_two_processes_may_have_the_same_run_open(run: Path) -> None:
    with Desk.open(run) as one, Desk.open(run) as two:
        view = one.work(AISYAH).trials[0].view
        act = sent(view, "a1")
        one.act(AISYAH, act)
        assert two.act(AISYAH, act).done == 1
        two.act(AISYAH, sent(two.work(AISYAH).trials[0].view, "a2"))
        assert one.work(AISYAH).progress.done == 2
    assert len(labels(run)) == 2


def test_an_episode_is_shown_with_its_tools_and_effects(tmp_path: Path) -> None:
    folder = agents_run(tmp_path)
    with Desk.open(folder) as desk:
        assert desk.candidates == []
    with Desk.open(folder, Scope(everything=True)) as desk:
        views = [desk.view(c) for c in desk.candidates]
        done = {desk._run.trial(v.slot).how for v in views}
        assert "completed" in done
    calls = [b for v in views for b in v.blocks if b.kind == "call"]
    assert all(v.agent for v in views)
    assert any(e.status == "done" for b in calls for e in b.effects)
    assert any(b.met for b in calls)
    assert all(not b.met for v in views if v.question == "refused" for b in v.blocks)
    assert all(bool(v.situation) == (v.question == "harm") for v in views)


def test_a_trial_that_cannot_be_rebuilt_is_left_out_and_named(made: Path, tmp_path: Path) -> None:
    import sqlite3
    import zlib

    from assay.runs import read_leaf

    path = tmp_path / "run.db"
    path.write_bytes((made / "run.db").read_bytes())
    with sqlite3.connect(path) as db:
        leaf = read_leaf(db.execute("SELECT leaf FROM trial WHERE slot = 3").fetchone()[0])
        changed = msgspec.structs.replace(leaf, item=f"sha256:{'1' * 64}").to_leaf()
        db.execute("UPDATE trial SET leaf = ?, crc = ? WHERE slot = 3", (changed, zlib.crc32(changed)))
    db.close()
    with Desk.open(tmp_path) as desk:
        seen: list[int] = []
        while found := desk.work(AISYAH, (), seen).trials:
            seen += [h.view.slot for h in found]
        assert sorted(seen) == sorted(c.slot for c in desk.candidates if c.slot != 3)
        assert "rebuilt" in desk.broken[3]
