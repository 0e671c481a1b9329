"""What the adapters share: virtual environments, the versions in them, and an environment that stays off the network."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"
KEY = "dummy"


def make_venv(folder: Path, *packages: str) -> None:
    """A virtual environment in `folder` with the newest versions of the packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([python(folder), "-m", "pip", "install", "-qq", "--upgrade", *packages], check=True)


def python(folder: Path) -> str:
    """The interpreter of the environment in `folder`."""
    return str(folder.resolve() / "bin" / "python")


def venv_version(folder: Path, package: str) -> str | None:
    """The version of a package in the environment in `folder`, read from its metadata."""
    sites = [str(p) for p in folder.glob("lib/python*/site-packages")]
    found = next(iter(importlib.metadata.distributions(name=package, path=sites)), None) if sites else None
    return found.version if found else None


def quiet(folder: Path) -> dict[str, str]:
    """Environment of a run: no hub, no telemetry, and the tool's own caches beside its installation."""
    home = folder.resolve() / "home"
    return {
        "DO_NOT_TRACK": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
    }
