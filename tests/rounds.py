"""Runs that are walked to their end, and sent round again."""

from __future__ import annotations

from typing import Any

from factory_runtime.domain.run import Run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.retry_run import retry_job, retry_run
from tests.small_factory import SmallFactory

NO = ValueError("no")


def run_through(factory: SmallFactory, run: Run) -> Run:
    """Walk a run from where it stands to its end."""
    walk = factory.take_up(run)
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    return ended


def ended_run(factory: SmallFactory, text: str, **values: Any) -> Run:
    factory.template(text)
    return run_through(factory, factory.request(**values))


def again(factory: SmallFactory, run: Run, step: str | None = None, by: str = "ada") -> Run:
    if step is None:
        return retry_run(factory.store, factory.clock, run.tenant_id, run.id, by)
    return retry_job(factory.store, factory.clock, run.tenant_id, run.id, step, by)


def statuses(factory: SmallFactory, run: Run) -> dict[str, str]:
    """Of each job: its status, or why it was skipped."""
    return {name: job.skip_reason or job.status for name, job in factory.jobs(run).items()}


def mend(factory: SmallFactory, *names: str) -> None:
    for name in names:
        del factory.on[name]
