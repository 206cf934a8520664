"""The work pool that Prefect's workers look at, with a queue for each priority."""

from __future__ import annotations

from typing import Any

from prefect.workers.base import BaseWorker

from factory_runtime.domain.errors import HostRejectedError
from factory_runtime.domain.run import Priority
from factory_runtime.orchestration.prefect_api import GoneError, ask

WORK_POOL = "factory"

WORK_POOL_TYPE = "factory"
"""Of a pool that is made here: warm workers serve it. One that stands keeps its own type: operators
choose where runs go."""

QUEUE_PRIORITIES = {priority.value: priority.rank + 1 for priority in Priority}
"""Prefect's priority of each queue: the lower goes first."""


def ensure_work_pool(pool_name: str = WORK_POOL) -> str:
    """Make a pool and its queues, or put the order of the queues right; the type of the pool.

    Raises:
        PrefectUnavailableError: no server answers.
        HostRejectedError: it refuses them.
    """
    try:
        pool = ask("GET", "/work_pools/{name}", name=pool_name)
    except GoneError:
        pool = _make(pool_name, WORK_POOL_TYPE)
    for name, priority in QUEUE_PRIORITIES.items():
        queue = _find_queue(pool_name, name)
        if queue is None:
            _add_queue(pool_name, name, priority)
        elif queue["priority"] != priority:
            # Prefect moves those that stood there one behind.
            ask(
                "PATCH",
                "/work_pools/{work_pool_name}/queues/{name}",
                {"priority": priority},
                work_pool_name=pool_name,
                name=name,
            )
    return str(pool["type"])


def _make(pool_name: str, kind: str) -> dict[str, Any]:
    wanted = {
        "name": pool_name,
        "type": kind,
        "description": "Runs of the factory's templates, by priority.",
        "base_job_template": _base_job_template(kind),
    }
    try:
        return ask("POST", "/work_pools/", wanted)
    except HostRejectedError:
        return ask("GET", "/work_pools/{name}", name=pool_name)  # somebody else was quicker


def _base_job_template(kind: str) -> dict[str, Any]:
    """What a worker of that type fills in for a flow run; without one it knows no variables."""
    worker = BaseWorker.get_worker_class_from_type(kind)
    if worker is None:
        raise HostRejectedError(f"no package here brings Prefect's worker type {kind}")
    return worker.get_default_base_job_template()


def _find_queue(pool_name: str, name: str) -> dict[str, Any] | None:
    path = "/work_pools/{work_pool_name}/queues/{name}"
    try:
        return ask("GET", path, work_pool_name=pool_name, name=name)
    except GoneError:
        return None


def _add_queue(pool_name: str, name: str, priority: int) -> None:
    path = "/work_pools/{work_pool_name}/queues"
    try:
        ask("POST", path, {"name": name, "priority": priority}, work_pool_name=pool_name)
    except HostRejectedError:
        if _find_queue(pool_name, name) is None:
            raise
