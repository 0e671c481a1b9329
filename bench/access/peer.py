"""LiteLLM's proxy before the bench's upstream: in an environment of its own (bench/.peers/litellm), one worker, a master key, no database.

with litellm(core, upstream, model, taskset) as (port, pid): ...

It runs as it is installed by `litellm[proxy]`, with its production mode and only errors logged. Nothing of
the caller's environment is passed on, what it would fetch at its start it takes from its own files, and its telemetry is off.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from tests.access.gate import free_port, wait_for

from bench.access.wire import PARTS
from bench.peers.__main__ import FOLDER
from bench.peers.tools import KEY, make_venv, python, quiet, venv_version

HERE = FOLDER / "litellm"
LOG = FOLDER / "litellm.log"
MASTER = "sk-bench"
_START_S = 120.0


def installed() -> str | None:
    """Its version, installed first if it is not there. None, and one line that says so, where it cannot be had."""
    if (found := venv_version(HERE, "litellm")) is not None:
        return found
    HERE.mkdir(parents=True, exist_ok=True)
    try:
        make_venv(HERE, "litellm[proxy]")
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"LiteLLM is left out: it could not be installed in {HERE} ({error})", flush=True)
        return None
    return venv_version(HERE, "litellm")


def numbers(version: str) -> dict[str, float]:
    """A version's first three numbers as results."""
    parts = [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")[:3]]
    return {f"litellm_version_{name}": float(part) for name, part in zip(("major", "minor", "patch"), parts, strict=False)}


def environment() -> dict[str, str]:
    """The whole environment that it gets."""
    local = ("ANTHROPIC_BETA_HEADERS", "AUTOROUTER_PRESETS", "BLOG_POSTS", "MODEL_COST_MAP", "POLICY_TEMPLATES")
    return quiet(HERE) | {
        "PATH": f"{Path(python(HERE)).parent}:/usr/bin:/bin",
        "HOME": str(HERE / "home"),
        "DISABLE_ADMIN_UI": "true",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_TELEMETRY_DISABLED": "true",
        **{f"LITELLM_LOCAL_{name}": "True" for name in local},
    }


@contextlib.contextmanager
def litellm(core: int, upstream: int, model: str, taskset: str) -> Iterator[tuple[int, int]]:
    """The proxy on a core: its port and its process. Raises AssertionError where it does not come up (its words are in bench/.peers)."""
    port = free_port()
    inner = {"model": "openai/inner", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": KEY}
    config = HERE / "config.yaml"
    (HERE / "home").mkdir(exist_ok=True)
    config.write_text(
        json.dumps({"model_list": [{"model_name": model, "litellm_params": inner}], "general_settings": {"master_key": MASTER}}, indent=1)
    )
    command = [taskset, "-c", str(core), str(Path(python(HERE)).parent / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, cwd=HERE, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(port, process, _START_S)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


async def answers(port: int, path: str, body: bytes) -> None:
    """One request, looked at: a stream of all the parts, and none without the key. Raises AssertionError otherwise."""
    url, headers = f"http://127.0.0.1:{port}{path}", {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=headers) as answer:
            assert answer.status != 200, "answered without the key"
        async with session.post(url, data=body, headers={**headers, "Authorization": f"Bearer {MASTER}"}) as answer:
            text = await answer.text()
    assert answer.status == 200, text[:500]
    assert all(f'"word{i} "' in text for i in range(PARTS)), text[:500]
    assert text.rstrip().endswith("data: [DONE]"), text[-500:]
