"""Releases: made from evidence that holds, approved by two, for a time, never replayed; whatever is altered is found."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import AssayError
from assay.evidence.release import (
    EVALUATION_RESULT,
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
from assay.evidence.releasemake import Basis, Stated, new_halt, new_release, read_basis, sign_release
from assay.evidence.roles import Roles, sign_roles
from assay.evidence.seen import Seen
from assay.evidence.statements import TEST_RESULT
from assay.ledger import Cosigned, PrivateKey
from tests.evidence.authority import DAY, KEYS, approving_run, policy, roles_of

Made = tuple[Path, Roles, Basis, int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle that approves under a policy, its roles, what a release needs of it, and a time after it."""
    folder = tmp_path_factory.mktemp("release")
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


def findings(release: Release, roles: Roles, now: int, **given: Any) -> list[str]:
    return [f.check for f in check_release(release, roles, now, **given).findings]


def test_an_approved_release_holds_and_reads_back(made: Made, tmp_path: Path) -> None:
    bundle, roles, basis, now = made
    release = approved(made)
    path = tmp_path / "release.intoto.jsonl"
    write_release(release, path)
    assert read_release(path) == release
    checked = check_release(read_release(path), roles, now, bundle=bundle)
    assert checked.ok, checked.findings
    assert (checked.verdict, checked.evaluators, sorted(checked.approvers)) == ("approve", ["eve"], ["abel", "ada"])
    kinds = [json.loads(e.payload)["predicateType"] for e in release.envelopes]
    assert kinds == [TEST_RESULT, EVALUATION_RESULT, RELEASE_DECISION, VERIFICATION_SUMMARY]
    assert release.terms.expires == basis.ref.at + 30 * DAY, "as long as the policy allows"
    result = release.of(EVALUATION_RESULT)[0].statement()["predicate"]
    assert result["claims"] == [
        {
            "metric": "violation-rate",
            "requirement": "violations",
            "about": "secret-leakage in en",
            "comparator": "<=",
            "threshold": "0.1",
            "passed": True,
            "sampleSize": basis.decision.requirements[0].claims[0].counts["n"],
        }
    ]
    assert base64.b64decode(result["receipt"]["merkleRootB64"]).hex() == basis.ref.merkle_root.removeprefix("sha256:")


def test_one_approver_does_not_suffice_and_nobody_passes_alone(made: Made) -> None:
    bundle, roles, _, now = made
    for names in ((), ("ada",), ("ada", "ada")):
        _, _, basis, _ = made
        release = new_release(basis, roles, KEYS["eve"], Stated(1, now))
        for name in names:
            release = sign_release(release, roles, KEYS[name], now)
        assert not release.of(VERIFICATION_SUMMARY), "PASSED stands nowhere before enough have approved"
        checked = check_release(release, roles, now, bundle=bundle)
        assert [f.check for f in checked.findings] == ["approvers"]
        assert checked.verdict == "halt"


def test_who_has_no_role_signs_nothing(made: Made) -> None:
    _, roles, basis, now = made
    release = new_release(basis, roles, KEYS["eve"], Stated(1, now))
    for key, message in ((PrivateKey.generate(), "has no role"), (KEYS["olga"], "is 'olga', which neither evaluates nor approves now")):
        with pytest.raises(ReleaseError, match=message):
            sign_release(release, roles, key, now)
    with pytest.raises(ReleaseError, match="has no role"):
        new_release(basis, roles, PrivateKey.generate(), Stated(1, now))


def test_the_verdict_may_be_stricter_than_the_evidence_and_never_more_lenient(made: Made, tmp_path: Path) -> None:
    bundle, roles, basis, now = made
    with pytest.raises(ReleaseError, match="needs a reason"):
        new_release(basis, roles, KEYS["eve"], Stated(1, now, verdict="halt"))
    release = new_release(basis, roles, KEYS["eve"], Stated(1, now, verdict="halt", reason="an incident elsewhere"))
    assert check_release(release, roles, now, bundle=bundle).verdict == "halt"
    assert not findings(release, roles, now, bundle=bundle), "one signature suffices to stop"
    bad = approving_run(tmp_path, rate="0.6", wanted=policy())
    refused, _ = read_basis(bad, roles, now)
    assert refused is not None
    assert refused.decision.verdict == "halt"
    with pytest.raises(UnfoundedError, match="never more lenient") as e:
        new_release(refused, roles, KEYS["eve"], Stated(1, now, verdict="approve", reason="please"))
    assert e.value.exit_code == 1


def test_a_run_without_a_policy_cut_short_or_judged_again_is_not_approved(made: Made, tmp_path: Path) -> None:
    _, roles, basis, now = made
    bundle = approving_run(tmp_path)
    loose, _ = read_basis(bundle, roles, now)
    assert loose is not None
    assert loose.decision.verdict == "approve"
    short = msgspec.structs.replace(basis, ref=msgspec.structs.replace(basis.ref, ended="deadline"))
    again = msgspec.structs.replace(basis, replayed=True)
    for unfounded, message in ((loose, "under no policy"), (short, "did not complete"), (again, "judges the transcripts of another run")):
        with pytest.raises(UnfoundedError, match=message):
            new_release(unfounded, roles, KEYS["eve"], Stated(1, now))
    with pytest.raises(UnfoundedError, match="31 days are more than the 30 that the policy allows"):
        new_release(basis, roles, KEYS["eve"], Stated(1, now, days=31))


def test_a_bundle_by_somebody_else_carries_nothing(made: Made, tmp_path: Path) -> None:
    bundle, _, _, now = made
    other = roles_of(tmp_path, evaluator={"keys": ["emil"], "threshold": 1})
    with pytest.raises(UnfoundedError, match="no evaluator's key that counts"):
        read_basis(bundle, other, now)
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(bundle.read_bytes().replace(b'"outcome":"safe"', b'"outcome":"violation"', 1))
    with pytest.raises(UnfoundedError, match="the bundle does not hold"):
        read_basis(broken, roles_of(tmp_path), now)


def test_it_ends_with_its_time_and_with_its_roles(made: Made, tmp_path: Path) -> None:
    _, roles, _, now = made
    release = approved(made)
    assert not findings(release, roles, release.terms.expires)
    assert findings(release, roles, release.terms.expires + 1) == ["time"]
    assert "time" in findings(release, roles, now - 10 * 60_000), "issued in the future"
    assert findings(release, roles_of(tmp_path, expires="2026-01-01"), now) == ["roles", "roles"]


def test_a_newer_release_overrides_and_an_older_one_is_stale(made: Made) -> None:
    _, roles, _, now = made
    signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
    first, second = approved(made, 1), approved(made, 2)
    seen = accepted(Seen(), check_release(first, roles, now), roles, signed)
    assert not findings(first, roles, now, seen=seen), "the same again is no replay of an older one"
    seen = accepted(seen, check_release(second, roles, now, seen=seen), roles, signed)
    assert findings(first, roles, now, seen=seen) == ["epoch"]
    stop = new_halt("x", second.target, roles, KEYS["amy"], Stated(3, now, verdict="halt", reason="found"))
    seen = accepted(seen, check_release(stop, roles, now, seen=seen), roles, signed)
    assert check_release(second, roles, now, seen=seen).verdict == "halt"
    twin = approved(made, 3)
    assert findings(twin, roles, now, seen=seen) == ["epoch"], "another decision under an epoch that was seen"
    with pytest.raises(ReleaseError, match="only a release that holds is kept"):
        accepted(seen, check_release(first, roles, now, seen=seen), roles, signed)


def test_without_evidence_it_only_stops(made: Made) -> None:
    _, roles, _, now = made
    for verdict, reason in (("approve", "yes"), ("halt", ""), ("", "why")):
        with pytest.raises(ReleaseError, match="can only halt or delay, with a reason"):
            new_halt("x", "sha256:" + "0" * 64, roles, KEYS["ada"], Stated(1, now, verdict=verdict, reason=reason))  # type: ignore[arg-type]
    with pytest.raises(ReleaseError, match="no digest"):
        new_halt("x", "nothing", roles, KEYS["ada"], Stated(1, now, verdict="halt", reason="why"))
    unsigned = new_halt("x", "sha256:" + "0" * 64, roles, KEYS["ada"], Stated(1, now, verdict="halt", reason="why"))
    bare = release_of([Cosigned(e.payload) for e in unsigned.envelopes])
    assert findings(bare, roles, now) == ["signatures"]


def test_a_revoked_approver_takes_its_approvals_with_it(made: Made, tmp_path: Path) -> None:
    _, roles, _, now = made
    release = approved(made, 1, "ada", "amy")
    assert not findings(release, roles, now)
    later = roles_of(tmp_path, version=2, approver={"keys": ["ada", "abel"], "threshold": 2}, revoked={KEYS["amy"].public.keyid: "stolen"})
    assert "approvers" in findings(release, later, now)
    again = sign_release(release, later, KEYS["abel"], now)
    assert not findings(again, later, now), "and another may approve in its place"
    assert findings(release, roles_of(tmp_path, evaluator={"keys": ["emil"], "threshold": 1}, version=2), now)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def altered(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value[:-1] + ("x" if value[-1:] != "x" else "y") if value else "x"
        case _:
            return "x"


def test_whatever_a_signer_alters_in_any_statement_is_found(made: Made) -> None:
    """Each field in turn, signed again by those who signed before: only what follows from the bundle passes."""
    bundle, roles, _, now = made
    release = approved(made)
    rng, tried, unnoticed = random.Random(20261129), 0, []
    for at, envelope in enumerate(release.envelopes):
        statement = json.loads(envelope.payload)
        places = list(leaves(statement))
        for place in places if len(places) < 30 else rng.sample(places, 30):
            changed = json.loads(envelope.payload)
            inside = changed
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = altered(inside[place[-1]])
            forged = Cosigned(msgspec.json.encode(changed, order="sorted"))
            for name in ("eve", "ada", "abel"):
                forged = forged.signed(KEYS[name])
            tried += 1
            try:
                fake = release_of([*release.envelopes[:at], forged, *release.envelopes[at + 1 :]])
                bad = findings(fake, roles, now, bundle=bundle)
            except AssayError:
                bad = ["form"]
            if not bad and place[-1] not in ("epoch", "issued", "expires", "reason"):
                unnoticed.append((statement["predicateType"], place))
    assert tried > 60
    assert not unnoticed


def test_lines_that_are_dropped_doubled_or_foreign_are_found(made: Made) -> None:
    bundle, roles, _, now = made
    release = approved(made)
    envelopes = list(release.envelopes)
    for i in range(len(envelopes)):
        for changed in (envelopes[:i] + envelopes[i + 1 :], [*envelopes, envelopes[i]]):
            try:
                assert findings(release_of(changed), roles, now, bundle=bundle), i
            except ReleaseError:
                continue
    foreign = Cosigned.of(release.subject, "urn:elsewhere", {"a": 1}).signed(KEYS["eve"])
    assert "form" in findings(release_of([*envelopes, foreign]), roles, now)
    about = [{"name": "other", "digest": {"sha256": "0" * 64}}]
    for e in envelopes:
        s = json.loads(e.payload)
        other = Cosigned.of(about, s["predicateType"], s["predicate"])
        for name in ("eve", "ada", "abel"):
            other = other.signed(KEYS[name])
        assert findings(release_of([other if x is e else x for x in envelopes]), roles, now, bundle=bundle)


def test_what_is_served_must_be_what_was_released(made: Made) -> None:
    _, roles, _, now = made
    release = approved(made)
    assert not findings(release, roles, now, target=release.target)
    assert findings(release, roles, now, target="sha256:" + "1" * 64) == ["target"]


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "[]\n", "not json\n", '{"payload": 1}\n', "\n\n\n"], ids=range(7))
def test_what_is_no_release_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ReleaseError) as e:
        read_release(path)
    assert e.value.exit_code == 2


def test_the_summary_is_what_slsa_asks_for(made: Made) -> None:
    summary = approved(made).of(VERIFICATION_SUMMARY)[0].statement()
    predicate = summary["predicate"]
    assert predicate["verificationResult"] == "PASSED"
    assert {"verifier", "timeVerified", "resourceUri", "policy", "inputAttestations", "verifiedLevels"} <= set(predicate)
    payloads = {hashlib.sha256(e.payload).hexdigest() for e in approved(made).envelopes}
    assert {i["digest"]["sha256"] for i in predicate["inputAttestations"]} <= payloads
    assert not any(level.startswith("SLSA_") for level in predicate["verifiedLevels"])
