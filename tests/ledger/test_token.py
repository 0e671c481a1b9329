"""Keys on tokens, with a real PKCS#11 module (SoftHSM): a token key signs what a PEM signs, and every way to fail is said in words."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from assay import api
from assay.cli import main
from assay.errors import SigningKeyError
from assay.evidence import verify_bundle
from assay.ledger import PrivateKey, TokenPlace, key_place, load_key, load_or_create_key
from tests.support import plan_text

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "correct-horse-7193"

if which("softhsm2-util") is None or not MODULE.exists():
    pytest.skip("SoftHSM is not installed (Debian's softhsm2)", allow_module_level=True)


@dataclass(frozen=True, slots=True)
class Office:
    """Some tokens, and the file with their PIN. A module reads its settings once a process, so these tests share them."""

    pin: Path

    def uri(self, *, pin: Path | None = None, module: Path = MODULE, **named: str) -> str:
        named = {"token": "office"} | named
        path = ";".join(f"{name}={value}" for name, value in named.items())
        return f"pkcs11:{path}?module-path={module}&pin-source={pin or self.pin}"

    def place(self, **named: Any) -> TokenPlace:
        place = key_place(self.uri(**named))
        assert isinstance(place, TokenPlace)
        return place


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "objects").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'objects'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin = folder / "pin"
    pin.write_text(f"{PIN}\nnot this line\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(settings))
        patch.delenv("ASSAY_PKCS11_PIN_FILE", raising=False)
        for label in ("office", "twin", "twin"):
            command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "87654321"]
            subprocess.run(command, check=True, capture_output=True)
        yield Office(pin)


def session(office: Office) -> Any:
    import pkcs11

    return pkcs11.lib(str(MODULE)).get_token(token_label="office").open(rw=True, user_pin=PIN)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    return main()


def test_a_whole_run_signed_on_a_token_verifies_and_the_pin_is_nowhere(office: Office, tmp_path: Path) -> None:
    uri = office.uri(object="whole run").replace(" ", "%20")
    env = {**os.environ, "ASSAY_KEY": uri, "HOME": str(tmp_path)}
    (tmp_path / "plan.yaml").write_text(plan_text(budget={"calls": 40}))

    def assay(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    made = assay("key", "new", uri)
    assert made.returncode == 0, made.stderr
    keyid = made.stdout.split("key id ")[1].split()[0]
    ran = assay("run", "plan.yaml", "--out", "run")
    assert ran.returncode in (0, 10, 20), ran.stderr
    checked = assay("verify", "run", "--key", keyid)
    assert checked.returncode == 0, checked.stdout
    for said in (made, ran, checked):
        assert PIN not in said.stdout + said.stderr
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PIN.encode() not in file.read_bytes()


def test_evaluate_takes_a_uri_and_the_pin_from_the_variable(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = office.uri(object="programs")
    assert call(monkeypatch, "key", "new", uri) == 0
    monkeypatch.setenv("ASSAY_PKCS11_PIN_FILE", str(office.pin))
    bare = uri.split("&pin-source")[0]
    (tmp_path / "plan.yaml").write_text(plan_text(budget={"calls": 30}))
    result = api.evaluate(tmp_path / "plan.yaml", out=tmp_path / "run", key=bare)
    assert result.bundle is not None
    assert verify_bundle(result.bundle, expected_key=load_key(key_place(bare)).public.keyid).ok


def test_logs_seals_and_policies_are_signed_by_it_too(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = office.uri(object="all commands").replace(" ", "%20")
    assert call(monkeypatch, "key", "new", uri) == 0
    (tmp_path / "plan.yaml").write_text(plan_text(seed="auto"))
    log = str(tmp_path / "log")
    assert call(monkeypatch, "log", "init", log, "--origin", "example.org/log", "--key", uri) == 0
    assert call(monkeypatch, "log", "checkpoint", log, "--key", uri) == 0
    assert call(monkeypatch, "log", "check", log, "--log-key", f"{log}/log.vkey") == 0
    seal = str(tmp_path / "a.seal")
    assert call(monkeypatch, "plan", "seal", str(tmp_path / "plan.yaml"), "--party", "a", "--out", seal, "--key", uri) == 0


def test_the_key_is_made_once_and_never_leaves(office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pkcs11 import Attribute, AttributeSensitive, ObjectClass

    uri = office.uri(object="stays", id="%01%02")
    assert call(monkeypatch, "key", "new", uri) == 0
    keyid = capsys.readouterr().out.split("key id ")[1].split()[0]
    assert call(monkeypatch, "key", "new", uri) == 2
    assert "already" in capsys.readouterr().err
    assert call(monkeypatch, "key", "show", uri) == 0
    said = capsys.readouterr().out
    assert f"key id {keyid}" in said
    assert uri in said
    assert call(monkeypatch, "key", "protect", uri) == 2
    assert "the token has its PIN" in capsys.readouterr().err
    with session(office) as opened:
        (private,) = opened.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: "stays"})
        assert private.id == b"\x01\x02"
        assert private[Attribute.SENSITIVE]
        assert private[Attribute.NEVER_EXTRACTABLE]
        with pytest.raises(AttributeSensitive):
            private[Attribute.VALUE]
    with pytest.raises(SigningKeyError, match="never leaves it"):
        load_key(key_place(uri)).to_pem()


def test_two_signatures_are_those_of_one_key_and_long_messages_too(office: Office) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from assay.ledger.token import make_token_key

    key = PrivateKey(make_token_key(office.place(object="signs")))
    public = Ed25519PublicKey.from_public_bytes(key.public.raw)
    for data in (b"", b"short", bytes(3_000_000)):
        public.verify(key.sign(data), data)
    assert load_or_create_key(office.place(object="signs")).public == key.public


def test_what_goes_wrong_is_said_in_words(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, wrong, binary = tmp_path / "empty", tmp_path / "wrong", tmp_path / "binary"
    empty.write_text("\n")
    wrong.write_text("9999999\n")
    binary.write_bytes(b"\xff\xfe\n")
    not_elf = tmp_path / "module.so"
    not_elf.write_text("not a module")
    for place, said in (
        (office.place(object="x", module=tmp_path / "none.so"), "cannot load the token's module"),
        (office.place(object="x", module=not_elf), "cannot load the token's module"),
        (office.place(object="x", module=Path("/lib/x86_64-linux-gnu/libm.so.6")), "cannot load the token's module"),
        (office.place(token="attic", object="x"), r"no such token\nTokens that the module shows: office, twin\."),
        (office.place(token="office", serial="00", object="x"), "no such token"),
        (office.place(token="twin", object="x"), "2 tokens match"),
        (office.place(object="x", pin=tmp_path / "none"), "cannot read the PIN: No such file"),
        (office.place(object="x", pin=empty), "holds no PIN"),
        (office.place(object="x", pin=binary), "not UTF-8"),
        (office.place(object="x", pin=wrong), "the PIN is wrong"),
        (office.place(object="x"), r"no such key on the token\nMake one: assay key new 'pkcs11:token=office;object=x\?"),
    ):
        with pytest.raises(SigningKeyError, match=said) as caught:
            load_key(place)
        assert "9999999" not in str(caught.value)
    bare = key_place(office.uri(object="x").split("&pin-source")[0])
    with pytest.raises(SigningKeyError, match=r"asks for its PIN\nPut it into a file, and name that in ASSAY_PKCS11_PIN_FILE"):
        load_key(bare)


def test_keys_that_are_not_one_ed25519_key(office: Office) -> None:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
    from pkcs11.util.ec import encode_named_curve_parameters

    from assay.ledger.token import ED25519, make_token_key

    first = make_token_key(office.place(object="swapped"))
    other = make_token_key(office.place(object="other"))
    with session(office) as opened:
        opened.generate_keypair(KeyType.RSA, 2048, store=True, label="rsa")
        for name, oid in (("p256", "secp256r1"),):
            params = {Attribute.EC_PARAMS: encode_named_curve_parameters(oid)}
            opened.create_domain_parameters(KeyType.EC, params, local=True).generate_keypair(store=True, label=name)
        curve = opened.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519[0]}, local=True)
        for identity in (b"\x0a", b"\x0b"):
            curve.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="double", id=identity)
        public, _ = curve.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="half", id=b"\x0c")
        public.destroy()
        (swapped,) = opened.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "swapped"})
        (stranger,) = opened.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "other"})
        identity = swapped.id
        swapped.destroy()
        stranger.copy({Attribute.ID: identity, Attribute.LABEL: "swapped"})
    for label, said in (
        ("rsa", "not an Ed25519 key"),
        ("p256", "not an Ed25519 key"),
        ("double", r"2 keys match\nAdd id=\.\.\. to the URI; theirs are %0[ab], %0[ab]\."),
        ("half", "public half is not on the token"),
    ):
        with pytest.raises(SigningKeyError, match=f"(?s){said}"):
            load_key(office.place(object=label))
    assert load_key(office.place(object="double", id="%0a")).public != load_key(office.place(object="double", id="%0b")).public
    mixed = load_key(office.place(object="swapped"))
    assert mixed.public.raw == other.raw != first.raw
    with pytest.raises(SigningKeyError, match="does not fit the key's public half"):
        mixed.sign(b"x")


def test_a_locked_token_and_others_that_softhsm_never_is(office: Office) -> None:
    from pkcs11 import exceptions

    from assay.ledger.token import _session

    for error, said in (
        (exceptions.PinLocked(), "the token is locked"),
        (exceptions.DeviceRemoved(), "taken out"),
        (exceptions.MechanismInvalid(), "cannot do Ed25519"),
        (exceptions.GeneralError("broken"), r"the token says GeneralError \(broken\)"),
    ):
        with pytest.raises(SigningKeyError, match=said), _session(office.place(object="x")):
            raise error
    with session(office), pytest.raises(SigningKeyError, match="logged in to the token already"):
        load_key(office.place(object="x"))


def test_without_the_extra_it_says_what_to_install(office: Office) -> None:
    code = "import sys; sys.modules['pkcs11'] = None; sys.argv[1:1] = ['key', 'show']; from assay.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, office.uri(object="x")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "assay: keys on tokens need python-pkcs11, which is not installed\nInstall assay[token].\n"
