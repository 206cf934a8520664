"""Take a run request: check everything, compile, and commit Run, Jobs and Plan at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.compiler.plan import plan_to_json
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    RequestConflictError,
    StaleVersionError,
    TransientError,
)
from factory_runtime.domain.ids import digest_of, new_id
from factory_runtime.domain.json_values import find_bad_value
from factory_runtime.domain.plan import Plan, jobs_of
from factory_runtime.domain.records import OutboxMessage, RequestRecord, TemplateRecord
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.domain.template import Template
from factory_runtime.ports import RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.bodies import to_body
from factory_runtime.services.dispatch import leave_to_beginner
from factory_runtime.services.memory_uses import refuse_unknown, write_drawn_from
from factory_runtime.services.plan_request import plan_under_policy, refuse_bad_names
from factory_runtime.services.policy_check import Ruling, hold_quota
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.signals import RUN_ACCEPTED, RUN_REFUSED, signal_run
from factory_runtime.services.topics import MEMORY_OF_TEMPLATE
from factory_runtime.services.trace_request import tell_request
from factory_runtime.telemetry import new_trace_id
from factory_runtime.telemetry.tracing import current_trace_id

# What a refused request may have asked for and still be recorded.
_NAME_LENGTH = 200
_VERSION_LENGTH = 64

_ROWS = 20
"""Of a run, beside those of its jobs: words, events, messages."""

KEYS_OF_OURS = ("webhook:", "flow-run:")
"""What idempotency keys begin with that the factory makes: each names one thing of the tenant."""


def request_run(desk: RequestDesk, request: RunRequest) -> Run:
    """Accept a run: when this returns, it is committed and will survive any crash.

    The same idempotency key with the same body gives the run that stands. A refused request is
    recorded as a Failed run before the error is raised; the error's ``run_id`` names it. A key that
    was used for another body leaves no record: its run stands already.

    Raises:
        InputError: unknown template, invalid inputs (all of them), an invalid template; or the
            tenant's policy refuses it (with all rules that do); or it draws from memories that its
            project does not have.
        TransientError: the store, the disk or a broken policy; nothing is recorded and the request
            may come again.
        ConflictError: an edited published version, or an idempotency key with another body.
    """
    refuse_bad_names(request)
    body_digest = _body_digest(request)
    try:
        if (known := _known_run(desk, request, body_digest)) is not None:
            return known
        refuse_unknown(desk.memories, request)
        ground, tenant_id = desk.ground_of(request), request.tenant_id
        template = ground.template
        plan, ruling = plan_under_policy(
            desk.catalog,
            desk.policies,
            tenant_id,
            template,
            request.inputs,
            deadline=request.deadline,
            among=ground.policies,
        )
        plan = replace(plan, sources=ground.sources)
        return _commit(desk, request, template, plan, ruling, body_digest)
    except (RequestConflictError, TransientError):
        raise  # the key's run stands already; or nothing is wrong, and it may come again
    except StaleVersionError:
        # Somebody else committed the same idempotency key a moment ago.
        known = _known_run(desk, request, body_digest)
        if known is None:
            raise
        return known
    except FactoryError as refusal:
        _record_refusal(desk, request, refusal)
        raise


def _body_digest(request: RunRequest) -> str:
    return digest_of(
        {
            "project": request.project_id,
            "template": request.template,
            "version": request.version,
            "module": request.module_id,
            "priority": request.priority,
            "deadline": None if request.deadline is None else request.deadline.total_seconds(),
            "inputs": _storable_inputs(request),
            # Left out where there are none: keys of before are of the same requests still.
            **({"drawn_from": sorted(set(request.drawn_from))} if request.drawn_from else {}),
        }
    )


def _storable_inputs(request: RunRequest) -> dict[str, Any] | None:
    """The inputs as given; None where they are no JSON that the store could hold."""
    return None if find_bad_value(request.inputs) else dict(request.inputs)


def _known_run(desk: RequestDesk, request: RunRequest, body_digest: str) -> Run | None:
    if request.idempotency_key is None:
        return None
    with desk.store.begin(request.tenant_id, read_only=True) as tx:
        # The release before kept keys as they came, for all projects together.
        spellings = dict.fromkeys((key_of(request), request.idempotency_key))
        known = next(filter(None, map(tx.find_request, spellings)), None)
        if known is None:
            return None
        run = tx.get_run(known.run_id)
    if run.project_id != request.project_id:
        return None
    if known.body_digest != body_digest:
        raise RequestConflictError(
            f"the idempotency key {request.idempotency_key!r} was used for another request",
            hint=f"it gave {run.id}; choose a new key for a new request",
        )
    return run


def key_of(request: RunRequest) -> str:
    """The idempotency key as it is kept: of one project, but for those that the factory makes."""
    key = request.idempotency_key or ""
    return key if key.startswith(KEYS_OF_OURS) else f"project:{request.project_id}:{key}"


def _commit(
    desk: RequestDesk,
    request: RunRequest,
    template: Template,
    plan: Plan,
    ruling: Ruling,
    body_digest: str,
) -> Run:
    now = desk.clock.now()
    requested = _new_run(desk, request, template, plan, now)
    jobs = jobs_of(requested, plan)
    run = requested.move_to(RunStatus.VALIDATED, now)
    key = None if request.idempotency_key is None else key_of(request)
    detail = _told(request, template, plan)

    def write(tx: RunTransaction) -> None:
        if key is not None:
            tx.add_request(RequestRecord(run.tenant_id, key, body_digest, run.id, now))
        hold_quota(tx, ruling, run.requested_at)
        register_template(tx, template, now)
        tx.add_run(run, jobs, requested=requested, detail=detail)
        signal_run(tx, run, RUN_ACCEPTED, now)
        _leave_request(tx, run, now, "run.request")
        if run.flow_run_id is not None:
            leave_to_beginner(tx, run, now)
        write_drawn_from(tx, run, request.drawn_from, now)

    rows = _ROWS + len(jobs) + len(request.drawn_from)
    desk.commit(run.tenant_id, write, rows=rows, place=key or "")
    tell_request(run, desk.clock.now())
    return run


def _leave_request(tx: RunTransaction, run: Run, now: datetime, action: str, **facts: Any) -> None:
    template = {"template": run.template_id, "version": run.template_version}
    detail = {"project": run.project_id, **template, **facts}
    leave_audit(tx, run.requested_by, action, run.id, detail, now, trace_id=run.trace_id)


def _told(request: RunRequest, template: Template, plan: Plan) -> dict[str, Any]:
    """For the run's history: a deadline that nobody asked for comes from the policy."""
    if request.deadline is not None or plan.deadline in (None, template.deadline):
        return {}
    return {"deadline_of_policy": plan.deadline.total_seconds()}


def register_template(tx: RunTransaction, template: Template, now: datetime) -> None:
    """Write a template's version down; one that is new is remembered.

    Raises:
        TemplateChangedError: this version stands already, with other content.
    """
    record = TemplateRecord(
        tenant_id=tx.tenant_id,
        template_id=template.id,
        version=template.version,
        digest=template.digest,
        title=template.title,
        description=template.description,
        published_at=now,
        inputs_schema=template.inputs_schema,
    )
    if tx.register_template(record):
        tx.add_message(
            OutboxMessage(
                id=new_id("msg"),
                tenant_id=tx.tenant_id,
                topic=MEMORY_OF_TEMPLATE,
                key=f"{template.id}@{template.version}",
                payload={"template_id": template.id, "version": template.version},
                created_at=now,
                not_before=now,
            )
        )


def _new_run(
    desk: RequestDesk, request: RunRequest, template: Template, plan: Plan, now: datetime
) -> Run:
    # Always in storage: a plan is read by whoever executes, never by a query.
    stored = desk.storage.put(request.tenant_id, plan_to_json(plan).encode())
    blank = _blank_run(request, now)
    return replace(
        blank,
        template_id=template.id,
        template_version=template.version,
        template_digest=template.digest,
        inputs=to_body(desk.storage, request.tenant_id, plan.inputs),
        inputs_digest=digest_of(plan.inputs),
        plan=Body(reference=BodyReference(stored.digest, stored.size)),
        deadline_at=_deadline(now, request.deadline, plan.deadline),
    )


def _blank_run(request: RunRequest, now: datetime) -> Run:
    run_id = new_id("run")
    return Run(
        id=run_id,
        tenant_id=request.tenant_id,
        project_id=request.project_id,
        module_id=request.module_id,
        template_id=request.template,
        template_version=request.version or "",
        template_digest="",
        status=RunStatus.REQUESTED,
        inputs=Body(inline={}),
        requested_by=request.requested_by,
        requested_at=now,
        updated_at=now,
        trace_id=request.trace_id or current_trace_id() or new_trace_id(),
        correlation_id=request.correlation_id or run_id,
        priority=request.priority,
        flow_run_id=request.flow_run_id,
        delivery_id=request.delivery_id,
        metadata=request.metadata,
    )


def _deadline(now: datetime, *limits: timedelta | None) -> datetime | None:
    given = [limit for limit in limits if limit is not None]
    try:
        return now + min(given) if given else None
    except OverflowError as exc:
        raise InputError(
            f"a deadline of {min(given).days} days is beyond the calendar", hint="give less time"
        ) from exc


def _record_refusal(desk: RequestDesk, request: RunRequest, refusal: FactoryError) -> None:
    now = desk.clock.now()
    requested = replace(
        _blank_run(request, now),
        template_id=request.template[:_NAME_LENGTH],
        template_version=(request.version or "")[:_VERSION_LENGTH],
        inputs=to_body(desk.storage, request.tenant_id, _storable_inputs(request) or {}),
    )
    failed = requested.move_to(RunStatus.FAILED, now, error=refusal.explain())
    try:
        with desk.store.begin(request.tenant_id) as tx:
            tx.add_run(failed, requested=requested, detail={"reason": refusal.code})
            signal_run(tx, failed, RUN_REFUSED, now, error_code=refusal.code)
            _leave_request(tx, failed, now, "run.request-refused", reason=refusal.code)
    except InputError:
        return  # some other part of the request fits no row; the refusal itself is raised
    refusal.run_id = requested.id
    tell_request(failed, desk.clock.now())
