"""What Assay relies on in Inspect, and in which versions it was found so. Where this fails, Inspect has moved: mend the adapters, then the
window of versions in pyproject's extra `inspect`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WINDOW = ("0.3.285", "0.3.300")
"""From the first, and below the second."""

pytestmark = pytest.mark.skipif(find_spec("inspect_ai") is None, reason="the extra 'inspect' is not installed")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def test_the_window_of_versions_is_the_one_that_was_tested() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["inspect"] == [f"inspect-ai>={WINDOW[0]},<{WINDOW[1]}"]
    assert numbers(WINDOW[0]) <= numbers(version("inspect_ai")) < numbers(WINDOW[1])


def test_inspect_is_as_assay_knows_it() -> None:
    command = [sys.executable, "-m", "tests.exchange.inspect_contract"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["held"] >= 12
    assert told["broken"] == [], f"Inspect {version('inspect_ai')} has moved: " + "; ".join(told["broken"])


def test_inspect_finds_the_tasks_by_the_entry_point() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["inspect_ai"]
    assert points == {"assay": "assay.exchange.inspect_tasks.tasks"}
    installed = [p.value for p in entry_points(group="inspect_ai") if p.name == "assay"]
    assert installed == ["assay.exchange.inspect_tasks.tasks"], "install Assay again: its entry points are older than its sources"


def test_the_command_of_inspect_runs_the_matrix_offline(tmp_path: Path) -> None:
    """Its mock model fetches a tokenizer to count with; here that fails, so nothing can be scored, and nothing is safe."""
    command = [
        str(Path(sys.executable).with_name("inspect")), "eval", "assay/sea", "--model", "mockllm/model", "-T", "languages=ta,th", "-T",
        "hazards=secret-leakage", "-T", "samples=1", "--log-dir", str(tmp_path), "--display", "plain",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    assert list(tmp_path.glob("*_sea_*.eval"))
    assert re.search(r"trials\s+4\.0", done.stdout)
    assert "secret-leakage/th/none/plain high" in done.stdout


def test_arguments_that_cannot_be_are_one_message(tmp_path: Path) -> None:
    pytest.importorskip("click")
    from assay.errors import PlanError
    from assay.exchange.inspect_tasks.items import Chosen, Items, item_seed, names

    with pytest.raises(PlanError, match="unknown language 'tt'"):
        Items(Chosen(("secret-leakage",), ("tt",)))
    with pytest.raises(Exception, match="needs a judge"):
        Items(Chosen(("hate",), ("en",)))
    with pytest.raises(Exception, match=r"assay/worlds"):
        Items(Chosen(("agent-shop",), ("en",)))
    with pytest.raises(PlanError, match="1 to 20,000"):
        Items(Chosen(("secret-leakage",), ("en",), samples=20_001))
    with pytest.raises(PlanError, match="Quote"):
        names([False, "en"])  # type: ignore[list-item]
    assert item_seed("ab" * 32) == bytes.fromhex("ab" * 32)
    assert item_seed(0) == item_seed("0") != item_seed("1")
