"""Releases, roles and what was seen, from the attacker's side: what holds and should not, what stops a halt, what ends in a traceback."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from assay.errors import AssayError
from assay.evidence import verify_bundle
from assay.evidence.attached import Attachment, check_attached, read_attachment
from assay.evidence.log import Log
from assay.evidence.logbook import LogError
from assay.evidence.provider import ProviderStatement, sign_provider
from assay.evidence.release import (
    EVALUATION_RESULT,
    MAX_EPOCH,
    RELEASE_DECISION,
    VERIFICATION_SUMMARY,
    Release,
    ReleaseError,
    UnfoundedError,
    read_release,
    release_of,
    write_release,
)
from assay.evidence.releasecheck import accepted, check_release
from assay.evidence.releasemake import Basis, Stated, new_halt, new_release, read_basis, rfc3339, sign_release, verification_summary
from assay.evidence.roles import Roles, RolesError, UntrustedRolesError, end_of_day_ms, open_roles, read_roles, read_signed, sign_roles
from assay.evidence.seen import Seen, follow, lock_seen, read_seen, write_seen
from assay.evidence.statements import DECISION, TEST_RESULT, subject
from assay.ledger import Cosigned, PrivateKey, canonical, digest, sign_statement, write_key
from assay.ledger.dsse import SignatureError
from assay.ledger.notes import COSIGNATURE, NoteKey, key_name
from assay.runs.registered import OPENED
from tests.evidence.authority import DAY, KEYS, NAMES, approving_run, policy, roles_of

Made = tuple[Path, Roles, Basis, int]
ZERO = "sha256:" + "0" * 64
OWNERS = [KEYS[n].public.keyid for n in ("olga", "otto")]
SIGNERS = ("eve", "ada", "abel")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle that approves under a policy, its roles, what a release needs of it, and a time after it."""
    folder = tmp_path_factory.mktemp("attacks")
    bundle, roles = approving_run(folder, wanted=policy()), roles_of(folder)
    basis, report = read_basis(bundle, roles, 0)
    assert basis is not None, report.findings
    return bundle, roles, basis, basis.ref.at + 1000


def approved(made: Made, epoch: int = 1, *approvers: str, **changes: Any) -> Release:
    _, roles, basis, now = made
    release = new_release(basis, roles, KEYS["eve"], Stated(epoch, now, **changes))
    for name in approvers or ("ada", "abel"):
        release = sign_release(release, roles, KEYS[name], now)
    return release


def stop(made: Made, epoch: int, roles: Roles | None = None, *, target: str = "", issued: int = 0) -> Release:
    _, own, basis, now = made
    about = target or release_target(basis)
    return new_halt("x", about, roles or own, KEYS["ada"], Stated(epoch, issued or now, verdict="halt", reason="found"))


def release_target(basis: Basis) -> str:
    ((algorithm, value),) = subject(basis.target)[0]["digest"].items()
    return f"{algorithm}:{value}"


def findings(release: Release, roles: Roles, now: int, **given: Any) -> list[str]:
    return [f.check for f in check_release(release, roles, now, **given).findings]


def forged(release: Release, kind: str, change: Callable[[dict[str, Any]], Any], *names: str) -> Release:
    """The same release with one statement changed, and signed by these."""
    envelopes = []
    for envelope in release.envelopes:
        statement = envelope.statement()
        if statement.get("predicateType") == kind:
            change(statement)
            envelope = Cosigned(canonical(statement))
            for name in names or SIGNERS:
                envelope = envelope.signed(KEYS[name])
        envelopes.append(envelope)
    return release_of(envelopes)


def set_in(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        inside: Any = statement
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = to

    return change


# Names that look alike, and keys that anybody can sign with


@pytest.mark.parametrize(
    "changes",
    [
        {"authority": "example.org/gate\n"},
        {"expires": "2099-12-31\n"},
        {"revoked": {"0" * 64 + "\n": "stolen"}},
        {"keys": {**{n: {"public": KEYS[n].public.to_json()["public"]} for n in NAMES}, "ada\n": {"public": "A" * 43 + "="}}},
    ],
    ids=["authority", "day", "revoked", "name"],
)
def test_a_name_with_a_line_end_is_no_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A revocation by an id with a line's end behind it would revoke nothing, and look as if it did."""
    with pytest.raises(RolesError):
        roles_of(tmp_path, **changes)


P = 2**255 - 19
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
D = -121665 * pow(121666, -1, P) % P


def small_order_points() -> list[bytes]:
    """Encodings of the curve's points of small order: y = 0, 1, -1, those of order 8, and forms that are not reduced."""
    assert (D * pow(ORDER_8, 4, P) + 2 * pow(ORDER_8, 2, P) - 1) % P == 0, "doubled, they have y = 0"
    ys = [0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8]
    return [(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


@pytest.mark.parametrize("raw", small_order_points(), ids=range(14))
def test_a_key_that_anybody_can_sign_with_holds_no_role(tmp_path: Path, raw: bytes) -> None:
    keys = {n: {"public": KEYS[n].public.to_json()["public"]} for n in NAMES}
    with pytest.raises(RolesError, match="anybody can sign"):
        roles_of(tmp_path, keys={**keys, "ada": {"public": base64.b64encode(raw).decode()}})


# Who signed the roles


def test_every_owner_who_is_named_must_have_signed(tmp_path: Path) -> None:
    """One owner lowers the threshold and shows the file to somebody who has never seen another, and who knows both."""
    alone = sign_roles(roles_of(tmp_path, owner={"keys": ["olga", "otto"], "threshold": 1}), KEYS["olga"])
    assert open_roles(alone, owners=OWNERS[:1], now_ms=0)
    with pytest.raises(UntrustedRolesError, match=r"'otto'.*has not signed"):
        open_roles(alone, owners=OWNERS, now_ms=0)


def test_an_owner_s_key_that_has_expired_signs_no_roles(tmp_path: Path) -> None:
    keys = {n: {"public": KEYS[n].public.to_json()["public"], **({"expires": "2030-01-31"} if n == "otto" else {})} for n in NAMES}
    first, second = roles_of(tmp_path, keys=keys), roles_of(tmp_path, keys=keys, version=2)
    end = end_of_day_ms("2030-01-31")
    for roles, given in ((first, {"owners": OWNERS}), (second, {"before": first})):
        signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
        assert open_roles(signed, now_ms=end, **given) == roles  # type: ignore[arg-type]
        with pytest.raises(UntrustedRolesError, match="it takes 2"):
            open_roles(signed, now_ms=end + 1, **given)  # type: ignore[arg-type]


# What was seen


def kept(tmp_path: Path, made: Made) -> tuple[Path, Seen]:
    _, roles, _, now = made
    signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
    release = approved(made, 7)
    seen = accepted(Seen(), check_release(release, roles, now), roles, signed)
    path = tmp_path / "seen.json"
    write_seen(path, seen)
    assert read_seen(path) == seen
    return path, seen


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.clear(),
        lambda v: v.pop("authorities"),
        lambda v: v["authorities"]["example.org/gate"].pop("releases"),
        lambda v: v["authorities"].update({"example.org/Gate": v["authorities"].pop("example.org/gate")}),
        lambda v: v["authorities"]["example.org/gate"]["roles"].update({"version": 9}),
        lambda v: v["authorities"]["example.org/gate"]["roles"]["keys"].pop("ada"),
        lambda v: v["authorities"]["example.org/gate"].update({"signed": {}}),
        lambda v: v["authorities"]["example.org/gate"]["signed"]["envelope"]["signatures"].clear(),
    ],
    ids=["emptied", "no-authorities", "no-releases", "renamed", "version", "key", "unsigned", "no-signatures"],
)
def test_what_was_seen_is_not_begun_afresh_by_damage(tmp_path: Path, made: Made, change: Callable[[Any], Any]) -> None:
    path, _ = kept(tmp_path, made)
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n")
    with pytest.raises(RolesError, match="damaged") as e:
        read_seen(path)
    assert "Restore" in e.value.fix


def test_a_state_file_behind_a_link_stays_behind_it(tmp_path: Path, made: Made) -> None:
    """If the link became a file, whoever uses the file by its own name would never see what is newer."""
    path, seen = kept(tmp_path, made)
    link = tmp_path / "link.json"
    link.symlink_to(path.name)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(Seen(), order="sorted"), indent=1) + b"\n")
    with lock_seen(link):
        write_seen(link, seen)
    assert link.is_symlink()
    assert read_seen(path) == seen
    locks = [p.name for p in tmp_path.iterdir() if p.name.endswith(".lock")]
    assert locks == [".seen.json.lock"], "one lock, whatever name it goes by"


def test_a_link_that_leads_nowhere_is_no_fresh_start(tmp_path: Path) -> None:
    for name, to in (("gone.json", "not-mounted/seen.json"), ("loop.json", "loop.json")):
        link = tmp_path / name
        link.symlink_to(to)
        with pytest.raises(RolesError, match="cannot read what was seen"):
            read_seen(link)
    with pytest.raises(RolesError, match="cannot read what was seen"):
        read_seen(tmp_path / ("x" * 300))
    with pytest.raises(RolesError, match="cannot read what was seen"):
        read_seen(tmp_path)


# A halt that cannot be stopped


def test_a_halt_wins_over_an_approval_of_the_same_epoch_and_never_the_other_way(made: Made) -> None:
    """Two people act at once, or whoever approves takes the last epoch there is, so that none can follow."""
    _, roles, _, now = made
    signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
    for epoch in (3, MAX_EPOCH):
        approval, halt = approved(made, epoch), stop(made, epoch)
        seen = accepted(Seen(), check_release(approval, roles, now), roles, signed)
        found = check_release(halt, roles, now, seen=seen)
        assert found.ok, found.findings
        seen = accepted(seen, found, roles, signed)
        assert findings(approval, roles, now, seen=seen) == ["epoch"]
        delay = new_release(made[2], roles, KEYS["eve"], Stated(epoch, now, verdict="delay", reason="wait"))
        assert findings(delay, roles, now, seen=seen) == ["epoch"]
    with pytest.raises(ReleaseError):
        stop(made, MAX_EPOCH + 1)


def test_a_halt_holds_whichever_version_of_the_roles_and_whatever_clock_it_was_made_with(made: Made, tmp_path: Path) -> None:
    _, roles, _, now = made
    newer = roles_of(tmp_path, version=2)
    for halt in (stop(made, 1, newer), stop(made, 1, issued=now + DAY)):
        assert not findings(halt, roles, now)
    approval = new_release(made[2], newer, KEYS["eve"], Stated(1, now))
    for name in ("ada", "abel"):
        approval = sign_release(approval, newer, KEYS[name], now)
    assert "roles" in findings(approval, roles, now), "an approval waits until its roles are known"


@pytest.mark.parametrize(
    "target",
    ["sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha256:" + "0" * 64 + "\n", "md5:" + "0" * 64, "0" * 64, ":" + "0" * 64, "sha256:"],
    ids=["upper", "short", "line-end", "md5", "bare", "nameless", "empty"],
)
def test_a_halt_of_nothing_is_refused(made: Made, target: str) -> None:
    """A digest with a slip of the pen stops nothing, and looks as if it did."""
    with pytest.raises(ReleaseError, match="no digest of a target"):
        stop(made, 1, target=target)


def test_expired_roles_make_no_release_and_still_a_halt(made: Made, tmp_path: Path) -> None:
    _, _, basis, now = made
    old = roles_of(tmp_path, expires="2026-01-01")
    with pytest.raises(ReleaseError, match="expired on 2026-01-01"):
        new_release(basis, old, KEYS["eve"], Stated(1, now))
    assert stop(made, 1, old)


# The summary that others' admission rules read


def test_nobody_signs_a_summary_that_another_has_written(made: Made) -> None:
    """The first approver puts a summary of his own there; the second one's signature completes the threshold, and must not be on it."""
    bundle, roles, _, now = made
    release = approved(made, 1, "ada")
    lie = {**verification_summary(release), "resourceUri": "urn:something:else"}
    for predicate, found in ((lie, ["verification summary"]), (verification_summary(release), [])):
        early = Cosigned.of(release.subject, VERIFICATION_SUMMARY, predicate).signed(KEYS["ada"])
        planted = release_of([*release.envelopes, early])
        assert findings(planted, roles, now, bundle=bundle, approvals=False) == found
        assert "approvers" in findings(planted, roles, now, bundle=bundle)
        signed = sign_release(planted, roles, KEYS["abel"], now)
        (summary,) = signed.of(VERIFICATION_SUMMARY)
        assert summary.statement()["predicate"] == verification_summary(signed)
        assert not findings(signed, roles, now, bundle=bundle)


def test_who_approved_first_may_sign_the_summary_too(made: Made) -> None:
    _, roles, _, now = made
    release = sign_release(approved(made, 1, "ada", "abel"), roles, KEYS["ada"], now)
    assert {k for k, _ in release.of(VERIFICATION_SUMMARY)[0].signatures} == {KEYS[n].public.keyid for n in ("ada", "abel")}


def test_where_two_evaluators_must_sign_the_second_one_can_and_approvers_wait(made: Made, tmp_path: Path) -> None:
    bundle, _, basis, now = made
    roles = roles_of(tmp_path, evaluator={"keys": ["eve", "emil"], "threshold": 2})
    for stated in (Stated(1, now), Stated(1, now, verdict="halt", reason="found")):
        release = new_release(basis, roles, KEYS["eve"], stated)
        assert findings(release, roles, now, bundle=bundle), "one does not suffice"
        assert not findings(release, roles, now, bundle=bundle, approvals=False), "and still the other may sign"
        if not stated.verdict:
            with pytest.raises(ReleaseError, match="1 of 2 evaluators have signed"):
                sign_release(release, roles, KEYS["ada"], now)
        release = sign_release(release, roles, KEYS["emil"], now)
        if not stated.verdict:
            assert findings(release, roles, now) == ["approvers"]
            release = sign_release(sign_release(release, roles, KEYS["ada"], now), roles, KEYS["abel"], now)
        assert not findings(release, roles, now, bundle=bundle)


# Evidence


def test_an_old_run_is_not_approved_again_and_again(made: Made) -> None:
    bundle, roles, basis, _ = made
    late = basis.ref.at + 20 * DAY
    release = new_release(basis, roles, KEYS["eve"], Stated(2, late))
    assert release.terms.expires == basis.ref.at + 30 * DAY, "from when the run ended, not from when it was released"
    with pytest.raises(UnfoundedError, match="30 days"):
        new_release(basis, roles, KEYS["eve"], Stated(2, basis.ref.at + 31 * DAY))
    for name in ("ada", "abel"):
        release = sign_release(release, roles, KEYS[name], late)
    assert not findings(release, roles, late, bundle=bundle)
    longer = forged(release, RELEASE_DECISION, set_in("predicate", "expires", to=basis.ref.at + 31 * DAY))
    assert "time" in findings(longer, roles, late)
    moved = forged(release, RELEASE_DECISION, set_in("predicate", "evidence", "at", to=late))
    assert "evidence" in findings(moved, roles, late, bundle=bundle)


def resigned(bundle: Path, out: Path, kind: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """The bundle with one of its statements changed and signed again by its evaluator, and what follows from it unchanged."""
    rows = [json.loads(line) for line in bundle.read_bytes().splitlines()]
    for row in rows:
        if row.get("kind") == kind:
            statement = json.loads(base64.b64decode(row["value"]["payload"]))
            change(statement["predicate"])
            row["value"] = sign_statement(KEYS["eve"], statement["subject"], statement["predicateType"], statement["predicate"]).to_json()
    out.write_bytes(b"".join(canonical(r) + b"\n" for r in rows))
    return out


def test_a_run_that_ended_in_no_year_that_there_is_carries_nothing(made: Made, tmp_path: Path) -> None:
    bundle, roles, _, now = made
    for at in (10**15, True):
        bad = resigned(bundle, tmp_path / "x.jsonl", "decision", lambda p, at=at: p["evidence"].update({"at": at}))  # type: ignore[misc]
        with pytest.raises(AssayError):
            read_basis(bad, roles, now)
    assert rfc3339(2**53)


def test_an_empty_word_for_a_replay_is_a_replay(made: Made, tmp_path: Path) -> None:
    """The registration is signed with `replayOf` empty: for the checks of sealed banks it is a replay, so for an approval it is one too."""
    bundle, roles, _, now = made
    rows = [json.loads(line) for line in bundle.read_bytes().splitlines()]
    at = {r["kind"]: i for i, r in enumerate(rows) if "kind" in r}
    said = json.loads(base64.b64decode(rows[at["opened"]]["value"]["payload"]))
    again = sign_statement(KEYS["eve"], said["subject"], OPENED, {**said["predicate"], "replayOf": ""}).to_json()
    rows[at["opened"]]["value"] = again
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(canonical(r) + b"\n" for r in rows))
    root = verify_bundle(path).root
    for kind, type_ in (("test-result", "https://in-toto.io/attestation/test-result/v0.1"), ("decision", DECISION)):
        predicate = json.loads(base64.b64decode(rows[at[kind]]["value"]["payload"]))["predicate"]
        if kind == "decision":
            predicate["evidence"]["merkleRoot"] = root
        else:
            predicate["configuration"][1]["digest"]["sha256"] = root.removeprefix("sha256:")
        rows[at[kind]]["value"] = sign_statement(KEYS["eve"], said["subject"], type_, predicate).to_json()
    path.write_bytes(b"".join(canonical(r) + b"\n" for r in rows))
    basis, report = read_basis(path, roles, now)
    assert basis is not None, report.findings
    assert basis.replayed


def test_the_bundle_that_is_named_is_the_one_that_was_verified(made: Made) -> None:
    bundle, _, basis, _ = made
    assert verify_bundle(bundle).bundle == basis.ref.bundle_digest == "sha256:" + hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_an_approval_falls_with_the_key_that_signed_its_bundle_though_another_signs_it_again(made: Made, tmp_path: Path) -> None:
    """Whoever has stolen the evaluator's key made the bundle; that the release itself is signed by another evaluator does not mend it."""
    _, _, basis, now = made
    both = roles_of(tmp_path, evaluator={"keys": ["eve", "emil"], "threshold": 1})
    release = sign_release(new_release(basis, both, KEYS["eve"], Stated(1, now)), both, KEYS["emil"], now)
    for name in ("ada", "abel"):
        release = sign_release(release, both, KEYS[name], now)
    assert not findings(release, both, now)
    later = roles_of(tmp_path, version=2, evaluator={"keys": ["emil"]}, revoked={KEYS["eve"].public.keyid: "stolen"})
    assert findings(release, later, now) == ["evidence"]


def test_a_policy_that_was_not_agreed_on_is_found(made: Made) -> None:
    """The evaluator writes a policy that asks for little, and runs under that."""
    _, roles, _, now = made
    release = approved(made)
    assert not findings(release, roles, now, policy=policy().digest)
    assert findings(release, roles, now, policy=ZERO) == ["policy"]
    assert findings(stop(made, 1), roles, now, policy=ZERO) == [], "a halt needs none"


def test_results_of_another_run_do_not_stand_beside_a_halt(made: Made, tmp_path: Path) -> None:
    """The run went badly; whoever passes the release on puts in the results of one that went well, signed by the same evaluator."""
    _, roles, _, now = made
    bad, _ = read_basis(approving_run(tmp_path, rate="0.6", wanted=policy()), roles, now)
    assert bad is not None
    halt, good = new_release(bad, roles, KEYS["eve"], Stated(2, bad.ref.at + 1)), approved(made)
    assert not findings(halt, roles, now)
    for kind in (EVALUATION_RESULT, TEST_RESULT):
        others = [e for e in halt.envelopes if e.statement()["predicateType"] != kind]
        assert "form" in findings(release_of([*good.of(kind), *others]), roles, now)


def test_what_could_not_be_read_again_is_not_written(made: Made, tmp_path: Path) -> None:
    release = stop(made, 1)
    much = Cosigned.of(release.subject, "urn:much", {"a": "x" * (16 << 20)})
    for envelopes in ([*release.envelopes, much], [*release.envelopes, *[Cosigned.of(release.subject, "urn:x", {})] * 500]):
        with pytest.raises(ReleaseError, match="at most 500"):
            write_release(release_of(envelopes), tmp_path / "x")
    assert not list(tmp_path.iterdir())


# The target


@pytest.mark.parametrize(
    ("at", "to"),
    [
        (("subject", 0, "digest"), {"sha256": "A" * 64}),
        (("subject", 0, "digest"), {"sha256": "0" * 64, "sha512": "0" * 128}),
        (("subject", 0, "digest"), {"sha256:" + "0" * 62: "00"}),
        (("subject", 0, "digest"), {"gitCommit": "0" * 40}),
        (("subject", 0, "uri"), "urn:other"),
        (("subject", 0, "name"), ["x"]),
        (("subject", 0, "name"), None),
        (("subject",), [{"name": "a", "digest": {"sha256": "0" * 64}}, {"name": "b", "digest": {"sha256": "1" * 64}}]),
        (("subject",), {}),
        (("subject",), []),
        (("predicate", "identity"), "proof"),
        (("predicate", "expires"), 2**53 - 1),
        (("predicate", "issued"), 2**53 - 1),
        (("predicate", "rolesDigest"), ZERO + "\n"),
    ],
    ids=["upper", "two-digests", "colon", "commit", "extra", "name-list", "nameless", "two", "object", "none", "identity", "expires",
         "issued", "line-end"],
)  # fmt: skip
def test_a_release_of_no_plain_target_or_time_is_none(made: Made, at: tuple[Any, ...], to: Any) -> None:
    with pytest.raises(ReleaseError):
        forged(stop(made, 1), RELEASE_DECISION, set_in(*at, to=to))


def test_the_digest_of_a_record_is_not_taken_for_that_of_weights(made: Made) -> None:
    """The same 64 digits, once as a record's digest and once as a file's, are two targets, and what is known by name only has no file."""
    _, roles, _, now = made
    weights, record = stop(made, 1, target=ZERO), stop(made, 1, target="assayTargetIdentity:" + "0" * 64)
    assert weights.target != record.target
    assert findings(record, roles, now, target=ZERO) == ["target"]
    lie = forged(weights, RELEASE_DECISION, set_in("predicate", "identity", to="endpoint"))
    assert "target" in findings(lie, roles, now)


# Statements that lack a part


@pytest.mark.parametrize("lacking", ["predicate", "predicateType", "subject"])
@pytest.mark.parametrize("kind", [VERIFICATION_SUMMARY, EVALUATION_RESULT])
def test_a_statement_without_a_part_is_a_finding(made: Made, tmp_path: Path, kind: str, lacking: str) -> None:
    bundle, roles, _, now = made
    try:
        broken = forged(approved(made), kind, lambda s: s.pop(lacking))
        write_release(broken, tmp_path / "x")
        assert findings(read_release(tmp_path / "x"), roles, now, bundle=bundle)
        sign_release(broken, roles, KEYS["amy"], now)
    except AssayError:
        pass


def test_what_is_nested_too_deep_is_a_message(tmp_path: Path) -> None:
    deep = b'{"_type":"https://in-toto.io/Statement/v1","x":' + b"[" * 900 + b"]" * 900 + b"}"
    envelope = Cosigned(deep).signed(KEYS["ada"])
    with pytest.raises(SignatureError):
        envelope.statement()
    path = tmp_path / "deep"
    for raw in (b"- " * 100_000 + b"x", b"{a: " * 100_000, b"[" * 900 + b"]" * 900, b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900):
        path.write_bytes(raw + b"\n")
        for read in (read_release, read_attachment, read_seen, read_roles, lambda p: follow(None, read_signed(p), OWNERS, now_ms=0)):
            with pytest.raises(AssayError):
                read(path)


# What others say


def test_an_evaluator_who_signs_as_the_provider_is_said_to_be_trusted_for_it(made: Made) -> None:
    """Anybody can make a key and sign as a provider: without the bundle, too, it is said whose word the level rests on."""
    target = {"kind": "http", "model": "m", "url": "http://127.0.0.1:1/v1"}
    key = PrivateKey.generate()
    said = ProviderStatement("m", "http://127.0.0.1:1/v1", version="1", since=0, until=DAY)
    attachment = Attachment("provider-statement", sign_provider(key, said).envelope)
    known = check_attached([attachment], target, [1, 2])
    assert known.level.name == "provider-statement"
    assert any(key.public.keyid in words for words in known.rests_on)


def test_a_log_s_own_key_is_no_witness(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    write_key(tmp_path / "key.pem", key, b"")
    log = Log.create(tmp_path / "log", "example.org/log", key)
    with pytest.raises(LogError, match="own key"):
        log.awaited(ZERO, [NoteKey(key_name("other.example"), key.public, COSIGNATURE)])


# Whatever stands in the files


WEIRD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**53 - 1, "", "x", "\x1b[2J", "\u202e", "a" * 5000, [], {}, [[]], {"a": 1}, "sha256:" + "0" * 64, "9999-12-31",
    "0000-00-00", "é", "\n",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, v in inner for p in places(v, (*path, key)))]


def mutated(value: Any, rng: random.Random) -> Any:
    """One place replaced, dropped, doubled or renamed."""
    value = copy.deepcopy(value)
    path = rng.choice(places(value)[1:])
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    act = rng.randrange(4)
    if act == 0:
        del inside[path[-1]]
    elif act == 1 and isinstance(inside, list):
        inside.append(inside[path[-1]])
    elif act == 2 and isinstance(inside, dict):
        inside[rng.choice(["x", "\x1b[1m", "a" * 300])] = inside.pop(path[-1])
    else:
        inside[path[-1]] = rng.choice(WEIRD)
    return value


def flipped(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return [raw[:at], raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :], raw[:at] + raw[at : at + 40] + raw[at:]][rng.randrange(3)]


@pytest.mark.parametrize("seed", range(4))
def test_no_file_ends_in_a_traceback(made: Made, tmp_path: Path, seed: int) -> None:
    """Bytes changed, and values changed and signed again by those who may: an AssayError, a finding, or what holds; nothing else."""
    bundle, roles, _, now = made
    rng = random.Random(seed)
    release, (state, _) = approved(made), kept(tmp_path, made)
    signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
    text = (tmp_path / "roles.yaml").write_text(yaml.safe_dump(roles.to_json())) and (tmp_path / "roles.yaml").read_bytes()
    path, plain = tmp_path / "x", tmp_path / "release"
    write_release(release, plain)
    said = ProviderStatement("m", "http://127.0.0.1:1/v1", version="1", since=0, until=DAY)
    provider = sign_provider(KEYS["amy"], said).envelope
    held = 0

    def reads(read: Callable[[Path], Any], raw: bytes) -> None:
        nonlocal held
        path.write_bytes(raw)
        try:
            read(path)
            held += 1
        except AssayError:
            pass

    def replaced(statement: dict[str, Any], by: dict[str, Any]) -> None:
        statement.clear()
        statement.update(by)

    def check(p: Path) -> None:
        loaded = read_release(p)
        found = check_release(loaded, roles, now)
        assert loaded == release or not found.ok or loaded.terms.verdict != "approve" or same_payloads(loaded, release)
        sign_release(loaded, roles, KEYS["amy"], now)

    for _ in range(150):
        reads(check, flipped(plain.read_bytes(), rng))
        reads(read_roles, flipped(text, rng))
        reads(lambda p: follow(None, read_signed(p), OWNERS, now_ms=now), flipped(canonical(signed), rng))
        reads(read_seen, flipped(state.read_bytes(), rng))
        reads(read_roles, yaml.safe_dump(mutated(roles.to_json(), rng)).encode())
        reads(read_seen, canonical(mutated(json.loads(state.read_bytes()), rng)))
        reads(lambda p: check_attached([read_attachment(p)], {"model": "m"}, [1]), canonical(mutated(provider, rng)))
        kind = rng.choice([e.statement()["predicateType"] for e in release.envelopes])
        changed = mutated(next(e for e in release.envelopes if e.statement()["predicateType"] == kind).statement(), rng)
        try:
            fake = forged(release, kind, partial(replaced, by=changed))
            check_release(fake, roles, now)
            sign_release(fake, roles, KEYS["amy"], now)
        except AssayError:
            pass
        envelope = Cosigned(canonical(mutated(Cosigned.from_json(signed["envelope"]).statement(), rng)))
        for name in ("olga", "otto"):
            envelope = envelope.signed(KEYS[name])
        reads(lambda p: follow(None, read_signed(p), OWNERS, now_ms=now), canonical({**signed, "envelope": envelope.to_json()}))
    fake = forged(release, RELEASE_DECISION, set_in("predicate", "reason", to="x"))
    assert findings(fake, roles, now, bundle=bundle), "the forge can forge"


def same_payloads(a: Release, b: Release) -> bool:
    return [e.payload for e in a.envelopes] == [e.payload for e in b.envelopes]


def test_where_digests_are_the_same_the_statement_is_the_same(made: Made) -> None:
    """Base64 and JSON have one form each here: what reads the same is the same, byte for byte."""
    release = approved(made)
    value = release.decision.to_json()
    sig = value["signatures"][0]["sig"]
    for bad in (sig.rstrip("="), sig + "=", sig[:-3] + chr(ord(sig[-3]) + 1) + "==", " " + sig, sig.replace("+", "-"), sig + "\n"):
        if bad == sig:
            continue
        with pytest.raises(SignatureError):
            Cosigned.from_json({**value, "signatures": [{**value["signatures"][0], "sig": bad}]})
    for extra in ({"extra": 1}, {"payloadType": "text/plain"}, {"signatures": {"0": value["signatures"][0]}}, {"signatures": None}):
        with pytest.raises(SignatureError):
            Cosigned.from_json({**value, **extra})
    with pytest.raises(SignatureError):
        Cosigned.from_json({**value, "signatures": [value["signatures"][0]] * 2})
    upper = [{**s, "keyid": s["keyid"].upper()} for s in value["signatures"]]
    again = Cosigned.from_json({**value, "signatures": [*value["signatures"], *upper]})
    _, roles, _, now = made
    assert sorted(again.signers(roles.counting("approver", now))) == ["abel", "ada"], "an id in capitals is nobody's"
    assert digest(release.terms.to_json()) == digest(release.decision.statement()["predicate"])
