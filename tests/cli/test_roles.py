"""`assay roles` through the real entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.ledger import write_key
from tests.cli.test_errors import assay, assert_refused
from tests.evidence.authority import KEYS, NAMES

PUBLIC = {n: KEYS[n].public.to_json()["public"] for n in NAMES}
ID = {n: KEYS[n].public.keyid for n in NAMES}


def new(path: str = "roles.yaml", *, authority: str = "example.org/gate", **changes: Any) -> list[str]:
    given = {"owner": ["olga", "otto"], "evaluator": ["eve"], "approver": ["ada", "abel"], **changes}
    named = [f"--{role}={text if '=' in text else f'{text}={PUBLIC[text]}'}" for role, names in given.items() for text in names]
    return ["roles", "new", path, f"--authority={authority}", *named]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where everybody's keys lie."""
    for name in NAMES:
        write_key(tmp_path / f"{name}.pem", KEYS[name], b"")
    return tmp_path


def run(folder: Path, *arguments: str | Path, code: int = 0) -> str:
    done = assay(*arguments, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_roles_are_made_signed_by_every_owner_and_verified(folder: Path) -> None:
    (folder / "eve.pub").write_text(PUBLIC["eve"] + "\n")
    said = run(folder, *new(evaluator=["eve=eve.pub"]), "--days", "10")
    assert "roles sign roles.yaml --key OWNER" in said
    value = yaml.safe_load((folder / "roles.yaml").read_text())
    assert value["owner"]["threshold"] == 2
    assert value["keys"]["eve"]["public"] == PUBLIC["eve"], "a file with a key is as good as the key"
    assert "Signed by 1 key(s): roles-1.signed.json" in run(folder, "roles", "sign", "roles.yaml", "--key", "olga.pem")
    both = ("roles", "verify", "roles-1.signed.json", "--owner", ID["olga"], "--owner", ID["otto"][:16])
    assert_refused(assay(*both, cwd=folder), "signed by 1 of its owners (olga); it takes 2", code=1)
    assert "Signed by 2 key(s)" in run(folder, "roles", "sign", "roles-1.signed.json", "--key", "otto.pem"), "whoever gets the signed file"
    run(folder, "roles", "sign", "roles.yaml", "--key", "otto.pem", "--out", "roles-1.signed.json")
    run(folder, "roles", "sign", "roles-1.signed.json", "--key", "otto.pem", "--out", "copy.json")
    again = ("roles", "sign", "roles-1.signed.json", "--key", "otto.pem", "--out", "copy.json")
    assert_refused(assay(*again, cwd=folder), "there is a file already", "--out")
    said = run(folder, *both)
    assert "example.org/gate, version 1" in said
    assert f"release verify RELEASE --roles roles-1.signed.json --owner {ID['olga']}" in said
    for name in ("roles.yaml", "roles-1.signed.json"):
        assert ID["ada"] in run(folder, "roles", "show", name)
    assert_refused(assay("roles", "sign", "roles.yaml", "--key", "eve.pem", cwd=folder), "is no owner's")
    assert_refused(assay("roles", "verify", "roles-1.signed.json", cwd=folder), "nobody has said whose", "--owner", code=1)
    assert_refused(assay("roles", "verify", "roles-1.signed.json", "--owner", ID["eve"], cwd=folder), "no owner of", code=1)
    assert_refused(assay("roles", "verify", "roles-1.signed.json", "--owner", "3f2a", cwd=folder), "16 characters", code=1)


def signed(folder: Path, *owners: str, **changes: Any) -> Path:
    """The roles file in the folder with keys replaced, signed by these."""
    value = {**yaml.safe_load((folder / "roles.yaml").read_text()), **changes}
    path = folder / f"roles-{value['version']}.yaml"
    path.write_text(yaml.safe_dump(value))
    for name in owners:
        previous = ("--previous", folder / "roles-1.signed.json") if value["version"] > 1 else ()
        run(folder, "roles", "sign", path, "--key", f"{name}.pem", *previous)
    return folder / f"roles-{value['version']}.signed.json"


def test_a_version_follows_on_the_one_before(folder: Path) -> None:
    run(folder, *new())
    first = signed(folder, "olga", "otto")
    owners = ("--owner", ID["olga"], "--owner", ID["otto"])
    changes = {"owner": {"keys": ["olga", "ada"], "threshold": 2}, "approver": {"keys": ["abel", "otto"], "threshold": 2}}
    second = signed(folder, "olga", "ada", version=2, **changes)
    follows = ("roles", "verify", second, "--previous", first, *owners)
    assert_refused(assay(*follows, cwd=folder), "signed by 1 of those of version 1 (olga)", code=1)
    run(folder, "roles", "sign", second, "--key", "otto.pem", "--previous", first)
    assert "version 2" in run(folder, *follows)
    back = ("roles", "verify", first, "--previous", second, "--owner", ID["olga"], "--owner", ID["ada"])
    assert_refused(assay(*back, cwd=folder), "rolled back", code=1)
    over = ("roles", "sign", folder / "roles.yaml", "--key", "olga.pem", "--out", second)
    assert_refused(assay(*over, cwd=folder), "other roles were signed")


def test_roles_that_have_expired_are_said_to_be(folder: Path) -> None:
    run(folder, *new())
    old = signed(folder, "olga", "otto", expires="2026-01-01")
    one = assay("roles", "verify", old, "--owner", ID["olga"], cwd=folder)
    assert_refused(one, "the owners that you know (olga); it takes 2", "Name as many owners", code=1)
    said = run(folder, "roles", "verify", old, "--owner", ID["olga"], "--owner", ID["otto"], code=1)
    assert "expired on 2026-01-01" in said
    assert "Next, check a release" not in said
    assert "(expired)" in run(folder, "roles", "show", old)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (new(authority="Example.org"), ["no name of an authority", "lower case"]),
        (new(authority="example.org\n"), ["no name of an authority"]),
        (new(owner=["olga=xx"]), ["olga=xx", "32 bytes in base64", "assay key show"]),
        (new(owner=["Olga=xx"]), ["no name of a key"]),
        (new(owner=["olga"], approver=["ada"]), ["2 signatures of 1 keys"]),
        (new(approver=["ada", "eve"]), ["would approve its own evidence"]),
        (new(approver=["ada", f"abel={PUBLIC['ada']}"]), ["the same key as"]),
        (new(approver=["ada", f"olga={PUBLIC['ada']}"]), ["'olga' has two keys"]),
        (new("there.yaml"), ["there is a file already", "another path"]),
        (new("no/such/folder/roles.yaml"), ["cannot write the roles"]),
        (["roles", "new", "x.yaml", "--authority", "a.example", "--owner", "a", "--evaluator", "b=c", "--approver", "c=d"], ["NAME=KEY"]),
        (["roles", "new", "x.yaml", "--authority", "a.example"], ["--owner"]),
        (["roles", "sign", "there.yaml", "--key", "olga.pem"], ["there.yaml:1"]),
        (["roles", "sign", "bad.json", "--key", "olga.pem"], ["not JSON"]),
        (["roles", "verify", "there.yaml", "--owner", "0" * 64], ["not JSON", "assay roles sign"]),
        (["roles", "verify", ".", "--owner", "0" * 64], ["cannot read the roles"]),
        (["roles", "show", "bad.json"], ["not JSON"]),
        (["roles", "show", "deep.yaml"], ["nested too deeply"]),
        (["roles", "show", "escape.yaml"], ["<U+001B>"]),
    ],
    ids=range(19),
)
def test_bad_words_get_one_message_and_leave_nothing(folder: Path, arguments: list[str], parts: list[str]) -> None:
    (folder / "there.yaml").write_text("assay: plan/1\n")
    (folder / "bad.json").write_text("{")
    (folder / "deep.yaml").write_text("- " * 100_000 + "x")
    (folder / "escape.yaml").write_text('assay: roles/1\n"\\e[2Jx": 1\n')
    before = sorted(folder.iterdir())
    done = assay(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    for part in parts:
        assert part in " ".join(done.stderr.split()), done.stderr
    assert sorted(folder.iterdir()) == before


def test_names_that_yaml_reads_as_something_else_stay_names(folder: Path) -> None:
    run(folder, *new(owner=[f"no={PUBLIC['olga']}", f"1={PUBLIC['otto']}"], evaluator=[f"null={PUBLIC['eve']}"]))
    assert set(yaml.safe_load((folder / "roles.yaml").read_text())["keys"]) == {"no", "1", "null", "ada", "abel"}


def test_what_is_printed_of_a_reason_steers_no_terminal(folder: Path) -> None:
    run(folder, *new())
    path = signed(folder, revoked={ID["amy"]: "stolen \x9b2J \u202e\x1b[1m"})
    assert not path.exists()
    said = run(folder, "roles", "show", "roles-1.yaml")
    assert "stolen" in said
    assert not {"\x9b", "\u202e", "\x1b"} & set(said)
