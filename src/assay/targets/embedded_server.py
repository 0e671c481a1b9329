"""The child process that runs the embedded model: llama.cpp's server on a loopback port, ended by the end of its standard input.

    python -m assay.targets.embedded_server WEIGHTS SLOTS CONTEXT     (the API key comes first on standard input)

It prints one JSON line with its address. A process of its own keeps the model's memory and crashes out of the engine, and dies with it even
after SIGKILL, because the pipe closes.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Serve until standard input ends."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the import: the default spins and starves a busy machine
    import xllamacpp

    path, slots, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    key = sys.stdin.readline().strip()
    threads = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = min(threads, 8)
    params.cpuparams_batch.n_threads = min(threads, 8)
    params.port = 0
    params.verbosity = 0
    params.ui = False
    params.api_keys = [key]
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    while sys.stdin.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
