"""Where runs are launched: in the process that admits them, or into a work pool by deployments."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from deployments.register import DeployOrder, deploy_template
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import FactoryError, PrefectFailedError, TransientError
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.deployed import read_deployment
from factory_runtime.orchestration.launch import PoolLauncher
from factory_runtime.orchestration.work_pool import WORK_POOL, ensure_work_pool
from factory_runtime.ports import Launcher

_BY = "dispatcher"


def launcher_of(runtime: Runtime) -> Launcher:
    """How a dispatcher with these settings launches runs."""
    settings = runtime.settings
    return runtime.launcher if settings.work_pool is None else pool_launcher(runtime)


def pool_launcher(runtime: Runtime) -> PoolLauncher:
    """How runs are launched into the work pool of the settings; without one, into ``factory``."""
    settings = runtime.settings
    pool = settings.work_pool or WORK_POOL
    patience = timedelta(minutes=settings.start_minutes)
    return PoolLauncher(runtime.inputs_of, pool, patience, RecordedDeployments(runtime, pool))


class RecordedDeployments:
    """Implements ``orchestration.launch.Deployments`` by our own record of them."""

    def __init__(self, runtime: Runtime, pool: str) -> None:
        self._runtime = runtime
        self._pool = pool
        self._has_pool = False

    def deployment_of(self, run: Run) -> str:
        """Prefect's id of the one of the run's template and tenant.

        Where there is none, or somebody deleted it or its pool, it is made: with the schedule that
        it has there still, or none, for nobody asked for one.

        Raises:
            UnknownTemplateError, InvalidTemplateError, CorruptArtifactError, TemplateChangedError: the
                template is gone, and was not kept.
            PrefectUnavailableError: no server answers.
            PrefectFailedError: it cannot be deployed as things are: they pass, or somebody mends them.
        """
        with _as_passing(run):
            found = self._find(run)
        if found is not None:
            return found
        template = self._runtime.catalog.load_to_offer(run)
        with _as_passing(run):
            ensure_work_pool()
            order = DeployOrder(run.tenant_id, _BY, schedule_of=None, waits=False)
            made = deploy_template(self._runtime, run.template_id, order, template)
        return made.deployment.prefect_id

    def leads_to(self, deployment_id: str, run: Run) -> bool:
        """Whether a flow run of it finds the run: by our record, or by the settings without one."""
        record = self._runtime.store.find_deployment(deployment_id)
        tenant_id = self._runtime.settings.tenant if record is None else record.tenant_id
        return tenant_id == run.tenant_id and _is_served(deployment_id)

    def look_again(self) -> None:
        """Make sure of the pool once more: somebody may have deleted it."""
        self._has_pool = False

    def _find(self, run: Run) -> str | None:
        if not self._has_pool:
            ensure_work_pool(self._pool)
            self._has_pool = True
        with self._runtime.store.begin(run.tenant_id, read_only=True) as tx:
            record = tx.find_deployment(run.template_id)
        if record is None or not _is_served(record.prefect_id):
            return None
        return record.prefect_id


@contextmanager
def _as_passing(run: Run) -> Generator[None]:
    """What goes wrong within is no fault of a run that was accepted: it is tried again later."""
    try:
        yield
    except TransientError:
        raise
    except FactoryError as error:
        raise PrefectFailedError(
            f"{run.template_id} cannot be deployed for {run.id} now: {error}", hint=error.hint
        ) from error


def _is_served(deployment_id: str) -> bool:
    """Whether Prefect still has it, in a work pool."""
    shown = read_deployment(deployment_id)
    return shown is not None and shown["work_pool_name"] is not None
