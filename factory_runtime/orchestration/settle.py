"""See to it that Prefect's states of an ended run, and of its jobs, are ours."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from prefect.client.schemas.objects import StateType

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.flow_runs import (
    Shown,
    force_flow_run,
    force_task_run,
    read_flow_run,
)
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.states import lost_state, state_of

_ENDING = timedelta(seconds=10)
"""How long a flow gets to tell Prefect of its end itself, and Prefect to write it down."""

_AT_ONCE = 200

_MAY_BE_LEFT = frozenset({Outcome.LOST, Outcome.SUSPENDED})
"""Outcomes of attempts whose task run may have nobody who ends it. Those of a cancelled flow run
Prefect cancels by itself."""

_OPEN = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED]


def settle(run: Run, flow_run_id: str, attempts: Sequence[Attempt], now: datetime) -> None:
    """Where Prefect tells another end of a run than our record does, make it ours.

    A server that was away when the flow ended, or a killed executor, leaves the flow run and task
    runs Running for ever; a cancel in Prefect is overwritten by whatever its flow says after it.

    Raises:
        GoneError: somebody deleted the flow run.
        PrefectUnavailableError: no server answers, or what has ended is still being written down.
    """
    wait = run.completed_at is not None and now - run.completed_at < _ENDING
    shown = read_flow_run(flow_run_id)
    wanted = state_of(run)
    agreed = shown.is_in(wanted)
    if not agreed:
        if wait and shown.type in (StateType.RUNNING, StateType.CANCELLING):
            raise PrefectUnavailableError(f"the flow run of {run.id} is still ending")
        force_flow_run(flow_run_id, wanted)
    if not agreed or shown.begun > 1 or any(a.outcome in _MAY_BE_LEFT for a in attempts):
        _end_task_runs(run, shown, wait=wait)


def _end_task_runs(run: Run, shown: Shown, *, wait: bool) -> None:
    last = False
    for task_run in _open_task_runs(shown.id):
        # Of those that were begun last, some have ended a moment ago: Prefect hears of it late,
        # and would take no word for it after ours.
        if wait and not 0 < task_run["flow_run_run_count"] < shown.begun:
            last = True
            continue
        with suppress(GoneError):
            force_task_run(str(task_run["id"]), lost_state())
    if last:
        raise PrefectUnavailableError(f"the task runs of {run.id} are still ending")


def _open_task_runs(flow_run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = ask(
            "POST",
            "/task_runs/filter",
            {
                "flow_runs": {"id": {"any_": [flow_run_id]}},
                "task_runs": {"state": {"type": {"any_": _OPEN}}},
                "sort": "ID_DESC",
                "limit": _AT_ONCE,
                "offset": len(found),
            },
        )
        found += page
        if len(page) < _AT_ONCE:
            return found
