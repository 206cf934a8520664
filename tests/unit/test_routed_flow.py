"""The flow of a job that was sent elsewhere, when it is stopped: whose word that was is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run
from factory_runtime.services.attempt import Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.routed_job import sweep_routed
from flows import routed as routed_flow
from tasks.execution import Execution
from tasks.gate import Gate
from tests.routed import Routed
from tests.small_factory import FlowRuns, SmallFactory, steps


@pytest.fixture
def routed(tmp_path: Path) -> Generator[Routed]:
    factory = SmallFactory(tmp_path / "templates")
    yield Routed(factory)
    factory.store.close()


def stopped(routed: Routed, prefect: FlowRuns, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Job]:
    """A run, and its job as it stands when the flow run that is at it was stopped."""
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    prefect.made["ship"] = flow_run_id
    prefect.cancelled.add(flow_run_id)
    there = routed.walk_there(flow_run_id)

    class Parts:
        store, clock, engine = routed.factory.store, routed.factory.clock, routed.there
        launcher = prefect

    async def work(execution: Execution) -> None:
        assert isinstance(begin_attempt(routed.there, execution.walk, "ship"), Begun)
        raise asyncio.CancelledError

    monkeypatch.setattr(routed_flow, "_work", work)
    monkeypatch.setattr(routed_flow, "shared_limits", lambda: (Gate(1), asyncio.Semaphore(1)))
    do = routed_flow._do(cast(Runtime, Parts()), there, flow_run_id)  # pyright: ignore[reportPrivateUsage]
    return walk.run, asyncio.run(do)


def test_a_cancel_in_prefect_is_obeyed_and_the_job_given_back(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    run, job = stopped(routed, FlowRuns(), monkeypatch)
    assert job.status is JobStatus.PENDING
    assert routed.factory.run(run).cancel_requested_at is not None


def test_a_cancel_that_cannot_be_asked_about_is_found_by_the_sweep(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    store, clock, prefect = routed.factory.store, routed.factory.clock, FlowRuns()
    prefect.away = True
    run, job = stopped(routed, prefect, monkeypatch)
    assert (job.status, job.routed_flow_run_id) == (JobStatus.RUNNING, prefect.made["ship"])
    prefect.away = False
    assert sweep_routed(store, clock, prefect) == 1
    assert routed.factory.run(run).cancel_requested_at is not None
