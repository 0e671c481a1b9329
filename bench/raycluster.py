"""A Ray cluster on this machine, of one node or more, for benchmarks and tests.

with local_cluster(cpus=4) as nodes:         # this process is connected to it
    node = add_node(nodes, cpus=2)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def local_cluster(cpus: int) -> Iterator[Any]:
    """A head node with so many CPUs, by Ray's count; `nodes.address` is its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    try:
        add_node(nodes, cpus)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


def add_node(nodes: Any, cpus: int) -> Any:
    """A new node. Its agents' ports are chosen here: waiting for the agents to tell theirs is what a busy machine fails at."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [server.getsockname()[1] for server in taken]
    return nodes.add_node(
        num_cpus=cpus, object_store_memory=100_000_000, include_dashboard=False, include_log_monitor=False, no_monitor=True,
        metrics_agent_port=ports[0], runtime_env_agent_port=ports[1], dashboard_agent_listen_port=ports[2],
    )  # fmt: skip
