"""Template → Prefect flow. ``flows.templates.<name>`` is the flow of the template ``<name>``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.states import Failed

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    PrefectUnavailableError,
    StoreUnavailableError,
    TemplateNotFoundError,
    TransientError,
)
from factory_runtime.domain.run import PREFECT, Priority, Run, RunRequest
from factory_runtime.services.dispatch import admit, leave_to_dispatchers
from factory_runtime.services.request_run import request_run
from factory_runtime.services.steadily import steadily
from factory_runtime.telemetry.tracing import mark_span
from flows.forms import lenient_signature, parameters_of, signature_of
from flows.hooks import after_run, shared_runtime
from flows.loading import LoadedFor, dispatched, loaded_for
from flows.walk import walk_run
from tasks.threads import in_thread

_REASON_LENGTH = 4000

_ASK_AGAIN = 0.5
"""Seconds between two requests of one run, while the store is away."""


def entry_name(template_id: str) -> str:
    """What a template's flow is called here: no name of Python's has a hyphen or a dot."""
    return template_id.replace("-", "_").replace(".", "_")


def __getattr__(name: str) -> Flow[..., Any]:
    """The flow of a template, found by its name with ``_`` for ``-`` and ``.``.

    Where it is loaded to execute a flow run, there always is one: of a template that is gone, or
    cannot be read any more, it fails with the reason, and leaves a record.

    Raises:
        AttributeError: no template is called that.
        TransientError: what it is made of cannot be read now.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    given = _loaded_for()
    if given is not None:
        # In a thread of Prefect's: what is waited for there holds up no other run.
        return steadily(lambda _: _flow_to_execute(name, given), _patience(shared_runtime()))
    runtime = shared_runtime()
    catalog, tenant_id = runtime.catalog, runtime.settings.tenant
    for template in catalog.names(tenant_id):
        if entry_name(template) == name:
            found = catalog.load(template, tenant_id=tenant_id)
            return template_flow(found.id, found.version, found.description, found.inputs_schema)
    raise AttributeError(f"module {__name__!r} has no template {name!r}")


def _loaded_for() -> LoadedFor | None:
    """Likewise, asked again while Prefect's server is away: nobody would begin the run again."""
    until = None
    while True:
        try:
            return loaded_for()
        except PrefectUnavailableError:
            now = time.monotonic()
            until = until or now + _patience(shared_runtime()).total_seconds()
            if now >= until:
                raise
        time.sleep(_ASK_AGAIN)


def _flow_to_execute(name: str, given: LoadedFor) -> Flow[..., Any]:
    runtime = shared_runtime()
    tenant_id, template_id = runtime.settings.tenant, name.replace("_", "-")
    try:
        record = None
        if given.deployment_id is not None:
            record = runtime.store.find_deployment(given.deployment_id)
        if record is not None:
            tenant_id, template_id = record.tenant_id, record.template_id
        else:
            names = (one for one in runtime.catalog.names(tenant_id) if entry_name(one) == name)
            template_id = next(names, template_id)
        found = runtime.catalog.load(template_id, tenant_id=tenant_id)
        version, description, schema = found.version, found.description, found.inputs_schema
    except TransientError:
        raise  # by a guess at its template, a good run would be refused
    except FactoryError:  # requesting the run says so once more, and is recorded
        version, description, schema = "", "", dict[str, Any]()
    return template_flow(template_id, version, description, schema, given=given.parameters)


def flow_of_run(runtime: Runtime, run: Run) -> Flow[..., Any]:
    """The flow of a run's template as it was published, whatever its folder holds by now.

    Raises:
        TemplateNotFoundError: it was never published here.
    """
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        for record in tx.list_templates():
            if (record.template_id, record.version) == (run.template_id, run.template_version):
                schema = json.dumps(record.inputs_schema)
                return _published_flow(
                    record.template_id, record.version, record.description, schema
                )
    raise TemplateNotFoundError(f"no template {run.template_id} {run.template_version}")


@lru_cache(maxsize=64)
def _published_flow(
    template_id: str, version: str, description: str, schema: str
) -> Flow[..., Any]:
    # Kept: making a flow builds a pydantic model of its parameters, which takes 10 ms.
    return template_flow(template_id, version, description, json.loads(schema))


def template_flow(
    template_id: str,
    version: str,
    description: str,
    inputs_schema: Mapping[str, Any],
    *,
    given: Iterable[str] | None = None,
) -> Flow[..., Any]:
    """An async flow named and versioned after the template, its parameters typed by its inputs.

    The inputs are checked by ``request_run``, which records a refusal; Prefect does not check them
    before, because it would leave no record and name one problem at a time.

    Args:
        template_id: its name.
        version: its own.
        description: its own, for people.
        inputs_schema: JSON Schema of its inputs.
        given: names of what it is to be executed with, which need not fit; None where nobody knows.
    """
    optional = _without_default(inputs_schema)

    async def run_template(**_inputs: Any) -> State[Any]:
        return await _run(template_id, optional)

    run_template.__name__ = entry_name(template_id)
    run_template.__qualname__ = run_template.__name__
    run_template.__doc__ = description
    # A flow declared with **inputs crashes in Prefect's worker: it wants a real signature.
    known = given is None
    signature = signature_of(inputs_schema) if known else lenient_signature(inputs_schema, given)
    run_template.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run_template.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items() if known
    }
    made = Flow(
        run_template,
        name=template_id,
        version=version,
        description=description,
        validate_parameters=False,
        persist_result=False,
        log_prints=False,
        on_completion=[after_run],
        on_failure=[after_run],
        on_cancellation=[after_run],
        on_crashed=[after_run],
    )
    made.parameters = parameters_of(inputs_schema)
    return made


async def _run(template_id: str, optional: Collection[str]) -> State[Any]:
    runtime = shared_runtime()
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise ConflictError("a template's flow runs inside Prefect only")
    flow_run = context.flow_run
    if (key := dispatched()) is not None:
        return await walk_run(runtime, key.tenant_id, key.run_id, str(flow_run.id))
    # Not those that the function was called with: its signature gives every parameter a value.
    inputs = {k: v for k, v in flow_run.parameters.items() if v is not None or k not in optional}
    try:
        run = await _adopt_steadily(runtime, template_id, inputs, flow_run)
    except TransientError:
        raise  # nothing is recorded, and it may come again
    except FactoryError as refusal:
        return Failed(message=_refused(refusal))
    if not run.ended and run.admitted_at is None:
        # It gives its process back; the dispatcher starts it when its turn has come.
        await in_thread(runtime.launcher.show_status, run)
        await in_thread(leave_to_dispatchers, runtime.store, run)
        raise Abort(f"{run.id} waits to be admitted")
    return await walk_run(runtime, run.tenant_id, run.id, str(flow_run.id))


def _adopt(runtime: Runtime, template_id: str, inputs: dict[str, Any], flow_run: FlowRun) -> Run:
    """The run of a deployment's flow run: that it was launched for, or else requested from inside.

    It is requested once per flow run. One without a slot gets it where its turn has come: somebody
    may have had Prefect begin its flow run again.

    Whose it is, is said by our record of its deployment; without one, by the settings.
    """
    settings, flow_run_id = runtime.settings, str(flow_run.id)
    record = None
    if flow_run.deployment_id is not None:
        record = runtime.store.find_deployment(str(flow_run.deployment_id))
    tenant_id = settings.tenant if record is None else record.tenant_id
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        run = tx.find_run_by_flow_run(flow_run_id)
    if run is None:
        run = request_run(
            runtime.desk,
            RunRequest(
                tenant_id=tenant_id,
                project_id=settings.project if record is None else record.project_id,
                template=template_id if record is None else record.template_id,
                inputs=inputs,
                requested_by=PREFECT,
                priority=Priority.NORMAL if record is None else record.priority,
                idempotency_key=f"flow-run:{flow_run_id}",
                flow_run_id=flow_run_id,
            ),
        )
    mark_span(run_id=run.id, tenant_id=run.tenant_id)
    if not run.ended and run.admitted_at is None:
        cap, limits_of = settings.max_running_runs, runtime.policies.limits_of
        run = admit(runtime.store, runtime.clock, run, cap, runtime.engine.worker, limits_of)
    return run


async def _adopt_steadily(
    runtime: Runtime, template_id: str, inputs: dict[str, Any], flow_run: FlowRun
) -> Run:
    """Likewise, asked again while the store is away: no record tells of the run yet.

    Raises:
        StoreUnavailableError: it stayed away for longer than a lease.
    """
    until = None
    while True:
        try:
            return await in_thread(_adopt, runtime, template_id, inputs, flow_run)
        except StoreUnavailableError:
            now = time.monotonic()
            until = until or now + _patience(runtime).total_seconds()
            if now >= until:
                raise
        await asyncio.sleep(_ASK_AGAIN)  # on no thread: those of other runs need them


def _patience(runtime: Runtime) -> timedelta:
    """How long the store may be away for a run that is about to begin."""
    return timedelta(seconds=runtime.settings.lease_seconds)


def _refused(refusal: FactoryError) -> str:
    """Why, for who looks at the flow run: nobody else is there to be told."""
    run = "the run" if refusal.run_id is None else refusal.run_id
    return f"{run} was refused: {refusal.explain()}"[:_REASON_LENGTH]


def _without_default(schema: Mapping[str, Any]) -> frozenset[str]:
    required = set(schema.get("required", ()))
    properties: Mapping[str, Any] = schema.get("properties", {})
    return frozenset(
        name
        for name, about in properties.items()
        if name not in required and not (isinstance(about, Mapping) and "default" in about)
    )
