"""Where Prefect does the jobs of a routed type: a pool, a queue in it, and one deployment for each.

They are made by ``ensure_route`` alone, for the routes that the settings name: Prefect itself makes a
queue of any name that it is given, and nobody would ever look at one that is misspelt.
"""

from __future__ import annotations

from typing import Any

from prefect.workers.base import BaseWorker

from factory_runtime.domain.errors import HostRejectedError, RouteNotFoundError
from factory_runtime.domain.route import Route
from factory_runtime.orchestration.prefect_api import GoneError, ask

FLOW = "routed-job"
ENTRYPOINT = "flows.routed.job"

_FORM: dict[str, Any] = {
    "title": "Parameters",
    "type": "object",
    "properties": {"job_id": {"type": "string", "title": "job_id", "position": 0}},
    "required": ["job_id"],
    "additionalProperties": False,
}
_ABOUT = (
    "Does one job of a run, sent here by its type. Which job is said by the factory's record of the"
    " flow run: one that somebody starts by hand has nothing to do."
)


def find_route(route: Route) -> str:
    """Prefect's id of the route's deployment, as it may be used.

    Raises:
        RouteNotFoundError: Prefect lacks the deployment, or it looks at another queue by now.
        PrefectUnavailableError: no server answers.
    """
    shown = _find_deployment(route)
    hint = "`factory deploy routes` makes what the routes name"
    if shown is None:
        raise RouteNotFoundError(f"Prefect has no deployment for {route}", hint=hint)
    if (shown["work_pool_name"], shown["work_queue_name"]) != (route.pool, route.queue):
        raise RouteNotFoundError(f"the deployment for {route} is in another queue", hint=hint)
    return str(shown["id"])


def is_attended(route: Route) -> bool:
    """Whether a worker has looked at the queue a moment ago.

    Raises:
        RouteNotFoundError: there is no such queue.
        PrefectUnavailableError: no server answers.
    """
    queue = _find_queue(route)
    if queue is None:
        raise RouteNotFoundError(f"Prefect has no queue {route}")
    return queue["status"] == "READY"


def ensure_route(route: Route, pool_type: str) -> tuple[str, ...]:
    """Make what the route lacks, and mend its deployment; what was done, in words.

    Args:
        route: as the settings name it.
        pool_type: of a pool that is not there yet; one that is keeps its own.

    Raises:
        PrefectUnavailableError: no server answers; doing it again goes on.
        HostRejectedError: it refuses it.
    """
    done: list[str] = []
    if not _has_pool(route) and _make_pool(route, pool_type):
        done.append("pool made")
    if _find_queue(route) is None and _make_queue(route):
        done.append("queue made")
    shown = _find_deployment(route)
    wanted = _deployment_of(route)
    if shown is None:
        flow_id = ask("POST", "/flows/", {"name": FLOW})["id"]
        ask("POST", "/deployments/", {"name": _name_of(route), "flow_id": flow_id, **wanted})
        done.append("deployment made")
    elif any(shown.get(key) != value for key, value in wanted.items()):
        ask("PATCH", "/deployments/{id}", wanted, id=shown["id"])
        done.append("deployment mended")
    return tuple(done)


def _deployment_of(route: Route) -> dict[str, Any]:
    return {
        "entrypoint": ENTRYPOINT,
        "description": _ABOUT,
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": _FORM,
        "work_pool_name": route.pool,
        "work_queue_name": route.queue,
    }


def _find_deployment(route: Route) -> dict[str, Any] | None:
    path = "/deployments/name/{flow_name}/{deployment_name}"
    try:
        return ask("GET", path, flow_name=FLOW, deployment_name=_name_of(route))
    except GoneError:
        return None


def _name_of(route: Route) -> str:
    """No name in Prefect has a slash."""
    return f"{route.pool}:{route.queue}"


def _has_pool(route: Route) -> bool:
    try:
        ask("GET", "/work_pools/{name}", name=route.pool)
    except GoneError:
        return False
    return True


def _make_pool(route: Route, kind: str) -> bool:
    """Whether it was made here; False where somebody else was quicker."""
    worker = BaseWorker.get_worker_class_from_type(kind)
    if worker is None:
        raise HostRejectedError(f"no package here brings Prefect's worker type {kind}")
    template = worker.get_default_base_job_template()
    wanted = {"name": route.pool, "type": kind, "base_job_template": template}
    try:
        ask("POST", "/work_pools/", wanted)
    except HostRejectedError:
        if not _has_pool(route):
            raise
        return False
    return True


def _make_queue(route: Route) -> bool:
    """Likewise."""
    path = "/work_pools/{work_pool_name}/queues"
    try:
        ask("POST", path, {"name": route.queue}, work_pool_name=route.pool)
    except HostRejectedError:
        if _find_queue(route) is None:
            raise
        return False
    return True


def _find_queue(route: Route) -> dict[str, Any] | None:
    path = "/work_pools/{work_pool_name}/queues/{name}"
    try:
        return ask("GET", path, work_pool_name=route.pool, name=route.queue)
    except GoneError:
        return None
