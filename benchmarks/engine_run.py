"""One run through the whole engine, in this process: request, dispatch, flow."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import copy
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow_async

from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.run import RunRequest, RunStatus
from factory_runtime.ports import JobType
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from flows.hooks import share_runtime
from flows.loading import dispatching
from flows.templates import flow_of_run


class EngineInProcess:
    """Executes requests one after the other. Import this module under ``local_server`` only."""

    def __init__(self, settings: Settings, job_types: Mapping[str, JobType] | None = None) -> None:
        self.runtime = Runtime(settings, SystemClock(), job_types)
        share_runtime(self.runtime)

    async def run(self, template: str, inputs: Mapping[str, Any], tenant_id: str) -> None:
        """Accept a run and execute it to its end; exit where it does not succeed."""
        runtime = self.runtime
        request_run(runtime.desk, RunRequest(tenant_id, "bench", template, inputs, "bench"))
        run = dispatch_next(
            runtime.store, runtime.launcher, runtime.clock, cap=1, worker=runtime.engine.worker
        )
        if run is None or run.flow_run_id is None:
            sys.exit("no run was admitted")
        async with get_client() as client:
            flow_run = await client.read_flow_run(UUID(run.flow_run_id))
        # Without the hooks: plain Prefect has none either, and they come after the run.
        flow = copy(flow_of_run(runtime, run))
        flow.on_completion_hooks = []
        with dispatching(run):
            await run_flow_async(
                flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="state"
            )
        with runtime.store.begin(tenant_id, read_only=True) as tx:
            ended = tx.get_run(run.id)
        if ended.status is not RunStatus.SUCCEEDED:
            sys.exit(f"the run is {ended.status}: {ended.error}")
