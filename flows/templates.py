"""Template → Prefect flow. ``flows.templates.<name>`` is the flow of the template ``<name>``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, Optional

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.utilities.callables import ParameterSchema

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import ConflictError, TemplateNotFoundError
from factory_runtime.domain.run import PREFECT, Run, RunRequest, RunStatus
from factory_runtime.orchestration.labels import RUN_ID, TENANT_ID
from factory_runtime.services.dispatch import admit
from factory_runtime.services.request_run import request_run
from flows.hooks import after_run, shared_runtime
from flows.walk import walk_run
from tasks.threads import in_thread

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
    "null": None,
}


def __getattr__(name: str) -> Flow[..., Any]:
    """The flow of a template, found by its name with ``_`` for ``-``.

    Raises:
        AttributeError: no template is called that.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    catalog = shared_runtime().catalog
    for template in catalog.names():
        if template.replace("-", "_") == name:
            found = catalog.load(template)
            return template_flow(found.id, found.version, found.description, found.inputs_schema)
    raise AttributeError(f"module {__name__!r} has no template {name!r}")


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
    template_id: str, version: str, description: str, inputs_schema: Mapping[str, Any]
) -> Flow[..., Any]:
    """An async flow named and versioned after the template, its parameters typed by its inputs.

    The inputs are checked by ``request_run``, which records a refusal; Prefect does not check them
    before, because it would leave no record and name one problem at a time.
    """
    optional = _without_default(inputs_schema)

    async def run_template(**inputs: Any) -> State[Any]:
        # A signature has to give every parameter a value; None stands for one that was not given.
        given = {k: v for k, v in inputs.items() if v is not None or k not in optional}
        return await _run(template_id, given)

    run_template.__name__ = template_id.replace("-", "_")
    run_template.__qualname__ = run_template.__name__
    run_template.__doc__ = description
    # A flow declared with **inputs crashes in Prefect's worker: it wants a real signature.
    signature = _signature(inputs_schema)
    run_template.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    run_template.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
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
    made.parameters = _form(inputs_schema)
    return made


async def _run(template_id: str, inputs: dict[str, Any]) -> State[Any]:
    runtime = shared_runtime()
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise ConflictError("a template's flow runs inside Prefect only")
    flow_run = context.flow_run
    flow_run_id = str(flow_run.id)
    run_id = flow_run.labels.get(RUN_ID)
    if run_id is None:
        run = await in_thread(_adopt, runtime, template_id, inputs, flow_run_id)
        if not run.ended and run.admitted_at is None:
            # It gives its process back; the dispatcher starts it when its turn has come.
            await in_thread(runtime.launcher.show_status, run)
            raise Abort(f"{run.id} waits to be admitted")
        return await walk_run(runtime, run.tenant_id, run.id, flow_run_id)
    tenant_id = str(flow_run.labels.get(TENANT_ID))
    return await walk_run(runtime, tenant_id, str(run_id), flow_run_id)


def _adopt(runtime: Runtime, template_id: str, inputs: dict[str, Any], flow_run_id: str) -> Run:
    """A run that began in Prefect: request it from inside, once per flow run."""
    tenant_id = runtime.settings.tenant
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        run = tx.find_run_by_flow_run(flow_run_id)
    if run is None:
        run = request_run(
            runtime.desk,
            RunRequest(
                tenant_id=tenant_id,
                project_id=runtime.settings.project,
                template=template_id,
                inputs=inputs,
                requested_by=PREFECT,
                idempotency_key=f"flow-run:{flow_run_id}",
                flow_run_id=flow_run_id,
            ),
        )
    if run.status is RunStatus.VALIDATED:
        cap, limits_of = runtime.settings.max_running_runs, runtime.policies.limits_of
        run = admit(runtime.store, runtime.clock, run, cap, runtime.engine.worker, limits_of)
    return run


def _signature(schema: Mapping[str, Any]) -> inspect.Signature:
    required = set(schema.get("required", ()))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_annotation(about, name in required),
            default=inspect.Parameter.empty if name in required else about.get("default"),
        )
        for name, about in schema.get("properties", {}).items()
    ]
    return inspect.Signature(parameters)


def _annotation(about: Mapping[str, Any], required: bool) -> Any:
    base: Any
    if "enum" in about:
        base = Literal[tuple(about["enum"])]  # pyright: ignore[reportInvalidTypeForm]
    elif about.get("type") == "array":
        base = list[_TYPES.get(about.get("items", {}).get("type"), Any)]
    else:
        base = _TYPES.get(str(about.get("type")), Any)
    if not required and "default" not in about:
        base = Optional[base]  # noqa: UP045 - `base | None` fails on Literal of values
    return base


def _without_default(schema: Mapping[str, Any]) -> frozenset[str]:
    required = set(schema.get("required", ()))
    properties: Mapping[str, Any] = schema.get("properties", {})
    return frozenset(
        name
        for name, about in properties.items()
        if name not in required and "default" not in about
    )


def _form(schema: Mapping[str, Any]) -> ParameterSchema:
    """What a form shows: the template's own schema, which says more than a signature can."""
    properties = {
        name: {"title": name, **about, "position": position}
        for position, (name, about) in enumerate(schema.get("properties", {}).items())
    }
    return ParameterSchema(
        properties=properties,
        required=list(schema.get("required", ())),
        definitions=dict(schema.get("$defs", {})),
    )
