"""`assay release` through the real entry point."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from assay.evidence.provider import ProviderStatement, sign_provider, write_signed
from assay.evidence.release import MAX_EPOCH, RELEASE_DECISION, VERIFICATION_SUMMARY, read_release, release_of, write_release
from assay.evidence.roles import sign_roles
from assay.ledger import Cosigned, write_key
from tests.cli.test_errors import assay, assert_refused
from tests.evidence.authority import DAY, KEYS, approving_run, policy, roles_of

OWNERS = ("--owner", KEYS["olga"].public.keyid, "--owner", KEYS["otto"].public.keyid)
ROLES = ("--roles", "../roles-1.signed.json")
TRUST = (*ROLES, *OWNERS)
BUNDLE = "../run/evidence.jsonl"
HALTED = "../bad/run"
EPOCH = ("--epoch", "1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, signed roles, a run that approves under a policy (run), and one that halts (bad/run)."""
    folder = tmp_path_factory.mktemp("release")
    for name in ("ada", "abel", "amy", "olga"):
        write_key(folder / f"{name}.pem", KEYS[name], b"")
    approving_run(folder, wanted=policy())
    (folder / "bad").mkdir()
    approving_run(folder / "bad", rate="0.6", wanted=policy())
    signed = sign_roles(roles_of(folder), KEYS["olga"], KEYS["otto"])
    (folder / "roles-1.signed.json").write_text(json.dumps(signed))
    (folder / "roles-2.signed.json").write_text(json.dumps(sign_roles(roles_of(folder, version=2), KEYS["olga"], KEYS["otto"])))
    return folder


@pytest.fixture
def here(shared: Path) -> Path:
    """A folder of the test's own beside what is shared."""
    folder = shared / f"t{len(list(shared.iterdir()))}"
    folder.mkdir()
    return folder


def run(here: Path, *arguments: str | Path, code: int = 0) -> str:
    done = assay("release", *arguments, cwd=here)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def refused(here: Path, *arguments: str | Path, parts: tuple[str, ...], code: int = 2) -> None:
    before = sorted(here.iterdir())
    assert_refused(assay("release", *arguments, cwd=here), *parts, code=code)
    assert sorted(here.iterdir()) == before, "nothing is left behind"


def made(here: Path, *options: str | Path, key: str = "eve") -> str:
    return run(here, "new", BUNDLE, *TRUST, "--key", f"../{key}.pem", "--out", "r.jsonl", *options)


def signed(here: Path, key: str, *options: str | Path, code: int = 0) -> str:
    return run(here, "sign", "r.jsonl", "--bundle", BUNDLE, *TRUST, "--key", f"../{key}.pem", *options, code=code)


def test_the_whole_way_of_an_approval(here: Path) -> None:
    said = made(here, *EPOCH)
    assert "APPROVE" in said
    assert "Next, 2 approvers sign it" in said
    assert OWNERS[1] in said, "the next command can be pasted"
    assert "verify" not in said
    assert "It holds only when enough of them have signed" in (first := signed(here, "ada"))
    assert "Signed by 1 of 2 approvers (ada)" in first
    assert "What is left to trust" in first
    waits = run(here, "verify", "r.jsonl", *TRUST, code=1)
    assert "1 of 2 have signed (ada)" in waits
    assert "whoever acts on it halts" in waits
    last = signed(here, "abel")
    assert "Signed by 2 of 2 approvers" in last
    assert "No signature that it needs is missing" in last
    assert "ada has not signed" in last
    assert "scripted:0" in last.splitlines()[0]
    assert "not signed" not in signed(here, "ada")
    said = run(here, "verify", "r.jsonl", *TRUST, "--bundle", BUNDLE, "--state", "seen.json")
    for words in ("bundle verified, results made again", "approved by", "--policy-digest", "no digest of its weights"):
        assert words in said
    assert run(here, "verify", "r.jsonl", *ROLES, "--bundle", "../run", "--state", "seen.json"), "owners are needed once only"
    shown = run(here, "show", "r.jsonl")
    assert shown.count("signed by") == 4
    assert "Signatures were not checked" in shown


def test_json_says_the_same(here: Path) -> None:
    made(here, *EPOCH)
    value = json.loads(run(here, "verify", "r.jsonl", *TRUST, "--json", code=1))
    assert (value["ok"], value["verdict"], [f["check"] for f in value["findings"]]) == (False, "halt", ["approvers"])
    signed(here, "ada")
    signed(here, "abel")
    text = run(here, "verify", "r.jsonl", *TRUST, "--json", "--bundle", BUNDLE)
    value = json.loads(text)
    assert text.isascii()
    assert (value["ok"], value["verdict"], sorted(value["approvers"]), value["evaluators"]) == (True, "approve", ["abel", "ada"], ["eve"])
    assert any("nonce" in words for words in value["restsOn"])
    assert value["release"]["epoch"] == 1


def test_what_is_served_and_the_policy_are_held_to_what_was_said(here: Path) -> None:
    made(here, *EPOCH)
    value = json.loads(run(here, "verify", "r.jsonl", *TRUST, "--json", code=1))
    assert "Not signed" in signed(here, "ada", "--policy-digest", "sha256:" + "0" * 64, code=1)
    for key in ("ada", "abel"):
        signed(here, key, "--policy-digest", policy().digest)
    run(here, "verify", "r.jsonl", *TRUST, "--target-digest", value["target"], "--policy-digest", policy().digest)
    assert "not about sha256:0" in run(here, "verify", "r.jsonl", *TRUST, "--target-digest", "sha256:" + "0" * 64, code=1)
    assert "not on sha256:0" in run(here, "verify", "r.jsonl", *TRUST, "--policy-digest", "sha256:" + "0" * 64, code=1)


def test_a_run_that_was_halted_makes_a_release_that_halts(here: Path) -> None:
    said = run(here, "new", HALTED, *TRUST, *EPOCH, "--key", "../eve.pem", "--out", "r.jsonl")
    assert "It holds as it is" in said
    assert "HALT" in run(here, "verify", "r.jsonl", *TRUST, "--bundle", HALTED, code=20)
    assert "Next, check it" in run(here, "sign", "r.jsonl", "--bundle", HALTED, *TRUST, "--key", "../ada.pem")


def test_a_verdict_stricter_than_the_evidence_and_a_shorter_term(here: Path) -> None:
    new = ("new", BUNDLE, *TRUST, *EPOCH, "--key", "../eve.pem", "--out")
    refused(here, *new, "r", "--verdict", "delay", parts=("needs a reason", "--reason"))
    made(here, *EPOCH, "--verdict", "delay", "--reason", "not yet", "--days", "3")
    said = run(here, "verify", "r.jsonl", *TRUST, code=10)
    assert '"not yet"' in said
    assert read_release(here / "r.jsonl").terms.expires < time.time() * 1000 + 4 * DAY
    refused(here, *new, "r", "--days", "31", parts=("31 days", "30"), code=1)
    refused(here, *new, "r.jsonl", parts=("there is a file already", "--out"))


def test_a_halt_is_made_from_what_was_seen_and_stops(here: Path) -> None:
    made(here, "--epoch", "4")
    for key in ("ada", "abel"):
        signed(here, key)
    run(here, "verify", "r.jsonl", *TRUST, "--state", "seen.json")
    target = json.loads(run(here, "verify", "r.jsonl", *TRUST, "--json"))["target"]
    halt = ("--target", "m", "--target-digest", target, "--reason", "an incident", "--key", "../amy.pem")
    said = run(here, "halt", "stop.jsonl", *ROLES, "--state", "seen.json", *halt)
    assert "up to epoch 5" in said
    assert "--state seen.json" in said
    assert "HALT" in run(here, "verify", "stop.jsonl", *ROLES, "--state", "seen.json", code=20)
    assert "stale" in run(here, "verify", "r.jsonl", *ROLES, "--state", "seen.json", code=1)
    refused(here, "halt", "stop.jsonl", *ROLES, "--state", "seen.json", *halt, parts=("there is a file already",))
    run(here, "new", BUNDLE, *ROLES, "--state", "seen.json", "--key", "../eve.pem", "--out", "next.jsonl")
    assert read_release(here / "next.jsonl").terms.epoch == 6


def test_a_halt_of_what_was_never_seen_needs_an_epoch(here: Path) -> None:
    """Epoch 1 would stop nothing where others have seen a second release."""
    halt = ("--target", "m", "--target-digest", "sha256:" + "0" * 64, "--reason", "an incident", "--key", "../amy.pem")
    for state in ((), ("--state", "none.json")):
        done = assay("release", "halt", "stop.jsonl", *TRUST, *state, *halt, cwd=here)
        assert done.returncode == 2
        assert "--epoch" in done.stderr
        assert str(MAX_EPOCH) in done.stderr
        assert not list(here.iterdir())
    run(here, "halt", "stop.jsonl", *TRUST, *halt, "--epoch", str(MAX_EPOCH))
    assert "HALT" in run(here, "verify", "stop.jsonl", *TRUST, "--target-digest", "sha256:" + "0" * 64, code=20)
    refused(here, "halt", "x", *TRUST, *halt, "--epoch", str(MAX_EPOCH + 1), parts=("cannot be released",))
    bad = (*halt[:3], "sha256:ABC", *halt[4:])
    refused(here, "halt", "x", *TRUST, *bad, *EPOCH, parts=("no digest of a target", "release show"))
    other = (*halt[:-1], "../olga.pem")
    refused(here, "halt", "x", *TRUST, *other, *EPOCH, parts=("is 'olga', which neither evaluates nor approves",))


def test_roles_that_were_seen_are_not_rolled_back_though_no_release_held(here: Path) -> None:
    made(here, *EPOCH)
    newer = ("--roles", "../roles-2.signed.json", "--state", "seen.json")
    run(here, "verify", "r.jsonl", *newer, *OWNERS, code=1)
    refused(here, "verify", "r.jsonl", *ROLES, "--state", "seen.json", parts=("rolled back: version 1, where 2 was seen",), code=1)


def test_a_state_that_is_damaged_or_led_away_is_no_fresh_start(here: Path) -> None:
    made(here, *EPOCH)
    (here / "empty.json").write_text("{}\n")
    (here / "link.json").symlink_to("nowhere/seen.json")
    (here / "folder.json").mkdir()
    for name, message in (("empty", "damaged"), ("link", "cannot"), ("folder", "cannot")):
        for command in (("verify", "r.jsonl"), ("new", BUNDLE, "--key", "../eve.pem", "--out", "x")):
            done = assay("release", *command, *TRUST, "--state", f"{name}.json", cwd=here)
            assert_refused(done, message, code=2)
    assert not (here / "x").exists()
    assert (here / "link.json").readlink() == Path("nowhere/seen.json")


def test_what_does_not_hold_is_not_signed(here: Path) -> None:
    made(here, *EPOCH)
    before = (here / "r.jsonl").read_bytes()
    bad = ("sign", "r.jsonl", "--bundle", HALTED, *TRUST, "--key", "../ada.pem")
    assert "the release rests on another bundle" in run(here, *bad, code=1)
    refused(here, "sign", "r.jsonl", "--bundle", BUNDLE, *TRUST, "--key", "../olga.pem", parts=("neither evaluates nor approves",))
    release = read_release(here / "r.jsonl")
    lie = {"verifier": {"id": "https://elsewhere"}, "verificationResult": "PASSED"}
    planted = Cosigned.of(release.subject, VERIFICATION_SUMMARY, lie).signed(KEYS["amy"])
    write_release(release_of([*release.envelopes, planted]), here / "r.jsonl")
    assert "it does not follow from the release" in signed(here, "ada", code=1)
    assert (here / "r.jsonl").read_bytes() != before


def test_what_others_say_is_attached_only_if_it_holds(here: Path) -> None:
    (here / "x.json").write_text("[]")
    (here / "sig.json").write_text('{"dsseEnvelope": {}}')
    write_signed(here / "said.json", sign_provider(KEYS["amy"], ProviderStatement("m", "http://127.0.0.1:1/v1", "1", since=0, until=DAY)))
    new = ("new", BUNDLE, *TRUST, *EPOCH, "--key", "../eve.pem", "--out", "r")
    refused(here, *new, "--attach", "x.json", parts=("neither a provider's statement",))
    refused(here, *new, "--attach", "sig.json", parts=("developer's public key", "--model-key"))
    refused(here, *new, "--attach", "said.json", parts=("what is attached does not hold",), code=1)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["new", "nowhere", *TRUST, *EPOCH, "--key", "k"], ["nowhere", "does not exist"]),
        (["new", BUNDLE, *TRUST, "--key", "../eve.pem"], ["--epoch", "--state"]),
        (["new", BUNDLE, *TRUST, *EPOCH, "--key", "none.pem", "--out", "r"], ["cannot read the signing key"]),
        (["new", BUNDLE, *TRUST, *EPOCH, "--key", "../eve.pem", "--out", "no/such/r"], ["cannot write"]),
        (["new", BUNDLE, *TRUST, "--epoch", "0", "--key", "../eve.pem"], ["--epoch"]),
        (["sign", "bad", *TRUST, "--key", "../ada.pem"], ["--bundle"]),
        (["sign", "bad", "--bundle", BUNDLE, *TRUST, "--key", "../ada.pem"], ["bad line 1", "not JSON"]),
        (["verify", "bad", *TRUST], ["bad line 1", "not JSON"]),
        (["verify", "empty", *TRUST], ["not a release"]),
        (["verify", ".", *TRUST], ["cannot read the release"]),
        (["verify", "bad"], ["--roles"]),
        (["verify", "bad", "--roles", "bad"], ["not JSON", "assay roles sign"]),
        (["show", "bad"], ["not JSON"]),
        (["show", "none"], ["does not exist"]),
        (["halt", "x", *TRUST, "--key", "../ada.pem"], ["--target"]),
    ],
    ids=range(15),
)
def test_bad_words_get_one_message_and_leave_nothing(here: Path, arguments: list[str], parts: list[str]) -> None:
    (here / "bad").write_text("{\n")
    (here / "empty").write_text("")
    before = sorted(here.iterdir())
    done = assay("release", *arguments, cwd=here)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr
    assert sorted(here.iterdir()) == before


def test_roles_that_nobody_vouches_for_are_a_failed_check(here: Path) -> None:
    made(here, *EPOCH)
    refused(here, "verify", "r.jsonl", *ROLES, parts=("nobody has said whose these roles are", "--owner KEYID"), code=1)
    refused(here, "verify", "r.jsonl", *ROLES, "--owner", "0" * 64, parts=("no owner of",), code=1)


def test_no_name_or_reason_steers_a_terminal(here: Path) -> None:
    evil = "\x1b[2J\x9b1m\u202e\x07"
    halt = ("--target", f"m{evil}", "--target-digest", "sha256:" + "0" * 64, "--reason", evil, "--key", "../amy.pem", *EPOCH)
    said = run(here, "halt", "r.jsonl", *TRUST, *halt)
    said += run(here, "verify", "r.jsonl", *TRUST, code=20) + run(here, "show", "r.jsonl")
    said += run(here, "verify", "r.jsonl", *TRUST, "--json", code=20)
    release = read_release(here / "r.jsonl")
    kinds = [Cosigned.of(release.subject, f"urn:{evil}", {}), Cosigned(release.decision.payload, ((f"{evil}x", b"1"),))]
    for number, broken in enumerate((release_of([*release.envelopes, kinds[0]]), release_of([kinds[1]]))):
        write_release(broken, here / f"{number}.jsonl")
        said += run(here, "show", f"{number}.jsonl") + run(here, "verify", f"{number}.jsonl", *TRUST, code=1)
    statement = release.decision.statement()
    wrong = Cosigned.of(release.subject, RELEASE_DECISION, {**statement["predicate"], evil: 1})
    (here / "w.jsonl").write_bytes(json.dumps(wrong.to_json(), separators=(",", ":"), sort_keys=True).encode() + b"\n")
    done = assay("release", "show", "w.jsonl", cwd=here)
    assert done.returncode == 2
    assert "<U+001B>" in done.stderr
    assert not set("\x1b\x9b\u202e\x07") & set(said + done.stderr)
