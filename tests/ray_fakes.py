"""A cluster of Ray on this machine: a head without cores, and nodes that can be killed."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_PATIENT = {  # on a busy machine what starts may take minutes
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_worker_niceness": "0",
}
OBJECTS = 80 * 2**20
"""Bytes of each node's object store: Ray's least is 75 MiB."""


def _port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def cluster_of(nodes: int) -> Iterator[tuple[Any, list[Any]]]:
    """A cluster, and its nodes of one core each."""
    from crosstask.evaluation.ray_runs import ray_there

    ray_there()
    from ray import _raylet
    from ray._private import services, utils
    from ray.cluster_utils import Cluster

    start = services.start_raylet
    arguments = inspect.signature(start)

    def started(*given: Any, **named: Any) -> Any:
        """Without waiting for 15 seconds, and no longer, for agents that nobody asks anything."""
        where = arguments.bind(*given, **named).arguments
        for name in ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME"):
            if hasattr(_raylet, name):
                _raylet.persist_port(where["session_dir"], where["node_id"], getattr(_raylet, name), -1)
        return start(*given, **named)

    common = {"object_store_memory": OBJECTS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _PATIENT.items():
            patch.setenv(name, os.environ.get(name, value))
        patch.setattr(utils, "get_dashboard_dependency_error", lambda: ImportError("not wanted"))
        patch.setattr(services, "start_raylet", started)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "runtime_env_agent_port": _port(), **common},
        )
        try:
            yield (
                cluster,
                [
                    cluster.add_node(wait=False, num_cpus=1, runtime_env_agent_port=_port(), **common)
                    for _ in range(nodes)
                ],
            )
        finally:
            cluster.shutdown()
