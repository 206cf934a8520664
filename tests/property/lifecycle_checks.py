"""What is compared of a run's rows with the model, and what its history has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factory_runtime.domain.job import JOB_MOVES, JobStatus
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import RUN_MOVES, Run, RunStatus
from tests.property.lifecycle_model import ModelRun


def facts_of_row(row: Run) -> tuple[Any, ...]:
    return (
        row.status,
        row.cycle,
        row.admitted_at is not None,
        row.pause_requested_at is not None and not row.ended,
        row.cancel_requested_at is not None and not row.ended,
        row.deadline_at,
        row.wake_at if row.status is RunStatus.WAITING else None,
    )


def facts_of_run(run: ModelRun) -> tuple[Any, ...]:
    return (
        run.status,
        run.cycle,
        run.slot,
        run.pause and not run.ended,
        run.cancel and not run.ended,
        run.deadline_at,
        run.wake_at if run.status == "Waiting" else None,
    )


def check_history(row: Run, jobs: Mapping[str, JobStatus], events: Sequence[RunEvent]) -> None:
    """Every event is a legal move from where the one before it led, and no number is missing."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    runs: str | None = None
    steps: dict[str | None, str] = dict.fromkeys(jobs, JobStatus.PENDING.value)
    for event in events:
        if event.kind == "run":
            assert event.from_status == runs
            if runs is not None:
                assert event.to_status in RUN_MOVES[RunStatus(runs)]
            runs = event.to_status
        elif event.kind == "job":
            assert event.from_status == steps[event.step]
            assert event.to_status in JOB_MOVES[JobStatus(steps[event.step])]
            steps[event.step] = str(event.to_status)
    assert (runs, steps) == (row.status, dict(jobs))
