"""Steps of composite actions, run as a runner runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

DEPLOY = Path(__file__).parents[2] / "deploy"


class Ended(Struct, frozen=True):
    """How a step ended: exit code, what was printed, the job's summary, the outputs."""

    code: int
    printed: str
    summary: str
    outputs: dict[str, str]


def action(name: str) -> dict[str, Any]:
    """An action's definition."""
    value: dict[str, Any] = yaml.safe_load((DEPLOY / name / "action.yml").read_text())
    return value


def run_step(
    name: str, step: str, cwd: Path, inputs: dict[str, str], event: Path | None = None, path: str = "", **more: str
) -> Ended:  # fmt: skip
    """One step of an action, with nothing in its environment but what a runner and the action put there."""
    definition = action(name)
    (found,) = [s for s in definition["runs"]["steps"] if s["name"] == step]
    given = {k: str(v.get("default", "")) for k, v in definition["inputs"].items()} | inputs
    summary, output = cwd / ".summary.md", cwd / ".output.txt"
    for file in (summary, output):
        file.write_text("")
    env = {k: _value(v, given, more) for k, v in found["env"].items()}
    env |= {
        "PATH": path or f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(cwd), "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(DEPLOY / name), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output),
    }  # fmt: skip
    env |= {k: v for k, v in more.items() if k.isupper()} | ({"GITHUB_EVENT_PATH": str(event)} if event else {})
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return Ended(done.returncode, done.stdout + done.stderr, summary.read_text(), outputs)


def _value(expression: str, inputs: dict[str, str], more: dict[str, str]) -> str:
    """What a runner puts in for `${{ inputs.x }}`, or for another step's output (given as `summary`)."""
    inner = expression.removeprefix("${{ ").removesuffix(" }}")
    return inputs[inner.removeprefix("inputs.")] if inner.startswith("inputs.") else more[inner.rpartition(".")[2]]
