"""Secrets in the system's keyring: a real backend in a file; machines without one; keys that stay at their host."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("keyring", reason="the extra keyring is not installed")

from assay.cli import main
from assay.errors import AssayError, TargetError
from assay.ledger import PrivateKey, keychain, load_key, write_key
from assay.targets.apikey import api_key

RING = """
import json, os, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

class Ring(KeyringBackend):
    priority = 1
    name = "a ring in a file"
    path = pathlib.Path(os.environ["RING"])

    def _all(self):
        if os.environ.get("RING_LOCKED"):
            raise KeyringLocked("a secret message")
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service, name):
        return self._all().get(f"{service} {name}")

    def set_password(self, service, name, secret):
        self.path.write_text(json.dumps({**self._all(), f"{service} {name}": secret}))

    def delete_password(self, service, name):
        found = self._all()
        if found.pop(f"{service} {name}", None) is None:
            raise PasswordDeleteError("none")
        self.path.write_text(json.dumps(found))
"""


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring in a file, set through keyring's own API here, and through its variable in other processes."""
    import keyring

    (tmp_path / "filering.py").write_text(RING)
    monkeypatch.setenv("RING", str(tmp_path / "ring.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "filering.Ring")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("filering", None)
    before = keyring.get_keyring()
    keyring.set_keyring(importlib.import_module("filering").Ring())
    yield tmp_path / "ring.json"
    keyring.set_keyring(before)


def assay(*words: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-m", "assay", "key", *words], input=given, env=env, capture_output=True, text=True, check=False)


def test_a_key_is_stored_from_standard_input_found_and_forgotten(ring: Path) -> None:
    done = assay("store", "MY_API_KEY", given="sk-secret-1\nnot this\n")
    assert done.returncode == 0, done.stderr
    assert "sk-secret" not in done.stdout + done.stderr
    assert json.loads(ring.read_text()) == {"assay MY_API_KEY": "sk-secret-1"}
    assert api_key("MY_API_KEY", "https://models.example.org/v1") == "sk-secret-1"
    assert assay("forget", "MY_API_KEY").returncode == 0
    assert assay("forget", "MY_API_KEY").returncode == 2
    with pytest.raises(TargetError, match="MY_API_KEY is not set"):
        api_key("MY_API_KEY", "https://models.example.org/v1")


def test_a_key_that_was_stored_for_a_host_goes_nowhere_else(ring: Path) -> None:
    keychain.store("MY_API_KEY", "sk-secret-1", "models.example.org")
    assert api_key("MY_API_KEY", "https://MODELS.example.org:443/v1") == "sk-secret-1"
    for url in ("https://evil.example/v1", "https://models.example.org.evil.example/v1", "https://models.example.org@evil.example/", "x"):
        with pytest.raises(TargetError, match="is not set"):
            api_key("MY_API_KEY", url)


def test_the_environment_goes_first(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keychain.store("MY_API_KEY", "sk-of-the-ring")
    monkeypatch.setenv("MY_API_KEY", "sk-of-the-environment")
    assert api_key("MY_API_KEY", "https://models.example.org/v1") == "sk-of-the-environment"


def test_the_passphrase_of_a_protected_key_is_found_and_a_plan_cannot_send_it_away(
    ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = PrivateKey.generate()
    write_key(tmp_path / "k.pem", key, b"correct horse battery")
    with pytest.raises(AssayError, match="protected by a passphrase"):
        load_key(tmp_path / "k.pem")
    keychain.store("ASSAY_KEY_PASSPHRASE", "correct horse battery")
    assert load_key(tmp_path / "k.pem").public == key.public
    own = ("ASSAY_KEY_PASSPHRASE", "ASSAY_KEY_PASSPHRASE_FILE", "ASSAY_MCP_TOKEN", "ASSAY_STORE_URL", "ASSAY_SIGNING_KEY",
           "ASSAY_GITLAB_TOKEN", "ASSAY_WATCH_WEBHOOK", "ASSAY_API_KEY_2", "ASSAY_OF_A_LATER_YEAR")  # fmt: skip
    for name in own:
        monkeypatch.setenv(name, "correct")
        with pytest.raises(TargetError, match="sent to nobody"):
            api_key(name, "https://evil.example/v1")
    monkeypatch.setenv("ASSAY_API_KEY", "sk-of-the-pipeline")
    assert api_key("ASSAY_API_KEY", "https://models.example.org/v1") == "sk-of-the-pipeline"


@pytest.mark.parametrize("given", ["", "\n", "two\x07bells\n", "x" * 5000])
def test_what_can_be_no_secret_is_not_stored(ring: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    monkeypatch.setattr(sys, "argv", ["assay", "key", "store", "MY_API_KEY"])
    assert main() == 2
    assert not ring.exists()


def test_a_locked_keyring_is_said_and_nothing_of_what_it_says_is_quoted(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RING_LOCKED", "1")
    with pytest.raises(AssayError, match="could not be read") as caught:
        api_key("MY_API_KEY", "https://models.example.org/v1")
    assert "a secret message" not in str(caught.value)
    done = assay("store", "MY_API_KEY", given="sk-secret-1\n")
    assert done.returncode == 2
    assert "sk-secret" not in done.stderr


def test_a_machine_without_a_keyring_is_told_what_to_do() -> None:
    done = assay("store", "MY_API_KEY", given="sk-secret-1\n", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    assert done.returncode == 2
    assert "no keyring that can be used" in done.stderr
    assert "set the variable" in done.stderr
    assert "sk-secret" not in done.stderr


@pytest.mark.parametrize("name", ["lower", "WITH SPACE", "X@Y", "A" * 101, "1X"])
def test_names_are_those_of_variables(ring: Path, name: str) -> None:
    with pytest.raises(AssayError, match="environment variable"):
        keychain.store(name, "x")
