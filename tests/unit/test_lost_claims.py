"""Which flow runs a worker that claimed them may still begin."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State, StateDetails
from prefect.states import AwaitingRetry, Pending, Running, Scheduled

from deployments.claims import is_lost
from factory_runtime.domain.run import RunStatus
from factory_runtime.orchestration.states import QUEUED, state_of
from tests.builders import NOON, a_run

MINE = uuid4()


def a_claim(claim_id: UUID) -> State[None]:
    state = Pending(message="claimed by one")
    state.state_details = StateDetails(transition_id=claim_id)
    return state


@pytest.mark.parametrize(
    "state", [Running(), Scheduled(), AwaitingRetry(), a_claim(uuid4())], ids=lambda one: one.name
)
def test_what_another_worker_was_given_or_has_begun_is_lost(state: State[None]):
    assert is_lost(state, MINE)


@pytest.mark.parametrize(
    "state",
    [
        None,
        a_claim(MINE),
        Pending(name=QUEUED),
        state_of(a_run(status=RunStatus.RUNNING, admitted_at=NOON)),
    ],
)
def test_its_own_claim_and_what_our_record_shows_are_not(state: State[None] | None):
    assert not is_lost(state, MINE)
