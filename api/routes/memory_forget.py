"""Forgetting: erase what a run, a project or the tenant taught."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import Admin
from api.context import Here
from api.problems import documented
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.errors import InputError, RunNotFoundError
from factory_runtime.domain.memory import ForgetScope
from factory_runtime.services.forget_memory import forget
from factory_runtime.services.refold import refold
from factory_runtime.services.visible import require_in, visible_run
from factory_runtime.wire.forgotten import ErasedAnswer

router = APIRouter(prefix="/memory", tags=["memory"])

RunId = Annotated[str, Path(alias="runId", min_length=1, max_length=64)]
ProjectId = Annotated[str, Path(alias="projectId", min_length=1, max_length=200)]
TenantId = Annotated[str, Query(min_length=1, max_length=64, description="to say what you mean")]


@router.delete("/runs/{runId}", responses=documented(404))
def forget_run(run_id: RunId, admin: Admin, api: Here) -> ErasedAnswer:
    """Erase what a run taught, for good; the run itself stays."""
    try:
        with api.runtime.store.begin(admin.tenant_id, read_only=True) as tx:
            visible_run(tx, admin, run_id, Right.ADMINISTER)
    except RunNotFoundError:
        # What was learned outlives the run: then it is for admins of the whole tenant.
        if admin.projects(Right.ADMINISTER) is not None:
            raise
    return _forget(api, admin, ForgetScope.RUN, run_id)


@router.delete("/projects/{projectId}", responses=documented(404))
def forget_project(project_id: ProjectId, admin: Admin, api: Here) -> ErasedAnswer:
    """Erase what the runs and documents of a project taught, for good."""
    require_in(admin, Right.ADMINISTER, project_id)
    return _forget(api, admin, ForgetScope.PROJECT, project_id)


@router.delete("")
def forget_everything(tenant: TenantId, admin: Admin, api: Here) -> ErasedAnswer:
    """Erase the tenant's whole memory, for good: for admins of the whole tenant."""
    require_in(admin, Right.ADMINISTER, None)
    if tenant != admin.tenant_id:
        raise InputError(f"{tenant!r} is not your tenant", hint="name it to say what you mean")
    return _forget(api, admin, ForgetScope.TENANT, "")


def _forget(api: Here, admin: Principal, scope: ForgetScope, key: str) -> ErasedAnswer:
    store, clock = api.runtime.store, api.runtime.clock
    return ErasedAnswer.of(forget(store, clock, refold, admin.tenant_id, scope, key, admin.name))
