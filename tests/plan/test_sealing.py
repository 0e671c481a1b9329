"""A coin tossed together: nobody chooses the items, and whoever is late, silent, wrong or not who they say is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from assay import api
from assay.cli import main
from assay.errors import PlanError
from assay.evidence import verify_bundle
from assay.ledger import PrivateKey, canonical
from assay.plan import Coin, Nonce, Plan, Seal, joint_nonce, make_seal, read_coin
from tests.support import make_plan, plan_text

KEYS = {name: PrivateKey.generate() for name in ("institute", "developer", "witness")}


def plan(**changes: Any) -> Plan:
    return make_plan(**{"seed": "auto", "budget": {"calls": 40}, **changes})[0]


def sealed(of: Plan, *names: str, at: int = 1) -> tuple[list[Seal], list[Nonce]]:
    pairs = [make_seal(of, name, KEYS[name], at) for name in names]
    return [s for s, _ in pairs], [n for _, n in pairs]


def test_the_nonce_is_everybodys_and_in_no_order() -> None:
    of = plan()
    seals, nonces = sealed(of, "institute", "developer", "witness")
    together, evidence = joint_nonce(of, seals, nonces)
    assert joint_nonce(of, seals[::-1], nonces)[0] == together
    assert len(evidence) == 3
    for i in range(3):
        other = make_seal(of, seals[i].party, KEYS[seals[i].party], 1)
        changed = joint_nonce(of, [*seals[:i], other[0], *seals[i + 1 :]], [*nonces[:i], other[1], *nonces[i + 1 :]])[0]
        assert changed != together  # one honest party is enough


def test_a_seal_tells_nothing_of_its_nonce_and_fits_no_other_plan_or_party() -> None:
    of, other = plan(), plan(name="other")
    seals, nonces = sealed(of, "institute")
    assert nonces[0].nonce not in str(seals[0])
    assert sealed(of, "institute")[0][0].commitment != seals[0].commitment
    with pytest.raises(PlanError, match="'institute' is not what it signed, or is of another plan"):
        joint_nonce(other, seals, nonces)


def test_whoever_is_missing_wrong_or_there_twice_is_named() -> None:
    of = plan()
    seals, nonces = sealed(of, "institute", "developer")
    wrong = Nonce("nonce/1", "developer", "00" * 32)

    def fails(message: str, seals: list[Seal], nonces: list[Nonce]) -> None:
        with pytest.raises(PlanError, match=message):
            joint_nonce(of, seals, nonces)

    fails("the nonce of 'developer' is missing", seals, nonces[:1])
    fails("the nonce of 'developer' is wrong", seals, [nonces[0], wrong])
    fails("'developer' tells two nonces", seals, [*nonces, wrong])
    fails("'developer' tells a nonce that it never sealed", seals[:1], nonces)
    fails("'institute' has sealed twice", [*seals, seals[0]], nonces)
    impostor = structs.replace(seals[1], party="institute")
    fails("the seal of 'institute'|is not what it signed", [seals[0], impostor], nonces)
    same_key = make_seal(of, "developer", KEYS["institute"], 1)
    fails("has the key of another party", [seals[0], same_key[0]], [nonces[0], same_key[1]])
    for field, value in (
        ("commitment", "sha256:" + "0" * 64),
        ("terms", "sha256:" + "0" * 64),
        ("at", 2),
        ("key", KEYS["witness"].public.to_json()),
    ):
        fails("'developer'", [seals[0], structs.replace(seals[1], **{field: value})], nonces)
    with pytest.raises(PlanError, match="seed of its own"):
        make_seal(plan(seed="00" * 32), "institute", KEYS["institute"], 1)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    return main()


@pytest.fixture
def tossed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a plan that two parties sealed by the command line, each with a key of its own."""
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(seed="auto", budget={"calls": 60}))
    for name in ("institute", "developer"):
        assert (
            call(
                monkeypatch,
                "plan",
                "seal",
                str(file),
                "--party",
                name,
                "--out",
                str(tmp_path / f"{name}.seal"),
                "--key",
                str(tmp_path / f"{name}.pem"),
            )
            == 0
        )
    words = [
        w for n in ("institute", "developer") for w in ("--seal", str(tmp_path / f"{n}.seal"), "--nonce", str(tmp_path / f"{n}.seal.nonce"))
    ]
    code = call(monkeypatch, "run", str(file), *words, "--out", str(tmp_path / "run"), "--key", str(tmp_path / "institute.pem"), "--quiet")
    assert code in (0, 10, 20)
    return tmp_path


def keyid(folder: Path, name: str) -> str:
    return str(json.loads((folder / f"{name}.seal").read_bytes())["key"]["keyid"])


def test_from_seals_to_a_bundle_that_says_who_tossed(
    tossed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tossed / "run" / "evidence.jsonl"
    parties = {name: keyid(tossed, name) for name in ("institute", "developer")}
    report = verify_bundle(bundle, parties=parties)
    assert report.ok, report.findings
    assert "nonce tossed by all parties" in dict(report.checks)
    assert not any("nonce was not chosen" in t for t in report.trusted)
    assert call(monkeypatch, "verify", str(bundle), "--party", f"developer={parties['developer']}") == 0
    capsys.readouterr()
    assert call(monkeypatch, "verify", str(bundle), "--party", f"developer={parties['institute']}") == 1
    assert "'developer' sealed with the key" in capsys.readouterr().out
    assert call(monkeypatch, "verify", str(bundle), "--party", f"auditor={parties['institute']}") == 1
    assert call(monkeypatch, "verify", str(bundle), "--party", "developer") == 2
    assert (tossed / "institute.seal.nonce").stat().st_mode & 0o077 == 0


def test_a_run_without_seals_does_not_pass_for_a_sealed_one(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(seed="auto", budget={"calls": 40}))
    result = api.evaluate(file, out=tmp_path / "run", key=tmp_path / "k.pem")
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok
    assert [f.what for f in verify_bundle(result.bundle, parties={"developer": "0" * 16}).findings] == ["'developer' has not sealed"]


def _other_nonce(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "seals")["value"][1]["nonce"] = "00" * 32


def _drop_party(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "seals")["value"].pop()


def _drop_all(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "seals")["value"] = []


def _rename(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "seals")["value"][0]["seal"]["party"] = "somebody"


def _run_nonce(rows: list[dict[str, Any]]) -> None:
    next(r for r in rows if r.get("kind") == "nonce")["value"] = "00" * 32


@pytest.mark.parametrize("change", [_other_nonce, _drop_party, _drop_all, _rename, _run_nonce])
def test_whatever_is_altered_in_the_seals_is_found(tossed: Path, change: Any) -> None:
    rows = [json.loads(line) for line in (tossed / "run" / "evidence.jsonl").read_text().splitlines()]
    change(rows)
    path = tossed / "altered.jsonl"
    path.write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    assert {f.check for f in verify_bundle(path).findings} & {"seals", "registration"}


def test_a_seal_that_came_after_the_run_had_opened_is_late(tmp_path: Path) -> None:
    of, catalog = make_plan(seed="auto", budget={"calls": 40})
    seals, nonces = sealed(of, "institute", "developer", at=2**50)
    result = api.evaluate((of, catalog), out=tmp_path / "run", key=tmp_path / "k.pem", coin=Coin(tuple(seals), tuple(nonces)))
    assert result.bundle is not None
    late = [f.what for f in verify_bundle(result.bundle).findings]
    assert late == ["'institute' sealed too late: after the run had opened", "'developer' sealed too late: after the run had opened"]


def test_files_that_are_no_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_text('{"assay": "seal/1"}')
    for path, message in ((tmp_path / "bad", "this is no seal"), (tmp_path / "none", "cannot read")):
        with pytest.raises(PlanError, match=message):
            read_coin([path], [])
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(seed="auto"))
    arguments = ("plan", "seal", str(file), "--party", "a", "--out", str(tmp_path / "a.seal"), "--key", str(tmp_path / "k.pem"))
    assert call(monkeypatch, *arguments) == 0
    assert call(monkeypatch, *arguments) == 2
    assert "there is a file already" in capsys.readouterr().err
    assert call(monkeypatch, "run", str(file), "--seal", str(tmp_path / "a.seal"), "--out", str(tmp_path / "r")) == 2
    assert "the nonce of 'a' is missing" in capsys.readouterr().err
    assert not (tmp_path / "r" / "run.db").exists()
