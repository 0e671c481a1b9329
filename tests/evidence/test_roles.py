"""Roles: what a file must say, who must have signed it, and how a version follows on another."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import AssayError
from assay.evidence.roles import RolesError, UntrustedRolesError, cosign_roles, end_of_day_ms, open_roles, sign_roles, unsigned
from assay.evidence.seen import Seen, follow, read_seen, write_seen
from assay.ledger import Cosigned
from tests.evidence.authority import DAY, KEYS, roles_of

OWNERS = [KEYS["olga"].public.keyid, KEYS["otto"].public.keyid]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"approver": {"keys": ["ada"], "threshold": 1}}, "a release takes 2 approvers or more"),
        ({"approver": {"keys": ["ada", "eve"], "threshold": 2}}, "would approve its own evidence"),
        ({"approver": {"keys": ["ada", "ada"], "threshold": 2}}, "a key stands twice"),
        ({"approver": {"keys": ["ada", "abel"], "threshold": 3}}, "3 signatures of 2 keys"),
        ({"evaluator": {"keys": ["nobody"]}}, "'nobody' is not among the keys"),
        ({"revoked": {KEYS["ada"].public.keyid: "stolen"}}, "'ada' is revoked and still has a role"),
        ({"expires": "2027-02-30"}, "there is no such day"),
        ({"version": 0}, ">= 1"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=["one-approver", "both-roles", "twice", "threshold", "unknown", "revoked", "day", "version", "field"],
)
def test_a_file_that_cannot_hold_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RolesError, match=message) as e:
        roles_of(tmp_path, **changes)
    assert e.value.exit_code == 2


def test_two_names_for_one_key_are_refused(tmp_path: Path) -> None:
    keys = {n: {"public": KEYS[n].public.to_json()["public"]} for n in KEYS}
    with pytest.raises(RolesError, match=r"the same key as '(abel|ada)'"):
        roles_of(tmp_path, keys={**keys, "ada": dict(keys["abel"])})


def test_owners_open_what_all_of_them_signed(tmp_path: Path) -> None:
    roles = roles_of(tmp_path)
    assert open_roles(sign_roles(roles, KEYS["olga"], KEYS["otto"]), owners=OWNERS, now_ms=0) == roles
    assert open_roles(sign_roles(roles, KEYS["otto"], KEYS["olga"]), owners=[o[:16] for o in OWNERS], now_ms=0) == roles


def test_too_few_owners_or_foreign_ones_open_nothing(tmp_path: Path) -> None:
    roles = roles_of(tmp_path)
    one, both = sign_roles(roles, KEYS["olga"]), sign_roles(roles, KEYS["olga"], KEYS["otto"])
    short = [OWNERS[0][:8]]
    for signed, owners in ((one, OWNERS), (both, OWNERS[:1]), (both, []), (both, ["f" * 64]), (both, short), (unsigned(roles), OWNERS)):
        with pytest.raises(UntrustedRolesError) as e:
            open_roles(signed, owners=owners, now_ms=0)
        assert e.value.exit_code == 1
    with pytest.raises(RolesError, match="is no owner's"):
        sign_roles(roles, KEYS["eve"])


def test_a_version_follows_if_the_owners_before_it_agree(tmp_path: Path) -> None:
    first = roles_of(tmp_path)
    owner = {"keys": ["olga", "amy"], "threshold": 2}
    second = roles_of(tmp_path, version=2, owner=owner, approver={"keys": ["ada", "abel"], "threshold": 2})
    new_only = cosign_roles(cosign_roles(unsigned(second), KEYS["olga"]), KEYS["amy"])
    with pytest.raises(UntrustedRolesError, match=r"signed by 1 of those of version 1 \(olga\); it takes 2"):
        open_roles(new_only, before=first, now_ms=0)
    both = cosign_roles(new_only, KEYS["otto"], first)
    assert open_roles(both, before=first, now_ms=0) == second
    with pytest.raises(UntrustedRolesError, match="rolled back: version 1, where 2 was seen"):
        open_roles(sign_roles(first, KEYS["olga"], KEYS["otto"]), before=second, now_ms=0)
    old_only = cosign_roles(cosign_roles(unsigned(second), KEYS["olga"]), KEYS["otto"], first)
    with pytest.raises(UntrustedRolesError, match=r"signed by 1 of its owners"):
        open_roles(old_only, before=first, now_ms=0)


def test_another_file_under_the_same_version_or_of_another_authority_is_refused(tmp_path: Path) -> None:
    first = roles_of(tmp_path)
    for changed, message in (
        (roles_of(tmp_path, expires="2098-01-01"), "another file under the same version"),
        (roles_of(tmp_path, authority="elsewhere.example"), "not of 'example.org/gate'"),
    ):
        with pytest.raises(UntrustedRolesError, match=message):
            open_roles(sign_roles(changed, KEYS["olga"], KEYS["otto"]), before=first, now_ms=0)


def test_what_was_revoked_stays_so(tmp_path: Path) -> None:
    gone = {KEYS["amy"].public.keyid: "left", KEYS["emil"].public.keyid: "stolen"}
    first = roles_of(tmp_path, approver={"keys": ["ada", "abel"], "threshold": 2}, revoked=gone)
    back = {"keys": ["ada", "abel", "amy"], "threshold": 2}
    later = roles_of(tmp_path, version=2, approver=back, revoked={KEYS["emil"].public.keyid: "stolen"})
    with pytest.raises(UntrustedRolesError, match="was revoked and is so no more"):
        open_roles(sign_roles(later, KEYS["olga"], KEYS["otto"]), before=first, now_ms=0)


def test_expired_and_revoked_keys_do_not_count(tmp_path: Path) -> None:
    keys = {n: {"public": KEYS[n].public.to_json()["public"], **({"expires": "2030-01-31"} if n == "abel" else {})} for n in KEYS}
    roles = roles_of(tmp_path, keys=keys)
    end = end_of_day_ms("2030-01-31")
    assert set(roles.counting("approver", end)) == {"ada", "abel", "amy"}
    assert set(roles.counting("approver", end + 1)) == {"ada", "amy"}
    assert end_of_day_ms("2030-01-31") - end_of_day_ms("2030-01-30") == DAY
    stolen = msgspec.structs.replace(roles, revoked={KEYS["ada"].public.keyid: "stolen"})
    assert set(stolen.counting("approver", 0)) == {"abel", "amy"}


def test_every_change_of_a_signed_file_is_found(tmp_path: Path) -> None:
    signed = sign_roles(roles_of(tmp_path), KEYS["olga"], KEYS["otto"])
    envelope = Cosigned.from_json(signed["envelope"])
    for i in range(0, len(envelope.payload), 7):
        broken = envelope.payload[:i] + bytes([envelope.payload[i] ^ 1]) + envelope.payload[i + 1 :]
        with pytest.raises(AssayError):
            open_roles({**signed, "envelope": Cosigned(broken, envelope.signatures).to_json()}, owners=OWNERS, now_ms=0)
    for change in ("drop", "double", "swap", "empty"):
        value = copy.deepcopy(signed)
        given = value["envelope"]["signatures"]
        if change == "drop":
            given.pop()
        elif change == "double":
            given[1] = given[0]
        elif change == "swap":
            given[0]["sig"], given[1]["sig"] = given[1]["sig"], given[0]["sig"]
        else:
            given.clear()
        with pytest.raises(AssayError):
            open_roles(value, owners=OWNERS, now_ms=0)


def test_what_was_seen_is_followed_and_kept(tmp_path: Path) -> None:
    first = roles_of(tmp_path)
    second = roles_of(tmp_path, version=2)
    one, two = (sign_roles(r, KEYS["olga"], KEYS["otto"]) for r in (first, second))
    path = tmp_path / "seen.json"
    seen = read_seen(path)
    assert seen == Seen()
    with pytest.raises(UntrustedRolesError, match="nobody has said whose these roles are"):
        follow(seen, one, now_ms=0)
    write_seen(path, seen.followed(follow(seen, one, OWNERS, now_ms=0), one))
    seen = read_seen(path)
    assert follow(seen, two, now_ms=0) == second, "known authorities need no owners"
    write_seen(path, seen.followed(second, two))
    with pytest.raises(UntrustedRolesError, match="rolled back"):
        follow(read_seen(path), one, OWNERS, now_ms=0)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RolesError, match="damaged"):
        read_seen(path)
