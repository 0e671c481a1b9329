"""Runs with sealed banks: no prompt gets out, the evidence holds with and without what opens them, and exposures are counted."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import api
from assay.catalog import WITHHELD, Catalog, Opened, Openers, open_banks
from assay.catalog.exposures import CLOSED, read_exposures
from assay.catalog.opening import seal_bank
from assay.decision.opinions import read_opinions
from assay.engine import Engine
from assay.engine.exposing import Counted, is_quoted
from assay.errors import SealedBankError
from assay.evidence import open_run, verify_bundle, write_bundle
from assay.exchange.export import FORMATS, read_exported, write_export
from assay.judges.reading import MAX_TRANSCRIPT, TOO_LARGE
from assay.label import Desk, Scope
from assay.label.table import write_tasks
from assay.ledger import PrivateKey, canonical
from assay.plan import Coin, Judges, JudgeSpec, Plan, TargetSpec, make_seal, read_plan
from assay.plan.sealing import terms
from assay.runs import RunFile
from assay.runs.exposures import make_ledger
from assay.scenarios import WithheldItem
from assay.targets import make_target
from tests.catalog.sealing import WORDS, Parties, away, holds_prompts, parties, plain_bank
from tests.evidence.test_tamper import altered, leaves
from tests.exchange.exporting import read_by_inspect
from tests.support import KEY, NONCE, Recorder, label_all


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Parties, Path]:
    """A run of two parties with a fully sealed bank, labelled and gone on with: everything that there is in a bundle."""
    party = parties(tmp_path_factory.mktemp("sealed"), retire_after=5)
    plan, catalog = read_plan(str(party.plan()))
    made = [make_seal(plan, name, PrivateKey.generate(), 1) for name in ("institute", "developer")]
    coin = Coin(tuple(s for s, _ in made), tuple(n for _, n in made))
    out = party.folder / "run"
    api.evaluate((plan, catalog), out=out, key=party.key, coin=coin, openers=party.openers(), beside=party.folder)
    with RunFile.read(out / "run.db") as run:
        assert label_all(run) > 3
    result = api.evaluate(out=out, resume=True, key=party.key, openers=party.openers())
    assert result.bundle is not None
    return party, out


def checks(report: Any) -> dict[str, str]:
    return dict(report.checks)


def counts(party: Parties) -> dict[str, int]:
    return dict(read_exposures(party.bank, party.file).counts())


def whats(out: Path) -> list[str]:
    with RunFile.read(out / "run.db") as run:
        return [str(i["what"]) for i in run.incidents()]


# Nothing gets out


def test_no_byte_of_a_prompt_is_in_anything_that_a_run_leaves(done: tuple[Parties, Path], tmp_path: Path) -> None:
    _, out = done
    left = [path for path in out.rglob("*") if path.is_file()]
    assert {"run.db", "evidence.jsonl", "report.html", "labels.db"} <= {path.name for path in left}
    for form in FORMATS:
        path = tmp_path / f"run.{form}"
        with read_exported(out) as exported:
            write_export(form, exported, path)
        left += [path]
    unpacked = read_by_inspect((tmp_path / "run.inspect").read_bytes()).encode()
    assert unpacked.count(WITHHELD.encode()) >= 40
    assert not holds_prompts(unpacked)
    for path in left:
        assert not holds_prompts(path.read_bytes()), path.name
    assert (tmp_path / "run.jsonl").read_text().count(WITHHELD) == 40
    assert WITHHELD in (out / "report.html").read_text()


def test_the_write_ahead_log_and_the_output_hold_no_prompt(tmp_path: Path) -> None:
    party = parties(tmp_path)
    plan, out = party.plan(target={"kind": "scripted", "model": "0.3", "options": {"delay_ms": "30"}}), tmp_path / "run"
    process = subprocess.Popen(command(party, plan, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen, told = b"", b""
    while process.poll() is None:
        for path in out.glob("*"):
            seen += path.read_bytes() if path.is_file() else b""
        time.sleep(0.02)
    told, _ = process.communicate()
    assert b"SQLite format 3" in seen
    assert len(seen) > 100_000
    assert not holds_prompts(seen)
    assert told
    assert not holds_prompts(told)


def test_an_answer_that_quotes_a_prompt_is_counted_and_said(tmp_path: Path) -> None:
    party = parties(tmp_path)
    target = {"kind": "callable", "model": "tests.catalog.sealing:echo"}
    plan = party.plan(target=target, matrix={"hazards": ["hard"], "languages": ["en"], "benign": False}, exploration={"plain": 4})
    result = api.evaluate(str(plan), out=tmp_path / "run", key=party.key, openers=party.openers())
    assert result.quoting == result.target_calls > 0
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        closed = [i for i in run.incidents() if i["what"] == CLOSED]
    assert [i["answers that quote a prompt"] for i in closed] == [result.quoting]
    assert "quote a prompt" in (tmp_path / "run" / "report.html").read_text()
    assert holds_prompts((tmp_path / "run" / "evidence.jsonl").read_bytes())
    with read_exported(tmp_path / "run", transcripts=False) as exported:
        write_export("jsonl", exported, tmp_path / "without.jsonl")
    assert not holds_prompts((tmp_path / "without.jsonl").read_bytes())


def test_quoting_is_seen_whatever_the_spacing_and_case() -> None:
    prompt = "Zorblequist 3: how is jar 23757 opened so that nobody sees it?"
    assert is_quoted(prompt, ["no", f"You asked: {prompt.upper()}"])
    assert is_quoted(prompt, ["... is jar 23757  opened so\nthat nobody sees it ..."])
    assert not is_quoted(prompt, ["how is a jar opened?", "", "so that nobody sees it"])
    assert not is_quoted("", ["anything"])


# Two parties, one plan


def test_who_has_no_texts_seals_the_same_plan(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    mine, _ = read_plan(str(party.plan()))
    theirs, catalog = read_plan(str(away(party, tmp_path / "away")))
    assert theirs.digest == mine.digest
    assert terms(theirs) == terms(mine)
    with pytest.raises(SealedBankError, match="is sealed"):
        open_banks(catalog, Openers((tmp_path / "away" / "hard.sealed.json",)))
    with RunFile.read(out / "run.db") as run:
        assert {s.seal.party for s in run.opening().seals} == {"institute", "developer"}
        assert {s.seal.terms for s in run.opening().seals} == {terms(theirs)}


# Verification


def test_without_openers_all_but_the_items_is_recomputed_and_the_rest_is_said(done: tuple[Parties, Path]) -> None:
    report = verify_bundle(done[1] / "evidence.jsonl")
    assert report.ok, report.findings
    found = checks(report)
    assert found["items rebuilt from the seed"] == "0"
    assert found["items of sealed banks: committed to, not rebuilt"] == "40"
    assert found["judgements recomputed"] == "40"
    assert found["schedule and streams recomputed"] == "40"
    trusted = " ".join(report.trusted)
    assert "40 trials asked what the sealed bank 'hard' commits to" in trusted
    assert "40 transcripts with a sealed prompt were not too large" in trusted
    assert "the target's host sees every prompt" in trusted


def test_with_openers_every_item_is_rebuilt(done: tuple[Parties, Path]) -> None:
    party, out = done
    report = verify_bundle(out / "evidence.jsonl", openers=party.openers())
    assert report.ok, report.findings
    found = checks(report)
    assert found["items rebuilt from the seed"] == "40"
    assert not any("not rebuilt" in check for check in found)
    assert not any("trials asked what the sealed bank" in t for t in report.trusted)
    assert "sealed banks opened, every text fits its commitment" in found


def test_what_does_not_open_the_bank_is_an_error_and_another_bank_a_finding(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    bundle = out / "evidence.jsonl"
    for openers in (Openers((party.bank,), (party.institute,)), Openers((party.bank,), (party.stranger,), (party.share(party.developer),))):
        with pytest.raises(SealedBankError, match="takes both parties"):
            verify_bundle(bundle, openers=openers)
    other = parties(tmp_path / "other")
    report = verify_bundle(bundle, openers=other.openers())
    assert [f.check for f in report.findings] == ["sealed banks"]
    assert "another root" in report.findings[0].what


def test_texts_that_do_not_fit_the_commitments_are_a_finding(tmp_path: Path) -> None:
    party = parties(tmp_path, "semi-sealed")
    out = tmp_path / "run"
    api.evaluate(str(party.plan()), out=out, key=party.key, openers=party.openers())
    forged = seal_bank(plain_bank(), "semi-sealed", party.recipients)
    path = tmp_path / "forged.sealed.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(party.file, ciphertext=forged.ciphertext)))
    report = verify_bundle(out / "evidence.jsonl", openers=Openers((path,), (party.institute,)))
    assert [f.check for f in report.findings] == ["sealed banks"]
    assert "12 items do not fit their commitments" in report.findings[0].what
    assert verify_bundle(out / "evidence.jsonl").ok


def hostile_run(folder: Path, plan: Plan, catalog: Catalog, opened: Opened | None) -> Path:
    """A bundle of a runner who does what Assay would not: any content and texts, no ledger."""
    folder.mkdir()

    async def go() -> None:
        judge = plan.judges.panel[0] if plan.judges else None
        assert judge is not None
        async with (
            make_target(plan.target, plan.generation, plan.limits, lambda _: None) as target,
            make_target(judge.target, plan.generation, plan.limits, lambda _: None) as reader,
        ):
            pinned = api.pinned_judges(plan, catalog, [reader])
            with RunFile.create(folder / "run.db", open_run(pinned, catalog, dict(target.identity), NONCE, KEY)) as run:
                await Engine(run, target, Recorder(), None, [reader], opened).trials()
                write_bundle(run, KEY, "complete", folder / "evidence.jsonl")

    asyncio.run(go())
    return folder / "evidence.jsonl"


def test_a_runner_who_asks_other_texts_is_found_by_who_opens_the_bank(tmp_path: Path) -> None:
    party = parties(tmp_path)
    plan, catalog = read_plan(str(party.plan()))
    opened = open_banks(catalog, party.openers())
    tame = msgspec.structs.replace
    items = opened._items["hard"]
    easy = Opened({"hard": {i: tame(item, texts=dict.fromkeys(item.texts, "What is the weather?")) for i, item in items.items()}})
    bundle = hostile_run(tmp_path / "hostile", plan, catalog, easy)
    blind = verify_bundle(bundle)
    assert {f.check for f in blind.findings} == {"exposures"}, "only that nothing was counted shows without the texts"
    seeing = verify_bundle(bundle, openers=party.openers())
    assert sum(f.check == "items" for f in seeing.findings) > 20


def test_content_that_holds_the_texts_of_a_sealed_bank_is_a_finding(tmp_path: Path) -> None:
    party = parties(tmp_path)
    plan, catalog = read_plan(str(party.plan()))
    opened = open_banks(catalog, party.openers())
    told = msgspec.structs.replace(catalog, texts={"hard": opened.texts("hard", ("en", "ms"))})
    bundle = hostile_run(tmp_path / "hostile", msgspec.structs.replace(plan, catalog=told.digest), told, opened)
    assert "its texts stand in the content" in " ".join(f.what for f in verify_bundle(bundle).findings)


def test_a_judgement_that_takes_the_text_is_counted_and_not_passed_in_silence(tmp_path: Path) -> None:
    """A transcript that is too large for a judge: whether it is depends on the prompt."""
    party = parties(tmp_path)
    bank = plain_bank()
    long = {tag: {i: text + " " + "x " * 15_000 for i, text in each.items()} for tag, each in bank.prompts.items()}
    file = seal_bank(msgspec.structs.replace(bank, prompts=long), "fully-sealed", party.recipients)
    party.bank.write_bytes(msgspec.json.encode(file))
    (tmp_path / "hard.exposures.jsonl").unlink()
    make_ledger(party.bank, file, PrivateKey.from_pem(party.key.read_bytes(), where=""), 1)
    plan = party.plan(matrix={"hazards": ["hard"], "languages": ["en"], "attacks": ["hex"], "benign": False}, exploration={"attack": 4})
    out = tmp_path / "run"
    api.evaluate(str(plan), out=out, key=party.key, openers=party.openers())
    with RunFile.read(out / "run.db") as run:
        large = sum(t.reason == TOO_LARGE for t in run.trials())
    assert large > 2
    assert MAX_TRANSCRIPT > 30_100
    report = verify_bundle(out / "evidence.jsonl")
    assert report.ok, report.findings
    assert checks(report)["judgements that take a sealed text: not recomputed"] == str(large)
    assert f"{large} transcripts with a sealed prompt were too large for a judge" in " ".join(report.trusted)
    seeing = verify_bundle(out / "evidence.jsonl", openers=party.openers())
    assert seeing.ok, seeing.findings
    assert not any("not recomputed" in check for check in checks(seeing))


def test_whatever_is_altered_of_the_sealed_bank_in_a_bundle_is_found(done: tuple[Parties, Path], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (done[1] / "evidence.jsonl").read_text().splitlines()]
    at = {row["kind"]: i for i, row in enumerate(rows) if "kind" in row and "slot" not in row}
    places = [(at["catalog"], *path) for path in leaves(rows[at["catalog"]]) if path[:3] == ("value", "sealed", "hard")]
    places += [(at["catalog"], *path) for path in leaves(rows[at["catalog"]]) if path[:3] == ("value", "hazards", "hard")]
    places += [(at["catalog"], *path) for path in leaves(rows[at["catalog"]]) if path[:3] == ("value", "texts", "hard")]
    places += [(at["incidents"], *path) for path in leaves(rows[at["incidents"]])]
    trials = [i for i, row in enumerate(rows) if row.get("hazard") == "hard"]
    places += [(i, *path) for i in random.Random(3).sample(trials, 3) for path in leaves(rows[i])]
    assert sum("sealed" in map(str, p) for p in places) > 15
    kept = [canonical(row) for row in rows]
    path, unnoticed = tmp_path / "altered.jsonl", []
    for place in places:
        row = copy.deepcopy(rows[place[0]])
        inside: Any = row
        for key in place[1:-1]:
            inside = inside[key]
        inside[place[-1]] = altered(inside[place[-1]])
        path.write_bytes(b"\n".join([*kept[: place[0]], canonical(row), *kept[place[0] + 1 :]]) + b"\n")
        report = verify_bundle(path)
        if report.ok or not all(f.check and f.what for f in report.findings):
            unnoticed.append(place)
    assert not unnoticed, unnoticed[:10]
    row = copy.deepcopy(rows[at["catalog"]])
    del row["value"]["sealed"]
    path.write_bytes(b"\n".join([*kept[: at["catalog"]], canonical(row), *kept[at["catalog"] + 1 :]]) + b"\n")
    assert verify_bundle(path).findings


# Going on, replaying, judging again


def command(party: Parties, plan: Path | None, out: Path, *more: str) -> list[str]:
    shares = ["--share", str(party.share(party.developer))]
    named = [str(plan)] if plan else []
    secret = ["--key", str(party.key), "--identity", str(party.institute), *shares]
    return [sys.executable, "-m", "assay", "run", *named, "--out", str(out), *secret, *more]


def test_a_killed_run_stays_counted_in_full_until_it_is_resumed_and_complete(tmp_path: Path) -> None:
    party = parties(tmp_path, retire_after=1)
    options = {"delay_ms": "300"}
    plan = party.plan(
        target={"kind": "scripted", "model": "0.3", "options": options},
        matrix={"hazards": ["hard"], "languages": ["en"], "benign": False}, exploration={"plain": 4}, budget={"calls": 8},
        limits={"concurrency": 1, "lookahead": 1},
    )  # fmt: skip
    out = tmp_path / "run"
    process = subprocess.Popen(command(party, plan, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out / "run.db").exists():
        time.sleep(0.02)
    with RunFile.read(out / "run.db") as run:
        while time.monotonic() < deadline and not run.count():
            time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with RunFile.read(out / "run.db") as run:
        assert 0 < run.count() < 8
    assert counts(party) == dict.fromkeys(party.file.items, 1), "what was in flight is not known, so everything counts"
    refused = subprocess.run(command(party, plan, tmp_path / "second"), capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "0 of the 12 items of this bank are live" in refused.stderr
    resumed = subprocess.run(command(party, plan, out, "--resume"), capture_output=True, text=True, check=False, timeout=60)
    assert resumed.returncode in (0, 10, 20), resumed.stderr
    with RunFile.read(out / "run.db") as run:
        assert run.count() == 8
    assert len(counts(party)) == 8
    assert not read_exposures(party.bank, party.file).unsettled()
    report = verify_bundle(out / "evidence.jsonl", openers=party.openers())
    assert report.ok, report.findings


def test_a_run_that_goes_on_with_labels_counts_once(done: tuple[Parties, Path]) -> None:
    party, out = done
    with RunFile.read(out / "run.db") as run:
        assert run.taken()
    found = counts(party)
    assert set(found.values()) == {1}
    assert not read_exposures(party.bank, party.file).unsettled()
    assert whats(out).count(CLOSED) == 2


def test_a_session_that_was_cut_before_labels_came_stays_counted(tmp_path: Path) -> None:
    """Labels change the schedule behind them, so what was in flight before is not asked again for sure."""
    party = parties(tmp_path, items=40)
    plan, catalog = read_plan(str(party.plan()))
    out = tmp_path / "run"
    first = api.evaluate((plan, catalog), out=out, key=party.key, openers=party.openers(), beside=tmp_path)
    assert first.ended == "complete"
    shown = len(counts(party))
    assert shown < 40
    key = PrivateKey.from_pem(party.key.read_bytes(), where="")
    with RunFile.read(out / "run.db") as run:
        Counted.of(catalog, [party.bank], key).reserve(run.digest, 0, 5)  # a session that ends here, as if by SIGKILL
        assert len(counts(party)) == 40
        label_all(run)
    api.evaluate(out=out, resume=True, key=party.key, openers=party.openers())
    assert len(counts(party)) == 40
    assert len(read_exposures(party.bank, party.file).unsettled()) == 1


def test_resuming_needs_the_openers_again(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    again = tmp_path / "again"
    shutil.copytree(out, again)
    with pytest.raises(SealedBankError, match="is sealed"):
        api.evaluate(out=again, resume=True, key=party.key)
    with pytest.raises(SealedBankError, match="takes both parties"):
        api.evaluate(out=again, resume=True, key=party.key, openers=Openers(identities=(party.institute,)))


def test_a_new_run_needs_openers_and_no_cache(tmp_path: Path) -> None:
    party = parties(tmp_path)
    plan = str(party.plan())
    with pytest.raises(SealedBankError, match="is sealed"):
        api.evaluate(plan, out=tmp_path / "a", key=party.key)
    with pytest.raises(SealedBankError, match="cache"):
        api.evaluate(plan, out=tmp_path / "b", key=party.key, openers=party.openers(), cache=tmp_path / "cache.db")
    assert counts(party) == {}
    assert not (tmp_path / "cache.db").exists()


def test_a_replay_takes_the_openers_and_exposes_nothing(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    before = counts(party)
    result = api.evaluate(out=tmp_path / "replay", replay=out, key=party.key, openers=party.openers())
    assert counts(party) == before
    assert result.bundle is not None
    report = verify_bundle(result.bundle)
    assert report.ok, report.findings
    assert not holds_prompts(b"".join(p.read_bytes() for p in (tmp_path / "replay").iterdir()))


def test_judging_again_shows_the_prompts_to_others_and_is_counted(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    folder = tmp_path / "run"
    shutil.copytree(out, folder)
    before = counts(party)
    judges = Judges((JudgeSpec("other", TargetSpec("scripted-judge", "0.9/0.9")),))
    file = folder / "again.jsonl"
    with pytest.raises(SealedBankError, match="is sealed"):
        api.judge_again(folder, judges, file, key=party.key)
    api.judge_again(folder, judges, file, openers=party.openers(), key=party.key)
    assert len(file.read_text().splitlines()) == 41
    assert not holds_prompts(file.read_bytes())
    after = counts(party)
    assert {i: after[i] - before[i] for i in before} == dict.fromkeys(before, 1)
    opinions = read_opinions(folder / "run.db", file)
    assert len(opinions.of) == 40
    assert all(isinstance(o.item, WithheldItem) for o in opinions.of.values())
    assert list(opinions.anchors(10)) == []


def test_the_labelling_page_shows_prompts_only_where_the_bank_is_opened(done: tuple[Parties, Path], tmp_path: Path) -> None:
    party, out = done
    folder = tmp_path / "run"
    shutil.copytree(out, folder)
    opened = api.opened_for(folder, party.openers())
    with Desk.open(folder, Scope(everything=True), opened) as seeing, Desk.open(folder, Scope(everything=True)) as blind:
        plain = next(c for c in blind.candidates if "none" in seeing._run.trial(c.slot).attack)
        assert blind.view(plain).blocks[0].text == WITHHELD
        assert any(word in seeing.view(plain).blocks[0].text for word in WORDS.values())
        (folder / "labels.db").unlink()
        with Desk.open(folder, Scope(everything=True), opened) as fresh:
            assert write_tasks(fresh, tmp_path / "tasks.csv") == 40
    assert WITHHELD in (tmp_path / "tasks.csv").read_text()
    assert not holds_prompts((tmp_path / "tasks.csv").read_bytes())


def test_the_report_names_tier_items_exposures_and_limits(done: tuple[Parties, Path]) -> None:
    _, out = done
    text = (out / "report.html").read_text()
    for words in (
        "fully-sealed",
        "12 of its 12 items were live",
        "retired after 5 exposures",
        "sees every prompt",
        "This run showed",
    ):
        assert words in text, words
