"""`assay bank` through the real entry point: from two identities to a run, a check and a disclosed item."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from assay.evidence.bundle import read_summary
from tests.catalog.sealing import holds_prompts, plain_bank, sealed_plan
from tests.cli.test_errors import assay, assert_refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hard.bank.json").write_bytes(msgspec.json.encode(plain_bank()))
    (tmp_path / "plan.yaml").write_text(sealed_plan())
    for name in ("institute", "developer"):
        made = assay("bank", "identity", "--out", f"{name}.age", cwd=tmp_path)
        assert made.returncode == 0
        assert "AGE-SECRET" not in made.stdout + made.stderr
        assert stat.S_IMODE((tmp_path / f"{name}.age").stat().st_mode) == 0o600
    return tmp_path


def seal(folder: Path, *more: str) -> str:
    done = assay(
        "bank", "seal", "hard.bank.json", "--recipient-file", "institute.age", "--recipient-file", "developer.age", *more, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_parties_seal_run_verify_and_disclose(folder: Path) -> None:
    told = seal(folder, "--retire-after", "1")
    assert "What a fully-sealed bank cannot protect:" in told
    share = assay("bank", "share", "hard.sealed.json", "--identity", "developer.age", "--out", "developer.share", cwd=folder)
    assert share.returncode == 0
    assert stat.S_IMODE((folder / "developer.share").stat().st_mode) == 0o600
    opening = ("--identity", "institute.age", "--share", "developer.share")
    checked = assay("bank", "check", "hard.sealed.json", *opening, cwd=folder)
    assert checked.returncode == 0
    assert "texts and salts fit all 12 commitments" in checked.stdout
    assert_refused(assay("run", "plan.yaml", "--out", "run", cwd=folder), "is sealed", "--identity")
    run = assay("run", "plan.yaml", "--out", "run", *opening, cwd=folder)
    assert run.returncode in (0, 10, 20), run.stderr
    blind = assay("verify", "run", cwd=folder)
    assert blind.returncode == 0
    assert "committed to, not rebuilt" in blind.stdout
    seeing = assay("verify", "run", *opening, cwd=folder)
    assert seeing.returncode == 0, seeing.stdout
    assert "every text fits its commitment" in seeing.stdout
    moved = folder / "moved.jsonl"
    moved.write_bytes((folder / "run" / "evidence.jsonl").read_bytes())
    elsewhere = assay("verify", "moved.jsonl", "--bank", "hard.sealed.json", *opening, cwd=folder)
    assert elsewhere.returncode == 0, elsewhere.stdout + elsewhere.stderr
    shown = json.loads(assay("bank", "show", "hard.sealed.json", "--json", cwd=folder).stdout)
    assert shown["runs"] == 1
    assert len(shown["retired"]) == len(shown["exposures"]) == 12 - shown["live"]
    disclosed = assay("bank", "disclose", "hard.sealed.json", *opening, "--item", "0007", cwd=folder)
    assert disclosed.returncode == 0, disclosed.stderr
    found = assay("bank", "check", "hard-0007.item.json", "--sealed", "hard.sealed.json", cwd=folder)
    assert found.returncode == 0
    assert "item 0007 of 12 was committed to" in found.stdout
    value = json.loads((folder / "hard-0007.item.json").read_text())
    value["item"]["texts"]["en"] += "!"
    (folder / "hard-0007.item.json").write_text(json.dumps(value))
    assert assay("bank", "check", "hard-0007.item.json", "--sealed", "hard.sealed.json", cwd=folder).returncode == 1
    for done in (share, checked, run, blind, seeing, disclosed, found):
        assert not holds_prompts((done.stdout + done.stderr).encode())
        assert "AGE-SECRET" not in done.stdout + done.stderr
    assert read_summary(folder / "run" / "evidence.jsonl") is not None


def test_a_run_goes_on_with_the_plan_beside_it_though_its_items_are_spent(folder: Path) -> None:
    seal(folder, "--retire-after", "1", "--tier", "semi-sealed")
    (folder / "plan.yaml").write_text(sealed_plan(exploration={"plain": 12}, budget={"calls": 72}))
    first = assay("run", "plan.yaml", "--out", "run", "--identity", "developer.age", "--quiet", cwd=folder)
    assert first.returncode in (0, 10, 20), first.stderr
    shown = json.loads(assay("bank", "show", "hard.sealed.json", "--json", cwd=folder).stdout)
    assert shown["live"] == 0
    assert_refused(assay("plan", "check", "plan.yaml", cwd=folder), "0 of the 12 items of this bank are live", "bank show")
    again = assay("run", "plan.yaml", "--resume", "--out", "run", "--identity", "developer.age", "--quiet", cwd=folder)
    assert again.returncode == first.returncode, again.stderr


def test_a_bank_that_was_changed_fails_its_check(folder: Path) -> None:
    seal(folder, "--tier", "semi-sealed")
    path = folder / "hard.sealed.json"
    value = json.loads(path.read_text())
    lines = value["ciphertext"].splitlines()
    lines[-3] = lines[-3][::-1]
    path.write_text(json.dumps({**value, "ciphertext": "\n".join(lines)}))
    assert assay("bank", "check", "hard.sealed.json", cwd=folder).returncode == 0
    done = assay("bank", "check", "hard.sealed.json", "--identity", "institute.age", cwd=folder)
    assert done.returncode == 1
    assert "changed or cut off" in done.stderr


def test_what_cannot_be_is_refused_with_one_message(folder: Path) -> None:
    seal(folder)
    assert_refused(
        assay("bank", "seal", "hard.bank.json", "--recipient-file", "institute.age", cwd=folder), "there is such a file", "--out"
    )
    alone = ("bank", "seal", "hard.bank.json", "--recipient-file", "institute.age", "--out", "x.sealed.json")
    assert_refused(assay(*alone, cwd=folder), "two recipients, not 1", "--recipient twice")
    one = ("bank", "check", "hard.sealed.json", "--identity", "institute.age")
    assert_refused(assay(*one, cwd=folder), "takes both parties", "--share")
    both = ("bank", "share", "hard.sealed.json", "--identity", "institute.age", "--identity", "developer.age", "--out", "s")
    assert_refused(assay(*both, cwd=folder), "both parties'", "one party")
    (folder / "empty.age").write_text("# nothing\n")
    assert_refused(assay("bank", "check", "hard.sealed.json", "--identity", "empty.age", cwd=folder), "no identity in this file", "")
    assert "open" not in assay("bank", "--help", cwd=folder).stdout.split("Commands:")[1].split()


def test_a_plain_bank_is_public_and_says_so(folder: Path) -> None:
    shown = assay("bank", "show", "hard.bank.json", cwd=folder)
    assert shown.returncode == 0
    assert "hard: public, 12 items" in shown.stdout
    assert "anybody can read it, and train on it" in shown.stdout
