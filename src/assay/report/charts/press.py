"""Vega in processes of its own, one for each core: a chart takes it a tenth of a second, and only one at a time within a process.

press = the_press()                  # started once; ready half a second later
svg = press.draw(spec)               # from any thread
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from assay.errors import AssayError

VEGA_LITE = "5.21"
MOST = 4
WORKER = Path(__file__).with_name("vega.py")
FIX = "pip install 'assay[report]'"


class Press:
    """Processes that draw. They end when this one does, since nothing comes any more."""

    def __init__(self, workers: int) -> None:
        if find_spec("vl_convert") is None:
            raise AssayError("charts need vl-convert-python, which is not installed", fix=FIX)
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(_started())
        atexit.register(self._close)

    def draw(self, spec: dict[str, Any]) -> str:
        """The SVG of a Vega-Lite specification. Raises `AssayError` where it is none, or where the process has died."""
        process = self._idle.get()
        try:
            assert process.stdin is not None  # noqa: S101 (both are pipes)
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            said = json.loads(line) if line else {"error": "the process that draws has ended"}
        except (OSError, ValueError) as e:
            said = {"error": f"the process that draws does not answer ({type(e).__name__})"}
        finally:
            self._idle.put(process if process.poll() is None else _started())
        if "svg" not in said:
            raise AssayError(f"a chart cannot be drawn: {said['error']}", fix=FIX)
        return str(said["svg"])

    def _close(self) -> None:
        while not self._idle.empty():
            with self._idle.get() as process:  # which closes its pipes
                process.kill()


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", str(WORKER), VEGA_LITE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 (our own file)


@lru_cache(maxsize=1)
def the_press() -> Press:
    """This process's. Raises `AssayError` where the extra `report` is not installed."""
    return Press(max(1, min(MOST, os.cpu_count() or 1)))
