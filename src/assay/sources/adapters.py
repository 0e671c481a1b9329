"""Adapters: which program plays the samples of which tool. Built in: `inspect`, `agentdojo`; others by entry points of `assay.sources`.

    [project.entry-points."assay.sources"]
    mine = "my_package:adapter"            # a function that returns an Adapter

    adapter = find_adapter("inspect")
    adapter.interpreter("")                # ASSAY_INSPECT_PYTHON, else this one

A worker reads JSON lines and writes them (`lines.py`, docs/sources.md). It is run by path, so it need not have Assay.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from msgspec import Struct

from assay.errors import TargetError

GROUP = "assay.sources"
CHILD = Path(__file__).parent / "child"
PASSED = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "DOCKER_HOST", "DOCKER_CONFIG")
PASSED_BEGINNINGS = ("LC_", "XDG_")
PASSED_OF_TOOLS = (
    "HF_HOME", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "INSPECT_CACHE_DIR",
    "INSPECT_LOG_LEVEL", "INSPECT_DOCKER_CLI_CONCURRENCY", "INSPECT_SANDBOX_SETUP_TIMEOUT", "INSPECT_SANDBOX_MAX_READ_FILE_SIZE",
    "INSPECT_SANDBOX_MAX_EXEC_OUTPUT_SIZE",
)  # fmt: skip
"""What the tools are set up by: caches, timeouts, bounds, and none that could hold a key."""
SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
"""A variable with one of these in its name is passed only where it is named."""


class Adapter(Struct, frozen=True):
    """A tool's name, its worker's program, the names of options that it takes (those with a dot at the end are beginnings), and whether
    several samples may be under way in one worker.
    """

    name: str
    program: Path
    options: tuple[str, ...] = ()
    most_parallel: int = 64

    @property
    def variable(self) -> str:
        """The environment variable that names its interpreter."""
        return f"ASSAY_{self.name.upper().replace('-', '_')}_PYTHON"

    def interpreter(self, given: str) -> str:
        """The Python that runs the worker: as given, as the variable says, or this one. Raises `TargetError` where there is none."""
        wanted = given or os.environ.get(self.variable, "") or sys.executable
        found = shutil.which(wanted)
        if found is None:
            raise TargetError(f"there is no Python '{wanted}' for the source '{self.name}'", fix=f"Name one: --python, or {self.variable}.")
        return found

    def check(self, options: dict[str, str]) -> None:
        """Raises `TargetError` for an option that it does not take."""
        for name in options:
            if name not in self.options and f"{name.partition('.')[0]}." not in self.options:
                raise TargetError(f"the source '{self.name}' has no option '{name}'", fix=f"Known: {', '.join(self.options) or 'none'}.")


AdapterMaker = Callable[[], Adapter]
"""What an entry point of the group `assay.sources` gives."""


def inspect() -> Adapter:
    """Entry point `inspect`: any Inspect task."""
    return Adapter("inspect", CHILD / "inspect_task.py", ("sandbox", "epochs", "argument.", "role."))


def agentdojo() -> Adapter:
    """Entry point `agentdojo`: suites of AgentDojo."""
    return Adapter("agentdojo", CHILD / "agentdojo_suite.py", ("attack", "benchmark", "called"), most_parallel=16)


BUILTIN: dict[str, AdapterMaker] = {"inspect": inspect, "agentdojo": agentdojo}


def find_adapter(name: str) -> Adapter:
    """The adapter of a name. Raises `TargetError` for one that is not known."""
    if name in BUILTIN:
        return BUILTIN[name]()
    for point in entry_points(group=GROUP, name=name):
        maker: AdapterMaker = point.load()
        return maker()
    raise TargetError(f"unknown source '{name}'", fix=f"Built in: {', '.join(BUILTIN)}; others come with packages ({GROUP}).")


def surroundings(names: tuple[str, ...], keys: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment of a worker: what a program needs to run, and the variables that were named. Those that hold the plan's `keys` are
    not in it, unless they were named, too.
    """
    own = {k: v for k, v in os.environ.items() if k in PASSED or k in PASSED_OF_TOOLS or k.startswith(PASSED_BEGINNINGS)}
    own = {k: v for k, v in own.items() if k not in keys and not any(part in k.upper() for part in SECRET)}
    return own | {k: os.environ[k] for k in names if k in os.environ}
