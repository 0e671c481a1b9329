"""`assay model`: weights signed and checked by the library itself, statements, and fingerprints of endpoints that lie, break or change."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from assay.catalog.probes import read_probes
from assay.cli import main
from assay.evidence.signature import open_signature, parse_signature
from assay.ledger import PrivateKey, write_key
from assay.runs.fingerprint import MAX_TEXT, read_fingerprint
from tests.targets.endpoint import Behaviour, completion, serve

model_signing = pytest.importorskip("model_signing")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`assay model ...`: exit code and what was printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["assay", "model", *map(str, arguments)])
        code = main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


Call = Callable[..., tuple[int, str]]


# Weights


@pytest.fixture
def signed(tmp_path: Path, call: Call) -> Path:
    """A folder with weights, a key, and a signature beside the folder."""
    weights = tmp_path / "weights"
    (weights / "part").mkdir(parents=True)
    (weights / "model.bin").write_bytes(b"weights" * 1000)
    (weights / "part" / "tokens.json").write_text("{}")
    assert call("key", tmp_path / "developer.pem")[0] == 0
    assert call("sign", weights, "--key", tmp_path / "developer.pem", "--signature", tmp_path / "model.sig")[0] == 0
    return tmp_path


def verify(call: Call, folder: Path, *more: object, key: str = "developer.pub.pem", signature: str = "model.sig") -> tuple[int, str]:
    return call("verify", folder / "weights", "--signature", folder / signature, "--public-key", folder / key, *more)


def sha(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_signed_is_verified_and_every_digest_is_said(signed: Path, call: Call) -> None:
    code, out = verify(call, signed)
    assert code == 0
    for file in ("model.bin", "part/tokens.json"):
        assert f"{sha(signed / 'weights' / file)}  {file}" in out
    code, out = verify(call, signed, "--digest", sha(signed / "weights/model.bin"), "--json")
    facts = json.loads(out)
    assert (code, facts["ok"]) == (0, True)
    assert facts["files"] == {f: sha(signed / "weights" / f) for f in ("model.bin", "part/tokens.json")}
    code, out = verify(call, signed, "--digest", "sha256:" + "0" * 64)
    assert code == 1
    assert "none of the digests" in out


def test_the_key_is_its_owners_alone_and_is_never_overwritten(signed: Path, call: Call) -> None:
    assert (signed / "developer.pem").stat().st_mode & 0o077 == 0
    before = (signed / "developer.pem").read_bytes()
    code, out = call("key", signed / "developer.pem")
    assert code == 2
    assert "there is a file already" in out
    assert (signed / "developer.pem").read_bytes() == before


def test_the_library_alone_verifies_what_assay_signed_and_the_other_way_round(signed: Path, call: Call) -> None:
    import model_signing.signing
    import model_signing.verifying

    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=signed / "developer.pub.pem")
    config.verify(signed / "weights", signed / "model.sig")
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=signed / "developer.pem")
    signer.sign(signed / "weights", signed / "theirs.sig")
    assert verify(call, signed, signature="theirs.sig")[0] == 0


@pytest.mark.parametrize("algorithm", ["blake2", "blake3"])
def test_weights_signed_with_other_digests_have_their_sha256_said(signed: Path, call: Call, algorithm: Any) -> None:
    import model_signing.hashing
    import model_signing.signing

    hashed = model_signing.hashing.Config().use_file_serialization(hashing_algorithm=algorithm)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=signed / "developer.pem").set_hashing_config(hashed)
    signer.sign(signed / "weights", signed / "model.sig")
    code, out = verify(call, signed, "--json", "--digest", sha(signed / "weights/model.bin"))
    assert code == 0, out
    assert json.loads(out)["files"]["model.bin"] == sha(signed / "weights/model.bin")
    (signed / "weights/model.bin").write_bytes(b"other")
    assert verify(call, signed)[0] == 1


def test_weights_signed_in_shards_have_their_sha256_said(signed: Path, call: Call) -> None:
    import model_signing.hashing
    import model_signing.signing

    hashed = model_signing.hashing.Config().use_shard_serialization(shard_size=1000)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=signed / "developer.pem").set_hashing_config(hashed)
    signer.sign(signed / "weights", signed / "model.sig")
    code, out = verify(call, signed, "--json")
    assert code == 0, out
    assert json.loads(out)["files"]["model.bin"] == sha(signed / "weights/model.bin")
    (signed / "weights/model.bin").write_bytes(b"other")
    assert verify(call, signed)[0] == 1


def test_a_single_file_and_a_signature_inside_the_folder(signed: Path, call: Call) -> None:
    weights = signed / "weights"
    for what in (weights / "model.bin", weights):
        code, out = call("sign", what, "--key", signed / "developer.pem", "--signature", weights / "model.sig")
        assert code == 0, out
        code, out = call("verify", what, "--signature", weights / "model.sig", "--public-key", signed / "developer.pub.pem", "--json")
        assert code == 0, out
        assert json.loads(out)["uncovered"] == []
        assert sha(weights / "model.bin") in json.loads(out)["files"].values()
    assert [p.name for p in weights.iterdir() if p.name.startswith(".")] == []


def _tampered(weights: Path) -> None:
    data = bytearray((weights / "model.bin").read_bytes())
    data[3000] ^= 1
    (weights / "model.bin").write_bytes(data)


def _linked(weights: Path) -> None:
    (weights / "model.bin").rename(weights.parent / "elsewhere")
    (weights / "model.bin").symlink_to(weights.parent / "elsewhere")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "tampered": (_tampered, "model.bin has sha256:"),
    "added": (lambda w: (w / "part" / "more.bin").write_bytes(b"x"), "part/more.bin is there, and was not signed"),
    "removed": (lambda w: (w / "part" / "tokens.json").unlink(), "part/tokens.json was signed, and is missing"),
    "renamed": (lambda w: (w / "model.bin").rename(w / "model.old"), "model.bin was signed, and is missing"),
    "linked": (_linked, "model.bin is a link"),
    "strange-name": (lambda w: (w / "a\x1b[2J\nb").write_bytes(b"x"), "a<U+001B>[2J<U+000A>b is there"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_do_not_hold(signed: Path, call: Call, change: str) -> None:
    make, said = CHANGES[change]
    make(signed / "weights")
    code, out = verify(call, signed)
    assert code == 1
    assert said in out
    assert "does not hold" in out
    code, out = verify(call, signed, "--json")
    assert code == 1
    assert json.loads(out)["files"] == {}


def test_another_key_does_not_hold(signed: Path, call: Call) -> None:
    call("key", signed / "other.pem")
    code, out = verify(call, signed, key="other.pub.pem")
    assert code == 1
    assert "signed with the key" in out
    write_key(signed / "runs.pem", PrivateKey.generate(), b"")
    assert call("sign", signed / "weights", "--key", signed / "runs.pem", "--signature", signed / "x.sig")[0] == 2
    (signed / "runs.pub.pem").write_bytes(PrivateKey.generate().public.to_pem())
    code, out = verify(call, signed, key="runs.pub.pem")
    assert code == 2
    assert "assay model key" in out
    assert not (signed / "x.sig").exists()


def test_a_signature_cut_anywhere_does_not_hold(signed: Path, call: Call) -> None:
    whole = (signed / "model.sig").read_bytes()
    for end in range(0, len(whole) - 1, 97):
        (signed / "cut.sig").write_bytes(whole[:end])
        code, out = verify(call, signed, signature="cut.sig")
        assert (code, "Traceback" in out) == (1, False), end


def test_a_signature_with_any_letter_changed_does_not_hold(signed: Path, call: Call) -> None:
    """Every changed byte is found, or the file says the very same thing still."""
    whole, pem = (signed / "model.sig").read_bytes(), (signed / "developer.pub.pem").read_bytes()
    signs = open_signature(parse_signature(whole), pem)
    held = 0
    for at in range(0, len(whole) - 1, 41):
        (signed / "bent.sig").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        code, out = verify(call, signed, "--json", signature="bent.sig")
        if code == 0:
            held += 1
            assert json.loads(out)["root"] == signs.root
        else:
            assert code == 1, out
    assert held < 5  # a byte of a field that says nothing, such as `tlogEntries`


def test_what_the_signer_left_out_is_said(signed: Path, call: Call) -> None:
    (signed / "weights" / ".git").mkdir()
    (signed / "weights" / ".git" / "hook").write_text("x")
    code, out = verify(call, signed)
    assert code == 0
    assert "Not covered, as the signer chose: .git/" in out


def test_a_protected_key_signs_with_its_passphrase_only(tmp_path: Path, signed: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE_FILE", str(secret))
    assert call("key", tmp_path / "kept.pem")[0] == 0
    assert b"ENCRYPTED" in (tmp_path / "kept.pem").read_bytes()
    assert call("sign", signed / "weights", "--key", tmp_path / "kept.pem", "--signature", tmp_path / "kept.sig")[0] == 0
    assert verify(call, signed, key="kept.pub.pem", signature="kept.sig")[0] == 0
    secret.write_text("another\n")
    code, out = call("sign", signed / "weights", "--key", tmp_path / "kept.pem", "--signature", tmp_path / "no.sig")
    assert code == 2
    assert "passphrase" in out
    assert not (tmp_path / "no.sig").exists()


@pytest.mark.parametrize("missing", ["weights", "model.sig", "developer.pub.pem"])
def test_what_is_not_there_is_one_clear_message(signed: Path, call: Call, missing: str) -> None:
    path = signed / missing
    path.rename(signed / "gone")
    code, out = verify(call, signed)
    assert code == 2
    assert missing in out
    assert "Traceback" not in out


def test_without_the_extra_it_says_what_to_install_and_the_rest_works(signed: Path) -> None:
    """The library is hidden from an interpreter of its own."""
    hide = "import sys; sys.modules['model_signing'] = None; from assay.cli import main; sys.argv[0] = 'assay'; sys.exit(main())"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", hide, "model", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, timeout=60)

    done = run("verify", signed / "weights", "--signature", signed / "model.sig", "--public-key", signed / "developer.pub.pem")
    assert done.returncode == 2
    assert "assay[weights]" in done.stderr
    assert run("list").returncode == 0


# Statements


def test_a_provider_states_and_others_check(tmp_path: Path, call: Call) -> None:
    file, key = tmp_path / "statement.json", tmp_path / "provider.pem"
    say = ("statement", "--model", "m", "--endpoint", "https://models.example.org/v1", "--version", "2026-11", "--key", key, "--out", file)
    code, out = call(*say, "--announce", "weights", "--announce", "filters", "--notice-days", 14, "--days", 30)
    assert code == 0, out
    keyid = out.split("signed by the key ")[1].split(",")[0]
    code, out = call("statement", "--check", file, "--key-id", keyid, "--model", "m", "--version", "2026-11")
    assert code == 0, out
    assert "weights, filters, 14 days ahead" in out
    for wrong in (
        ("--model", "n"),
        ("--endpoint", "https://models.example.com/v1"),
        ("--version", "2026-12"),
        ("--target-digest", "sha256:0"),
    ):
        code, out = call("statement", "--check", file, "--key-id", keyid, *wrong)
        assert code == 1, wrong
    assert call("statement", "--check", file, "--key-id", "0" * 64)[0] == 1
    assert call("statement", "--check", file)[0] == 2
    code, out = call("statement", "--check", file, "--key-id", keyid, "--json")
    assert json.loads(out)["statement"]["announces"] == ["weights", "filters"]
    file.write_bytes(file.read_bytes().replace(b'"sig":"', b'"sig":"AA'))
    code, out = call("statement", "--check", file, "--key-id", keyid, "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    file.write_bytes(file.read_bytes()[:100])
    assert call("statement", "--check", file, "--key-id", keyid)[0] == 2


@pytest.mark.parametrize(
    "wrong",
    [("--version", ""), ("--announce", "everything"), ("--target-digest", "sha256:1"), ("--days", "401"), ("--model", "a\x1bb")],
    ids=["no-version", "announces", "digest", "days", "name"],
)
def test_what_cannot_be_stated_is_bad_input(tmp_path: Path, call: Call, wrong: tuple[str, str]) -> None:
    say = (
        "--model",
        "m",
        "--endpoint",
        "https://models.example.org/v1",
        "--version",
        "1",
        "--key",
        tmp_path / "k.pem",
        "--out",
        tmp_path / "s",
    )
    code, out = call("statement", *say, *wrong)
    assert code == 2
    assert "Traceback" not in out
    assert not (tmp_path / "s").exists()


# Fingerprints


def take(call: Call, target: str, out: Path, seed: int, *more: object) -> tuple[int, str]:
    return call("fingerprint", "--target", target, "--out", out, "--seed", seed, *more)


def test_scripted_targets_of_one_rate_are_the_same_and_of_two_are_not(tmp_path: Path, call: Call) -> None:
    for name, rate, seed in (("a", 0.2, 1), ("b", 0.2, 2), ("c", 0.9, 3)):
        assert take(call, f"scripted:{rate}", tmp_path / name, seed)[0] == 0
    code, out = call("compare", tmp_path / "a", tmp_path / "b")
    assert (code, "What this cannot show" in out) == (0, True)
    code, out = call("compare", tmp_path / "a", tmp_path / "c", "--json")
    assert code == 1
    assert json.loads(out)["p_value"] <= 0.01
    assert call("compare", tmp_path / "a", tmp_path / "a")[0] == 2
    assert call("compare", tmp_path / "a", tmp_path / "none")[0] == 2
    code, _ = call("compare", tmp_path / "a", tmp_path / "b", "--digest", read_fingerprint(tmp_path / "b").digest)
    assert code == 1


def test_temperature_0_repeats_itself(tmp_path: Path, call: Call) -> None:
    for name, rate, seed in (("a", 0.5, 1), ("b", 0.5, 2), ("c", 0.51, 3), ("d", 0.9, 4)):
        assert take(call, f"scripted:{rate}", tmp_path / name, seed, "--temperature", 0, "--samples", 2)[0] == 0
    assert call("compare", tmp_path / "a", tmp_path / "b")[0] == 0
    assert call("compare", tmp_path / "a", tmp_path / "d")[0] == 1


def spoken(words: Callable[[dict[str, Any]], Any], **more: Any) -> Behaviour:
    """An endpoint that says what `words` makes of the request."""

    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion(words(body), **more))

    return behave


def pick(words: list[str]) -> Callable[[dict[str, Any]], str]:
    """A model: draws by decoding seed and prompt."""

    def answer(body: dict[str, Any]) -> str:
        drawn = hashlib.sha256(f"{body['seed']}/{body['messages'][0]['content']}".encode()).digest()[0]
        return words[drawn % len(words)]

    return answer


def test_a_model_swapped_behind_its_endpoint_is_found(tmp_path: Path, call: Call) -> None:
    """The same address and the same name, other answers."""
    one, two = pick(["The sea is wide.", "Blue and deep.", "Waves."]), pick(["I like boats.", "Salt water.", "A fish swims."])
    with serve(spoken(one, system_fingerprint="fp_1")) as endpoint:
        target = f"{endpoint.url}#my-model"
        assert take(call, target, tmp_path / "approved", 1)[0] == 0
        asked = [b["seed"] for b in endpoint.bodies if b["messages"][0]["content"] != "Hello"]
        assert len(set(asked)) == len(asked) == 8 * len(read_probes())
        assert take(call, target, tmp_path / "again", 2)[0] == 0
        endpoint.behaviour = spoken(two, system_fingerprint="fp_2")
        assert take(call, target, tmp_path / "swapped", 3)[0] == 0
    kept = read_fingerprint(tmp_path / "approved")
    assert (kept.models, kept.systems) == (("loop",), ("fp_1",))
    assert kept.target == {"kind": "http", "model": "my-model", "url": endpoint.url}
    assert call("compare", tmp_path / "approved", tmp_path / "again")[0] == 0
    code, out = call("compare", tmp_path / "approved", tmp_path / "swapped")
    assert code == 1
    assert "another system fingerprint" in out


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = {
    "long": (lambda body: "x" * 100_000, {}),
    "terminal": (lambda body: "\x1b[2J\x07", {"model": "\x1b]0;owned\x07", "system_fingerprint": "a\r\nb\u202e"}),
    "surrogate": (lambda body: "\ud800", {"model": "m\ud800"}),
    "no-text": (lambda body: None, {"system_fingerprint": {"a": [1]}}),
    "many-names": (lambda body: "x", {"model": "m" * 5000, "system_fingerprint": "s" * 5000}),
    "empty": (lambda body: "", {"model": ""}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answers_are_kept_bounded_and_printed_safely(tmp_path: Path, call: Call, kind: str) -> None:
    words, more = HOSTILE[kind]
    with serve(spoken(words, **more)) as endpoint:
        code, out = take(call, f"{endpoint.url}#my-model", tmp_path / "f", 1, "--samples", 2)
    assert code == 0, out
    kept = read_fingerprint(tmp_path / "f")
    assert all(len(t.text) <= MAX_TEXT for a in kept.asked for t in a.answers)
    assert all(len(name) <= 200 for name in (*kept.models, *kept.systems))
    assert all(c.isprintable() or c == "\n" for c in out)


@pytest.mark.parametrize("status", [500, 429])
def test_half_a_fingerprint_is_none(tmp_path: Path, call: Call, status: int) -> None:
    """An endpoint that fails under way: nothing is kept, and nothing is called the same."""

    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        return web.json_response(completion("x")) if number < 20 else web.Response(status=status, headers={"Retry-After": "0"})

    with serve(behave) as endpoint:
        code, out = take(call, f"{endpoint.url}#my-model", tmp_path / "f", 1)
    assert code == 2
    assert "no answer to the probe" in out
    assert not (tmp_path / "f").exists()


def test_a_probe_that_the_endpoint_refuses_is_kept_as_refused(tmp_path: Path, call: Call) -> None:
    async def behave(request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        if "kitchen" in body["messages"][0]["content"]:
            return web.Response(status=400)
        return web.json_response(completion("x"))

    with serve(behave) as endpoint:
        assert take(call, f"{endpoint.url}#my-model", tmp_path / "f", 1)[0] == 0
    failures = {a.probe.id: a.answers[0].failure for a in read_fingerprint(tmp_path / "f").asked}
    assert {probe for probe, why in failures.items() if why} == {"kitchen-en"}


def test_no_endpoint_is_one_clear_message(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.targets.retries.BACKOFF_S", 0.01)
    code, out = take(call, "http://127.0.0.1:9/v1#m", tmp_path / "f", 1)
    assert code == 2
    assert "Traceback" not in out
