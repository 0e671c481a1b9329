"""Inspect: a task of one `generate()` and the `includes()` scorer, on its provider for compatible endpoints; keeps an `.eval` log."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bench.peers.tools import KEY, PROGRAMS, make_venv, python, quiet, venv_version

NAME = "inspect-ai"


def install(folder: Path) -> None:
    """Inspect and the client library that its provider needs."""
    make_venv(folder, "inspect-ai", "openai")


def version(folder: Path) -> str | None:
    """Installed version, if any."""
    return venv_version(folder, "inspect-ai")


def command(folder: Path, url: str, prompts: Path, concurrency: int, work: Path) -> tuple[list[str], dict[str, str]]:
    """`inspect eval` of the task file, with as many connections as asked for."""
    argv = [
        *(python(folder), "-P", "-m", "inspect_ai", "eval", f"{PROGRAMS / 'inspect_ai_program.py'}@bench"),
        *("-T", f"prompts={prompts.resolve()}"),
        *("--model", "openai-api/bench/bench", "--model-base-url", url),
        *("--temperature", "0", "--max-tokens", "64", "--max-connections", str(concurrency)),
        *("--log-dir", str(work.resolve() / "logs"), "--display", "none"),
    ]
    return argv, quiet(folder) | {"BENCH_API_KEY": KEY}


def count(work: Path) -> int:
    """Samples in the log."""
    total = 0
    for log in work.glob("logs/*.eval"):
        with zipfile.ZipFile(log) as members:
            total += sum(name.startswith("samples/") for name in members.namelist())
    return total
