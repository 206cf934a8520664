"""Jobs that are done elsewhere: what is written of them, and what is asked over all tenants."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, literal, select, tuple_

from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.ports import JobKey
from factory_runtime.run_store.records import JOBS
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import jobs

_KEY = (jobs.c.tenant_id, jobs.c.run_id, jobs.c.step)
_OPEN = (JobStatus.WAITING, JobStatus.RUNNING)


class RoutedJobs:
    """``ports.RoutedJobRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    def note_route(self, job: Job, flow_run_id: str | None, phrase: str) -> bool:
        return (
            self._rows.change(
                JOBS,
                {"routed_flow_run_id": flow_run_id, "phrase": phrase},
                run_id=job.run_id,
                step=job.step,
                version=job.version,
                status=JobStatus.WAITING,
            )
            == 1
        )


def job_of_flow_run(flow_run_id: str) -> Select[tuple[str, str, str]]:
    """The key of the job that a flow run may claim."""
    return select(*_KEY).where(jobs.c.routed_flow_run_id == flow_run_id)


def routed_jobs(after: JobKey | None, limit: int) -> Select[Any]:
    """Key, flow run and whether it is claimed, of jobs that one was made for elsewhere; by key."""
    has_flow_run = jobs.c.routed_flow_run_id.is_not(None)
    is_claimed = jobs.c.status == JobStatus.RUNNING
    query = select(*_KEY, jobs.c.routed_flow_run_id, is_claimed)
    query = query.where(has_flow_run, jobs.c.status.in_(_OPEN))
    if after is not None:
        place = (literal(after.tenant_id), literal(after.run_id), literal(after.step))
        query = query.where(tuple_(*_KEY) > tuple_(*place))
    return query.order_by(*_KEY).limit(limit)
