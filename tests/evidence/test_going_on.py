"""Runs that go on: what labels count, what a void calibration is worth, and how old a run is that was signed again."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import api
from assay.evidence import Report, open_run, verify_bundle, write_bundle
from assay.evidence.release import UnfoundedError
from assay.evidence.releasecheck import check_release
from assay.evidence.releasemake import CLOSING_MS, Stated, new_release, read_basis, sign_release
from assay.judges import Taken, panel_digests, transcript_digest
from assay.ledger import load_or_create_key
from assay.ledger.canonical import canonical_plain
from assay.plan import Calibrated
from assay.runs import LabelFile, RunFile, labels_path, read_labels
from tests.evidence.authority import DAY, KEYS, approving_run, policy, roles_of
from tests.support import KEY, NONCE, make_bundle, make_plan, plan_text, take_label

READ = {
    "target": {"kind": "scripted", "model": "1"},
    "matrix": {"hazards": ["hate", "secret-leakage"], "languages": ["en"], "attacks": [], "benign": False},
    "judges": {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "1/1"}}]},
    "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.1, "hazards": ["hate"]}],
    "exploration": {"plain": 8},
    "budget": {"calls": 16},
}


SMALL = {"budget": {"calls": 48}, "exploration": {}}


@pytest.fixture(autouse=True)
def only_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key of its own, and without reports, which take longer than these runs."""
    monkeypatch.setenv("ASSAY_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setattr(api, "write_report", lambda *a: None)


def label(folder: Path, *slots: int, at: int = 0) -> None:
    """What a person says of some trials."""
    with RunFile.read(folder / "run.db") as run, LabelFile.open(labels_path(run.path), run.digest) as labels:
        for slot in slots:
            trial = run.trial(slot)
            said = transcript_digest(trial.answer, trial.turns)
            more = {"at": at} if at else {}
            labels.add(slot=slot, item=trial.item, transcript=said, labeller="Aisyah", verdict="acceptable", **more)


def taken(folder: Path) -> list[int]:
    with RunFile.read(folder / "run.db") as run:
        return [said.slot for each in run.taken() for said in each.labels]


@pytest.fixture
def read_run(tmp_path: Path) -> Path:
    """A run with one hazard that a model judges and one that a program judges."""
    (tmp_path / "plan.yaml").write_text(plan_text(**READ))
    return api.evaluate(tmp_path / "plan.yaml", out=tmp_path / "run").run


def slots_of(folder: Path, hazard: str) -> list[int]:
    with RunFile.read(folder / "run.db") as run:
        return [t.slot for t in run.trials() if t.hazard == hazard]


# Labels


def test_a_label_where_programs_judge_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(plan_text(**SMALL))
    first = api.evaluate(tmp_path / "plan.yaml", out=tmp_path / "run")
    label(first.run, 3)
    told: list[str] = []
    again = api.evaluate(out=first.run, resume=True, progress=told.append)
    assert any(line.startswith("1 labels are not taken in") for line in told)
    assert taken(first.run) == []
    assert again.decision == first.decision


@pytest.mark.parametrize("cut", [0, 30])
def test_a_run_that_took_in_such_a_label_goes_on_and_verifies(tmp_path: Path, cut: int) -> None:
    (tmp_path / "plan.yaml").write_text(plan_text(**SMALL))
    first = api.evaluate(tmp_path / "plan.yaml", out=tmp_path / "run")
    if cut:
        with RunFile.open(first.run / "run.db") as run:
            run._db.execute("DELETE FROM trial WHERE slot >= ?", (cut,))
            run._db.execute("DELETE FROM checkpoint")
    take_label(first.run)
    again = api.evaluate(out=first.run, resume=True)
    assert again.decision == first.decision
    assert again.bundle is not None
    report = verify_bundle(again.bundle)
    assert report.ok, report.findings
    assert dict(report.checks)["labels belong to their answers"] == "1"


def test_labels_of_judged_hazards_are_taken_in_and_no_others(read_run: Path) -> None:
    judged, other = slots_of(read_run, "hate"), slots_of(read_run, "secret-leakage")
    label(read_run, other[0], judged[1], other[2], judged[0])
    told: list[str] = []
    result = api.evaluate(out=read_run, resume=True, progress=told.append)
    assert taken(read_run) == [judged[1], judged[0]]
    assert any(line.startswith("2 labels are not taken in") for line in told)
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok


def test_labels_from_a_second_machine_are_taken_in_beside_the_first_ones(read_run: Path) -> None:
    slots = slots_of(read_run, "hate")
    label(read_run, *slots[:3])
    api.evaluate(out=read_run, resume=True)
    labels_path(read_run / "run.db").unlink()  # the second machine has a label file of its own, which numbers from 1 again
    label(read_run, *slots[3:5])
    assert api.decide(read_run).requirements[0].claims[0].counts["awaiting"] == len(slots) - 5
    result = api.evaluate(out=read_run, resume=True)
    assert taken(read_run) == slots[:5]
    assert result.bundle is not None
    report = verify_bundle(result.bundle)
    assert report.ok, report.findings
    with RunFile.open(read_run / "run.db") as run:
        assert run.take(read_labels(run)) is None


def test_a_label_beyond_a_gap_waits_until_the_gap_is_filled(read_run: Path, tmp_path: Path) -> None:
    slots = slots_of(read_run, "hate")
    label(read_run, slots[1], slots[-1])
    with RunFile.open(read_run / "run.db") as run:
        lost = (slots[-1] - 1,)
        row = run._db.execute("SELECT slot, crc, leaf FROM trial WHERE slot = ?", lost).fetchone()
        run._db.execute("DELETE FROM trial WHERE slot = ?", lost)
        assert run.take(read_labels(run)) is not None
        assert taken(read_run) == [slots[1]]
        key = load_or_create_key(tmp_path / "key.pem")
        write_bundle(run, key, "tokens", tmp_path / "early.jsonl")  # a budget ends before the gap is filled
        report = verify_bundle(tmp_path / "early.jsonl")
        assert report.ok, report.findings
        run._db.execute("INSERT INTO trial (slot, crc, leaf) VALUES (?, ?, ?)", row)
        assert run.take(read_labels(run)) is not None
    assert taken(read_run) == [slots[1], slots[-1]]


# Calibrations


def test_a_void_calibration_that_a_run_took_in_again_does_not_verify(tmp_path: Path) -> None:
    plan, catalog = make_plan(**READ)
    assert plan.judges is not None
    digests = panel_digests(plan, catalog)
    row = Calibrated(digests["hate/en"], "hate", "en", "plain", 90, 10)
    for void, found in ((True, ["labels"]), (False, [])):
        judges = msgspec.structs.replace(plan.judges, digests=digests, calibrated=(row,), void=void)
        opening = open_run(msgspec.structs.replace(plan, judges=judges), catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)
        with RunFile.create(tmp_path / f"{void}.db", opening) as run:
            value = canonical_plain(Taken(0, (), (msgspec.structs.replace(row, caught=95),)))
            run._db.execute("INSERT INTO taken (crc, value) VALUES (?, ?)", (zlib.crc32(value), value))
            write_bundle(run, KEY, "interrupted", tmp_path / "evidence.jsonl")
        assert [f.check for f in verify_bundle(tmp_path / "evidence.jsonl").findings] == found


# Plans


def test_a_bundle_of_a_plan_that_tests_nothing_does_not_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it was opened."""
    from assay.plan import LanguageParity

    plan, catalog = make_plan()
    plan = msgspec.structs.replace(plan, requirements=(LanguageParity("parity", "en", 0.05),))
    monkeypatch.setattr("assay.evidence.bundle.check_plan", lambda plan: None)
    opening = open_run(plan, catalog, {"kind": "scripted", "model": "0.3"}, NONCE, KEY)
    with RunFile.create(tmp_path / "run.db", opening) as run:
        write_bundle(run, KEY, "interrupted", tmp_path / "evidence.jsonl")
    report = verify_bundle(tmp_path / "evidence.jsonl")
    assert [str(f) for f in report.findings] == [
        "plan: line 3 (requirements[0].languages): parity needs a language beside the reference"
    ]  # fmt: skip


# Age


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts the clock of what is signed so many days forward."""
    import assay.evidence.bundle

    now = assay.evidence.bundle._now_ms

    def put(days: int) -> None:
        monkeypatch.setattr("assay.evidence.bundle._now_ms", lambda: now() + days * DAY)

    return put


def test_a_run_with_nothing_left_to_do_keeps_its_date(tmp_path: Path, later: Callable[[int], None]) -> None:
    make_bundle(tmp_path, **SMALL)
    path = tmp_path / "evidence.jsonl"
    at = said(path)["at"]
    later(89)
    with RunFile.open(tmp_path / "run.db") as run:
        write_bundle(run, KEY, "complete", path)
        assert said(path)["at"] == at
        write_bundle(run, KEY, "deadline", path)
        assert said(path)["at"] > at + 80 * DAY, "it ended otherwise"


def said(path: Path) -> dict[str, Any]:
    report: Report = verify_bundle(path)
    return report.evidence


def test_signing_the_same_trials_later_does_not_make_a_release_last_longer(tmp_path: Path, later: Callable[[int], None]) -> None:
    bundle, roles = approving_run(tmp_path, wanted=policy()), roles_of(tmp_path)
    first, _ = read_basis(bundle, roles, 0)
    assert first is not None
    bundle.unlink()
    later(20)
    api.evaluate(out=bundle.parent, resume=True, key=tmp_path / "eve.pem")
    newest = verify_bundle(bundle).newest
    assert said(bundle)["at"] > newest + 19 * DAY
    basis, _ = read_basis(bundle, roles, 0)
    assert basis is not None
    assert basis.ref.at == newest + CLOSING_MS < first.ref.at + DAY
    now = newest + 20 * DAY
    release = new_release(basis, roles, KEYS["eve"], Stated(1, now))
    for name in ("ada", "abel"):
        release = sign_release(release, roles, KEYS[name], now)
    assert release.terms.expires == basis.ref.at + 30 * DAY
    assert check_release(release, roles, now, bundle=bundle).ok
    with pytest.raises(UnfoundedError, match="30 days"):
        new_release(basis, roles, KEYS["eve"], Stated(1, newest + 31 * DAY))
    redated = msgspec.structs.replace(basis, ref=msgspec.structs.replace(basis.ref, at=said(bundle)["at"]))
    longer = new_release(redated, roles, KEYS["eve"], Stated(1, now))
    assert "evidence" in [f.check for f in check_release(longer, roles, now, bundle=bundle, approvals=False).findings]


def test_a_label_that_counts_makes_a_run_younger_and_no_other(read_run: Path) -> None:
    bundle = read_run / "evidence.jsonl"
    before = verify_bundle(bundle).newest
    at = before + DAY
    label(read_run, slots_of(read_run, "hate")[0], slots_of(read_run, "secret-leakage")[0], at=at)
    api.evaluate(out=read_run, resume=True)
    assert verify_bundle(bundle).newest == at
