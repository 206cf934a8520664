"""Which automations the factory wants: zombies, dead letters, and deployments run on events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect.automations import (
    AutomationCore,
    ChangeFlowRunState,
    DoNothing,
    EventTrigger,
    Posture,
    ResourceSpecification,
    RunDeployment,
    SendNotification,
)
from prefect.client.schemas.objects import StateType

from deployments.automations import Wanted
from factory_runtime.domain.errors import InputError
from factory_runtime.orchestration.prefect_api import GoneError, ask

SILENCE = timedelta(minutes=10)
"""How long a flow run may give no sign of life. Prefect's own heartbeat comes every three minutes:
two of them may get lost, and what is late by some seconds is no zombie."""

SWEEP = "sweep"
"""Name of the flow that takes up what killed processes left."""

_ENTRYPOINT = "flows.sweep.sweep"
"""Another flow of that name, of somebody else's, may do anything."""

_FLOW_RUN = "prefect.flow-run."
_HEARTBEAT = f"{_FLOW_RUN}heartbeat"
_CRASHED = f"{_FLOW_RUN}Crashed"
_AT_REST = (
    "Completed",
    "Replaced",
    "Failed",
    "Cancelled",
    "Crashed",
    "Paused",
    "Waiting",
    "Queued",
    "Scheduled",
    "AwaitingRetry",
    "Late",
    "Pending",
)
"""States that a flow run gives no sign of life in. Running is none of them: that event may come
after the first heartbeat, and would be taken for the next one."""


def zombies(silence: timedelta = SILENCE) -> Wanted:
    """Marks flow runs as Crashed whose process says nothing any more.

    Nothing but what Prefect shows depends on it: a run whose process is gone is taken up again by
    our own leases, minutes before.
    """
    tag = "factory:zombies"
    trigger = EventTrigger(
        posture=Posture.Proactive,
        after={_HEARTBEAT},
        expect={_HEARTBEAT, *(f"{_FLOW_RUN}{name}" for name in _AT_REST)},
        match=ResourceSpecification({"prefect.resource.id": f"{_FLOW_RUN}*"}),
        match_related=_of_tenants(),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=silence,
    )
    seconds = f"{silence.total_seconds():g} s"
    crash = ChangeFlowRunState(
        name=None, state=StateType.CRASHED, message=f"no sign of life for {seconds}", force=False
    )
    automation = AutomationCore(
        name="Factory: zombies",
        description=f"Flow runs of the factory without a sign of life for {seconds} are Crashed. "
        "Their runs have gone on in another process by then.",
        tags=["factory", tag],
        trigger=trigger,
        actions=[crash],
    )
    return Wanted(tag, automation)


def dead_letters(target: UUID | None = None) -> Wanted:
    """Alerts of jobs that failed for good: of a new kind of failure, or once an hour of a known one.

    Without a notification block as ``target`` it does nothing yet: people choose in the UI.
    """
    tag = "factory:dead-letters"
    automation = AutomationCore(
        name="Factory: dead letters",
        description="Jobs have failed for good and wait for a person: a new kind of failure, or "
        "once an hour one that is known.",
        tags=["factory", tag],
        trigger=_whenever("factory.dead-letter.alerted"),
        actions=[DoNothing() if target is None else _alert(target)],
    )
    return Wanted(tag, automation, own_actions=target is not None)


def sweep_after_crashes(deployment: UUID) -> Wanted:
    """Runs the sweep as soon as a flow run of ours has crashed, and not only when it is due."""
    tag = "factory:sweep-after-crashes"
    automation = AutomationCore(
        name="Factory: sweep after crashes",
        description="A flow run of the factory has crashed: the sweep takes its run up again.",
        tags=["factory", tag],
        trigger=_whenever(_CRASHED, _of_tenants()),
        actions=[_run(deployment, None)],
    )
    return Wanted(tag, automation)


def run_on_event(event: str, name: str, deployment: UUID, parameters: Mapping[str, Any]) -> Wanted:
    """Runs a deployment whenever an event comes, like that of a webhook.

    Args:
        event: its name, like ``factory.run.succeeded``; a ``*`` at the end is any.
        name: of the deployment, as ``flow/deployment``.
        deployment: its id.
        parameters: of the flow run; text may be a Jinja template over ``event``.
    """
    tag = f"factory:on:{event}:{name}"
    automation = AutomationCore(
        name=f"Factory: {event} runs {name}",
        description=f"Whenever {event} comes, {name} is run.",
        tags=["factory", tag],
        trigger=_whenever(event),
        actions=[_run(deployment, dict(parameters))],
    )
    return Wanted(tag, automation)


def find_deployment(name: str) -> UUID:
    """The id of the deployment ``flow/deployment``.

    Raises:
        InputError: there is none, or it is no such name.
        PrefectUnavailableError: no server answers.
    """
    flow, _, deployment = name.partition("/")
    if not (flow and deployment):
        raise InputError(f"{name!r} is no deployment", hint="write it as FLOW/DEPLOYMENT")
    try:
        found = ask(
            "GET",
            "/deployments/name/{flow_name}/{deployment_name}",
            flow_name=quote(flow, safe=""),
            deployment_name=quote(deployment, safe=""),
        )
    except GoneError as exc:
        raise InputError(f"Prefect has no deployment {name}") from exc
    return UUID(found["id"])


def find_sweep() -> UUID | None:
    """The id of a deployment of our sweep, the first by its name; None where there is none."""
    wanted = {"flows": {"name": {"any_": [SWEEP]}}, "sort": "NAME_ASC"}
    found = ask("POST", "/deployments/filter", wanted)
    return next((UUID(one["id"]) for one in found if one["entrypoint"] == _ENTRYPOINT), None)


def find_target(name: str) -> UUID:
    """The id of the notification block ``TYPE/NAME``, like ``slack-webhook/ops``.

    Raises:
        InputError: there is none, or it is no such name.
        PrefectUnavailableError: no server answers.
    """
    kind, _, block = name.partition("/")
    if not (kind and block):
        raise InputError(f"{name!r} is no block", hint="write it as TYPE/NAME: slack-webhook/ops")
    try:
        found = ask(
            "GET",
            "/block_types/slug/{slug}/block_documents/name/{block_document_name}",
            slug=quote(kind, safe=""),
            block_document_name=quote(block, safe=""),
        )
    except GoneError as exc:
        raise InputError(f"Prefect has no block {name}") from exc
    if "notify" not in found["block_schema"]["capabilities"]:
        raise InputError(f"the block {name} sends no notifications")
    return UUID(found["id"])


def _whenever(event: str, related: ResourceSpecification | None = None) -> EventTrigger:
    return EventTrigger(
        posture=Posture.Reactive,
        expect={event},
        match_related=related or ResourceSpecification({}),
        threshold=1,
        within=timedelta(0),
    )


def _of_tenants() -> ResourceSpecification:
    """Flow runs of the factory, of all that a server has: they bear their tenant's tag."""
    return ResourceSpecification(
        {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.tenant:*"}
    )


def _alert(target: UUID) -> SendNotification:
    return SendNotification(
        block_document_id=target,
        subject="Dead letters of {{ event.payload.tenant }}",
        body="{{ event.payload.facts.job_type }}: {{ event.payload.facts.error_code }}, "
        "{{ event.payload.facts.letters }} waiting\n"
        "factory dead-letters list --tenant {{ event.payload.tenant }} "
        "--fingerprint {{ event.payload.facts.fingerprint }}",
    )


def _run(deployment: UUID, parameters: dict[str, Any] | None) -> RunDeployment:
    return RunDeployment(
        source="selected", deployment_id=deployment, parameters=parameters, job_variables=None
    )
