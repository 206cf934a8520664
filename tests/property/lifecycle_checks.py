"""What is compared of a run's rows with the model, and what its history has to be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import JOB_MOVES, Job, JobStatus
from factory_runtime.domain.records import Effect, RunEvent
from factory_runtime.domain.run import RUN_MOVES, Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.records import ATTEMPTS, EFFECTS, EVENTS, JOBS, RUNS, Record
from tests.property.lifecycle_model import ModelRun


@dataclass(frozen=True)
class RowsOfRun:
    """Everything that the store holds of a run; attempts and events by their number."""

    run: Run
    jobs: Sequence[Job]
    attempts: Sequence[Attempt]
    events: Sequence[RunEvent]
    effects: Sequence[Effect]


def read_runs(store: SqlRunStore, run_ids: Sequence[str]) -> list[RowsOfRun]:
    """All of them, in this order, with one query for each kind of row: this is asked often."""
    with store.engine.connect() as connection:
        (runs, jobs, attempts, events, effects) = (
            _by_run(connection, record, run_ids)
            for record in (RUNS, JOBS, ATTEMPTS, EVENTS, EFFECTS)
        )
    return [
        RowsOfRun(
            runs[one][0],
            jobs[one],
            sorted(attempts[one], key=lambda attempt: attempt.number),
            sorted(events[one], key=lambda event: event.sequence),
            effects[one],
        )
        for one in run_ids
    ]


def _by_run(
    connection: Connection, record: Record[Any], run_ids: Sequence[str]
) -> Mapping[str, list[Any]]:
    run_id = record.table.c.id if record is RUNS else record.table.c.run_id
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(select(*record.columns).where(run_id.in_(run_ids))).mappings():
        found[row[run_id.name]].append(record.value_of(row))
    return found


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
