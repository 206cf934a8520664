"""Where runs are launched: in the process that admits them, or into a work pool by deployments."""

from __future__ import annotations

from datetime import timedelta

from deployments.register import DeployOrder, deploy_template
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import Template
from factory_runtime.orchestration.deployed import read_deployment
from factory_runtime.orchestration.launch import PoolLauncher
from factory_runtime.orchestration.work_pool import ensure_work_pool
from factory_runtime.ports import Launcher

_BY = "dispatcher"


def launcher_of(runtime: Runtime) -> Launcher:
    """How a dispatcher with these settings launches runs."""
    settings = runtime.settings
    if settings.work_pool is None:
        return runtime.launcher
    patience = timedelta(minutes=settings.start_minutes)
    deployments = RecordedDeployments(runtime, settings.work_pool)
    return PoolLauncher(runtime.inputs_of, settings.work_pool, patience, deployments)


class RecordedDeployments:
    """Implements ``orchestration.launch.Deployments`` by our own record of them."""

    def __init__(self, runtime: Runtime, pool: str) -> None:
        self._runtime = runtime
        self._pool = pool
        self._has_pool = False

    def deployment_of(self, run: Run) -> str:
        """Prefect's id of the one of the run's template and tenant.

        Where there is none, or somebody deleted it or its pool, it is made: without a schedule, for
        nobody asked for one.

        Raises:
            InputError: the template is gone and was not kept, or cannot be deployed.
            PrefectUnavailableError: no server answers.
            HostRejectedError: it refuses it.
        """
        if not self._has_pool:
            ensure_work_pool(self._pool)
            self._has_pool = True
        with self._runtime.store.begin(run.tenant_id, read_only=True) as tx:
            record = tx.find_deployment(run.template_id)
        if record is not None and _is_served(record.prefect_id):
            return record.prefect_id
        ensure_work_pool()
        order = DeployOrder(run.tenant_id, _BY, schedule_of=_none)
        template = self._runtime.catalog.load_to_offer(run)
        made = deploy_template(self._runtime, run.template_id, order, template)
        return made.deployment.prefect_id

    def leads_to(self, deployment_id: str, run: Run) -> bool:
        """Whether a flow run of it finds the run: by our record, or by the settings without one."""
        record = self._runtime.store.find_deployment(deployment_id)
        tenant_id = self._runtime.settings.tenant if record is None else record.tenant_id
        return tenant_id == run.tenant_id and _is_served(deployment_id)


def _is_served(deployment_id: str) -> bool:
    """Whether Prefect still has it, in a work pool."""
    shown = read_deployment(deployment_id)
    return shown is not None and shown["work_pool_name"] is not None


def _none(template: Template) -> None:
    """No schedule."""
    del template
