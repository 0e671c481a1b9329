"""`assay access grant|approve|sub-grant|list|show|halt|lift|revoke` through their real entry point."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.access.audit.read import Query, search
from assay.access.grants.grant import PREDICATE, SignedGrant, open_all, thumbprint
from assay.access.grants.orders import open_halts, signer_of_halt, signer_of_revocation
from assay.access.grants.remembered import Remembered
from assay.access.model import Halt, Scope
from assay.access.store.base import Store, open_store
from assay.cli import main
from assay.ledger import Cosigned, PrivateKey, write_key
from tests.access.grantmaking import ADMINS, CONTRACTOR, HOLDER, STRANGER, TERMS, approved, grant

DIGEST = "sha256:" + "a" * 64
UNTIL = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
GRANT = f"""
assay: grant/1
id: power
organisation: Grid Ltd
sector: power
jurisdiction: SG
purpose: harden relays
persons: [{{name: Tan, key: {thumbprint(HOLDER.public)}}}]
model: m7
digest: "{DIGEST}"
tier: operator
level: AL2
routes: [chat.completions, models]
networks: [10.0.0.0/8]
quotas: [{{window: day, requests: 100, tokens: 100000, money: 5000000}}]
expires: {UNTIL}
hours: [{{days: [1, 2, 3, 4, 5, 6, 7], start: "00:00", end: "24:00", zone: Asia/Singapore}}]
"""
SUB = f"""
assay: grant/1
id: relays
persons: [{{name: Lim, key: {thumbprint(CONTRACTOR.public)}}}]
networks: [10.1.0.0/16]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, key in {**ADMINS, "holder": HOLDER, "stranger": STRANGER, "audit": PrivateKey.generate()}.items():
        write_key(tmp_path / f"{name}.pem", key, b"")
    config = {
        "assay": "gate/1", "listen": "127.0.0.1:8443", "hosts": ["127.0.0.1:8443"],
        "models": {"m7": {"digest": DIGEST, "upstream": "http://127.0.0.1:9000/v1", "upstream_model": "m"}},
        "authority": {"roles": "roles.json", "owners": ["a" * 64]},
        "admins": {"keys": {n: base64.b64encode(k.public.raw).decode() for n, k in ADMINS.items()}, "threshold": 2},
    }  # fmt: skip
    (tmp_path / "gate.yaml").write_text(json.dumps(config))
    (tmp_path / "power.yaml").write_text(GRANT)
    (tmp_path / "relays.yaml").write_text(SUB)
    return tmp_path


def access(folder: Path, *arguments: str, key: str = "", code: int = 0) -> str:
    """The command's entry point, in this process: what it says, or why not."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["assay", "access", *arguments, *(("--key", f"{key}.pem") if key else ())])
        found = main()
    assert found == code, out.getvalue() + err.getvalue()
    return out.getvalue() if code == 0 else err.getvalue()


def test_the_program_itself_lists_and_refuses(folder: Path) -> None:
    for arguments, code in ((["list"], 0), (["show", "power"], 2)):
        command = [sys.executable, "-m", "assay", "access", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def controls(folder: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """What stands in the audit log of acts: what was done, to what, by whom."""
    found = sorted(search(folder / "audit", Query(kinds=("control",))), key=lambda row: row.flat()["at"])
    return [(r["did"], r["subject"], tuple(r["by"])) for r in (row.flat() for row in found)]


def states(folder: Path) -> dict[str, str]:
    return {g["id"]: g["state"] for g in json.loads(access(folder, "list", "--json"))["grants"]}


def store_of(folder: Path) -> Store:
    return open_store("gate.db", folder)


def live(folder: Path) -> set[str]:
    store = store_of(folder)
    try:
        return set(open_all(store.snapshot(), TERMS, int(datetime.now(UTC).timestamp() * 1000))[0])
    finally:
        store.close()


def granted(folder: Path) -> None:
    access(folder, "grant", "power.yaml", key="ada")
    access(folder, "approve", "power", key="bea")


def test_a_grant_takes_two_administrators(folder: Path) -> None:
    said = access(folder, "grant", "power.yaml", key="ada")
    assert "version 1: signed by ada, pending" in said
    assert "access approve power --config" in said
    assert states(folder) == {"power": "pending"}
    assert "approved it already" in access(folder, "approve", "power", key="ada", code=2)
    assert "no administrator's" in access(folder, "approve", "power", key="holder", code=2)
    assert "newest version is 1" in access(folder, "approve", "power", "--version", "2", key="bea", code=2)
    assert "its terms are" in access(folder, "approve", "power", "--terms", "sha256:0", key="bea", code=2)
    assert not live(folder)
    assert "holds" in access(folder, "approve", "power", key="bea")
    assert states(folder) == {"power": "live"}
    assert live(folder) == {"power"}
    shown = access(folder, "show", "power")
    for part in ("power, version 1: live", "Grid Ltd", "harden relays", "0/100 requests", "approved  ada, bea", "00:00-24:00 Asia/Singap"):
        assert part in shown
    assert access(folder, "list").split("\n")[1].split()[:4] == ["power", "live", "Grid", "Ltd"]


def test_a_changed_grant_is_pending_and_the_old_one_holds(folder: Path) -> None:
    granted(folder)
    (folder / "power.yaml").write_text(GRANT.replace("requests: 100,", "requests: 200,"))
    assert "version 2" in access(folder, "grant", "power.yaml", key="cyd")
    assert "version 2 pending" in access(folder, "list")
    assert json.loads(access(folder, "show", "power", "--json"))["grant"]["quotas"][0]["requests"] == 100
    access(folder, "approve", "power", key="ada")
    assert json.loads(access(folder, "show", "power", "--json"))["grant"]["quotas"][0]["requests"] == 200


def test_a_sub_grant_is_given_by_its_holder_and_ends_with_its_parent(folder: Path) -> None:
    assert "no such grant in force" in access(folder, "sub-grant", "power", "relays.yaml", key="holder", code=2)
    granted(folder)
    assert "no person's" in access(folder, "sub-grant", "power", "relays.yaml", key="stranger", code=2)
    (folder / "wide.yaml").write_text(SUB.replace("10.1.0.0/16", "0.0.0.0/0"))
    assert "networks: not all within" in access(folder, "sub-grant", "power", "wide.yaml", key="holder", code=2)
    assert "Sub-grant relays" in access(folder, "sub-grant", "power", "relays.yaml", key="holder")
    assert states(folder) == {"power": "live", "relays": "live"}
    assert "narrowed  relays" in access(folder, "show", "power")
    assert "by its holder's signature" in access(folder, "approve", "relays", key="ada", code=2)
    said = access(folder, "revoke", "power", "--reason", "contract ended", key="cyd")
    assert "with it relays" in said
    assert states(folder) == {"power": "revoked", "relays": "parent gone"}
    assert not live(folder)
    store = store_of(folder)
    snapshot = store.snapshot()
    store.close()
    assert signer_of_revocation(snapshot.orders["power"], snapshot.revoked["power"], TERMS.public()) == "cyd"
    assert "contract ended" in access(folder, "show", "power")
    assert "for ever" in access(folder, "grant", "power.yaml", key="ada", code=2)


def test_halts_are_by_attribute_spare_grants_and_are_lifted_by_an_administrator(folder: Path) -> None:
    granted(folder)
    said = access(folder, "halt", "--jurisdiction", "SG", "--tier", "operator", "--reason", "directive 7", key="ada")
    halt_id = said.split()[1].rstrip(":")
    assert "It holds now" in said
    assert "stops: power" in said
    assert states(folder) == {"power": "halted"}
    assert halt_id in access(folder, "list")
    assert "no administrator's" in access(folder, "lift", halt_id, key="holder", code=2)
    store = store_of(folder)
    snapshot = store.snapshot()
    halt = snapshot.halts[halt_id]
    assert (halt.scope, halt.reason, halt.by) == (Scope(jurisdiction="SG", tier="operator"), "directive 7", "ada")
    assert signer_of_halt(snapshot.orders[halt_id], halt, TERMS.public()) == "ada"
    access(folder, "lift", halt_id, key="bea")
    assert open_halts(store.snapshot(), TERMS.public())[0].lifted > 0
    store.close()
    assert states(folder) == {"power": "live"}
    access(folder, "halt", "--all", "--spare", "power", "--reason", "drill", key="ada")
    assert states(folder) == {"power": "live"}
    access(folder, "halt", "--person", "Tan", "--reason", "key lost", key="ada")
    assert states(folder) == {"power": "halted"}


def test_a_halt_that_a_tampered_store_holds_closes_and_a_forged_lift_opens_nothing(folder: Path) -> None:
    granted(folder)
    store = store_of(folder)
    store.put_halt(Halt("forged", Scope(), "x", "nobody", 0))
    store.lift("forged", "nobody", 1, b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}')
    store.close()
    assert states(folder) == {"power": "halted"}


def test_every_act_by_command_is_in_the_audit_log(folder: Path) -> None:
    granted(folder)
    access(folder, "sub-grant", "power", "relays.yaml", key="holder")
    said = access(folder, "halt", "--all", "--reason", "leak", key="cyd")
    halt_id = said.split()[1].rstrip(":")
    access(folder, "lift", halt_id, key="bea")
    access(folder, "revoke", "power", "--reason", "contract ended", key="ada")
    assert controls(folder) == [
        ("grant", "power", ("ada",)), ("approve", "power", ("bea",)), ("grant", "relays", ("Tan",)), ("halt", halt_id, ("cyd",)),
        ("lift", halt_id, ("bea",)), ("revoke", "power", ("ada",)),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["key", "folder"])
def test_where_the_log_cannot_be_written_a_halt_holds_and_nothing_opens(folder: Path, missing: str) -> None:
    granted(folder)
    if missing == "key":
        (folder / "audit.pem").unlink()
    else:
        shutil.rmtree(folder / "audit")
        (folder / "audit").write_text("")
    (folder / "water.yaml").write_text(GRANT.replace("id: power", "id: water"))
    halt_id = access(folder, "halt", "--all", "--reason", "leak", key="ada").split()[1].rstrip(":")
    store = store_of(folder)
    before = store.epoch()
    assert set(store.snapshot().halts) == {halt_id}
    for arguments in (["lift", halt_id], ["grant", "water.yaml"]):
        said = access(folder, *arguments, key="bea", code=2)
        assert "nothing was done, because it cannot be recorded" in said
        assert "the gate's machine" in said
    assert store.epoch() == before
    command = [sys.executable, "-m", "assay", "access", "revoke", "power", "--reason", "leak", "--key", "cyd.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, set(store.snapshot().revoked)) == (0, {"power"}), done.stderr
    assert "It holds, and is not in the audit log" in done.stderr
    store.close()


def test_a_halt_that_the_store_has_lost_is_shown_and_lifted(folder: Path) -> None:
    granted(folder)
    halt_id = access(folder, "halt", "--all", "--reason", "leak", key="ada").split()[1].rstrip(":")
    store, gate = store_of(folder), Remembered(folder / "gate.seen")
    now = int(datetime.now(UTC).timestamp() * 1000)
    assert not any(h.lifted for h in gate.open(store.snapshot(), TERMS, now).halts)
    with store.transaction(write=True) as rows:
        rows.run("DELETE FROM halts")
    assert states(folder) == {"power": "halted"}
    said = access(folder, "list")
    assert f"\nHalt {halt_id}" in said
    assert "The store has lost it" in said
    assert [h["lost"] for h in json.loads(access(folder, "list", "--json"))["halts"]] == [True]
    access(folder, "lift", halt_id, key="bea")
    assert [bool(h.lifted) for h in gate.open(store.snapshot(), TERMS, now).halts] == [True]
    assert states(folder) == {"power": "live"}
    assert "The store has lost it" not in access(folder, "list")
    store.close()


def test_a_halt_of_a_person_says_which_sub_grants_of_theirs_go_on(folder: Path) -> None:
    granted(folder)
    access(folder, "sub-grant", "power", "relays.yaml", key="holder")
    said = access(folder, "halt", "--person", "Tan", "--reason", "key lost", key="ada")
    assert "Sub-grants that Tan has given go on: relays" in said
    assert states(folder) == {"power": "halted", "relays": "live"}


def test_a_time_that_no_calendar_has_is_refused_and_one_that_is_kept_is_shown(folder: Path) -> None:
    at = int(datetime.now(UTC).timestamp() * 10**6)
    (folder / "power.yaml").write_text(GRANT.replace(f"expires: {UNTIL}", f"starts: {at}\nexpires: {at + 10**9}"))
    assert "a time after the year 2500: milliseconds are meant" in access(folder, "grant", "power.yaml", key="ada", code=2)
    assert states(folder) == {}
    bad = grant(starts=at, expires=at + 10**9)
    subject = [{"name": "grant power, version 1", "digest": {"sha256": bad.digest_of_terms.removeprefix("sha256:")}}]
    store = store_of(folder)
    store.put_grant(SignedGrant(bad, Cosigned.of(subject, PREDICATE, bad.to_json())))
    store.close()
    assert f"{at + 10**9} ms" in access(folder, "list")
    assert f"{at} ms" in access(folder, "show", "power")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["halt", "--reason", "x"], "say what to halt"),
        (["halt", "--all", "--model", "m7", "--reason", "x"], "say what to halt"),
        (["halt", "--model", "m9", "--reason", "x"], "no model 'm9'"),
        (["halt", "--grant", "pwer", "--reason", "x"], "no grant 'pwer'"),
        (["halt", "--organisation", "Gird Ltd", "--reason", "x"], "no organisation"),
        (["halt", "--person", "tan", "--reason", "x"], "no person"),
        (["halt", "--jurisdiction", "Singapore", "--reason", "x"], "jurisdiction"),
        (["halt", "--sector", "pow", "--reason", "x"], "sector"),
        (["halt", "--tier", "vip", "--reason", "x"], "tier"),
        (["halt", "--all", "--spare", "pwer", "--reason", "x"], "no grant 'pwer'"),
        (["halt", "--all", "--reason", ""], "reason"),
        (["halt", "--all", "--reason", "a\nb"], "reason"),
        (["lift", "halt-x"], "no such halt"),
        (["revoke", "pwer", "--reason", "x"], "no such grant"),
        (["approve", "pwer"], "no such grant"),
    ],
    ids=lambda value: " ".join(value[:4]).replace("\n", " ") if isinstance(value, list) else None,
)
def test_slips_are_told_and_change_nothing(folder: Path, arguments: list[str], says: str) -> None:
    store = store_of(folder)
    store.put_grant(approved())
    before = store.epoch()
    assert says in access(folder, *arguments, key="ada", code=2)
    assert store.epoch() == before
    store.close()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model: m7", "model: m9", "serves no model"), ("a" * 64, "b" * 64, "serves 'm7' as"), (UNTIL, "2020-01-01", "not after its start"),
        (UNTIL, "soon", "a date or a time"), (UNTIL, "2027-13-01", "month"), (UNTIL, "2027-01-01T10:00:00", "says its offset"),
        ("[10.0.0.0/8]", "[10.0.0.1/8]", "CIDR"), ('"24:00"', '"24:01"', "time of the day"), ("tier: operator", "tier: vip", "tier"),
        ("level: AL2", "level: AL2\nsurprise: 1", "surprise"),
        ("id: power", "id: ../x", "id"), ("assay: grant/1", "assay: grant/2", "assay"), (GRANT, "[]", "a mapping"), (GRANT, "{", "YAML"),
    ],
    ids=["model", "digest", "past", "word", "month", "offset", "network", "clock", "tier", "field", "id", "format", "list", "yaml"],
)  # fmt: skip
def test_a_grant_file_that_is_wrong_is_told_with_its_line(folder: Path, old: str, new: str, says: str) -> None:
    (folder / "power.yaml").write_text(GRANT.replace(old, new))
    said = access(folder, "grant", "power.yaml", key="ada", code=2)
    assert says in said
    assert "power.yaml" in said
    assert states(folder) == {}


def test_an_empty_store_says_the_next_command(folder: Path) -> None:
    assert "No grant yet. Next:" in access(folder, "list")
    assert "no such grant" in access(folder, "show", "power", code=2)
    value: dict[str, Any] = json.loads(access(folder, "list", "--json"))
    assert (value["grants"], value["halts"]) == ([], [])
