"""The run store's contract: events, attempts and lists of runs, on every implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import (
    DuplicateAttemptError,
    InputError,
    NotFoundError,
    RunNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter, RunStore
from tests.builders import TENANT, a_job, a_run, after, an_attempt, an_event
from tests.stored import added

# --- events


def test_a_reader_of_events_asks_for_what_came_after(run_store: RunStore) -> None:
    run, other = added(run_store, a_run()), added(run_store, a_run())
    with run_store.begin(TENANT) as tx:
        for number in range(5):
            tx.add_event(an_event(run, detail={"number": number}))
            tx.add_event(an_event(other))
        events = tx.list_events(run.id)
        sequences = [event.sequence for event in events]
        assert sequences == sorted(set(sequences))
        assert tx.list_events(run.id, after=sequences[2]) == events[3:]
        assert tx.list_events(run.id, after=sequences[2], limit=1) == events[3:4]
        assert tx.list_events(run.id, after=sequences[-1]) == ()
        with pytest.raises(InputError):
            tx.list_events(run.id, limit=0)


def test_an_event_of_an_unknown_run_is_refused(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx, pytest.raises(RunNotFoundError):
        tx.add_event(an_event(a_run()))


# --- attempts


def test_an_attempt_is_opened_once_and_closed_as_often_as_told(run_store: RunStore) -> None:
    run = a_run()
    job = a_job(run)
    attempt = an_attempt(job)
    added(run_store, run, job)
    with run_store.begin(TENANT) as tx:
        tx.add_attempt(attempt)
    closed = replace(
        attempt,
        completed_at=after(3),
        outcome=Outcome.TRANSIENT,
        cached=True,
        error="busy",
        error_code="host-busy",
        traceback=Body(inline="Traceback …"),
        cpu_seconds=0.1,
        peak_memory_bytes=2**33,
        task_run_id="t",
        span_id="s",
    )
    for _ in range(2):
        with run_store.begin(TENANT) as tx:
            tx.save_attempt(closed)
            # The refusal leaves the transaction whole: what was saved before it is committed.
            with pytest.raises(DuplicateAttemptError):
                tx.add_attempt(attempt)
    with run_store.begin(TENANT) as tx:
        assert tx.list_attempts(run.id) == (closed,)


def test_the_very_same_attempt_is_added_once(run_store: RunStore) -> None:
    run = a_run()
    job = a_job(run)
    attempt = an_attempt(job)
    added(run_store, run, job)
    for _ in range(2):
        with run_store.begin(TENANT) as tx:
            tx.add_attempt(attempt)
            tx.add_attempt(replace(attempt))
    with run_store.begin(TENANT) as tx:
        assert tx.list_attempts(run.id) == (attempt,)


@pytest.mark.parametrize(
    "other", [{"worker": "build-8:1"}, {"fencing_token": 2}, {"started_at": after(1)}]
)
def test_another_attempt_of_the_same_key_is_refused(
    run_store: RunStore, other: dict[str, Any]
) -> None:
    run = a_run()
    job = a_job(run)
    attempt = an_attempt(job)
    added(run_store, run, job)
    with run_store.begin(TENANT) as tx:
        tx.add_attempt(attempt)
        with pytest.raises(DuplicateAttemptError):
            tx.add_attempt(an_attempt(job, **other))
    with run_store.begin(TENANT) as tx:
        assert tx.list_attempts(run.id) == (attempt,)


def test_attempts_are_listed_by_run_and_by_step(run_store: RunStore) -> None:
    run = a_run()
    jobs = [a_job(run, step="a"), a_job(run, step="b")]
    added(run_store, run, *jobs)
    tries = [an_attempt(jobs[0]), an_attempt(jobs[0], 2, started_at=after(2))]
    other = an_attempt(jobs[1], started_at=after(1))
    with run_store.begin(TENANT) as tx:
        for attempt in (tries[1], tries[0], other):
            tx.add_attempt(attempt)
        assert tx.list_attempts(run.id) == (tries[0], other, tries[1])
        assert tx.list_attempts(run.id, "a") == tuple(tries)
        assert tx.list_attempts("run-none") == ()


def test_an_attempt_belongs_to_a_job(run_store: RunStore) -> None:
    stray = an_attempt(a_job(a_run()))
    with pytest.raises(NotFoundError), run_store.begin(TENANT) as tx:
        tx.add_attempt(stray)
    with run_store.begin(TENANT) as tx, pytest.raises(NotFoundError):
        tx.save_attempt(stray)


# --- lists of runs


def test_runs_are_listed_newest_first_in_pages_without_gaps(run_store: RunStore) -> None:
    # Three requests share each moment: the id decides among them.
    runs = [added(run_store, a_run(requested_at=after(number // 3))) for number in range(20)]
    expected = [r.id for r in sorted(runs, key=lambda r: (r.requested_at, r.id), reverse=True)]
    seen: list[str] = []
    cursor = None
    while True:
        with run_store.begin(TENANT, read_only=True) as tx:
            page = tx.list_runs(RunFilter(), limit=3, cursor=cursor)
        seen += [run.id for run in page.items]
        # A newer run does not shift the pages behind it.
        added(run_store, a_run(requested_at=after(1000)))
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == expected


def test_a_last_page_that_is_just_full_has_no_cursor(run_store: RunStore) -> None:
    for _ in range(3):
        added(run_store, a_run())
    with run_store.begin(TENANT) as tx:
        assert tx.list_runs(RunFilter(), limit=3).cursor is None
        assert tx.list_runs(RunFilter(), limit=2).cursor is not None


def test_runs_are_filtered(run_store: RunStore) -> None:
    plain = added(run_store, a_run(requested_at=after(0)))
    other = added(
        run_store,
        a_run(
            requested_at=after(10),
            project_id="bank",
            template_id="library",
            requested_by="bob",
            status=RunStatus.FAILED,
        ),
    )
    expected = {
        RunFilter(): [other, plain],
        RunFilter(project_id="bank"): [other],
        RunFilter(template_id="library"): [other],
        RunFilter(requested_by="ada"): [plain],
        RunFilter(statuses=(RunStatus.FAILED,)): [other],
        RunFilter(statuses=(RunStatus.FAILED, RunStatus.REQUESTED)): [other, plain],
        RunFilter(since=after(10)): [other],
        RunFilter(until=after(10)): [plain],
        RunFilter(project_id="bank", requested_by="ada"): [],
        RunFilter(project_id="' OR 1=1 --"): [],
    }
    with run_store.begin(TENANT, read_only=True) as tx:
        for where, runs in expected.items():
            assert tx.list_runs(where).items == tuple(runs), where


@pytest.mark.parametrize("cursor", ["", "rubbish", "W10=", "bnVsbA==", "\ud800", "WyJ4IiwxXQ=="])
def test_a_cursor_of_somebody_else_is_refused(run_store: RunStore, cursor: str) -> None:
    with run_store.begin(TENANT) as tx, pytest.raises(InputError, match="cursor"):
        tx.list_runs(RunFilter(), cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_one_or_more(run_store: RunStore, limit: int) -> None:
    with run_store.begin(TENANT) as tx, pytest.raises(InputError, match="limit"):
        tx.list_runs(RunFilter(), limit=limit)


def test_a_flow_run_is_adopted_by_one_run(run_store: RunStore) -> None:
    run = added(run_store, a_run(flow_run_id="flow-1"))
    with pytest.raises(StaleVersionError):
        added(run_store, a_run(flow_run_id="flow-1"))
    with run_store.begin(TENANT) as tx:
        assert tx.find_run_by_flow_run("flow-1") == run
        assert tx.find_run_by_flow_run("flow-2") is None
