"""Register templates in Prefect: one deployment for each template and tenant."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from prefect import Flow

import flows.templates
from factory_runtime.bootstrap import Runtime
from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import (
    InputError,
    InvalidInputsError,
    LeaseLostError,
    TransientError,
)
from factory_runtime.domain.ids import digest_of, new_id
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.run import Priority
from factory_runtime.domain.template import Schedule, Template
from factory_runtime.orchestration.deployed import (
    WantedDeployment,
    bring_to,
    find_deployment,
    make_deployment,
)
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.locks import take_lock
from factory_runtime.services.request_run import register_template
from factory_runtime.telemetry import worker_name
from flows.forms import form_of
from flows.templates import entry_name

_LOCK = timedelta(seconds=60)
_LOOK_AGAIN = 0.2


def own_schedule(template: Template) -> Schedule | None:
    """The one that the template declares."""
    return template.schedule


@dataclass(frozen=True, slots=True)
class DeployOrder:
    """Whom a template is deployed for, and how; None is as it was deployed before.

    Attributes:
        by: who wants it.
        project_id: of the runs that begin in it; at first that of the settings.
        priority: of these runs, and their work queue; at first normal.
        schedule_of: what it is to be started by; where it says None, that is no schedule.
        waits: for whoever deploys the same just now; else that is an error.
    """

    tenant_id: str
    by: str
    project_id: str | None = None
    priority: Priority | None = None
    schedule_of: Callable[[Template], Schedule | None] | None = own_schedule
    waits: bool = True


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that stands.

    Attributes:
        schedule: that it was given; None where it was given none, or keeps what it has.
        is_new: whether Prefect knew none of that name.
        changed: what was different in Prefect: since the last deploy, or because somebody edited it.
    """

    deployment: Deployment
    schedule: Schedule | None
    is_new: bool
    changed: tuple[str, ...]


def deploy_template(
    runtime: Runtime, name: str, order: DeployOrder, template: Template | None = None
) -> Deployed:
    """Have Prefect offer a template to a tenant, and write down that it does. Idempotent.

    Our record is there before any worker may take a run of it: whose that is, is read in the record
    alone. The work pool has to be there (``ensure_work_pool``).

    Raises:
        InputError: there is no such template, it has mistakes, or cannot be deployed.
        TemplateChangedError: this version was published with other content.
        StaleVersionError: Prefect's deployment is recorded as somebody else's.
        LeaseLostError: somebody else deploys the same, and would leave some of each.
        PrefectUnavailableError: no server answers; doing it again goes on.
        HostRejectedError: it refuses it.
    """
    template = template or runtime.catalog.load(name, tenant_id=order.tenant_id)
    _refuse_hidden(runtime, template, order.tenant_id)
    published = runtime.catalog.publication_of(template, order.tenant_id)
    schedule = None if order.schedule_of is None else order.schedule_of(template)
    _check_inputs(template, schedule)
    form = form_of(template.inputs_schema)
    with _one_at_a_time(runtime, order, name) as still_mine:
        blank = _wanted(template, published, order.tenant_id, "", Priority.NORMAL, form, schedule)
        shown = find_deployment(blank.flow, blank.name)
        stands = make_deployment(blank) if shown is None else shown
        record = _record(runtime, template, order, str(stands["id"]), digest_of(form))
        tenant_id, project_id = order.tenant_id, record.project_id
        wanted = _wanted(
            template, published, tenant_id, project_id, record.priority, form, schedule
        )
        still_mine()
        changed = bring_to(stands, replace(wanted, keeps_schedule=order.schedule_of is None))
    return Deployed(record, schedule, shown is None, changed)


def withdraw_gone(runtime: Runtime, tenant_id: str, by: str) -> tuple[Deployment, ...]:
    """A tenant's deployments whose templates are gone, and recorded so from now on.

    Prefect's are let be: another machine may have them still, and where none has, a run that is
    started in one fails and says why.
    """
    names, now = runtime.catalog.names(tenant_id), runtime.clock.now()
    gone: list[Deployment] = []
    with runtime.store.begin(tenant_id) as tx:
        for deployment in tx.list_deployments():
            if deployment.template_id in names:
                continue
            if deployment.withdrawn_at is None:
                deployment = replace(deployment, withdrawn_at=now)
                tx.save_deployment(deployment)
                detail = {"prefect_id": deployment.prefect_id}
                leave_audit(tx, by, "template.withdraw", deployment.template_id, detail, now)
            gone.append(deployment)
    return tuple(gone)


def _refuse_hidden(runtime: Runtime, template: Template, tenant_id: str) -> None:
    """Refuse a template that its entrypoint does not lead to."""
    name = entry_name(template.id)
    same = [one for one in runtime.catalog.names(tenant_id) if entry_name(one) == name]
    if len(same) > 1:
        raise InputError(
            f"the templates {' and '.join(same)} are one flow for Prefect: flows.templates.{name}",
            hint="rename one of them",
        )
    if name in vars(flows.templates) and not isinstance(vars(flows.templates)[name], Flow):
        raise InputError(
            f"the template {template.id} cannot be deployed: flows.templates.{name} is taken",
            hint="rename it",
        )


def _check_inputs(template: Template, schedule: Schedule | None) -> None:
    """Refuse a schedule whose runs would all be refused: nobody is there to be asked for more."""
    if schedule is None:
        return
    problems = normalise_inputs(template.inputs_schema, schedule.inputs)[1]
    if problems:
        raise InvalidInputsError(
            f"{template.id} cannot start by a schedule with these inputs",
            problems,
            hint="give defaults, or the schedule's `inputs` in the template",
        )


def _record(
    runtime: Runtime, template: Template, order: DeployOrder, prefect_id: str, schema_digest: str
) -> Deployment:
    now = runtime.clock.now()
    with runtime.store.begin(order.tenant_id) as tx:
        before = tx.find_deployment(template.id)
        project = runtime.settings.project if before is None else before.project_id
        priority = Priority.NORMAL if before is None else before.priority
        record = Deployment(
            tenant_id=order.tenant_id,
            template_id=template.id,
            prefect_id=prefect_id,
            version=template.version,
            project_id=order.project_id or project,
            schema_digest=schema_digest,
            priority=order.priority or priority,
            deployed_at=now,
            deployed_by=order.by,
        )
        register_template(tx, template, now)
        tx.save_deployment(record)
        detail = {"version": record.version, "project": record.project_id, "prefect_id": prefect_id}
        leave_audit(tx, order.by, "template.deploy", template.id, detail, now)
    return record


def _wanted(
    template: Template,
    published: Publication | None,
    tenant_id: str,
    project_id: str,
    priority: Priority,
    form: dict[str, Any],
    schedule: Schedule | None,
) -> WantedDeployment:
    tags = (f"tenant:{tenant_id}", f"project:{project_id}", f"template:{template.id}")
    return WantedDeployment(
        flow=template.id,
        name=tenant_id,
        entrypoint=f"flows.templates.{entry_name(template.id)}",
        version=template.version,
        description=_description(template, published),
        tags=tags,
        form=form,
        queue=priority.value,
        schedule=schedule,
    )


def _description(template: Template, published: Publication | None) -> str:
    """Markdown for Prefect's page of the deployment."""
    about = template.description.strip()
    lines = [
        f"**{template.title}** {template.version}",
        about,
        f"Docs: {_docs(template, published)}",
    ]
    return "\n\n".join(line for line in lines if line)


def _docs(template: Template, published: Publication | None) -> str:
    """The page that the template names, or where it came from."""
    if template.docs:
        return f"<{template.docs}>"
    if published is not None:  # its folder is a copy, and another one on each machine
        at = "" if published.commit_id is None else f" at {published.commit_id}"
        return f"`{published.origin}{at}`"
    readme = template.folder / "README.md"
    return f"`{readme if readme.is_file() else template.folder / 'template.yaml'}`"


@contextmanager
def _one_at_a_time(
    runtime: Runtime, order: DeployOrder, template_id: str
) -> Generator[Callable[[], None]]:
    """Wait for whoever deploys the same: two that mix would leave some of each.

    Gives what makes sure that it was not too slow for that.

    Raises:
        LeaseLostError: somebody else does it, and the order does not wait; or did not wait.
    """
    store, clock, tenant_id = runtime.store, runtime.clock, order.tenant_id
    name, holder = f"deploy:{template_id}", new_id(worker_name())

    def taken() -> bool:
        now = clock.now()
        with store.begin(tenant_id) as tx:
            return take_lock(tx, name, holder, now, now + _LOCK)

    def still_mine() -> None:
        with store.begin(tenant_id) as tx:
            held = tx.renew_lock(name, holder, clock.now() + _LOCK)
        if not held:
            raise _taken(template_id, tenant_id)

    while not taken():
        if not order.waits:
            raise _taken(template_id, tenant_id)
        time.sleep(_LOOK_AGAIN)
    try:
        yield still_mine
    finally:
        with suppress(TransientError), store.begin(tenant_id) as tx:  # it expires by itself
            tx.unlock(name, holder)


def _taken(template_id: str, tenant_id: str) -> LeaseLostError:
    return LeaseLostError(f"somebody else deploys {template_id} for {tenant_id} just now")
