"""JSON lines between a worker and Assay, with nothing but the standard library: the interpreter need not have Assay.

wire = Wire()                       # takes standard input and output for itself; whatever else is printed goes to standard error
order = wire.read()                 # a dict, None at the end
wire.send("played", key=1, failure="", scores={"match": score("C")})
fail(wire, "there is no such task") # one line in words, and the process ends
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import threading
from typing import Any, NoReturn

MAX_TEXT = 300_000
MAX_SHORT = 1_900
MAX_LINE = 12 * 1024 * 1024


class Wire:
    """The two pipes. `send` may be called from any thread."""

    def __init__(self) -> None:
        self._input = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
        self._output = os.fdopen(os.dup(1), "wb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any] | None:
        """The next order; None at the end."""
        line = self._input.readline()
        if not line:
            return None
        value: dict[str, Any] = json.loads(line)
        return value

    def send(self, tag: str, **fields: Any) -> None:
        """One message. ValueError if it is too large to be read."""
        line = json.dumps({"is": tag, **fields}, ensure_ascii=True).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError("a message beyond what Assay takes")
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._output.write(view) :]


def fail(wire: Wire, why: str) -> NoReturn:
    """Say why nothing can be played, and end."""
    wire.send("failed", why=short(why))
    sys.stderr.flush()
    os._exit(3)


def bounded(memory_mb: int) -> None:
    """No more memory than this, if it is not 0."""
    if memory_mb:
        size = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys; what JSON does not know stands in it as its type and text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=lambda v: f"{type(v).__name__}:{v}")
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def score(value: Any, explanation: str = "", odd: str = "") -> dict[str, str]:
    """A score as text: `true`, `1` (also for 1.0), `0.25`, a word. `odd` says why it is none."""
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        text = str(int(value))
    else:
        text = str(value)
    return {"value": short(text), "explanation": short(explanation), "odd": short(odd)}


def short(text: str, most: int = MAX_SHORT) -> str:
    """A text without lone surrogates, cut."""
    return text.encode("utf-8", "replace").decode("utf-8")[:most]
