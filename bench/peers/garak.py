"""garak: a probe of the prompts and a detector of one word, put among its plugins; keeps its report, hit log and summary page.

Its parallel attempts are processes. On start it also asks once for the base URL itself, which is not among the results. The
package requires torch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from bench.peers.tools import KEY, PROGRAMS, make_venv, python, quiet, venv_version

NAME = "garak"


def install(folder: Path) -> None:
    """The package, by a resolver that is quick with its many requirements, and the two plugins beside its own."""
    make_venv(folder, "uv")
    own = python(folder)
    subprocess.run([own, "-m", "uv", "pip", "install", "--quiet", "--upgrade", "--python", own, "garak"], check=True)
    for package in folder.glob("lib/python*/site-packages/garak"):
        shutil.copyfile(PROGRAMS / "garak_probe_program.py", package / "probes" / "bench.py")
        shutil.copyfile(PROGRAMS / "garak_detector_program.py", package / "detectors" / "bench.py")
    listing = [own, "-P", "-m", "garak", "--list_probes"]
    subprocess.run(listing, check=True, env={**os.environ, **quiet(folder)}, stdout=subprocess.DEVNULL)


def version(folder: Path) -> str | None:
    """Installed version, if any."""
    return venv_version(folder, "garak")


def command(folder: Path, url: str, prompts: Path, concurrency: int, work: Path) -> tuple[list[str], dict[str, str]]:
    """`garak --config`, one generation a prompt, with as many parallel attempts as asked for."""
    work = work.resolve()
    generator = {"uri": f"{url}/", "temperature": 0, "max_tokens": 64, "stop": None}
    config = {
        "system": {"parallel_attempts": concurrency, "lite": False},
        "run": {"generations": 1},
        "plugins": {
            "target_type": "openai.OpenAICompatible",
            "target_name": "bench",
            "generators": {"openai": {"OpenAICompatible": generator}},
            "probes": {"bench": {"Prompts": {"file": str(prompts.resolve())}}},
        },
        "reporting": {"report_dir": str(work / "reports"), "report_prefix": "bench"},
    }
    (work / "bench.yaml").write_text(json.dumps(config, indent=1))
    argv = [python(folder), "-P", "-m", "garak", "--config", str(work / "bench.yaml"), "--spec", "probes.bench.Prompts"]
    return argv, quiet(folder) | {"OPENAICOMPATIBLE_API_KEY": KEY, "TQDM_DISABLE": "1"}


def count(work: Path) -> int:
    """Attempts that the report gives as complete and detected upon."""
    path = work / "reports" / "bench.report.jsonl"
    if not path.exists():
        return 0
    with path.open() as lines:
        entries = [json.loads(line) for line in lines if line.startswith('{"entry_type": "attempt"')]
    return sum(entry["status"] == 2 and len(entry["outputs"]) == 1 for entry in entries)
