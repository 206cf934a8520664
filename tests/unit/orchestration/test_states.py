"""Prefect's states for ours."""

from __future__ import annotations

import pytest
from prefect.client.schemas.objects import StateType

from factory_runtime.domain.run import RUN_ENDED, RunStatus
from factory_runtime.orchestration.states import state_of, waiting_state
from tests.builders import NOON, a_run


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("admitted_at", [None, NOON])
def test_every_status_has_a_state_that_no_worker_starts_and_no_engine_stops(
    status: RunStatus, admitted_at: object
):
    state = state_of(a_run(status=status, admitted_at=admitted_at))
    assert state.type is not StateType.SCHEDULED  # what workers look for
    assert state.name != "Suspended"  # what an engine takes for a wish to stop it
    assert state.is_final() is (status in RUN_ENDED)


@pytest.mark.parametrize("status", RunStatus)
def test_a_message_holds_ids_of_ours_and_nothing_that_somebody_wrote(status: RunStatus):
    run = a_run(status=status, error="hunter2", project_id="hunter2", requested_by="hunter2")
    message = str(state_of(run).message)
    assert run.id in message
    assert "hunter2" not in message


def test_a_waiting_jobs_task_run_has_not_failed_and_does_not_run():
    state = waiting_state("job-1")
    assert (state.type, state.name) == (StateType.PAUSED, "Waiting")
    assert "job-1" in str(state.message)
