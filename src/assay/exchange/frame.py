"""python frame.py PROGRAM: runs a program of ours under an interpreter where Assay is not (`outside.ask_outside` starts it).

The program has a function `answer(request)` and the bounds MEMORY (bytes), CPU_S and FILE (bytes). One JSON object comes on standard input
and one goes to standard output; whatever libraries print goes elsewhere, and connections are refused. Exit code 3, with a line of words on
standard error, where `answer` fails.
"""

import importlib.util
import json
import os
import resource
import sys
from typing import Any


def main(path: str) -> int:
    """Load the program, set its bounds, and hand the one request to it."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("program", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    program: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    for limit, most in (
        (resource.RLIMIT_DATA, program.MEMORY), (resource.RLIMIT_CPU, program.CPU_S), (resource.RLIMIT_FSIZE, program.FILE),
    ):  # fmt: skip
        resource.setrlimit(limit, (most, most))
    sys.addaudithook(_offline)
    request = json.loads(sys.stdin.buffer.read())
    try:
        said = json.dumps(program.answer(request)).encode()
    except Exception as e:  # noqa: BLE001 (one line of words, whatever it was)
        sys.stderr.write(f"{type(e).__name__}: {e}".replace("\n", " ")[:400] + "\n")
        return 3
    out.write(said)
    out.close()
    return 0


def _offline(event: str, _: Any) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise OSError("no network here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
