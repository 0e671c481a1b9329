"""The child process that runs the embedded model: llama.cpp's server on a loopback port, ended by the end of its standard input.

    python -m assay.targets.embedded_server WEIGHTS SLOTS CONTEXT     (the API key comes first on standard input)

It prints one JSON line with its address. A process of its own keeps the model's memory and crashes out of the engine, and dies with it even
after SIGKILL, because the pipe closes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def start(path: str, slots: int, context: int, key: str, address: tuple[str, int] = ("127.0.0.1", 0), name: str = "") -> Any:
    """llama.cpp's server on these weights, at this address (port 0: any free one); it serves in threads of its own.

    `context` is in tokens, for each of so many `slots`, which are requests at once. Only who has the `key` is answered.
    The answers call the model by this `name`, else by its path.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the import: the default spins and starves a busy machine
    import xllamacpp

    threads = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = min(threads, 8)
    params.cpuparams_batch.n_threads = min(threads, 8)
    params.hostnames = [address[0]]
    params.port = address[1]
    if name:
        params.model_alias = {name}
    params.verbosity = 0
    params.ui = False
    params.endpoint_slots = False  # it would show one caller's prompt to another
    params.api_keys = [key]
    return xllamacpp.Server(params)


def main() -> int:
    """Serve until standard input ends."""
    path, slots, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    server = start(path, slots, context, sys.stdin.readline().strip())
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    while sys.stdin.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
