"""PyRIT: one prompt-sending attack a prompt through its executor, scored by a substring; keeps its memory in SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench.peers.tools import KEY, PROGRAMS, make_venv, python, quiet, venv_version

NAME = "pyrit"


def install(folder: Path) -> None:
    """The base package, which does without torch."""
    make_venv(folder, "pyrit")


def version(folder: Path) -> str | None:
    """Installed version, if any."""
    return venv_version(folder, "pyrit")


def command(folder: Path, url: str, prompts: Path, concurrency: int, work: Path) -> tuple[list[str], dict[str, str]]:
    """The program that drives PyRIT's API, as it has no command for a file of prompts."""
    argv = [python(folder), "-P", str(PROGRAMS / "pyrit_program.py"), str(prompts.resolve()), str(concurrency), str(work.resolve())]
    return argv, quiet(folder) | {"OPENAI_CHAT_ENDPOINT": url, "OPENAI_CHAT_KEY": KEY, "OPENAI_CHAT_MODEL": "bench"}


def count(work: Path) -> int:
    """Attack results in the memory."""
    path = work / "pyrit.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as memory:
        return int(memory.execute('SELECT count(*) FROM "AttackResultEntries"').fetchone()[0])
