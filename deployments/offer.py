"""What `factory up` offers in Prefect: the templates as deployments, and a worker that serves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from deployments.kept import StackWorker
from deployments.register import DeployOrder, deploy_template
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import FactoryError
from factory_runtime.orchestration.work_pool import WORK_POOL, WORK_POOL_TYPE, ensure_work_pool
from tasks.threads import in_thread

_LOG = logging.getLogger("factory.executor")

_BY = "factory up"
_LOOK_EVERY = 0.5
"""Seconds between two looks whether the worker lives."""

_ENSURE_EVERY = 60.0
"""Seconds between two looks whether the pool is there: somebody may delete it."""

Tell = Callable[[Sequence[str], bool], None]
"""Say what is offered, in lines for people, and whether it is all there will be."""


class Offer:
    """Keeps it beside the dispatcher. Nothing that goes wrong here is the end of the stack."""

    def __init__(self, runtime: Runtime, tell: Tell) -> None:
        self._runtime = runtime
        self._tell = tell
        self._pool = runtime.settings.work_pool or WORK_POOL
        self._worker = StackWorker(runtime.settings)

    async def keep(self) -> None:
        """Deploy what never was, start the worker, and start it again whenever it dies."""
        try:
            kind = await in_thread(ensure_work_pool, self._pool)
            deployed = await in_thread(deploy_what_never_was, self._runtime)
            await self._keep_worker(deployed, kind)
        except FactoryError as error:
            self._say([f"not offered in Prefect: {error}"], settled=True)
        except Exception as error:
            _LOG.exception("not offered in Prefect")
            self._say([f"not offered in Prefect: {error!r}"], settled=True)

    def leave(self) -> None:
        """Have the worker claim no more. From any thread."""
        self._worker.leave()

    async def end(self) -> None:
        """Wait until the worker has ended; what takes it long is put down."""
        await asyncio.to_thread(self._worker.stop)

    async def _keep_worker(self, lines: Sequence[str], kind: str) -> None:
        count = self._runtime.settings.warm_processes
        if kind != WORK_POOL_TYPE:
            serves = (
                f"`prefect worker start --pool {self._pool}` serves it, the warm worker does not"
            )
            self._say([*lines, f"the work pool {self._pool} is of the type {kind}: {serves}"], True)
            return
        if not count:
            self._say([*lines, "no warm worker: FACTORY_WARM_PROCESSES is 0"], True)
            return
        self._say(lines, settled=False)
        self._worker.start()
        keeping = asyncio.create_task(self._keep_pool())
        try:
            await self._watch_worker(lines, f"{count} processes")
        finally:
            keeping.cancel()

    async def _keep_pool(self) -> None:
        while True:
            await asyncio.sleep(_ENSURE_EVERY)
            try:
                await in_thread(ensure_work_pool, self._pool)
            except Exception as error:  # the server is away, say: it is looked for again
                _LOG.debug("the work pool %s is not made sure of: %r", self._pool, error)

    async def _watch_worker(self, lines: Sequence[str], processes: str) -> None:
        is_ready = False
        while self._worker.revive():
            if self._worker.ready != is_ready:
                is_ready = not is_ready
                how = processes if is_ready else "starting again"
                self._say([*lines, f"warm worker: {how}"], settled=True)
            await asyncio.sleep(_LOOK_EVERY)
        log = self._worker.log
        self._say([*lines, f"the warm worker ends again and again: see {log}"], settled=True)

    def _say(self, lines: Sequence[str], settled: bool) -> None:
        for line in lines:
            _LOG.info("%s", line)
        self._tell(lines, settled)


def deploy_what_never_was(runtime: Runtime) -> list[str]:
    """Deploy the templates of which the settings' tenant has no deployment; a line for each.

    One that stands is let be, and so is one that a person deleted in Prefect.
    """
    tenant_id = runtime.settings.tenant
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        known = {deployment.template_id for deployment in tx.list_deployments()}
    lines: list[str] = []
    for name in runtime.catalog.names(tenant_id):
        if name in known:
            continue
        try:
            deploy_template(runtime, name, DeployOrder(tenant_id, _BY))
        except FactoryError as error:
            lines.append(f"the template {name} is not deployed: {error}")
        else:
            lines.append(f"deployed {name}/{tenant_id}")
    return lines
