"""Instructions per trial, counted by valgrind, beside the bare aiohttp client's: `make bench-instructions`.

Counting instructions takes minutes and says nothing of caches, but the same code gives the same count to a few parts in a thousand, so a
change of one per cent shows. Writes bench/results/instructions.json.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from bench.engine import EXITS, plan_file, prompts_file, scratch
from bench.measure import ROOT, local_server, measure

RESULTS = ROOT / "bench" / "results" / "instructions.json"
FEW, MANY = 500, 1_500


def instructions(command: list[str], place: Path, env: dict[str, str]) -> int:
    """What one command executes, start-up included."""
    place.mkdir()
    log = place.parent / f"{place.name}.log"
    counted = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command]
    measure(counted, cwd=place, env=env, log=log, allowed=EXITS)
    found = re.search(r"I *refs: *([0-9,]+)", log.read_text())
    if found is None:
        raise RuntimeError(f"valgrind gave no count:\n{log.read_text()[-1000:]}")
    return int(found.group(1).replace(",", ""))


def main() -> None:
    """Command line."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed (Debian: apt install valgrind)")
    counts: dict[str, list[int]] = {"assay": [], "aiohttp": []}
    with scratch() as folder, local_server() as url:
        for n in (FEW, MANY):
            plan, prompts = plan_file(folder, url, n, 64), prompts_file(folder, url, n)
            run = [sys.executable, "-m", "assay", "run", str(plan), "--out", "run", "--quiet"]
            bare = [sys.executable, "-m", "bench.clients", "aiohttp", url, str(prompts), "answers.jsonl"]
            counts["assay"].append(instructions(run, folder / f"assay-{n}", {"ASSAY_KEY": str(folder / "key.pem")}))
            counts["aiohttp"].append(instructions(bare, folder / f"aiohttp-{n}", {"PYTHONPATH": str(ROOT)}))
    each = {name: (many - few) / (MANY - FEW) for name, (few, many) in counts.items()}
    figures = {f"instructions_per_trial_{name}": round(count) for name, count in each.items()}
    result = {**figures, "ratio_to_aiohttp": round(each["assay"] / each["aiohttp"], 3)}
    print(json.dumps(result, indent=2))
    RESULTS.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
