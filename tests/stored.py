"""Values that a test puts into a run store."""

from __future__ import annotations

from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore


def added(store: RunStore, run: Run, *jobs: Job) -> Run:
    with store.begin(run.tenant_id) as tx:
        tx.add_run(run, jobs)
    return run
