"""A deployment as Prefect keeps it, and how it is brought to what it is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory_runtime.domain.template import Schedule
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.work_pool import WORK_POOL

SCHEDULE = "template"
"""Slug of the schedule that a template declares; others were added by people, and are let be."""

_ANCHOR = "2020-01-01T00:00:00Z"
"""Intervals are counted from here: Prefect would count from each deploy anew."""


@dataclass(frozen=True, slots=True)
class WantedDeployment:
    """What a deployment is to be. Its concurrency limit, and whether it is paused, are people's.

    Attributes:
        flow: name of the flow.
        name: of the deployment; Prefect shows it as ``flow/name``.
        entrypoint: dotted.
        form: schema of its parameters.
        queue: of the work pool.
        schedule: that it is to be started by; None is no schedule.
        keeps_schedule: whether the one that it has is let be instead, if it has any.
    """

    flow: str
    name: str
    entrypoint: str
    version: str
    description: str
    tags: tuple[str, ...]
    form: Mapping[str, Any]
    queue: str
    schedule: Schedule | None
    keeps_schedule: bool = False


def find_deployment(flow: str, name: str) -> dict[str, Any] | None:
    """Prefect's deployment of that name; None where there is none.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    path = "/deployments/name/{flow_name}/{deployment_name}"
    try:
        return ask("GET", path, flow_name=flow, deployment_name=name)
    except GoneError:
        return None


def read_deployment(deployment_id: str) -> dict[str, Any] | None:
    """Prefect's deployment of that id; None where somebody deleted it.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    try:
        return ask("GET", "/deployments/{id}", id=deployment_id)
    except GoneError:
        return None


def make_deployment(wanted: WantedDeployment) -> dict[str, Any]:
    """Make it, where it is not there, in no work pool: no worker takes what starts in it.

    Raises:
        PrefectUnavailableError: no server answers.
        HostRejectedError: it refuses it.
    """
    flow_id = ask("POST", "/flows/", {"name": wanted.flow})["id"]
    body = {
        "name": wanted.name,
        "flow_id": flow_id,
        "entrypoint": wanted.entrypoint,
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": wanted.form,
    }
    return ask("POST", "/deployments/", body)


def bring_to(shown: Mapping[str, Any], wanted: WantedDeployment) -> tuple[str, ...]:
    """Change what Prefect shows of a deployment into what is wanted; what differed, by name.

    Raises:
        GoneError: somebody deleted it meanwhile.
        PrefectUnavailableError: no server answers.
        HostRejectedError: it refuses it.
    """
    body = _body_of(wanted)
    differs = [name for name, value in body.items() if _differ(name, shown.get(name), value)]
    if differs:
        # Only then: each change makes Prefect schedule its runs anew.
        ask("PATCH", "/deployments/{id}", body, id=shown["id"])
    if not wanted.keeps_schedule and _bring_schedule(shown, wanted.schedule):
        differs.append("schedule")
    return tuple(differs)


def _body_of(wanted: WantedDeployment) -> dict[str, Any]:
    return {
        "entrypoint": wanted.entrypoint,
        "version": wanted.version,
        "description": wanted.description,
        "tags": list(wanted.tags),
        "parameters": {},
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": dict(wanted.form),
        "work_pool_name": WORK_POOL,
        "work_queue_name": wanted.queue,
        "job_variables": {},
        "pull_steps": [],
    }


def _differ(name: str, shown: Any, wanted: Any) -> bool:
    if name == "tags":
        return sorted(shown or ()) != sorted(wanted)
    return shown != wanted and bool(shown or wanted)


def _bring_schedule(shown: Mapping[str, Any], schedule: Schedule | None) -> bool:
    """Whether there was something to do. One that somebody has paused stays so."""
    ours = next((one for one in shown["schedules"] if one["slug"] == SCHEDULE), None)
    where = "/deployments/{id}/schedules/{schedule_id}"
    if schedule is None:
        if ours is not None:
            ask("DELETE", where, id=shown["id"], schedule_id=ours["id"])
        return ours is not None
    wanted = {"schedule": _times_of(schedule), "parameters": dict(schedule.inputs)}
    if ours is None:
        added = [{**wanted, "slug": SCHEDULE, "active": True}]
        ask("POST", "/deployments/{id}/schedules", added, id=shown["id"])
        return True
    times = ("cron", "interval", "timezone")  # the anchor comes back in another spelling
    same = all(ours["schedule"].get(key) == wanted["schedule"].get(key) for key in times)
    if same and ours["parameters"] == wanted["parameters"]:
        return False
    ask("PATCH", where, wanted, id=shown["id"], schedule_id=ours["id"])
    return True


def _times_of(schedule: Schedule) -> dict[str, Any]:
    if schedule.interval is None:
        return {"cron": schedule.cron, "timezone": schedule.timezone}
    return {
        "interval": schedule.interval.total_seconds(),
        "anchor_date": _ANCHOR,
        "timezone": schedule.timezone,
    }
